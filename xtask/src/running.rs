//! A process that ends when its handle goes: nothing that xtask starts outlives it.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

pub(crate) struct Running {
    child: Child,
    /// Through which it was started, and has to be ended.
    sudo: Option<PathBuf>,
}

impl Running {
    /// # Errors
    /// Names the program that cannot be started.
    pub(crate) fn start(command: &mut Command, sudo: Option<PathBuf>) -> Result<Self> {
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, sudo })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// When it ends without a word.
    pub(crate) fn first_line(&mut self) -> Result<String> {
        line(&mut self.take_stdout()?)
    }

    /// # Errors
    /// When it is not ours.
    pub(crate) fn take_stdout(&mut self) -> Result<BufReader<ChildStdout>> {
        Ok(BufReader::new(self.child.stdout.take().context("its output is not ours")?))
    }

    pub(crate) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// # Errors
    /// When it is not ours.
    pub(crate) fn input(&mut self) -> Result<&mut ChildStdin> {
        self.child.stdin.as_mut().context("its input is not ours")
    }

    /// Closes its input, which is how our own programs are told to end.
    pub(crate) fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Closes its input, and waits until it has ended.
    ///
    /// # Errors
    /// When it takes longer than `patience`.
    pub(crate) fn finish(&mut self, patience: Duration) -> Result<()> {
        self.close_input();
        let deadline = Instant::now() + patience;
        while !self.has_ended() {
            ensure!(Instant::now() < deadline, "a program did not end within {} s", patience.as_secs());
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// # Errors
/// When there is no more.
pub(crate) fn line(output: &mut BufReader<ChildStdout>) -> Result<String> {
    let mut line = String::new();
    output.read_line(&mut line).context("its output cannot be read")?;
    ensure!(!line.is_empty(), "it ended without a word");
    Ok(line.trim().to_owned())
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone then.
        if let Some(sudo) = &self.sudo {
            // sudo passes SIGTERM on to what it runs, and takes it from root only.
            let _ = Command::new(sudo).args(["kill", &self.child.id().to_string()]).status();
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
