//! The peer has sent its FIN, and this host has not: it waits for the application (RFC 9293 section 3.6, case 2).
//! What the application has done so far shows in the queues: the FIN counts as one byte until it is read
//! (`tcp_fin` in `net/ipv4/tcp_input.c` advances `rcv_nxt`; `tcp_diag_get_info` tells `rcv_nxt - copied_seq`).

use std::{cmp::Reverse, net::SocketAddr};

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{MAX_TOLD, Pairs, base, blame_holder, descriptors, grade, holder, oldest_ms};
use crate::{
    diagnose::{
        NS_PER_MS,
        class::Class,
        evidence::Paused,
        finding::Severity,
        format,
        suspicion::{Key, Suspicion},
        view::{Holding, Side, SocketView, View, peers, say_peers},
    },
    track::{Holder, Timer},
};

/// What is sent so soon after the FIN is the end of an answer, not a stream, ns.
const LAST_WORDS_NS: u64 = 1_000_000_000;
/// How exactly the beginning of a connection is known, ns: kernel ticks, twice.
const BIRTH_SLACK_NS: u64 = 10_000_000;
/// A process that is forked to serve a connection starts within this time of it, ns.
const FORK_FOR_IT_NS: u64 = 1_000_000_000;
/// Super-servers (inetd, systemd with `Accept=yes`) pass a connection on as one of the first descriptors.
const PASSED_ON_FDS: std::ops::RangeInclusive<u32> = 0..=3;

/// Which trouble a `CLOSE_WAIT` may be.
pub(super) fn sort(view: &View<'_>, pairs: &Pairs, seen: &SocketView<'_>) -> Option<Key> {
    let (thresholds, socket) = (view.thresholds, seen.socket());
    if seen.age_ms() < thresholds.settle_ms {
        return None;
    }
    let holder = match seen.held() {
        Holding::NoFile => return super::accept::sort_queued(view, seen),
        Holding::NotAsked => return None,
        Holding::Nobody => return sort_ghost(view, seen),
        Holding::Unseen => None,
        Holding::By { holder, .. } => Some(holder),
    };
    let key = |class, place| match &holder {
        Some(holder) => View::key_of(class, socket.netns, holder, place),
        None => Key { class, netns: socket.netns, pid: 0, start_boottime_ns: 0, place },
    };
    if holder.is_some_and(|holder| view.paused(&holder).is_some()) {
        return Some(key(Class::OwnerStopped, None));
    }
    if pairs.has(seen) {
        return Some(key(Class::ProxyPair, None));
    }
    let quiet = view.quiet_ms(seen) >= thresholds.frozen_ms;
    if socket.wqueue > 0 {
        return match socket.timer {
            // Whoever reads in gulps finds the queue as full each time; only tcp_info tells that data went.
            Timer::Persist if quiet && is_checked(view, seen) => Some(key(Class::CloseWaitSendBlocked, None)),
            Timer::Persist => None,
            _ => super::path::sort_half_open(view, seen),
        };
    }
    if is_carrying(view, seen) {
        return Some(key(Class::HalfClose, None));
    }
    if holder.is_some_and(|holder| is_inherited(view, seen, &holder)) {
        return Some(key(Class::FdInherited, None));
    }
    let side = view.side(&socket);
    let served = || view.listener_at(socket.netns, socket.tuple.local).map(place_of);
    let place = if side == Side::Accept { served() } else { None };
    if socket.rqueue == 0 {
        return Some(key(Class::CloseWaitLeak, place));
    }
    if !quiet {
        return None;
    }
    Some(match side {
        Side::Accept => key(Class::CloseWaitNeverRead, place),
        Side::Connect if socket.rqueue <= thresholds.farewell_bytes => key(Class::CloseWaitIdlePool, None),
        Side::Connect => key(Class::UnreadBody, None),
    })
}

fn place_of(listening: &crate::diagnose::history::Listening) -> SocketAddr {
    listening.socket.tuple.local
}

