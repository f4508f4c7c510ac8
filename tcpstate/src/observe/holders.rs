//! Who has which sockets open: by the kernel's file iterator where it loads, by /proc otherwise.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Read,
    sync::Arc,
};

use super::{decode, procfs};
use crate::{
    clock,
    track::{Holders, Owner},
};

/// What is to be read for a look-up.
#[derive(Debug)]
pub enum Way {
    /// The file of an iterator that has just been made.
    Iterator(File),
    /// /proc, for these inodes.
    Procfs(HashSet<u32>),
}

/// Who holds what.
#[derive(Debug)]
pub struct Found {
    /// Shared with the filters that need it.
    pub holders: Arc<Holders>,
    /// What more is known of the holders, by pid.
    pub owners: HashMap<u32, Owner>,
}

impl Found {
    /// Nobody holds anything.
    #[must_use]
    pub fn nothing(at_ns: u64) -> Self {
        Self { holders: Arc::new(Holders::new(at_ns)), owners: HashMap::new() }
    }
}

/// Looks up who holds what, and what more is known of those processes. Blocks: milliseconds for thousands
/// of descriptors.
///
/// # Errors
/// If the iterator cannot be read to its end; one sentence.
pub fn look_up(way: Way) -> Result<Found, String> {
    let holders = match way {
        Way::Iterator(file) => read(file)?,
        Way::Procfs(wanted) => procfs::holders(&wanted, clock::monotonic_ns()),
    };
    let mut owners = HashMap::new();
    for holder in holders.all() {
        if !owners.contains_key(&holder.pid)
            && let Some(owner) = procfs::owner(holder.pid, holder.start_boottime_ns)
        {
            owners.insert(holder.pid, owner);
        }
    }
    Ok(Found { holders: Arc::new(holders), owners })
}

fn read(mut file: File) -> Result<Holders, String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| format!("the file iterator stopped: {error}"))?;
    let mut holders = Holders::new(clock::monotonic_ns());
    for (cookie, inode, holder) in decode::holders(&bytes).map_err(|error| error.to_string())? {
        holders.add(cookie, inode, holder);
    }
    Ok(holders)
}
