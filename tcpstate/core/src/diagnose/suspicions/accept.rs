//! The listener's side: handshakes that are not finished, and connections that nobody accepts. A connection that
//! waits in the accept queue has no file yet (`inet_csk_accept` in `net/ipv4/inet_connection_sock.c` gives it one
//! through `sock_graft`), so its inode is 0. The queue is full when it holds more than its limit
//! (`sk_acceptq_is_full` in `include/net/sock.h`).

use std::cmp::Reverse;

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{Harm, base, blame_members};
use crate::{
    diagnose::{
        class::Class,
        evidence::{Reason, What},
        format,
        history::Listening,
        naming,
        program::Member,
        socket_view::SocketView,
        suspicion::{Key, Suspicion},
        view::{self, View},
    },
    track::{Direction, NO_LIMIT},
};

/// Looks at a queue, of the last eight, at which something must have waited for long to say that it is not accepted in
/// time.
const SLOW_LOOKS: usize = 3;
/// These looks must have been within this time, ns.
const SLOW_NS: u64 = 60_000_000_000;

/// The processes that have a listener open, the main one first; not process 1 if there is another.
pub(in crate::diagnose) fn owners(view: &View<'_>, listening: &Listening) -> Vec<Member> {
    let Some(main) = listening.main_holder() else { return Vec::new() };
    let program = view.programs.of_holder(&main);
    let others = listening
        .holders
        .iter()
        .filter(|holder| holder.pid != main.pid && view.programs.of_holder(holder) == program);
    let mut members: Vec<Member> = others.map(Member::from).collect();
    members.sort_by_key(|member| (member.start_boottime_ns, member.process.pid));
    members.dedup_by_key(|member| member.process.pid);
    members.insert(0, (&main).into());
    members
}

fn key(view: &View<'_>, class: Class, listening: &Listening) -> Key {
    let holder = listening.main_holder();
    let place = Some(listening.socket.tuple.local);
    view.key_of(class, listening.socket.netns, holder.as_ref(), place)
}

/// A connection without file waits in a queue.
pub(super) fn sort_queued(view: &View<'_>, seen: &SocketView<'_>) -> Option<Key> {
    let socket = seen.socket();
    let listening = view.listener_at(socket.netns, socket.tuple.local)?;
    if !view.is_there(listening) {
        return None;
    }
    let waits_long = view::queued_ms(seen) >= view.thresholds.notice_ms;
    if !waits_long && !is_slow(view, listening) {
        return None;
    }
    let paused =
        !listening.holders.is_empty() && listening.holders.iter().all(|holder| view.paused(holder).is_some());
    match listening.main_holder().filter(|_| paused) {
        Some(holder) => Some(view.key_of(Class::OwnerStopped, socket.netns, Some(&holder), None)),
        None => Some(key(view, Class::AcceptStall, listening)),
    }
}

/// Whether something has waited for long at several looks at the queue: clients may give up before they have waited for
/// long enough to be noticed one by one.
fn is_slow(view: &View<'_>, listening: &Listening) -> bool {
    let from_ns = view.evidence.at_ns.saturating_sub(SLOW_NS);
    let slow_ms = view.thresholds.queue_ms;
    let before = listening.looks.iter().filter(|look| look.at_ns >= from_ns && look.oldest_ms >= slow_ms);
    let now = view.queue(listening).is_some_and(|queue| queue.oldest_ms >= slow_ms);
    now && before.count() + 1 >= SLOW_LOOKS
}

/// A handshake whose SYN+ACK had to be sent again. With `TCP_DEFER_ACCEPT` it is not sent again, and where the accept
/// queue is full the client has answered.
pub(super) fn sort_syn_recv(view: &View<'_>, seen: &SocketView<'_>) -> Option<Key> {
    let listening = view.listener_at(seen.socket().netns, seen.socket().tuple.local)?;
    let answered_again = seen.socket().inode == 0 && seen.socket().retransmits > 0;
    (answered_again && !view.is_full(listening)).then(|| key(view, Class::SynFlood, listening))
}

