//! The evidence of one pass made easy to ask: who holds a socket, on which side of the listener it is, who is at the
//! other end if that is this host too, and how a process is called. Made once a pass.

use std::{
    cell::OnceCell,
    cmp::Reverse,
    hash::BuildHasher,
    net::{IpAddr, SocketAddr},
};

use foldhash::{HashMap, HashSet, fast::FixedState};
use hashbrown::HashTable;
use tcpstate_common::TcpState;

use super::{
    class::Class,
    evidence::{Evidence, Namespace, Paused, Process, TcpInfo, What},
    finding::{AgeIs, MAX_SAMPLES, Sample, Subject},
    format,
    history::{Heard, History, Listening},
    suspicion::Key,
    thresholds::Thresholds,
};
use crate::track::{self, Holder, Since, Socket};

/// The kernel's default of `ip_local_port_range` (`net/ipv4/af_inet.c`), where the namespace's is not known.
pub(super) const DEFAULT_LOCAL_PORTS: (u16, u16) = (32_768, 60_999);

/// Who has a socket open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Holding {
    /// It has no file: nobody can.
    NoFile,
    /// It has not been looked up yet.
    NotAsked,
    /// Nobody was found, but not everybody could be looked at.
    Unseen,
    /// Nobody.
    Nobody,
    /// This process. Of several the one that started first, but not process 1 if there is another.
    By { holder: Holder, processes: u32 },
}

/// Which end opened the connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Side {
    /// The peer: a listener of this host took it.
    Accept,
    /// A process of this host.
    Connect,
}

/// One socket with what is known of it. There may be half a million, so it is only where that is.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketView<'a> {
    evidence: &'a Evidence,
    place: u32,
    held: HoldingAt,
}

/// See [`Holding`].
#[derive(Clone, Copy, Debug)]
enum HoldingAt {
    NoFile,
    NotAsked,
    Unseen,
    Nobody,
    /// Where in the look-up of holders.
    By {
        place: u32,
        processes: u32,
    },
}

impl SocketView<'_> {
    #[expect(clippy::inline_always, reason = "whoever asks for little of it has little of it unpacked")]
    #[inline(always)]
    pub(super) fn socket(&self) -> Socket {
        self.evidence.sockets.at(self.place as usize)
    }

    /// Time in its state when it was counted last, ms.
    pub(super) fn age_ms(&self) -> u64 {
        let socket = self.socket();
        socket.age_ms(self.evidence.counted_ns(socket.state))
    }

    pub(super) fn since_ns(&self) -> u64 {
        self.socket().since.ns()
    }

    pub(super) fn held(&self) -> Holding {
        match self.held {
            HoldingAt::NoFile => Holding::NoFile,
            HoldingAt::NotAsked => Holding::NotAsked,
            HoldingAt::Unseen => Holding::Unseen,
            HoldingAt::Nobody => Holding::Nobody,
            HoldingAt::By { place, processes } => match self.evidence.holders.at(place as usize) {
                Some(holder) => Holding::By { holder, processes },
                None => Holding::Nobody,
            },
        }
    }
}

/// See the module.
pub(super) struct View<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) history: &'a History,
    pub(super) thresholds: &'a Thresholds,
    pub(super) seen: Vec<SocketView<'a>>,
    listeners: HashMap<(u32, u16), Vec<&'a Listening>>,
    /// Sockets by their addresses, as indexes.
    ends: OnceCell<HashTable<u32>>,
    owned: OnceCell<HashSet<(u32, IpAddr)>>,
}

impl<'a> View<'a> {
    pub(super) fn new(
        evidence: &'a Evidence,
        seen: Vec<SocketView<'a>>,
        history: &'a History,
        thresholds: &'a Thresholds,
    ) -> Self {
        let mut listeners = HashMap::<_, Vec<_>>::default();
        for listening in history.listeners() {
            let socket = &listening.socket;
            listeners.entry((socket.netns, socket.tuple.local.port())).or_default().push(listening);
        }
        Self { evidence, history, thresholds, seen, listeners, ends: OnceCell::new(), owned: OnceCell::new() }
    }

