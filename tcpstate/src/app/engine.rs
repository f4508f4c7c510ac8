//! The one task that owns the tracker. It drains the ring on a timer (or when the kernel side says that the
//! ring fills up), has censuses taken, and answers questions.

use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use tcpstate_common::Counters;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{broadcast, mpsc, oneshot, watch},
    time::sleep_until,
};
use tracing::{error, warn};

use super::{census::Taker, lookup::Lookup, source::Source};
use crate::{
    clock,
    observe::{
        census::Taken,
        holders::Found,
        kernel::{Kernel, Maps},
    },
    serve::ask::{Batch, CensusReading, Limits, Probe, Question, Readings, SocketAnswer, Watching},
    track::{self, Event, Filter, Tracker},
};

/// Records taken out of the ring at a time, and told to watchers together.
const PORTION: usize = 1024;
/// Portions that a watcher may lag behind.
const WATCH_PORTIONS: usize = 64;
/// From one look into the ring to the next while records come in, and at most while none do.
const DRAIN_BUSY: Duration = Duration::from_millis(50);
const DRAIN_IDLE: Duration = Duration::from_millis(400);
/// After a census the next one waits this many times as long as it took of the CPU, so that censuses together
/// take at most one part in so many of one core.
const CENSUS_REST: u32 = 50;
/// A question about sockets is answered from a census this old, or that many times as old as it took.
const FRESH: Duration = Duration::from_secs(1);
const FRESH_FACTOR: u32 = 20;

/// See the module.
pub(super) struct Engine {
    source: Source,
    maps: Option<Arc<Maps>>,
    limits: Limits,
    census_interval: Duration,
    ready: watch::Sender<bool>,
    started_ns: u64,
    tracker: Tracker,
    reset_reasons: Arc<BTreeMap<u32, String>>,
    census: Option<CensusReading>,
    census_cpu: Duration,
    census_running: bool,
    lookup: Lookup,
    waiting: Vec<(Filter, oneshot::Sender<SocketAnswer>)>,
    batches: broadcast::Sender<Arc<Batch>>,
    next_event: u64,
    watched: bool,
    drain_every: Duration,
    /// Transitions at the last look at the slots that was due.
    looked_at: u64,
}

impl Engine {
    pub(super) fn new(
        source: Source,
        limits: Limits,
        census_interval: Duration,
        ready: watch::Sender<bool>,
    ) -> Self {
        let tracker = Tracker::new(
            track::Limits { max_sockets: limits.max_sockets, max_resets: limits.max_resets },
            source.tier.counts(),
        );
        let kernel = source.kernel.as_ref();
        Self {
            maps: kernel.map(Kernel::maps),
            reset_reasons: Arc::new(
                kernel.map(|kernel| kernel.layout().reset_reasons.clone()).unwrap_or_default(),
            ),
            lookup: Lookup::new(kernel.is_none_or(|kernel| kernel.iterator_error().is_some())),
            source,
            limits,
            census_interval,
            ready,
            started_ns: clock::monotonic_ns(),
            tracker,
            census: None,
            census_cpu: Duration::ZERO,
            census_running: false,
            waiting: Vec::new(),
            batches: broadcast::Sender::new(WATCH_PORTIONS),
            next_event: 0,
            watched: false,
            drain_every: DRAIN_BUSY,
            looked_at: 0,
        }
    }

