//! Events: RSTs by their reason (`enum sk_rst_reason` in `include/net/rstreason.h`), connects that failed, and counters
//! that rose. They leave no socket behind that could be looked at later, so they are counted over a while, by whom
//! they are about. What is said of them stands in `reset.rs` and `connect.rs`.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
};

use tcpstate_common::TcpState;

use super::{accept, connect, idle::IdleTimes, ports, reset};
use crate::{
    diagnose::{
        NS_PER_MS,
        class::Class,
        evidence::{Reason, ResetSeen},
        finding::{AgeIs, MAX_SAMPLES, Sample, Severity, Subject},
        format,
        suspicion::{Key, Suspicion},
        view::View,
    },
    track::{Direction, Failure, IdleClose, Process, Tuple},
};

/// Groups of events that are remembered.
const MAX_GROUPS: usize = 4_096;
/// Passes of which a group remembers how many events there were.
const MAX_PASSES: usize = 64;
/// A connection that was closed sooner after its last data was not idle, ms.
const IDLE_MS: u64 = 100;
const EADDRNOTAVAIL: u32 = 99;
const ETIMEDOUT: u32 = 110;
const ECONNREFUSED: u32 = 111;
pub(super) const EHOSTUNREACH: u32 = 113;

/// Events of one kind about one process or place.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// When, and how many.
    passes: VecDeque<(u64, u64)>,
    first_ns: u64,
    pub(super) last_ns: u64,
    pub(super) process: Option<Process>,
    netns: u32,
    /// The largest number of unread bytes, if it was seen.
    pub(super) unread: Option<u64>,
    /// Events whose connection is known to have carried data.
    pub(super) with_data: u64,
    /// The longest time between a close and a request that came too late, ns.
    pub(super) after_close_ns: Option<u64>,
    /// The shortest silence before the RST, ms.
    pub(super) idle_ms: Option<u64>,
    /// The number of a connect's error.
    pub(super) errno: u32,
    /// It was seen at both ends.
    pub(super) at_both_ends: bool,
    samples: VecDeque<(u64, Option<u64>, Tuple, Option<TcpState>)>,
}

/// All events of the last while.
#[derive(Debug, Default)]
pub(in crate::diagnose) struct Events {
    groups: HashMap<Key, Group>,
    pub(super) idle: IdleTimes,
}

impl Events {
    /// Takes in the events of a pass, and forgets what is too old.
    pub(in crate::diagnose) fn observe(&mut self, view: &View<'_>) {
        let window_ns = view.thresholds.event_window_ms * NS_PER_MS;
        let from_ns = view.evidence.at_ns.saturating_sub(window_ns);
        self.idle.observe(view);
        let closed: Closed<'_> =
            view.evidence.closes.iter().map(|close| ((close.netns, ends(&close.tuple)), close)).collect();
        let vanished: HashSet<_> = view
            .evidence
            .resets
            .iter()
            .filter(|seen| seen.reason == Some(Reason::NoSocket) && seen.answered_syn != Some(true))
            .map(|seen| ends(&seen.reset.tuple))
            .collect();
        for seen in &view.evidence.resets {
            let close = closed.get(&(seen.reset.netns, ends(&seen.reset.tuple))).copied();
            if let Some((key, process)) = sort(view, &vanished, seen, close) {
                self.add_reset(key, process, seen, close, &vanished);
            }
        }
        for failure in &view.evidence.failures {
            if let Some(key) = sort_failure(view, failure) {
                self.add_failure(key, failure);
            }
        }
        for (netns, namespace) in &view.evidence.namespaces {
            let overflows = namespace.delta.and_then(|delta| delta.time_wait_overflow).unwrap_or(0);
            if overflows > 0 {
                let class = Class::TimeWaitOverflow;
                let key = Key { class, netns: *netns, pid: 0, start_boottime_ns: 0, place: None };
                if let Some(group) = self.group(key, view.evidence.at_ns) {
                    group.netns = *netns;
                    group.count(view.evidence.at_ns, overflows);
                }
            }
        }
        self.groups.retain(|_, group| {
            group.passes.retain(|(at_ns, _)| *at_ns >= from_ns);
            !group.passes.is_empty()
        });
    }

