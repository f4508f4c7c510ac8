//! Connections that a proxy joins: when one side sends FIN, the proxy passes it on with `shutdown()` and waits for
//! the other side. So a `CLOSE_WAIT` and an owned `FIN_WAIT2` of one process begin at the same time (RFC 9293
//! section 3.6; `tcp_fin` in `net/ipv4/tcp_input.c`, `tcp_shutdown` in `net/ipv4/tcp.c`).

use foldhash::{HashMap, HashSet};

use tcpstate_common::TcpState;

use crate::{
    diagnose::{
        connection::{self, Side},
        socket_view::SocketView,
        view::View,
    },
    track::Since,
};

/// Between the FIN that came in and the one that went out, ns: proxies pass it on at once, busy ones later.
const TOGETHER_NS: u64 = 2_000_000_000;

/// The cookies of the sockets of such pairs.
#[derive(Debug, Default)]
pub(super) struct Pairs(HashSet<u64>);

/// The sockets of one process that may make pairs, the fronts on one side of the listener.
#[derive(Debug, Default)]
struct Waiting<'a> {
    fronts: Vec<&'a SocketView<'a>>,
    backs: Vec<&'a SocketView<'a>>,
}

impl Pairs {
    pub(super) fn find(view: &View<'_>) -> Self {
        let mut waiting = HashMap::<(u32, u64, Side), Waiting<'_>>::default();
        for back in may_pair(view, TcpState::FinWait2) {
            waiting
                .entry(process_of(back, connection::side(view, &back.socket()).opposite()))
                .or_default()
                .backs
                .push(back);
        }
        if waiting.is_empty() {
            return Self::default();
        }
        for front in may_pair(view, TcpState::CloseWait) {
            let Some(waiting) = waiting.get_mut(&process_of(front, connection::side(view, &front.socket())))
            else {
                continue;
            };
            // Who has both ends of a connection is no proxy between them.
            if !view.other_end(front).is_some_and(|end| is_same_process(end, front)) {
                waiting.fronts.push(front);
            }
        }
        let mut paired = HashSet::default();
        for Waiting { mut fronts, mut backs } in waiting.into_values() {
            for list in [&mut fronts, &mut backs] {
                list.sort_unstable_by_key(|seen| (seen.since_ns(), seen.socket().cookie));
            }
            join(&fronts, &backs, &mut paired);
        }
        Self(paired)
    }

    pub(super) fn has(&self, seen: &SocketView<'_>) -> bool {
        self.0.contains(&seen.socket().cookie)
    }
}

/// The sockets in this state that a process holds and that have carried nothing since the FIN.
fn may_pair<'a>(view: &'a View<'a>, state: TcpState) -> impl Iterator<Item = &'a SocketView<'a>> {
    view.seen.iter().filter(move |seen| {
        seen.socket().state == state
            && seen.holder().is_some()
            && seen.age_ms() >= view.thresholds.settle_ms
            && !super::is_carrying(view, seen)
    })
}

fn is_same_process(one: &SocketView<'_>, other: &SocketView<'_>) -> bool {
    process_of(one, Side::Server) == process_of(other, Side::Server)
}

fn process_of(seen: &SocketView<'_>, side: Side) -> (u32, u64, Side) {
    seen.holder().map_or((0, 0, side), |holder| (holder.pid, holder.start_boottime_ns, side))
}

/// Joins those that began to wait together; both lists are in the order of when that was. However many there are, each
/// is looked at once.
fn join(fronts: &[&SocketView<'_>], backs: &[&SocketView<'_>], paired: &mut HashSet<u64>) {
    let mut backs = backs.iter().peekable();
    for front in fronts {
        let at_ns = front.since_ns();
        while backs.next_if(|back| back.since_ns() < at_ns.saturating_sub(TOGETHER_NS)).is_some() {}
        // Two of which is only known that they did not begin later than they were seen show no order.
        let together = |back: &&&SocketView<'_>| {
            back.since_ns() <= at_ns.saturating_add(TOGETHER_NS) && !(is_vague(front) && is_vague(back))
        };
        if let Some(back) = backs.next_if(together) {
            paired.extend([front.socket().cookie, back.socket().cookie]);
        }
    }
}

/// Whether it was there before it was known when it began to wait.
pub(super) fn is_vague(seen: &SocketView<'_>) -> bool {
    matches!(seen.socket().since, Since::AtLatest(_))
}
