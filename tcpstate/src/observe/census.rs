//! A census of all sockets, in every network namespace that may be entered.

use std::sync::Arc;

use tcpstate_common::Counters;

use super::{kernel::Maps, netns, sock_diag};
use crate::{clock, track::Census};

/// A census, and how it went.
#[derive(Debug)]
pub struct Taken {
    pub census: Census,
    /// The counters before and after; `None` in tier D.
    pub counters: Option<Box<(Counters, Counters)>>,
    /// CPU time that it took, ns: what it cost, whatever it had to wait for.
    pub cpu_ns: u64,
    /// Namespaces that were visited.
    pub visited: u64,
    /// Namespaces that are there but could not be entered.
    pub unreachable: u64,
    /// Why the first of them could not.
    pub unreachable_reason: Option<String>,
    /// Processes whose namespace may not be read, so that there may be more.
    pub hidden_processes: u64,
}

/// Takes a census. Blocks, and moves the calling thread through the namespaces: it must be a thread of its
/// own.
///
/// # Errors
/// If not even the thread's own namespace can be dumped, or if the counters cannot be read.
pub fn take(maps: Option<&Arc<Maps>>) -> Result<Taken, String> {
    let begun_cpu_ns = clock::thread_cpu_ns();
    let before = maps.map(|maps| maps.counters()).transpose()?;
    let started_ns = clock::monotonic_ns();
    let found = netns::find();
    let own = netns::own().map_err(|error| format!("the own network namespace is not known: {error}"))?;
    let mut rows = Vec::new();
    let (mut visited, mut unreachable, mut unreachable_reason) = (0, 0, None);
    for (inum, path) in &found.namespaces {
        let had = rows.len();
        let dumped = netns::inside(*inum, path, || sock_diag::dump(*inum, |row| rows.push(row)));
        match dumped {
            Ok(()) => visited += 1,
            Err(error) if *inum == own => return Err(format!("sockets cannot be dumped: {error}")),
            Err(error) => {
                rows.truncate(had);
                // One that has gone since it was found is not there any more.
                if error.kind() != std::io::ErrorKind::NotFound {
                    unreachable += 1;
                    unreachable_reason.get_or_insert_with(|| format!("{}: {error}", path.display()));
                }
            }
        }
    }
    let after = maps.map(|maps| maps.counters()).transpose()?;
    let finished_ns = clock::monotonic_ns();
    Ok(Taken {
        census: Census { started_ns, finished_ns, rows },
        counters: before.zip(after).map(Box::new),
        cpu_ns: clock::thread_cpu_ns().saturating_sub(begun_cpu_ns),
        visited,
        unreachable,
        unreachable_reason,
        hidden_processes: found.hidden_processes,
    })
}
