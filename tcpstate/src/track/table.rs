//! The connection table, keyed by the socket's cookie. A census says what exists; events say since when,
//! and who acted. An event that is told late does not bring a socket back.

use std::collections::{HashMap, VecDeque};

use tcpstate_common::{Dwell, TcpState, state::STATE_SLOTS};

use super::{
    census::{Census, Row, Timer},
    event::{Actor, Process, Transition, Tuple},
    notes::{Note, Notes},
};

/// How long a socket that has ended is remembered, so that what is told late about it is known to be late.
const TOMBSTONE_NS: u64 = 30_000_000_000;
/// Tombstones kept at most; beyond it the oldest go first.
const MAX_TOMBSTONES: usize = 65_536;

/// Since when a socket has been in its state, monotonic ns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Since {
    /// It entered then.
    Exactly(u64),
    /// It was already there then: it is older than the daemon, or no event told of it.
    AtLatest(u64),
}

impl Since {
    /// The time, whichever it is.
    #[must_use]
    pub fn ns(self) -> u64 {
        match self {
            Self::Exactly(ns) | Self::AtLatest(ns) => ns,
        }
    }
}

/// One socket.
#[derive(Clone, Debug)]
pub struct Socket {
    pub cookie: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    pub tuple: Tuple,
    pub state: TcpState,
    pub since: Since,
    pub timer: Timer,
    pub retransmits: u8,
    /// See [`Row::rqueue`].
    pub rqueue: u32,
    /// See [`Row::wqueue`].
    pub wqueue: u32,
    /// See [`Row::uid`].
    pub uid: Option<u32>,
    /// See [`Row::inode`].
    pub inode: u32,
    /// The process that last acted on it: connected, shut down or closed it.
    pub actor: Option<Process>,
}

impl Socket {
    /// Time in its state, ms; at least that if [`Since::AtLatest`].
    #[must_use]
    pub fn age_ms(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.since.ns()) / 1_000_000
    }
}

/// The table.
#[derive(Debug)]
pub struct Table {
    sockets: HashMap<u64, Socket>,
    ended: HashMap<u64, u64>,
    ended_order: VecDeque<(u64, u64)>,
    max_sockets: usize,
    refused: u64,
    late_events: u64,
    dwell: [Dwell; STATE_SLOTS],
}

impl Table {
    /// An empty table for at most `max_sockets`.
    #[must_use]
    pub fn new(max_sockets: usize) -> Self {
        Self {
            sockets: HashMap::new(),
            ended: HashMap::new(),
            ended_order: VecDeque::new(),
            max_sockets,
            refused: 0,
            late_events: 0,
            dwell: [Dwell::default(); STATE_SLOTS],
        }
    }

