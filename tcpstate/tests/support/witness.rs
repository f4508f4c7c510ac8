//! An independent count of what the kernel reports at `inet_sock_set_state`, by the kernel's own tracing.
//!
//! There are machines on which the kernel runs no eBPF program for some events, and counts none as missed: those
//! that come in while a process runs that such a machine keeps out of eBPF's sight. A test that fails there has
//! found nothing; one that fails although every event was handed over has.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
};

/// Counts in an instance of its own, so that nobody else's tracing is touched; in a mount namespace of its own,
/// since tracefs need not be mounted. The instance goes when the input ends, however the test program ended.
const SCRIPT: &str = r"
set -e
trap '' INT TERM HUP
tracefs=/sys/kernel/tracing
[ -d $tracefs/instances ] || mount -t tracefs tracefs $tracefs
instance=$tracefs/instances/tcpstate-test-$$
mkdir $instance
trap 'rmdir $instance' EXIT
echo 64 > $instance/buffer_size_kb
echo 1 > $instance/events/sock/inet_sock_set_state/enable
while read -r question; do
    cat $instance/per_cpu/cpu*/stats
    echo end
done
";

static WITNESS: LazyLock<Option<Mutex<Witness>>> = LazyLock::new(|| Witness::call().map(Mutex::new));

struct Witness {
    _child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Witness {
    fn call() -> Option<Self> {
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let questions = child.stdin.take()?;
        let answers = BufReader::new(child.stdout.take()?).lines();
        let mut witness = Self { _child: child, questions, answers };
        // Where there is no tracing it has ended by now.
        witness.ask()?;
        Some(witness)
    }

    fn ask(&mut self) -> Option<u64> {
        writeln!(self.questions, "how many").ok()?;
        self.questions.flush().ok()?;
        let mut events = 0;
        loop {
            let line = self.answers.next()?.ok()?;
            match line.split_once(": ") {
                // What the buffer holds and what it has let go; the other lines are no events.
                Some(("entries" | "overrun" | "commit overrun" | "dropped events", count)) => {
                    events += count.trim().parse::<u64>().ok()?;
                }
                _ if line == "end" => return Some(events),
                _ => {}
            }
        }
    }
}

/// How often the kernel has reported a state so far; `None` where its tracing cannot be had.
pub(crate) fn reported() -> Option<u64> {
    let witness = WITNESS.as_ref()?;
    witness.lock().unwrap_or_else(PoisonError::into_inner).ask()
}
