//! What is measured: everything that a part of the bench needs in order to start one of them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    bpf::Bpftool,
    metrics::Page,
    peers::Peer,
    stage::{Stage, leashed},
};
use crate::{
    daemon::{self, Daemon},
    http::Connection,
    running::Running,
    say::say,
};

/// What `tcpstate watch` asks for.
pub(super) const RECORDS: &str = "application/vnd.tcpstate.records";
/// How long the daemon may take to find out that it does not need its second program.
const SETTLING: Duration = Duration::from_mins(1);
/// How long the counters may take to rest after a load.
const COMING_TO_REST: Duration = Duration::from_secs(10);

pub(super) struct Subjects {
    pub(super) bpftool: Bpftool,
    pub(super) daemon: PathBuf,
    pub(super) examples: PathBuf,
    pub(super) empty_object: PathBuf,
    pub(super) peers: Vec<Peer>,
}

impl Subjects {
    /// A namespace for a load.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn stage(&self) -> Result<Stage> {
        Stage::set(&self.examples)
    }

    /// Attaches the program that does nothing, until what this returns goes.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(super) fn start_empty(&self) -> Result<Running> {
        let mut command = leashed(&self.examples.join("empty"));
        command.arg(&self.empty_object).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(&mut command, None)?;
        running.first_line().context("the empty program cannot be attached")?;
        Ok(running)
    }

    /// Starts the daemon with its defaults.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start_daemon(&self) -> Result<Daemon> {
        start(&self.daemon, &[])
    }

    /// Starts the daemon with room for so many sockets.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start_daemon_for(&self, sockets: u64) -> Result<Daemon> {
        start(&self.daemon, &["--max-sockets", &sockets.to_string()])
    }
}

fn start(program: &Path, arguments: &[&str]) -> Result<Daemon> {
    let mut command = leashed(program);
    command.args(daemon::ARGUMENTS).args(arguments).stdin(Stdio::null());
    let daemon = Daemon::of(Running::start(command.stderr(Stdio::piped()), None)?)?;
    let tier = daemon.connect()?.json("/api/v1/status")?["tier"].clone();
    ensure!(tier == "events", "the daemon sees {tier}, so there is nothing to measure");
    Ok(daemon)
}

/// Waits until the daemon has detached its second program, as it does where the first one misses nothing.
/// Returns whether it has.
///
/// # Errors
/// When the daemon does not answer.
pub(super) fn settle(connection: &mut Connection) -> Result<bool> {
    const PROBE: &str = "probe=\"inet_sock_set_state_nested\"";
    let begun = Instant::now();
    say("waiting until the daemon has settled (its second program is detached where it is not needed)");
    while begun.elapsed() < SETTLING {
        if page(connection)?.sum_where("tcpstate_probe_attached", PROBE)? == 0 {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(500));
    }
    say("its second program stays: the first one misses events here");
    Ok(false)
}

/// The metrics now.
///
/// # Errors
/// When the daemon does not answer.
pub(super) fn page(connection: &mut Connection) -> Result<Page> {
    Ok(Page::new(connection.get("/metrics")?))
}

/// What the daemon has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) transitions: u64,
    /// By kind.
    pub(super) lost: BTreeMap<String, u64>,
}

/// The counters, as soon as they rest.
///
/// # Errors
/// When the daemon does not answer.
pub(super) fn counted_at_rest(connection: &mut Connection) -> Result<Counted> {
    let begun = Instant::now();
    let mut last = None;
    loop {
        let page = page(connection)?;
        let now = Counted {
            transitions: page.sum("tcpstate_transitions_total")?,
            lost: page.by_label("tcpstate_events_lost_total")?,
        };
        if begun.elapsed() > COMING_TO_REST || last.as_ref() == Some(&now) {
            return Ok(now);
        }
        last = Some(now);
        thread::sleep(Duration::from_millis(200));
    }
}
