//! Changes of state as the kernel's own tracing sees them.
//!
//! There are machines on which no eBPF program is run for what happens while a thread of process 1 is on the CPU; the
//! kernel counts these events as missed by nobody. On a machine of which a bench wants exact numbers they have to be
//! known.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::keeper::Keeper;
use crate::child;

/// Where the kernel's tracing is, mounted if need be.
const TRACEFS: &str = "
tracefs=/sys/kernel/tracing
[ -d $tracefs/instances ] || mount -t tracefs tracefs $tracefs
event=events/sock/inet_sock_set_state
";
/// Counts in an instance of its own, until its input ends.
const COUNT: &str = r"
set -e
instance=$tracefs/instances/tcpstate-bench-$$
mkdir $instance
trap 'rmdir $instance' EXIT
filter=common_pid==1
for thread in /proc/1/task/*; do filter=$filter'||'common_pid==${thread##*/}; done
echo $filter > $instance/$event/filter
echo 1 > $instance/$event/enable
echo ready
cat > /dev/null
cat $instance/per_cpu/cpu*/stats | awk -F': ' '/^entries|^overrun|^commit overrun|^dropped events/ {n += $2} END {print n}'
";
/// Names every place where somebody traces changes of state.
const SEARCH: &str = r#"
for place in $tracefs $tracefs/instances/*; do
    [ "$(cat $place/$event/enable 2> /dev/null || echo 0)" = 0 ] || echo $place
done
"#;

/// See the module.
pub(super) struct Witness(Keeper);

impl Witness {
    /// # Errors
    /// When the kernel's tracing cannot be had.
    pub(super) fn call() -> Result<Self> {
        let keeper = Keeper::start(&format!("{TRACEFS}{COUNT}"));
        Ok(Self(keeper.context("the kernel's own tracing cannot be had")?))
    }

    /// How many there were.
    ///
    /// # Errors
    /// When the kernel's tracing has failed meanwhile.
    pub(super) fn count(self) -> Result<u64> {
        let line = self.0.end()?;
        line.parse().with_context(|| format!("the kernel's own tracing says {line}"))
    }
}

/// # Errors
/// One sentence that says where, when somebody has the kernel's own tracing write down changes of state.
pub(super) fn ensure_nobody_writes_down() -> Result<()> {
    let script = format!("{TRACEFS}{SEARCH}");
    // Where there is no tracing, nobody does.
    let found =
        child::output_of(Command::new("unshare").args(["--mount", "sh", "-c", &script])).unwrap_or_default();
    let places: Vec<_> = found.lines().collect();
    ensure!(
        places.is_empty(),
        "the kernel's own tracing writes down sock:inet_sock_set_state, which would spoil every number, in {}; write 0 into events/sock/inet_sock_set_state/enable there, and start again",
        places.join(" and ")
    );
    Ok(())
}
