//! What the handlers may ask of the engine, and what it answers. Answers are snapshots: nobody changes them
//! afterwards.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tcpstate_common::{Brief, Counters, state::STATE_SLOTS};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::{
    diagnose::{
        Finding, Material, Seen, Selection,
        evidence::{Destination, Listener, Namespace, Process},
    },
    track::{
        self, Event, Filter, GivenUp, Holder, Holders, Owner, ParkedGroup, Reset, Scope, Socket,
        SocketCounts, Tier,
    },
};

/// The longest that a handler waits for the engine.
const DEADLINE: Duration = Duration::from_secs(5);

/// A question, with the way back for its answer.
#[derive(Debug)]
pub enum Question {
    /// Everything that is a number.
    Readings(oneshot::Sender<Readings>),
    /// A page of sockets, with all their holders.
    Sockets(Filter, oneshot::Sender<SocketAnswer>),
    /// The latest resets, the newest first; those with an id below the first argument, at most the second.
    Resets(Option<u64>, usize, oneshot::Sender<Vec<Reset>>),
    /// Every event from now on, for as long as the receiver lives.
    Watch(oneshot::Sender<Watching<Event>>),
    /// The same, as the kernel side tells them.
    Record(oneshot::Sender<Watching<Brief>>),
    /// What a diagnosis begins with, and the CPU time that it took to find it, ns.
    Material(Box<MaterialWish>, oneshot::Sender<(Box<Material>, u64)>),
    /// Who holds the sockets that park, and these others, and what these processes hold: what a diagnosis looks at.
    Holders(Vec<u64>, Vec<u32>, oneshot::Sender<Held>),
    /// A diagnosis waits for a census of these sockets that ends at this time, monotonic ns, or later. There is no
    /// answer: it hears of every census.
    Count(Scope, u64),
}

/// Requirements of a diagnosis at the begin of a pass.
#[derive(Debug)]
pub struct MaterialWish {
    /// Is shown every socket of the table.
    pub selection: Selection,
    /// Events up to here are known.
    pub seen: Seen,
    /// Events of each kind at most.
    pub most: usize,
}

/// Who holds sockets.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub holders: Arc<Holders>,
    /// Why there may be more holders than those, if there may: as a sentence without full stop.
    pub hidden: Option<String>,
    /// CPU time that it took to find them, ns, whoever it was done for.
    pub cpu_ns: u64,
}

/// The way to the engine, and to what a diagnosis has found.
#[derive(Clone, Debug)]
pub struct Engine {
    questions: mpsc::Sender<Question>,
    diagnosed: watch::Receiver<Arc<Diagnosed>>,
    /// Questions that were not answered in time.
    late: Arc<AtomicU64>,
}

/// What the last pass of a diagnosis has found.
#[derive(Clone, Debug, Default)]
pub struct Diagnosed {
    /// Monotonic ns of the pass; `None` before the first.
    pub at_ns: Option<u64>,
    /// CPU time that it took, with what others did for it, ns.
    pub cpu_ns: u64,
    /// First what is open, the worst first; then what was resolved not long ago.
    pub findings: Vec<Finding>,
    /// What could not be seen, one sentence each.
    pub cannot_see: Vec<String>,
    /// Those of them that were not looked at at all.
    pub not_looked_at: Vec<String>,
    /// Destinations with many connections from here, the largest first.
    pub destinations: Vec<Destination>,
    /// Listeners, with what is known of them beyond their rows, where somebody asked.
    pub listeners: Vec<(Socket, Option<Listener>)>,
    /// What is known of network namespaces, by inode number.
    pub namespaces: foldhash::HashMap<u32, Namespace>,
    /// What is known of processes, by pid.
    pub processes: foldhash::HashMap<u32, Process>,
    /// Who holds the sockets that were looked at, as of the last look-up.
    pub holders: Arc<Holders>,
    /// Processes with sockets that park.
    pub parking: Vec<Parking>,
    /// Sockets in the table.
    pub tracked: usize,
    /// Connections that found an accept queue full since the daemon started, in the namespaces whose counters were
    /// read; `None` before any was read.
    pub listen_overflows: Option<u64>,
}

/// A process with sockets that park.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parking {
    pub process: track::Process,
    /// Those that it has open, by the index of their state.
    pub held: [u64; STATE_SLOTS],
    /// Those that it has closed and that the kernel still works on, likewise.
    pub left: [u64; STATE_SLOTS],
}

/// Events that were drained together, numbered without gaps, so that whoever misses a batch knows how many
/// events were in it.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    /// The running number of the first event. That of the next batch is this plus `count`.
    pub first: u64,
    /// How many events there are.
    pub count: u64,
    pub events: Vec<T>,
}

/// The events from one moment on.
#[derive(Debug)]
pub struct Watching<T> {
    /// The number that the next event will have, so that even a loss before the first batch is counted.
    pub next: u64,
    pub batches: broadcast::Receiver<Arc<Batch<T>>>,
}

/// Why the engine does not answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoAnswer {
    /// It has ended, or is ending.
    #[error("the daemon is shutting down")]
    Gone,
    /// It did not answer in time.
    #[error("the daemon did not answer within {} s; ask again in a moment", DEADLINE.as_secs())]
    Late,
}

impl Engine {
    /// The engine takes questions from there; a diagnosis publishes here.
    #[must_use]
    pub fn new(questions: mpsc::Sender<Question>, diagnosed: watch::Receiver<Arc<Diagnosed>>) -> Self {
        Self { questions, diagnosed, late: Arc::default() }
    }

