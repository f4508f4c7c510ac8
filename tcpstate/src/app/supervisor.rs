//! Watches over the threads that work by themselves: the end of one ends the process, with a reason, so that the service
//! manager starts it anew; one that hangs makes the daemon unhealthy, keeps systemd's watchdog unfed, and ends the
//! process if it goes on.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{error, info};

use crate::{
    clock,
    pulse::{Pulses, Worker},
};

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);
/// A look that comes so much too late shows that the process was stopped, or had no processor.
const STOPPED: Duration = Duration::from_secs(2);
/// One that hangs for so long is given up.
const GIVEN_UP: Duration = Duration::from_secs(30);

/// Starts workers, and hears of their ends.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    pub(super) pulses: Pulses,
    ended: UnboundedSender<String>,
    /// The workers' entries in /proc.
    tasks: Arc<Mutex<Vec<(Worker, PathBuf)>>>,
}

impl Supervisor {
    /// With the way by which come the reasons why workers have ended, or were given up.
    pub(super) fn new() -> (Self, UnboundedReceiver<String>) {
        let (ended, ends) = unbounded_channel();
        (Self { pulses: Pulses::new(), ended, tasks: Arc::default() }, ends)
    }

    /// Starts a worker on a thread of its own.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(super) fn start(
        &self,
        worker: Worker,
        work: impl FnOnce(&Pulses) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let supervisor = self.clone();
        let run = move || {
            supervisor.pulses.beat(worker);
            supervisor.register(worker);
            let end = catch_unwind(AssertUnwindSafe(|| work(&supervisor.pulses)));
            // Nobody listens any more when the daemon ends.
            let _ = supervisor.ended.send(reason(worker, end));
        };
        let thread = thread::Builder::new().name(worker.name().to_owned()).spawn(run);
        thread.map(drop).with_context(|| format!("the {} thread cannot be started", worker.name()))
    }

    fn register(&self, worker: Worker) {
        let task = PathBuf::from(format!("/proc/self/task/{}", rustix::thread::gettid().as_raw_nonzero()));
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push((worker, task));
    }

    /// Looks after the workers until what this returns is dropped, on a thread of its own.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(super) fn watch(self) -> Result<mpsc::Sender<()>> {
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            let feeding = sd_notify::watchdog_enabled().is_some();
            let mut hung = None;
            let mut looked_ns = clock::monotonic_ns();
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let now_ns = clock::monotonic_ns();
                if now_ns.saturating_sub(looked_ns) > clock::nanos(LOOK + STOPPED) {
                    self.pulses.resume();
                }
                looked_ns = now_ns;
                self.look(&mut hung);
                if feeding && hung.is_none() {
                    super::notify(sd_notify::NotifyState::Watchdog);
                }
            }
        };
        thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(run)
            .context("the supervisor thread cannot be started")?;
        Ok(stop)
    }

    /// `hung`: who was hanging at the last look.
    fn look(&self, hung: &mut Option<Worker>) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for (worker, _) in tasks.iter().filter(|(_, task)| !task.exists()) {
            let _ = self.ended.send(format!("the {} thread is gone", worker.name()));
        }
        drop(tasks);
        let hanging = self.pulses.hanging();
        if let Some((worker, age)) = hanging {
            if *hung != Some(worker) {
                error!("the {} thread has done nothing for {} s", worker.name(), age.as_secs());
            }
            if age >= GIVEN_UP {
                let _ = self.ended.send(format!(
                    "the {} thread has done nothing for {} s and is given up",
                    worker.name(),
                    age.as_secs()
                ));
            }
        } else if let Some(worker) = hung {
            info!("the {} thread goes on", worker.name());
        }
        *hung = hanging.map(|(worker, _)| worker);
    }
}

/// Why a worker has ended, for the log.
fn reason(worker: Worker, end: thread::Result<Result<()>>) -> String {
    let name = worker.name();
    match end {
        Ok(Ok(())) => format!("the {name} thread has ended"),
        Ok(Err(error)) => format!("the {name} thread has ended: {error:#}"),
        Err(panic) => format!("the {name} thread failed: {}", message(panic.as_ref())),
    }
}

/// What a panic says.
pub(super) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    fn end(work: impl FnOnce(&Pulses) -> Result<()> + Send + 'static) -> String {
        let (supervisor, mut ends) = Supervisor::new();
        supervisor.start(Worker::Census, work).expect("a thread");
        ends.blocking_recv().expect("it ends")
    }

    #[test]
    fn the_end_of_a_worker_is_told_with_its_reason() {
        assert_eq!(end(|_| Ok(())), "the census thread has ended");
        assert_eq!(end(|_| bail!("no descriptor left")), "the census thread has ended: no descriptor left");
        assert_eq!(end(|_| panic!("index {} of {}", 7, 3)), "the census thread failed: index 7 of 3");
    }

    #[test]
    fn worker_that_is_gone_without_a_word_is_told() {
        let (supervisor, mut ends) = Supervisor::new();
        supervisor
            .tasks
            .lock()
            .expect("nobody failed")
            .push((Worker::Engine, PathBuf::from("/proc/self/task/0")));
        supervisor.look(&mut None);
        assert_eq!(ends.try_recv().as_deref(), Ok("the engine thread is gone"));
    }

    #[test]
    fn workers_that_work_are_left_alone() {
        let (supervisor, mut ends) = Supervisor::new();
        let (go, wait) = mpsc::channel::<()>();
        let (tell, started) = mpsc::channel();
        let work = move |_: &Pulses| {
            tell.send(())?;
            let _ = wait.recv();
            Ok(())
        };
        supervisor.start(Worker::Engine, work).expect("a thread");
        started.recv().expect("it has started");
        let mut hung = None;
        supervisor.look(&mut hung);
        assert!(hung.is_none() && ends.try_recv().is_err());
        drop(go);
    }
}
