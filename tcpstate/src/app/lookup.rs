//! Look-ups of who holds which sockets: at most one at a time, on a thread of the runtime that may block.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::mpsc;
use tracing::warn;

use crate::{
    clock,
    observe::{
        holders::{self, Found, Way},
        kernel::Kernel,
    },
};

/// The latest answer, and the way to the next one.
#[derive(Debug)]
pub(super) struct Lookup {
    latest: Arc<Found>,
    running: bool,
    /// The kernel's iterator cannot be had.
    procfs_only: bool,
    tell: mpsc::Sender<Result<Found, String>>,
    told: mpsc::Receiver<Result<Found, String>>,
}

impl Lookup {
    pub(super) fn new(procfs_only: bool) -> Self {
        let (tell, told) = mpsc::channel(1);
        let latest = Arc::new(Found::nothing(clock::monotonic_ns()));
        Self { latest, running: false, procfs_only, tell, told }
    }

    /// What the last look-up found.
    pub(super) fn latest(&self) -> Arc<Found> {
        Arc::clone(&self.latest)
    }

    /// How holders are looked up.
    pub(super) fn way(&self) -> &'static str {
        if self.procfs_only { "procfs" } else { "task_file" }
    }

    /// Starts a look-up, unless one is running. `inodes` are those of the sockets in question, for the way
    /// through /proc.
    pub(super) fn start(&mut self, kernel: Option<&mut Kernel>, inodes: impl FnOnce() -> HashSet<u32>) {
        if self.running {
            return;
        }
        self.running = true;
        let way = match self.iterator(kernel) {
            Some(way) => way,
            None => Way::Procfs(inodes()),
        };
        let tell = self.tell.clone();
        tokio::task::spawn_blocking(move || {
            // The receiver is gone only when the daemon ends.
            let _ = tell.blocking_send(holders::look_up(way));
        });
    }

    fn iterator(&mut self, kernel: Option<&mut Kernel>) -> Option<Way> {
        let kernel = kernel.filter(|_| !self.procfs_only)?;
        match kernel.open_files() {
            Ok(file) => Some(Way::Iterator(file)),
            Err(error) => {
                warn!("holders of sockets are looked up in /proc from now on, which is slower: {error}");
                self.procfs_only = true;
                None
            }
        }
    }

    /// Waits for the look-up that is running and keeps what it found; never returns when none is. What
    /// failed leaves what was found before.
    pub(super) async fn done(&mut self) {
        if let Some(found) = self.told.recv().await {
            self.running = false;
            match found {
                Ok(found) => self.latest = Arc::new(found),
                Err(error) => warn!("holders of sockets could not be looked up: {error}"),
            }
        }
    }
}
