//! The path or the peer is gone: data or SYNs are sent again and again without answer (RFC 6298; `tcp_retransmit_timer`
//! in `net/ipv4/tcp_timer.c`). `tcp_retries2` lets that go on for about 15 minutes, `tcp_syn_retries` for two.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use tcpstate_common::TcpState;

use super::{base, blame_holder, oldest_ms};
use crate::{
    diagnose::{
        class::Class,
        finding::Severity,
        format,
        suspicion::{Key, Suspicion},
        view::{Holding, Side, SocketView, View, peers, say_peers},
    },
    track::{Socket, Timer},
};

/// How long no ACK may have come for a peer to count as gone, ms: loss bursts are shorter.
const SILENCE_MS: u32 = 3_000;

/// Who connects to so many addresses at a time that it must be a scanner: pids.
pub(super) fn scanners(view: &View<'_>) -> HashSet<u32> {
    let mut tried = HashMap::<u32, HashSet<IpAddr>>::new();
    for seen in &view.seen {
        if seen.socket().state == TcpState::SynSent
            && let Some(pid) = connector(seen)
        {
            tried.entry(pid).or_default().insert(seen.socket().tuple.remote.ip());
        }
    }
    tried.into_iter().filter(|(_, to)| to.len() > view.thresholds.scanned).map(|(pid, _)| pid).collect()
}

fn connector(seen: &SocketView<'_>) -> Option<u32> {
    match seen.held() {
        Holding::By { holder, .. } => Some(holder.pid),
        _ => seen.socket().actor.map(|actor| actor.pid),
    }
}

/// A SYN that stays without answer. A server of this host whose queue is full is another story.
pub(super) fn sort_syn_sent(view: &View<'_>, scanners: &HashSet<u32>, seen: &SocketView<'_>) -> Option<Key> {
    let socket = seen.socket();
    if socket.retransmits < view.thresholds.syn_retransmits {
        return None;
    }
    if is_turned_away(view, &socket) {
        return None;
    }
    let pid = match seen.held() {
        Holding::By { holder, .. } => holder.pid,
        _ => socket.actor.map_or(0, |actor| actor.pid),
    };
    // A connect that has failed tells no more of its process than this, and is the same trouble.
    let place = Some(socket.tuple.remote);
    let key = Key { class: Class::SynBlackhole, netns: socket.netns, pid, start_boottime_ns: 0, place };
    (!scanners.contains(&pid)).then_some(key)
}

pub(super) fn syn_blackhole(view: &View<'_>, key: Key, members: &[&SocketView<'_>]) -> Suspicion {
    let mut suspicion = base(key, members);
    let actor = members.iter().find_map(|seen| seen.socket().actor);
    let who = match (super::holder(members), actor) {
        (None, Some(actor)) => {
            suspicion.subject = view.subject_of(&actor, key.netns);
            view.who_acted(&actor)
        }
        _ => blame_holder(view, &mut suspicion, members),
    };
    let peer = key.place.map_or_else(String::new, format::address);
    let retransmits = members.iter().map(|seen| seen.socket().retransmits).max().unwrap_or(0);
    // The third is sent 7 s after the first SYN.
    let long = retransmits > view.thresholds.syn_retransmits || suspicion.count >= view.thresholds.several;
    suspicion.severity = Some(if long { Severity::Warning } else { Severity::Info });
    suspicion.subject.peer = Some(peer.clone());
    suspicion.tells_trend = true;
    suspicion.verdict = format!(
        "{who} gets no answer to its {} to {peer}, the oldest sent {} ago and {} times again: something drops them",
        if suspicion.count == 1 { "SYN".to_owned() } else { format::count(suspicion.count, "SYN") },
        format::duration(oldest_ms(members)),
        retransmits
    );
    "Look for a firewall or a missing route on the way (a closed port would answer with RST), and give connect() a timeout of a few seconds."
        .clone_into(&mut suspicion.remedy);
    if let Some(syns) = view.namespace(key.netns).and_then(|namespace| namespace.delta?.syn_retrans) {
        suspicion.evidence.push(format!(
            "{} sent again in its namespace {}",
            format::count(syns, "SYN"),
            view.since_look(key.netns)
        ));
    }
    suspicion.evidence.push("neither SYN+ACK nor RST nor an ICMP error has come back".to_owned());
    suspicion
}

/// Whether it goes to a server of this host whose accept queue is full, or was since the last look: one that accepts
/// slowly has room for a moment after each. What a new one has dropped it has dropped since then.
fn is_turned_away(view: &View<'_>, socket: &Socket) -> bool {
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
    let place = match view.side(&socket) {
        Side::Connect => Some(socket.tuple.remote),
        Side::Accept => {
            view.listener_at(socket.netns, socket.tuple.local).map(|listening| listening.socket.tuple.local)
        }
    };
    match seen.held() {
        Holding::By { holder, .. } => Some(View::key_of(Class::HalfOpen, socket.netns, &holder, place)),
        Holding::Unseen => {
            Some(Key { class: Class::HalfOpen, netns: socket.netns, pid: 0, start_boottime_ns: 0, place })
        }
        Holding::NoFile | Holding::NotAsked | Holding::Nobody => None,
    }
}

pub(super) fn half_open(view: &View<'_>, key: Key, members: &[&SocketView<'_>]) -> Suspicion {
    let mut suspicion = base(key, members);
    let who = blame_holder(view, &mut suspicion, members);
    let side = members.first().map_or(Side::Connect, |seen| view.side(&seen.socket()));
    let bad = side == Side::Connect || suspicion.count > view.thresholds.lost_clients;
    suspicion.severity = Some(if bad { Severity::Warning } else { Severity::Info });
    suspicion.tells_trend = true;
    suspicion.subject.peer = peers(members, side).filter(|(.., all)| *all == 1).map(|(peer, ..)| peer);
    if side == Side::Accept {
        suspicion.subject.listener = key.place.map(format::address);
    }
    let waiting: u64 = members.iter().map(|seen| u64::from(seen.socket().wqueue)).sum();
    let retransmits = members.iter().map(|seen| seen.socket().retransmits).max().unwrap_or(0);
    let retries = view.namespace(key.netns).and_then(|namespace| namespace.sysctls.retries2).unwrap_or(15);
    suspicion.verdict = format!(
        "{who} has {} unacknowledged on {} to {}, retransmitted up to {retransmits} of {retries} times: the peer or the path is dead",
        format::bytes(waiting),
        format::count(suspicion.count, "open connection"),
        say_peers(members, side)
    );
    "Set TCP_USER_TIMEOUT and keepalive on the connection, so that it fails in seconds instead of about 15 minutes."
        .clone_into(&mut suspicion.remedy);
    let silence: Vec<_> =
        members.iter().filter_map(|seen| view.info(&seen.socket())?.last_ack_recv_ms).collect();
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
    let silent_ms = silence.iter().max().copied().unwrap_or(0);
    suspicion.since_ns = view.evidence.at_ns.saturating_sub(u64::from(silent_ms) * 1_000_000);
    suspicion
}
