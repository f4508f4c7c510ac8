//! The connection table and what follows from it: events and censuses in, answers out. Pure: time is an
//! argument, memory is bounded, and whatever is given up is counted. Knows nothing of where events come
//! from and who asks.

mod aside;
pub mod census;
pub mod closes;
pub mod event;
pub mod failures;
pub mod gauge;
pub mod latest;
pub mod minis;
pub mod notes;
mod packed;
pub mod parked;
mod places;
pub mod query;
pub mod resets;
mod sockets;
pub mod table;
pub mod tier;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use tcpstate_common::{Counters, Dwell, TcpState, state::STATE_SLOTS};

pub use census::{NO_LIMIT, Row, Scope, Tally, Timer};
pub use closes::IdleClose;
pub use event::{
    Actor, Comm, Event, Family, Opened, Process, ResetReceived, ResetSent, Transition, Tuple, address, octets,
};
pub use failures::Failure;
pub use gauge::{Gauges, SocketCounts};
pub use latest::Latest;
pub use notes::Note;
pub use parked::{Grouping, Holder, Holders, Key, Owner, ParkedGroup};
pub use query::{Filter, Page};
pub use resets::{Circumstances, Direction, Phase, Reset, Resets};
pub use sockets::Sockets;
pub use table::{Since, Socket, Table};
pub use tier::Tier;

use notes::Notes;

/// How much the tracker may remember.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sockets in the table.
    pub max_sockets: usize,
    /// Resets in the list of the latest ones, and failed connects and closes of idle connections in theirs.
    pub max_resets: usize,
}

/// What the tracker had to give up, since it began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct GivenUp {
    /// Sockets for which the table had no room.
    pub sockets: u64,
    /// Sockets of which it is not known since when they are in their state and who acted, because there was no
    /// room for what the kernel side remembered of them until a census showed them: here, or there, where another socket
    /// took the place before it was looked at.
    pub notes: u64,
    /// Events about sockets that had already ended, told too late.
    pub late_events: u64,
}

/// Everything known about the connections of this host.
#[derive(Debug)]
pub struct Tracker {
    table: Table,
    notes: Notes,
    gauges: Gauges,
    resets: Resets,
    failures: Latest<Failure>,
    closes: Latest<IdleClose>,
    parked: Vec<ParkedGroup>,
    unattributed: u64,
    census: Option<Census>,
}

/// What a census has shown, and how that compares with what the events had said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Compared {
    /// Sockets that it has shown.
    pub sockets: u64,
    /// The `TIME_WAIT` among them.
    pub time_waits: u64,
    /// By how many sockets the gauges were off.
    pub drift: u64,
}

/// A census that is being taken.
#[derive(Debug)]
struct Census {
    started_ns: u64,
    tally: Tally,
}

impl Tracker {
    /// An empty table. Where there are dumps only (`counted` false) there are no counters, and the gauges are the censuses'.
    #[must_use]
    pub fn new(limits: Limits, counted: bool) -> Self {
        Self {
            table: Table::new(limits.max_sockets),
            notes: Notes::new(limits.max_sockets),
            gauges: Gauges::new(counted),
            resets: Resets::new(limits.max_resets),
            failures: Latest::new(limits.max_resets),
            closes: Latest::new(limits.max_resets),
            parked: Vec::new(),
            unattributed: 0,
            census: None,
        }
    }

    /// Takes in one event, and adds to it what the tracker knows and the kernel side does not any more.
    pub fn ingest(&mut self, event: &mut Event) {
        self.ingest_with(event, Circumstances::default());
    }

