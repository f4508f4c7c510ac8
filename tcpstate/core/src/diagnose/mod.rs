//! From evidence to findings: which program mistreats its connections, why, and what to change. Pure: time is an
//! argument, memory is bounded. Knows nothing of where evidence comes from and who reads the findings.
//!
//! A pass selects sockets while the table is walked through ([`Diagnosis::selection`]), requires what else is to be found
//! out about them ([`Diagnosis::requirements`], [`Diagnosis::requires_info`] and [`Diagnosis::requires_processes`]), and
//! judges ([`Diagnosis::pass`]) in steps, each in a file of its own:
//!
//! 1. `connection`, `ending`: the facts of one connection, open or ended;
//! 2. `ends`: the two ends of a connection as one;
//! 3. `program`: which processes are one program;
//! 4. `suspicions`: what the rules see, and the harm;
//! 5. `causes`: what explains what, so that one cause is one finding;
//! 6. `harm`: how bad it is, from harm and growth alone;
//! 7. `store`: the findings, with trend and deadline, from opened to resolved.

mod causes;
pub mod class;
mod connection;
mod counts;
mod ending;
mod ends;
mod events;
pub mod evidence;
pub mod explain;
pub mod finding;
mod format;
pub mod harm;
mod history;
mod idle_times;
mod material;
mod naming;
mod pending;
mod program;
pub mod requirements;
pub mod selection;
mod settings;
mod socket_view;
mod store;
mod suspicion;
mod suspicions;
pub mod thresholds;
mod view;

#[cfg(test)]
mod tests;

pub use class::Class;
pub use evidence::Evidence;
pub use finding::{Finding, Severity, Status};
pub use material::{Collected, Material, Moment, Seen};
pub use pending::Pending;
pub use requirements::Requirements;
pub use selection::{Selected, Selection};
pub use thresholds::Thresholds;

use std::collections::BTreeSet;

use foldhash::HashSet;

use events::Events;
use evidence::{Hidden, Unseen, What};
use history::History;
use program::Programs;
use selection::{Expected, Turn};
use store::FindingStore;
use view::View;

const NS_PER_MS: u64 = 1_000_000;

/// What changed at a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Findings that were opened.
    pub opened: Vec<Finding>,
    /// Findings that were open and are now resolved.
    pub resolved: Vec<Finding>,
}

/// The rules, what they remember, and what they have found.
#[derive(Debug)]
pub struct Diagnosis {
    thresholds: Thresholds,
    history: History,
    programs: Programs,
    events: Events,
    store: FindingStore,
    /// Cookies of sockets that use up ports, to see who holds them.
    users_of_ports: HashSet<u64>,
    established: u64,
    expected: Expected,
    passes: u64,
    pending: Pending,
    /// Processes that something points at: more is asked about their connections.
    pointed: BTreeSet<u32>,
    /// The connections of those, as of the last look-up.
    pointed_sockets: HashSet<u64>,
    cannot_see: Vec<String>,
    not_looked_at: Vec<String>,
}

