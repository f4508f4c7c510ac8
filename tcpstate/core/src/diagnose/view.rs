//! The evidence of one pass, indexed: the listener at an address, the other end of a connection, the accept queues, the
//! processes. Made once a pass.

use std::{
    cell::OnceCell,
    net::{IpAddr, SocketAddr},
};

use foldhash::{HashMap, HashSet};
use tcpstate_common::TcpState;

use super::{
    NS_PER_MS,
    ends::Ends,
    evidence::{Evidence, Namespace, Paused, Process, TcpInfo, What},
    format, harm,
    history::{Heard, History, Listening, QueueLook},
    program::{self, Member, ProgramId, Programs},
    socket_view::{Holding, SocketView},
    suspicion::Key,
    thresholds::Thresholds,
};
use crate::{
    diagnose::class::Class,
    track::{Holder, Since, Socket},
};

/// The kernel's default of `ip_local_port_range` (`net/ipv4/af_inet.c`), where the namespace's is not known.
pub(super) const DEFAULT_LOCAL_PORTS: (u16, u16) = (32_768, 60_999);

/// The connections that wait to be accepted at one listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// For how long the oldest has been waiting, ms.
    pub(super) oldest_ms: u64,
    /// How many there are, and of how many the client has left.
    pub(super) waiting: u64,
    pub(super) given_up: u64,
    pub(super) cookies: Vec<u64>,
}

/// How exactly the start of a process and the beginning of a connection can be compared, ns: kernel ticks, twice.
pub(super) const START_SLACK_NS: u64 = 20_000_000;

/// Where a listener is: the namespace, the port, and the address if it is not at every one.
type Place = (u32, u16, Option<IpAddr>);

/// See the module.
pub(super) struct View<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) history: &'a History,
    pub(super) programs: &'a Programs,
    pub(super) thresholds: &'a Thresholds,
    pub(super) seen: Vec<SocketView<'a>>,
    listeners: HashMap<Place, Vec<&'a Listening>>,
    /// The namespaces with a listener at a port.
    listening: HashMap<u16, Vec<u32>>,
    /// By the index of the socket: the rules ask for it again and again.
    heard: Vec<Option<&'a Heard>>,
    ends: OnceCell<Ends>,
    owned: OnceCell<HashSet<(u32, IpAddr)>>,
    /// Processes that have had connections in `FIN_WAIT2` since before that was seen.
    half_closed: OnceCell<HashSet<u32>>,
    /// Processes that have connections open which their parents have open too.
    sharing: OnceCell<HashSet<u32>>,
    /// Processes that alone have several connections open which their parents had served.
    left_with: OnceCell<HashSet<u32>>,
    /// By the cookie of the listener.
    queues: HashMap<u64, Queue>,
}

impl<'a> View<'a> {
    pub(super) fn new(
        evidence: &'a Evidence,
        seen: Vec<SocketView<'a>>,
        history: &'a History,
        programs: &'a Programs,
        thresholds: &'a Thresholds,
    ) -> Self {
        let mut listeners = HashMap::<Place, Vec<_>>::default();
        let mut ports = HashMap::<u16, Vec<u32>>::default();
        for listening in history.listeners() {
            let (netns, local) = (listening.socket.netns, listening.socket.tuple.local);
            let at = Some(local.ip().to_canonical()).filter(|ip| !ip.is_unspecified());
            listeners.entry((netns, local.port(), at)).or_default().push(listening);
            ports.entry(local.port()).or_default().push(netns);
        }
        for namespaces in ports.values_mut() {
            namespaces.sort_unstable();
            namespaces.dedup();
        }
        let heard = seen.iter().map(|seen| history.heard(seen.socket().cookie)).collect();
        let mut view = Self {
            evidence,
            history,
            programs,
            thresholds,
            seen,
            listeners,
            listening: ports,
            heard,
            ends: OnceCell::new(),
            owned: OnceCell::new(),
            half_closed: OnceCell::new(),
            sharing: OnceCell::new(),
            left_with: OnceCell::new(),
            queues: HashMap::default(),
        };
        view.queues = view.find_queues();
        view
    }

