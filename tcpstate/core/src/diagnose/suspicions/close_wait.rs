//! The peer has sent its FIN, and this host has not: it waits for the application (RFC 9293 section 3.6, case 2).
//! What the application has done so far shows in the queues, since the FIN counts as one byte until it is read
//! (`tcp_fin` in `net/ipv4/tcp_input.c` advances `rcv_nxt`; `tcp_diag_get_info` reports `rcv_nxt - copied_seq`).

use std::{cmp::Reverse, net::SocketAddr};

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{
    Growth, Harm, MAX_TOLD, Pairs, Suspected, base, blame_holders, blame_members, descriptors, ghost, growth,
    inherited, keeps, oldest_ms, pairs::is_vague, pool, side_of, unread_body,
};
use crate::{
    diagnose::{
        class::Class,
        connection::{self, Party, Side},
        evidence::Paused,
        format,
        naming::{self, say_peers},
        program::Member,
        socket_view::{Holding, SocketView},
        suspicion::{Key, Suspicion},
        view::View,
    },
    track::Timer,
};

/// What is sent so soon after the FIN is the end of an answer, not a stream, ns.
const LAST_WORDS_NS: u64 = 1_000_000_000;

/// Which trouble a `CLOSE_WAIT` may be.
pub(super) fn sort(view: &View<'_>, pairs: &Pairs, seen: &SocketView<'_>) -> Option<Key> {
    let (thresholds, socket) = (view.thresholds, seen.socket());
    if seen.age_ms() < thresholds.settle_ms {
        return None;
    }
    let holder = match seen.holding() {
        Holding::NoFile => return super::accept::sort_queued(view, seen),
        Holding::NotAsked => return None,
        Holding::Nobody => return ghost::sort(view, seen),
        Holding::Unseen => None,
        Holding::By { holder, .. } => Some(holder),
    };
    let key = |class, place| view.key_of(class, socket.netns, holder.as_ref(), place);
    if holder.is_some_and(|holder| view.paused(&holder).is_some()) {
        return Some(key(Class::OwnerStopped, None));
    }
    if view.served_ms(seen) < thresholds.settle_ms {
        return None;
    }
    if pairs.has(seen) {
        return Some(key(Class::ProxyPair, None));
    }
    let quiet = view.quiet_ms(seen) >= thresholds.frozen_ms;
    if socket.wqueue > 0 {
        return match socket.timer {
            // Who reads in gulps finds the queue as full each time; only tcp_info tells that data went.
            Timer::Persist if quiet && is_checked(view, seen) => Some(key(Class::CloseWaitSendBlocked, None)),
            Timer::Persist => None,
            _ => super::path::sort_half_open(view, seen),
        };
    }
    if is_carrying(view, seen) {
        return Some(key(Class::HalfClose, None));
    }
    if holder.is_some_and(|holder| inherited::is_inherited(view, seen, &holder)) {
        return Some(key(Class::FdInherited, None));
    }
    match connection::side(view, &socket) {
        Side::Server => sort_served(view, seen, quiet, key),
        Side::Client if socket.rqueue <= thresholds.farewell_bytes => {
            // Who has read the EOF leaks at once; for the others it takes a look at how they come and go.
            (socket.rqueue == 0 || quiet).then(|| key(Class::CloseWaitLeak, None))
        }
        Side::Client => quiet.then(|| key(Class::UnreadBody, None)),
    }
}

/// One that a listener of this host took.
fn sort_served(
    view: &View<'_>,
    seen: &SocketView<'_>,
    quiet: bool,
    key: impl Fn(Class, Option<SocketAddr>) -> Key,
) -> Option<Key> {
    let socket = seen.socket();
    let listening = view.listener_at(socket.netns, socket.tuple.local);
    let place = listening.map(|listening| listening.socket.tuple.local);
    if socket.rqueue == 0 {
        return Some(key(Class::CloseWaitLeak, place));
    }
    if !quiet {
        return None;
    }
    // The request was read, and the client left before it was answered.
    let class = if !connection::is_read(&socket) {
        Class::CloseWaitNeverRead
    } else if connection::owed_ms(view, seen, Party::Here).is_some() {
        Class::UnansweredRequests
    } else {
        Class::CloseWaitLeak
    };
    Some(key(class, place))
}

