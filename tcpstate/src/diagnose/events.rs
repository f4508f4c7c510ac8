//! Events: RSTs by their reason (`enum sk_rst_reason` in `include/net/rstreason.h`), connects that failed, and counters
//! that rose. They leave no socket behind that could be looked at later, so they are counted over a while, by the program
//! that they are about.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque, hash_map::Entry},
    net::{IpAddr, SocketAddr},
};

use tcpstate_common::TcpState;

use super::{
    NS_PER_MS,
    class::Class,
    connection::Side,
    ending::{self, Linger, Unread},
    ends,
    evidence::{Reason, ResetSeen},
    finding::{AgeIs, MAX_SAMPLES, Sample},
    format,
    idle_times::{IdleTimes, Server},
    naming,
    program::{self, Member, ProgramId},
    suspicion::{Key, Suspicion},
    suspicions,
    view::View,
};
use crate::track::{Direction, Failure, IdleClose, Process, Since, Tuple};

/// Groups of events that are remembered.
const MAX_GROUPS: usize = 4_096;
/// Passes of which a group remembers how many events there were.
const MAX_PASSES: usize = 64;
/// An end is remembered for so long beyond the window, s: what is written after it may come late.
const ENDED_BEFORE_S: u64 = 600;
/// Processes of a group that are remembered.
const MAX_MEMBERS: usize = 256;
/// What was so little time ago was just now, ms.
const JUST_NOW_MS: u64 = 1_000;
/// A connection that was closed sooner after its last data was not idle, ms.
const IDLE_MS: u64 = 100;
const EADDRNOTAVAIL: u32 = 99;
const ETIMEDOUT: u32 = 110;
const ECONNREFUSED: u32 = 111;
pub(super) const EHOSTUNREACH: u32 = 113;

/// Events of one kind about one program or place.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// When, and how many.
    passes: VecDeque<(u64, u64)>,
    /// When, and of how many it was seen that they did harm.
    harmful: VecDeque<(u64, u64)>,
    first_ns: u64,
    pub(super) last_ns: u64,
    /// The processes that they are about, and the last event of each, monotonic ns.
    members: Vec<(Member, u64)>,
    /// The processes at the other end, likewise.
    peers: Vec<(Member, u64)>,
    netns: u32,
    /// The largest number of unread bytes, if it was seen.
    pub(super) unread: Option<u64>,
    /// Events whose connection is known to have carried data.
    pub(super) with_data: u64,
    /// Events whose process was ending.
    pub(super) ended: u64,
    /// The shortest and the longest time between an end and the data that came too late, ms.
    pub(super) late_ms: Option<(u64, u64)>,
    /// When the peer had ended the connections of the harmful ones, by the second and by the process that has ended with
    /// that, if one is known to (0 if not), and how many: a server that ends all at once, as at a restart, is one occasion.
    ends: BTreeMap<(u64, u32), u64>,
    /// Of how many of the harmful ones the peer listens anew, or not at all, since it ended them.
    restarts: u64,
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
pub(super) struct Events {
    groups: HashMap<Key, Group>,
    pub(super) idle: IdleTimes,
}

/// What a RST is.
struct Sorted {
    key: Key,
    process: Option<Process>,
    /// The process at the other end.
    peer: Option<Member>,
    is_harmful: bool,
    late_ms: Option<u64>,
    /// The peer had ended the connection because it was restarted, or has ended itself.
    is_restart: bool,
    /// The process that had ended the connection, if it has ended since; else 0.
    ended_with: u32,
}

/// What the events of one pass tell of each other.
struct Context<'a> {
    /// The ends of connections of which a host has said that it does not have them.
    vanished: HashSet<Pair>,
    /// RSTs that came in, by the ends of the connection as the receiver has them.
    received: HashMap<Pair, &'a ResetSeen>,
    /// Who had closed the connections on which RSTs were sent, by the ends as the sender has them.
    closers: HashMap<Pair, u32>,
    /// The closes of idle connections, by the namespace and the ends.
    closed: HashMap<(u32, Pair), &'a IdleClose>,
}

/// Both ends of a connection, the local one first.
type Pair = (SocketAddr, SocketAddr);

fn mirrored((local, remote): Pair) -> Pair {
    (remote, local)
}

impl<'a> Context<'a> {
    fn of(view: &View<'a>) -> Self {
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

    fn close_of(&self, seen: &ResetSeen) -> Option<&'a IdleClose> {
        self.closed.get(&(seen.reset.netns, ends::of(&seen.reset.tuple))).copied()
    }

