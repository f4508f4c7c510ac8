//! The bug classes by name. What each one is, is in `explain/`.

use serde::{Deserialize, Serialize};

/// Declares the classes once: the variant, its id, and what it is called in a heading.
macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident = $id:literal,)*) => {
        /// What may be wrong, or only look wrong, with TCP connections.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub enum Class {
            $($(#[$doc])* #[serde(rename = $id)] $variant,)*
        }

        impl Class {
            /// All of them, in the order of the families.
            pub const ALL: [Self; 35] = [$(Self::$variant,)*];

            /// The id: in findings, in metrics and on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }
        }
    };
}

classes! {
    /// The process read EOF and never closed.
    CloseWaitLeak = "close-wait-leak",
    /// The peer closed, and what it sent was never read.
    CloseWaitNeverRead = "close-wait-never-read",
    /// Pooled connections that the server has closed, and that nobody has used since.
    CloseWaitIdlePool = "close-wait-idle-pool",
    /// Requests were read, and are not answered.
    UnansweredRequests = "unanswered-requests",
    /// A client keeps open connections that it never uses again.
    EstablishedLeak = "established-leak",
    /// No descriptor is left, or soon none will be.
    FdExhaustion = "fd-exhaustion",
    /// Connections wait in the accept queue, and nobody accepts.
    AcceptStall = "accept-stall",
    /// The owner is stopped or frozen.
    OwnerStopped = "owner-stopped",
    /// A child that was forked later keeps the socket open.
    FdInherited = "fd-inherited",
    /// The peer half-closed, and the answer is still on its way.
    HalfClose = "half-close",
    /// The peer half-closed and does not read the answer.
    CloseWaitSendBlocked = "close-wait-send-blocked",
    /// A proxy waits for an upstream that does not close.
    ProxyPair = "proxy-pair",
    /// A response was never read to its end.
    UnreadBody = "unread-body",
    /// A socket that is alive without a descriptor.
    GhostReference = "ghost-reference",
    /// No local port is left for a destination, or soon none will be.
    PortExhaustion = "port-exhaustion",
    /// Many short connections leave many `TIME_WAIT`s.
    TimeWaitChurn = "time-wait-churn",
    /// `TIME_WAIT`s are cut short because there are too many.
    TimeWaitOverflow = "time-wait-overflow",
    /// A connection with itself.
    SelfConnect = "self-connect",
    /// Closed with unread data, so that the peer got a RST.
    RstUnreadData = "rst-unread-data",
    /// Closed with `SO_LINGER` 0, so that the peer got a RST.
    RstLingerZero = "rst-linger-zero",
    /// A server ends idle connections by RST, and its clients keep them.
    IdleTimeoutReset = "idle-timeout-reset",
    /// Written into a connection that the peer had ended long before.
    WriteAfterFin = "write-after-fin",
    /// A listener was closed with connections in its queue.
    RstListenerClosed = "rst-listener-closed",
    /// Nothing listens there.
    ConnectionRefused = "connection-refused",
    /// Requests arrive just when the server closes idle connections.
    KeepaliveRace = "keepalive-race",
    /// The peer, or something on the way, has forgotten the connection.
    PeerLostState = "peer-lost-state",
    /// The accept queue is full, and clients are reset.
    AcceptOverflowRst = "accept-overflow-rst",
    /// Keepalive probes stayed without answer.
    KeepaliveTimeout = "keepalive-timeout",
    /// The accept queue is full, and clients have to try again.
    AcceptOverflow = "accept-overflow",
    /// SYNs stay without answer.
    SynBlackhole = "syn-blackhole",
    /// Handshakes are begun and never finished.
    SynFlood = "syn-flood",
    /// A process shut a socket down and keeps it.
    FinWait2Owned = "fin-wait2-owned",
    /// The peer has not closed yet; the kernel clears it.
    FinWait2Orphan = "fin-wait2-orphan",
    /// Closed sockets that cannot get rid of what they have to send.
    OrphanStuck = "orphan-stuck",
    /// The peer of an open connection does not answer any more.
    HalfOpen = "half-open",
}

impl Class {
    /// The class with this id.
    #[must_use]
    pub fn of(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == id)
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn ids_are_kebab_case_and_found_again() {
        for class in Class::ALL {
            let id = class.name();
            assert!(id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{id}");
            assert_eq!(Class::of(id), Some(class));
            assert_eq!(serde_json::to_value(class).expect("a name"), id);
        }
        assert_eq!(Class::of("close_wait_leak"), None);
    }
}