    /// The listener that took, or takes, connections at this address: one that is there before one that is gone, and
    /// the fuller one of several.
    pub(super) fn listener_at(&self, netns: u32, local: SocketAddr) -> Option<&'a Listening> {
        let at = local.ip().to_canonical();
        self.listeners
            .get(&(netns, local.port()))?
            .iter()
            .filter(|listening| {
                let ip = listening.socket.tuple.local.ip();
                ip.is_unspecified() || ip.to_canonical() == at
            })
            .max_by_key(|listening| {
                (listening.seen_ns, listening.socket.rqueue, u64::MAX - listening.socket.cookie)
            })
            .copied()
    }

    /// The listener on this host that serves this address now, in this namespace or else in the only other one that has
    /// that address. An address of the loopback net or "any" is looked for in one namespace only.
    pub(super) fn local_server(&self, netns: u32, remote: SocketAddr) -> Option<&'a Listening> {
        let is_there = |listening: &&Listening| listening.seen_ns == self.evidence.at_ns;
        if let Some(found) = self.listener_at(netns, remote).filter(is_there) {
            return Some(found);
        }
        if remote.ip().to_canonical().is_loopback() {
            return None;
        }
        // In another namespace the address must be one of its own, which only its connections show.
        let owned = self.owned.get_or_init(|| {
            let local =
                |seen: &SocketView<'_>| (seen.socket().netns, seen.socket().tuple.local.ip().to_canonical());
            self.seen.iter().map(local).collect()
        });
        let mut others = self.listeners.keys().filter(|(other, port)| {
            *other != netns && *port == remote.port() && owned.contains(&(*other, remote.ip().to_canonical()))
        });
        // Of two that might be it neither is known to be.
        let (other, None) = (others.next()?.0, others.next()) else { return None };
        self.listener_at(other, remote).filter(is_there)
    }

    pub(super) fn is_full(&self, listening: &Listening) -> bool {
        listening.seen_ns == self.evidence.at_ns && listening.socket.rqueue > listening.socket.wqueue
    }

    pub(super) fn side(&self, socket: &Socket) -> Side {
        let local = socket.tuple.local;
        if self.listener_at(socket.netns, local).is_some() {
            return Side::Accept;
        }
        let (first, last) = self.local_ports(socket.netns);
        if (first..=last).contains(&local.port()) { Side::Connect } else { Side::Accept }
    }

    /// The range of ports for connections of a namespace; the kernel's default where it is not known.
    pub(super) fn local_ports(&self, netns: u32) -> (u16, u16) {
        self.namespace(netns)
            .and_then(|namespace| namespace.sysctls.local_ports)
            .unwrap_or(DEFAULT_LOCAL_PORTS)
    }

    pub(super) fn namespace(&self, netns: u32) -> Option<&'a Namespace> {
        self.evidence.namespaces.get(&netns)
    }

    /// Over which time a namespace's counters were added up: "in the last 5.0 s".
    pub(super) fn since_look(&self, netns: u32) -> String {
        self.namespace(netns).and_then(|namespace| namespace.delta_ms).map_or_else(
            || "since the last look".to_owned(),
            |ms| format!("in the last {}", format::duration(ms)),
        )
    }

    /// For how long the queues had not moved when the socket was counted last, ms; 0 if they are empty.
    pub(super) fn quiet_ms(&self, seen: &SocketView<'_>) -> u64 {
        self.history.quiet_ms(seen.socket().cookie, self.evidence.counted_ns(seen.socket().state))
    }

    /// What `tcp_info` said when it was last asked for.
    pub(super) fn heard(&self, seen: &SocketView<'_>) -> Option<&'a Heard> {
        self.history.heard(seen.socket().cookie)
    }

    /// Of how many of them `tcp_info` has been asked for.
    pub(super) fn count_heard(&self, members: &[&SocketView<'_>]) -> usize {
        members.iter().filter(|seen| self.heard(seen).is_some()).count()
    }

    /// For how long it has been looked up in vain who holds a socket, ms, as of the last look-up and as far as the
    /// socket has been seen since: `ESTABLISHED` sockets are counted less often, and one that has ended meanwhile is
    /// held by nobody either.
    pub(super) fn ownerless_ms(&self, seen: &SocketView<'_>) -> Option<u64> {
        let since_ns = self.history.ownerless_since_ns(seen.socket().cookie)?;
        let until_ns = self.evidence.holders.at_ns.min(self.evidence.counted_ns(seen.socket().state));
        Some(until_ns.saturating_sub(since_ns) / 1_000_000)
    }

    pub(super) fn info(&self, socket: &Socket) -> Option<&'a TcpInfo> {
        self.evidence.info.get(&socket.cookie)
    }

    /// The socket at the other end, if it was selected too: in the same namespace, or else in the only other one that
    /// has a socket with these addresses. What is of the loopback net stays in its namespace.
    pub(super) fn other_end(&self, socket: &Socket) -> Option<&SocketView<'a>> {
        let ends = self.ends.get_or_init(|| {
            let mut ends = HashTable::with_capacity(self.seen.len());
            let hash_of =
                |index: &u32| self.seen.get(*index as usize).map_or(0, |seen| hash(between(&seen.socket())));
            for (index, seen) in (0_u32..).zip(&self.seen) {
                if seen.socket().state != TcpState::Listen {
                    ends.insert_unique(hash_of(&index), index, hash_of);
                }
            }
            ends
        });
        let (place, (local, remote)) = between(socket);
        let wanted = (place, (remote, local));
        let mut elsewhere = None;
        let mut others = 0;
        for index in ends.iter_hash(hash(wanted)) {
            let Some(seen) = self.seen.get(*index as usize) else { continue };
            if between(&seen.socket()) == wanted {
                if seen.socket().netns == socket.netns {
                    return Some(seen);
                }
                elsewhere = Some(seen);
                others += 1;
            }
        }
        elsewhere.filter(|_| others == 1)
    }

    /// What is known of a process, if it is still the one that started then; start 0 is any.
    pub(super) fn process(&self, pid: u32, start_boottime_ns: u64) -> Option<&'a Process> {
        self.evidence.processes.get(&pid).filter(|process| {
            start_boottime_ns == 0
                || process.start_boottime_ns.is_none_or(|start| {
                    // /proc tells ticks, the file iterator ns.
                    start.abs_diff(start_boottime_ns) < 20_000_000
                })
        })
    }

    /// Whether a process does not run, and why.
    pub(super) fn paused(&self, holder: &Holder) -> Option<Paused> {
        let paused = self.process(holder.pid, holder.start_boottime_ns)?.paused?;
        (paused != Paused::No).then_some(paused)
    }

    /// "payments[4121] in app.service".
    pub(super) fn who(&self, holder: &Holder) -> String {
        let process = self.process(holder.pid, holder.start_boottime_ns);
        name(&holder.comm.to_string(), holder.pid, process)
    }

    /// The same for a process of which only the number and the name are known.
    pub(super) fn who_acted(&self, process: &track::Process) -> String {
        name(&process.comm.to_string(), process.pid, self.process(process.pid, 0))
    }

    pub(super) fn subject(&self, holder: &Holder, netns: u32) -> Subject {
        let process = self.process(holder.pid, holder.start_boottime_ns);
        subject(holder.pid, holder.comm.to_string(), process, netns)
    }

    pub(super) fn subject_of(&self, process: &track::Process, netns: u32) -> Subject {
        subject(process.pid, process.comm.to_string(), self.process(process.pid, 0), netns)
    }

    /// What could not be seen of a process.
    pub(super) fn unseen_of(&self, pid: u32) -> Vec<String> {
        let about = self.evidence.cannot_see.iter();
        about
            .filter(|unseen| unseen.what == What::Process && unseen.of == Some(pid))
            .map(|unseen| unseen.why.clone())
            .collect()
    }

    /// Why something cannot be seen at all, if so.
    pub(super) fn unseen(&self, what: What, of: Option<u32>) -> Option<String> {
        let mut about = self.evidence.cannot_see.iter();
        about
            .find(|unseen| unseen.what == what && (unseen.of.is_none() || unseen.of == of))
            .map(|unseen| unseen.why.clone())
    }

    fn sample(seen: &SocketView<'_>) -> Sample {
        let socket = seen.socket();
        let holder = match seen.held() {
            Holding::By { holder, .. } => Some(holder),
            _ => None,
        };
        Sample {
            cookie: socket.cookie.to_string(),
            local: format::address(socket.tuple.local),
            remote: format::address(socket.tuple.remote),
            state: socket.state.name().to_owned(),
            age_ms: seen.age_ms(),
            age_is: match socket.since {
                Since::Exactly(_) => AgeIs::Exact,
                Since::AtLatest(_) => AgeIs::AtLeast,
            },
            rqueue: socket.rqueue,
            wqueue: socket.wqueue,
            pid: holder.map(|holder| holder.pid),
            fd: holder.map(|holder| holder.fd),
        }
    }

    /// The oldest of these sockets, which are in the order of their ages.
    pub(super) fn samples(members: &[&SocketView<'_>]) -> Vec<Sample> {
        members.iter().take(MAX_SAMPLES).map(|seen| Self::sample(seen)).collect()
    }

    /// Whether there are more of them than a while ago, with the old ones still there.
    pub(super) fn grows(&self, key: &Key, count: u64, since_ns: u64) -> bool {
        self.history
            .series(key)
            .is_some_and(|series| series.grows(self.evidence.at_ns, count, since_ns, self.thresholds))
    }

    /// A key for trouble with what a process holds.
    pub(super) fn key_of(class: Class, netns: u32, holder: &Holder, place: Option<SocketAddr>) -> Key {
        Key { class, netns, pid: holder.pid, start_boottime_ns: holder.start_boottime_ns, place }
    }
}