    /// The end that a sent RST came in at, if that is on this host.
    fn victim_of(&self, seen: &ResetSeen) -> Option<&'a ResetSeen> {
        self.received.get(&mirrored(ends::of(&seen.reset.tuple))).copied()
    }
}

impl Events {
    /// Takes in the events of a pass, and forgets what is too old.
    pub(super) fn observe(&mut self, view: &View<'_>) {
        let window_ns = view.thresholds.event_window_ms * NS_PER_MS;
        let from_ns = view.evidence.at_ns.saturating_sub(window_ns);
        self.idle.observe(view);
        let context = Context::of(view);
        for seen in &view.evidence.resets {
            if let Some(sorted) = self.sort(view, &context, seen) {
                self.add_reset(&sorted, seen, &context);
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
                let key = view.key_of_member(Class::TimeWaitOverflow, *netns, None, None);
                if let Some(group) = self.group(key, view.evidence.at_ns) {
                    group.netns = *netns;
                    group.count(view.evidence.at_ns, overflows);
                }
            }
        }
        self.rename(view);
        self.groups.retain(|_, group| {
            for passes in [&mut group.passes, &mut group.harmful] {
                passes.retain(|(at_ns, _)| *at_ns >= from_ns);
            }
            for members in [&mut group.members, &mut group.peers] {
                members.retain(|(_, last_ns)| *last_ns >= from_ns);
            }
            let since_s = (from_ns / 1_000_000_000).saturating_sub(ENDED_BEFORE_S);
            group.ends.retain(|(second, _), _| *second >= since_s);
            group.first_ns = group.passes.front().map_or(group.first_ns, |(at_ns, _)| *at_ns);
            !group.passes.is_empty()
        });
    }

    /// Processes may have ended before it was known what they run, and others of their name tell it later: then what
    /// was counted apart is one.
    fn rename(&mut self, view: &View<'_>) {
        let now = |key: &Key, group: &Group| {
            let (member, _) = group.members.first()?;
            let program = view.programs.of(member);
            (key.program != ProgramId::NONE && key.program != program).then_some(Key { program, ..*key })
        };
        let renamed: Vec<_> =
            self.groups.iter().filter_map(|(key, group)| Some((*key, now(key, group)?))).collect();
        for (before, key) in renamed {
            let Some(group) = self.groups.remove(&before) else { continue };
            match self.groups.entry(key) {
                Entry::Vacant(place) => drop(place.insert(group)),
                Entry::Occupied(mut known) => known.get_mut().merge(group),
            }
        }
    }

    /// Which trouble a RST belongs to, and who is at fault as far as that is recorded.
    fn sort(&mut self, view: &View<'_>, context: &Context<'_>, seen: &ResetSeen) -> Option<Sorted> {
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
            let holder = suspicions::main_holder(listening);
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

    fn group(&mut self, key: Key, at_ns: u64) -> Option<&mut Group> {
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            return None;
        }
        Some(self.groups.entry(key).or_insert_with(|| Group { first_ns: at_ns, ..Group::default() }))
    }

