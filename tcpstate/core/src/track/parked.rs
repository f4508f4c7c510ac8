//! Parked sockets grouped by who is to blame: the processes that hold them, or, where nobody can hold them
//! any more, the process that closed them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use serde::{Deserialize, Serialize};
use tcpstate_common::TcpState;

use super::{event::Comm, table::Socket};

/// A process that has a socket open.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
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
    processes: Vec<Holding>,
    by_cookie: Vec<Held>,
    by_inode: Vec<Held>,
    /// The cookies that were asked about, in their order.
    asked: Vec<u64>,
    /// The processes of which every socket was asked for.
    pids: Vec<u32>,
}

/// A process that holds sockets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Holding {
    pid: u32,
    comm: Comm,
    start_boottime_ns: u64,
}

/// One descriptor: of the many there may be, 16 bytes each.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Held {
    /// The socket's cookie, or the inode of its file.
    key: u64,
    /// Index of the process.
    process: u32,
    fd: u32,
}

/// By what a holder's socket was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Key {
    Cookie(u64),
    /// The inode of its file, where the cookie is not known.
    Inode(u32),
}

impl Holders {
    /// What was found at one time, by asking about these cookies, in their order, and about everything that these
    /// processes hold.
    #[must_use]
    pub fn new(
        at_ns: u64,
        asked: Vec<u64>,
        pids: Vec<u32>,
        found: impl IntoIterator<Item = (Key, Holder)>,
    ) -> Self {
        let mut holders = Self { at_ns, asked, pids, ..Self::default() };
        let mut indexes = HashMap::new();
        for (key, holder) in found {
            let Holder { pid, fd, comm, start_boottime_ns } = holder;
            let process = *indexes.entry((pid, start_boottime_ns)).or_insert_with(|| {
                holders.processes.push(Holding { pid, comm, start_boottime_ns });
                u32::try_from(holders.processes.len() - 1).unwrap_or(u32::MAX)
            });
            match key {
                Key::Cookie(key) => holders.by_cookie.push(Held { key, process, fd }),
                Key::Inode(key) => holders.by_inode.push(Held { key: key.into(), process, fd }),
            }
        }
        for list in [&mut holders.by_cookie, &mut holders.by_inode] {
            list.sort_unstable();
            list.dedup();
            list.shrink_to_fit();
        }
        holders
    }

    /// Whether it was asked who holds this socket, if anybody can.
    #[must_use]
    pub fn know(&self, socket: &Socket) -> bool {
        socket.inode == 0 || self.were_asked(socket.cookie)
    }

    /// Whether it was asked who holds the socket with this cookie.
    #[must_use]
    pub fn were_asked(&self, cookie: u64) -> bool {
        self.asked.binary_search(&cookie).is_ok()
    }

    /// Whether it was asked who holds each of these sockets; their cookies are in order.
    #[must_use]
    pub fn were_all_asked(&self, cookies: &[u64]) -> bool {
        let mut asked = self.asked.iter();
        cookies.iter().all(|cookie| asked.by_ref().any(|asked| asked == cookie))
    }

    /// Whether it was asked what this process holds.
    #[must_use]
    pub fn know_process(&self, pid: u32) -> bool {
        self.pids.contains(&pid)
    }

    /// All processes that have this socket open, one entry a descriptor.
    pub fn of(&self, socket: &Socket) -> impl Iterator<Item = Holder> {
        self.find(socket.cookie, socket.inode)
    }

    /// All processes that have the socket with this cookie open, if it was looked up by that.
    pub fn of_cookie(&self, cookie: u64) -> impl Iterator<Item = Holder> {
        self.find(cookie, 0)
    }

    /// The look-up never goes by inode for a socket that has none, since inode 0 is not a file.
    fn find(&self, cookie: u64, inode: u32) -> impl Iterator<Item = Holder> {
        self.places(cookie, inode).filter_map(|place| self.at(place))
    }

    /// The places of what [`Self::of`] returns, for [`Self::at`]: whoever has half a million to remember, remembers less.
    #[must_use]
    pub fn places(&self, cookie: u64, inode: u32) -> Range<usize> {
        let found = range(&self.by_cookie, cookie);
        if !found.is_empty() || inode == 0 {
            return found;
        }
        let found = range(&self.by_inode, inode.into());
        self.by_cookie.len() + found.start..self.by_cookie.len() + found.end
    }