/// Whether data has gone the open way since the FIN, for longer than the end of an answer takes, and not long ago, as of
/// when that was read last: of very many, it is not read at each pass.
pub(super) fn is_carrying(view: &View<'_>, seen: &SocketView<'_>) -> bool {
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

/// Whether the only holder started when the connection was there already, and was not made for it. `tcpi_last_data_*`
/// begin with the connection (`tcp_create_openreq_child`, `tcp_finish_connect`), so it is at least that old.
fn is_inherited(view: &View<'_>, seen: &SocketView<'_>, holder: &Holder) -> bool {
    let Holding::By { processes: 1, .. } = seen.held() else { return false };
    let Some(offset_ns) = view.evidence.boot_offset_ns else { return false };
    let known = view.heard(seen).map_or([0; 2], |heard| [heard.sent_ns, heard.received_ns]);
    let born_ns = known.into_iter().filter(|ns| *ns != 0).fold(seen.since_ns(), u64::min);
    let started_ns = holder.start_boottime_ns.saturating_sub(offset_ns);
    if started_ns <= born_ns.saturating_add(BIRTH_SLACK_NS) || PASSED_ON_FDS.contains(&holder.fd) {
        return false;
    }
    if view.side(&seen.socket()) == Side::Connect || started_ns > born_ns.saturating_add(FORK_FOR_IT_NS) {
        return true;
    }
    // A server that forks for each connection looks the same, unless the child has everything else as well and does
    // not read.
    let has_listener =
        view.listener_at(seen.socket().netns, seen.socket().tuple.local).is_some_and(|listening| {
            view.evidence.holders.of(&listening.socket).any(|one| one.pid == holder.pid)
        });
    seen.socket().rqueue > 0 && has_listener
}

/// A socket that should have a holder, and was looked up more than once without one (`iterate over task->files`
/// shows every descriptor, so what has none is kept by a system call that has not returned, by `io_uring`, or by a
/// message in flight).
pub(super) fn sort_ghost(view: &View<'_>, seen: &SocketView<'_>) -> Option<Key> {
    if view.ownerless_ms(seen)? < view.thresholds.frozen_ms {
        return None;
    }
    let former = view.history.holder(seen.socket().cookie);
    let netns = seen.socket().netns;
    Some(match former {
        Some(holder) => View::key_of(Class::GhostReference, netns, holder, None),
        None => Key { class: Class::GhostReference, netns, pid: 0, start_boottime_ns: 0, place: None },
    })
}

/// An open connection whose data nobody reads while the server has sent all and closed: its `FIN_WAIT1` waits for
/// window (`tcp_rcv_state_process`; the FIN stands behind the data, so this end stays `ESTABLISHED`). Only where the
/// other end is on this host too: without it, a consumer that pauses looks the same.
pub(super) fn sort_unread_body(view: &View<'_>, seen: &SocketView<'_>) -> Option<Key> {
    let thresholds = view.thresholds;
    let Holding::By { holder, .. } = seen.held() else { return None };
    if seen.socket().rqueue == 0 || view.quiet_ms(seen) < thresholds.frozen_ms {
        return None;
    }
    let server = view.other_end(&seen.socket())?;
    let waits = matches!(server.socket().state, TcpState::FinWait1 | TcpState::LastAck)
        && server.held() == Holding::NoFile
        && server.socket().wqueue > 0;
    (waits && server.age_ms() >= thresholds.settle_ms)
        .then(|| View::key_of(Class::UnreadBody, seen.socket().netns, &holder, None))
}

/// What is wrong with a group of sockets, if anything.
pub(super) fn judge(view: &View<'_>, key: Key, members: &[&SocketView<'_>]) -> Vec<Suspicion> {
    let mut suspicion = base(key, members);
    suspicion.severity = grade(view, &key, members);
    match key.class {
        Class::CloseWaitLeak => leak(view, &mut suspicion, members),
        Class::CloseWaitNeverRead => never_read(view, &mut suspicion, members),
        Class::CloseWaitIdlePool => return idle_pool(view, suspicion, members),
        Class::OwnerStopped => owner_stopped(view, &mut suspicion, members),
        Class::FdInherited => fd_inherited(view, &mut suspicion, members),
        Class::HalfClose => half_close(view, &mut suspicion, members),
        Class::CloseWaitSendBlocked => send_blocked(view, &mut suspicion, members),
        Class::ProxyPair => proxy_pair(view, &mut suspicion, members),
        Class::UnreadBody => unread_body(view, &mut suspicion, members),
        Class::GhostReference => ghost(view, &mut suspicion, members),
        _ => return Vec::new(),
    }
    vec![suspicion]
}