    fn group(&mut self, key: Key, at_ns: u64) -> Option<&mut Group> {
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            return None;
        }
        Some(self.groups.entry(key).or_insert_with(|| Group { first_ns: at_ns, ..Group::default() }))
    }

    fn add_reset(
        &mut self,
        key: Key,
        process: Option<Process>,
        seen: &ResetSeen,
        close: Option<&IdleClose>,
        vanished: &HashSet<(SocketAddr, SocketAddr)>,
    ) {
        let reset = &seen.reset;
        let idle_ms = seen.idle_ms.or(close.map(|close| close.heard_ms));
        let Some(group) = self.group(key, reset.at_ns) else { return };
        group.netns = reset.netns;
        group.process = process.or(group.process);
        group.count(reset.at_ns, 1);
        group.unread = group.unread.max(seen.unread_bytes);
        group.with_data += u64::from(seen.bytes_moved.is_some());
        // The peer may have put its acknowledgement of the FIN off until the request, with which the socket is gone
        // altogether: then only the close itself tells when that was.
        let closed_ns = close.and_then(|close| reset.at_ns.checked_sub(close.at_ns));
        group.after_close_ns = group.after_close_ns.max(closed_ns.or(seen.after_close_ns));
        group.idle_ms = match (group.idle_ms, idle_ms) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        };
        let (local, remote) = ends(&reset.tuple);
        group.at_both_ends |= vanished.contains(&(remote, local));
        group.sample(reset.at_ns, reset.cookie, reset.tuple, reset.state);
    }

    fn add_failure(&mut self, key: Key, failure: &Failure) {
        let Some(group) = self.group(key, failure.at_ns) else { return };
        group.netns = failure.netns;
        group.process = failure.process.or(group.process);
        group.errno = failure.errno;
        group.count(failure.at_ns, 1);
        group.sample(failure.at_ns, None, failure.tuple, Some(TcpState::SynSent));
    }

    /// The processes that the events are about.
    pub(in crate::diagnose) fn pids(&self) -> impl Iterator<Item = u32> {
        self.groups.values().filter_map(|group| group.process).map(|process| process.pid)
    }

    /// How much is remembered.
    #[cfg(test)]
    pub(in crate::diagnose) fn size(&self) -> usize {
        self.groups.len() + self.idle.size()
    }
}

impl Group {
    fn count(&mut self, at_ns: u64, more: u64) {
        self.last_ns = self.last_ns.max(at_ns);
        self.first_ns = self.first_ns.min(at_ns);
        count(&mut self.passes, at_ns, more);
    }

    fn sample(&mut self, at_ns: u64, cookie: Option<u64>, tuple: Tuple, state: Option<TcpState>) {
        if self.samples.len() >= MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((at_ns, cookie, tuple, state));
    }

    fn total(&self) -> u64 {
        self.passes.iter().map(|(_, count)| *count).fold(0, u64::saturating_add)
    }

    pub(super) fn lasted_ms(&self) -> u64 {
        self.last_ns.saturating_sub(self.first_ns) / NS_PER_MS
    }
}

/// Adds to a list of counts, of which there are at most [`MAX_PASSES`]: what comes together is counted together.
pub(super) fn count(list: &mut VecDeque<(u64, u64)>, at_ns: u64, more: u64) {
    match list.back_mut() {
        Some((last_ns, count)) if at_ns.saturating_sub(*last_ns) < 1_000 * NS_PER_MS => {
            *count = count.saturating_add(more);
        }
        _ => {
            if list.len() >= MAX_PASSES {
                list.pop_front();
            }
            list.push_back((at_ns, more));
        }
    }
}

/// The closes of a pass by the namespace and the ends of the connection.
type Closed<'a> = HashMap<(u32, (SocketAddr, SocketAddr)), &'a IdleClose>;

fn ends(tuple: &Tuple) -> (SocketAddr, SocketAddr) {
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    (plain(tuple.local), plain(tuple.remote))
}

