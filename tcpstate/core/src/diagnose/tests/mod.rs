//! The rules against what the kernel shows: each class with evidence of it, and with what only looks like it. A test
//! world goes the whole way of a pass, so that a rule gets nothing that it did not ask for.

mod accept;
mod causes;
mod close_wait;
mod endings;
mod fin_wait;
mod leaks;
mod many;
mod path;
mod pending;
mod ports;
mod properties;
mod reset;
mod store;
mod view;

use std::{net::SocketAddr, sync::Arc};

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{
    Changes, Class, Diagnosis, Evidence, Finding, Requirements, Selected, Severity, Status, Thresholds,
    evidence::{Counters, Hidden, Listener, Namespace, Paused, Process, Reason, ResetSeen, TcpInfo, Unseen},
};
use crate::track::{
    self, Comm, Direction, Family, Holder, Holders, Key, Opened, Reset, Since, Socket, Timer, Tuple,
};

pub(super) const SECOND: u64 = 1_000_000_000;
/// The daemon begins so long after boot, so that there is a time before.
const BEGIN_NS: u64 = 10_000 * SECOND;
/// Passes are so far apart.
const PACE_NS: u64 = 5 * SECOND;
pub(super) const NETNS: u32 = 7;

/// A host, as far as the rules can see it.
pub(super) struct World {
    pub(super) diagnosis: Diagnosis,
    pub(super) at_ns: u64,
    pub(super) sockets: Vec<Socket>,
    /// Who has which cookie open.
    pub(super) held: Vec<(u64, Holder)>,
    pub(super) info: HashMap<u64, TcpInfo>,
    pub(super) processes: HashMap<u32, Process>,
    pub(super) namespace: Namespace,
    pub(super) drops: HashMap<u64, u32>,
    /// Events of the next pass.
    pub(super) resets: Vec<ResetSeen>,
    pub(super) failures: Vec<track::Failure>,
    /// When those that are `ESTABLISHED` were counted last, if not just before the pass.
    pub(super) established_ns: Option<u64>,
    pub(super) closes: Vec<track::IdleClose>,
    pub(super) holders_complete: bool,
    pub(super) cannot_see: Vec<Unseen>,
    pub(super) hidden: Hidden,
}

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(super) fn tuple(local: &str, remote: &str) -> Tuple {
    let (local, remote) = (at(local), at(remote));
    let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
    Tuple { family, local, remote }
}

