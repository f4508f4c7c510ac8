//! Which trouble an event belongs to, and which program, as far as that is recorded.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use tcpstate_common::TcpState;

use super::Events;
use crate::{
    diagnose::{
        NS_PER_MS,
        class::Class,
        connection::Side,
        ending::{self, Linger, Unread},
        ends,
        evidence::{Reason, ResetSeen},
        idle_times::Server,
        program::Member,
        suspicion::Key,
        view::View,
    },
    track::{Direction, Failure, IdleClose, Process, Since},
};

/// A connection that was closed sooner after its last data was not idle, ms.
const IDLE_MS: u64 = 100;
const EADDRNOTAVAIL: u32 = 99;
const ETIMEDOUT: u32 = 110;
const ECONNREFUSED: u32 = 111;
pub(in crate::diagnose) const EHOSTUNREACH: u32 = 113;

/// What a RST is.
pub(super) struct Sorted {
    pub(super) key: Key,
    pub(super) process: Option<Process>,
    /// The process at the other end.
    pub(super) peer: Option<Member>,
    pub(super) is_harmful: bool,
    pub(super) late_ms: Option<u64>,
    /// The peer had ended the connection because it was restarted, or has ended itself.
    pub(super) is_restart: bool,
    /// The process that had ended the connection, if it has ended since; else 0.
    pub(super) ended_with: u32,
}

/// What the events of one pass tell of each other.
pub(super) struct Context<'a> {
    /// The ends of connections of which a host has said that it does not have them.
    pub(super) vanished: HashSet<Pair>,
    /// RSTs that came in, by the ends of the connection as the receiver has them.
    received: HashMap<Pair, &'a ResetSeen>,
    /// Who had closed the connections on which RSTs were sent, by the ends as the sender has them.
    closers: HashMap<Pair, u32>,
    /// The closes of idle connections, by the namespace and the ends.
    closed: HashMap<(u32, Pair), &'a IdleClose>,
}

/// Both ends of a connection, the local one first.
type Pair = (SocketAddr, SocketAddr);

pub(super) fn mirrored((local, remote): Pair) -> Pair {
    (remote, local)
}

impl<'a> Context<'a> {
    pub(super) fn of(view: &View<'a>) -> Self {
        let resets = view.evidence.resets.iter();
        let vanished = resets
            .clone()
            .filter(|seen| seen.reason == Some(Reason::NoSocket) && seen.answered_syn != Some(true))
            .map(|seen| ends::of(&seen.reset.tuple))
            .collect();
        let received = resets
            .filter(|seen| seen.reset.direction == Direction::Received)
            .map(|seen| (ends::of(&seen.reset.tuple), seen))
            .collect();
        let sent = view.evidence.resets.iter().filter(|seen| seen.reset.direction == Direction::Sent);
        let closers = sent.filter_map(|seen| Some((ends::of(&seen.reset.tuple), seen.owner?.pid))).collect();
        let by_ends = |close: &'a IdleClose| ((close.netns, ends::of(&close.tuple)), close);
        let closed = view.evidence.closes.iter().map(by_ends).collect();
        Self { vanished, received, closers, closed }
    }

    /// The process that had closed the other end of a connection that a RST came in on, if that is on this host.
    fn closer_of(&self, seen: &ResetSeen) -> Option<u32> {
        self.closers.get(&mirrored(ends::of(&seen.reset.tuple))).copied()
    }

    pub(super) fn close_of(&self, seen: &ResetSeen) -> Option<&'a IdleClose> {
        self.closed.get(&(seen.reset.netns, ends::of(&seen.reset.tuple))).copied()
    }

    /// The end that a sent RST came in at, if that is on this host.
    fn victim_of(&self, seen: &ResetSeen) -> Option<&'a ResetSeen> {
        self.received.get(&mirrored(ends::of(&seen.reset.tuple))).copied()
    }
}

impl Events {
    /// Which trouble a RST belongs to, and who is at fault as far as that is recorded.
    pub(super) fn sort(
        &mut self,
        view: &View<'_>,
        context: &Context<'_>,
        seen: &ResetSeen,
    ) -> Option<Sorted> {
        match seen.reset.direction {
            Direction::Received => sort_received(view, context, seen),
            Direction::Sent => match seen.reason? {
                Reason::AbortOnClose => sort_unread(view, context, seen),
                Reason::TcpState if seen.reset.state == Some(TcpState::Close) => {
                    self.sort_aborted(view, context, seen)
                }
                Reason::TimeWaitSocket | Reason::AbortOnData | Reason::NoSocket => {
                    sort_late(view, context, seen)
                }
                Reason::KeepaliveTimeout => {
                    let peer = SocketAddr::new(seen.reset.tuple.remote.ip(), 0);
                    let owner = owner(seen).or_else(|| held(view, seen));
                    Some(sorted(view, Class::KeepaliveTimeout, seen, owner, Some(peer)))
                }
                _ => None,
            },
        }
    }