    /// Every socket, in no order.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.values()
    }

    /// Sockets in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Sockets for which there was no room, so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Events about sockets that had already ended, so far.
    #[must_use]
    pub fn late_events(&self) -> u64 {
        self.late_events
    }

    /// See [`super::Tracker::dwell`].
    #[must_use]
    pub fn dwell(&self) -> &[Dwell; STATE_SLOTS] {
        &self.dwell
    }

    /// Takes in a change of state, and completes it.
    pub fn transition(&mut self, event: &mut Transition) {
        let Some(cookie) = event.cookie else { return };
        self.forget_tombstones(event.at_ns);
        self.complete(cookie, event);
        if event.to == TcpState::Close {
            self.end(cookie, event.at_ns);
            return;
        }
        if self.ended.get(&cookie).is_some_and(|ended_ns| *ended_ns >= event.at_ns) {
            self.late_events += 1;
            return;
        }
        let actor = event.actor.map(|actor| actor.process);
        let full = self.sockets.len() >= self.max_sockets;
        match self.sockets.get_mut(&cookie) {
            Some(socket) if socket.since.ns() > event.at_ns => match socket.since {
                Since::Exactly(_) => self.late_events += 1,
                Since::AtLatest(_) => catch_up(socket, event, actor),
            },
            Some(socket) => {
                socket.tuple = event.tuple;
                socket.actor = actor.or(socket.actor);
                if !is_hand_over(event) {
                    socket.state = event.to;
                    socket.since = Since::Exactly(event.at_ns);
                }
                if event.inferred {
                    become_mini(socket);
                }
            }
            None if full => self.refused += 1,
            None => {
                let mut socket = Socket {
                    cookie,
                    netns: event.netns,
                    tuple: event.tuple,
                    state: event.to,
                    since: Since::Exactly(entered_ns(event)),
                    timer: Timer::None,
                    retransmits: 0,
                    rqueue: 0,
                    wqueue: 0,
                    uid: None,
                    inode: 0,
                    actor,
                };
                if event.inferred {
                    become_mini(&mut socket);
                }
                self.sockets.insert(cookie, socket);
            }
        }
    }

    /// What the kernel side has handed over it does not know any more: since when a socket was in the state that
    /// it leaves, and who acted on it before.
    fn complete(&mut self, cookie: u64, event: &mut Transition) {
        let Some(socket) = self.sockets.get(&cookie) else { return };
        if event.entered_ns.is_some() || !event.from.parks() || socket.state != event.from {
            return;
        }
        event.actor = event.actor.or(socket.actor.map(|process| Actor { process, carried: true }));
        if let Since::Exactly(entered_ns) = socket.since
            && entered_ns <= event.at_ns
        {
            event.entered_ns = Some(entered_ns);
            if event.from != event.to {
                self.dwell[event.from.index()].count(event.at_ns - entered_ns);
            }
        }
    }

    /// Forgets a socket that has ended, and remembers that it has. Returns what was known of it.
    pub fn end(&mut self, cookie: u64, at_ns: u64) -> Option<Socket> {
        self.ended.insert(cookie, at_ns);
        self.ended_order.push_back((at_ns, cookie));
        self.sockets.remove(&cookie)
    }

    /// Takes in what exists. A socket that the census did not see has ended, unless an event told of it
    /// after the census began; so has told an event of a socket that the census saw before it ended.
    pub(super) fn reconcile(&mut self, census: &Census, notes: &mut Notes) {
        self.forget_tombstones(census.finished_ns);
        let mut old = std::mem::take(&mut self.sockets);
        // Where room is short, sockets that park come first, then TIME_WAIT, then the rest.
        for class in 0..3 {
            for row in census.rows.iter().filter(|row| importance(row.state) == class) {
                if self.ended.get(&row.cookie).is_some_and(|ended_ns| *ended_ns >= census.started_ns) {
                    continue;
                }
                let before = old.remove(&row.cookie);
                if self.sockets.len() >= self.max_sockets {
                    self.refused += 1;
                } else {
                    self.sockets.insert(row.cookie, merge(row, before, notes.take(row), census));
                }
            }
        }
        for (cookie, socket) in old {
            if socket.since.ns() >= census.started_ns && self.sockets.len() < self.max_sockets {
                self.sockets.insert(cookie, socket);
            }
        }
    }

    fn forget_tombstones(&mut self, now_ns: u64) {
        while let Some((at_ns, cookie)) = self.ended_order.front().copied() {
            if self.ended_order.len() <= MAX_TOMBSTONES && at_ns + TOMBSTONE_NS > now_ns {
                break;
            }
            self.ended_order.pop_front();
            if self.ended.get(&cookie) == Some(&at_ns) {
                self.ended.remove(&cookie);
            }
        }
    }
}

/// Takes in an event that a census has overtaken: the census saw where the socket came to, and the event, told
/// only afterwards, says when and who. An earlier step only says who.
fn catch_up(socket: &mut Socket, event: &Transition, actor: Option<Process>) {
    socket.actor = socket.actor.or(actor);
    if event.to == socket.state {
        socket.since = Since::Exactly(entered_ns(event));
    }
}

/// A mini-socket in `FIN_WAIT2` goes on in the state that its socket was in.
fn is_hand_over(event: &Transition) -> bool {
    event.inferred && event.from == event.to
}

/// When the socket entered the state in which the event leaves it, monotonic ns.
fn entered_ns(event: &Transition) -> u64 {
    event.entered_ns.filter(|_| is_hand_over(event)).unwrap_or(event.at_ns)
}

fn become_mini(socket: &mut Socket) {
    socket.timer = Timer::TimeWait;
    socket.uid = None;
    socket.inode = 0;
    socket.rqueue = 0;
    socket.wqueue = 0;
}

fn importance(state: TcpState) -> usize {
    if state.parks() {
        0
    } else if state == TcpState::TimeWait {
        1
    } else {
        2
    }
}

fn merge(row: &Row, before: Option<Socket>, note: Option<Note>, census: &Census) -> Socket {
    // An event after the census began is newer than the census.
    if let Some(known) = &before
        && known.state != row.state
        && known.since.ns() >= census.started_ns
    {
        return known.clone();
    }
    let same = before.as_ref().filter(|known| known.state == row.state);
    let since = match (note, same) {
        (Some(note), _) => Since::Exactly(note.entered_ns),
        (None, Some(known)) => known.since,
        (None, None) => Since::AtLatest(census.started_ns),
    };
    Socket {
        cookie: row.cookie,
        netns: row.netns,
        tuple: row.tuple,
        state: row.state,
        since,
        timer: row.timer,
        retransmits: row.retransmits,
        rqueue: row.rqueue,
        wqueue: row.wqueue,
        uid: row.uid,
        inode: row.inode,
        actor: note.and_then(|note| note.actor).or(before.and_then(|known| known.actor)),
    }
}
