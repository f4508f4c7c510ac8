//! How a connection ended by a RST: by which side, after how long without a word, and what was lost by that.

use super::{NS_PER_MS, connection::Side, evidence::ResetSeen, program::Member, view::View};

/// What TLS says at the end: an alert of 2 bytes in a record with its header and its tag, for the cipher suites in use
/// (RFC 8446 section 5.2, RFC 5246 section 6.2.3). A client that closes when it has its answer leaves it unread.
const TLS_FAREWELL_BYTES: std::ops::RangeInclusive<u64> = 23..=31;
/// What other protocols say at the end: `QUIT` with its line end (SMTP, FTP, Redis), and the message of 5 bytes with which
/// clients of `PostgreSQL` (Terminate) and of `MySQL` (`COM_QUIT`) leave.
const FAREWELL_BYTES: std::ops::RangeInclusive<u64> = 5..=6;
/// Two times that are so close are one moment, ms: the kernel keeps them in ticks of up to 10 ms.
const MOMENT_MS: u64 = 12;

/// Which side this host was on.
pub(super) fn side(view: &View<'_>, seen: &ResetSeen) -> Side {
    match seen.opened {
        Some(opened) if opened.active => Side::Client,
        Some(_) => Side::Server,
        None if view.listener_at(seen.reset.netns, seen.reset.tuple.local).is_some() => Side::Server,
        None => Side::Client,
    }
}

/// Whether this number of bytes is what a protocol says at the end of a connection.
pub(super) fn is_farewell(bytes: u64) -> bool {
    TLS_FAREWELL_BYTES.contains(&bytes) || FAREWELL_BYTES.contains(&bytes)
}

/// Whether what was unread at the end was the peer's farewell: it came after this end's last word, and this end had
/// spoken.
pub(super) fn left_a_farewell(seen: &ResetSeen) -> bool {
    let came_last = seen.idle_ms.zip(seen.spoke_ms).is_some_and(|(heard_ms, spoke_ms)| heard_ms <= spoke_ms);
    came_last && seen.unread_bytes.is_some_and(|bytes| TLS_FAREWELL_BYTES.contains(&bytes))
}

/// What a process did to the peer when it ended a connection with unread data (`TCP_ABORT_ON_CLOSE`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unread {
    /// Nothing: the peer had said all, and this end what it wanted.
    Benign,
    /// The process was ending, and the answer was for it.
    Ended,
    /// The client did not want the rest of the answer.
    NotWanted,
    /// The peer may have lost the answer.
    Harmful,
}

impl Unread {
    pub(super) fn of(view: &View<'_>, seen: &ResetSeen) -> Self {
        let unread = seen.unread_bytes.unwrap_or(u64::MAX);
        let lost = seen.unsent_bytes.unwrap_or(0) > 0;
        let few = unread <= view.thresholds.farewell_bytes.into();
        match (seen.ending, seen.peer_ended) {
            (Some(true), _) => Self::Ended,
            _ if lost => Self::Harmful,
            (_, Some(true)) if few => Self::Benign,
            _ if left_a_farewell(seen) => Self::Benign,
            (_, Some(true)) => Self::NotWanted,
            // Where it is known which side this is.
            _ if seen.opened.is_some_and(|opened| opened.active) => Self::NotWanted,
            _ => Self::Harmful,
        }
    }
}

/// What a process did to the peer when it ended a connection by RST on purpose (`SO_LINGER` with 0).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Linger {
    /// Nothing was unsent or owed: so load balancers and proxies end connections that they do not need any more.
    Benign,
    /// The same, by a server, after the connection had been idle for so long, ms.
    Idle(u64),
    /// What had been sent, or was owed, is lost.
    Harmful,
}

impl Linger {
    pub(super) fn of(view: &View<'_>, seen: &ResetSeen) -> Self {
        let (Some(unsent), Some(heard_ms), Some(spoke_ms)) = (seen.unsent_bytes, seen.idle_ms, seen.spoke_ms)
        else {
            return Self::Harmful;
        };
        let serves = side(view, seen) == Side::Server;
        let is_owed = serves && heard_ms.saturating_add(MOMENT_MS) < spoke_ms;
        if unsent > 0 || is_owed {
            return Self::Harmful;
        }
        let idle_ms = heard_ms.min(spoke_ms);
        if serves && idle_ms >= super::evidence::IDLE_CLOSE_MS { Self::Idle(idle_ms) } else { Self::Benign }
    }
}

/// How late data met a connection that its receiver had ended, ms.
pub(super) fn late_ms(after_close_ns: Option<u64>, spoke_ms: Option<u64>) -> Option<u64> {
    let after_ms = after_close_ns? / NS_PER_MS;
    Some(after_ms.saturating_sub(spoke_ms.unwrap_or(0)))
}

/// The process at the receiving end of a RST, if it is on this host: who had opened the connection, or had it open.
pub(super) fn victim(seen: &ResetSeen) -> Option<Member> {
    seen.owner.map(Member::from)
}
