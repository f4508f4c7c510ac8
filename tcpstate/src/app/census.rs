//! The thread that takes censuses. It moves through network namespaces, so it must be a thread of its own,
//! and nobody waits for it.

use std::sync::{
    Arc,
    mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
};

use anyhow::Result;
use tokio::sync::mpsc;

use super::{memory, supervisor::Supervisor};
use crate::{
    observe::{
        census::{self, Part},
        counters::CpuCounters,
        dump::Dumps,
        quiet::Quiet,
    },
    pulse::{PERIOD, Pulses, Worker},
    track::Scope,
};

/// Parts that wait at most; then the thread waits too.
const WAITING: usize = 2;

/// The way to the thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Taker {
    wish: SyncSender<Scope>,
    parts: mpsc::Receiver<Part>,
}

impl Taker {
    /// Starts the thread.
    pub(super) fn start(
        supervisor: &Supervisor,
        counters: Option<Arc<CpuCounters>>,
        dumps: Dumps,
    ) -> Result<Self> {
        let (wish, wishes) = sync_channel(1);
        let (tell, parts) = mpsc::channel(WAITING);
        supervisor.start(Worker::Census, move |pulses| {
            take_all(&wishes, counters.as_deref(), dumps, pulses, &tell);
            Ok(())
        })?;
        Ok(Self { wish, parts })
    }

    /// Asks for a census.
    pub(super) fn ask(&self, scope: Scope) {
        // One that is already asked for is as good.
        let _ = self.wish.try_send(scope);
    }

    /// The next part of the census that was asked for; `None` when the thread has ended.
    pub(super) async fn part(&mut self) -> Option<Part> {
        self.parts.recv().await
    }
}

/// Takes the censuses that are wished for.
fn take_all(
    wishes: &Receiver<Scope>,
    counters: Option<&CpuCounters>,
    dumps: Dumps,
    pulses: &Pulses,
    tell: &mpsc::Sender<Part>,
) {
    let mut quiet = Quiet::default();
    loop {
        pulses.beat(Worker::Census);
        let scope = match wishes.recv_timeout(PERIOD) {
            Ok(scope) => scope,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut sockets = 0;
        census::take(counters, dumps, scope, &mut quiet, |part| {
            if let Part::Shows { rows, .. } = &part {
                sockets += rows.len();
            }
            // Nobody listens only when the daemon ends; then the next wish never comes.
            drop(tell.blocking_send(part));
            pulses.beat(Worker::Census);
        });
        memory::give_back_after(sockets);
    }
}
