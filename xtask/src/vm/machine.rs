//! One VM from power on to power off.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{running::Running, setup::KernelFiles};

/// How a kernel begins to say that it met a breakpoint which is not there any more. Kernels put one where they patch code
/// that other processors may execute (`smp_text_poke_batch_finish` in `arch/x86/kernel/alternative.c`); an emulated processor
/// may execute it from its own translation of the code when it has gone.
const STALE_BREAKPOINT: &str = "Oops: int3";
const MEMORY_MB: &str = "1024";

/// What a VM is made of.
pub(super) struct Machine<'a> {
    pub(super) qemu: &'a Path,
    pub(super) kernel: &'a KernelFiles,
    pub(super) initramfs: &'a Path,
    pub(super) cpus: u32,
    /// What is added to the kernel's command line.
    pub(super) parameters: String,
    /// It is ended after that.
    pub(super) limit: Duration,
}

/// What a VM left.
pub(super) struct Left {
    /// Whether the emulator was the reason for its end.
    pub(super) was_broken: bool,
    /// The answer to each check that it came to.
    pub(super) answers: BTreeMap<String, Value>,
    pub(super) took: Duration,
    pub(super) was_ended: bool,
    /// Everything that the kernel, the guest and the daemon said.
    pub(super) console: PathBuf,
}

impl Machine<'_> {
    /// Boots it and waits until it is off. Its console is kept in `folder` under `name`.
    ///
    /// # Errors
    /// When qemu cannot be started.
    pub(super) fn run(&self, folder: &Path, name: &str) -> Result<Left> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        let (console, answers) = (file("console"), file("answers"));
        let begun = Instant::now();
        let mut running = Running::start(&mut self.command(&console, &answers, &file("qemu"))?, None)?;
        while !running.has_ended() && begun.elapsed() < self.limit {
            thread::sleep(Duration::from_millis(100));
        }
        let was_ended = !running.has_ended();
        drop(running);
        let answers = read(&fs::read_to_string(&answers).unwrap_or_default());
        let said = fs::read(&console).unwrap_or_default();
        let was_broken = String::from_utf8_lossy(&said).contains(STALE_BREAKPOINT);
        Ok(Left { answers, was_broken, took: begun.elapsed(), was_ended, console })
    }

    fn command(&self, console: &Path, answers: &Path, words: &Path) -> Result<Command> {
        let serial = |file: &Path| format!("file:{}", file.display());
        // The clock's code is patched less where the kernel does not use the TSC.
        let append = format!("console=ttyS0 quiet loglevel=4 panic=-1 tsc=unstable {}", self.parameters);
        let words = File::create(words).with_context(|| format!("cannot write {}", words.display()))?;
        // Software emulation: it works inside other VMs, too.
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(self.qemu);
        command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", MEMORY_MB, "-smp"]);
        command.arg(self.cpus.to_string());
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        command.arg("-serial").arg(serial(console)).arg("-serial").arg(serial(answers));
        command.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(self.initramfs);
        command.args(["-append", &append]);
        command.stdin(Stdio::null()).stdout(words.try_clone()?).stderr(words);
        Ok(command)
    }
}

/// The answers in what came over the second serial port; one that was cut off is none.
fn read(text: &str) -> BTreeMap<String, Value> {
    let answers = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
    answers.filter_map(|answer| Some((answer["check"].as_str()?.to_owned(), answer))).collect()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn answers_are_read_past_what_is_none() {
        let answers = read("{\"check\":\"source\",\"facts\":{\"tier\":\"events\"}}\r\n\r\n{\"check\":\"chu");
        assert_eq!(answers.len(), 1);
        assert_eq!(answers["source"]["facts"]["tier"], "events");
    }
}
