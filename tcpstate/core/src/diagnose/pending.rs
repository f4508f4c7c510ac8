//! Whether something may be wrong that takes another look to be told, so that the next look need not wait for its turn.
//! On a host where nothing is wrong there is nearly never such a thing: connections close within a round trip.

use tcpstate_common::TcpState;

use super::{
    socket_view::{Holding, SocketView},
    view::View,
};

/// What is younger has not had the time to be closed, ms: longer than the longest round trips.
const BRIEF_MS: u64 = 250;

/// What another look has to show.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pending {
    /// Sockets that are `ESTABLISHED`.
    pub established: bool,
    /// Sockets in other states.
    pub others: bool,
    /// Who holds sockets that nobody was found to hold.
    pub holders: bool,
}

/// Looks for what the rules have not told yet, and may tell once it is older or has been seen twice.
pub(super) fn of(view: &View<'_>) -> Pending {
    let mut pending = Pending::default();
    for seen in &view.seen {
        let state = seen.socket().state;
        let is_ghost =
            matches!(state, TcpState::Established | TcpState::CloseWait) && may_be_ghost(view, seen);
        pending.holders |= is_ghost;
        match state {
            TcpState::Established => pending.established |= is_ghost || is_unread(view, seen),
            TcpState::Listen | TcpState::SynRecv | TcpState::NewSynRecv => {}
            _ => pending.others |= is_ghost || is_young(view, seen) || is_queued(view, seen),
        }
    }
    pending
}

/// Whether nobody was found to hold it, and not for long enough, and it was there after it had been looked up: where
/// connections come and go, most that nobody holds have ended since they were counted.
fn may_be_ghost(view: &View<'_>, seen: &SocketView<'_>) -> bool {
    seen.holding() == Holding::Nobody
        && view.info(&seen.socket()).is_some()
        && view.ownerless_ms(seen).is_some_and(|ownerless_ms| ownerless_ms < view.thresholds.frozen_ms)
}

/// Whether it is on the way to the age at which it is noticed.
fn is_young(view: &View<'_>, seen: &SocketView<'_>) -> bool {
    (BRIEF_MS..view.thresholds.notice_ms).contains(&seen.age_ms())
}

/// Whether something lies in its queues that may prove not to move: for a while, since who reads slowly does so for
/// long.
fn is_queued(view: &View<'_>, seen: &SocketView<'_>) -> bool {
    seen.socket().state == TcpState::CloseWait
        && (seen.socket().rqueue > 0 || seen.socket().wqueue > 0)
        && seen.age_ms() >= BRIEF_MS
        && is_recent(view, seen)
        && view.quiet_ms(seen) < view.thresholds.frozen_ms
}

fn is_recent(view: &View<'_>, seen: &SocketView<'_>) -> bool {
    seen.age_ms() < 2 * view.thresholds.notice_ms
}

/// Whether an open connection waits to be accepted, or holds data that its process cannot read or has not read though
/// the other end has said all.
fn is_unread(view: &View<'_>, seen: &SocketView<'_>) -> bool {
    let holder = match seen.holding() {
        Holding::NoFile => return is_young(view, seen),
        Holding::By { holder, .. } => holder,
        Holding::NotAsked | Holding::Unseen | Holding::Nobody => return false,
    };
    if seen.socket().rqueue == 0 || view.quiet_ms(seen) >= view.thresholds.frozen_ms {
        return false;
    }
    let has_closed = |other: &SocketView<'_>| {
        matches!(other.socket().state, TcpState::FinWait1 | TcpState::LastAck)
            && other.holding() == Holding::NoFile
            && is_recent(view, other)
    };
    view.paused(&holder).is_some() || view.other_end(seen).is_some_and(has_closed)
}