/// Which trouble a RST belongs to, and who is at fault as far as that is recorded. `close` is how the same connection was
/// closed before, if it was idle.
fn sort(
    view: &View<'_>,
    vanished: &HashSet<(SocketAddr, SocketAddr)>,
    seen: &ResetSeen,
    close: Option<&IdleClose>,
) -> Option<(Key, Option<Process>)> {
    let reset = &seen.reset;
    let held = || {
        let holder = reset.cookie.and_then(|cookie| view.history.holder(cookie))?;
        Some(Process { pid: holder.pid, comm: holder.comm })
    };
    let owner = reset.process.or(seen.owner);
    let key = |class, process: Option<Process>, place| {
        let pid = process.map_or(0, |process| process.pid);
        Some((Key { class, netns: reset.netns, pid, start_boottime_ns: 0, place }, process))
    };
    let listening = view.listener_at(reset.netns, reset.tuple.local);
    let peer = SocketAddr::new(reset.tuple.remote.ip(), 0);
    if reset.direction == Direction::Received {
        if reset.state != Some(TcpState::Established) {
            return None;
        }
        let (local, remote) = ends(&reset.tuple);
        let forgotten = vanished.contains(&(remote, local));
        let silent = seen.idle_ms.is_some_and(|ms| ms >= view.thresholds.silent_ms);
        let place = if listening.is_some() { peer } else { reset.tuple.remote };
        return if forgotten || silent {
            key(Class::PeerLostState, owner.or_else(held), Some(place))
        } else {
            None
        };
    }
    match seen.reason? {
        Reason::AbortOnClose => key(Class::RstUnreadData, Some(reset.process?), None),
        Reason::TcpState if reset.state == Some(TcpState::Close) => {
            if let Some(process) = reset.process {
                let counted =
                    view.namespace(reset.netns).and_then(|namespace| namespace.delta?.abort_on_data);
                let nothing_moved = seen.bytes_moved == Some(0);
                // connect(AF_UNSPEC) ends a connection in the same way, and is not counted.
                if counted == Some(0) || nothing_moved {
                    None
                } else {
                    key(Class::RstLingerZero, Some(process), None)
                }
            } else {
                let listening = listening?;
                let holder = accept::main_holder(listening);
                let process = holder.map(|holder| Process { pid: holder.pid, comm: holder.comm });
                key(Class::RstListenerClosed, process, Some(listening.socket.tuple.local))
            }
        }
        Reason::TimeWaitSocket | Reason::AbortOnData => {
            let listening = listening?;
            if seen.idle_ms.is_some_and(|ms| ms < IDLE_MS) {
                return None;
            }
            let owner = owner.or(close.and_then(|close| close.process));
            key(Class::KeepaliveRace, owner, Some(listening.socket.tuple.local))
        }
        Reason::KeepaliveTimeout => key(Class::KeepaliveTimeout, owner.or_else(held), Some(peer)),
        _ => None,
    }
}

fn sort_failure(view: &View<'_>, failure: &Failure) -> Option<Key> {
    let class = match failure.errno {
        ECONNREFUSED if !is_fallback(view, failure) => Class::ConnectionRefused,
        EHOSTUNREACH | ETIMEDOUT => Class::SynBlackhole,
        EADDRNOTAVAIL => Class::PortExhaustion,
        _ => return None,
    };
    let pid = failure.process.map_or(0, |process| process.pid);
    Some(Key { class, netns: failure.netns, pid, start_boottime_ns: 0, place: Some(failure.tuple.remote) })
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
        .is_some_and(|listening| listening.seen_ns == view.evidence.at_ns)
}

/// Judges the groups of events.
pub(in crate::diagnose) fn judge(view: &View<'_>, events: &Events) -> Vec<Suspicion> {
    let mut places = HashMap::<(Class, u32), HashSet<SocketAddr>>::new();
    for key in events.groups.keys() {
        places.entry((key.class, key.pid)).or_default().extend(key.place);
    }
    let mut suspicions = Vec::new();
    for (key, group) in &events.groups {
        let tried = places.get(&(key.class, key.pid)).map_or(0, HashSet::len);
        let scans = matches!(key.class, Class::ConnectionRefused | Class::SynBlackhole)
            && tried > view.thresholds.scanned;
        if !scans {
            suspicions.extend(judge_group(view, events, *key, group));
        }
    }
    suspicions.sort_by_key(|suspicion| suspicion.key);
    suspicions
}

fn judge_group(view: &View<'_>, events: &Events, key: Key, group: &Group) -> Option<Suspicion> {
    let mut suspicion = Suspicion {
        key,
        severity: None,
        subject: Subject { netns: (key.netns != 0).then_some(key.netns), ..Subject::default() },
        since_ns: group.first_ns,
        count: group.total(),
        limit: None,
        verdict: String::new(),
        remedy: String::new(),
        evidence: Vec::new(),
        cannot_see: Vec::new(),
        sockets: group.samples.iter().map(|sample| told(view, *sample)).collect(),
        cookies: Vec::new(),
        is_of_events: true,
        tells_trend: false,
    };
    let who = blame(view, &mut suspicion, group);
    locate(&mut suspicion);
    warn_from(&mut suspicion, view.thresholds.many_events);
    match key.class {
        Class::RstUnreadData => reset::unread_data(view, &mut suspicion, group, &who)?,
        Class::RstLingerZero => reset::linger_zero(&mut suspicion, group, &who),
        Class::RstListenerClosed => reset::listener_closed(view, &mut suspicion, &who),
        Class::KeepaliveRace => reset::keepalive_race(view, events, &mut suspicion, group, &who)?,
        Class::PeerLostState => reset::peer_lost(view, &mut suspicion, group, &who),
        Class::KeepaliveTimeout => reset::keepalive_timeout(view, &mut suspicion, &who),
        Class::ConnectionRefused => connect::refused(view, &mut suspicion, group, &who),
        Class::SynBlackhole => connect::unreachable(view, &mut suspicion, group, &who),
        Class::PortExhaustion => connect::no_port(view, &mut suspicion, &who),
        Class::TimeWaitOverflow => time_wait_overflow(view, &mut suspicion),
        _ => return None,
    }
    if group.process.is_none() {
        suspicion.verdict = format::sentence(&suspicion.verdict);
    }
    suspicion.evidence.push(format!(
        "{} within {}, the last one {} ago",
        format::digits(suspicion.count),
        format::duration(group.lasted_ms().max(1_000)),
        format::duration(view.evidence.at_ns.saturating_sub(group.last_ns) / NS_PER_MS)
    ));
    Some(suspicion)
}

