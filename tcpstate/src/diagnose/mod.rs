//! From evidence to findings: which program mistreats its connections, why, and what to change. Pure: time is an
//! argument, memory is bounded. Knows nothing of where evidence comes from and who reads the findings.
//!
//! A pass goes like this: [`Diagnosis::selection`] chooses sockets while somebody walks through the table;
//! [`Diagnosis::requirements`] says what else is to be found out about them, and [`Diagnosis::requires_processes`], once it is
//! known who holds them, about which processes; [`Diagnosis::pass`] judges.

mod causes;
pub mod class;
pub mod evidence;
pub mod explain;
pub mod finding;
mod format;
mod history;
mod pending;
pub mod requirements;
pub mod selection;
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
pub use pending::Pending;
pub use requirements::Requirements;
pub use selection::{Selected, Selection};
pub use thresholds::Thresholds;

use foldhash::HashSet;

use history::History;
use selection::{Expected, Turn};
use store::FindingStore;
use suspicions::events::Events;
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
    events: Events,
    store: FindingStore,
    /// Cookies of sockets that use up ports, to see who holds them.
    users_of_ports: HashSet<u64>,
    established: u64,
    expected: Expected,
    passes: u64,
    pending: Pending,
    cannot_see: Vec<String>,
}

impl Diagnosis {
    /// Nothing has been looked at yet.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            history: History::default(),
            events: Events::default(),
            store: FindingStore::default(),
            users_of_ports: HashSet::default(),
            established: 0,
            expected: Expected::default(),
            passes: 0,
            pending: Pending::default(),
            cannot_see: Vec::new(),
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
        let watched = ownerless.chain(self.users_of_ports.iter().copied());
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
        requirements::of(selected, &self.history, &self.thresholds, self.passes)
    }

    /// Sockets whose `tcp_info` is wanted as well, once it is known who holds which: whether they are still there says
    /// whether they are worth another look.
    #[must_use]
    pub fn requires_info(&self, evidence: &Evidence) -> Vec<u64> {
        requirements::unheld(evidence)
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
        let seen = view::all(evidence);
        self.history.observe(evidence, &seen);
        let view = View::new(evidence, seen, &self.history, &self.thresholds);
        self.pending = pending::of(&view);
        self.events.observe(&view);
        let mut suspicions = suspicions::judge(&view, &self.events);
        causes::explain(&mut suspicions);
        let counted: Vec<_> =
            suspicions.iter().map(|suspicion| (suspicion.key, suspicion.count, suspicion.since_ns)).collect();
        let at_ns = evidence.at_ns;
        let changes = self.store.update(suspicions, &self.history, at_ns, &self.thresholds);
        self.history.count(counted.into_iter(), at_ns);
        self.cannot_see = unseen(evidence, self.store.refused());
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
}

/// What could not be seen of all.
fn unseen(evidence: &Evidence, refused: u64) -> Vec<String> {
    let general = evidence.cannot_see.iter().filter(|unseen| unseen.of.is_none());
    let mut lines: Vec<_> = general.map(|unseen| format!("{}.", unseen.why)).collect();
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