fn side_of(view: &View<'_>, members: &[&SocketView<'_>]) -> Side {
    members.first().map_or(Side::Connect, |seen| view.side(&seen.socket()))
}

/// The oldest, and what `tcp_info` said of how many.
fn tell_silence(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>], what: &str) {
    let checked = view.count_heard(members);
    let count = members.len();
    let line = match checked {
        0 => {
            suspicion.cannot_see.push(format!("whether they {what}: no tcp_info of them was read yet"));
            return;
        }
        all if all == count => format!("none of them {what}"),
        some => format!("none of a sample of {some} {what}"),
    };
    suspicion.evidence.push(line);
}

fn tell_ages(suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let youngest = members.iter().map(|seen| seen.age_ms()).min().unwrap_or(0);
    suspicion.evidence.push(format!(
        "{} in {}, the oldest for {}, the youngest for {}",
        format::digits(members.len() as u64),
        members.first().map_or("", |seen| seen.socket().state.name()),
        format::duration(oldest_ms(members)),
        format::duration(youngest)
    ));
}

/// The servers that most of them are to, if there is more than one.
fn tell_peers(suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
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

fn set_place(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>], side: Side) {
    let listener = members
        .first()
        .filter(|_| side == Side::Accept)
        .and_then(|seen| view.listener_at(seen.socket().netns, seen.socket().tuple.local));
    suspicion.subject.listener = listener.map(|listening| format::address(listening.socket.tuple.local));
    suspicion.subject.peer = match peers(members, side) {
        Some((peer, _, 1)) => Some(peer),
        _ => None,
    };
}

fn leak(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let who = blame_holder(view, suspicion, members);
    let side = side_of(view, members);
    set_place(view, suspicion, members, side);
    suspicion.limit = descriptors(view, members);
    suspicion.tells_trend = true;
    let (peers, sockets) = (say_peers(members, side), format::count(suspicion.count, "socket"));
    let oldest = format::duration(oldest_ms(members));
    suspicion.verdict = match members {
        [one] => match (one.held(), holder(members)) {
            (Holding::By { holder, .. }, Some(_)) => {
                format!("{who} read EOF from {peers} on fd {} {oldest} ago and has not closed it", holder.fd)
            }
            _ => format!("{who} read EOF from {peers} on one socket {oldest} ago and has not closed it"),
        },
        _ => format!("{who} read EOF from {peers} on {sockets} and closed none, the oldest {oldest} ago"),
    };
    "Close the socket on every path after read() returns 0, error paths included."
        .clone_into(&mut suspicion.remedy);
    tell_ages(suspicion, members);
    suspicion.evidence.push("nothing is unread: the application has read the EOF".to_owned());
    tell_silence(view, suspicion, members, "sent anything in the last minutes");
}

fn never_read(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let who = blame_holder(view, suspicion, members);
    set_place(view, suspicion, members, Side::Accept);
    suspicion.limit = descriptors(view, members);
    suspicion.tells_trend = true;
    let unread: u64 = members.iter().map(|seen| u64::from(seen.socket().rqueue)).sum();
    let place = suspicion.key.place.map_or_else(String::new, |at| format!(" on {}", format::listener(at)));
    suspicion.verdict = format!(
        "{who} accepted {}{place} and does not read from {}, though the clients have left; the oldest waits for {}",
        format::count(suspicion.count, "connection"),
        if suspicion.count == 1 { "it" } else { "them" },
        format::duration(oldest_ms(members))
    );
    "Take a thread dump of it now: its workers are all busy or deadlocked. Give every call that they wait for a timeout."
        .clone_into(&mut suspicion.remedy);
    tell_ages(suspicion, members);
    suspicion.evidence.push(format!("{} unread, and that has not changed", format::bytes(unread)));
}

