//! The thread that takes censuses. It moves through network namespaces, so it must be a thread of its own,
//! and nobody waits for it.

use std::{sync::Arc, thread};

use anyhow::{Context, Result};
use tokio::sync::mpsc;

use super::memory;
use crate::{
    observe::{
        census::{self, Part},
        counters::CpuCounters,
        dump::Dumps,
        quiet::Quiet,
    },
    track::Scope,
};

/// Parts that wait at most; then the thread waits too.
const WAITING: usize = 2;

/// The way to the thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Taker {
    wish: std::sync::mpsc::SyncSender<Scope>,
    parts: mpsc::Receiver<Part>,
}

impl Taker {
    /// Starts the thread.
    pub(super) fn start(counters: Option<Arc<CpuCounters>>, dumps: Dumps) -> Result<Self> {
        let (wish, wishes) = std::sync::mpsc::sync_channel(1);
        let (tell, parts) = mpsc::channel(WAITING);
        thread::Builder::new()
            .name("census".to_owned())
            .spawn(move || {
                let mut quiet = Quiet::default();
                while let Ok(scope) = wishes.recv() {
                    let mut sockets = 0;
                    census::take(counters.as_deref(), dumps, scope, &mut quiet, |part| {
                        if let Part::Shows { rows, .. } = &part {
                            sockets += rows.len();
                        }
                        // Nobody listens only when the daemon ends; then the next wish never comes.
                        drop(tell.blocking_send(part));
                    });
                    memory::give_back_after(sockets);
                }
            })
            .context("the census thread cannot be started")?;
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
