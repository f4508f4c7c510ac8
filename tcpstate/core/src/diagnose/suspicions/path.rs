//! The path or the peer is gone: data or SYNs are sent again and again without answer (RFC 6298; `tcp_retransmit_timer`
//! in `net/ipv4/tcp_timer.c`). `tcp_retries2` lets that go on for about 15 minutes, `tcp_syn_retries` for two.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use tcpstate_common::TcpState;

use super::{
    Harm, base, blame_holders, blame_members, holder_or_actor, holders_or_actors, oldest_ms, pairs::is_vague,
    side_of,
};
use crate::{
    diagnose::{
        NS_PER_MS,
        class::Class,
        connection::{self, Side},
        format,
        naming::{self, say_peers},
        program::ProgramId,
        socket_view::{Holding, SocketView},
        suspicion::{Key, Suspicion},
        view::View,
    },
    track::{Socket, Timer},
};

/// How long no ACK may have come for a peer to count as gone, ms: loss bursts are shorter.
const SILENCE_MS: u32 = 3_000;

/// The processes that connect to more addresses at a time than a program does that is no scanner: pids.
pub(super) fn scanners(view: &View<'_>) -> HashSet<u32> {
    let mut tried = HashMap::<u32, HashSet<IpAddr>>::new();
    for seen in &view.seen {
        if seen.socket().state == TcpState::SynSent
            && let Some(member) = holder_or_actor(seen)
        {
            tried.entry(member.process.pid).or_default().insert(seen.socket().tuple.remote.ip());
        }
    }
    tried.into_iter().filter(|(_, to)| to.len() > view.thresholds.scanned).map(|(pid, _)| pid).collect()
}

/// A SYN that stays without answer. A server of this host whose queue is full is another story.
pub(super) fn sort_syn_sent(view: &View<'_>, scanners: &HashSet<u32>, seen: &SocketView<'_>) -> Option<Key> {
    let socket = seen.socket();
    if socket.retransmits < view.thresholds.syn_retransmits || is_turned_away(view, &socket) {
        return None;
    }
    let member = holder_or_actor(seen);
    if member.is_some_and(|member| scanners.contains(&member.process.pid)) {
        return None;
    }
    let place = Some(socket.tuple.remote);
    Some(view.key_of_member(Class::SynBlackhole, socket.netns, member.as_ref(), place))
}

pub(super) fn syn_blackhole(view: &View<'_>, key: Key, members: &[&SocketView<'_>]) -> Suspicion {
    let mut suspicion = base(key, members);
    suspicion.members = holders_or_actors(members);
    let who = if suspicion.members.is_empty() {
        blame_holders(view, &mut suspicion, members)
    } else {
        blame_members(view, &mut suspicion);
        naming::who(view, &suspicion.members)
    };
    let peer = key.place.map_or_else(String::new, format::address);
    let retransmits = members.iter().map(|seen| seen.socket().retransmits).max().unwrap_or(0);
    // The third is sent 7 s after the first SYN.
    let long = retransmits > view.thresholds.syn_retransmits || suspicion.count >= view.thresholds.several;
    let (longest_ms, sent) = sent_since(members, retransmits);
    suspicion.harm = Some(if long {
        Harm::Hangs { count: suspicion.count, longest_ms }
    } else {
        Harm::NoneSeen("it has been sent twice only, and may get through yet".to_owned())
    });
    suspicion.subject.peer = Some(peer.clone());
    suspicion.tells_trend = true;
    suspicion.verdict = if suspicion.count == 1 {
        format!(
            "{who} gets no answer to its SYN to {peer}, sent {sent} ago and {} again: something drops it",
            format::count(retransmits.into(), "time")
        )
    } else {
        format!(
            "{who} gets no answer to its {} to {peer}, the oldest sent {sent} ago, up to {} again: something drops them",
            format::count(suspicion.count, "SYN"),
            format::count(retransmits.into(), "time")
        )
    };
    "Look for a firewall or a missing route on the way (a closed port would answer with RST), and give connect() a timeout of a few seconds."
        .clone_into(&mut suspicion.remedy);
    let syns = view.namespace(key.netns).and_then(|namespace| namespace.delta?.syn_retrans);
    if let Some(syns) = syns.filter(|syns| *syns > 0) {
        suspicion.evidence.push(format!(
            "{} sent again in its namespace {}",
            format::count(syns, "SYN"),
            view.since_look(key.netns)
        ));
    }
    suspicion.evidence.push("neither SYN+ACK nor RST nor an ICMP error has come back".to_owned());
    suspicion
}

