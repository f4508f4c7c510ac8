//! A census: which sockets exist, asked of the kernel. It comes in portions, and nobody keeps it as a whole.

use std::collections::BTreeMap;

use tcpstate_common::{TcpState, state::STATE_SLOTS};

use super::event::Tuple;

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// The timer that runs on a socket, as `idiag_timer` numbers them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Timer {
    None,
    Retransmit,
    Keepalive,
    /// A mini-socket waits for its end, in `TIME_WAIT` or in `FIN_WAIT2`.
    TimeWait,
    /// The peer's window is closed.
    Persist,
}

impl Timer {
    /// The name in the API.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Retransmit => Some("retransmit"),
            Self::Keepalive => Some("keepalive"),
            Self::TimeWait => Some("timewait"),
            Self::Persist => Some("persist"),
        }
    }
}

/// One socket that exists.
#[derive(Clone, Debug)]
pub struct Row {
    pub cookie: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    pub tuple: Tuple,
    pub state: TcpState,
    pub timer: Timer,
    /// Time until the timer fires, ms; 0 without timer.
    pub expires_ms: u32,
    pub retransmits: u8,
    /// Bytes not read yet; for a listener the connections not accepted yet.
    pub rqueue: u32,
    /// Bytes not acknowledged yet; for a listener the limit of its backlog.
    pub wqueue: u32,
    /// The user who made the socket; `None` for a mini-socket, of which the kernel says 0.
    pub uid: Option<u32>,
    /// Inode of the socket file; 0 when no process can hold it: never accepted, orphaned, or a mini-socket.
    pub inode: u32,
}

impl Row {
    /// Whether a mini-socket stands in for a socket that has ended.
    #[must_use]
    pub fn is_mini(&self) -> bool {
        self.timer == Timer::TimeWait
    }
}

/// Which states a census asks about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// All of them.
    All,
    /// All but `ESTABLISHED`: what may go wrong, without the many where nothing does.
    NotEstablished,
}

impl Scope {
    /// The name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::NotEstablished => "not_established",
        }
    }

    /// Whether sockets in this state are shown.
    #[must_use]
    pub fn has(self, state: TcpState) -> bool {
        self == Self::All || state != TcpState::Established
    }
}

/// Sockets of one family by state: those with a full socket, and mini-sockets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    pub full: [u64; STATE_SLOTS],
    pub mini: [u64; STATE_SLOTS],
    /// When the mini-sockets end, by monotonic second, and by the state that they are in.
    pub ends: BTreeMap<u64, [u64; STATE_SLOTS]>,
}

/// What a census has shown, counted.
#[derive(Clone, Debug)]
pub struct Tally {
    pub scope: Scope,
    /// By [`super::Family::index`].
    pub families: [Counted; 2],
    /// Sockets, together.
    pub sockets: u64,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self { scope, families: Default::default(), sockets: 0 }
    }

    /// Counts a socket that was shown at this time, monotonic ns.
    pub fn add(&mut self, row: &Row, now_ns: u64) {
        self.sockets += 1;
        let family = &mut self.families[row.tuple.family.index()];
        let state = row.state.index();
        if row.is_mini() {
            family.mini[state] += 1;
            let second = (now_ns + u64::from(row.expires_ms) * NS_PER_MS) / NS_PER_S;
            family.ends.entry(second).or_default()[state] += 1;
        } else {
            family.full[state] += 1;
        }
    }
}
