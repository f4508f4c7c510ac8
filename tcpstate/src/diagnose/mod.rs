//! From evidence to findings: which program mistreats its connections, why, and what to change. Pure: time is an
//! argument, memory is bounded. Knows nothing of where evidence comes from and who reads the findings.
//!
//! A pass goes like this: [`Diagnosis::gather`] chooses sockets while somebody walks through the table;
//! [`Diagnosis::wants`] says what else is to be found out about them, and [`Diagnosis::wants_processes`], once it is
//! known who holds them, about which processes; [`Diagnosis::pass`] judges.

mod book;
mod candidate;
pub mod class;
pub mod evidence;
pub mod explain;
pub mod finding;
pub mod gather;
mod history;
mod rules;
mod say;
mod suppress;
pub mod thresholds;
mod unsettled;
mod view;
pub mod wants;

#[cfg(test)]
mod tests;

pub use class::Class;
pub use evidence::Evidence;
pub use finding::{Finding, Severity, Status};
pub use gather::{Gather, Gathered};
pub use thresholds::Thresholds;
pub use unsettled::Unsettled;
pub use wants::Wants;

use foldhash::HashSet;

use book::Book;
use gather::{Expected, Turn};
use history::History;
use rules::events::Events;
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
    book: Book,
    /// Cookies of sockets that use up ports, to see who holds them.
    users_of_ports: HashSet<u64>,
    established: u64,
    expected: Expected,
    passes: u64,
    unsettled: Unsettled,
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
            book: Book::default(),
            users_of_ports: HashSet::default(),
            established: 0,
            expected: Expected::default(),
            passes: 0,
            unsettled: Unsettled::default(),
            cannot_see: Vec::new(),
        }
    }

    /// Begins a pass: to be shown every socket of the table, in any order.
    #[must_use]
    pub fn gather(&self) -> Gather {
        let listening = self
            .history
            .listeners()
            .map(|listening| (listening.socket.netns, listening.socket.tuple.local.port()));
        let ownerless = self.history.ownerless().take(self.thresholds.max_established);
        let watched = ownerless.chain(self.users_of_ports.iter().copied());
        let of = self.established.div_ceil(self.thresholds.max_established.max(1) as u64).max(1);
        let turn = Turn { of, rest: self.passes % of };
        Gather::new(&self.thresholds, listening.collect(), watched.collect(), turn, self.expected)
    }

    /// What is to be found out about the sockets that were gathered.
    #[must_use]
    pub fn wants(&mut self, gathered: &Gathered) -> Wants {
        self.established = gathered.established;
        self.expected = Expected { sockets: gathered.sockets.len(), destinations: gathered.counted };
        self.users_of_ports = gathered
            .destinations
            .iter()
            .flat_map(|destination| destination.cookies.iter().copied())
            .collect();
        wants::of(gathered, &self.history, &self.thresholds, self.passes)
    }

    /// Sockets whose `tcp_info` is wanted as well, once it is known who holds which: whether they are still there says
    /// whether they are worth another look.
    #[must_use]
    pub fn wants_unheld(&self, evidence: &Evidence) -> Vec<u64> {
        wants::unheld(evidence)
    }

    /// The processes that are to be looked at, once `evidence` has everything but them: at most
    /// [`Thresholds::max_processes`].
    #[must_use]
    pub fn wants_processes(&self, evidence: &Evidence) -> Vec<u32> {
        wants::processes(evidence, self.events.pids(), self.thresholds.max_processes)
    }

    /// Judges. The events in `evidence` are those since the last pass.
    pub fn pass(&mut self, evidence: &Evidence) -> Changes {
        self.passes += 1;
        let seen = view::all(evidence);
        self.history.observe(evidence, &seen);
        let view = View::new(evidence, seen, &self.history, &self.thresholds);
        self.unsettled = unsettled::of(&view);
        self.events.observe(&view);
        let mut candidates = rules::judge(&view, &self.events);
        suppress::explain(&mut candidates);
        let counted: Vec<_> =
            candidates.iter().map(|candidate| (candidate.key, candidate.count, candidate.since_ns)).collect();
        let at_ns = evidence.at_ns;
        let changes = self.book.update(candidates, &self.history, at_ns, &self.thresholds);
        self.history.count(counted.into_iter(), at_ns);
        self.cannot_see = unseen(evidence, self.book.refused());
        changes
    }

    /// Everything found: first what is open, the worst first; then what was resolved not long ago.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.book.findings()
    }

    /// What the last pass could not tell yet.
    #[must_use]
    pub fn unsettled(&self) -> Unsettled {
        self.unsettled
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
            say::count(evidence.left_out, "socket")
        ));
    }
    if evidence.events_left_out > 0 {
        let events = say::count(evidence.events_left_out, "event");
        lines.push(format!(
            "{events} (resets, failed connects, closes of idle connections) were not looked at for lack of room."
        ));
    }
    if refused > 0 {
        lines.push(format!("{} could not be kept for lack of room.", say::count(refused, "finding")));
    }
    lines
}