/// Says where it is: at a listener, or at a peer.
fn locate(suspicion: &mut Suspicion) {
    let Some(place) = suspicion.key.place else { return };
    let name = if place.port() == 0 { format::ip(place.ip()) } else { format::address(place) };
    match suspicion.key.class {
        Class::RstListenerClosed | Class::KeepaliveRace => suspicion.subject.listener = Some(name),
        Class::PeerLostState
        | Class::KeepaliveTimeout
        | Class::ConnectionRefused
        | Class::SynBlackhole
        | Class::PortExhaustion => suspicion.subject.peer = Some(name),
        _ => {}
    }
}

/// Fewer than so many are told, and so many are a warning.
pub(super) fn warn_from(suspicion: &mut Suspicion, enough: u64) {
    suspicion.severity = Some(if suspicion.count >= enough { Severity::Warning } else { Severity::Info });
}

fn told(
    view: &View<'_>,
    (at_ns, cookie, tuple, state): (u64, Option<u64>, Tuple, Option<TcpState>),
) -> Sample {
    Sample {
        cookie: cookie.map_or_else(String::new, |cookie| cookie.to_string()),
        local: format::address(tuple.local),
        remote: format::address(tuple.remote),
        state: state.map_or_else(String::new, |state| state.name().to_owned()),
        age_ms: view.evidence.at_ns.saturating_sub(at_ns) / NS_PER_MS,
        age_is: AgeIs::Exact,
        rqueue: 0,
        wqueue: 0,
        pid: None,
        fd: None,
    }
}

fn blame(view: &View<'_>, suspicion: &mut Suspicion, group: &Group) -> String {
    if let Some(process) = &group.process {
        suspicion.subject = view.subject_of(process, group.netns);
        suspicion.cannot_see.extend(view.unseen_of(process.pid));
        return view.who_acted(process);
    }
    if suspicion.key.class != Class::TimeWaitOverflow {
        let mut why = "which process it was: no process was recorded with it".to_owned();
        // Whoever listens may hand over what it takes.
        let took =
            group.samples.back().and_then(|(_, _, tuple, _)| view.listener_at(group.netns, tuple.local));
        if let Some(listening) = took {
            let at = listening.socket.tuple.local;
            suspicion.subject.listener = Some(format::address(at));
            if let Some(holder) = accept::main_holder(listening) {
                let (at, who) = (format::listener(at), view.who(&holder));
                why = format!("{why}; {who} listens at {at}, where these connections came in");
            }
        }
        suspicion.cannot_see.push(why);
    }
    "an unknown process".to_owned()
}

/// `inet_twsk_alloc` gives up when there are `tcp_max_tw_buckets` already.
fn time_wait_overflow(view: &View<'_>, suspicion: &mut Suspicion) {
    let namespace = view.namespace(suspicion.key.netns);
    suspicion.subject = ports::of_namespace(suspicion.key.netns);
    suspicion.severity = Some(Severity::Warning);
    let max = namespace.and_then(|namespace| namespace.sysctls.max_tw_buckets);
    let max = max.map_or_else(|| "their maximum".to_owned(), format::digits);
    suspicion.verdict = format!(
        "{} been cut short in network namespace {} because there are {max} already: late packets may hit new connections",
        if suspicion.count == 1 {
            "A TIME_WAIT has".to_owned()
        } else {
            format!("{} TIME_WAITs have", format::digits(suspicion.count))
        },
        suspicion.key.netns
    );
    "Raise net.ipv4.tcp_max_tw_buckets, or make fewer and longer connections."
        .clone_into(&mut suspicion.remedy);
    if let Some(now) = namespace.and_then(|namespace| namespace.counters.time_waits) {
        suspicion.evidence.push(format!("sockstat shows {} in TIME_WAIT", format::digits(now)));
    }
    suspicion.evidence.push("TCPTimeWaitOverflow has risen".to_owned());
}
