//! Whether the parts of the daemon that work by themselves still do: each says it every few seconds, whether there is
//! anything to do or not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::clock;

/// A part that works by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Worker {
    /// Takes in events, keeps the table, answers questions.
    Engine,
    /// Dumps sockets.
    Census,
    /// Judges.
    Diagnosis,
}

impl Worker {
    /// All of them: those that others wait for come first.
    pub const ALL: [Self; 3] = [Self::Engine, Self::Census, Self::Diagnosis];

    /// The name in metrics, in the API and as a thread.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Census => "census",
            Self::Diagnosis => "diagnosis",
        }
    }
}

/// Each says that it works after this time at most.
pub const PERIOD: Duration = Duration::from_secs(3);
/// One that has not for so long hangs.
pub const HANGS: Duration = Duration::from_secs(10);

/// When each has last said that it works.
#[derive(Clone, Debug)]
pub struct Pulses {
    beats_ns: Arc<[AtomicU64; Worker::ALL.len()]>,
    /// When the process went on after it had been stopped: nothing is known of the time before.
    resumed_ns: Arc<AtomicU64>,
}

impl Pulses {
    /// All begin now.
    #[must_use]
    pub fn new() -> Self {
        let now_ns = clock::monotonic_ns();
        Self {
            beats_ns: Arc::new(Worker::ALL.map(|_| AtomicU64::new(now_ns))),
            resumed_ns: Arc::new(AtomicU64::new(now_ns)),
        }
    }

    /// This one works.
    pub fn beat(&self, worker: Worker) {
        self.beats_ns[worker as usize].store(clock::monotonic_ns(), Ordering::Relaxed);
    }

    /// The whole process was stopped for a while, so that nobody could say anything.
    pub fn resume(&self) {
        self.resumed_ns.store(clock::monotonic_ns(), Ordering::Relaxed);
    }

    /// How long ago each said that it works, or could have.
    #[must_use]
    pub fn ages(&self) -> [(Worker, Duration); Worker::ALL.len()] {
        let now_ns = clock::monotonic_ns();
        let resumed_ns = self.resumed_ns.load(Ordering::Relaxed);
        Worker::ALL.map(|worker| {
            let beat_ns = self.beats_ns[worker as usize].load(Ordering::Relaxed).max(resumed_ns);
            (worker, Duration::from_nanos(now_ns.saturating_sub(beat_ns)))
        })
    }

    /// The one that hangs, and for how long it has said nothing; of several the one for which the others may wait.
    #[must_use]
    pub fn hanging(&self) -> Option<(Worker, Duration)> {
        self.ages().into_iter().find(|(_, age)| *age >= HANGS)
    }
}

impl Default for Pulses {
    fn default() -> Self {
        Self::new()
    }
}
