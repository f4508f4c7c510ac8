//! The one task that owns the tracker. It drains the ring on a timer (or when the kernel side says that the
//! ring fills up), has censuses taken, and answers questions.

use std::{
    collections::{BTreeMap, VecDeque},
    future,
    os::fd::OwnedFd,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use anyhow::{Result, bail};
use tcpstate_common::{Counters, TcpState, names::programs};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tracing::{error, warn};

use super::{
    census::Taker,
    diagnosis::{self, Notice},
    drain::{self, Looked},
    lookup::Lookup,
    missed::Missed,
    pace::{self, CHEAP, Pace, Wish},
    recorder::Recorder,
    source::Source,
    supervisor::Supervisor,
    walk::{Done, Task, Walk},
    watchers::Watchers,
};
use crate::{
    clock,
    diagnose::{Material, Moment, Seen, Selected, evidence::Hidden},
    observe::{
        census::{Part, Taken},
        counters::CpuCounters,
        decode::{self, Record},
        dump::Dumps,
        holders::{Found, Wanted},
        kernel::Kernel,
    },
    pulse::{PERIOD, Worker},
    recording::Input,
    serve::ask::{CensusReading, Held, Limits, MaterialWish, Need, Probe, Question, Readings, SocketAnswer},
    track::{self, Compared, Family, Filter, Grouping, Note, Scope, Tracker},
};

/// Records taken out of the ring at a time.
const PORTION: usize = 1024;
/// An event that is so old, ns, is told before any that is older: as long as the kernel side takes to tell it.
const SETTLED_NS: u64 = 1_000_000;

/// See the module.
pub(super) struct Engine {
    source: Source,
    counters: Option<Arc<CpuCounters>>,
    limits: Limits,
    ready: watch::Sender<bool>,
    started_ns: u64,
    tracker: Tracker,
    reset_reasons: Arc<BTreeMap<u32, String>>,
    needs: Arc<[Need]>,
    census: Option<CensusReading>,
    /// The census that is being taken, and what it has cost this task so far, ns.
    census_running: Option<(Scope, u64)>,
    pace: Pace,
    lookup: Lookup,
    waiting: Vec<(Filter, oneshot::Sender<SocketAnswer>)>,
    /// The diagnosis's question for holders, and when it was asked, monotonic ns.
    holders_wanted: Option<(u64, oneshot::Sender<Held>)>,
    /// The sockets about which it asked last, beside those that park, and the processes.
    diagnosed: Vec<u64>,
    diagnosed_pids: Vec<u32>,
    /// Tells a diagnosis of every census.
    notices: SyncSender<Notice>,
    /// What had happened when a diagnosis was last told of it.
    told: Option<(Option<u64>, u64)>,
    watchers: Watchers,
    /// Whether the kernel side tells everything.
    watched: bool,
    drain_every: Duration,
    drain_at: Instant,
    /// Transitions, and reports that were none, at the last two looks at the slots, the latest first.
    looked_at: [u64; 2],
    /// Up to which transition the slots have been looked at in time.
    looked_on: u64,
    /// Walks through the table that are not over, the first one of them begun.
    walks: VecDeque<Walk>,
    /// Writes down what the tracker takes in, if somebody wants that.
    recorder: Option<Recorder>,
    missed: Missed,
    /// How many transitions there had been, and when there were more for the last time, monotonic ns.
    last_event: Option<(u64, u64)>,
}

impl Engine {
    pub(super) fn new(
        source: Source,
        limits: Limits,
        census_interval: Duration,
        ready: watch::Sender<bool>,
        notices: SyncSender<Notice>,
        recorder: Option<Recorder>,
    ) -> Self {
        let tracker = Tracker::new(
            track::Limits { max_sockets: limits.max_sockets, max_resets: limits.max_resets },
            source.tier.counts(),
        );
        let kernel = source.kernel.as_ref();
        Self {
            counters: kernel.map(Kernel::counters),
            reset_reasons: Arc::new(
                kernel.map(|kernel| kernel.layout().reset_reasons.clone()).unwrap_or_default(),
            ),
            needs: source
                .needs
                .iter()
                .map(|need| Need { what: need.what.clone(), loss: need.loss() })
                .collect(),
            lookup: Lookup::new(kernel.is_none_or(|kernel| kernel.iterator_error().is_some())),
            source,
            limits,
            pace: Pace::new(census_interval),
            ready,
            started_ns: clock::monotonic_ns(),
            tracker,
            census: None,
            census_running: None,
            waiting: Vec::new(),
            holders_wanted: None,
            diagnosed: Vec::new(),
            diagnosed_pids: Vec::new(),
            notices,
            told: None,
            watchers: Watchers::new(),
            watched: false,
            drain_every: drain::OFTEN,
            drain_at: clock::instant(),
            looked_at: [u64::MAX; 2],
            looked_on: 0,
            walks: VecDeque::new(),
            recorder,
            missed: Missed::default(),
            last_event: None,
        }
    }

    /// Runs until told to stop.
    pub(super) async fn run(
        mut self,
        mut questions: mpsc::Receiver<Question>,
        mut stopping: watch::Receiver<bool>,
        supervisor: Supervisor,
    ) -> Result<()> {
        let mut censuses = Taker::start(&supervisor, self.counters.clone(), self.source.dumps)?;
        let ring = match &self.source.kernel {
            Some(kernel) => {
                let fd = kernel.ring_fd()?;
                // SAFETY: an owned descriptor stays open and the same for as long as it lives.
                Some(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? })
            }
            None => None,
        };
        loop {
            supervisor.pulses.beat(Worker::Engine);
            let census_at = clock::instant_at(self.pace.due_ns());
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return Ok(()),
                Some(question) = questions.recv() => {
                    self.answer(question);
                    self.answer_waiting(&censuses);
                }
                part = censuses.part() => {
                    let Some(part) = part else { bail!("the census thread has ended") };
                    self.census(part);
                    self.answer_waiting(&censuses);
                }
                found = self.lookup.done() => {
                    found?;
                    self.attribute();
                    self.answer_waiting(&censuses);
                }
                () = future::ready(()), if !self.walks.is_empty() => self.walk_on(),
                () = readable(ring.as_ref()) => { self.drain(); }
                () = sleep_until(self.drain_at), if ring.is_some() => {
                    let (records, slots) = (self.drain(), self.look_in_time());
                    let looked = Looked { watched: self.watched, records, slots };
                    self.drain_every = drain::rest(self.drain_every, looked);
                    self.drain_at = clock::instant() + self.drain_every;
                }
                () = sleep_until(census_at), if self.census_running.is_none() => {
                    self.take_census(Scope::FEWEST, &censuses);
                }
                // To say that it works.
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    /// Takes in what the ring holds; what comes in meanwhile waits for the next time once a whole ring has been
    /// taken in, so that questions are answered however fast records come. Returns whether it held anything.
    fn drain(&mut self) -> bool {
        let Some(kernel) = &mut self.source.kernel else { return false };
        let until_ns = clock::monotonic_ns().saturating_sub(SETTLED_NS);
        let mut any = false;
        let portions = self.limits.ring_bytes as usize / size_of::<tcpstate_common::Event>() / PORTION + 1;
        let (tracker, watchers, watched) = (&mut self.tracker, &mut self.watchers, self.watched);
        let recorder = self.recorder.as_ref();
        for _ in 0..portions {
            let more = kernel.drain(PORTION, |mut wire, record, about| {
                any = true;
                if let Some(recorder) = recorder {
                    recorder.hear(&record, about);
                }
                match record {
                    Record::Event(mut event) => {
                        tracker.ingest_with(&mut event, about);
                        decode::complete(&mut wire, &event);
                    }
                    Record::ForWatchers => {}
                    Record::Acted { cookie, process } => return tracker.acted(cookie, process),
                    Record::IdleClose(close) => return tracker.closed_idle(close),
                }
                if watched {
                    watchers.hear(&wire);
                }
            });
            if !more {
                break;
            }
        }
        if self.watched {
            if let Some(tapes) = kernel.tapes() {
                watchers.tell(tapes, until_ns);
            }
            if !watchers.any() {
                self.watch(false);
            }
        }
        any
    }

    /// Tells the kernel side whether somebody watches.
    fn watch(&mut self, watched: bool) {
        let told = self.source.kernel.as_mut().map_or(Ok(()), |kernel| kernel.watch(watched));
        if let Err(error) = &told {
            warn!("the kernel side cannot be told whether somebody watches: {error}");
        }
        self.watched = watched && told.is_ok();
        if !self.watched {
            self.watchers.forget();
        }
        self.drain_every = drain::OFTEN;
        self.drain_at = clock::instant();
    }

    /// Looks at the kernel side's slots before others can have taken the places of sockets that have just ended: at half
    /// as many as there were transitions, of which a socket makes two at least. Returns at how many it was.
    fn look_in_time(&mut self) -> usize {
        let Some(transitions) = self.transitions() else { return 0 };
        if transitions > self.last_event.map_or(0, |(before, _)| before) {
            self.last_event = Some((transitions, clock::monotonic_ns()));
        }
        let Some(kernel) = &mut self.source.kernel else { return 0 };
        let due = usize::try_from(transitions.wrapping_sub(self.looked_on) / 2).unwrap_or(usize::MAX);
        let slots = kernel.slots();
        let looked = slots.look_on(clock::monotonic_ns(), due, |note| {
            take_note(&mut self.tracker, self.recorder.as_ref(), note);
        });
        let all = looked == slots.places();
        self.looked_on = if all { transitions } else { self.looked_on + 2 * looked as u64 };
        looked
    }

    /// Takes note of what the kernel side remembers, if anything has happened since the time before last: what was
    /// counted by then may have been written a moment later.
    fn look(&mut self) {
        let Some(transitions) = self.transitions() else { return };
        if self.looked_at != [transitions; 2]
            && let Some(kernel) = &mut self.source.kernel
        {
            self.looked_at = [transitions, self.looked_at[0]];
            self.looked_on = transitions;
            let (tracker, recorder) = (&mut self.tracker, self.recorder.as_ref());
            kernel.slots().look(clock::monotonic_ns(), |note| take_note(tracker, recorder, note));
        }
    }

    fn transitions(&self) -> Option<u64> {
        // Reports of the state that a socket is in already say who acts.
        self.counters.as_deref().map(CpuCounters::reports)
    }

    /// What a census that is taken now might as well show.
    fn scope(&self) -> Scope {
        let now_ns = clock::monotonic_ns();
        let sockets = self.tracker.sockets(self.counters().as_ref(), now_ns);
        let time_waits = Family::ALL.iter().map(|family| sockets.get(*family, TcpState::TimeWait)).sum();
        self.pace.scope(now_ns, time_waits)
    }

    /// Has a census taken, of these sockets at least, unless one is.
    fn take_census(&mut self, wanted: Scope, censuses: &Taker) {
        if self.census_running.is_none() {
            let scope = wanted.with(self.scope());
            self.census_running = Some((scope, 0));
            censuses.ask(scope);
        }
    }

    /// Takes in a part of the census that is being taken. What happened before a socket was shown is to be known
    /// before the socket is: then the event still finds it in the state that it left.
    fn census(&mut self, part: Part) {
        self.drain();
        let Some((scope, cost_ns)) = &mut self.census_running else { return };
        let begun_ns = clock::thread_cpu_ns();
        match part {
            Part::Begins { started_ns } => {
                look_for_missed(&mut self.missed, &self.source, self.counters.as_deref(), &mut self.tracker);
                self.tracker.census_begins(*scope, started_ns);
                if let Some(recorder) = &self.recorder {
                    recorder.put(Input::DumpBegins { started_ns, scope: *scope });
                }
            }
            Part::Shows { rows, now_ns } => {
                self.tracker.census_shows(&rows, now_ns);
                if let Some(recorder) = &self.recorder {
                    recorder.put(Input::DumpShows { now_ns, rows });
                }
            }
            Part::Ends(taken) => {
                let (scope, cost_ns) = (*scope, *cost_ns);
                let compared = self.census_ends(&taken);
                let cost_ns = cost_ns + taken.cpu_ns + clock::thread_cpu_ns().saturating_sub(begun_ns);
                let share = (compared.time_waits, compared.sockets);
                self.pace.ended(scope, taken.finished_ns, Duration::from_nanos(cost_ns), share);
                self.census_running = None;
                self.census_taken(scope, &taken, compared);
                return;
            }
            Part::Fails(error) => {
                error!("the census failed: {error}");
                self.pace.failed(clock::monotonic_ns());
                self.census_running = None;
                return;
            }
        }
        *cost_ns += clock::thread_cpu_ns().saturating_sub(begun_ns);
    }

    fn census_ends(&mut self, taken: &Taken) -> Compared {
        self.look();
        let counters = taken.counters.as_ref().map(|(before, after)| (before, after));
        if let Some(recorder) = &self.recorder {
            let unvisited = taken.unvisited.clone();
            recorder.put(Input::DumpEnds { finished_ns: taken.finished_ns, unvisited });
        }
        let compared = self.tracker.census_ends(taken.finished_ns, counters, taken.minis, &taken.unvisited);
        // What was missed meanwhile leaves the counters as they were, as if nothing had happened.
        look_for_missed(&mut self.missed, &self.source, self.counters.as_deref(), &mut self.tracker);
        compared
    }

    fn census_taken(&mut self, scope: Scope, taken: &Taken, compared: Compared) {
        if let Some(kernel) = &mut self.source.kernel
            && let Err(error) = kernel.stand_by()
        {
            warn!(
                "the eBPF program for events that come in while another is handled cannot be attached: {error}"
            );
        }
        if self.census.is_none_or(|last| last.namespaces_unreachable == 0)
            && let Some(reason) = &taken.unreachable_reason
        {
            warn!(
                "{} network namespaces cannot be visited; the first: {reason}. CAP_SYS_ADMIN and CAP_SYS_PTRACE are needed to dump the sockets of other network namespaces",
                taken.unreachable
            );
        }
        self.census = Some(CensusReading {
            scope,
            finished_ns: taken.finished_ns,
            took_ns: taken.finished_ns - taken.started_ns,
            sockets: compared.sockets,
            namespaces_visited: taken.visited,
            namespaces_unreachable: taken.unreachable,
            processes_hidden: taken.hidden_processes,
            drift: compared.drift,
        });
        self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        if !self.tracker.has_owned_parked() {
            self.attribute();
        } else if pace::has_rested(self.lookup.age(), self.lookup.cost()) {
            self.look_up(Vec::new(), Vec::new());
        }
        let nothing_there = self.tracker.tracked() == self.tracker.count(TcpState::Listen);
        let nothing_new = self.told == Some(self.happened());
        // The diagnosis may be busy; there will be another census.
        let calm = nothing_there && nothing_new;
        let _ = self.notices.try_send(Notice { scope, ended_ns: taken.finished_ns, calm });
    }

    /// Changes whenever something happens to a connection.
    fn happened(&self) -> (Option<u64>, u64) {
        (self.transitions(), self.tracker.resets().seen())
    }

    /// Starts a look-up of who holds the sockets that park, those that the diagnosis asks about, these others, and what
    /// these processes hold.
    fn look_up(&mut self, mut cookies: Vec<u64>, mut pids: Vec<u32>) {
        if self.lookup.is_running() {
            return;
        }
        cookies.extend(self.tracker.owned_parked().chain(self.diagnosed.iter().copied()));
        pids.extend(self.diagnosed_pids.iter().copied());
        let tracker = &self.tracker;
        self.lookup.start(self.source.kernel.as_mut(), Wanted { cookies, pids }, |wanted| {
            let cookies = wanted.pids.is_empty().then_some(wanted.cookies.as_slice());
            tracker.inodes(cookies)
        });
    }

    /// Groups the parked sockets by those who hold them, as the latest look-up has found them.
    fn attribute(&mut self) {
        self.walks.retain(|walk| !walk.is_to_group());
        self.walk(Task::Group { grouping: Grouping::default(), found: self.lookup.latest() });
    }

    /// Begins a walk through the table. Where there are few sockets, it is over at once.
    fn walk(&mut self, task: Task) {
        self.walks.push_back(Walk::new(task));
        if self.walks.len() == 1 {
            self.walk_on();
        }
    }

    fn walk_on(&mut self) {
        let Some(walk) = self.walks.front_mut() else { return };
        if walk.go_on(&self.tracker) {
            return;
        }
        match self.walks.pop_front().map(Walk::done) {
            Some(Done::Selected { selected, seen, most, answer, cpu_ns }) => {
                // The diagnosis may have ended meanwhile.
                let _ = answer.send((Box::new(self.material(selected, seen, most)), cpu_ns));
            }
            Some(Done::Grouped { grouping, found }) => {
                let (top, now_ns) = (self.limits.top_owners, clock::monotonic_ns());
                self.tracker.attribute(grouping, &found.owners, top, now_ns);
            }
            None => {}
        }
    }

    /// Answers the questions that wait for sockets, as far as enough is known. Starts what has to be found out:
    /// for what is quickly done the question waits, and otherwise it is told as of when it is answered; but
    /// no socket is shown of which nobody has asked yet who holds it.
    fn answer_waiting(&mut self, censuses: &Taker) {
        let (mut others, mut pids) = (Vec::new(), Vec::new());
        let mut look_up = self.answer_holders();
        for (filter, answer) in std::mem::take(&mut self.waiting) {
            if self.wants_census(&filter, censuses) {
                self.waiting.push((filter, answer));
                continue;
            }
            let found = self.lookup.latest();
            let page = self.page(&filter, &found);
            let unknown = page.sockets.iter().map(|(socket, _)| socket);
            let unknown = unknown.filter(|socket| !found.holders.know(socket));
            let unknown: Vec<_> = unknown.map(|socket| socket.cookie).collect();
            let known = unknown.is_empty() && filter.pid.is_none_or(|pid| found.holders.know_process(pid));
            let holders = page.sockets.iter().any(|(socket, _)| socket.inode != 0) || filter.pid.is_some();
            let (age, cost) = (self.lookup.age(), self.lookup.cost());
            let fresh = !holders || pace::is_fresh(age, cost);
            look_up |= !known || (!fresh && (cost <= CHEAP || pace::has_rested(age, cost)));
            if known && (fresh || cost > CHEAP) {
                // Whoever asked may have left.
                let _ = answer.send(page);
            } else {
                others.extend(unknown);
                pids.extend(filter.pid);
                self.waiting.push((filter, answer));
            }
        }
        if look_up {
            self.look_up(others, pids);
        }
    }

    /// Answers the diagnosis, unless it is worth looking again for it: then returns true.
    fn answer_holders(&mut self) -> bool {
        let Some((asked_ns, answer)) = self.holders_wanted.take() else { return false };
        let (age, cost) = (self.lookup.age(), self.lookup.cost());
        let found = self.lookup.latest();
        let is_new = found.holders.at_ns >= asked_ns;
        let known = self.diagnosed.iter().all(|cookie| found.holders.were_asked(*cookie));
        let may_look = cost <= CHEAP || age >= cost * diagnosis::REST;
        if is_new || !may_look || (known && pace::is_fresh(age, cost)) {
            let Found { holders, hidden, cpu_ns, .. } = &*found;
            let held = Held { holders: Arc::clone(holders), hidden: hidden.clone(), cpu_ns: *cpu_ns };
            let _ = answer.send(held);
            return false;
        }
        self.holders_wanted = Some((asked_ns, answer));
        true
    }

    /// Starts a census if the last one that shows such sockets is too old. Returns whether the question waits for
    /// it.
    fn wants_census(&mut self, filter: &Filter, censuses: &Taker) -> bool {
        if self.pace.has_failed() {
            return false;
        }
        let scope = scope_of(filter);
        let Some((ended_ns, cost)) = self.pace.last(scope) else { return true };
        let age_ns = clock::monotonic_ns().saturating_sub(ended_ns);
        if pace::is_fresh(Duration::from_nanos(age_ns), cost) {
            return false;
        }
        self.take_census(scope, censuses);
        cost <= CHEAP
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
            Question::Material(wish, answer) => {
                self.drain();
                self.told = Some(self.happened());
                let MaterialWish { selection, seen, most } = *wish;
                self.walk(Task::Selection { selection: Box::new(selection), seen, most, answer });
            }
            Question::Holders(cookies, pids, answer) => {
                (self.diagnosed, self.diagnosed_pids) = (cookies, pids);
                self.holders_wanted = Some((clock::monotonic_ns(), answer));
            }
            Question::Count(scope, at_ns) => self.pace.wish(Wish { scope, at_ns }),
            Question::Watch(answer) => {
                let watching = self.watchers.watch();
                // Whoever has the answer relies on it that everything is told from then on.
                self.begin_to_watch();
                let _ = answer.send(watching);
            }
            Question::Record(answer) => {
                let watching = self.watchers.record();
                self.begin_to_watch();
                let _ = answer.send(watching);
            }
        }
    }

    fn begin_to_watch(&mut self) {
        if !self.watched {
            self.watch(true);
        }
    }

    fn material(&self, selected: Selected, seen: Seen, most: usize) -> Material {
        let census_ns = |scope| self.pace.last(scope).map(|(ended_ns, _)| ended_ns);
        let lacks = |program| self.source.kernel.as_ref().is_some_and(|kernel| kernel.lacks(program));
        let moment = Moment {
            at_ns: clock::monotonic_ns(),
            census_ns: census_ns(Scope::FEWEST),
            established_ns: census_ns(Scope { established: true, ..Scope::FEWEST }),
            boot_offset_ns: clock::boot_offset_ns(),
            tier: self.source.tier,
            hidden: Hidden {
                namespaces: self.census.map_or(0, |census| census.namespaces_unreachable),
                processes: self.census.map_or(0, |census| census.processes_hidden),
                sockets: self.tracker.missing(),
                without_netlink: self.source.dumps == Dumps::Procfs,
                without_resets_sent: lacks(programs::TCP_SEND_RESET),
                without_resets_received: lacks(programs::TCP_RECEIVE_RESET),
            },
        };
        if let Some(recorder) = &self.recorder {
            recorder.put(Input::Look(moment));
        }
        Material::of(&self.tracker, moment, selected, seen, most, &self.reset_reasons)
    }

    fn page(&self, filter: &Filter, found: &Found) -> SocketAnswer {
        let now_ns = clock::monotonic_ns();
        let Found { holders, owners, .. } = found;
        let filter = Filter { holders: Arc::clone(holders), ..filter.clone() };
        let page = self.tracker.page(&filter, now_ns);
        let sockets = page
            .sockets
            .into_iter()
            .map(|socket| {
                let held = holders.of(&socket);
                let held = held
                    .map(|holder| (holder, owners.get(&holder.pid).cloned().unwrap_or_default()))
                    .collect();
                (socket, held)
            })
            .collect();
        SocketAnswer {
            now_ns,
            census_ns: self.pace.last(scope_of(&filter)).map(|(ended_ns, _)| ended_ns),
            holders_ns: (holders.at_ns != 0).then_some(holders.at_ns),
            sockets,
            total: page.total,
            next: page.next,
        }
    }

    fn readings(&mut self) -> Readings {
        self.drain();
        let now_ns = clock::monotonic_ns();
        look_for_missed(&mut self.missed, &self.source, self.counters.as_deref(), &mut self.tracker);
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
        let mut sockets = self.tracker.sockets(counters.as_deref(), now_ns);
        sockets.exact &= !self.missed.is_suspected();
        Readings {
            now_ns,
            started_ns: self.started_ns,
            ready: *self.ready.borrow(),
            tier: self.source.tier,
            tier_reason: self.source.reason.clone(),
            needs: Arc::clone(&self.needs),
            sockets,
            counters,
            reset_reasons: Arc::clone(&self.reset_reasons),
            parked: self.tracker.parked().to_vec(),
            unattributed: self.tracker.unattributed(),
            tracked: self.tracker.tracked(),
            given_up: self.tracker.given_up(),
            malformed: self.source.kernel.as_ref().map_or(0, Kernel::malformed) + self.watchers.malformed(),
            last_event_ns: self.last_event.map(|(_, at_ns)| at_ns),
            missed: self.missed.lost(),
            probes,
            census: self.census,
            holder_lookup: self.lookup.way(),
            limits: self.limits,
        }
    }

    fn counters(&self) -> Option<Counters> {
        self.counters.as_deref().map(CpuCounters::read)
    }
}

/// Looks whether events were missed, and says it to those who count.
fn look_for_missed(
    missed: &mut Missed,
    source: &Source,
    counters: Option<&CpuCounters>,
    tracker: &mut Tracker,
) {
    let (Some(kernel), Some(counters)) = (&source.kernel, counters) else { return };
    let by_first = kernel.missed();
    if missed.read(by_first, counters.rescued()) {
        tracker.doubt_counters();
    }
}

fn take_note(tracker: &mut Tracker, recorder: Option<&Recorder>, note: Note) {
    tracker.note(note);
    if let Some(recorder) = recorder {
        recorder.put(Input::Note(note));
    }
}

/// The census that shows the sockets that are asked for.
fn scope_of(filter: &Filter) -> Scope {
    let has = |wanted| filter.state.is_none_or(|state| state == wanted);
    Scope { established: has(TcpState::Established), time_wait: has(TcpState::TimeWait) }
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
