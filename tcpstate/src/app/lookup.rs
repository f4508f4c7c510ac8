//! Look-ups of who holds which sockets: at most one at a time, on a thread of the runtime that may block.

use std::{collections::HashSet, future, sync::Arc, time::Duration};

use anyhow::{Result, anyhow};
use tokio::task::JoinHandle;
use tracing::warn;

use super::supervisor;

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
    running: Option<JoinHandle<Found>>,
    /// The kernel's iterator cannot be had.
    procfs_only: bool,
}

impl Lookup {
    pub(super) fn new(procfs_only: bool) -> Self {
        Self { latest: Arc::new(Found::nothing()), running: None, procfs_only }
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
        self.running.is_some()
    }

    /// Starts a look-up; none must be running. `inodes` are those of the sockets in question, for the way
    /// through /proc.
    pub(super) fn start(
        &mut self,
        kernel: Option<&mut Kernel>,
        wanted: Wanted,
        inodes: impl FnOnce(&Wanted) -> HashSet<u32>,
    ) {
        let way = match self.iterator(kernel) {
            Some(way) => way,
            None => Way::Procfs(inodes(&wanted)),
        };
        self.running = Some(tokio::task::spawn_blocking(move || holders::look_up(way, wanted)));
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
    ///
    /// # Errors
    /// If it failed: others wait for what it would have found.
    pub(super) async fn done(&mut self) -> Result<()> {
        let Some(running) = &mut self.running else { return future::pending().await };
        let found = running.await;
        self.running = None;
        self.latest = Arc::new(found.map_err(|error| {
            let panic = error.try_into_panic();
            let why = panic.as_ref().map_or("it was stopped", |panic| supervisor::message(panic.as_ref()));
            anyhow!("the look-up of who holds which sockets failed: {why}")
        })?);
        Ok(())
    }
}