    /// What stands at a place of this look-up.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<Holder> {
        let held = match place.checked_sub(self.by_cookie.len()) {
            Some(place) => self.by_inode.get(place),
            None => self.by_cookie.get(place),
        };
        held.and_then(|held| self.holder(*held))
    }

    fn holder(&self, held: Held) -> Option<Holder> {
        let Holding { pid, comm, start_boottime_ns } = *self.processes.get(held.process as usize)?;
        Some(Holder { pid, fd: held.fd, comm, start_boottime_ns })
    }

    /// The cookies of the sockets about which it was asked, in their order.
    #[must_use]
    pub fn asked(&self) -> &[u64] {
        &self.asked
    }

    /// The processes of which every socket was wanted.
    #[must_use]
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Everything that was found.
    pub fn found(&self) -> impl Iterator<Item = (Key, Holder)> {
        let by_cookie = self.by_cookie.iter().map(|held| (Key::Cookie(held.key), held));
        let by_inode = self.by_inode.iter().map(|held| {
            // It was made of 32 bits.
            (Key::Inode(u32::try_from(held.key).unwrap_or(0)), held)
        });
        by_cookie.chain(by_inode).filter_map(|(key, held)| Some((key, self.holder(*held)?)))
    }

    /// The cookies of the sockets that were found, each with the pid of a process that has it open.
    pub fn cookies(&self) -> impl Iterator<Item = (u64, u32)> {
        self.by_cookie.iter().filter_map(|held| Some((held.key, self.holder(*held)?.pid)))
    }

    /// Every process that holds anything: its pid, and its start, ns since boot.
    pub fn processes(&self) -> impl Iterator<Item = (u32, u64)> {
        self.processes.iter().map(|process| (process.pid, process.start_boottime_ns))
    }
}

fn range(list: &[Held], key: u64) -> Range<usize> {
    let first = list.partition_point(|held| held.key < key);
    let count = list[first..].iter().take_while(|held| held.key == key).count();
    first..first + count
}

/// What more is known of a process.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Owner {
    pub exe: Option<String>,
    /// The systemd unit.
    pub unit: Option<String>,
    /// The container's id.
    pub container: Option<String>,
    /// The Kubernetes pod's uid.
    pub pod: Option<String>,
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

/// Groups the sockets that park, and `TIME_WAIT`, a portion of them at a time.
#[derive(Debug, Default)]
pub struct Grouping {
    /// Names are for the groups: the sockets are many.
    culprits: foldhash::HashMap<(TcpState, Culprit), (u64, u64)>,
    unattributed: u64,
}

impl Grouping {
    pub(super) fn add(&mut self, sockets: impl Iterator<Item = Socket>, holders: &Holders) {
        for socket in sockets {
            let state = socket.state;
            if !state.parks() && state != TcpState::TimeWait {
                continue;
            }
            let culprit = Culprit::of(&socket, holders);
            let should_be_known = socket.inode != 0 && holders.were_asked(socket.cookie);
            self.unattributed += u64::from(should_be_known && culprit == Culprit::Nobody);
            let (count, since_ns) = self.culprits.entry((state, culprit)).or_insert((0, u64::MAX));
            *count += 1;
            *since_ns = (*since_ns).min(socket.since.ns());
        }
    }

    /// At most `top` named groups a state. Also returns how many of those that a process must hold have no holder,
    /// though it was asked who holds them.
    pub(super) fn finish(
        self,
        owners: &HashMap<u32, Owner>,
        top: usize,
        now_ns: u64,
    ) -> (Vec<ParkedGroup>, u64) {
        (named(self.culprits, owners, top, now_ns), self.unattributed)
    }
}

fn named(
    culprits: foldhash::HashMap<(TcpState, Culprit), (u64, u64)>,
    owners: &HashMap<u32, Owner>,
    top: usize,
    now_ns: u64,
) -> Vec<ParkedGroup> {
    let mut groups = BTreeMap::<(TcpState, Blamed), (u64, u64)>::new();
    for ((state, culprit), (count, since_ns)) in culprits {
        let (sum, oldest_ms) = groups.entry((state, culprit.blamed(owners))).or_default();
        *sum += count;
        *oldest_ms = (*oldest_ms).max(now_ns.saturating_sub(since_ns) / 1_000_000);
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
    named
}

/// Who is to blame for one socket.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Culprit {
    /// A process that has it open.
    Holder {
        pid: u32,
        comm: Comm,
    },
    /// A process that closed it.
    Closer {
        comm: Comm,
    },
    Nobody,
}

impl Culprit {
    /// The first holder by pid where processes share a socket; they are one service nearly always, and the API
    /// lists them all.
    fn of(socket: &Socket, holders: &Holders) -> Self {
        // Nobody holds a `TIME_WAIT`, of which there may be many: nobody is searched for.
        let holder = if socket.state == TcpState::TimeWait { None } else { holders.of(socket).min() };
        if let Some(holder) = holder {
            return Self::Holder { pid: holder.pid, comm: holder.comm };
        }
        match socket.actor.filter(|_| socket.inode == 0) {
            Some(actor) => Self::Closer { comm: actor.comm },
            None => Self::Nobody,
        }
    }

    /// A process that closed the socket may have ended, and its number may be another's by now: only the name it
    /// had is certain.
    fn blamed(self, owners: &HashMap<u32, Owner>) -> Blamed {
        match self {
            Self::Holder { pid, comm } => {
                let owner = owners.get(&pid).cloned().unwrap_or_default();
                Blamed { comm: Some(comm.to_string()), unit: owner.unit, container: owner.container }
            }
            Self::Closer { comm } => Blamed { comm: Some(comm.to_string()), ..Blamed::default() },
            Self::Nobody => Blamed::default(),
        }
    }
}