    /// The same for a reset about whose connection the source knows more.
    pub fn ingest_with(&mut self, event: &mut Event, about: Circumstances) {
        match event {
            Event::Transition(transition) => {
                if let Some(cookie) = transition.cookie {
                    self.notes.forget(cookie);
                }
                self.table.transition(transition);
                if let Some(failure) = Failure::of(transition) {
                    self.failures.push(failure);
                }
            }
            Event::ResetSent(reset) => {
                let about = about.or(self.circumstances(reset.cookie, reset.state));
                self.resets.sent(reset, about);
                // What looked like a hand-over to a mini-socket was the end; the kernel side has taken back that
                // it counted one.
                if reset.state == Some(TcpState::Close)
                    && let Some(cookie) = reset.cookie
                {
                    self.notes.forget(cookie);
                    self.table.end(cookie, reset.at_ns);
                }
            }
            Event::ResetReceived(reset) => {
                let about = about.or(self.circumstances(reset.cookie, Some(reset.state)));
                self.resets.received(reset, about);
            }
        }
    }

    /// What the table knows of a socket that meets a reset in this state.
    fn circumstances(&self, cookie: Option<u64>, state: Option<TcpState>) -> Circumstances {
        let Some(socket) = cookie.and_then(|cookie| self.table.get(cookie)) else {
            return Circumstances::default();
        };
        let entered_ns = match socket.since {
            Since::Exactly(ns) if Some(socket.state) == state => Some(ns),
            _ => None,
        };
        Circumstances { entered_ns, actor: socket.actor, opened: socket.opened, ..Circumstances::default() }
    }

    /// A process acted on a socket, and the socket stays in its state.
    pub fn acted(&mut self, cookie: u64, process: Option<Process>) {
        self.table.acted(cookie, process);
    }

    /// A process closed a connection that was idle.
    pub fn closed_idle(&mut self, close: IdleClose) {
        self.closes.push(close);
    }

    /// Takes in what the kernel side remembers of a socket.
    pub fn note(&mut self, note: Note) {
        if !self.table.note(&note) {
            self.notes.add(&note);
        }
    }

    /// Times spent in their states, by sockets that the kernel side had handed over, by state.
    #[must_use]
    pub fn dwell(&self) -> &[Dwell; STATE_SLOTS] {
        self.table.dwell()
    }

    /// A census begins. It comes in portions, with events in between.
    pub fn census_begins(&mut self, scope: Scope, started_ns: u64) {
        self.table.census_begins(scope);
        self.census = Some(Census { started_ns, tally: Tally::new(scope) });
    }

    /// Takes in sockets that exist.
    pub fn census_shows(&mut self, rows: &[Row], now_ns: u64) {
        let Some(census) = &mut self.census else { return };
        for row in rows {
            census.tally.add(row, now_ns);
            self.table.census_shows(row, census.started_ns, now_ns, &mut self.notes);
        }
    }

    /// All that exists has been shown, but what is in the network namespaces that were not visited: that goes on as it was,
    /// and counts. The counters are those from before and after the census; without them (dumps only) the census alone
    /// counts. `minis`: how many mini-sockets there are where it was, if the kernel says it.
    pub fn census_ends(
        &mut self,
        finished_ns: u64,
        counters: Option<(&Counters, &Counters)>,
        minis: Option<u64>,
        unvisited: &[u32],
    ) -> Compared {
        let Some(Census { started_ns, mut tally }) = self.census.take() else { return Compared::default() };
        let (sockets, time_waits) = (tally.sockets, tally.minis(TcpState::TimeWait));
        let kept = self.table.census_ends(&mut tally, started_ns, finished_ns, &mut self.notes, unvisited);
        let minis = minis.map(|minis| minis + kept);
        self.notes.forget_before(started_ns, tally.scope);
        let drift = self.gauges.reconcile(tally, counters, minis, finished_ns);
        Compared { sockets, time_waits, drift }
    }

    /// Events were missed: see [`Gauges::doubt`].
    pub fn doubt_counters(&mut self) {
        self.gauges.doubt();
    }

    /// Groups some of the sockets, by their places in the table, by those who hold them. Returns whether there are more
    /// places.
    pub fn group(&self, grouping: &mut Grouping, places: Range<usize>, holders: &Holders) -> bool {
        let (sockets, more) = self.table.sockets().portion(places);
        grouping.add(sockets, holders);
        more
    }