fn idle_pool(view: &View<'_>, mut suspicion: Suspicion, members: &[&SocketView<'_>]) -> Vec<Suspicion> {
    let thresholds = view.thresholds;
    let who = blame_holder(view, &mut suspicion, members);
    set_place(view, &mut suspicion, members, Side::Connect);
    let peer = say_peers(members, Side::Connect);
    tell_peers(&mut suspicion, members);
    let grows = view.grows(&suspicion.key, suspicion.count, suspicion.since_ns);
    // The maximum of a pool is for each server.
    let largest = peers(members, Side::Connect).map_or(0, |(_, count, _)| count);
    if largest > thresholds.pool_max && grows {
        let mut leak = suspicion.clone();
        leak.key.class = Class::CloseWaitLeak;
        // Not the leak of those whose EOF was read.
        leak.key.place = members.first().map(|seen| seen.socket().tuple.remote);
        leak.limit = descriptors(view, members);
        leak.tells_trend = true;
        leak.verdict = format!(
            "{who} has {} to {peer} that the server closed and that it never looked at again",
            format::count(leak.count, "connection")
        );
        "Close connections that are given up, and give the pool a maximum and an idle timeout."
            .clone_into(&mut leak.remedy);
        tell_ages(&mut leak, members);
        leak.evidence.push(format!(
            "the EOF is unread in all of them, and their number to one server has passed {}",
            thresholds.pool_max
        ));
        // Its trend goes on being that of the pool.
        suspicion.severity = None;
        return vec![suspicion, leak];
    }
    suspicion.severity = suspicion.severity.map(|_| Severity::Info);
    suspicion.verdict = format!(
        "{} to {peer} in {who}, the oldest for {}: harmless, the server closed first",
        format::count(suspicion.count, "stale pooled connection"),
        format::duration(oldest_ms(members))
    );
    "Let the pool drop idle connections earlier than the server does; alert only if they grow without bound."
        .clone_into(&mut suspicion.remedy);
    tell_ages(&mut suspicion, members);
    let most = members.iter().map(|seen| seen.socket().rqueue).max().unwrap_or(0);
    suspicion.evidence.push(format!(
        "at most {} unread: the EOF{}",
        format::bytes(most.into()),
        if most > 1 { " and a farewell of the protocol" } else { "" }
    ));
    vec![suspicion]
}

fn owner_stopped(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let noticed = oldest_ms(members) >= view.thresholds.settle_ms;
    suspicion.severity = noticed.then_some(Severity::Warning);
    // A queue's children have no holder of their own: the listener's is meant.
    let holder = holder(members).or_else(|| {
        let seen = members.first()?;
        super::accept::main_holder(view.listener_at(seen.socket().netns, seen.socket().tuple.local)?)
    });
    let Some(holder) = holder else {
        suspicion.severity = None;
        return;
    };
    suspicion.subject = view.subject(&holder, suspicion.key.netns);
    let how = match view.paused(&holder) {
        Some(Paused::Frozen) => {
            ("frozen: its cgroup is frozen", "Thaw its cgroup (docker unpause, systemctl thaw)")
        }
        Some(Paused::Traced) => ("held by a debugger or tracer", "Let the debugger go on, or detach it"),
        _ => ("stopped by a signal", "Continue it (kill -CONT), and find out who stopped it"),
    };
    let unread = members.iter().filter(|seen| seen.socket().rqueue > 0).count();
    let them = if suspicion.count == 1 { "waits" } else { "wait" };
    suspicion.verdict = format!(
        "{} is {}; {} {them} for it, nothing is leaked",
        view.who(&holder),
        how.0,
        format::count(suspicion.count, "connection")
    );
    suspicion.remedy = format!("{}.", how.1);
    let mut by_state = std::collections::BTreeMap::<&str, u64>::new();
    for seen in members {
        *by_state.entry(seen.socket().state.name()).or_default() += 1;
    }
    let states: Vec<_> = by_state.iter().map(|(state, count)| format!("{count} in {state}")).collect();
    suspicion.evidence.push(format!("{}; {unread} with unread data", format::list(&states)));
}

