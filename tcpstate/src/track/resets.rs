//! The latest resets. A RST that the kernel made up itself shows up as a received one and then as a sent
//! one on the same socket; such a pair is one sent reset.

use std::collections::{HashMap, VecDeque};

use tcpstate_common::TcpState;

use super::event::{Process, ResetReceived, ResetSent, Tuple};

/// Which way a reset went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    Sent,
    Received,
}

/// In which part of a connection's life a reset met it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// `SYN_SENT`: refused.
    Connect,
    /// `SYN_RECV`, or a listener.
    Accept,
    Established,
    /// After a FIN in either direction, or after the end.
    Closing,
}

impl Phase {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Accept, Self::Established, Self::Closing];

    /// The phase to which a state belongs.
    #[must_use]
    pub fn of(state: TcpState) -> Self {
        match state {
            TcpState::SynSent => Self::Connect,
            TcpState::SynRecv | TcpState::NewSynRecv | TcpState::Listen => Self::Accept,
            TcpState::Established => Self::Established,
            TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::TimeWait
            | TcpState::Close
            | TcpState::CloseWait
            | TcpState::LastAck
            | TcpState::Closing => Self::Closing,
        }
    }

    /// The label in metrics and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Established => "established",
            Self::Closing => "closing",
        }
    }
}

/// One reset.
#[derive(Clone, Debug)]
pub struct Reset {
    /// Counts up from 1; never used twice.
    pub id: u64,
    /// Monotonic ns.
    pub at_ns: u64,
    pub direction: Direction,
    pub cookie: Option<u64>,
    pub netns: u32,
    pub tuple: Tuple,
    /// The state in which it met the socket; `None` when there was no socket.
    pub state: Option<TcpState>,
    /// `enum sk_rst_reason`, for sent ones on kernels that give it.
    pub reason: Option<u32>,
    pub process: Option<Process>,
}

/// The latest resets, the newest last.
#[derive(Debug)]
pub struct Resets {
    latest: VecDeque<Reset>,
    /// The received reset of a socket that has not sent one yet.
    unpaired: HashMap<u64, u64>,
    max: usize,
    next_id: u64,
}

impl Resets {
    /// An empty list of at most `max`.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { latest: VecDeque::new(), unpaired: HashMap::new(), max, next_id: 1 }
    }

    /// The latest resets, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Reset> {
        self.latest.iter().rev()
    }

    /// Resets that were pushed out of the list by newer ones, or were half of a pair.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.next_id - 1
    }

    pub(super) fn received(&mut self, event: &ResetReceived) {
        let id = self.push(Reset {
            id: 0,
            at_ns: event.at_ns,
            direction: Direction::Received,
            cookie: event.cookie,
            netns: event.netns,
            tuple: event.tuple,
            state: Some(event.state),
            reason: None,
            process: None,
        });
        if let Some(cookie) = event.cookie {
            self.unpaired.insert(cookie, id);
        }
    }

    pub(super) fn sent(&mut self, event: &ResetSent) {
        let met = event.cookie.filter(|_| event.state == Some(TcpState::Close)).and_then(|cookie| {
            let id = self.unpaired.remove(&cookie)?;
            let index = self.latest.binary_search_by_key(&id, |reset| reset.id).ok()?;
            self.latest.remove(index)
        });
        self.push(Reset {
            id: 0,
            at_ns: event.at_ns,
            direction: Direction::Sent,
            cookie: event.cookie,
            netns: event.netns,
            tuple: event.tuple,
            // The state that the data met tells more than the CLOSE that the kernel went to.
            state: met.map_or(event.state, |met| met.state),
            reason: event.reason,
            process: event.process,
        });
    }

    fn push(&mut self, mut reset: Reset) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        reset.id = id;
        if self.latest.len() >= self.max
            && let Some(oldest) = self.latest.pop_front()
            && let Some(cookie) = oldest.cookie
            && self.unpaired.get(&cookie) == Some(&oldest.id)
        {
            self.unpaired.remove(&cookie);
        }
        self.latest.push_back(reset);
        id
    }
}
