//! This host has sent its FIN. `FIN_WAIT2` waits for the peer's: with a file for ever (`tcp_fin_timeout` begins with
//! `close()`, see `__tcp_close` in `net/ipv4/tcp.c`), without one for at most a minute. `FIN_WAIT1`, `CLOSING` and
//! `LAST_ACK` wait for the peer's ACK; without a file nobody but the kernel can end them
//! (`tcp_out_of_resources` and `tcp_orphan_retries` in `net/ipv4/tcp_timer.c`).

use std::net::SocketAddr;

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{
    Growth, Harm, Pairs, base, blame_holders, blame_members, descriptors, is_carrying, keeps, oldest_ms,
    side_of,
};
use crate::{
    diagnose::{
        class::Class,
        connection::{self, Side},
        format, naming,
        naming::say_peers,
        program::{self, Member, ProgramId},
        socket_view::{Holding, SocketView},
        suspicion::{Key, Suspicion},
        view::View,
    },
    track::Timer,
};

/// Which trouble a socket that has sent its FIN may be.
pub(super) fn sort(view: &View<'_>, pairs: &Pairs, seen: &SocketView<'_>) -> Option<Key> {
    let (thresholds, socket) = (view.thresholds, seen.socket());
    if seen.age_ms() < thresholds.settle_ms {
        return None;
    }
    let holder = match seen.holding() {
        Holding::NoFile => {
            let actor = socket.actor.map(Member::from);
            let class = match socket.state {
                TcpState::FinWait2 => Class::FinWait2Orphan,
                _ => sort_orphan(view, seen)?,
            };
            return Some(view.key_of_member(class, socket.netns, actor.as_ref(), None));
        }
        Holding::NotAsked | Holding::Nobody => return None,
        Holding::Unseen => None,
        Holding::By { holder, .. } => Some(holder),
    };
    if socket.state != TcpState::FinWait2 {
        return super::path::sort_half_open(view, seen);
    }
    let key = |class| view.key_of(class, socket.netns, holder.as_ref(), None);
    if holder.is_some_and(|holder| view.paused(&holder).is_some()) {
        return Some(key(Class::OwnerStopped));
    }
    if pairs.has(seen) {
        return Some(key(Class::ProxyPair));
    }
    (!is_carrying(view, seen)).then(|| key(Class::FinWait2Owned))
}

