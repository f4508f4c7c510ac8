//! The events from one moment on, with every gap counted. The channel drops whole batches when a watcher is
//! slow; the running numbers of the batches tell how many events were in them.

use std::sync::Arc;

use tokio::sync::{
    OwnedSemaphorePermit,
    broadcast::{self, error::RecvError},
    watch,
};

use crate::serve::{
    ask::{Batch, Watching},
    shared::Own,
};

/// What a watcher is told next.
#[derive(Clone, Debug)]
pub(in crate::serve) enum Told<T> {
    /// Events that were drained together.
    Events(Arc<Batch<T>>),
    /// This many events were missed here.
    Lost(u64),
}

/// One watcher's view of the events.
#[derive(Debug)]
pub(in crate::serve) struct Feed<T> {
    batches: broadcast::Receiver<Arc<Batch<T>>>,
    /// The number of the next event, if none is missed.
    expected: u64,
    /// The batch that comes after a loss.
    next: Option<Arc<Batch<T>>>,
    stop: watch::Receiver<bool>,
    own: Arc<Own>,
    /// One of the places that there are for watchers.
    _place: OwnedSemaphorePermit,
}

impl<T: Clone> Feed<T> {
    pub(in crate::serve) fn new(
        watching: Watching<T>,
        stop: watch::Receiver<bool>,
        own: Arc<Own>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self { batches: watching.batches, expected: watching.next, next: None, stop, own, _place: place }
    }

    /// Waits for what comes next; `None` when the daemon ends.
    pub(in crate::serve) async fn next(&mut self) -> Option<Told<T>> {
        loop {
            if *self.stop.borrow() {
                return None;
            }
            if let Some(batch) = self.next.take() {
                return Some(Told::Events(batch));
            }
            let received = tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return None,
                received = self.batches.recv() => received,
            };
            match received {
                Ok(batch) => {
                    let lost = batch.first.saturating_sub(self.expected);
                    self.expected = batch.first + batch.count;
                    self.next = Some(batch).filter(|batch| batch.count > 0);
                    if lost > 0 {
                        self.own.add_watch_lost(lost);
                        return Some(Told::Lost(lost));
                    }
                }
                // It counts batches; the next batch's number says how many events they held.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Waits until the daemon ends: the value becomes true, or nobody is left to set it.
pub(in crate::serve) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
