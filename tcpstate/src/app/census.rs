//! The thread that takes censuses. It moves through network namespaces, so it must be a thread of its own,
//! and nobody waits for it.

use std::{sync::Arc, thread};

use anyhow::{Context, Result};
use tokio::sync::mpsc;

use crate::observe::{
    census::{self, Taken},
    kernel::Maps,
};

/// The way to the thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Taker {
    wish: std::sync::mpsc::SyncSender<()>,
    taken: mpsc::Receiver<Result<Taken, String>>,
}

impl Taker {
    /// Starts the thread.
    pub(super) fn start(maps: Option<Arc<Maps>>) -> Result<Self> {
        let (wish, wishes) = std::sync::mpsc::sync_channel(1);
        let (done, taken) = mpsc::channel(1);
        thread::Builder::new()
            .name("census".to_owned())
            .spawn(move || {
                while wishes.recv().is_ok() {
                    if done.blocking_send(census::take(maps.as_ref())).is_err() {
                        break;
                    }
                }
            })
            .context("the census thread cannot be started")?;
        Ok(Self { wish, taken })
    }

    /// Asks for a census.
    pub(super) fn ask(&self) {
        // One that is already asked for is as good.
        let _ = self.wish.try_send(());
    }

    /// The census that was asked for, when it is done; `None` when the thread has ended.
    pub(super) async fn taken(&mut self) -> Option<Result<Taken, String>> {
        self.taken.recv().await
    }
}
