//! How much a source sees.

use serde::{Deserialize, Serialize};
use tcpstate_common::TcpState;

/// How the daemon learns of sockets. Recordings call the two by letters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Tier {
    /// BPF: typed tracepoints, `TIME_WAIT` by inference, and socket dumps.
    #[serde(rename = "B")]
    Events,
    /// Socket dumps and /proc alone.
    #[serde(rename = "D")]
    DumpsOnly,
}

impl Tier {
    /// All that are built.
    pub const ALL: [Self; 2] = [Self::Events, Self::DumpsOnly];

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::DumpsOnly => "dumps only",
        }
    }

    /// What this tier cannot see, one sentence each.
    #[must_use]
    pub fn blind_spots(self) -> &'static [&'static str] {
        match self {
            Self::Events => &[
                "RSTs sent by netfilter REJECT, raw sockets or XDP, and RSTs received by a listener, a TIME_WAIT socket or a closed port, raise no event.",
                "TIME_WAIT is inferred from the socket's flags when it closes; the end of a TIME_WAIT or of a FIN_WAIT2 mini-socket is seen at the next census.",
                "Request sockets (SYN_RECV) are counted at each census only.",
            ],
            Self::DumpsOnly => &[
                "State transitions, and so connections that come and go between two censuses.",
                "RSTs, sent or received, and failed connects.",
                "When a socket entered its state, if that was before the census that first saw it: ages are lower bounds.",
                "Who closed a socket that sits in TIME_WAIT, FIN_WAIT1, LAST_ACK or an orphaned FIN_WAIT2.",
            ],
        }
    }

    /// Whether there are counters of transitions.
    #[must_use]
    pub fn counts(self) -> bool {
        self == Self::Events
    }
}

/// Transitions that TCP makes (RFC 9293 section 3.3.2, as Linux reports them): exported even at 0.
pub const KNOWN_TRANSITIONS: [(TcpState, TcpState); 24] = {
    use TcpState::{
        Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent,
        TimeWait,
    };
    [
        (Close, Listen),
        (Close, SynSent),
        (Listen, Close),
        (Listen, SynRecv),
        (SynSent, Established),
        (SynSent, SynRecv),
        (SynSent, Close),
        (SynRecv, Established),
        (SynRecv, FinWait1),
        (SynRecv, Close),
        (Established, FinWait1),
        (Established, CloseWait),
        (Established, Close),
        (FinWait1, FinWait2),
        (FinWait1, Closing),
        (FinWait1, Close),
        (FinWait2, TimeWait),
        (FinWait2, FinWait2),
        (FinWait2, Close),
        (Closing, TimeWait),
        (Closing, Close),
        (CloseWait, LastAck),
        (CloseWait, Close),
        (LastAck, Close),
    ]
};