/// The two ends of a socket's connection, its own first, and the namespace if that is the only one in which these
/// addresses mean these ends.
fn between(socket: &Socket) -> (Option<u32>, (SocketAddr, SocketAddr)) {
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let (local, remote) = (plain(socket.tuple.local), plain(socket.tuple.remote));
    let stays = local.ip().is_loopback() || remote.ip().is_loopback();
    (stays.then_some(socket.netns), (local, remote))
}

fn hash(ends: (Option<u32>, (SocketAddr, SocketAddr))) -> u64 {
    FixedState::default().hash_one(ends)
}

/// All the sockets of a pass, with who holds each.
pub(super) fn all(evidence: &Evidence) -> Vec<SocketView<'_>> {
    let all = (0_u32..).zip(evidence.sockets.iter());
    all.map(|(place, socket)| SocketView { evidence, place, held: held(evidence, &socket) }).collect()
}

fn held(evidence: &Evidence, socket: &Socket) -> HoldingAt {
    if socket.inode == 0 {
        return HoldingAt::NoFile;
    }
    let mut best: Option<(Holder, u32)> = None;
    let mut pids = [0; 4];
    let mut processes: u32 = 0;
    let order = |holder: &Holder| (holder.pid == 1, holder.start_boottime_ns, holder.pid, holder.fd);
    let places = evidence.holders.places(socket.cookie, socket.inode);
    for (holder, place) in
        places.filter_map(|place| Some((evidence.holders.at(place)?, u32::try_from(place).ok()?)))
    {
        let counted = pids.len().min(processes as usize);
        if !pids[..counted].contains(&holder.pid) {
            if let Some(place) = pids.get_mut(processes as usize) {
                *place = holder.pid;
            }
            processes += 1;
        }
        if best.is_none_or(|(best, _)| order(&holder) < order(&best)) {
            best = Some((holder, place));
        }
    }
    match best {
        Some((_, place)) => HoldingAt::By { place, processes },
        None if !evidence.holders.know(socket) => HoldingAt::NotAsked,
        None if evidence.holders_complete => HoldingAt::Nobody,
        None => HoldingAt::Unseen,
    }
}