/// Not every event tells who closed. Orphans of which nobody knows that belong to those of the same server which one
/// program has closed: otherwise it would be told twice, by its name and as unknown.
pub(super) fn join_unknown(view: &View<'_>, groups: &mut HashMap<Key, Vec<u32>>) {
    let is_unknown = |key: &&Key| {
        matches!(key.class, Class::FinWait2Orphan | Class::OrphanStuck) && key.program == ProgramId::NONE
    };
    let unknown: Vec<_> = groups.keys().filter(is_unknown).copied().collect();
    for key in unknown {
        let mut closers = HashMap::<(Side, SocketAddr), Option<Key>>::default();
        let named = groups.iter().filter(|(named, _)| {
            named.class == key.class && named.netns == key.netns && named.program != ProgramId::NONE
        });
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
    match connection::side(view, &seen.socket()) {
        Side::Client => (Side::Client, tuple.remote),
        Side::Server => {
            let listening = view.listener_at(seen.socket().netns, tuple.local);
            (Side::Server, listening.map_or(tuple.local, |listening| listening.socket.tuple.local))
        }
    }
}

/// An orphan that cannot get rid of what it has to send. Where the peer is on this host and holds unread data, it is
/// the peer's fault, and found there.
fn sort_orphan(view: &View<'_>, seen: &SocketView<'_>) -> Option<Class> {
    let socket = seen.socket();
    // It waits for room in an accept queue of this host, which is reported there.
    if super::path::is_turned_away(view, &socket) {
        return None;
    }
    let stuck = match socket.timer {
        Timer::Persist => {
            let peer = view.other_end(seen);
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

/// A process has shut its direction down and waits for the peer's end. Where the peer is on this host, it is the one who
/// does not close.
fn owned(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    suspicion.harm = keeps(view, &suspicion.key, members);
    let who = blame_holders(view, suspicion, members);
    let side = side_of(view, members);
    suspicion.subject.peer = naming::common_peer(members, side);
    suspicion.limit = descriptors(view, &suspicion.members);
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
    let holder = members.iter().find_map(|seen| seen.holder());
    let others: Vec<_> = members
        .iter()
        .filter_map(|seen| view.other_end(seen))
        .filter(|end| end.socket().state == TcpState::CloseWait)
        .filter(|end| end.holder().is_none_or(|other| Some(other.pid) != holder.map(|holder| holder.pid)))
        .collect();
    if others.len() * 2 > members.len() {
        let why = "the peers have not closed their ends: they are at fault, and are on this host".to_owned();
        suspicion.harm = suspicion.harm.as_ref().map(|_| Harm::NoneSeen(why));
        suspicion.cookies = others.iter().map(|end| end.socket().cookie).collect();
    }
}

fn orphan(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let noticed = oldest_ms(members) >= view.thresholds.notice_ms;
    let why = "the kernel ends them within a minute".to_owned();
    suspicion.harm = noticed.then_some(Harm::NoneSeen(why));
    let who = blame_closers(view, suspicion, members);
    let side = side_of(view, members);
    suspicion.subject.peer = naming::common_peer(members, side);
    suspicion.verdict = format!(
        "{} of {who} {} for {} to close: the peer is late, and the kernel clears {} within a minute",
        format::count(suspicion.count, "closed connection"),
        if suspicion.count == 1 { "waits" } else { "wait" },
        say_peers(members, side),
        if suspicion.count == 1 { "it" } else { "them" },
    );
    "Look for CLOSE_WAIT at the peer; here nothing is to be done.".clone_into(&mut suspicion.remedy);
    suspicion.evidence.push(format!(
        "the oldest is in FIN_WAIT2 for {}, without a file",
        format::duration(oldest_ms(members))
    ));
    tell_other_end(view, suspicion, members);
    // Whatever makes those wait is the cause.
    let waiting = members.iter().filter_map(|seen| view.other_end(seen));
    let waiting = waiting.filter(|end| end.socket().state == TcpState::CloseWait);
    suspicion.cookies = waiting.map(|end| end.socket().cookie).collect();
}

fn stuck(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let thresholds = view.thresholds;
    let who = blame_closers(view, suspicion, members);
    let side = side_of(view, members);
    let persist = members.iter().filter(|seen| seen.socket().timer == Timer::Persist).count() as u64;
    let waiting: u64 = members.iter().map(|seen| u64::from(seen.socket().wqueue)).sum();
    let namespace = view.namespace(suspicion.key.netns);
    let orphans = namespace.and_then(|namespace| namespace.counters.orphans);
    let max = namespace.and_then(|namespace| namespace.sysctls.max_orphans);
    // Half of the maximum: from there on the kernel kills orphans sooner (tcp_out_of_resources).
    let crowded = orphans.zip(max).is_some_and(|(orphans, max)| orphans >= max.div_ceil(2) && max > 0);
    let clients =
        members.iter().filter(|seen| connection::side(view, &seen.socket()) == Side::Client).count() as u64;
    suspicion.harm = Some(if suspicion.count > thresholds.lost_clients || crowded {
        Harm::RunsOut(Growth::Lasts)
    } else if clients >= thresholds.several {
        Harm::DataLost { count: clients, occasions: clients }
    } else {
        Harm::NoneSeen("some clients leave without a word".to_owned())
    });
    suspicion.tells_trend = true;
    suspicion.subject.peer = naming::common_peer(members, side);
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
        if retransmits == 1 {
            "one retransmit or probe".to_owned()
        } else {
            format!("{retransmits} retransmits or probes")
        }
    ));
    if let Some(orphans) = orphans {
        let of = max.map_or_else(String::new, |max| format!(" of at most {}", format::digits(max)));
        suspicion.evidence.push(format!("the host has {}{of}", format::count(orphans, "orphan")));
    }
}

/// Names who closed them: recorded actors, for nobody holds them any more.
fn blame_closers(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) -> String {
    let actors = members.iter().filter_map(|seen| seen.socket().actor).map(Member::from);
    suspicion.members = program::members(actors);
    if suspicion.members.is_empty() {
        suspicion
            .cannot_see
            .push("who closed them: that was before tcpstate looked, or no event told of it".to_owned());
        return "an unknown process".to_owned();
    }
    blame_members(view, suspicion);
    let unknown = members.iter().filter(|seen| seen.socket().actor.is_none()).count();
    if unknown > 0 {
        suspicion.cannot_see.push(format!(
            "who closed {unknown} of them, which have the same server as the others: no event told of it"
        ));
    }
    naming::who(view, &suspicion.members)
}

/// Says who holds the other ends that are on this host.
fn tell_other_end(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let other = members.iter().find_map(|seen| view.other_end(seen));
    let Some(other) = other.filter(|other| other.socket().state == TcpState::CloseWait) else { return };
    let local = format::address(other.socket().tuple.local);
    suspicion.evidence.push(match other.holder() {
        Some(holder) => {
            format!("the CLOSE_WAIT at {local} is open in {}", naming::who_holds(view, &holder))
        }
        None => format!("the CLOSE_WAIT is on this host, at {local}"),
    });
}
