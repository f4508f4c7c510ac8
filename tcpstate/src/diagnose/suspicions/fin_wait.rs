//! This host has sent its FIN. `FIN_WAIT2` waits for the peer's: with a file for ever (`tcp_fin_timeout` begins with
//! `close()`, see `__tcp_close` in `net/ipv4/tcp.c`), without one for at most a minute. `FIN_WAIT1`, `CLOSING` and
//! `LAST_ACK` wait for the peer's ACK; without a file nobody but the kernel can end them
//! (`tcp_out_of_resources` and `tcp_orphan_retries` in `net/ipv4/tcp_timer.c`).

use std::net::SocketAddr;

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{Pairs, base, blame_holder, close_wait::is_carrying, descriptors, grade, oldest_ms};
use crate::{
    diagnose::{
        class::Class,
        finding::Severity,
        format,
        suspicion::{Key, Suspicion},
        view::{Holding, Side, SocketView, View, peers, say_peers},
    },
    track::Timer,
};

/// Which trouble a socket that has sent its FIN may be.
pub(super) fn sort(view: &View<'_>, pairs: &Pairs, seen: &SocketView<'_>) -> Option<Key> {
    let (thresholds, socket) = (view.thresholds, seen.socket());
    if seen.age_ms() < thresholds.settle_ms {
        return None;
    }
    let owned = match seen.held() {
        Holding::NoFile => None,
        Holding::NotAsked | Holding::Nobody => return None,
        Holding::Unseen => Some(None),
        Holding::By { holder, .. } => Some(Some(holder)),
    };
    let key = |class, pid, start_boottime_ns| Key {
        class,
        netns: socket.netns,
        pid,
        start_boottime_ns,
        place: None,
    };
    let Some(holder) = owned else {
        let actor = socket.actor.map_or(0, |actor| actor.pid);
        let class =
            if socket.state == TcpState::FinWait2 { Class::FinWait2Orphan } else { sort_orphan(view, seen)? };
        return Some(key(class, actor, 0));
    };
    if socket.state != TcpState::FinWait2 {
        return super::path::sort_half_open(view, seen);
    }
    let (pid, start) = holder.map_or((0, 0), |holder| (holder.pid, holder.start_boottime_ns));
    if holder.is_some_and(|holder| view.paused(&holder).is_some()) {
        return Some(key(Class::OwnerStopped, pid, start));
    }
    if pairs.has(seen) {
        return Some(key(Class::ProxyPair, pid, start));
    }
    (!is_carrying(view, seen)).then(|| key(Class::FinWait2Owned, pid, start))
}

/// Not every event tells who closed. Orphans of which nobody knows that belong to those of the same server which one
/// process has closed: otherwise it would be told twice, by its name and as unknown.
pub(super) fn join_unknown(view: &View<'_>, groups: &mut HashMap<Key, Vec<u32>>) {
    let is_unknown =
        |key: &&Key| matches!(key.class, Class::FinWait2Orphan | Class::OrphanStuck) && key.pid == 0;
    let unknown: Vec<_> = groups.keys().filter(is_unknown).copied().collect();
    for key in unknown {
        let mut closers = HashMap::<(Side, SocketAddr), Option<Key>>::default();
        let named = groups
            .iter()
            .filter(|(named, _)| named.class == key.class && named.netns == key.netns && named.pid != 0);
        for (named, members) in named {
            for seen in members.iter().filter_map(|index| view.seen.get(*index as usize)) {
                let closer = closers.entry(server(view, seen)).or_insert(Some(*named));
                // Of several none is known to be the one.
                *closer = closer.filter(|closer| closer == named);
            }
        }
        if closers.is_empty() {
            continue;
        }
        for index in groups.remove(&key).unwrap_or_default() {
            let closer = view.seen.get(index as usize).and_then(|seen| *closers.get(&server(view, seen))?);
            groups.entry(closer.unwrap_or(key)).or_default().push(index);
        }
    }
}