    /// A connection that its process has ended by RST on purpose, or a listener's close has.
    fn sort_aborted(&mut self, view: &View<'_>, context: &Context<'_>, seen: &ResetSeen) -> Option<Sorted> {
        let reset = &seen.reset;
        let listening = view.listener_at(reset.netns, reset.tuple.local);
        let Some(process) = reset.process else {
            let listening = listening?;
            let holder = listening.main_holder();
            let process = holder.map(|holder| Process { pid: holder.pid, comm: holder.comm });
            let place = Some(listening.socket.tuple.local);
            let harmful = sorted(view, Class::RstListenerClosed, seen, process, place);
            return Some(Sorted { is_harmful: true, ..harmful });
        };
        let counted = view.namespace(reset.netns).and_then(|namespace| namespace.delta?.abort_on_data);
        // connect(AF_UNSPEC) ends a connection in the same way, and is not counted.
        if counted == Some(0) || seen.bytes_moved == Some(0) {
            return None;
        }
        let peer = context.victim_of(seen).and_then(ending::victim);
        if peer.is_some_and(|peer| peer.process.pid == process.pid) {
            return None;
        }
        let of = |class, place| sorted(view, class, seen, Some(process), place);
        let ending = Linger::of(view, seen);
        let is_harmful = ending == Linger::Harmful;
        if let (Linger::Idle(idle_ms), Some(listening)) = (ending, listening) {
            let listener = listening.socket.tuple.local;
            let program = view.programs.of(&Member::from(process));
            let server = Server { netns: reset.netns, listener, program };
            self.idle.add(server, reset.at_ns, idle_ms, false);
            return Some(Sorted { peer, ..of(Class::IdleTimeoutReset, Some(listener)) });
        }
        Some(Sorted { peer, is_harmful, ..of(Class::RstLingerZero, None) })
    }
}

fn sorted(
    view: &View<'_>,
    class: Class,
    seen: &ResetSeen,
    process: Option<Process>,
    place: Option<SocketAddr>,
) -> Sorted {
    let member = process.map(Member::from);
    let key = view.key_of_member(class, seen.reset.netns, member.as_ref(), place);
    Sorted { key, process, peer: None, is_harmful: false, late_ms: None, is_restart: false, ended_with: 0 }
}

fn owner(seen: &ResetSeen) -> Option<Process> {
    seen.reset.process.or(seen.owner)
}

/// Who held the socket when it was last looked at.
fn held(view: &View<'_>, seen: &ResetSeen) -> Option<Process> {
    let holder = seen.reset.cookie.and_then(|cookie| view.history.holder(cookie))?;
    Some(Process { pid: holder.pid, comm: holder.comm })
}

/// A RST that came in: the peer has forgotten the connection, or this host wrote into one that the peer had ended.
fn sort_received(view: &View<'_>, context: &Context<'_>, seen: &ResetSeen) -> Option<Sorted> {
    let reset = &seen.reset;
    let listening = view.listener_at(reset.netns, reset.tuple.local);
    let owner = || owner(seen).or_else(|| held(view, seen));
    match reset.state? {
        TcpState::Established => {
            let forgotten = context.vanished.contains(&mirrored(ends::of(&reset.tuple)));
            let silent = seen.idle_ms.is_some_and(|ms| ms >= view.thresholds.silent_ms);
            let peer = SocketAddr::new(reset.tuple.remote.ip(), 0);
            let place = if listening.is_some() { peer } else { reset.tuple.remote };
            (forgotten || silent).then(|| Sorted {
                is_harmful: true,
                ..sorted(view, Class::PeerLostState, seen, owner(), Some(place))
            })
        }
        // A server that answers a client which has left could not know better; a client asks.
        TcpState::CloseWait if ending::side(view, seen) == Side::Client => {
            let late_ms = ending::late_ms(seen.after_close_ns, seen.spoke_ms)?;
            if late_ms < view.thresholds.race_ms {
                return None;
            }
            let is_harmful = !seen.unsent_bytes.is_some_and(ending::is_farewell);
            let place = Some(reset.tuple.remote);
            let ended_ns = reset.at_ns.saturating_sub(late_ms.saturating_mul(NS_PER_MS));
            let is_restart = is_restart(view, reset.netns, reset.tuple.remote, ended_ns);
            let late = sorted(view, Class::WriteAfterFin, seen, owner(), place);
            let ended_with = context.closer_of(seen).filter(|pid| has_ended(view, *pid)).unwrap_or(0);
            Some(Sorted { is_harmful, late_ms: Some(late_ms), is_restart, ended_with, ..late })
        }
        _ => None,
    }
}

