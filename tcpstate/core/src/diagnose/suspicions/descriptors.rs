//! Processes that have no descriptor left, or nearly: then `accept()` and `connect()` fail with EMFILE. What fills them is
//! told, since that is what has to be changed.

use std::{cmp::Reverse, collections::BTreeMap, net::SocketAddr};

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{Growth, Harm, MAX_TOLD, blame_members};
use crate::diagnose::{
    NS_PER_MS,
    class::Class,
    connection::{self, Side},
    finding::Resource,
    format, naming,
    program::Member,
    socket_view::SocketView,
    suspicion::{Key, Suspicion},
    view::View,
};

/// Descriptors that a process at its limit may still have free: reserves for its logs and the like.
const RESERVE: u64 = 3;

/// What the TCP sockets of a process are, for saying what fills its descriptors.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Kind {
    /// The listener for connections that it took, else the destination.
    place: SocketAddr,
    is_served: bool,
    what: What,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum What {
    /// Open, and the client never sent a byte.
    Silent,
    /// Open, and nothing has gone either way for a while.
    Idle,
    /// Open.
    Open,
    /// In another state.
    State(u8),
}

/// Sockets of a kind: how many, and for how long the longest has been so, ms.
#[derive(Clone, Copy, Debug, Default)]
struct Filling {
    count: u64,
    longest_ms: u64,
}

/// From this time on without data a connection counts as idle here, ms.
const IDLE_MS: u64 = 5_000;

