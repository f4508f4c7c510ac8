//! What all handlers share: the way to the engine, the signal to end, and the few numbers that arise here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, watch};
use utoipa::openapi::OpenApi;

use super::{
    ask::{Engine, NoAnswer, Readings},
    http::{Bounds, connections::Connections},
};
use crate::{pulse::Pulses, track::Phase};

/// Shared by all handlers; a clone is a handle to the same.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) engine: Engine,
    /// Whether the rest of the daemon works.
    pub(super) pulses: Pulses,
    /// Becomes true, or loses its sender, when the daemon ends.
    pub(super) stop: watch::Receiver<bool>,
    /// The description of the API.
    pub(super) openapi: Arc<OpenApi>,
    pub(super) own: Arc<Own>,
    /// A place for each watcher of events.
    pub(super) watchers: Arc<Semaphore>,
}

/// Why a request is refused that could be answered at another time, or under another name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// Too many like it are being answered.
    Busy,
    /// There are as many watchers as there may be.
    Watchers,
    /// It calls the daemon by a name that is not its own.
    Host,
}

impl Refused {
    pub(super) const ALL: [Self; 3] = [Self::Busy, Self::Watchers, Self::Host];

    /// The name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Watchers => "watchers",
            Self::Host => "host",
        }
    }
}

/// Numbers that arise while serving.
#[derive(Debug)]
pub(super) struct Own {
    connections: Arc<Connections>,
    late: Arc<AtomicU64>,
    refused: [AtomicU64; Refused::ALL.len()],
    watch_lost: AtomicU64,
    last_scrape_ns: AtomicU64,
    received: [HighWater; Phase::ALL.len()],
}

/// Keeps a counter that is a difference of two others from going back. They are not read at the same moment,
/// so the difference can fall by one between two readings; for Prometheus that would be a restart.
#[derive(Debug, Default)]
pub(super) struct HighWater(AtomicU64);

impl HighWater {
    /// The largest count so far, this one included.
    pub(super) fn raise(&self, count: u64) -> u64 {
        self.0.fetch_max(count, Ordering::Relaxed).max(count)
    }
}

impl Own {
    /// Of these connections; the engine counts there what it did not answer in time.
    pub(super) fn new(connections: Arc<Connections>, late: Arc<AtomicU64>) -> Self {
        Self {
            connections,
            late,
            refused: Default::default(),
            watch_lost: AtomicU64::new(0),
            last_scrape_ns: AtomicU64::new(0),
            received: Default::default(),
        }
    }

    /// The connections of all clients.
    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// A request is refused.
    pub(super) fn refused(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were refused so far, by the name of the reason.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Refused::ALL.into_iter().map(|why| (why.name(), &self.refused[why as usize]));
        let late = [("late", &*self.late)];
        counts.chain(late).map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// Events that watchers missed because they read too slowly, over all watchers.
    pub(super) fn watch_lost(&self) -> u64 {
        self.watch_lost.load(Ordering::Relaxed)
    }

    /// A watcher missed this many events.
    pub(super) fn add_watch_lost(&self, events: u64) {
        self.watch_lost.fetch_add(events, Ordering::Relaxed);
    }

    /// How long the scrape before took; `None` before the first has ended.
    pub(super) fn last_scrape(&self) -> Option<Duration> {
        match self.last_scrape_ns.load(Ordering::Relaxed) {
            0 => None,
            ns => Some(Duration::from_nanos(ns)),
        }
    }

    /// A scrape has ended.
    pub(super) fn scraped(&self, took_ns: u64) {
        self.last_scrape_ns.store(took_ns.max(1), Ordering::Relaxed);
    }

    /// RSTs received in one phase: met by the kernel's `tcp_reset`, and not made by the kernel itself.
    pub(super) fn received(&self, phase: Phase) -> &HighWater {
        &self.received[phase as usize]
    }
}

impl Default for Own {
    fn default() -> Self {
        Self::new(Connections::new(Bounds::default()), Arc::default())
    }
}

impl Shared {
    /// All numbers of the engine.
    pub(super) async fn readings(&self) -> Result<Readings, NoAnswer> {
        self.engine.readings().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_would_go_back_stays_where_it_was() {
        let own = Own::default();
        assert_eq!(own.received(Phase::Closing).raise(5), 5);
        assert_eq!(own.received(Phase::Closing).raise(4), 5);
        assert_eq!(own.received(Phase::Closing).raise(6), 6);
        assert_eq!(own.received(Phase::Connect).raise(1), 1);
    }
}