    /// How many questions were not answered in time.
    #[must_use]
    pub fn late(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.late)
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.questions.send(question(answer)).await.map_err(|_| NoAnswer::Gone)?;
            answered.await.map_err(|_| NoAnswer::Gone)
        };
        tokio::time::timeout(DEADLINE, asked).await.unwrap_or_else(|_| {
            self.late.fetch_add(1, Ordering::Relaxed);
            Err(NoAnswer::Late)
        })
    }

    /// What the last pass of the diagnosis has found.
    #[must_use]
    pub fn diagnosed(&self) -> Arc<Diagnosed> {
        Arc::clone(&self.diagnosed.borrow())
    }

    /// Asks for all numbers.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn readings(&self) -> Result<Readings, NoAnswer> {
        self.ask(Question::Readings).await
    }

    /// Asks for a page of sockets.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn sockets(&self, filter: Filter) -> Result<SocketAnswer, NoAnswer> {
        self.ask(|answer| Question::Sockets(filter, answer)).await
    }

    /// Asks for the latest resets, the newest first.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn resets(&self, before: Option<u64>, limit: usize) -> Result<Vec<Reset>, NoAnswer> {
        self.ask(|answer| Question::Resets(before, limit, answer)).await
    }

    /// Asks for every event from now on.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn watch(&self) -> Result<Watching<Event>, NoAnswer> {
        self.ask(Question::Watch).await
    }

    /// Asks for every event from now on, as the kernel side tells them.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn record(&self) -> Result<Watching<Brief>, NoAnswer> {
        self.ask(Question::Record).await
    }
}

/// All numbers at one moment.
#[derive(Clone, Debug)]
pub struct Readings {
    /// Monotonic ns of this reading.
    pub now_ns: u64,
    /// Monotonic ns at which the daemon started.
    pub started_ns: u64,
    /// Whether the programs are attached (or dumps must do) and the first census is done.
    pub ready: bool,
    pub tier: Tier,
    /// Why it is not a better tier, if something stood in the way.
    pub tier_reason: Option<String>,
    /// What is needed, whatever the tier, and whether it can be had.
    pub needs: Arc<[Need]>,
    pub sockets: SocketCounts,
    /// Summed over all CPUs; `None` where there are dumps only.
    pub counters: Option<Arc<Counters>>,
    /// The running kernel's names of reset reasons, without their prefix; empty before 6.10.
    pub reset_reasons: Arc<BTreeMap<u32, String>>,
    pub parked: Vec<ParkedGroup>,
    /// Owned parked sockets for which no holder was found.
    pub unattributed: u64,
    /// Sockets in the table.
    pub tracked: usize,
    pub given_up: GivenUp,
    /// Records from the kernel side that made no sense.
    pub malformed: u64,
    /// When a change of state was counted last, as far as that was looked at, monotonic ns; `None` before the first and where
    /// there are dumps only.
    pub last_event_ns: Option<u64>,
    /// Changes of state that no program took.
    pub missed: u64,
    pub probes: Vec<Probe>,
    pub census: Option<CensusReading>,
    /// How holders are looked up: `task_file` or `procfs`.
    pub holder_lookup: &'static str,
    pub limits: Limits,
}

/// The limits in force.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes, all in all.
    pub max_memory: u64,
    pub max_sockets: usize,
    pub max_resets: usize,
    pub ring_bytes: u32,
    /// Owners named a state in the parked metrics.
    pub top_owners: usize,
}

/// A capability or a file of the kernel that is needed.
#[derive(Clone, Debug)]
pub struct Need {
    pub what: String,
    /// Why something is not seen without it, as a sentence without full stop; `None` if it can be had.
    pub loss: Option<String>,
}

/// One eBPF program.
#[derive(Clone, Debug)]
pub struct Probe {
    pub name: &'static str,
    /// `Err`: why it is not attached.
    pub attached: Result<(), String>,
    /// Runs and time in it (ns), while the kernel keeps such statistics (`kernel.bpf_stats_enabled`).
    pub runs: Option<(u64, u64)>,
    /// Events for which the kernel did not run it, because it was running on that CPU already.
    pub missed: Option<u64>,
}

/// The last census.
#[derive(Clone, Copy, Debug)]
pub struct CensusReading {
    /// Which states it asked about.
    pub scope: Scope,
    /// Monotonic ns.
    pub finished_ns: u64,
    pub took_ns: u64,
    /// Sockets that it saw.
    pub sockets: u64,
    /// Network namespaces that it visited, and that exist but could not be visited.
    pub namespaces_visited: u64,
    pub namespaces_unreachable: u64,
    /// Processes whose namespace may not be read: there may be more namespaces than these.
    pub processes_hidden: u64,
    /// By how many sockets the gauges were off.
    pub drift: u64,
}

/// A page of sockets.
#[derive(Clone, Debug)]
pub struct SocketAnswer {
    /// Monotonic ns of this answer.
    pub now_ns: u64,
    /// Monotonic ns of the census on which it stands; `None` before the first.
    pub census_ns: Option<u64>,
    /// Monotonic ns of the look-up of holders; `None` before the first.
    pub holders_ns: Option<u64>,
    pub sockets: Vec<(Socket, Vec<(Holder, Owner)>)>,
    /// All that pass the filter, on every page.
    pub total: u64,
    pub next: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_that_hangs_does_not_hang_those_who_wait_for_it() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let (questions, mut asked) = mpsc::channel(1);
        let (_publish, diagnosed) = watch::channel(Arc::default());
        let engine = Engine::new(questions, diagnosed);
        runtime.block_on(async {
            // The first waits for its answer, the second for room in the queue.
            assert_eq!(engine.readings().await.err(), Some(NoAnswer::Late));
            assert_eq!(engine.resets(None, 1).await.err(), Some(NoAnswer::Late));
            assert_eq!(engine.late().load(Ordering::Relaxed), 2);
            asked.close();
            assert_eq!(engine.readings().await.err(), Some(NoAnswer::Gone));
        });
    }
}
