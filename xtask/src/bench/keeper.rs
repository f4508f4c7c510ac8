//! A shell script that changes something of the kernel, and puts it back when we go, however we do.

use std::{
    io::BufReader,
    process::{ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::Result;

use crate::running::{Running, line};

/// How long it may take to put everything back.
const PATIENCE: Duration = Duration::from_secs(30);

/// One that runs. Its script says a line when it is ready, and goes on when its input ends.
pub(super) struct Keeper {
    running: Running,
    output: BufReader<ChildStdout>,
}

impl Keeper {
    /// Runs the script in a mount namespace of its own, deaf to what interrupts us.
    ///
    /// # Errors
    /// When it ends before it is ready.
    pub(super) fn start(script: &str) -> Result<Self> {
        let script = format!("trap '' INT TERM HUP; {script}");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(&mut command, None)?;
        let mut output = running.take_stdout()?;
        line(&mut output)?;
        Ok(Self { running, output })
    }

    /// Ends it. Returns the line that it says then.
    ///
    /// # Errors
    /// When it says none.
    pub(super) fn end(mut self) -> Result<String> {
        self.running.close_input();
        line(&mut self.output)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.running.finish(PATIENCE);
    }
}
