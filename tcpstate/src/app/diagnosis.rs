//! The thread that diagnoses: it asks the engine for what the tracker knows, looks for what else the rules want, lets
//! them judge, and publishes what they say. It moves through network namespaces, so it must be a thread of its own;
//! nobody waits for it.

mod collect;
mod parking;
mod readings;
mod schedule;
mod words;

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use anyhow::Result;
use foldhash::HashSet;
use tcpstate_common::TcpState;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use self::{collect::Collector, schedule::Schedule};
use super::{recorder::Recorder, supervisor::Supervisor};
use crate::{
    clock,
    diagnose::{Changes, Diagnosis, Evidence, Material, Requirements, Seen, Severity, Status, Thresholds},
    printable::printable,
    pulse::{PERIOD, Pulses, Worker},
    recording::Input,
    serve::ask::{Diagnosed, Held, MaterialWish, Question},
    track::Scope,
};

pub(super) use self::schedule::REST;

/// Notices that wait at most; then the engine drops them.
const WAITING: usize = 16;
/// A look-up of holders is good for this many times as long as it took of the CPU, if it tells about all that is
/// urgent: where a hundred thousand descriptors are looked through, every other pass does without.
const GOOD_FOR: u32 = 150;
/// The same where nothing is urgent: then it costs 0.03 % of a CPU at most.
const GOOD_ENOUGH_FOR: u32 = 3000;

/// Sockets of which a recording has `tcp_info` at each pass.
const MOST_INFO: usize = 4_096;

/// A census has been taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notice {
    /// What it has shown.
    pub(super) scope: Scope,
    /// Monotonic ns.
    pub(super) ended_ns: u64,
    /// It shows no connection, and none has come and gone since the last pass.
    pub(super) calm: bool,
}

/// Starts the thread. It ends when the way to the engine, or the one that is returned, is closed. `losses` are what is
/// never seen here, as sentences without full stop.
pub(super) fn start(
    supervisor: &Supervisor,
    thresholds: &Thresholds,
    questions: mpsc::Sender<Question>,
    publish: watch::Sender<Arc<Diagnosed>>,
    recorder: Option<Recorder>,
    losses: Vec<String>,
) -> Result<SyncSender<Notice>> {
    let (tell, notices) = sync_channel(WAITING);
    let diagnoser = Diagnoser {
        diagnosis: Diagnosis::new(*thresholds),
        max_events: thresholds.max_events,
        questions,
        publish,
        collector: Collector::new(losses),
        seen: Seen::default(),
        held: Held::default(),
        listen_overflows: None,
        told_not_looked_at: false,
        recorder,
    };
    supervisor.start(Worker::Diagnosis, move |pulses| {
        diagnoser.run(&notices, pulses);
        Ok(())
    })?;
    Ok(tell)
}

struct Diagnoser {
    diagnosis: Diagnosis,
    max_events: usize,
    questions: mpsc::Sender<Question>,
    publish: watch::Sender<Arc<Diagnosed>>,
    collector: Collector,
    seen: Seen,
    /// Who held what when it was last looked up.
    held: Held,
    /// See [`Diagnosed::listen_overflows`].
    listen_overflows: Option<u64>,
    told_not_looked_at: bool,
    recorder: Option<Recorder>,
}

/// The daemon ends.
struct Ends;

impl Diagnoser {
    fn run(mut self, notices: &Receiver<Notice>, pulses: &Pulses) {
        let mut schedule = Schedule::default();
        while wait(&mut schedule, notices, pulses).is_ok() {
            match self.pass() {
                Ok(cpu_ns) => {
                    let (now_ns, cost) = (clock::monotonic_ns(), Duration::from_nanos(cpu_ns));
                    let wish = schedule.passed(now_ns, cost, self.has_open(), self.diagnosis.pending());
                    let told = wish.map_or(Ok(()), |wish| {
                        self.questions.blocking_send(Question::Count(wish.scope, wish.at_ns))
                    });
                    if told.is_err() {
                        return;
                    }
                }
                Err(Ends) => return,
            }
        }
    }

    fn has_open(&self) -> bool {
        self.diagnosis.findings().iter().any(|finding| finding.status == Status::Open)
    }