/// The server's end of a connection, and on which side it is.
fn server(view: &View<'_>, seen: &SocketView<'_>) -> (Side, SocketAddr) {
    let tuple = seen.socket().tuple;
    match view.side(&seen.socket()) {
        Side::Connect => (Side::Connect, tuple.remote),
        Side::Accept => {
            let listening = view.listener_at(seen.socket().netns, tuple.local);
            (Side::Accept, listening.map_or(tuple.local, |listening| listening.socket.tuple.local))
        }
    }
}

/// An orphan that cannot get rid of what it has to send. Where the peer is on this host and holds unread data, it is
/// the peer's fault, and found there.
fn sort_orphan(view: &View<'_>, seen: &SocketView<'_>) -> Option<Class> {
    let socket = seen.socket();
    let stuck = match socket.timer {
        Timer::Persist => {
            let peer = view.other_end(&socket);
            !peer.is_some_and(|peer| peer.socket().state == TcpState::Established && peer.socket().rqueue > 0)
        }
        _ => socket.retransmits >= view.thresholds.retransmits,
    };
    (stuck && seen.age_ms() >= view.thresholds.notice_ms).then_some(Class::OrphanStuck)
}

/// What is wrong with a group of sockets, if anything.
pub(super) fn judge(view: &View<'_>, key: Key, members: &[&SocketView<'_>]) -> Suspicion {
    let mut suspicion = base(key, members);
    match key.class {
        Class::FinWait2Owned => owned(view, &mut suspicion, members),
        Class::FinWait2Orphan => orphan(view, &mut suspicion, members),
        _ => stuck(view, &mut suspicion, members),
    }
    suspicion
}

fn side(view: &View<'_>, members: &[&SocketView<'_>]) -> Side {
    members.first().map_or(Side::Connect, |seen| view.side(&seen.socket()))
}

fn owned(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    suspicion.severity = grade(view, &suspicion.key, members);
    let who = blame_holder(view, suspicion, members);
    let side = side(view, members);
    suspicion.subject.peer = peers(members, side).filter(|(.., all)| *all == 1).map(|(peer, ..)| peer);
    suspicion.limit = descriptors(view, members);
    suspicion.tells_trend = true;
    suspicion.verdict = format!(
        "{who} shut down {} to {} and waits for the peer's FIN without a timeout, the oldest for {}",
        format::count(suspicion.count, "connection"),
        say_peers(members, side),
        format::duration(oldest_ms(members))
    );
    "Close the socket, or give the wait after shutdown() a timeout of its own: tcp_fin_timeout begins only with close()."
        .clone_into(&mut suspicion.remedy);
    suspicion
        .evidence
        .push("the sockets are open in a process, so that no timer of the kernel ends them".to_owned());
    let checked = view.count_heard(members);
    if checked > 0 {
        suspicion.evidence.push(format!("no data has come in since the shutdown, in a sample of {checked}"));
    } else {
        suspicion.cannot_see.push("whether data still comes in: no tcp_info of them was read yet".to_owned());
    }
    tell_other_end(view, suspicion, members);
}

fn orphan(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let seen = oldest_ms(members) >= view.thresholds.notice_ms;
    suspicion.severity = seen.then_some(Severity::Info);
    let who = blame_closer(view, suspicion, members);
    let side = side(view, members);
    suspicion.subject.peer = peers(members, side).filter(|(.., all)| *all == 1).map(|(peer, ..)| peer);
    suspicion.verdict = format!(
        "{} of {who} wait for {} to close: the peer is late, and the kernel clears them within a minute",
        format::count(suspicion.count, "closed connection"),
        say_peers(members, side)
    );
    "Look for CLOSE_WAIT at the peer; here nothing is to be done.".clone_into(&mut suspicion.remedy);
    suspicion.evidence.push(format!(
        "the oldest is in FIN_WAIT2 for {}, without a file",
        format::duration(oldest_ms(members))
    ));
    tell_other_end(view, suspicion, members);
    // Whatever makes those wait is the cause.
    let waiting = members.iter().filter_map(|seen| view.other_end(&seen.socket()));
    let waiting = waiting.filter(|end| end.socket().state == TcpState::CloseWait);
    suspicion.cookies = waiting.map(|end| end.socket().cookie).collect();
}