/// Names the listener and who has it open. Returns the name for a sentence.
fn blame(view: &View<'_>, suspicion: &mut Suspicion, listening: &Listening) -> Option<String> {
    suspicion.members = owners(view, listening);
    suspicion.subject.listener = Some(format::address(listening.socket.tuple.local));
    if suspicion.members.is_empty() {
        let why = view.unseen(What::Holders, None);
        let why = why.unwrap_or_else(|| "no holder of it was found".to_owned());
        suspicion.cannot_see.push(format!("who has the listener open: {why}"));
        return None;
    }
    blame_members(view, suspicion);
    if listening.holders.len() > 1 {
        let mut pids: Vec<_> = listening.holders.iter().map(|holder| holder.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        let more = pids.len().saturating_sub(super::MAX_TOLD);
        let mut others: Vec<_> = pids.iter().take(super::MAX_TOLD).map(u32::to_string).collect();
        others.extend((more > 0).then(|| format!("{more} more")));
        suspicion.evidence.push(format!("the listener is open in the processes {}", format::list(&others)));
    }
    Some(naming::who(view, &suspicion.members))
}

fn tell_queue(suspicion: &mut Suspicion, listening: &Listening) {
    let limit = match listening.socket.wqueue {
        NO_LIMIT => "not known".to_owned(),
        limit => format::digits(limit.into()),
    };
    suspicion.evidence.push(format!(
        "the accept queue of {} holds {}, its limit is {limit}",
        format::listener(listening.socket.tuple.local),
        format::digits(listening.socket.rqueue.into()),
    ));
}

/// Connections wait in the queue for so long that nobody can be accepting: the queue is first in, first out.
pub(super) fn stall(view: &View<'_>, key: Key, members: &[&SocketView<'_>]) -> Suspicion {
    let mut suspicion = base(key, members);
    let given_up = members.iter().filter(|seen| seen.socket().state == TcpState::CloseWait).count() as u64;
    let Some(listening) = members
        .first()
        .and_then(|seen| view.listener_at(seen.socket().netns, seen.socket().tuple.local))
        .filter(|listening| listening.socket.rqueue > 0)
    else {
        // Those were accepted just now.
        return suspicion;
    };
    let who = blame(view, &mut suspicion, listening);
    let longest_ms = members.iter().map(|seen| view::queued_ms(seen)).max().unwrap_or(0);
    let bad = given_up > 0 || suspicion.count > 1 || longest_ms >= view.thresholds.old_ms;
    suspicion.harm = Some(if bad {
        Harm::Waits { count: suspicion.count, longest_ms, too_long: true }
    } else {
        Harm::NoneSeen("a single one waits, and its client has not given up".to_owned())
    });
    suspicion.tells_trend = true;
    let place = format::listener(listening.socket.tuple.local);
    let one = suspicion.count == 1;
    let what = if given_up == suspicion.count {
        format::count(given_up, "CLOSE_WAIT socket")
    } else {
        format::count(suspicion.count, "connection")
    };
    let clients = match (given_up, one) {
        (0, _) => String::new(),
        (_, true) => ", its client gave up".to_owned(),
        (all, false) if all == suspicion.count => ", their clients gave up".to_owned(),
        (1, false) => ", one of their clients gave up".to_owned(),
        (some, false) => format!(", {some} of their clients gave up"),
    };
    let sits = if one { "sits" } else { "sit" };
    suspicion.verdict = format!(
        "{what} {sits} in the accept queue of {place}{clients}; {} is not accepting, the oldest waits for {}; no fd is leaked",
        who.unwrap_or_else(|| "its owner".to_owned()),
        format::duration(longest_ms)
    );
    "Unblock the accept loop: take a thread dump of the listener's owner and look what it waits for."
        .clone_into(&mut suspicion.remedy);
    tell_queue(&mut suspicion, listening);
    suspicion
        .evidence
        .push("they have no file (inode 0), so that no process can hold or close them".to_owned());
    suspicion
}