    /// Takes in how the sockets that park are grouped. At most `top` groups a state are named; the rest is one group.
    pub fn attribute(&mut self, grouping: Grouping, owners: &HashMap<u32, Owner>, top: usize, now_ns: u64) {
        (self.parked, self.unattributed) = grouping.finish(owners, top, now_ns);
    }

    /// Sockets by state as they stand now, from the counters read at this moment.
    #[must_use]
    pub fn sockets(&self, counters: Option<&Counters>, now_ns: u64) -> SocketCounts {
        self.gauges.read(counters, now_ns)
    }

    /// One page of the sockets that pass the filter.
    #[must_use]
    pub fn page(&self, filter: &Filter, now_ns: u64) -> Page {
        query::page(&self.table, filter, now_ns)
    }

    /// The latest resets.
    #[must_use]
    pub fn resets(&self) -> &Resets {
        &self.resets
    }

    /// The latest failed connects.
    #[must_use]
    pub fn failures(&self) -> &Latest<Failure> {
        &self.failures
    }

    /// The latest closes of idle connections.
    #[must_use]
    pub fn closes(&self) -> &Latest<IdleClose> {
        &self.closes
    }

    /// Calls `each` with some of the sockets, by their places in the table. Returns whether there are more places. A
    /// socket that is moved to another place meanwhile may be passed over.
    pub fn some(&self, places: Range<usize>, mut each: impl FnMut(&Socket)) -> bool {
        let (sockets, more) = self.table.sockets().portion(places);
        for socket in sockets {
            each(&socket);
        }
        more
    }

    /// How many sockets there are in a state.
    #[must_use]
    pub fn count(&self, state: TcpState) -> usize {
        self.table.count(state)
    }

    /// Parked sockets grouped by owner, as of the last [`Self::attribute`].
    #[must_use]
    pub fn parked(&self) -> &[ParkedGroup] {
        &self.parked
    }

    /// Owned parked sockets for which no holder was found, as of the last [`Self::attribute`].
    #[must_use]
    pub fn unattributed(&self) -> u64 {
        self.unattributed
    }

    /// Whether a process must be looked up to say who parks sockets.
    #[must_use]
    pub fn has_owned_parked(&self) -> bool {
        TcpState::ALL.iter().any(|state| state.parks() && self.count(*state) > 0)
            && self.owned_parked().next().is_some()
    }

    /// The cookies of the sockets that park and that a process must have open.
    pub fn owned_parked(&self) -> impl Iterator<Item = u64> {
        let owned = self.table.sockets().iter().filter(|socket| socket.state.parks() && socket.inode != 0);
        owned.map(|socket| socket.cookie)
    }

    /// Inodes of the files of these sockets, or of all, as far as there are files.
    #[must_use]
    pub fn inodes(&self, cookies: Option<&[u64]>) -> HashSet<u32> {
        let inodes: HashSet<_> = match cookies {
            Some(cookies) => cookies
                .iter()
                .filter_map(|cookie| self.table.get(*cookie))
                .map(|socket| socket.inode)
                .collect(),
            None => self.table.sockets().iter().map(|socket| socket.inode).collect(),
        };
        inodes.into_iter().filter(|inode| *inode != 0).collect()
    }

    /// Sockets in the table.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.table.len()
    }

    /// Sockets that exist and are not in the table for lack of room, as of the last census.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.table.missing()
    }

    /// What was given up for lack of room.
    #[must_use]
    pub fn given_up(&self) -> GivenUp {
        GivenUp {
            sockets: self.table.refused(),
            // Without counters there are no notes either.
            notes: self.notes.missed() + if self.gauges.are_counted() { self.table.unnoted() } else { 0 },
            late_events: self.table.late_events(),
        }
    }
}