/// Whether data has gone the open way since the FIN, for longer than the end of an answer takes, and not long ago, as of
/// when that was read last: of very many, it is not read at each pass.
pub(in crate::diagnose) fn is_carrying(view: &View<'_>, seen: &SocketView<'_>) -> bool {
    let Some(heard) = view.heard(seen) else { return false };
    let moved_ns = match seen.socket().state {
        TcpState::CloseWait => heard.sent_ns,
        _ => heard.received_ns,
    };
    moved_ns > seen.since_ns().saturating_add(LAST_WORDS_NS)
        && heard.was_less_than(view.thresholds.old_ms, moved_ns)
}

/// Whether `tcp_info` has been read, or will not be.
fn is_checked(view: &View<'_>, seen: &SocketView<'_>) -> bool {
    view.heard(seen).is_some() || view.quiet_ms(seen) >= view.thresholds.old_ms
}

/// What is wrong with a group of sockets, if anything.
pub(super) fn judge(view: &View<'_>, key: Key, members: &[&SocketView<'_>], suspected: &mut Suspected) {
    let mut suspicion = base(key, members);
    suspicion.harm = keeps(view, &key, members);
    match key.class {
        Class::CloseWaitLeak if side_of(view, members) == Side::Client => {
            return pool::judge(view, key, members, suspected);
        }
        Class::CloseWaitLeak => leak(view, &mut suspicion, members),
        Class::CloseWaitNeverRead => never_read(view, &mut suspicion, members),
        Class::UnansweredRequests => unanswered(view, &mut suspicion, members),
        Class::OwnerStopped => owner_stopped(view, &mut suspicion, members),
        Class::FdInherited => inherited::judge(view, &mut suspicion, members),
        Class::HalfClose => half_close(view, &mut suspicion, members),
        Class::CloseWaitSendBlocked => send_blocked(view, &mut suspicion, members),
        Class::ProxyPair => proxy_pair(view, &mut suspicion, members),
        Class::UnreadBody => unread_body::judge(view, &mut suspicion, members),
        Class::GhostReference => ghost::judge(view, &mut suspicion, members),
        _ => return,
    }
    suspected.suspicions.push(suspicion);
}

/// What `tcp_info` reported of how many.
fn tell_silence(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>], what: &str) {
    let checked = view.count_heard(members);
    let line = match checked {
        0 => {
            suspicion.cannot_see.push(format!("whether they {what}: no tcp_info of them was read yet"));
            return;
        }
        all if all == members.len() => format!("none of them {what}"),
        some => format!("none of a sample of {some} {what}"),
    };
    suspicion.evidence.push(line);
}

/// How many there are, in which state, and how old.
pub(super) fn tell_ages(suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let youngest = members.iter().map(|seen| seen.age_ms()).min().unwrap_or(0);
    let state = members.first().map_or("", |seen| seen.socket().state.name());
    let count = format::digits(members.len() as u64);
    let oldest = format::duration(oldest_ms(members));
    suspicion.evidence.push(if members.len() == 1 {
        format!("{count} in {state}, for {oldest}")
    } else {
        format!(
            "{count} in {state}, the oldest for {oldest}, the youngest for {}",
            format::duration(youngest)
        )
    });
}

/// The servers that most of them are to, if there is more than one.
pub(super) fn tell_peers(suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let mut counts = HashMap::<SocketAddr, u64>::default();
    for seen in members {
        *counts.entry(seen.socket().tuple.remote).or_default() += 1;
    }
    if counts.len() < 2 {
        return;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(peer, count)| (Reverse(*count), *peer));
    let mut told: Vec<_> = counts
        .iter()
        .take(MAX_TOLD)
        .map(|(peer, count)| format!("{} to {}", format::digits(*count), format::address(*peer)))
        .collect();
    let others = counts.iter().skip(MAX_TOLD).map(|(_, count)| *count).reduce(|sum, count| sum + count);
    told.extend(others.map(|count| format!("{} to {} more", format::digits(count), counts.len() - MAX_TOLD)));
    suspicion.evidence.push(format::list(&told));
}

