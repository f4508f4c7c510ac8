//! Look-ups of who holds which sockets: at most one at a time, on a thread of the runtime that may block.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tracing::warn;

use crate::{
    clock,
    observe::{
        holders::{self, Found, Wanted, Way},
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
    tell: mpsc::Sender<Found>,
    told: mpsc::Receiver<Found>,
}

impl Lookup {
    pub(super) fn new(procfs_only: bool) -> Self {
        let (tell, told) = mpsc::channel(1);
        let latest = Arc::new(Found::nothing());
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

    /// How long ago the latest one was.
    pub(super) fn age(&self) -> Duration {
        Duration::from_nanos(clock::monotonic_ns().saturating_sub(self.latest.holders.at_ns))
    }

    /// What the latest one cost.
    pub(super) fn cost(&self) -> Duration {
        Duration::from_nanos(self.latest.cpu_ns)
    }

    /// Whether one is running.
    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// Starts a look-up; none must be running. `inodes` are those of the sockets in question, for the way
    /// through /proc.
    pub(super) fn start(
        &mut self,
        kernel: Option<&mut Kernel>,
        wanted: Wanted,
        inodes: impl FnOnce(&Wanted) -> HashSet<u32>,
    ) {
        self.running = true;
        let way = match self.iterator(kernel) {
            Some(way) => way,
            None => Way::Procfs(inodes(&wanted)),
        };
        let tell = self.tell.clone();
        tokio::task::spawn_blocking(move || {
            // The receiver is gone only when the daemon ends.
            let _ = tell.blocking_send(holders::look_up(way, wanted));
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

    /// Waits for the look-up that is running and keeps what it found; never returns when none is.
    pub(super) async fn done(&mut self) {
        if let Some(found) = self.told.recv().await {
            self.running = false;
            self.latest = Arc::new(found);
        }
    }
}
