//! The tracker against what TCP can do to it. Each file tests one of the room's files.

mod failures;
mod gauge;
mod notes;
mod parked;
mod query;
mod resets;
mod table;

use std::{collections::HashMap, net::SocketAddr};

use tcpstate_common::{Counters, TcpState};

use super::{
    Actor, Comm, Event, Family, Gauges, Grouping, Holders, Limits, Owner, Process, Row, Scope, Tally, Timer,
    Tracker, Transition, Tuple,
};

pub(crate) const SECOND: u64 = 1_000_000_000;

pub(crate) fn tuple() -> Tuple {
    let local: SocketAddr = "127.0.0.1:8000".parse().expect("an address");
    let remote: SocketAddr = "127.0.0.2:40000".parse().expect("an address");
    Tuple { family: Family::V4, local, remote }
}

pub(crate) fn process(pid: u32, name: &str) -> Process {
    Process { pid, comm: Comm::new(name) }
}

pub(crate) fn transition(cookie: u64, at_ns: u64, from: TcpState, to: TcpState) -> Transition {
    Transition {
        at_ns,
        cookie: Some(cookie),
        netns: 1,
        tuple: tuple(),
        from,
        to,
        entered_ns: None,
        actor: None,
        error: 0,
        inferred: to == TcpState::TimeWait,
    }
}

pub(super) fn closed_by(mut event: Transition, pid: u32, name: &str) -> Event {
    event.actor = Some(Actor { process: process(pid, name), carried: true });
    Event::Transition(event)
}

pub(crate) fn row(cookie: u64, state: TcpState) -> Row {
    let mini = state == TcpState::TimeWait;
    Row {
        cookie,
        netns: 1,
        tuple: tuple(),
        state,
        timer: if mini { Timer::TimeWait } else { Timer::None },
        expires_ms: if mini { 60_000 } else { 0 },
        retransmits: 0,
        rqueue: 0,
        wqueue: 0,
        uid: (!mini).then_some(1000),
        inode: if mini { 0 } else { u32::try_from(cookie).expect("small") + 100 },
    }
}

/// A census, all at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    pub(crate) started_ns: u64,
    pub(crate) finished_ns: u64,
    pub(crate) rows: Vec<Row>,
}

impl Tracker {
    /// Takes in a whole census; returns by how many sockets it differed from what the events had said.
    /// Groups all sockets at once.
    pub(crate) fn attribute_all(
        &mut self,
        holders: &Holders,
        owners: &HashMap<u32, Owner>,
        top: usize,
        now_ns: u64,
    ) {
        let mut grouping = Grouping::default();
        assert!(!self.group(&mut grouping, 0..usize::MAX, holders), "there is no more");
        self.attribute(grouping, owners, top, now_ns);
    }

    pub(crate) fn reconcile(&mut self, census: &Census, counters: Option<(&Counters, &Counters)>) -> u64 {
        self.census_begins(Scope::ALL, census.started_ns);
        self.census_shows(&census.rows, census.finished_ns);
        self.census_ends(census.finished_ns, counters, None, &[]).drift
    }
}

impl Gauges {
    fn compare(&mut self, census: &Census, counters: Option<(&Counters, &Counters)>) -> u64 {
        self.reconcile(tally(census), counters, None, census.finished_ns)
    }
}

pub(crate) fn tally(census: &Census) -> Tally {
    let mut tally = Tally::new(Scope::ALL);
    for row in &census.rows {
        tally.add(row, census.finished_ns);
    }
    tally
}

pub(super) fn census(started_ns: u64, rows: Vec<Row>) -> Census {
    Census { started_ns, finished_ns: started_ns + 1000, rows }
}

pub(super) fn tracker(max_sockets: usize) -> Tracker {
    Tracker::new(Limits { max_sockets, max_resets: 8 }, false)
}
