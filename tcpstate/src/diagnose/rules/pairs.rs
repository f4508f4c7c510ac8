//! Connections that a proxy joins: when one side sends FIN, the proxy passes it on with `shutdown()` and waits for
//! the other side. So a `CLOSE_WAIT` and an owned `FIN_WAIT2` of one process begin at the same time (RFC 9293
//! section 3.6; `tcp_fin` in `net/ipv4/tcp_input.c`, `tcp_shutdown` in `net/ipv4/tcp.c`).

use std::collections::{HashMap, HashSet};

use tcpstate_common::TcpState;

use crate::{
    diagnose::view::{Held, Seen, View},
    track::Since,
};

/// Between the FIN that came in and the one that went out, ns: proxies pass it on at once, busy ones later.
const TOGETHER_NS: u64 = 2_000_000_000;

/// The cookies of the sockets of such pairs.
#[derive(Debug, Default)]
pub(super) struct Pairs(HashSet<u64>);

impl Pairs {
    pub(super) fn find(view: &View<'_>) -> Self {
        let mut back = HashMap::<(u32, u64), Vec<&Seen<'_>>>::new();
        for seen in &view.seen {
            if seen.socket.state == TcpState::FinWait2
                && let Held::By { holder, .. } = seen.held
                && is_still(view, seen)
            {
                back.entry((holder.pid, holder.start_boottime_ns)).or_default().push(seen);
            }
        }
        let mut paired = HashSet::new();
        if back.is_empty() {
            return Self(paired);
        }
        for list in back.values_mut() {
            list.sort_unstable_by_key(|seen| (seen.since_ns(), seen.socket.cookie));
        }
        for front in &view.seen {
            if front.socket.state == TcpState::CloseWait
                && let Held::By { holder, .. } = front.held
                && let Some(list) = back.get(&(holder.pid, holder.start_boottime_ns))
                && is_still(view, front)
                && let Some(back) = partner(view, front, list, &paired)
            {
                paired.extend([front.socket.cookie, back]);
            }
        }
        Self(paired)
    }

    pub(super) fn has(&self, seen: &Seen<'_>) -> bool {
        self.0.contains(&seen.socket.cookie)
    }
}

/// Nothing has been carried since the FIN.
fn is_still(view: &View<'_>, seen: &Seen<'_>) -> bool {
    seen.age_ms >= view.thresholds.settle_ms && !super::close_wait::is_carrying(view, seen)
}

/// The socket on the other side that began to wait when this one did.
fn partner(view: &View<'_>, front: &Seen<'_>, list: &[&Seen<'_>], taken: &HashSet<u64>) -> Option<u64> {
    let at_ns = front.since_ns();
    let side = view.side(front.socket);
    let first = list.partition_point(|back| back.since_ns() < at_ns.saturating_sub(TOGETHER_NS));
    let vague = matches!(front.socket.since, Since::AtLatest(_));
    list[first..]
        .iter()
        .take_while(|back| vague || back.since_ns() <= at_ns.saturating_add(TOGETHER_NS))
        .find(|back| !taken.contains(&back.socket.cookie) && view.side(back.socket) != side)
        .map(|back| back.socket.cookie)
}