/// Handshakes that nobody finishes.
pub(super) fn flood(view: &View<'_>, key: Key, members: &[&SocketView<'_>]) -> Option<Suspicion> {
    let mut suspicion = base(key, members);
    let listening =
        members.first().and_then(|seen| view.listener_at(seen.socket().netns, seen.socket().tuple.local))?;
    let delta = view.namespace(key.netns).and_then(|namespace| namespace.delta).unwrap_or_default();
    let cookies = delta.syncookies_sent.unwrap_or(0).max(delta.req_q_full_do_cookies.unwrap_or(0));
    let dropped = delta.req_q_full_drop.unwrap_or(0);
    let many = suspicion.count >= view.thresholds.half_handshakes;
    let overrun = cookies > 0 || dropped > 0;
    suspicion.harm = match (many, overrun) {
        (_, true) => Some(Harm::Fails {
            what: "handshake",
            count: suspicion.count,
            occasions: suspicion.count.max(view.thresholds.several),
        }),
        (true, false) => Some(Harm::NoneSeen("the queue for handshakes has room".to_owned())),
        (false, false) => None,
    };
    suspicion.is_of_events = true;
    suspicion.tells_trend = true;
    blame(view, &mut suspicion, listening);
    let mut peers: Vec<_> =
        members.iter().map(|seen| seen.socket().tuple.remote.ip().to_canonical()).collect();
    peers.sort_unstable();
    peers.dedup();
    let from = match peers.as_slice() {
        [one] => {
            suspicion.subject.peer = Some(one.to_string());
            one.to_string()
        }
        many => format!("{} addresses", format::digits(many.len() as u64)),
    };
    suspicion.verdict = format!(
        "{} on {} from {from} {} begun and never finished, though the SYN+ACK was sent again: a SYN flood, or the way back is broken",
        format::count(suspicion.count, "handshake"),
        format::listener(listening.socket.tuple.local),
        if suspicion.count == 1 { "was" } else { "were" }
    );
    "Leave tcp_syncookies on, check that answers can reach these addresses, and filter them upstream if they are forged."
        .clone_into(&mut suspicion.remedy);
    if overrun {
        suspicion.evidence.push(format!(
            "{} {} and {} for lack of room",
            view.since_look(key.netns),
            format::count(delta.syncookies_sent.unwrap_or(0), "SYN cookie"),
            format::count(dropped, "dropped SYN")
        ));
    } else if view.namespace(key.netns).is_none() {
        suspicion
            .cannot_see
            .push("whether SYN cookies were sent: the namespace's counters could not be read".to_owned());
    }
    tell_queue(&mut suspicion, listening);
    Some(suspicion)
}

/// Listeners whose queue is full while connections are turned away. `ListenOverflows` counts these alone
/// (`tcp_conn_request` in `net/ipv4/tcp_input.c`, `tcp_v4_syn_recv_sock`); `ListenDrops` counts much else.
pub(super) fn overflows(view: &View<'_>) -> Vec<Suspicion> {
    let there = view.history.listeners().filter(|listening| view.is_there(listening));
    let turned = TurnedAway::find(view);
    let mut suspicions: Vec<_> = there.filter_map(|listening| overflow(view, listening, &turned)).collect();
    // Listeners that share a port (SO_REUSEPORT) in one program are one.
    suspicions.sort_by_key(|suspicion| (suspicion.key, Reverse(suspicion.count)));
    suspicions.dedup_by_key(|suspicion| suspicion.key);
    suspicions
}

/// What shows that listeners turn clients away, by the listener's cookie: each socket and each event is looked at once,
/// however many listeners there are.
#[derive(Default)]
struct TurnedAway<'a> {
    /// Clients of this host that send their SYN again.
    clients: HashMap<u64, Vec<&'a SocketView<'a>>>,
    /// RSTs with which it answered final ACKs at this pass (`tcp_check_req`, `embryonic_reset`).
    resets: HashMap<u64, u64>,
}

impl<'a> TurnedAway<'a> {
    fn find(view: &'a View<'a>) -> Self {
        let mut found = Self::default();
        for seen in &view.seen {
            let socket = seen.socket();
            if socket.state == TcpState::SynSent
                && socket.retransmits > 0
                && let Some(server) = view.local_server(socket.netns, socket.tuple.remote)
            {
                found.clients.entry(server.socket.cookie).or_default().push(seen);
            }
        }
        let sent = view.evidence.resets.iter().filter(|seen| {
            seen.reset.direction == Direction::Sent && seen.reason == Some(Reason::InvalidSyn)
        });
        for seen in sent {
            if let Some(listening) = view.listener_at(seen.reset.netns, seen.reset.tuple.local) {
                *found.resets.entry(listening.socket.cookie).or_default() += 1;
            }
        }
        found
    }
}

