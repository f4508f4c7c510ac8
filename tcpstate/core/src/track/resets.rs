//! The latest resets. A RST that the kernel made up itself shows up as a received one and then as a sent
//! one on the same socket; such a pair is one sent reset.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use tcpstate_common::TcpState;

use super::event::{Opened, Process, ResetReceived, ResetSent, Tuple};

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

/// What is known of the connection that met a reset. Absent is what is not known.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Circumstances {
    /// For a sent one that no connection sent: whether it answers a SYN.
    pub answered_syn: Option<bool>,
    /// Bytes that had come in and had not been read.
    pub unread_bytes: Option<u32>,
    /// Bytes that had come in, and bytes that had been sent, together; without what was sent again.
    pub moved_bytes: Option<u64>,
    /// For how long nothing had come from the peer, ms.
    pub idle_ms: Option<u64>,
    /// For how long no data had been sent, ms; counts from the beginning of the connection if none ever was.
    pub spoke_ms: Option<u64>,
    /// Bytes that had been written and that the peer had not acknowledged, a FIN among them.
    pub unsent_bytes: Option<u32>,
    /// Whether the peer's FIN had come in.
    pub peer_ended: Option<bool>,
    /// For a sent one: whether the process that sent it was ending, and chose nothing.
    pub ending: Option<bool>,
    /// How the connection had come to be.
    pub opened: Option<Opened>,
    /// For a sent one that answers a packet: bytes of data in that.
    pub payload_bytes: Option<u32>,
    /// When the socket entered the state in which the reset met it, monotonic ns.
    pub entered_ns: Option<u64>,
    /// The process that had last acted on the socket before: that had closed it, mostly.
    pub actor: Option<Process>,
}

impl Circumstances {
    /// What is known of either comes from there.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            answered_syn: self.answered_syn.or(other.answered_syn),
            unread_bytes: self.unread_bytes.or(other.unread_bytes),
            moved_bytes: self.moved_bytes.or(other.moved_bytes),
            idle_ms: self.idle_ms.or(other.idle_ms),
            spoke_ms: self.spoke_ms.or(other.spoke_ms),
            unsent_bytes: self.unsent_bytes.or(other.unsent_bytes),
            peer_ended: self.peer_ended.or(other.peer_ended),
            ending: self.ending.or(other.ending),
            opened: self.opened.or(other.opened),
            payload_bytes: self.payload_bytes.or(other.payload_bytes),
            entered_ns: self.entered_ns.or(other.entered_ns),
            actor: self.actor.or(other.actor),
        }
    }
}

/// The latest resets, the newest last.
#[derive(Debug)]
pub struct Resets {
    latest: VecDeque<(Reset, Circumstances)>,
    /// The received reset of a socket that has not sent one yet.
    unpaired: HashMap<u64, u64>,
    max: usize,
    next_id: u64,
    /// The last one that had to make room for a newer one.
    evicted_id: u64,
}

impl Resets {
    /// An empty list of at most `max`.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { latest: VecDeque::new(), unpaired: HashMap::new(), max, next_id: 1, evicted_id: 0 }
    }

    /// The latest resets, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Reset> {
        self.latest.iter().rev().map(|(reset, _)| reset)
    }

    /// Those with an id above `id`, the newest `most` of them, the oldest first; and how many are left out.
    pub fn since(&self, id: u64, most: usize) -> (impl Iterator<Item = &(Reset, Circumstances)>, u64) {
        let first = self.latest.partition_point(|(reset, _)| reset.id <= id);
        let given = (self.latest.len() - first).min(most);
        let left_out = self.evicted_id.saturating_sub(id) + (self.latest.len() - first - given) as u64;
        (self.latest.iter().skip(self.latest.len() - given), left_out)
    }

    /// The id of the newest one so far: what [`Self::since`] wants next time.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.next_id - 1
    }

    pub(super) fn received(&mut self, event: &ResetReceived, about: Circumstances) {
        let reset = Reset {
            id: 0,
            at_ns: event.at_ns,
            direction: Direction::Received,
            cookie: event.cookie,
            netns: event.netns,
            tuple: event.tuple,
            state: Some(event.state),
            reason: None,
            process: None,
        };
        let id = self.push(reset, about);
        if let Some(cookie) = event.cookie {
            self.unpaired.insert(cookie, id);
        }
    }

    pub(super) fn sent(&mut self, event: &ResetSent, about: Circumstances) {
        let met = event.cookie.filter(|_| event.state == Some(TcpState::Close)).and_then(|cookie| {
            let id = self.unpaired.remove(&cookie)?;
            let index = self.latest.binary_search_by_key(&id, |(reset, _)| reset.id).ok()?;
            self.latest.remove(index)
        });
        let reset = Reset {
            id: 0,
            at_ns: event.at_ns,
            direction: Direction::Sent,
            cookie: event.cookie,
            netns: event.netns,
            tuple: event.tuple,
            // The state that the data met tells more than the CLOSE that the kernel went to.
            state: met.as_ref().map_or(event.state, |(met, _)| met.state),
            reason: event.reason,
            process: event.process,
        };
        // The socket is closed by now; what it was like tells more.
        let about = met.map_or(about, |(_, met)| met.or(about));
        self.push(reset, about);
    }

    fn push(&mut self, mut reset: Reset, about: Circumstances) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        reset.id = id;
        if self.latest.len() >= self.max
            && let Some((oldest, _)) = self.latest.pop_front()
        {
            self.evicted_id = oldest.id;
            if let Some(cookie) = oldest.cookie
                && self.unpaired.get(&cookie) == Some(&oldest.id)
            {
                self.unpaired.remove(&cookie);
            }
        }
        self.latest.push_back((reset, about));
        id
    }
}