pub(super) fn judge(view: &View<'_>) -> Vec<Suspicion> {
    let mut scarce = HashMap::<u32, (Member, Vec<&SocketView<'_>>)>::default();
    for (pid, process) in &view.evidence.processes {
        let (Some((used, max)), Some(comm)) = (process.descriptors(), process.comm) else { continue };
        if used.saturating_add(RESERVE) >= max {
            let process = crate::track::Process { pid: *pid, comm };
            scarce.insert(*pid, (process.into(), Vec::new()));
        }
    }
    if scarce.is_empty() {
        return Vec::new();
    }
    for seen in &view.seen {
        if let Some(holder) = seen.holder()
            && let Some((_, sockets)) = scarce.get_mut(&holder.pid)
        {
            sockets.push(seen);
        }
    }
    let mut by_program = BTreeMap::<Key, Vec<(Member, Vec<&SocketView<'_>>)>>::new();
    for (member, sockets) in scarce.into_values() {
        let netns = sockets.first().map_or(0, |seen| seen.socket().netns);
        let key = view.key_of_member(Class::FdExhaustion, netns, Some(&member), None);
        let member = Member { count: sockets.len() as u64, ..member };
        by_program.entry(key).or_default().push((member, sockets));
    }
    by_program.into_iter().filter_map(|(key, all)| judge_program(view, key, all)).collect()
}

fn judge_program(
    view: &View<'_>,
    key: Key,
    mut all: Vec<(Member, Vec<&SocketView<'_>>)>,
) -> Option<Suspicion> {
    all.sort_by_key(|(member, _)| (Reverse(member.count), member.process.pid));
    let (main, sockets) = all.first()?;
    let process = view.evidence.processes.get(&main.process.pid)?;
    let (used, max) = process.descriptors()?;
    // Where other files use them up, and nobody waits to be accepted, connections are not harmed.
    let is_waited_for = sockets.iter().any(|seen| {
        let socket = seen.socket();
        socket.state == TcpState::Listen && socket.rqueue > 0
    });
    if (sockets.len() as u64).saturating_mul(2) < used && !is_waited_for {
        return None;
    }
    let mut suspicion = super::base(key, sockets);
    suspicion.members = all.iter().map(|(member, _)| *member).collect();
    suspicion.since_ns = view.evidence.at_ns;
    suspicion.limit = Some((Resource::FileDescriptors, used, max));
    suspicion.harm = Some(if used >= max { Harm::FailsForAll } else { Harm::RunsOut(Growth::Grows) });
    blame_members(view, &mut suspicion);
    let listens = sockets.iter().find(|seen| seen.socket().state == TcpState::Listen);
    suspicion.subject.listener = listens.map(|seen| format::address(seen.socket().tuple.local));
    let call = if listens.is_some() { "accept()" } else { "connect()" };
    let who = naming::who(view, &suspicion.members);
    let (used_text, max_text) = (format::digits(used), format::digits(max));
    let fails = if used >= max { format!(", so {call} fails with EMFILE") } else { String::new() };
    let fillings = fillings(view, sockets);
    let most =
        fillings.first().map_or_else(String::new, |(kind, filling)| format!("; {}", tell(kind, filling)));
    suspicion.verdict = format!("{who} has {used_text} of {max_text} descriptors open{fails}{most}");
    suspicion.remedy = remedy(fillings.first().map(|(kind, _)| kind));
    // The largest stands in the sentence.
    let others = fillings.iter().skip(1).take(MAX_TOLD);
    suspicion.evidence.extend(others.map(|(kind, filling)| tell(kind, filling)));
    suspicion.evidence.push(format!(
        "{} of its {used_text} descriptors are TCP sockets",
        format::digits(sockets.len() as u64)
    ));
    let checked = view.count_heard(sockets);
    if checked == 0 {
        suspicion
            .cannot_see
            .push("which of the connections are in use: no tcp_info of them was read yet".to_owned());
    }
    Some(suspicion)
}

/// What fills the descriptors, the largest kind first.
fn fillings(view: &View<'_>, sockets: &[&SocketView<'_>]) -> Vec<(Kind, Filling)> {
    let mut kinds = HashMap::<Kind, Filling>::default();
    for seen in sockets {
        let socket = seen.socket();
        if socket.state == TcpState::Listen {
            continue;
        }
        let side = connection::side(view, &socket);
        let listening = view.listener_at(socket.netns, socket.tuple.local);
        let place = match side {
            Side::Server => listening.map_or(socket.tuple.local, |listening| listening.socket.tuple.local),
            Side::Client => socket.tuple.remote,
        };
        let (what, so_ms) = what(view, seen, side);
        let filling = kinds.entry(Kind { place, is_served: side == Side::Server, what }).or_default();
        filling.count += 1;
        filling.longest_ms = filling.longest_ms.max(so_ms);
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(kind, filling)| (Reverse(filling.count), *kind));
    kinds
}

/// What a socket is, and for how long it has been so, ms.
fn what(view: &View<'_>, seen: &SocketView<'_>, side: Side) -> (What, u64) {
    let state = seen.socket().state;
    if state != TcpState::Established {
        return (What::State(state as u8), seen.age_ms());
    }
    let Some(heard) = view.heard(seen) else { return (What::Open, seen.age_ms()) };
    let idle_ms = heard.at_ns.saturating_sub(heard.moved_ns()) / NS_PER_MS;
    if side == Side::Server && heard.has_received == Some(false) {
        return (What::Silent, seen.age_ms().max(idle_ms));
    }
    (if idle_ms >= IDLE_MS { What::Idle } else { What::Open }, idle_ms)
}

fn tell(kind: &Kind, filling: &Filling) -> String {
    let Filling { count, longest_ms } = filling;
    let (one, longest) = (*count == 1, format::duration(*longest_ms));
    let where_to = if kind.is_served {
        format!("on {}", format::listener(kind.place))
    } else {
        format!("to {}", format::address(kind.place))
    };
    let are = if one { "is" } else { "are" };
    match kind.what {
        What::Silent => format!(
            "{} of them {are} {} {where_to} on which the client never sent a byte, the oldest for {longest}",
            format::digits(*count),
            if one { "a connection" } else { "connections" },
        ),
        What::Idle => format!(
            "{} of them {are} {} {where_to}, the longest for {longest}",
            format::digits(*count),
            if one { "an idle connection" } else { "idle connections" },
        ),
        What::Open => format!(
            "{} of them {are} {} {where_to}",
            format::digits(*count),
            if one { "an open connection" } else { "open connections" },
        ),
        What::State(state) => format!(
            "{} of them {are} {where_to} in {}, the oldest for {longest}",
            format::digits(*count),
            TcpState::try_from(state).map_or("", TcpState::name),
        ),
    }
}

fn remedy(most: Option<&Kind>) -> String {
    let cause = match most.map(|kind| (kind.what, kind.is_served)) {
        Some((What::Silent, _)) => {
            "Give the first request a timeout (a header or read timeout), so that silent clients are closed"
        }
        Some((What::Idle, true)) => "Shorten the idle timeout for clients (keep-alive timeout)",
        Some((What::Idle, false)) => {
            "Use connections again: share one client or pool, and give it a maximum and an idle timeout"
        }
        _ => "Find what keeps its descriptors open",
    };
    format!("{cause}; raise LimitNOFILE (RLIMIT_NOFILE) only after that, a higher limit alone would hide it.")
}
