//! Where the load runs: a network namespace that is made for it, and goes with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use super::numbers::as_f64;
use crate::{child, running::Running};

/// How long parked connections may take to go: a process that holds nine thousand closes them one by one.
const GOING: Duration = Duration::from_mins(2);

pub(super) struct Stage {
    load: PathBuf,
    /// The namespace's file.
    namespace: String,
    keeper: Running,
}

/// Who ends the connections of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closer {
    Client,
    Server,
    Reset,
}

impl Closer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Reset => "rst",
        }
    }
}

/// What a load did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Churned {
    /// Connections a second.
    pub(super) rate: f64,
    /// Connections from the first to the last.
    pub(super) connections: u64,
}

impl Stage {
    /// # Errors
    /// When the namespace cannot be made.
    pub(super) fn set(examples: &Path) -> Result<Self> {
        // It says when it is there, and stays as long as its input is open.
        let mut keeper = leashed(Path::new("unshare"));
        keeper.args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"]);
        let mut keeper = Running::start(keeper.stdin(Stdio::piped()).stdout(Stdio::piped()), None)?;
        keeper.first_line().context("cannot make a network namespace")?;
        let namespace = format!("/proc/{}/ns/net", keeper.pid());
        Ok(Self { load: examples.join("load"), namespace, keeper })
    }

    /// Makes connections as fast as this machine does, for so long.
    ///
    /// # Errors
    /// When a connection fails.
    pub(super) fn churn(&self, closer: Closer, seconds: u64) -> Result<Churned> {
        let mut load = self.start_churn(closer, seconds)?;
        let line = load.first_line().context("the load failed")?;
        load.finish(Duration::from_secs(10))?;
        parse(&line).with_context(|| format!("the load says {line}"))
    }

    /// Starts the same, which ends by itself.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start_churn(&self, closer: Closer, seconds: u64) -> Result<Running> {
        let mut load = self.inside(&self.load);
        load.args(["churn", closer.name(), &threads().to_string(), &seconds.to_string()]);
        Running::start(load.stdout(Stdio::piped()), None)
    }

    /// How many connections have been accepted here so far.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(super) fn accepted(&self) -> Result<u64> {
        let snmp = fs::read_to_string(format!("/proc/{}/net/snmp", self.keeper.pid()))
            .context("the namespace of the load is gone")?;
        passive_opens(&snmp).context("/proc/net/snmp looks different here")
    }

    /// Holds so many connections until what this returns goes.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(super) fn park(&self, state: &str, connections: u64) -> Result<Parked> {
        let mut load = self.inside(&self.load);
        load.args(["park", state, &connections.to_string()]);
        let mut load = Running::start(load.stdin(Stdio::piped()).stdout(Stdio::piped()), None)?;
        load.first_line().with_context(|| format!("{connections} connections cannot be held"))?;
        Ok(Parked(load))
    }

    /// Lists all sockets here with ss, and throws the list away.
    ///
    /// # Errors
    /// When ss fails.
    pub(super) fn list_sockets(&self) -> Result<()> {
        let mut ss = self.inside(Path::new("ss"));
        child::run(ss.arg("-tan").stdout(Stdio::null()), "listing the sockets with ss")
    }

    fn inside(&self, program: &Path) -> Command {
        let mut command = leashed(Path::new("nsenter"));
        command.arg(format!("--net={}", self.namespace)).arg(program);
        command
    }
}

/// Threads of a load: as many as there are cores.
pub(super) fn threads() -> u64 {
    thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

/// Changes of state of one connection, both ends together: each end has five, whichever closes first.
pub(super) const TRANSITIONS_OF_A_CONNECTION: u64 = 10;

/// All changes of state that a load brings about in which nobody resets: each thread also has a listener, which
/// comes and goes.
pub(super) fn transitions(churned: Churned) -> u64 {
    churned.connections * TRANSITIONS_OF_A_CONNECTION + 2 * threads()
}

/// Connections that stay until this goes.
pub(super) struct Parked(Running);

impl Drop for Parked {
    fn drop(&mut self) {
        // Told to end, it waits until all sockets are gone; killed, it would leave them behind for a while.
        let _ = self.0.finish(GOING);
    }
}

/// A command that dies with us, also when we are killed.
pub(super) fn leashed(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// `PassiveOpens` of the two lines that begin with `Tcp:`, names and numbers.
fn passive_opens(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
    let (mut names, mut numbers) = (lines.next()?, lines.next()?);
    numbers.nth(names.position(|name| name == "PassiveOpens")?)?.parse().ok()
}

/// `CONNECTIONS NANOSECONDS ALL_CONNECTIONS`.
fn parse(line: &str) -> Option<Churned> {
    let mut numbers = line.split(' ').map(|word| word.parse::<u64>().ok());
    let (in_time, ns, connections) = (numbers.next()??, numbers.next()??, numbers.next()??);
    (ns > 0).then(|| Churned { rate: as_f64(in_time) / as_f64(ns) * 1e9, connections })
}

#[cfg(test)]
mod tests {
    use super::{Churned, parse, passive_opens};

    #[test]
    fn the_rate_is_of_the_connections_in_time_and_the_number_of_all() {
        assert_eq!(parse("500 2000000000 503"), Some(Churned { rate: 250.0, connections: 503 }));
        assert_eq!(parse("500 2000000000"), None);
        assert_eq!(parse("500 0 500"), None);
    }

    #[test]
    fn accepted_connections_are_found_by_their_name() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: RtoMin ActiveOpens PassiveOpens\nTcp: 200 7 42\n";
        assert_eq!(passive_opens(snmp), Some(42));
        assert_eq!(passive_opens("Tcp: RtoMin\nTcp: 200\n"), None);
    }
}
