//! Who has which sockets open: by the kernel's file iterator where it loads, by /proc otherwise.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Read,
    sync::Arc,
};

use tracing::warn;

use super::{decode, procfs};
use crate::{
    clock,
    track::{Holder, Holders, Key, Owner},
};

/// Records read from the iterator at a time.
const PORTION: usize = 1024;

/// What is to be found out.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Who holds these sockets, by their cookies.
    pub cookies: Vec<u64>,
    /// What these processes hold.
    pub pids: Vec<u32>,
}

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
    /// Why there may be holders that could not be seen, if there may: as a sentence without full stop.
    pub hidden: Option<String>,
    /// CPU time that the look-up took, ns.
    pub cpu_ns: u64,
}

impl Found {
    /// Nothing was asked.
    #[must_use]
    pub fn nothing() -> Self {
        Self { holders: Arc::default(), owners: HashMap::new(), hidden: None, cpu_ns: 0 }
    }
}

/// Looks up who holds what, and what more is known of those processes. Blocks: milliseconds for thousands
/// of descriptors.
#[must_use]
pub fn look_up(way: Way, wanted: Wanted) -> Found {
    let begun_cpu_ns = clock::thread_cpu_ns();
    let Wanted { mut cookies, mut pids } = wanted;
    cookies.sort_unstable();
    cookies.dedup();
    pids.sort_unstable();
    pids.dedup();
    let (found, mut hidden) = match way {
        Way::Iterator(file) => match read(file, &cookies, &pids) {
            Ok(found) => (found, None),
            Err(error) => {
                warn!("holders of sockets could not be looked up: {error}");
                (Vec::new(), Some(error))
            }
        },
        Way::Procfs(inodes) => {
            let (found, hidden) = procfs::holders(&inodes);
            let why = || format!("the open files of {hidden} processes may not be read");
            (found, (hidden > 0).then(why))
        }
    };
    if hidden.is_none() && !procfs::sees_every_process() {
        hidden = Some("processes outside of this pid namespace cannot be seen".to_owned());
    }
    let holders = Holders::new(clock::monotonic_ns(), cookies, pids, found);
    let mut owners = HashMap::new();
    for (pid, start_boottime_ns) in holders.processes() {
        if let Some(owner) = procfs::owner(pid, start_boottime_ns) {
            owners.insert(pid, owner);
        }
    }
    let cpu_ns = clock::thread_cpu_ns().saturating_sub(begun_cpu_ns);
    Found { holders: Arc::new(holders), owners, hidden, cpu_ns }
}

/// Reads the iterator to its end, and keeps what is wanted: on a host with many descriptors that is little.
fn read(mut file: File, cookies: &[u64], pids: &[u32]) -> Result<Vec<(Key, Holder)>, String> {
    let mut found = Vec::new();
    let mut bytes = vec![0; PORTION * decode::HOLDER_LEN];
    let mut held = 0;
    loop {
        let read =
            file.read(&mut bytes[held..]).map_err(|error| format!("the file iterator stopped: {error}"))?;
        held += read;
        let whole = if read == 0 { held } else { held / decode::HOLDER_LEN * decode::HOLDER_LEN };
        for (cookie, inode, holder) in decode::holders(&bytes[..whole]).map_err(|error| error.to_string())? {
            match cookie {
                // It has no name yet: whoever asks for it knows its inode.
                None => found.push((Key::Inode(inode), holder)),
                Some(cookie)
                    if cookies.binary_search(&cookie).is_ok() || pids.binary_search(&holder.pid).is_ok() =>
                {
                    found.push((Key::Cookie(cookie), holder));
                }
                Some(_) => {}
            }
        }
        if read == 0 {
            return Ok(found);
        }
        bytes.copy_within(whole..held, 0);
        held -= whole;
    }
}