impl Diagnosis {
    /// Nothing has been looked at yet.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            history: History::default(),
            programs: Programs::default(),
            events: Events::default(),
            store: FindingStore::default(),
            users_of_ports: HashSet::default(),
            established: 0,
            expected: Expected::default(),
            passes: 0,
            pending: Pending::default(),
            pointed: BTreeSet::new(),
            pointed_sockets: HashSet::default(),
            cannot_see: Vec::new(),
            not_looked_at: Vec::new(),
        }
    }

    /// Begins a pass: to be shown every socket of the table, in any order.
    #[must_use]
    pub fn selection(&self) -> Selection {
        let listening = self
            .history
            .listeners()
            .map(|listening| (listening.socket.netns, listening.socket.tuple.local.port()));
        let ownerless = self.history.ownerless().take(self.thresholds.max_established);
        let watched = ownerless.chain(self.users_of_ports.iter().chain(&self.pointed_sockets).copied());
        let of = self.established.div_ceil(self.thresholds.max_established.max(1) as u64).max(1);
        let turn = Turn { of, rest: self.passes % of };
        Selection::new(&self.thresholds, listening.collect(), watched.collect(), turn, self.expected)
    }

    /// What is to be found out about the sockets that were selected.
    #[must_use]
    pub fn requirements(&mut self, selected: &Selected) -> Requirements {
        self.established = selected.established;
        self.expected = Expected { sockets: selected.sockets.len(), destinations: selected.counted };
        self.users_of_ports = selected
            .destinations
            .iter()
            .flat_map(|destination| destination.cookies.iter().copied())
            .collect();
        let mut required = requirements::of(selected, &self.history, &self.thresholds, self.passes);
        required.processes = self.pointed.iter().copied().collect();
        required
    }

    /// Sockets whose `tcp_info` is required as well, once it is known who holds which: those that nobody holds, of which
    /// that says whether they are still there, those of processes that something points at, and those that are older than
    /// their holders.
    #[must_use]
    pub fn requires_info(&self, evidence: &Evidence) -> Vec<u64> {
        let mut cookies = requirements::unheld(evidence);
        cookies.extend(requirements::of_pointed(evidence, &self.pointed));
        cookies.extend(requirements::older_than_their_holders(evidence));
        cookies
    }

    /// The processes that are to be looked at, once `evidence` has everything but them: at most
    /// [`Thresholds::max_processes`].
    #[must_use]
    pub fn requires_processes(&self, evidence: &Evidence) -> Vec<u32> {
        requirements::processes(evidence, self.events.pids(), self.thresholds.max_processes)
    }

    /// Judges. The events in `evidence` are those since the last pass.
    pub fn pass(&mut self, evidence: &Evidence) -> Changes {
        self.passes += 1;
        let seen = socket_view::all(evidence);
        self.history.observe(evidence, &seen);
        self.programs.observe(evidence);
        let view = View::new(evidence, seen, &self.history, &self.programs, &self.thresholds);
        self.pending = pending::of(&view);
        self.events.observe(&view);
        let suspicions::Suspected { mut suspicions, mut counts, leaks } =
            suspicions::judge(&view, &self.events);
        causes::explain(&view, &mut suspicions);
        harm::doubt(&mut suspicions, evidence.hidden.sockets);
        let told = suspicions.iter();
        counts.extend(told.map(|suspicion| (suspicion.series, suspicion.trend_count(), suspicion.since_ns)));
        self.pointed = requirements::pointed(&view, &suspicions);
        self.pointed_sockets = requirements::sockets_of(evidence, &self.pointed);
        let queues = view.queue_looks();
        let at_ns = evidence.at_ns;
        let changes = self.store.update(suspicions, &self.history, at_ns, &self.thresholds);
        self.history.count(counts.into_iter(), at_ns);
        for (listener, look) in queues {
            self.history.remember_queue(listener, look);
        }
        for leak in leaks {
            self.history.remember_leak(leak, at_ns);
        }
        self.not_looked_at = not_looked_at(evidence);
        self.cannot_see = unseen(evidence, self.store.refused());
        self.cannot_see.extend_from_slice(&self.not_looked_at);
        changes
    }

    /// Everything found: first what is open, the worst first; then what was resolved not long ago.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.store.findings()
    }

    /// What the last pass could not tell yet.
    #[must_use]
    pub fn pending(&self) -> Pending {
        self.pending
    }

    /// What could not be seen at the last pass, one sentence each, for the head of the list.
    #[must_use]
    pub fn cannot_see(&self) -> &[String] {
        &self.cannot_see
    }

    /// Those of [`Self::cannot_see`] that make a host without findings none that is known to be well.
    #[must_use]
    pub fn not_looked_at(&self) -> &[String] {
        &self.not_looked_at
    }
}

/// What was not looked at, of all that there is.
fn not_looked_at(evidence: &Evidence) -> Vec<String> {
    let Hidden { namespaces, processes, sockets, .. } = evidence.hidden;
    let holders = evidence.cannot_see.iter().filter(|unseen| is_of_holders(unseen));
    let mut lines: Vec<_> = holders.map(|unseen| format!("{}.", unseen.why)).collect();
    if namespaces > 0 {
        let count = format::count(namespaces, "network namespace");
        lines.push(format!("The sockets of {count}, which could not be visited (CAP_SYS_ADMIN and CAP_SYS_PTRACE are needed)."));
    }
    if processes > 0 {
        let of = if processes == 1 { "its network namespace" } else { "their network namespaces" };
        let count = if processes == 1 {
            "a process has".to_owned()
        } else {
            format!("{} processes have", format::digits(processes))
        };
        lines.push(format!(
            "Whether {count} sockets elsewhere: {of} may not be read (no CAP_SYS_PTRACE, or a protected process)."
        ));
    }
    if sockets > 0 {
        let count = format::count(sockets, "socket");
        lines.push(format!("{count} for which the table has no room (--max-sockets, --max-memory)."));
    }
    lines
}

fn is_of_holders(unseen: &Unseen) -> bool {
    unseen.of.is_none() && unseen.what == What::Holders
}

/// What else could not be seen of all.
fn unseen(evidence: &Evidence, refused: u64) -> Vec<String> {
    let general = evidence.cannot_see.iter().filter(|unseen| unseen.of.is_none() && !is_of_holders(unseen));
    let mut lines: Vec<_> = general.map(|unseen| format!("{}.", unseen.why)).collect();
    if evidence.hidden.without_netlink {
        let why = "this kernel has no tcp_diag, so that sockets are read from /proc/net/tcp";
        lines.push(format!("The limits of accept queues and what tcp_info says: {why}."));
    }
    let without = [
        (evidence.hidden.without_resets_sent, "sent"),
        (evidence.hidden.without_resets_received, "received"),
    ];
    lines.extend(without.into_iter().filter(|(is_so, _)| *is_so).map(|(_, which)| {
        format!("RSTs that were {which}: the eBPF program for them could not be attached (`tcpstate check` gives the reason).")
    }));
    if evidence.left_out > 0 {
        lines.push(format!(
            "{} were not looked at for lack of room.",
            format::count(evidence.left_out, "socket")
        ));
    }
    if evidence.events_left_out > 0 {
        let events = format::count(evidence.events_left_out, "event");
        lines.push(format!(
            "{events} (resets, failed connects, closes of idle connections) were not looked at for lack of room."
        ));
    }
    if refused > 0 {
        lines.push(format!("{} could not be kept for lack of room.", format::count(refused, "finding")));
    }
    lines
}