/// The listener or the peer that all of them have in common.
pub(super) fn set_place(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>], side: Side) {
    let listener = members
        .first()
        .filter(|_| side == Side::Server)
        .and_then(|seen| view.listener_at(seen.socket().netns, seen.socket().tuple.local));
    suspicion.subject.listener = listener.map(|listening| format::address(listening.socket.tuple.local));
    suspicion.subject.peer = naming::common_peer(members, side);
}

/// The process has read the EOF, or does not look for it, and keeps the socket.
pub(super) fn leak(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let who = blame_holders(view, suspicion, members);
    let side = side_of(view, members);
    set_place(view, suspicion, members, side);
    suspicion.limit = descriptors(view, &suspicion.members);
    suspicion.tells_trend = true;
    let (peers, sockets) = (say_peers(members, side), format::count(suspicion.count, "socket"));
    let oldest = format::duration(oldest_ms(members));
    let unread = members.iter().filter(|seen| seen.socket().rqueue > 0).count();
    if unread * 2 > members.len() {
        return unnoticed(view, suspicion, members, &who);
    }
    suspicion.verdict = match members {
        [one] => match one.holder() {
            Some(holder) => {
                format!("{who} read EOF from {peers} on fd {} {oldest} ago and has not closed it", holder.fd)
            }
            None => format!("{who} read EOF from {peers} on one socket {oldest} ago and has not closed it"),
        },
        _ => format!("{who} read EOF from {peers} on {sockets} and closed none, the oldest {oldest} ago"),
    };
    "Close the socket on every path after read() returns 0, error paths included."
        .clone_into(&mut suspicion.remedy);
    tell_ages(suspicion, members);
    suspicion.evidence.push(match unread {
        0 => "nothing is unread: the application has read the EOF".to_owned(),
        some => format!("on {} of them the EOF alone is unread", format::digits(some as u64)),
    });
    tell_silence(view, suspicion, members, "sent anything in the last minutes");
    let is_proxy = |seen: &&&SocketView<'_>| {
        is_vague(seen) && seen.holder().is_some_and(|holder| view.has_long_half_closed(holder.pid))
    };
    if members.iter().any(|seen| is_proxy(&seen)) {
        suspicion.cannot_see.push(
            "whether it is a proxy that joins them with its connections in FIN_WAIT2: both were there before tcpstate looked"
                .to_owned(),
        );
    }
}

/// The clients have left, and the process has not looked since its last answer.
fn unnoticed(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>], who: &str) {
    let place = suspicion.key.place.map_or_else(String::new, |at| format!(" on {}", format::listener(at)));
    suspicion.verdict = format!(
        "{who} has not noticed that the {} of {}{place} left, the oldest {} ago, and keeps {} open",
        if suspicion.count == 1 { "client" } else { "clients" },
        format::count(suspicion.count, "connection"),
        format::duration(oldest_ms(members)),
        if suspicion.count == 1 { "it" } else { "them" },
    );
    "Read from every connection until it ends, or give it an idle timeout; a program that only writes never learns that its client has left."
        .clone_into(&mut suspicion.remedy);
    tell_ages(suspicion, members);
    let has_sent =
        members.iter().filter_map(|seen| view.heard(seen)).any(|heard| heard.has_received == Some(true));
    let before = if has_sent { "what the clients sent was read before" } else { "the clients sent nothing" };
    suspicion.evidence.push(format!("only the EOF is unread: {before}"));
    tell_silence(view, suspicion, members, "sent anything in the last minutes");
}

/// The clients have left, and the process has not read what they sent.
fn never_read(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let who = blame_holders(view, suspicion, members);
    set_place(view, suspicion, members, Side::Server);
    suspicion.limit = descriptors(view, &suspicion.members);
    suspicion.tells_trend = true;
    let unread: u64 = members.iter().map(|seen| u64::from(seen.socket().rqueue)).sum();
    let place = suspicion.key.place.map_or_else(String::new, |at| format!(" on {}", format::listener(at)));
    let one = suspicion.count == 1;
    suspicion.verdict = format!(
        "{who} accepted {}{place} and does not read from {}, though the {} left; the oldest waits for {}",
        format::count(suspicion.count, "connection"),
        if one { "it" } else { "them" },
        if one { "client has" } else { "clients have" },
        format::duration(oldest_ms(members))
    );
    tell_ages(suspicion, members);
    "Take a thread dump of it now: its workers are all busy or deadlocked. Give every call that they wait for a timeout."
        .clone_into(&mut suspicion.remedy);
    suspicion.evidence.push(format!("{} unread, and that has not changed", format::bytes(unread)));
}