    fn add_reset(&mut self, sorted: &Sorted, seen: &ResetSeen, context: &Context<'_>) {
        let reset = &seen.reset;
        let idle_ms = seen.idle_ms.or(context.close_of(seen).map(|close| close.heard_ms));
        let Some(group) = self.group(sorted.key, reset.at_ns) else { return };
        group.netns = reset.netns;
        if let Some(process) = sorted.process {
            remember(&mut group.members, process.into(), reset.at_ns);
        }
        if let Some(peer) = sorted.peer {
            remember(&mut group.peers, peer, reset.at_ns);
        }
        group.count(reset.at_ns, 1);
        if sorted.is_harmful {
            count(&mut group.harmful, reset.at_ns, 1);
        }
        group.unread = group.unread.max(seen.unread_bytes);
        group.with_data += u64::from(seen.bytes_moved.is_some());
        group.ended += u64::from(seen.ending == Some(true));
        if let Some(late_ms) = sorted.late_ms {
            let (least, most) = group.late_ms.unwrap_or((late_ms, late_ms));
            group.late_ms = Some((least.min(late_ms), most.max(late_ms)));
            let end_ns = reset.at_ns.saturating_sub(late_ms.saturating_mul(NS_PER_MS));
            let end = (end_ns / 1_000_000_000, sorted.ended_with);
            let has_room = group.ends.len() < MAX_PASSES || group.ends.contains_key(&end);
            if sorted.is_harmful && !sorted.is_restart && has_room {
                *group.ends.entry(end).or_default() += 1;
            }
        }
        group.idle_ms = match (group.idle_ms, idle_ms) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        };
        group.restarts += u64::from(sorted.is_restart && sorted.is_harmful);
        group.at_both_ends |= context.vanished.contains(&mirrored(ends::of(&reset.tuple)));
        group.sample(reset.at_ns, reset.cookie, reset.tuple, reset.state);
    }

    fn add_failure(&mut self, key: Key, failure: &Failure) {
        let Some(group) = self.group(key, failure.at_ns) else { return };
        group.netns = failure.netns;
        if let Some(process) = failure.process {
            remember(&mut group.members, process.into(), failure.at_ns);
        }
        group.errno = failure.errno;
        group.count(failure.at_ns, 1);
        group.sample(failure.at_ns, None, failure.tuple, Some(TcpState::SynSent));
    }

    /// The processes that the events are about.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        let members = self.groups.values().flat_map(|group| group.members.iter().chain(&group.peers));
        members.map(|(member, _)| member.process.pid)
    }

    /// The groups that are worth judging: of a process that tries many places, its failures tell nothing.
    pub(super) fn groups(&self, view: &View<'_>) -> impl Iterator<Item = (&Key, &Group)> {
        let mut places = HashMap::<_, HashSet<SocketAddr>>::new();
        for key in self.groups.keys() {
            places.entry((key.class, key.program)).or_default().extend(key.place);
        }
        let scanned = view.thresholds.scanned;
        self.groups.iter().filter(move |(key, _)| {
            let tried = places.get(&(key.class, key.program)).map_or(0, HashSet::len);
            !matches!(key.class, Class::ConnectionRefused | Class::SynBlackhole) || tried <= scanned
        })
    }

    /// How much is remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
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

    /// Takes in another group that is about the same.
    fn merge(&mut self, other: Self) {
        for (passes, more) in [(&mut self.passes, other.passes), (&mut self.harmful, other.harmful)] {
            passes.extend(more);
            passes.make_contiguous().sort_unstable();
            while passes.len() > MAX_PASSES {
                // What is counted together, is counted at the later time.
                let Some((_, count)) = passes.pop_front() else { break };
                if let Some((_, first)) = passes.front_mut() {
                    *first = first.saturating_add(count);
                }
            }
        }
        for (members, more) in [(&mut self.members, other.members), (&mut self.peers, other.peers)] {
            for (member, last_ns) in more {
                remember(members, member, last_ns);
            }
        }
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.unread = self.unread.max(other.unread);
        self.with_data += other.with_data;
        self.ended += other.ended;
        self.late_ms = match (self.late_ms, other.late_ms) {
            (Some((least, most)), Some((lesser, more))) => Some((least.min(lesser), most.max(more))),
            (one, another) => one.or(another),
        };
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        self.idle_ms = match (self.idle_ms, other.idle_ms) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        self.restarts += other.restarts;
        self.at_both_ends |= other.at_both_ends;
        self.samples.extend(other.samples);
        self.samples.make_contiguous().sort_by_key(|sample| sample.0);
        while self.samples.len() > MAX_SAMPLES {
            self.samples.pop_front();
        }
    }

    fn total(&self) -> u64 {
        self.passes.iter().map(|(_, count)| *count).fold(0, u64::saturating_add)
    }

    /// Of how many of them it was seen that they did harm.
    pub(super) fn harmful(&self) -> u64 {
        self.harmful.iter().map(|(_, count)| *count).fold(0, u64::saturating_add)
    }

    /// On how many occasions peers that go on running had ended the connections of the harmful ones: two seconds next to
    /// each other are one, but not all seconds of a server that ends one after the other.
    pub(super) fn occasions(&self) -> u64 {
        let mut before = None;
        let mut occasions = 0;
        for (second, pid) in self.ends.keys() {
            let is_new = before.is_none_or(|before: u64| before + 1 < *second);
            if is_new && !self.is_restart(*pid) {
                occasions += 1;
                before = Some(*second);
            }
        }
        occasions
    }

    /// Of how many of the harmful ones the peer was restarted, or had ended with several connections at once.
    pub(super) fn restarts(&self) -> u64 {
        let ended = self.ends.iter().filter(|((_, pid), _)| self.is_restart(*pid));
        self.restarts + ended.map(|(_, count)| *count).sum::<u64>()
    }

    /// Whether this process ended several connections by ending: one that is there for one connection ends with that.
    fn is_restart(&self, pid: u32) -> bool {
        let by_it = self.ends.iter().filter(|((_, ended_with), _)| *ended_with == pid);
        pid != 0 && by_it.map(|(_, count)| *count).sum::<u64>() > 1
    }

    pub(super) fn lasted_ms(&self) -> u64 {
        self.last_ns.saturating_sub(self.first_ns) / NS_PER_MS
    }

    /// The processes at the other end that are on this host.
    pub(super) fn peers(&self) -> Vec<Member> {
        program::members(self.peers.iter().map(|(member, _)| *member))
    }

    /// The addresses at the other end, as far as they were kept: with the port of a server.
    pub(super) fn remotes(&self, side: Side) -> Vec<String> {
        let mut remotes: Vec<_> = self
            .samples
            .iter()
            .map(|(_, _, tuple, _)| match side {
                Side::Client => format::address(tuple.remote),
                Side::Server => format::ip(tuple.remote.ip()),
            })
            .collect();
        remotes.sort_unstable();
        remotes.dedup();
        remotes
    }
}