pub(super) fn process(pid: u32, comm: &str) -> track::Process {
    track::Process { pid, comm: Comm::new(comm) }
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            diagnosis: Diagnosis::new(Thresholds::default()),
            at_ns: BEGIN_NS,
            sockets: Vec::new(),
            held: Vec::new(),
            info: HashMap::default(),
            processes: HashMap::default(),
            namespace: Namespace {
                delta: Some(Counters::default()),
                delta_ms: Some(5_000),
                ..Namespace::default()
            },
            drops: HashMap::default(),
            resets: Vec::new(),
            failures: Vec::new(),
            established_ns: None,
            closes: Vec::new(),
            holders_complete: true,
            cannot_see: Vec::new(),
            hidden: Hidden::default(),
        }
    }

    /// A socket that enters its state now. Its inode is its cookie.
    pub(super) fn socket(&mut self, cookie: u64, state: TcpState, local: &str, remote: &str) -> &mut Socket {
        self.sockets.push(Socket {
            cookie,
            netns: NETNS,
            tuple: tuple(local, remote),
            state,
            since: Since::Exactly(self.at_ns),
            timer: Timer::None,
            retransmits: 0,
            rqueue: 0,
            wqueue: 0,
            uid: Some(1000),
            inode: u32::try_from(cookie).expect("small"),
            actor: None,
            opened: None,
        });
        self.sockets.last_mut().expect("just pushed")
    }

    /// A process that runs since boot; every holder has one.
    pub(super) fn process(&mut self, pid: u32, comm: &str) -> &mut Process {
        self.processes.entry(pid).or_insert_with(|| Process {
            start_boottime_ns: Some(SECOND),
            paused: Some(Paused::No),
            fds: Some(20),
            fd_limit: Some(1024),
            comm: Some(Comm::new(comm)),
            ..Process::default()
        })
    }

    /// This process has the socket open; the descriptor is its cookie.
    pub(super) fn hold(&mut self, cookie: u64, pid: u32, comm: &str) {
        let start_boottime_ns = self.process(pid, comm).start_boottime_ns.expect("it has one");
        let fd = u32::try_from(cookie).expect("small");
        self.held.push((cookie, Holder { pid, fd, comm: Comm::new(comm), start_boottime_ns }));
    }

    /// A listener with its owner.
    pub(super) fn listener(&mut self, cookie: u64, local: &str, pid: u32, comm: &str) -> &mut Socket {
        self.hold(cookie, pid, comm);
        let nowhere = if at(local).is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = self.socket(cookie, TcpState::Listen, local, nowhere);
        socket.wqueue = 128;
        socket
    }

    pub(super) fn get(&mut self, cookie: u64) -> &mut Socket {
        self.sockets.iter_mut().find(|socket| socket.cookie == cookie).expect("it is there")
    }

    pub(super) fn remove(&mut self, cookie: u64) {
        self.sockets.retain(|socket| socket.cookie != cookie);
    }

    /// Data was last sent, and came in, so long before the next pass.
    pub(super) fn carried(&mut self, cookie: u64, sent_ms: u32, received_ms: u32) {
        let info = TcpInfo {
            last_data_sent_ms: Some(sent_ms),
            last_data_recv_ms: Some(received_ms),
            last_ack_recv_ms: Some(sent_ms.min(received_ms)),
            ..TcpInfo::default()
        };
        self.info.insert(cookie, info);
    }

    /// An open connection that a process of this host made, or that its listener took.
    pub(super) fn open_connection(
        &mut self,
        cookie: u64,
        active: bool,
        local: &str,
        remote: &str,
    ) -> &mut Socket {
        let at_ns = self.at_ns;
        let socket = self.socket(cookie, TcpState::Established, local, remote);
        socket.opened = Some(Opened { at_ns, active });
        socket
    }

    /// Data was last sent, and came in, so long before the next pass; `None`: never.
    pub(super) fn said(&mut self, cookie: u64, sent_ms: Option<u32>, received_ms: Option<u32>) {
        let (sent, received) = (sent_ms.unwrap_or(100_000), received_ms.unwrap_or(100_000));
        self.carried(cookie, sent, received);
        let bytes = |said: Option<u32>| Some(if said.is_some() { 100 } else { 0 });
        let info = self.info.entry(cookie).or_default();
        (info.bytes_sent, info.bytes_received) = (bytes(sent_ms), bytes(received_ms));
    }

    /// The namespace's counters rise before the next pass.
    pub(super) fn delta(&mut self) -> &mut Counters {
        self.namespace.delta.as_mut().expect("there is one")
    }

    /// A RST that was sent just now, about which nothing more is known.
    pub(super) fn sent(
        &mut self,
        reason: Reason,
        state: Option<TcpState>,
        local: &str,
        remote: &str,
    ) -> &mut ResetSeen {
        let direction = Direction::Sent;
        self.reset(direction, Some(reason), state, local, remote)
    }

    pub(super) fn received(&mut self, state: TcpState, local: &str, remote: &str) -> &mut ResetSeen {
        self.reset(Direction::Received, None, Some(state), local, remote)
    }

    fn reset(
        &mut self,
        direction: Direction,
        reason: Option<Reason>,
        state: Option<TcpState>,
        local: &str,
        remote: &str,
    ) -> &mut ResetSeen {
        let reset = Reset {
            id: 1,
            at_ns: self.at_ns,
            direction,
            cookie: None,
            netns: NETNS,
            tuple: tuple(local, remote),
            state,
            reason: None,
            process: None,
        };
        self.resets.push(ResetSeen {
            reset,
            reason,
            answered_syn: None,
            unread_bytes: None,
            bytes_moved: None,
            idle_ms: None,
            spoke_ms: None,
            unsent_bytes: None,
            peer_ended: None,
            ending: None,
            opened: None,
            payload_bytes: None,
            after_close_ns: None,
            owner: None,
        });
        self.resets.last_mut().expect("just pushed")
    }

    /// What is selected for a pass, and what the rules want of it.
    pub(super) fn selection(&mut self) -> (Selected, Requirements) {
        let mut selection = self.diagnosis.selection();
        for socket in &self.sockets {
            selection.see(socket);
        }
        let selected = selection.finish();
        let requirements = self.diagnosis.requirements(&selected);
        (selected, requirements)
    }

    /// Five seconds later.
    pub(super) fn pass(&mut self) -> Changes {
        self.at_ns += PACE_NS;
        let (selected, requirements) = self.selection();
        let at_ns = self.at_ns;
        let aged = |cookie: &u64| {
            let info = self.info.get(cookie)?;
            Some((*cookie, TcpInfo { at_ns, ..*info }))
        };
        let held = self.held.iter().filter(|(cookie, _)| requirements.holders.binary_search(cookie).is_ok());
        let found: Vec<_> = held.map(|(cookie, holder)| (Key::Cookie(*cookie), *holder)).collect();
        let mut evidence = Evidence {
            at_ns,
            census_ns: at_ns,
            established_ns: self.established_ns.unwrap_or(at_ns),
            boot_offset_ns: Some(0),
            info: requirements.info.iter().filter_map(aged).collect(),
            holders: Arc::new(Holders::new(at_ns, requirements.holders.clone(), Vec::new(), found)),
            holders_complete: self.holders_complete,
            namespaces: requirements
                .namespaces
                .iter()
                .map(|netns| (*netns, self.namespace.clone()))
                .collect(),
            listeners: requirements
                .listeners
                .iter()
                .map(|cookie| (*cookie, Listener { drops: self.drops.get(cookie).copied() }))
                .collect(),
            sockets: selected.sockets,
            left_out: selected.left_out,
            destinations: selected.destinations,
            resets: std::mem::take(&mut self.resets),
            failures: std::mem::take(&mut self.failures),
            closes: std::mem::take(&mut self.closes),
            events_left_out: 0,
            cannot_see: self.cannot_see.clone(),
            hidden: self.hidden,
            processes: HashMap::default(),
        };
        let unheld = self.diagnosis.requires_info(&evidence);
        evidence.info.extend(unheld.iter().filter_map(aged));
        for pid in self.diagnosis.requires_processes(&evidence) {
            if let Some(process) = self.processes.get(&pid) {
                evidence.processes.insert(pid, process.clone());
            }
        }
        // What a socket's tcp_info says grows older with it.
        for info in self.info.values_mut() {
            let older = |ms: Option<u32>| ms.map(|ms| ms.saturating_add(5_000));
            info.last_data_sent_ms = older(info.last_data_sent_ms);
            info.last_data_recv_ms = older(info.last_data_recv_ms);
            info.last_ack_recv_ms = older(info.last_ack_recv_ms);
        }
        self.namespace.delta = Some(Counters::default());
        self.diagnosis.pass(&evidence)
    }

    pub(super) fn passes(&mut self, count: usize) {
        for _ in 0..count {
            self.pass();
        }
    }

    /// What is open.
    pub(super) fn open(&self) -> Vec<&Finding> {
        self.diagnosis.findings().iter().filter(|finding| finding.status == Status::Open).collect()
    }

    pub(super) fn found(&self) -> Vec<(Class, Severity)> {
        let mut found: Vec<_> = self.open().iter().map(|finding| (finding.class, finding.severity)).collect();
        found.sort_unstable();
        found
    }

    /// The only finding, which must be of this class.
    #[track_caller]
    pub(super) fn only(&self, class: Class) -> &Finding {
        let open = self.open();
        match open.as_slice() {
            [one] if one.class == class => one,
            others => panic!("not one {class:?}: {others:#?}"),
        }
    }

    #[track_caller]
    pub(super) fn assert_clean(&self) {
        assert!(self.open().is_empty(), "{:#?}", self.open());
    }
}
