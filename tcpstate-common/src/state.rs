//! TCP's states with the kernel's numbers (`include/net/tcp_states.h`) and RFC 9293's meaning.

/// Slots of a table indexed by a state's number: a power of two, so that `number & (SLOTS - 1)` is
/// always in bounds, which is what the verifier asks for.
pub const STATE_SLOTS: usize = 16;

/// A state of a TCP socket, as the kernel numbers it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(
    feature = "user",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "SCREAMING_SNAKE_CASE")
)]
#[repr(u8)]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
    /// A request socket; the kernel shows it to user space as `SYN_RECV`.
    NewSynRecv = 12,
}

impl TcpState {
    /// Every state, in the kernel's order.
    pub const ALL: [Self; 12] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::NewSynRecv,
    ];

    /// The states in which a socket shows up in a socket dump: all but `CLOSE`, and `NEW_SYN_RECV`
    /// which a dump calls `SYN_RECV`.
    pub const VISIBLE: [Self; 10] = [
        Self::Listen,
        Self::SynSent,
        Self::SynRecv,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::Closing,
        Self::TimeWait,
        Self::CloseWait,
        Self::LastAck,
    ];

    /// The name the kernel prints, without its `TCP_` prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::NewSynRecv => "NEW_SYN_RECV",
        }
    }

    /// The number as an index into a table of [`STATE_SLOTS`] slots.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether a socket parks here: it stays until the application, the peer or a timer acts, and the
    /// kernel side remembers since when.
    #[must_use]
    pub const fn parks(self) -> bool {
        matches!(
            self,
            Self::SynSent | Self::FinWait1 | Self::FinWait2 | Self::Closing | Self::CloseWait | Self::LastAck
        )
    }
}

impl TryFrom<u8> for TcpState {
    type Error = u8;

    /// Gives the number back when it is none of the kernel's states.
    fn try_from(number: u8) -> Result<Self, u8> {
        match number {
            1..=12 => Ok(Self::ALL[usize::from(number) - 1]),
            other => Err(other),
        }
    }
}

const _: () = {
    let mut i = 0;
    while i < TcpState::ALL.len() {
        assert!(TcpState::ALL[i].index() == i + 1);
        assert!(TcpState::ALL[i].index() < STATE_SLOTS);
        i += 1;
    }
};
