//! A census: which sockets exist, asked of the kernel at one time.

use tcpstate_common::{TcpState, state::STATE_SLOTS};

use super::event::Tuple;

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

/// All sockets of the namespaces that could be visited.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Monotonic ns, before the first namespace.
    pub started_ns: u64,
    /// Monotonic ns, after the last namespace.
    pub finished_ns: u64,
    pub rows: Vec<Row>,
}

/// Sockets of one family by state: those with a full socket, and mini-sockets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    pub full: [u64; STATE_SLOTS],
    pub mini: [u64; STATE_SLOTS],
}

impl Census {
    /// Counts the rows by family and state.
    #[must_use]
    pub fn count(&self) -> [Counted; 2] {
        let mut counted = [Counted::default(); 2];
        for row in &self.rows {
            let family = &mut counted[row.tuple.family.index()];
            let by_state = if row.is_mini() { &mut family.mini } else { &mut family.full };
            by_state[row.state.index()] += 1;
        }
        counted
    }
}
