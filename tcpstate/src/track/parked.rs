//! Parked sockets grouped by who is to blame: the processes that hold them, or, where nobody can hold them
//! any more, the process that closed them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use tcpstate_common::TcpState;

use super::{event::Comm, table::Socket};

/// A process that has a socket open.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Holder {
    pub pid: u32,
    pub fd: u32,
    pub comm: Comm,
    /// The process's start, ns since boot: with `pid` it names a process for good.
    pub start_boottime_ns: u64,
}

/// Who has which sockets open, at one time.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    /// Monotonic ns.
    pub at_ns: u64,
    by_cookie: HashMap<u64, Vec<Holder>>,
    by_inode: HashMap<u32, Vec<Holder>>,
}

impl Holders {
    /// Nobody has anything open.
    #[must_use]
    pub fn new(at_ns: u64) -> Self {
        Self { at_ns, ..Self::default() }
    }

    /// Adds a holder by the socket's cookie, or by its file's inode where the cookie is not known.
    pub fn add(&mut self, cookie: Option<u64>, inode: u32, holder: Holder) {
        let list = match cookie {
            Some(cookie) => self.by_cookie.entry(cookie).or_default(),
            None => self.by_inode.entry(inode).or_default(),
        };
        if !list.contains(&holder) {
            list.push(holder);
        }
    }

    /// All processes that have this socket open, one entry a descriptor. The look-up never goes by inode
    /// for a socket that has none, since inode 0 is not a file.
    #[must_use]
    pub fn of(&self, socket: &Socket) -> &[Holder] {
        if let Some(list) = self.by_cookie.get(&socket.cookie) {
            return list;
        }
        if socket.inode == 0 {
            return &[];
        }
        self.by_inode.get(&socket.inode).map_or(&[], Vec::as_slice)
    }

    /// Every holder, one a descriptor.
    pub fn all(&self) -> impl Iterator<Item = &Holder> {
        self.by_cookie.values().chain(self.by_inode.values()).flatten()
    }
}

/// What more is known of a process.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Owner {
    pub exe: Option<String>,
    /// The systemd unit.
    pub unit: Option<String>,
    /// The container's id.
    pub container: Option<String>,
}

/// Who is named for a group of parked sockets. All `None`: nobody can be named.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Blamed {
    pub comm: Option<String>,
    pub unit: Option<String>,
    pub container: Option<String>,
}

/// Parked sockets of one owner in one state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParkedGroup {
    pub state: TcpState,
    /// `None`: all the owners that were not among the largest.
    pub blamed: Option<Blamed>,
    pub count: u64,
    /// Age of the oldest one, ms; at least that where the daemon came later.
    pub oldest_age_ms: u64,
}

/// Groups the sockets that park, and `TIME_WAIT`; at most `top` named groups a state. Also returns how many
/// of those that a process must hold have no holder.
pub(super) fn group<'a>(
    sockets: impl Iterator<Item = &'a Socket>,
    holders: &Holders,
    owners: &HashMap<u32, Owner>,
    top: usize,
    now_ns: u64,
) -> (Vec<ParkedGroup>, u64) {
    let mut groups = BTreeMap::<(TcpState, Blamed), (u64, u64)>::new();
    let mut unattributed = 0;
    for socket in sockets.filter(|socket| socket.state.parks() || socket.state == TcpState::TimeWait) {
        let blamed = blame(socket, holders, owners);
        unattributed += u64::from(socket.inode != 0 && blamed.comm.is_none());
        let (count, oldest) = groups.entry((socket.state, blamed)).or_default();
        *count += 1;
        *oldest = (*oldest).max(socket.age_ms(now_ns));
    }
    let mut by_state = BTreeMap::<TcpState, Vec<ParkedGroup>>::new();
    for ((state, blamed), (count, oldest_age_ms)) in groups {
        let group = ParkedGroup { state, blamed: Some(blamed), count, oldest_age_ms };
        by_state.entry(state).or_default().push(group);
    }
    let mut named = Vec::new();
    for (state, mut groups) in by_state {
        groups.sort_by_key(|group| Reverse(group.count));
        let rest = groups.split_off(top.min(groups.len()));
        named.extend(groups);
        if !rest.is_empty() {
            named.push(ParkedGroup {
                state,
                blamed: None,
                count: rest.iter().map(|group| group.count).sum(),
                oldest_age_ms: rest.iter().map(|group| group.oldest_age_ms).max().unwrap_or(0),
            });
        }
    }
    (named, unattributed)
}

/// The first holder by pid where processes share a socket; they are one service nearly always, and the API
/// lists them all.
fn blame(socket: &Socket, holders: &Holders, owners: &HashMap<u32, Owner>) -> Blamed {
    if let Some(holder) = holders.of(socket).iter().min() {
        let owner = owners.get(&holder.pid).cloned().unwrap_or_default();
        return Blamed { comm: Some(holder.comm.to_string()), unit: owner.unit, container: owner.container };
    }
    // A process that closed the socket may have ended, and its number may be another's by now: only the
    // name it had is certain.
    match socket.actor.filter(|_| socket.inode == 0) {
        Some(process) => Blamed { comm: Some(process.comm.to_string()), ..Blamed::default() },
        None => Blamed::default(),
    }
}
