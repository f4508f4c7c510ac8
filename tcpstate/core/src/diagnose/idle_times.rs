//! Idle times: after how long without data a program ends the connections that its listener took. The times themselves
//! tell whether that is a fixed time.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

use super::{
    NS_PER_MS,
    counts::Counts,
    evidence::IDLE_CLOSE_MS,
    program::{Member, ProgramId},
    view::View,
};
use crate::track::IdleClose;

/// Servers whose times are remembered.
const MAX_SERVERS: usize = 4_096;
/// Times that are remembered of each.
const MAX_TIMES: usize = 128;
/// For how long they are, ns: where the idle timeout is a minute and the clients are few, it takes a while until there
/// are enough.
const KEPT_NS: u64 = 600_000_000_000;
/// Fewer times than this are no habit.
pub(super) const MIN_TIMES: usize = 3;

/// A program that takes connections from a listener.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Server {
    pub(super) netns: u32,
    pub(super) listener: SocketAddr,
    /// [`ProgramId::NONE`] where it is not known who closed.
    pub(super) program: ProgramId,
}

/// One close.
#[derive(Clone, Copy, Debug)]
struct Time {
    at_ns: u64,
    /// For how long the connection had been idle, ms.
    idle_ms: u64,
    /// The server sent something just before.
    said_farewell: bool,
}

/// The closes of one server, the oldest first.
#[derive(Clone, Debug, Default)]
struct Closes {
    times: VecDeque<Time>,
    /// Those within the window in which events are counted.
    counts: Counts,
}

/// The closes of all servers.
#[derive(Debug, Default)]
pub(super) struct IdleTimes(HashMap<Server, Closes>);

/// What a server does with idle connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Habit {
    /// How many it has closed within the window in which events are counted.
    pub(super) closes: u64,
    /// How many of its times are known.
    pub(super) times: usize,
    /// The time after which it does, ms, if it is always about the same.
    pub(super) after_ms: Option<u64>,
    /// It sends something before it closes: a farewell, or an answer that took long. Then the time counts from the last
    /// data that came in, and it is not certain that the connections were idle.
    pub(super) says_farewell: bool,
}

impl IdleTimes {
    /// Takes in the closes of a pass, and forgets what is too old.
    pub(super) fn observe(&mut self, view: &View<'_>) {
        for close in &view.evidence.closes {
            self.add_close(view, close);
        }
        let at_ns = view.evidence.at_ns;
        let from_ns = at_ns.saturating_sub(view.thresholds.event_window_ms * NS_PER_MS);
        let kept_ns = at_ns.saturating_sub(KEPT_NS);
        self.0.retain(|_, closes| {
            closes.times.retain(|time| time.at_ns >= kept_ns);
            closes.counts.forget_before(from_ns);
            !closes.times.is_empty()
        });
    }

    fn add_close(&mut self, view: &View<'_>, close: &IdleClose) {
        // A connection on which no request came is given up after another time than one that was used. What clients close is
        // theirs to close.
        if close.received_bytes == 0 {
            return;
        }
        let Some(listening) = view.listener_at(close.netns, close.tuple.local) else { return };
        let program =
            close.process.map_or(ProgramId::NONE, |process| view.programs.of(&Member::from(process)));
        let server = Server { netns: close.netns, listener: listening.socket.tuple.local, program };
        let said_farewell = close.spoke_ms < IDLE_CLOSE_MS;
        let idle_ms = if said_farewell { close.heard_ms } else { close.heard_ms.min(close.spoke_ms) };
        self.add(server, close.at_ns, idle_ms, said_farewell);
    }

    /// Takes in that a server ended a connection after so long without data.
    pub(super) fn add(&mut self, server: Server, at_ns: u64, idle_ms: u64, said_farewell: bool) {
        if self.0.len() >= MAX_SERVERS && !self.0.contains_key(&server) {
            return;
        }
        let closes = self.0.entry(server).or_default();
        if closes.times.len() >= MAX_TIMES {
            closes.times.pop_front();
        }
        closes.times.push_back(Time { at_ns, idle_ms, said_farewell });
        closes.counts.add(at_ns, 1);
    }

    /// What is known of the program behind a listener; of all programs there if none is given.
    pub(super) fn habit(&self, server: &Server, spread_percent: u64) -> Option<Habit> {
        let of_it = |known: &Server| {
            (known.netns, known.listener) == (server.netns, server.listener)
                && (server.program == ProgramId::NONE || known.program == server.program)
        };
        let of_it: Vec<_> =
            self.0.iter().filter(|(known, _)| of_it(known)).map(|(_, closes)| closes).collect();
        let times: Vec<_> = of_it.iter().flat_map(|closes| &closes.times).copied().collect();
        let farewells = times.iter().filter(|time| time.said_farewell).count();
        (!times.is_empty()).then(|| Habit {
            closes: of_it.iter().map(|closes| closes.counts.total()).sum(),
            times: times.len(),
            after_ms: constant(times.iter().map(|time| time.idle_ms).collect(), spread_percent),
            says_farewell: farewells * 10 > times.len(),
        })
    }

    /// How much is remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }
}

/// The median of the times, if nine in ten are near it.
fn constant(mut times: Vec<u64>, spread_percent: u64) -> Option<u64> {
    times.sort_unstable();
    let median = *times.get(times.len() / 2)?;
    let near =
        times.iter().filter(|ms| ms.abs_diff(median) <= median.saturating_mul(spread_percent) / 100).count();
    (times.len() >= MIN_TIMES && near * 10 >= times.len() * 9).then_some(median)
}