fn overflow(view: &View<'_>, listening: &Listening, turned: &TurnedAway<'_>) -> Option<Suspicion> {
    let socket = &listening.socket;
    let namespace = view.namespace(socket.netns);
    let delta = namespace.and_then(|namespace| namespace.delta).unwrap_or_default();
    let overflows = delta.listen_overflows.unwrap_or(0);
    let full = view.is_full(listening);
    // Where the queue has been emptied again, the listener's own drops tell which one it was.
    let nearly = socket.rqueue.saturating_mul(2) > socket.wqueue;
    let was_full = overflows > 0 && nearly && listening.dropped.is_some_and(|dropped| dropped > 0);
    let resets = turned.resets.get(&socket.cookie).copied().unwrap_or(0);
    if !(full || was_full || resets > 0) {
        return None;
    }
    let members = turned.clients.get(&socket.cookie).cloned().unwrap_or_default();
    let aborts = namespace.and_then(|namespace| namespace.sysctls.abort_on_overflow) == Some(true);
    let class = if aborts && (resets > 0 || delta.embryonic_rsts.unwrap_or(0) > 0) {
        Class::AcceptOverflowRst
    } else {
        Class::AcceptOverflow
    };
    let mut suspicion = base(key(view, class, listening), &members);
    suspicion.count = overflows.max(resets).max(u64::from(socket.rqueue));
    suspicion.cookies.extend(view.queue(listening).into_iter().flat_map(|queue| &queue.cookies));
    suspicion.since_ns = view.evidence.at_ns;
    suspicion.is_of_events = true;
    let who = blame(view, &mut suspicion, listening).unwrap_or_else(|| "its owner".to_owned());
    // Full and nobody turned away: a queue at its limit.
    let turned_away = overflows.max(resets).max(members.len() as u64);
    suspicion.harm = (turned_away > 0).then(|| Harm::Fails {
        what: "connect attempt",
        count: turned_away,
        occasions: turned_away.max(view.thresholds.several),
    });
    let place = format::listener(socket.tuple.local);
    let (held, limit) = (format::digits(socket.rqueue.into()), format::digits(socket.wqueue.into()));
    let then = if class == Class::AcceptOverflowRst { "resets clients" } else { "turns clients away" };
    // The limit is one less than what it holds when it is full.
    let state = if full {
        format!("is full ({held}, with a limit of {limit}) and {then}")
    } else {
        format!("was full a moment ago (now {held}, with a limit of {limit}) and {then}")
    };
    suspicion.verdict = format!("the accept queue of {place} {state}; {who} accepts too slowly");
    "Accept faster: keep other work out of the accept loop, or add workers; raise the backlog and net.core.somaxconn last."
        .clone_into(&mut suspicion.remedy);
    if class == Class::AcceptOverflowRst {
        suspicion.verdict.push_str(", and tcp_abort_on_overflow=1 makes it a RST");
        suspicion
            .remedy
            .push_str(" Set net.ipv4.tcp_abort_on_overflow=0, so that clients try again instead.");
    }
    suspicion.evidence.push(format!(
        "{} {} in its namespace; since the last look {} of final ACKs and SYNs by this listener",
        view.since_look(socket.netns),
        format::count(overflows, "overflow"),
        listening
            .dropped
            .map_or("an unknown number".to_owned(), |dropped| format::count(dropped.into(), "drop"))
    ));
    if !members.is_empty() {
        suspicion.evidence.push(format!(
            "{} of this host {} again",
            format::count(members.len() as u64, "client"),
            if members.len() == 1 { "sends its SYN" } else { "send their SYN" }
        ));
    }
    if namespace.is_none() {
        suspicion
            .cannot_see
            .push("whether clients are turned away: the namespace's counters could not be read".to_owned());
    }
    Some(suspicion)
}