/// The requests were read, and the clients left before there was an answer.
fn unanswered(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let owed_ms = |seen: &&SocketView<'_>| connection::owed_ms(view, seen, Party::Here);
    let longest_ms = members.iter().filter_map(owed_ms).max().unwrap_or(0);
    let grown = growth(view, &suspicion.key, members);
    suspicion.harm = grown.map(|growth| match growth {
        Growth::None => Harm::NoneSeen("it may only be slow".to_owned()),
        _ => Harm::Hangs { count: suspicion.count, longest_ms },
    });
    let who = blame_holders(view, suspicion, members);
    set_place(view, suspicion, members, Side::Server);
    suspicion.limit = descriptors(view, &suspicion.members);
    suspicion.tells_trend = true;
    let place = suspicion.key.place.map_or_else(String::new, |at| format!(" on {}", format::listener(at)));
    let one = suspicion.count == 1;
    suspicion.verdict = format!(
        "{who} has read {}{place} and not answered {}, the oldest for {}; the {} left",
        format::count(suspicion.count, "request"),
        if one { "it" } else { "them" },
        format::duration(longest_ms),
        if one { "client has" } else { "clients have" },
    );
    "Take a thread dump of it now, and look what its handlers wait for; give every call that they wait for a timeout."
        .clone_into(&mut suspicion.remedy);
    tell_ages(suspicion, members);
    suspicion.evidence.push("the requests were read: only the EOF is unread".to_owned());
}

fn owner_stopped(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let longest_ms = oldest_ms(members);
    suspicion.harm = (longest_ms >= view.thresholds.settle_ms).then_some(Harm::Waits {
        count: members.len() as u64,
        longest_ms,
        too_long: false,
    });
    suspicion.members = naming::holders(members);
    // A queue's children have no holder of their own: the listener's is meant.
    if suspicion.members.is_empty() {
        let holder = members.first().and_then(|seen| {
            let listening = view.listener_at(seen.socket().netns, seen.socket().tuple.local)?;
            listening.main_holder()
        });
        suspicion.members.extend(holder.as_ref().map(Member::from));
    }
    let Some(main) = suspicion.members.first().copied() else {
        suspicion.harm = None;
        return;
    };
    blame_members(view, suspicion);
    let paused = view.process(main.process.pid, main.start_boottime_ns).and_then(|process| process.paused);
    let (how, remedy) = match paused {
        Some(Paused::Frozen) => {
            ("frozen: its cgroup is frozen", "Thaw its cgroup (docker unpause, systemctl thaw)")
        }
        Some(Paused::Traced) => ("held by a debugger or tracer", "Let the debugger go on, or detach it"),
        _ => ("stopped by a signal", "Continue it (kill -CONT), and find out who stopped it"),
    };
    let unread = members.iter().filter(|seen| seen.socket().rqueue > 0).count();
    suspicion.verdict = format!(
        "{} is {how}; {} {} for it, nothing is leaked",
        naming::who(view, &suspicion.members),
        format::count(suspicion.count, "connection"),
        if suspicion.count == 1 { "waits" } else { "wait" },
    );
    suspicion.remedy = format!("{remedy}.");
    let mut by_state = std::collections::BTreeMap::<&str, u64>::new();
    for seen in members {
        *by_state.entry(seen.socket().state.name()).or_default() += 1;
    }
    let states: Vec<_> = by_state.iter().map(|(state, count)| format!("{count} in {state}")).collect();
    suspicion.evidence.push(format!("{}; {unread} with unread data", format::list(&states)));
}

