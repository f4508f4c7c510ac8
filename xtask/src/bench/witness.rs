//! Changes of state that the kernel hands to no eBPF program, counted by its own tracing.
//!
//! There are machines on which no eBPF program is run for what happens while a thread of process 1 is on the CPU; the
//! kernel counts these events as missed by nobody. On a machine of which a bench wants exact numbers they have to be
//! known.

use std::{io::Read, path::Path, process::Stdio};

use anyhow::{Context, Result};

use super::stage::leashed;
use crate::running::Running;

/// Counts in an instance of its own, in a mount namespace of its own, until its input ends.
const SCRIPT: &str = r"
set -e
tracefs=/sys/kernel/tracing
[ -d $tracefs/instances ] || mount -t tracefs tracefs $tracefs
instance=$tracefs/instances/tcpstate-bench-$$
mkdir $instance
trap 'rmdir $instance' EXIT
filter=common_pid==1
for thread in /proc/1/task/*; do filter=$filter'||'common_pid==${thread##*/}; done
echo $filter > $instance/events/sock/inet_sock_set_state/filter
echo 1 > $instance/events/sock/inet_sock_set_state/enable
echo ready >&2
cat > /dev/null
cat $instance/per_cpu/cpu*/stats | awk -F': ' '/^entries|^overrun|^commit overrun|^dropped events/ {n += $2} END {print n}'
";

/// See the module.
pub(super) struct Witness(Running);

impl Witness {
    /// # Errors
    /// When the kernel's tracing cannot be had.
    pub(super) fn call() -> Result<Self> {
        let mut command = leashed(Path::new("unshare"));
        command.args(["--mount", "sh", "-c", SCRIPT]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(&mut command, None)?;
        let mut ready = [0; 6];
        let mut words = running.take_stderr().context("its messages are not ours")?;
        words.read_exact(&mut ready).context("the kernel's own tracing cannot be had")?;
        Ok(Self(running))
    }

    /// How many there were.
    ///
    /// # Errors
    /// When the kernel's tracing has failed meanwhile.
    pub(super) fn count(self) -> Result<u64> {
        let line = self.0.last_line()?;
        line.parse().with_context(|| format!("the kernel's own tracing says {line}"))
    }
}