    /// Runs until told to stop.
    pub(super) async fn run(
        mut self,
        mut questions: mpsc::Receiver<Question>,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<()> {
        let mut censuses = Taker::start(self.maps.clone())?;
        let ring = match &self.source.kernel {
            Some(kernel) => {
                let fd = kernel.ring_fd()?;
                // SAFETY: an owned descriptor stays open and the same for as long as it lives.
                Some(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? })
            }
            None => None,
        };
        let mut drain_at = clock::instant();
        let mut census_at = clock::instant();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return Ok(()),
                Some(question) = questions.recv() => {
                    self.answer(question);
                    self.refresh(&censuses);
                }
                taken = censuses.taken() => {
                    let Some(taken) = taken else { bail!("the census thread has ended") };
                    census_at = clock::instant() + self.census_done(taken);
                    self.look_up();
                }
                () = self.lookup.done() => self.look_up_done(),
                () = readable(ring.as_ref()) => { self.drain(); }
                () = sleep_until(drain_at), if ring.is_some() => {
                    let any = self.drain() | self.look_in_time();
                    self.drain_every =
                        if any || self.watched { DRAIN_BUSY } else { (self.drain_every * 2).min(DRAIN_IDLE) };
                    drain_at = clock::instant() + self.drain_every;
                }
                () = sleep_until(census_at), if !self.census_running => self.take_census(&censuses),
            }
        }
    }

    /// Takes in what the ring holds; what comes in meanwhile waits for the next time once a whole ring has been
    /// taken in, so that questions are answered however fast records come. Returns whether it held anything.
    fn drain(&mut self) -> bool {
        let Some(kernel) = &mut self.source.kernel else { return false };
        let mut any = false;
        let portions = self.limits.ring_bytes as usize / size_of::<tcpstate_common::Event>() / PORTION + 1;
        for _ in 0..portions {
            let mut events = Vec::new();
            let more = kernel.drain(&mut events, PORTION);
            any |= !events.is_empty();
            for event in &mut events {
                self.tracker.ingest(event);
            }
            Self::tell(&self.batches, &mut self.next_event, events);
            if !more {
                break;
            }
        }
        if self.watched && self.batches.receiver_count() == 0 {
            self.watched = false;
            if let Err(error) = kernel.watch(false) {
                warn!("the kernel side cannot be told that nobody watches any more: {error}");
            }
        }
        any
    }

    /// Looks at the kernel side's slots before others can have taken the places of sockets that have just ended.
    /// Returns whether it was time.
    fn look_in_time(&mut self) -> bool {
        let Some(transitions) = self.counters().map(|counters| sum(&counters)) else { return false };
        let Some(kernel) = &mut self.source.kernel else { return false };
        // A socket that ends in a mini-socket makes three transitions at least.
        let due = transitions.wrapping_sub(self.looked_at) >= kernel.slots().places() as u64;
        if due {
            self.looked_at = transitions;
            self.look();
        }
        due
    }

    /// Takes note of what the kernel side remembers.
    fn look(&mut self) {
        if let Some(kernel) = &mut self.source.kernel {
            kernel.slots().look(clock::monotonic_ns(), |note| self.tracker.note(note));
        }
    }

    fn tell(batches: &broadcast::Sender<Arc<Batch>>, next_event: &mut u64, events: Vec<Event>) {
        let first = *next_event;
        *next_event += events.len() as u64;
        if !events.is_empty() && batches.receiver_count() > 0 {
            // It fails only when the last watcher left just now.
            let _ = batches.send(Arc::new(Batch { first, events }));
        }
    }

    fn take_census(&mut self, censuses: &Taker) {
        self.census_running = true;
        censuses.ask();
    }

    /// Takes in a census, and says how long to wait for the next one.
    fn census_done(&mut self, taken: Result<Taken, String>) -> Duration {
        self.census_running = false;
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                error!("the census failed: {error}");
                return self.census_interval;
            }
        };
        if let Some(kernel) = &mut self.source.kernel
            && let Err(error) = kernel.stand_by()
        {
            warn!(
                "the eBPF program for events that come in while another is handled cannot be attached: {error}"
            );
        }
        // Whatever happened before the census ended is to be known before it counts.
        self.look();
        self.drain();
        if self.census.is_none_or(|last| last.namespaces_unreachable == 0)
            && let Some(reason) = &taken.unreachable_reason
        {
            warn!(
                "{} network namespaces cannot be visited; the first: {reason}. CAP_SYS_ADMIN and CAP_SYS_PTRACE are needed to dump the sockets of other network namespaces",
                taken.unreachable
            );
        }
        let counters = taken.counters.as_deref().map(|(before, after)| (before, after));
        let drift = self.tracker.reconcile(&taken.census, counters);
        let took_ns = taken.census.finished_ns - taken.census.started_ns;
        self.census = Some(CensusReading {
            finished_ns: taken.census.finished_ns,
            took_ns,
            sockets: taken.census.rows.len() as u64,
            namespaces_visited: taken.visited,
            namespaces_unreachable: taken.unreachable,
            processes_hidden: taken.hidden_processes,
            drift,
        });
        self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        self.census_cpu = Duration::from_nanos(taken.cpu_ns);
        self.census_interval.max(self.census_cpu * CENSUS_REST)
    }

    /// Starts a look-up of holders if somebody needs it.
    fn look_up(&mut self) {
        if self.waiting.is_empty() && !self.tracker.has_owned_parked() {
            self.attribute(&Found::nothing(clock::monotonic_ns()));
        } else {
            self.lookup.start(self.source.kernel.as_mut(), || self.tracker.inodes());
        }
    }

    fn look_up_done(&mut self) {
        let found = self.lookup.latest();
        self.attribute(&found);
        for (filter, answer) in std::mem::take(&mut self.waiting) {
            // Whoever asked may have left.
            let _ = answer.send(self.page(filter, &found));
        }
    }

    fn attribute(&mut self, found: &Found) {
        let now_ns = clock::monotonic_ns();
        self.tracker.attribute(&found.holders, &found.owners, self.limits.top_owners, now_ns);
    }

    /// Has a census taken or holders looked up, whichever the waiting questions need first.
    fn refresh(&mut self, censuses: &Taker) {
        if self.waiting.is_empty() || self.census_running {
            return;
        }
        let now_ns = clock::monotonic_ns();
        let limit = FRESH.max(self.census_cpu * FRESH_FACTOR);
        let fresh = self
            .census
            .is_some_and(|census| Duration::from_nanos(now_ns.saturating_sub(census.finished_ns)) <= limit);
        if fresh {
            self.look_up();
        } else {
            self.take_census(censuses);
        }
    }

    fn answer(&mut self, question: Question) {
        // An answer that nobody waits for any more is not an error.
        match question {
            Question::Readings(answer) => {
                let _ = answer.send(self.readings());
            }
            Question::Sockets(filter, answer) => self.waiting.push((filter, answer)),
            Question::Resets(before, limit, answer) => {
                self.drain();
                let resets = self.tracker.resets().newest_first();
                let page = resets.filter(|reset| before.is_none_or(|id| reset.id < id)).take(limit);
                let _ = answer.send(page.cloned().collect());
            }
            Question::Watch(answer) => {
                if let Some(kernel) = &mut self.source.kernel
                    && let Err(error) = kernel.watch(true)
                {
                    warn!("the kernel side cannot be told that somebody watches: {error}");
                }
                self.watched = true;
                let batches = self.batches.subscribe();
                let _ = answer.send(Watching { next: self.next_event, batches });
            }
        }
    }

    fn page(&self, mut filter: Filter, found: &Found) -> SocketAnswer {
        let now_ns = clock::monotonic_ns();
        let Found { holders, owners } = found;
        filter.holders = Arc::clone(holders);
        let page = self.tracker.page(&filter, now_ns);
        let sockets = page
            .sockets
            .into_iter()
            .map(|socket| {
                let held = holders.of(&socket).iter();
                let held = held
                    .map(|holder| (*holder, owners.get(&holder.pid).cloned().unwrap_or_default()))
                    .collect();
                (socket, held)
            })
            .collect();
        SocketAnswer {
            now_ns,
            census_ns: self.census.map(|census| census.finished_ns),
            sockets,
            total: page.total,
            next: page.next,
        }
    }

    fn readings(&mut self) -> Readings {
        self.drain();
        let now_ns = clock::monotonic_ns();
        // Misses before the counters that say which of them were made good: the other way round an event in
        // between would look lost.
        let hooks = self.source.kernel.as_ref().map_or_else(Vec::new, Kernel::hooks);
        let counters = self.counters().map(|mut counters| {
            for (all, handed_over) in counters.dwell.iter_mut().zip(self.tracker.dwell()) {
                all.add(handed_over);
            }
            Arc::new(counters)
        });
        let probes = hooks
            .into_iter()
            .map(|hook| Probe {
                name: hook.program,
                attached: hook.attached,
                runs: hook.runs,
                missed: hook.missed,
            })
            .collect();
        Readings {
            now_ns,
            started_ns: self.started_ns,
            ready: *self.ready.borrow(),
            tier: self.source.tier,
            tier_reason: self.source.reason.clone(),
            sockets: self.tracker.sockets(counters.as_deref(), now_ns),
            counters,
            reset_reasons: Arc::clone(&self.reset_reasons),
            parked: self.tracker.parked().to_vec(),
            unattributed: self.tracker.unattributed(),
            tracked: self.tracker.tracked(),
            given_up: self.tracker.given_up(),
            malformed: self.source.kernel.as_ref().map_or(0, Kernel::malformed),
            probes,
            census: self.census,
            holder_lookup: self.lookup.way(),
            limits: self.limits,
        }
    }

    fn counters(&self) -> Option<Counters> {
        let maps = self.maps.as_ref()?;
        maps.counters().inspect_err(|error| error!("the counters cannot be read: {error}")).ok()
    }
}

fn sum(counters: &Counters) -> u64 {
    counters.transitions.as_flattened().as_flattened().iter().sum()
}

/// Returns when the ring has filled up to its watermark; never without a ring.
async fn readable(ring: Option<&AsyncFd<OwnedFd>>) {
    if let Some(ring) = ring
        && let Ok(mut guard) = ring.readable().await
    {
        guard.clear_ready();
    } else {
        std::future::pending::<()>().await;
    }
}
