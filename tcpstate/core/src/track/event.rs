//! What the sources tell, in the tracker's words.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tcpstate_common::{TcpState, wire::COMM_LEN};

/// The family of a socket. A v4-mapped peer on an IPv6 socket is [`Family::V6`], as in the kernel.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Family {
    #[serde(rename = "ipv4")]
    V4,
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    /// Both, in the order of [`Self::index`].
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The label in metrics and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    /// The index in the counters' tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// An address in the kernel's 16 bytes, in network order; IPv4 takes the first four.
#[must_use]
pub fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The address in the kernel's 16 bytes: see [`octets`].
#[must_use]
pub fn address(family: Family, bytes: [u8; 16]) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
        Family::V6 => Ipv6Addr::from(bytes).into(),
    }
}

/// A process name as the kernel keeps it: at most 15 bytes, not necessarily UTF-8.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Comm(pub [u8; COMM_LEN]);

impl Comm {
    /// Takes the first 15 bytes of a name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::of_bytes(name.as_bytes())
    }

    /// The same of a name that is not known to be UTF-8.
    #[must_use]
    pub fn of_bytes(name: &[u8]) -> Self {
        let mut bytes = [0; COMM_LEN];
        for (to, from) in bytes.iter_mut().take(COMM_LEN - 1).zip(name) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl Serialize for Comm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Comm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&Cow::<str>::deserialize(deserializer)?))
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(COMM_LEN);
        String::from_utf8_lossy(&self.0[..end]).fmt(f)
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// A process: its thread group's number in the initial pid namespace, and its name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Process {
    pub pid: u32,
    pub comm: Comm,
}

/// How a connection came to be.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Opened {
    /// When it became `ESTABLISHED`, monotonic ns: at most one kernel tick too early.
    pub at_ns: u64,
    /// This host was the active opener (RFC 9293 section 3.5): the client.
    pub active: bool,
}

impl Opened {
    /// Makes 32 bits of it, beside the time since which the socket has been in its state: the time between the two in
    /// units of about a millisecond (2^20 ns). A connection that was older than 13 days then, counts as 13 days old.
    #[must_use]
    pub fn pack(opened: Option<Self>, since_ns: u64) -> u32 {
        opened.map_or(0, |opened| {
            let before = since_ns.saturating_sub(opened.at_ns) >> Self::UNIT;
            let before = u32::try_from(before).unwrap_or(u32::MAX).min((u32::MAX >> 1) - 1);
            (before + 1) << 1 | u32::from(opened.active)
        })
    }

    /// The same backwards.
    #[must_use]
    pub fn unpack(packed: u32, since_ns: u64) -> Option<Self> {
        let before = (packed >> 1).checked_sub(1)?;
        let at_ns = since_ns.saturating_sub(u64::from(before) << Self::UNIT);
        Some(Self { at_ns, active: packed & 1 != 0 })
    }

    const UNIT: u32 = 20;
}

/// Whom an event names.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Actor {
    pub process: Process,
    /// The process acted on the socket earlier (it closed it, for example), not at this event.
    pub carried: bool,
}

/// Both ends of a connection, seen from this host.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tuple {
    /// The socket's family; both addresses are of it.
    pub family: Family,
    pub local: SocketAddr,
    /// Port 0 and an unspecified address for a listener.
    pub remote: SocketAddr,
}

impl Tuple {
    /// Whether there is another end: not for a listener, nor where the kernel does not say.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.remote.port() != 0 || !self.remote.ip().is_unspecified()
    }

    /// Whether either end has this port.
    #[must_use]
    pub fn has_port(&self, port: u16) -> bool {
        self.local.port() == port || self.remote.port() == port
    }

    /// Whether the peer is this address; a v4-mapped peer is the IPv4 address that it maps.
    #[must_use]
    pub fn is_peer(&self, peer: IpAddr) -> bool {
        self.remote.ip().to_canonical() == peer.to_canonical()
    }
}

/// One event.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Transition(Transition),
    ResetSent(ResetSent),
    ResetReceived(ResetReceived),
}

/// A socket changed its state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Transition {
    /// Monotonic ns.
    pub at_ns: u64,
    /// `None` where the kernel had no cookie to give (a socket that is being born, up to 6.12).
    pub cookie: Option<u64>,
    /// Inode number of the network namespace; 0 when not known.
    pub netns: u32,
    pub tuple: Tuple,
    pub from: TcpState,
    pub to: TcpState,
    /// When `from` was entered, monotonic ns.
    pub entered_ns: Option<u64>,
    pub actor: Option<Actor>,
    /// `sk_err`: a positive errno, or 0.
    pub error: u32,
    /// `to` is inferred; see `tcpstate_common::wire::flags::INFERRED`.
    pub inferred: bool,
}

/// The kernel sent a RST.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ResetSent {
    /// Monotonic ns.
    pub at_ns: u64,
    /// `None` when no socket sent it, or when it has no cookie.
    pub cookie: Option<u64>,
    pub netns: u32,
    pub tuple: Tuple,
    /// The socket's state; `None` when there was no socket.
    pub state: Option<TcpState>,
    /// `enum sk_rst_reason`; `None` before 6.10.
    pub reason: Option<u32>,
    pub process: Option<Process>,
}

/// The kernel ran `tcp_reset` on a socket.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ResetReceived {
    /// Monotonic ns.
    pub at_ns: u64,
    pub cookie: Option<u64>,
    pub netns: u32,
    pub tuple: Tuple,
    /// The state in which the RST met the socket.
    pub state: TcpState,
}