    /// Returns the CPU time that it took, with what the engine and the look-up of holders did for it, ns.
    fn pass(&mut self) -> Result<u64, Ends> {
        let begun_ns = clock::thread_cpu_ns();
        let wish =
            MaterialWish { selection: self.diagnosis.selection(), seen: self.seen, most: self.max_events };
        let (material, cpu_ns) = self.ask(|answer| Question::Material(Box::new(wish), answer))?;
        let mut requirements = self.diagnosis.requirements(&material.selected);
        let beside = (!self.is_known(&requirements, &material))
            .then(|| collect::beside_parked(&requirements.holders, &material.selected));
        // They may be many, and nobody asks for them any more.
        requirements.holders = Vec::new();
        let (now_ns, mut others_ns, tracked) = (material.moment.at_ns, cpu_ns, material.tracked);
        self.seen = material.seen;
        let mut evidence = Evidence::of(*material, &self.held.holders);
        if let Some(beside) = beside {
            let pids = std::mem::take(&mut requirements.processes);
            self.held = self.ask(|answer| Question::Holders(beside, pids, answer))?;
            if self.held.holders.at_ns >= now_ns {
                others_ns += self.held.cpu_ns;
            }
            if let Some(recorder) = &self.recorder {
                let Held { holders, hidden, .. } = self.held.clone();
                recorder.put(Input::Holders { holders, hidden });
            }
        }
        evidence.add_holders(&self.held.holders, self.held.hidden.as_deref());
        requirements.info.extend(self.diagnosis.requires_info(&evidence));
        let required: Option<HashSet<u64>> = self.recorder.is_some().then(|| {
            let required = requirements.info.iter().copied().collect();
            requirements.info.extend(more_info(&evidence));
            required
        });
        let known_ns = clock::thread_cpu_ns();
        let mut collected = self.collector.namespaces(&requirements, &evidence);
        let pids = self.diagnosis.requires_processes(&evidence);
        self.collector.processes(&pids, &evidence, &mut collected);
        if let (Some(recorder), Some(required)) = (&self.recorder, required) {
            recorder.put(Input::Pass(collected.clone()));
            collected.info.retain(|(row, _)| required.contains(&row.cookie));
        }
        evidence.add(collected);
        let collected_ns = clock::thread_cpu_ns();
        say(&self.diagnosis.pass(&evidence));
        self.say_not_looked_at();
        debug!(
            "looked at {} sockets: {} µs of CPU for them and their holders, {} µs for the rest, {} µs to judge",
            evidence.sockets.len(),
            (others_ns + known_ns - begun_ns) / 1000,
            (collected_ns - known_ns) / 1000,
            (clock::thread_cpu_ns() - collected_ns) / 1000,
        );
        let sockets = evidence.sockets.len();
        let cpu_ns = others_ns + clock::thread_cpu_ns().saturating_sub(begun_ns);
        self.publish(evidence, tracked, cpu_ns);
        super::memory::give_back_after(sockets);
        Ok(others_ns + clock::thread_cpu_ns().saturating_sub(begun_ns))
    }

    /// Whether the last look-up tells who holds these sockets, as far as that is urgent, and what the processes that
    /// something points at hold, and is not old for what it cost.
    fn is_known(&self, requirements: &Requirements, material: &Material) -> bool {
        let holders = &self.held.holders;
        let age = Duration::from_nanos(material.moment.at_ns.saturating_sub(holders.at_ns));
        let cost = Duration::from_nanos(self.held.cpu_ns);
        if requirements.holders.is_empty() || age > cost * GOOD_ENOUGH_FOR {
            return requirements.holders.is_empty();
        }
        let pointed = &requirements.processes;
        let is_new = pointed.iter().any(|pid| !holders.know_process(*pid));
        if (is_new || self.diagnosis.pending().holders) && age > cost * REST {
            return false;
        }
        if age > cost * GOOD_FOR {
            return pointed.is_empty() && !collect::has_urgent(&material.selected);
        }
        holders.were_all_asked(&collect::urgent(&material.selected))
    }

    fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Ends> {
        let (answer, answered) = oneshot::channel();
        self.questions.blocking_send(question(answer)).map_err(|_| Ends)?;
        answered.blocking_recv().map_err(|_| Ends)
    }

    /// Tells the log once what is not looked at, and again when that has been over meanwhile.
    fn say_not_looked_at(&mut self) {
        let lines = self.diagnosis.not_looked_at();
        if !lines.is_empty() && !self.told_not_looked_at {
            warn!("not looked at: {}", printable(&lines.join(" ")));
        }
        self.told_not_looked_at = !lines.is_empty();
    }

    fn publish(&mut self, evidence: Evidence, tracked: usize, cpu_ns: u64) {
        let Evidence { at_ns, sockets, mut listeners, namespaces, processes, destinations, holders, .. } =
            evidence;
        for namespace in namespaces.values().filter(|namespace| namespace.counters.listen_overflows.is_some())
        {
            let added = namespace.delta.and_then(|delta| delta.listen_overflows).unwrap_or(0);
            *self.listen_overflows.get_or_insert(0) += added;
        }
        let parking = parking::of(&sockets, &holders);
        let listening = sockets.iter().filter(|socket| socket.state == TcpState::Listen);
        let listeners: Vec<_> = listening
            .map(|socket| {
                let more = listeners.remove(&socket.cookie);
                (socket, more)
            })
            .collect();
        self.publish.send_replace(Arc::new(Diagnosed {
            at_ns: Some(at_ns),
            cpu_ns,
            findings: self.diagnosis.findings().to_vec(),
            cannot_see: self.diagnosis.cannot_see().to_vec(),
            not_looked_at: self.diagnosis.not_looked_at().to_vec(),
            destinations,
            listeners,
            namespaces,
            processes,
            holders,
            parking,
            tracked,
            listen_overflows: self.listen_overflows,
        }));
    }
}

/// What a recording has beyond what the rules ask for: they may ask for more when it is replayed.
fn more_info(evidence: &Evidence) -> impl Iterator<Item = u64> {
    let open = evidence.sockets.iter().filter(|socket| socket.inode != 0 && socket.state != TcpState::Listen);
    open.map(|socket| socket.cookie).take(MOST_INFO)
}

/// Waits until the next pass is due.
fn wait(schedule: &mut Schedule, notices: &Receiver<Notice>, pulses: &Pulses) -> Result<(), Ends> {
    loop {
        pulses.beat(Worker::Diagnosis);
        let now_ns = clock::monotonic_ns();
        let due_ns = schedule.due_ns();
        if now_ns >= due_ns {
            return Ok(());
        }
        match notices.recv_timeout(Duration::from_nanos(due_ns - now_ns).min(PERIOD)) {
            Ok(notice) => schedule.census(notice),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Ends),
        }
    }
}

/// Tells the log what has changed.
fn say(changes: &Changes) {
    for finding in &changes.opened {
        if finding.severity > Severity::Info {
            warn!("{}: {}", finding.id, printable(&finding.verdict));
        } else {
            info!("{}: {}", finding.id, printable(&finding.verdict));
        }
    }
    for finding in &changes.resolved {
        info!("{}: resolved", finding.id);
    }
}