fn has_ended(view: &View<'_>, pid: u32) -> bool {
    view.evidence.processes.get(&pid).is_some_and(|process| process.exited)
}

/// Whether a server on this host that ended a connection then, monotonic ns, is not there any more, or was started since.
fn is_restart(view: &View<'_>, netns: u32, server: SocketAddr, ended_ns: u64) -> bool {
    match view.local_server(netns, server) {
        Some(listening) => matches!(listening.socket.since, Since::Exactly(began_ns) if began_ns > ended_ns),
        None => view.listener_at(netns, server).is_some(),
    }
}

/// `close()` with unread data.
fn sort_unread(view: &View<'_>, context: &Context<'_>, seen: &ResetSeen) -> Option<Sorted> {
    let process = seen.reset.process?;
    let peer = context.victim_of(seen).and_then(ending::victim);
    // A program that wakes itself up over a pair of its own.
    if peer.is_some_and(|peer| peer.process.pid == process.pid) {
        return None;
    }
    let ending = Unread::of(view, seen);
    (ending != Unread::Benign).then(|| Sorted {
        peer,
        is_harmful: ending == Unread::Harmful,
        ..sorted(view, Class::RstUnreadData, seen, Some(process), None)
    })
}

/// Data for a connection that this host has ended.
fn sort_late(view: &View<'_>, context: &Context<'_>, seen: &ResetSeen) -> Option<Sorted> {
    let reset = &seen.reset;
    let listening = view.listener_at(reset.netns, reset.tuple.local)?;
    let close = context.close_of(seen);
    if seen.reason == Some(Reason::NoSocket) || seen.idle_ms.is_some_and(|ms| ms < IDLE_MS) {
        return None;
    }
    // A peer that has noticed the end may take leave all the same: nothing is lost.
    if seen.payload_bytes.is_some_and(ending::is_farewell) {
        return None;
    }
    // The peer may have put its acknowledgement of the FIN off until the request, with which the socket is gone
    // altogether: then only the close itself tells when that was.
    let closed_ns = close.and_then(|close| reset.at_ns.checked_sub(close.at_ns));
    let after_ms = closed_ns.or(seen.after_close_ns).map(|ns| ns / NS_PER_MS);
    let owner = owner(seen).or(close.and_then(|close| close.process));
    let listener = listening.socket.tuple.local;
    if after_ms.is_none_or(|ms| ms < view.thresholds.race_ms) {
        let race = sorted(view, Class::KeepaliveRace, seen, owner, Some(listener));
        return Some(Sorted { late_ms: after_ms, is_harmful: true, ..race });
    }
    // A writer on this host is reported for its own end.
    let is_told = context.victim_of(seen).is_some_and(|victim| {
        victim.reset.state == Some(TcpState::CloseWait) && ending::side(view, victim) == Side::Client
    });
    if is_told {
        return None;
    }
    let peer = SocketAddr::new(reset.tuple.remote.ip(), 0);
    let server = owner.map(Member::from);
    let late = sorted(view, Class::WriteAfterFin, seen, None, Some(peer));
    Some(Sorted { late_ms: after_ms, peer: server, is_harmful: seen.payload_bytes != Some(0), ..late })
}

pub(super) fn sort_failure(view: &View<'_>, failure: &Failure) -> Option<Key> {
    let class = match failure.errno {
        ECONNREFUSED if !is_fallback(view, failure) => Class::ConnectionRefused,
        EHOSTUNREACH | ETIMEDOUT => Class::SynBlackhole,
        EADDRNOTAVAIL => Class::PortExhaustion,
        _ => return None,
    };
    let member = failure.process.map(Member::from);
    Some(view.key_of_member(class, failure.netns, member.as_ref(), Some(failure.tuple.remote)))
}

/// "localhost" is tried as `::1` first; where the server listens on 127.0.0.1 alone that is refused, and does no harm.
/// The same the other way round.
fn is_fallback(view: &View<'_>, failure: &Failure) -> bool {
    let remote = failure.tuple.remote;
    let other: IpAddr = match remote.ip() {
        IpAddr::V6(ip) if ip.is_loopback() => [127, 0, 0, 1].into(),
        IpAddr::V4(ip) if ip.is_loopback() => std::net::Ipv6Addr::LOCALHOST.into(),
        _ => return false,
    };
    view.listener_at(failure.netns, SocketAddr::new(other, remote.port()))
        .is_some_and(|listening| view.is_there(listening))
}
