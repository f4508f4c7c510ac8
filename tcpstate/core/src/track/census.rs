//! A census: which sockets exist, asked of the kernel. It comes in portions, and nobody keeps it as a whole.

use serde::{Deserialize, Serialize};
use tcpstate_common::{TcpState, state::STATE_SLOTS};

use super::{
    event::{Family, Tuple},
    minis::Ends,
};

const NS_PER_MS: u64 = 1_000_000;
/// [`Row::wqueue`] of a listener of which the limit is not known: no queue is longer.
pub const NO_LIMIT: u32 = u32::MAX;

/// The timer that runs on a socket, as `idiag_timer` numbers them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
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
    const ALL: [Self; 5] = [Self::None, Self::Retransmit, Self::Keepalive, Self::TimeWait, Self::Persist];

    /// The kernel's number.
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    /// The timer with this number; none for a number that no timer has.
    pub(super) fn of(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::None)
    }

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
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
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
    /// Bytes not acknowledged yet; for a listener the limit of its backlog, or [`NO_LIMIT`].
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

/// Which states a census asks about: always those where something may go wrong, which are few as long as nothing does,
/// and those of the many as it is wanted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Scope {
    /// Whether it asks about `ESTABLISHED`.
    pub established: bool,
    /// Whether it asks about `TIME_WAIT`.
    pub time_wait: bool,
}

impl Scope {
    /// Every state.
    pub const ALL: Self = Self { established: true, time_wait: true };
    /// Neither of the states of the many.
    pub const FEWEST: Self = Self { established: false, time_wait: false };

    /// Whether sockets in this state are shown.
    #[must_use]
    pub fn has(self, state: TcpState) -> bool {
        match state {
            TcpState::Established => self.established,
            TcpState::TimeWait => self.time_wait,
            _ => true,
        }
    }

    /// Whether it shows all that another one does.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.with(other) == self
    }

    /// What either of them shows.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            established: self.established || other.established,
            time_wait: self.time_wait || other.time_wait,
        }
    }

    /// The states that it asks about.
    pub fn states(self) -> impl Iterator<Item = TcpState> {
        TcpState::VISIBLE.into_iter().filter(move |state| self.has(*state))
    }

    /// The states that it does not ask about.
    pub fn left_out(self) -> impl Iterator<Item = TcpState> {
        TcpState::VISIBLE.into_iter().filter(move |state| !self.has(*state))
    }
}

/// Sockets of one family by state: those with a full socket, and mini-sockets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    pub full: [u64; STATE_SLOTS],
    pub mini: [u64; STATE_SLOTS],
    /// When the mini-sockets end.
    pub ends: [Ends; STATE_SLOTS],
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

    /// Mini-sockets in one state.
    #[must_use]
    pub fn minis(&self, state: TcpState) -> u64 {
        self.families.iter().map(|family| family.mini[state.index()]).sum()
    }

    /// Counts a socket that was shown at this time, monotonic ns.
    pub fn add(&mut self, row: &Row, now_ns: u64) {
        self.sockets += 1;
        let ends_ns = now_ns.saturating_add(u64::from(row.expires_ms) * NS_PER_MS);
        self.count(row.tuple.family, row.state, row.is_mini().then_some(ends_ns));
    }

    /// Counts a socket; a mini-socket ends at this time, monotonic ns.
    pub(super) fn count(&mut self, family: Family, state: TcpState, mini_ends_ns: Option<u64>) {
        let family = &mut self.families[family.index()];
        let state = state.index();
        if let Some(ends_ns) = mini_ends_ns {
            family.mini[state] += 1;
            family.ends[state].add(ends_ns);
        } else {
            family.full[state] += 1;
        }
    }
}