/// How long ago the first of these SYNs was sent, ms, and in words. Of one that was there before tcpstate it is not known;
/// but a SYN is sent again after a second at the earliest each time (`TCP_TIMEOUT_INIT` in `include/net/tcp.h`).
fn sent_since(members: &[&SocketView<'_>], retransmits: u8) -> (u64, String) {
    let longest_ms = oldest_ms(members);
    let exactly_ms = members.iter().filter(|seen| !is_vague(seen)).map(|seen| seen.age_ms()).max();
    let at_least_ms = longest_ms.max(u64::from(retransmits) * 1_000);
    match exactly_ms {
        Some(exactly_ms) if exactly_ms >= at_least_ms => (exactly_ms, format::duration(exactly_ms)),
        _ => (at_least_ms, format!("at least {}", format::duration(at_least_ms))),
    }
}

/// Whether it goes to a server of this host whose accept queue is full, or was since the last look: one that accepts
/// slowly has room for a moment after each. What a new one has dropped it has dropped since then.
pub(super) fn is_turned_away(view: &View<'_>, socket: &Socket) -> bool {
    view.local_server(socket.netns, socket.tuple.remote).is_some_and(|server| {
        let all = || view.evidence.listeners.get(&server.socket.cookie).and_then(|listener| listener.drops);
        view.is_full(server) || server.dropped.or_else(all).is_some_and(|dropped| dropped > 0)
    })
}

/// Data that is sent again and again while nothing is acknowledged.
pub(super) fn sort_half_open(view: &View<'_>, seen: &SocketView<'_>) -> Option<Key> {
    let (thresholds, socket) = (view.thresholds, seen.socket());
    if socket.wqueue == 0 || socket.timer != Timer::Retransmit || socket.retransmits < thresholds.retransmits
    {
        return None;
    }
    let heard = view.info(&socket).and_then(|info| info.last_ack_recv_ms);
    if heard.is_some_and(|ms| ms < SILENCE_MS) {
        return None;
    }
    // The final ACK of its handshake, and so its data, may be turned away by a server whose queue is full.
    if is_turned_away(view, &socket) {
        return None;
    }
    let place = match connection::side(view, &socket) {
        Side::Client => Some(socket.tuple.remote),
        Side::Server => {
            view.listener_at(socket.netns, socket.tuple.local).map(|listening| listening.socket.tuple.local)
        }
    };
    match seen.holding() {
        Holding::By { holder, .. } => Some(view.key_of(Class::HalfOpen, socket.netns, Some(&holder), place)),
        Holding::Unseen => {
            Some(Key { class: Class::HalfOpen, netns: socket.netns, program: ProgramId::NONE, place })
        }
        Holding::NoFile | Holding::NotAsked | Holding::Nobody => None,
    }
}

pub(super) fn half_open(view: &View<'_>, key: Key, members: &[&SocketView<'_>]) -> Suspicion {
    let mut suspicion = base(key, members);
    let who = blame_holders(view, &mut suspicion, members);
    let side = side_of(view, members);
    let silence: Vec<_> =
        members.iter().filter_map(|seen| view.info(&seen.socket())?.last_ack_recv_ms).collect();
    let silent_ms = u64::from(silence.iter().max().copied().unwrap_or(0));
    let bad = side == Side::Client || suspicion.count > view.thresholds.lost_clients;
    suspicion.harm = Some(if bad {
        Harm::Hangs { count: suspicion.count, longest_ms: silent_ms }
    } else {
        Harm::NoneSeen("some clients leave without a word".to_owned())
    });
    suspicion.tells_trend = true;
    suspicion.subject.peer = naming::common_peer(members, side);
    if side == Side::Server {
        suspicion.subject.listener = key.place.map(format::address);
    }
    let waiting: u64 = members.iter().map(|seen| u64::from(seen.socket().wqueue)).sum();
    let retransmits: u64 = members.iter().map(|seen| seen.socket().retransmits).max().unwrap_or(0).into();
    let retries = view.namespace(key.netns).and_then(|namespace| namespace.sysctls.retries2).unwrap_or(15);
    let of = if retransmits <= retries.into() { format!(" of {retries}") } else { String::new() };
    suspicion.verdict = format!(
        "{who} has {} unacknowledged on {} to {}, retransmitted up to {retransmits}{of} times: the peer or the path is dead",
        format::bytes(waiting),
        format::count(suspicion.count, "open connection"),
        say_peers(members, side)
    );
    "Set TCP_USER_TIMEOUT and keepalive on the connection, so that it fails in seconds instead of about 15 minutes."
        .clone_into(&mut suspicion.remedy);
    match silence.iter().min() {
        Some(ms) => suspicion
            .evidence
            .push(format!("the last ACK came {} ago or earlier", format::duration((*ms).into()))),
        None => suspicion
            .cannot_see
            .push("when the peer was last heard of: no tcp_info of them was read".to_owned()),
    }
    suspicion.evidence.push(
        "the retransmit timer runs, and nothing has been acknowledged between the retransmits".to_owned(),
    );
    // Being open for long is no fault: the silence is.
    suspicion.since_ns = view.evidence.at_ns.saturating_sub(silent_ms * NS_PER_MS);
    suspicion
}

/// Whether a connection would notice nothing if its peer were dead: nothing is on its way, and no timer runs that would
/// ask.
pub(in crate::diagnose) fn is_silent(view: &View<'_>, seen: &SocketView<'_>) -> bool {
    let socket = seen.socket();
    socket.state == TcpState::Established
        && socket.wqueue == 0
        && socket.timer == Timer::None
        && connection::side(view, &socket) == Side::Client
}