fn fd_inherited(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let who = blame_holder(view, suspicion, members);
    let side = side_of(view, members);
    set_place(view, suspicion, members, side);
    suspicion.limit = descriptors(view, members);
    suspicion.tells_trend = true;
    suspicion.verdict = format!(
        "{who} is the only holder of {} {} {}, but it was started after {} made: it has inherited {} and does not use {}",
        format::count(suspicion.count, "connection"),
        if side == Side::Accept { "from" } else { "to" },
        say_peers(members, side),
        if suspicion.count == 1 { "it was" } else { "they were" },
        if suspicion.count == 1 { "it" } else { "them" },
        if suspicion.count == 1 { "it" } else { "them" },
    );
    "Open sockets with SOCK_CLOEXEC (accept4, socket), or close them in the child after fork()."
        .clone_into(&mut suspicion.remedy);
    tell_ages(suspicion, members);
    if let Some(holder) = holder(members)
        && let Some(ppid) =
            view.process(holder.pid, holder.start_boottime_ns).and_then(|process| process.ppid)
    {
        suspicion.evidence.push(format!("its parent is process {ppid}, which does not hold them any more"));
    }
    suspicion
        .evidence
        .push("the close of whoever made them sent no FIN, because this copy is open".to_owned());
}

fn half_close(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    suspicion.severity = suspicion.severity.map(|_| Severity::Info);
    let who = blame_holder(view, suspicion, members);
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
    let noticed = oldest_ms(members) >= view.thresholds.notice_ms;
    suspicion.severity = noticed.then_some(Severity::Warning);
    let who = blame_holder(view, suspicion, members);
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
    if let Some(peer) = members.iter().find_map(|seen| view.other_end(&seen.socket()))
        && let Holding::By { holder, .. } = peer.held()
    {
        suspicion.evidence.push(format!("the peer is {} on this host", view.who(&holder)));
    }
}

fn proxy_pair(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let who = blame_holder(view, suspicion, members);
    let waits: Vec<&SocketView<'_>> =
        members.iter().filter(|seen| seen.socket().state == TcpState::FinWait2).copied().collect();
    suspicion.count = waits.len() as u64;
    suspicion.tells_trend = true;
    suspicion.limit = descriptors(view, members);
    let side = side_of(view, &waits);
    let whom = if side == Side::Connect { "upstream" } else { "client" };
    let peers = say_peers(&waits, side);
    suspicion.subject.peer = crate::diagnose::view::peers(&waits, side).map(|(peer, ..)| peer);
    suspicion.verdict = format!(
        "{who} passed on {} to the {whom} {peers}, which does not close its end; the proxy is not at fault",
        format::count(suspicion.count, "half-close"),
    );
    let culprit = waits.iter().find_map(|seen| match view.other_end(&seen.socket())?.held() {
        Holding::By { holder, .. } => Some(holder),
        _ => None,
    });
    if let Some(culprit) = culprit {
        suspicion.evidence.push(format!("the {whom} is {} on this host", view.who(&culprit)));
    }
    suspicion.remedy = format!(
        "Let the {whom} close when it reads EOF; until then give the proxy a half-close timeout (timeout client-fin and timeout tunnel in HAProxy, proxy_timeout in nginx)."
    );
    tell_ages(suspicion, &waits);
    suspicion.evidence.push(format!(
        "each FIN_WAIT2 began within 2 s of a CLOSE_WAIT of the same process; {} in all",
        format::count(members.len() as u64, "descriptor")
    ));
}