fn remember(members: &mut Vec<(Member, u64)>, member: Member, at_ns: u64) {
    let is_it = |(known, _): &&mut (Member, u64)| known.process.pid == member.process.pid;
    if let Some((known, last_ns)) = members.iter_mut().find(is_it) {
        known.count = known.count.saturating_add(1);
        *last_ns = (*last_ns).max(at_ns);
    } else if members.len() < MAX_MEMBERS {
        members.push((member, at_ns));
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
    // A writer on this host is told by its own end.
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

fn sort_failure(view: &View<'_>, failure: &Failure) -> Option<Key> {
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

/// What all suspicions about events begin with: whom they are about, and where.
pub(super) fn begin(view: &View<'_>, key: Key, group: &Group) -> Suspicion {
    let mut suspicion = Suspicion {
        sockets: group.samples.iter().map(|sample| told(view, *sample)).collect(),
        is_of_events: true,
        ..Suspicion::new(key, group.first_ns, group.total())
    };
    suspicion.members = program::members(group.members.iter().map(|(member, _)| *member));
    if suspicion.members.is_empty() {
        say_nobody(view, &mut suspicion, group);
    } else {
        suspicion.subject = naming::subject(view, &suspicion.members, group.netns);
        for member in suspicion.members.iter().take(suspicions::MAX_TOLD) {
            suspicion.cannot_see.extend(view.unseen_of(member.process.pid));
        }
    }
    locate(&mut suspicion);
    suspicion
}

/// What they end with: how many there were in which time.
pub(super) fn end(view: &View<'_>, suspicion: &mut Suspicion, group: &Group) {
    if suspicion.members.is_empty() {
        suspicion.verdict = format::sentence(&suspicion.verdict);
    }
    let at_ns = view.evidence.at_ns;
    let window_ms = at_ns.saturating_sub(group.first_ns) / NS_PER_MS;
    let last_ms = at_ns.saturating_sub(group.last_ns) / NS_PER_MS;
    let ago = if last_ms < JUST_NOW_MS {
        "just now".to_owned()
    } else {
        format!("{} ago", format::duration(last_ms))
    };
    suspicion.evidence.push(if suspicion.count == 1 {
        format!("it was {ago}")
    } else {
        let window_ms = window_ms.clamp(1_000, view.thresholds.event_window_ms);
        let count = format::digits(suspicion.count);
        format!("{count} in the last {}, the last one {ago}", format::duration(window_ms))
    });
}

/// Says where it is: at a listener, or at a peer.
fn locate(suspicion: &mut Suspicion) {
    let Some(place) = suspicion.key.place else { return };
    let name = if place.port() == 0 { format::ip(place.ip()) } else { format::address(place) };
    match suspicion.key.class {
        Class::RstListenerClosed | Class::KeepaliveRace | Class::IdleTimeoutReset => {
            suspicion.subject.listener = Some(name);
        }
        Class::PeerLostState
        | Class::KeepaliveTimeout
        | Class::ConnectionRefused
        | Class::SynBlackhole
        | Class::WriteAfterFin
        | Class::PortExhaustion => suspicion.subject.peer = Some(name),
        _ => {}
    }
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

/// Says why nobody is named.
fn say_nobody(view: &View<'_>, suspicion: &mut Suspicion, group: &Group) {
    if suspicion.key.class == Class::TimeWaitOverflow || suspicion.is_of_a_peer() {
        return;
    }
    let mut why = "which process it was: no process was recorded with it".to_owned();
    // Whoever listens may hand over what it takes.
    let took = group.samples.back().and_then(|(_, _, tuple, _)| view.listener_at(group.netns, tuple.local));
    if let Some(listening) = took {
        let at = listening.socket.tuple.local;
        suspicion.subject.listener = Some(format::address(at));
        if let Some(holder) = suspicions::main_holder(listening) {
            let (at, who) = (format::listener(at), naming::who_holds(view, &holder));
            why = format!("{why}; {who} listens at {at}, where these connections came in");
        }
    }
    suspicion.cannot_see.push(why);
}
