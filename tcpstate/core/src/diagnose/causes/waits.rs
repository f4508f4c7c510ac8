//! Who waits for whom: which requests the processes of this host owe answers to, and which answers they wait for
//! themselves. A process that waits for another one to answer its own clients is not at fault.

use std::collections::HashSet;

use foldhash::HashMap;
use tcpstate_common::TcpState;

use crate::diagnose::{
    connection::{self, Party, Side},
    program::Member,
    socket_view::SocketView,
    view::View,
};

/// A request is passed on within this time after it came in, ns: a proxy does so at once, an application after some work.
const PASSED_ON_NS: u64 = 2_000_000_000;
/// How exactly these times are known, ns: kernel ticks.
const SLACK_NS: u64 = 100_000_000;
/// Requests are followed over this many processes at most.
const MAX_HOPS: usize = 8;

/// A request that a process owes an answer to, or that it waits to have answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'v> {
    pub(super) seen: &'v SocketView<'v>,
    /// Since when, monotonic ns.
    pub(super) since_ns: u64,
}

/// The open requests of a pass, by process.
#[derive(Debug, Default)]
pub(super) struct Waits<'v> {
    owed: HashMap<u32, Vec<Request<'v>>>,
    awaited: HashMap<u32, Vec<Request<'v>>>,
}

/// The end of a chain: who owes answers and waits for nobody.
#[derive(Clone, Debug)]
pub(super) struct Culprit<'v> {
    /// The process, if it is on this host and known.
    pub(super) process: Option<Member>,
    /// The requests to it that are not answered, as the waiting side has them.
    pub(super) requests: Vec<Request<'v>>,
    /// The connections wait to be accepted.
    pub(super) is_queued: bool,
}

impl<'v> Waits<'v> {
    pub(super) fn find(view: &'v View<'_>) -> Self {
        let mut waits = Self::default();
        let least_ms = view.thresholds.settle_ms;
        for seen in &view.seen {
            let socket = seen.socket();
            if !matches!(socket.state, TcpState::Established | TcpState::CloseWait) {
                continue;
            }
            let Some(holder) = seen.holder() else { continue };
            let Some(owed) = connection::owed(view, seen).filter(|owed| !owed.is_first) else { continue };
            let Some(heard) = view.heard(seen) else { continue };
            if heard.at_ns.saturating_sub(owed.since_ns) / super::super::NS_PER_MS < least_ms {
                continue;
            }
            let request = Request { seen, since_ns: owed.since_ns };
            match (connection::side(view, &socket), owed.by) {
                (Side::Server, Party::Here) if connection::is_read(&socket) => {
                    waits.owed.entry(holder.pid).or_default().push(request);
                }
                (Side::Client, Party::Peer)
                    if socket.state == TcpState::Established
                        && socket.wqueue == 0
                        && !is_one_way(seen, owed.since_ns, heard.has_received) =>
                {
                    waits.awaited.entry(holder.pid).or_default().push(request);
                }
                _ => {}
            }
        }
        for requests in waits.owed.values_mut().chain(waits.awaited.values_mut()) {
            requests.sort_by_key(|request| (request.since_ns, request.seen.socket().cookie));
        }
        waits
    }

    /// The requests that a process owes answers to, the oldest first.
    pub(super) fn owed(&self, pid: u32) -> &[Request<'v>] {
        self.owed.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// The end of the chain of those for whom these processes wait, if they do.
    pub(super) fn culprit(&self, view: &'v View<'_>, pids: &[u32]) -> Option<Culprit<'v>> {
        let mut visited: HashSet<u32> = pids.iter().copied().collect();
        let mut culprit = self.awaited_by(view, pids)?;
        for _ in 0..MAX_HOPS {
            let Some(process) = culprit.process else { break };
            if !visited.insert(process.process.pid) || culprit.is_queued {
                break;
            }
            match self.awaited_by(view, &[process.process.pid]) {
                Some(next) => culprit = next,
                None => break,
            }
        }
        let is_itself = culprit.process.is_some_and(|process| pids.contains(&process.process.pid));
        (!is_itself).then_some(culprit)
    }

    /// For whom these processes wait, since they have requests to answer: the one with most requests that were passed on
    /// to it.
    fn awaited_by(&self, view: &'v View<'_>, pids: &[u32]) -> Option<Culprit<'v>> {
        let passed_on: Vec<_> = pids.iter().flat_map(|pid| self.passed_on(*pid)).collect();
        let mut by_server = HashMap::<_, Vec<Request<'v>>>::default();
        for request in passed_on {
            by_server.entry(request.seen.socket().tuple.remote).or_default().push(request);
        }
        let (_, requests) =
            by_server.into_iter().max_by_key(|(server, requests)| (requests.len(), *server))?;
        let first = requests.first()?.seen.socket();
        let other_ends: Vec<_> = requests.iter().filter_map(|request| view.other_end(request.seen)).collect();
        let holder = other_ends.iter().find_map(|end| end.holder());
        let is_queued =
            holder.is_none() && other_ends.iter().any(|end| crate::diagnose::view::is_queued(end));
        let listener = || {
            let listening = view.local_server(first.netns, first.tuple.remote)?;
            listening.main_holder()
        };
        let process = holder.or_else(listener).map(|holder| Member::from(&holder));
        Some(Culprit { process, requests, is_queued })
    }

    /// The requests that a process has passed on: for each that it owes an answer to, one that it began to wait for right
    /// after. If the oldest ones were not passed on, the process itself keeps them.
    fn passed_on(&self, pid: u32) -> Vec<Request<'v>> {
        let (owed, awaited) = (self.owed(pid), self.awaited.get(&pid).map_or(&[][..], Vec::as_slice));
        let mut matched = Vec::new();
        let mut kept_before = 0;
        let mut next = awaited.iter().peekable();
        for request in owed {
            let from_ns = request.since_ns.saturating_sub(SLACK_NS);
            while next.next_if(|awaited| awaited.since_ns < from_ns).is_some() {}
            let until_ns = request.since_ns.saturating_add(PASSED_ON_NS);
            match next.next_if(|awaited| awaited.since_ns <= until_ns) {
                Some(awaited) => matched.push(*awaited),
                // What came later may wait for a worker.
                None if matched.is_empty() => kept_before += 1,
                None => {}
            }
        }
        if kept_before > matched.len() { Vec::new() } else { matched }
    }
}

/// Whether a connection only ever carries data away, such as to a log: the peer never spoke, and it is older than what
/// was sent last.
fn is_one_way(seen: &SocketView<'_>, since_ns: u64, has_received: Option<bool>) -> bool {
    let opened_ns = seen.socket().opened.map_or(seen.since_ns(), |opened| opened.at_ns);
    has_received == Some(false) && opened_ns.saturating_add(PASSED_ON_NS) < since_ns
}
