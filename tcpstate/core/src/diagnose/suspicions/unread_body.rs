//! Responses that were never read to their end.

use tcpstate_common::TcpState;

use super::{
    Growth, Harm, blame_holders,
    close_wait::{set_place, tell_peers},
    descriptors, side_of,
};
use crate::diagnose::{
    NS_PER_MS,
    class::Class,
    format,
    naming::say_peers,
    socket_view::{Holding, SocketView},
    suspicion::{Key, Suspicion},
    view::View,
};

/// An open connection whose data nobody reads while the server has sent all and closed: its `FIN_WAIT1` waits for
/// window (`tcp_rcv_state_process`; the FIN stands behind the data, so this end stays `ESTABLISHED`). Only where the
/// other end is on this host too: without it, a consumer that pauses looks the same.
pub(super) fn sort(view: &View<'_>, seen: &SocketView<'_>) -> Option<Key> {
    let thresholds = view.thresholds;
    let holder = seen.holder()?;
    if seen.socket().rqueue == 0 || view.quiet_ms(seen) < thresholds.frozen_ms {
        return None;
    }
    let server = view.other_end(seen)?;
    let waits = matches!(server.socket().state, TcpState::FinWait1 | TcpState::LastAck)
        && server.holding() == Holding::NoFile
        && server.socket().wqueue > 0;
    (waits && server.age_ms() >= thresholds.settle_ms)
        .then(|| view.key_of(Class::UnreadBody, seen.socket().netns, Some(&holder), None))
}

pub(super) fn judge(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let thresholds = view.thresholds;
    let who = blame_holders(view, suspicion, members);
    let side = side_of(view, members);
    set_place(view, suspicion, members, side);
    suspicion.tells_trend = true;
    suspicion.limit = descriptors(view, &suspicion.members);
    // The time in ESTABLISHED says nothing: the pause does.
    let stuck_ms = |seen: &&&SocketView<'_>| match seen.socket().state {
        TcpState::Established => {
            let server = view.other_end(seen).map_or(0, SocketView::age_ms);
            server.max(view.quiet_ms(seen))
        }
        _ => seen.age_ms(),
    };
    let older = |ms: u64| members.iter().filter(|seen| stuck_ms(seen) >= ms).count() as u64;
    let oldest = members.iter().map(|seen| stuck_ms(&seen)).max().unwrap_or(0);
    let grows = view.grows(&suspicion.key, suspicion.count, suspicion.since_ns);
    suspicion.since_ns = view.evidence.at_ns.saturating_sub(oldest.saturating_mul(NS_PER_MS));
    let growth = if grows && older(thresholds.notice_ms) >= thresholds.several {
        Growth::Grows
    } else if older(thresholds.old_ms) >= thresholds.several || older(thresholds.ancient_ms) > 0 {
        Growth::Lasts
    } else {
        Growth::None
    };
    suspicion.harm = (oldest >= thresholds.notice_ms).then_some(Harm::RunsOut(growth));
    let unread: u64 = members.iter().map(|seen| u64::from(seen.socket().rqueue)).sum();
    suspicion.verdict = format!(
        "{who} left {} unread on {} from {}, which has sent all and closed",
        format::bytes(unread),
        format::count(suspicion.count, "connection"),
        say_peers(members, side)
    );
    "Read every response to its end or close its body, on error paths too.".clone_into(&mut suspicion.remedy);
    let servers: Vec<_> = members.iter().filter_map(|seen| view.other_end(seen)).collect();
    let held_back: u64 = servers.iter().map(|server| u64::from(server.socket().wqueue)).sum();
    if held_back > 0 {
        suspicion.evidence.push(format!(
            "the server's end is closed and holds back {} for lack of window, its FIN behind them",
            format::bytes(held_back)
        ));
    }
    suspicion.evidence.push(format!("nothing was read for {}", format::duration(oldest)));
    tell_peers(suspicion, members);
    suspicion.cookies.extend(servers.iter().map(|server| server.socket().cookie));
}