fn unread_body(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let thresholds = view.thresholds;
    let who = blame_holder(view, suspicion, members);
    let side = side_of(view, members);
    set_place(view, suspicion, members, side);
    suspicion.tells_trend = true;
    suspicion.limit = descriptors(view, members);
    // The time in ESTABLISHED says nothing: the pause does.
    let stuck_ms = |seen: &&&SocketView<'_>| match seen.socket().state {
        TcpState::Established => {
            let server = view.other_end(&seen.socket()).map_or(0, SocketView::age_ms);
            server.max(view.quiet_ms(seen))
        }
        _ => seen.age_ms(),
    };
    let older = |ms: u64| members.iter().filter(|seen| stuck_ms(seen) >= ms).count() as u64;
    let oldest = members.iter().map(|seen| stuck_ms(&seen)).max().unwrap_or(0);
    let grows = view.grows(&suspicion.key, suspicion.count, suspicion.since_ns);
    suspicion.since_ns = view.evidence.at_ns.saturating_sub(oldest.saturating_mul(NS_PER_MS));
    let bad = older(thresholds.old_ms) >= thresholds.several
        || older(thresholds.ancient_ms) > 0
        || (grows && older(thresholds.notice_ms) >= thresholds.several);
    let info = (oldest >= thresholds.notice_ms).then_some(Severity::Info);
    suspicion.severity = if bad { Some(Severity::Warning) } else { info };
    let unread: u64 = members.iter().map(|seen| u64::from(seen.socket().rqueue)).sum();
    suspicion.verdict = format!(
        "{who} left {} unread on {} from {}, which has sent all and closed",
        format::bytes(unread),
        format::count(suspicion.count, "connection"),
        say_peers(members, side)
    );
    "Read every response to its end or close its body, on error paths too.".clone_into(&mut suspicion.remedy);
    let servers: Vec<_> = members.iter().filter_map(|seen| view.other_end(&seen.socket())).collect();
    let held_back: u64 = servers.iter().map(|server| u64::from(server.socket().wqueue)).sum();
    if !servers.is_empty() {
        suspicion.evidence.push(format!(
            "the server's end is closed and holds back {} for lack of window, its FIN behind them",
            format::bytes(held_back)
        ));
    }
    suspicion.evidence.push(format!("nothing was read for {}", format::duration(oldest)));
    tell_peers(suspicion, members);
    suspicion.cookies.extend(servers.iter().map(|server| server.socket().cookie));
}

fn ghost(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let former = members.iter().find_map(|seen| view.history.holder(seen.socket().cookie));
    let waits = members.iter().any(|seen| seen.socket().state == TcpState::CloseWait);
    suspicion.severity = Some(if former.is_some() || waits { Severity::Warning } else { Severity::Info });
    let sockets = format::count(suspicion.count, "socket");
    let one = suspicion.count == 1;
    let (is, it) = if one { ("is", "it") } else { ("are", "them") };
    suspicion.verdict = if let Some(holder) = former {
        suspicion.subject = view.subject(holder, suspicion.key.netns);
        format!(
            "{} closed fd {} but {sockets} of it {is} alive without a descriptor: another thread still waits in {it}",
            view.who(holder),
            holder.fd
        )
    } else {
        suspicion.cannot_see.push(
            "who had them open: no descriptor leads to them any more, and none was seen before".to_owned(),
        );
        let user = members.iter().find_map(|seen| seen.socket().uid);
        let of = user.map_or_else(String::new, |user| format!(" of user {user}"));
        format!(
            "{sockets}{of} {is} alive without a descriptor: closed while another thread waits in {it}, or kept by io_uring or the kernel itself"
        )
    };
    "Call shutdown() before close() when another thread may be blocked in the socket."
        .clone_into(&mut suspicion.remedy);
    let since = members.iter().filter_map(|seen| view.history.ownerless_since_ns(seen.socket().cookie));
    let vain = since.min().unwrap_or(0);
    let vain_ms = view.evidence.holders.at_ns.saturating_sub(vain) / NS_PER_MS;
    suspicion.evidence.push(format!(
        "the descriptors of all processes were looked through for {}, and none leads to {it}",
        format::duration(vain_ms)
    ));
}
