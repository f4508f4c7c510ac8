//! The tools that others use for the same purpose, each printing every event into a file.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{self, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{bpf::Bpftool, stage::leashed};
use crate::{running::Running, say::warn, setup};

/// Where files need no disk.
const MEMORY: &str = "/dev/shm";
/// How long a peer may take to write down what it has got.
const WRITING: Duration = Duration::from_secs(30);
/// How long its output must not grow before it has.
const REST: Duration = Duration::from_millis(300);
/// Runs a program where the kernel's tracing files are, which older tools insist on: in a mount namespace of its
/// own, so that nothing changes for anybody else.
const WITH_TRACING_FILES: &str = "[ -e /sys/kernel/tracing/events ] ||
        mount -t tracefs tracefs /sys/kernel/tracing || exit
    exec \"$0\" \"$@\"";

const BPFTRACE: &str = "tracepoint:sock:inet_sock_set_state {
    printf(\"%llu %d %s %s:%d %s:%d %d %d\\n\", nsecs, pid, comm, ntop(args->saddr), args->sport,
        ntop(args->daddr), args->dport, args->oldstate, args->newstate)
}";

/// A tool, its Debian package, and its arguments.
const PEERS: [(&str, &str, &[&str]); 2] =
    [("tcpstates", "libbpf-tools", &[]), ("bpftrace", "bpftrace", &["-e", BPFTRACE])];

pub(super) struct Peer {
    pub(super) name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
}

/// The peers that are there or can be installed.
pub(super) fn all() -> Vec<Peer> {
    let found = PEERS.into_iter().filter_map(|(name, package, arguments)| {
        let program = setup::program(name, package)
            .inspect_err(|error| warn(format!("{name} is left out: {error:#}")))
            .ok()?;
        Some(Peer { name, program, arguments })
    });
    found.collect()
}

impl Peer {
    /// # Errors
    /// When it does not start; the text is what it said.
    pub(super) fn start(&self, bpftool: &Bpftool) -> Result<Attached> {
        let output = Output::new()?;
        let file = File::create(output.file()).context("the peer's output has no place")?;
        let mut command = leashed(Path::new("unshare"));
        command.args(["--mount", "sh", "-c", WITH_TRACING_FILES]).arg(&self.program).args(self.arguments);
        command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file);
        let mut running = Running::start(&mut command, None)?;
        bpftool
            .wait_until_something_traces(&mut running)
            .with_context(|| format!("{} does not start ({})", self.name, output.last_line()))?;
        // It has loaded its program, and only then attaches it.
        thread::sleep(Duration::from_secs(1));
        Ok(Attached { running, output })
    }
}

/// A peer at work.
pub(super) struct Attached {
    running: Running,
    output: Output,
}

impl Attached {
    pub(super) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Waits until it has written down what it has got.
    pub(super) fn wait_until_written(&self) {
        let begun = Instant::now();
        let length = || fs::metadata(self.output.file()).map_or(0, |it| it.len());
        let (mut last, mut since) = (length(), Instant::now());
        while begun.elapsed() < WRITING && since.elapsed() < REST {
            thread::sleep(Duration::from_millis(50));
            let now = length();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    /// How many events it says that it has lost.
    ///
    /// # Errors
    /// When its output cannot be read.
    pub(super) fn lost(&self) -> Result<u64> {
        let mut output = BufReader::new(File::open(self.output.file()).context("the peer's output is gone")?);
        let (mut line, mut sum) = (Vec::new(), 0);
        while output.read_until(b'\n', &mut line)? > 0 {
            sum += lost_in(&String::from_utf8_lossy(&line)).unwrap_or(0);
            line.clear();
        }
        Ok(sum)
    }
}

/// The number in `Lost 12 events` and `lost 12 events on CPU #0!`.
fn lost_in(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("Lost ").or_else(|| line.strip_prefix("lost "))?;
    let (number, what) = rest.split_once(' ')?;
    if what.starts_with("event") { number.parse().ok() } else { None }
}

/// A folder for a peer's output, gone when this goes.
struct Output(PathBuf);

impl Output {
    fn new() -> Result<Self> {
        let memory = PathBuf::from(MEMORY);
        let parent = if memory.is_dir() { memory } else { env::temp_dir() };
        let folder = parent.join(format!("tcpstate-bench-{}", process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self(folder))
    }

    fn file(&self) -> PathBuf {
        self.0.join("output")
    }

    fn last_line(&self) -> String {
        let text = fs::read(self.file()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().next_back().unwrap_or("without a word").to_owned()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // It lies in a folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::lost_in;

    #[test]
    fn both_peers_say_what_they_lost_in_their_own_words() {
        assert_eq!(lost_in("Lost 1234 events\n"), Some(1234));
        assert_eq!(lost_in("lost 56 events on CPU #1!\n"), Some(56));
    }

    #[test]
    fn an_event_is_no_loss() {
        assert_eq!(lost_in("12 34 lost 5 events"), None);
        assert_eq!(lost_in("Lost and found"), None);
        assert_eq!(lost_in("Lost 12 sheep"), None);
        assert_eq!(lost_in(""), None);
    }
}