fn name(comm: &str, pid: u32, process: Option<&Process>) -> String {
    let place = process.and_then(|process| {
        process.unit.clone().or_else(|| {
            let short = |id: &String| format!("container {}", id.chars().take(12).collect::<String>());
            process.container.as_ref().map(short)
        })
    });
    match place {
        Some(place) => format!("{comm}[{pid}] in {place}"),
        None => format!("{comm}[{pid}]"),
    }
}

fn subject(pid: u32, comm: String, process: Option<&Process>, netns: u32) -> Subject {
    let process = process.cloned().unwrap_or_default();
    Subject {
        pid: Some(pid),
        comm: Some(comm),
        exe: process.exe,
        unit: process.unit,
        container: process.container,
        pod: process.pod,
        netns: (netns != 0).then_some(netns),
        listener: None,
        peer: None,
    }
}

/// The peers of some sockets: the one that most of them have, how many of them have it, and how many peers there
/// are. Ports of clients say nothing, so only those of servers are told.
pub(super) fn peers(members: &[&SocketView<'_>], side: Side) -> Option<(String, u64, usize)> {
    let mut counts = HashMap::<(IpAddr, u16), u64>::default();
    for seen in members {
        let remote = seen.socket().tuple.remote;
        *counts.entry((remote.ip(), if side == Side::Accept { 0 } else { remote.port() })).or_default() += 1;
    }
    let ((ip, port), most) = counts.iter().max_by_key(|(peer, count)| (**count, Reverse(**peer)))?;
    let text =
        if side == Side::Accept { format::ip(*ip) } else { format::address(SocketAddr::new(*ip, *port)) };
    Some((text, *most, counts.len()))
}

/// "10.0.0.7:443", or "12 peers, most often 10.0.0.7:443".
pub(super) fn say_peers(members: &[&SocketView<'_>], side: Side) -> String {
    match peers(members, side) {
        None => "no peer".to_owned(),
        Some((peer, _, 1)) => peer,
        Some((peer, 1, many)) => format!("{many} peers such as {peer}"),
        Some((peer, _, many)) => format!("{many} peers, most often {peer}"),
    }
}