    fn find_queues(&self) -> HashMap<u64, Queue> {
        let mut queues = HashMap::<u64, Queue>::default();
        for seen in self.seen.iter().filter(|seen| is_queued(seen)) {
            let socket = seen.socket();
            let Some(listening) = self.listener_at(socket.netns, socket.tuple.local) else { continue };
            let queue = queues.entry(listening.socket.cookie).or_default();
            queue.oldest_ms = queue.oldest_ms.max(queued_ms(seen));
            queue.waiting += 1;
            queue.cookies.push(socket.cookie);
            queue.given_up += u64::from(socket.state == TcpState::CloseWait);
        }
        queues
    }

    /// The connections that wait to be accepted at a listener.
    pub(super) fn queue(&self, listening: &Listening) -> Option<&Queue> {
        self.queues.get(&listening.socket.cookie)
    }

    /// What is to be remembered of the accept queues: the listeners' cookies, and how they look now.
    pub(super) fn queue_looks(&self) -> Vec<(u64, QueueLook)> {
        let at_ns = self.evidence.at_ns;
        let looks = self.queues.iter();
        looks.map(|(listener, queue)| (*listener, QueueLook { at_ns, oldest_ms: queue.oldest_ms })).collect()
    }

    /// The listener that took, or takes, connections at this address: one that is there before one that is gone, and
    /// the fuller one of several.
    pub(super) fn listener_at(&self, netns: u32, local: SocketAddr) -> Option<&'a Listening> {
        [None, Some(local.ip().to_canonical())]
            .iter()
            .filter_map(|at| self.listeners.get(&(netns, local.port(), *at)))
            .flatten()
            .max_by_key(|listening| {
                (listening.seen_ns, listening.socket.rqueue, u64::MAX - listening.socket.cookie)
            })
            .copied()
    }

    /// The listener on this host that serves this address now, in this namespace or else in the only other one that has
    /// that address. An address of the loopback net or "any" is looked for in one namespace only.
    pub(super) fn local_server(&self, netns: u32, remote: SocketAddr) -> Option<&'a Listening> {
        let is_there = |listening: &&Listening| self.is_there(listening);
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
        let mut others = self
            .listening
            .get(&remote.port())?
            .iter()
            .filter(|other| **other != netns && owned.contains(&(**other, remote.ip().to_canonical())));
        // Of two that might be it neither is known to be.
        let (other, None) = (others.next()?, others.next()) else { return None };
        self.listener_at(*other, remote).filter(is_there)
    }

    /// Whether a listener is there now.
    pub(super) fn is_there(&self, listening: &Listening) -> bool {
        listening.seen_ns == self.evidence.at_ns
    }

    /// Whether its accept queue is full (`sk_acceptq_is_full` in `include/net/sock.h`).
    pub(super) fn is_full(&self, listening: &Listening) -> bool {
        self.is_there(listening) && listening.socket.rqueue > listening.socket.wqueue
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

    /// For how long the queues had not moved when the socket was last counted, ms; 0 if they are empty.
    pub(super) fn quiet_ms(&self, seen: &SocketView<'_>) -> u64 {
        self.history.quiet_ms(seen.socket().cookie, self.evidence.counted_ns(seen.socket().state))
    }

    /// Time in its state for which its process is responsible, ms: what a connection spent waiting to be accepted is the
    /// listener's.
    pub(super) fn served_ms(&self, seen: &SocketView<'_>) -> u64 {
        let queued_ns = self.history.queued_until_ns(seen.socket().cookie);
        let counted_ns = self.evidence.counted_ns(seen.socket().state);
        let served_ns = queued_ns.map_or(u64::MAX, |until_ns| counted_ns.saturating_sub(until_ns));
        seen.age_ms().min(served_ns / NS_PER_MS)
    }

    /// What `tcp_info` reported when it was last read.
    pub(super) fn heard(&self, seen: &SocketView<'_>) -> Option<&'a Heard> {
        *self.heard.get(seen.index())?
    }

    /// Of how many of them `tcp_info` has been read.
    pub(super) fn count_heard(&self, members: &[&SocketView<'_>]) -> usize {
        members.iter().filter(|seen| self.heard(seen).is_some()).count()
    }

    /// For how long it has been looked up in vain who holds a socket, ms, as of the last look-up and as far as the
    /// socket has been seen since: `ESTABLISHED` sockets are counted less often, and one that has ended meanwhile is
    /// held by nobody either.
    pub(super) fn ownerless_ms(&self, seen: &SocketView<'_>) -> Option<u64> {
        let since_ns = self.history.ownerless_since_ns(seen.socket().cookie)?;
        let until_ns = self.evidence.holders.at_ns.min(self.evidence.counted_ns(seen.socket().state));
        Some(until_ns.saturating_sub(since_ns) / NS_PER_MS)
    }

    pub(super) fn info(&self, socket: &Socket) -> Option<&'a TcpInfo> {
        self.evidence.info.get(&socket.cookie)
    }

    /// The socket at the other end, if it is on this host and was selected too.
    pub(super) fn other_end(&self, seen: &SocketView<'_>) -> Option<&SocketView<'a>> {
        let ends = self.ends.get_or_init(|| Ends::new(&self.seen));
        self.seen.get(ends.other(&self.seen, seen)?)
    }

    /// What is known of a process, if it is still the one that started then; start 0 is any.
    pub(super) fn process(&self, pid: u32, start_boottime_ns: u64) -> Option<&'a Process> {
        let process = self.evidence.processes.get(&pid)?;
        let start_ns = process.start_boottime_ns.unwrap_or(0);
        program::is_same_start(start_ns, start_boottime_ns).then_some(process)
    }

    /// What is known of a member: of itself, or, if it has ended, of its program.
    pub(super) fn about(&self, member: &Member) -> Option<&Process> {
        let process = self.process(member.process.pid, member.start_boottime_ns);
        let process = process.filter(|process| process.comm.is_none_or(|comm| comm == member.process.comm));
        let known = process.filter(|process| process.exe.is_some() || process.unit.is_some());
        known.or_else(|| self.programs.description(member)).or(process)
    }

    /// Whether a process does not run, and why.
    pub(super) fn paused(&self, holder: &Holder) -> Option<Paused> {
        let paused = self.process(holder.pid, holder.start_boottime_ns)?.paused?;
        (paused != Paused::No).then_some(paused)
    }

    /// Whether a process waits for the other side to close connections, and has done so since before that was seen.
    pub(super) fn has_long_half_closed(&self, pid: u32) -> bool {
        let half_closed = self.half_closed.get_or_init(|| {
            let long = self.seen.iter().filter(|seen| {
                let socket = seen.socket();
                socket.state == TcpState::FinWait2 && matches!(socket.since, Since::AtLatest(_))
            });
            long.filter_map(|seen| seen.holder().map(|holder| holder.pid)).collect()
        });
        half_closed.contains(&pid)
    }

    /// Whether a process has a connection open that its parent has open too.
    pub(super) fn shares_with_parent(&self, pid: u32) -> bool {
        let sharing = self.sharing.get_or_init(|| {
            let mut sharing = HashSet::default();
            let is_shared = |seen: &&SocketView<'_>| {
                seen.socket().state != TcpState::Listen
                    && matches!(seen.holding(), Holding::By { processes, .. } if processes > 1)
            };
            for seen in self.seen.iter().filter(is_shared) {
                let holders: Vec<_> = self.evidence.holders.of(&seen.socket()).collect();
                let parent = |holder: &Holder| self.process(holder.pid, holder.start_boottime_ns)?.ppid;
                let children = holders.iter().filter(|holder| {
                    parent(holder).is_some_and(|parent| holders.iter().any(|other| other.pid == parent))
                });
                sharing.extend(children.map(|holder| holder.pid));
            }
            sharing
        });
        sharing.contains(&pid)
    }

    /// Whether a process alone has several connections open that its parent's listener took, and on which this host had
    /// spoken before the process was started. A process that is started for a connection has that one alone.
    pub(super) fn is_left_with_served(&self, pid: u32) -> bool {
        let left_with = self.left_with.get_or_init(|| {
            let mut served = HashMap::<u32, usize>::default();
            for seen in &self.seen {
                if let Holding::By { holder, processes: 1 } = seen.holding()
                    && self.was_served_before(seen, &holder)
                {
                    *served.entry(holder.pid).or_default() += 1;
                }
            }
            served.into_iter().filter(|(_, count)| *count > 1).map(|(pid, _)| pid).collect()
        });
        left_with.contains(&pid)
    }

    fn was_served_before(&self, seen: &SocketView<'_>, holder: &Holder) -> bool {
        let socket = seen.socket();
        let is_of_parent = || {
            let parent = self.process(holder.pid, holder.start_boottime_ns)?.ppid?;
            let listening = self.listener_at(socket.netns, socket.tuple.local)?;
            Some(listening.holders.iter().any(|other| other.pid == parent))
        };
        let spoke_before = || {
            let (heard, started_ns) = self.heard(seen).zip(self.started_ns(holder))?;
            let has_spoken = heard.has_sent == Some(true);
            Some(has_spoken && heard.sent_ns.saturating_add(START_SLACK_NS) < started_ns)
        };
        socket.state == TcpState::Established && spoke_before() == Some(true) && is_of_parent() == Some(true)
    }

    /// What could not be seen of a process.
    pub(super) fn unseen_of(&self, pid: u32) -> Vec<String> {
        let about = self.evidence.cannot_see.iter();
        about
            .filter(|unseen| unseen.what == What::Process && unseen.of == Some(pid))
            .map(|unseen| unseen.why.clone())
            .collect()
    }

    /// When a process was started, monotonic ns; `None` if the clocks cannot be compared.
    pub(super) fn started_ns(&self, holder: &Holder) -> Option<u64> {
        started_ns(self.evidence, holder)
    }

    /// The clause about a harm that was not seen: see [`harm::none_seen`].
    pub(super) fn none_seen(&self, why: &str) -> String {
        harm::none_seen(why, self.evidence.hidden.sockets)
    }

    /// Why something cannot be seen at all, if so.
    pub(super) fn unseen(&self, what: What, of: Option<u32>) -> Option<String> {
        let mut about = self.evidence.cannot_see.iter();
        about
            .find(|unseen| unseen.what == what && (unseen.of.is_none() || unseen.of == of))
            .map(|unseen| unseen.why.clone())
    }

    /// Whether there are more of them than a while ago, with the old ones still there.
    pub(super) fn grows(&self, key: &Key, count: u64, since_ns: u64) -> bool {
        self.history
            .series(key)
            .is_some_and(|series| series.grows(self.evidence.at_ns, count, since_ns, self.thresholds))
    }

    /// A key for trouble with what a process holds; `None` where nobody is known to.
    pub(super) fn key_of(
        &self,
        class: Class,
        netns: u32,
        holder: Option<&Holder>,
        place: Option<SocketAddr>,
    ) -> Key {
        let program = holder.map_or(ProgramId::NONE, |holder| self.programs.of_holder(holder));
        Key { class, netns, program, place }
    }

    /// The same for a process that acted.
    pub(super) fn key_of_member(
        &self,
        class: Class,
        netns: u32,
        member: Option<&Member>,
        place: Option<SocketAddr>,
    ) -> Key {
        let program = member.map_or(ProgramId::NONE, |member| self.programs.of(member));
        Key { class, netns, program, place }
    }
}

/// Whether a connection waits to be accepted: it has no file yet (`inet_csk_accept` in
/// `net/ipv4/inet_connection_sock.c` gives it one through `sock_graft`).
pub(super) fn is_queued(seen: &SocketView<'_>) -> bool {
    matches!(seen.socket().state, TcpState::Established | TcpState::CloseWait)
        && seen.holding() == Holding::NoFile
}

/// For how long it has waited, ms: since it was opened, or at least since it is in its state.
pub(super) fn queued_ms(seen: &SocketView<'_>) -> u64 {
    seen.open_ms().unwrap_or(0).max(seen.age_ms())
}

/// See [`View::started_ns`].
pub(super) fn started_ns(evidence: &Evidence, holder: &Holder) -> Option<u64> {
    Some(holder.start_boottime_ns.saturating_sub(evidence.boot_offset_ns?))
}