fn half_close(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let noticed = suspicion.harm.is_some();
    suspicion.harm = noticed.then(|| Harm::NoneSeen("data goes on in the open direction".to_owned()));
    let who = blame_holders(view, suspicion, members);
    let side = side_of(view, members);
    set_place(view, suspicion, members, side);
    suspicion.verdict = format!(
        "{who} goes on sending to {} on {} after the peer has half-closed: legitimate",
        say_peers(members, side),
        format::count(suspicion.count, "connection")
    );
    "Nothing is to be done: shutdown(SHUT_WR) ends one direction, and the other one is in use."
        .clone_into(&mut suspicion.remedy);
    let acked: u64 =
        members.iter().filter_map(|seen| view.info(&seen.socket())?.bytes_acked).fold(0, u64::saturating_add);
    if acked > 0 {
        suspicion.evidence.push(format!("{} acknowledged by the peers in all", format::bytes(acked)));
    }
    tell_ages(suspicion, members);
}

fn send_blocked(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let longest_ms = oldest_ms(members);
    suspicion.harm = (longest_ms >= view.thresholds.notice_ms).then_some(Harm::Waits {
        count: members.len() as u64,
        longest_ms,
        too_long: false,
    });
    let who = blame_holders(view, suspicion, members);
    let side = side_of(view, members);
    set_place(view, suspicion, members, side);
    suspicion.tells_trend = true;
    let waiting: u64 = members.iter().map(|seen| u64::from(seen.socket().wqueue)).sum();
    suspicion.verdict = format!(
        "{who} has {} to send to {} on {}, but the peer has half-closed and stopped reading",
        format::bytes(waiting),
        say_peers(members, side),
        format::count(suspicion.count, "connection")
    );
    "Give writes a timeout (SO_SNDTIMEO, a write deadline, TCP_USER_TIMEOUT) and close when it expires; look why the peer does not read."
        .clone_into(&mut suspicion.remedy);
    tell_ages(suspicion, members);
    suspicion
        .evidence
        .push("the window is closed: the persist timer runs, and the queues do not move".to_owned());
    let peer = members.iter().find_map(|seen| view.other_end(seen)?.holder());
    if let Some(holder) = peer {
        suspicion.evidence.push(format!("the peer is {} on this host", naming::who_holds(view, &holder)));
    }
}

fn proxy_pair(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let who = blame_holders(view, suspicion, members);
    let waits: Vec<&SocketView<'_>> =
        members.iter().filter(|seen| seen.socket().state == TcpState::FinWait2).copied().collect();
    suspicion.count = waits.len() as u64;
    suspicion.tells_trend = true;
    suspicion.limit = descriptors(view, &suspicion.members);
    let side = side_of(view, &waits);
    let whom = if side == Side::Client { "upstream" } else { "client" };
    suspicion.subject.peer = naming::peers(&waits, side).map(|(peer, ..)| peer);
    suspicion.verdict = format!(
        "{who} passed on {} to the {whom} {}, which does not close its end; the proxy is not at fault",
        format::count(suspicion.count, "half-close"),
        say_peers(&waits, side),
    );
    let culprit = waits.iter().find_map(|seen| view.other_end(seen)?.holder());
    if let Some(culprit) = culprit {
        // It is reported there.
        let why = format!("the {whom} is at fault, and is on this host");
        suspicion.harm = suspicion.harm.as_ref().map(|_| Harm::NoneSeen(why));
        let culprit = naming::who_holds(view, &culprit);
        suspicion.evidence.push(format!("the {whom} is {culprit} on this host"));
    }
    suspicion.remedy = format!(
        "Let the {whom} close when it reads EOF; until then give the proxy a half-close timeout (timeout client-fin and timeout tunnel in HAProxy, proxy_timeout in nginx)."
    );
    tell_ages(suspicion, &waits);
    suspicion.evidence.push(format!(
        "each FIN_WAIT2 began within 2 s of a CLOSE_WAIT of the same process; {} in all",
        format::count(members.len() as u64, "descriptor")
    ));
    let other_ends = waits.iter().filter_map(|seen| view.other_end(seen));
    suspicion.cookies.extend(other_ends.map(|end| end.socket().cookie));
}