fn stuck(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let thresholds = view.thresholds;
    let who = blame_closer(view, suspicion, members);
    let side = side(view, members);
    let persist = members.iter().filter(|seen| seen.socket().timer == Timer::Persist).count() as u64;
    let waiting: u64 = members.iter().map(|seen| u64::from(seen.socket().wqueue)).sum();
    let namespace = view.namespace(suspicion.key.netns);
    let orphans = namespace.and_then(|namespace| namespace.counters.orphans);
    let max = namespace.and_then(|namespace| namespace.sysctls.max_orphans);
    // Half of the maximum: from there on the kernel kills orphans sooner (tcp_out_of_resources).
    let crowded = orphans.zip(max).is_some_and(|(orphans, max)| orphans >= max.div_ceil(2) && max > 0);
    let servers = members.iter().filter(|seen| view.side(&seen.socket()) == Side::Connect).count() as u64;
    let depends = servers >= thresholds.several;
    let bad = suspicion.count > thresholds.lost_clients || crowded || depends;
    suspicion.severity = Some(if bad { Severity::Warning } else { Severity::Info });
    suspicion.tells_trend = true;
    suspicion.subject.peer = peers(members, side).filter(|(.., all)| *all == 1).map(|(peer, ..)| peer);
    let why = match persist {
        0 => "the path or the peer is dead: it does not acknowledge".to_owned(),
        all if all == suspicion.count => "the peer does not read: its window is closed".to_owned(),
        some => format!("{some} of the peers do not read, the others do not answer"),
    };
    suspicion.verdict = format!(
        "{} of {who} cannot get rid of {} for {}; {why}",
        format::count(suspicion.count, "closed connection"),
        format::bytes(waiting),
        say_peers(members, side),
    );
    "Give writes a timeout before close (TCP_USER_TIMEOUT), and lower net.ipv4.tcp_orphan_retries if there are many."
        .clone_into(&mut suspicion.remedy);
    let retransmits = members.iter().map(|seen| seen.socket().retransmits).max().unwrap_or(0);
    suspicion.evidence.push(format!(
        "the oldest is stuck for {}; up to {}",
        format::duration(oldest_ms(members)),
        format::count(retransmits.into(), "retransmit or probe")
    ));
    if let Some(orphans) = orphans {
        let of = max.map_or_else(String::new, |max| format!(" of at most {}", format::digits(max)));
        suspicion.evidence.push(format!("the host has {}{of}", format::count(orphans, "orphan")));
    }
}

/// Names who closed them: a recorded actor, for nobody holds them any more.
fn blame_closer(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) -> String {
    if let Some(actor) = members.iter().find_map(|seen| seen.socket().actor) {
        suspicion.subject = view.subject_of(&actor, suspicion.key.netns);
        let unknown = members.iter().filter(|seen| seen.socket().actor.is_none()).count();
        if unknown > 0 {
            suspicion.cannot_see.push(format!(
                "who closed {unknown} of them, which have the same server as the others: no event told of it"
            ));
        }
        view.who_acted(&actor)
    } else {
        suspicion
            .cannot_see
            .push("who closed them: that was before tcpstate looked, or no event told of it".to_owned());
        "an unknown process".to_owned()
    }
}

/// Says who holds the other ends that are on this host.
fn tell_other_end(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let other = members.iter().find_map(|seen| view.other_end(&seen.socket()));
    let Some(other) = other.filter(|other| other.socket().state == TcpState::CloseWait) else { return };
    let local: SocketAddr = other.socket().tuple.local;
    suspicion.evidence.push(match other.held() {
        Holding::By { holder, .. } => {
            format!("the CLOSE_WAIT at {} is open in {}", format::address(local), view.who(&holder))
        }
        _ => format!("the CLOSE_WAIT is on this host, at {}", format::address(local)),
    });
}
