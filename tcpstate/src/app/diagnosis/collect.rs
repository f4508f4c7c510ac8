//! Collects what the rules want, and nothing else: visits each namespace once, looks at each process once.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt, HashSet};

use super::{readings::Readings, words};
use crate::{
    clock,
    diagnose::{
        Evidence, Requirements, Selected,
        evidence::{Listener, What},
    },
    observe::evidence::{
        freezer::Freezers,
        namespaces::{self, Ways},
        process,
    },
    track::{Row, Socket, Sockets},
};

/// Collects, and remembers what makes the next time cheaper or says what has changed since.
#[derive(Debug)]
pub(super) struct Collector {
    ways: Ways,
    freezers: Freezers,
    readings: Readings,
}

impl Collector {
    pub(super) fn new() -> Self {
        Self { ways: Ways::default(), freezers: Freezers::find(), readings: Readings::default() }
    }

    /// Visits the namespaces in question, and adds what is wanted of each.
    pub(super) fn namespaces(&mut self, requirements: &Requirements, evidence: &mut Evidence) {
        let mut wanted: BTreeMap<u32, namespaces::Wanted> = BTreeMap::new();
        for netns in &requirements.namespaces {
            let of_this = wanted.entry(*netns).or_default();
            (of_this.counters, of_this.sysctls) = (true, true);
        }
        let info: HashSet<u64> = requirements.info.iter().copied().collect();
        let listeners: HashSet<u64> = requirements.listeners.iter().copied().collect();
        let mut places = HashMap::with_capacity(info.len() + listeners.len());
        let mut alive: HashSet<u32> =
            evidence.destinations.iter().map(|destination| destination.netns).collect();
        let mut latest = None;
        for (place, socket) in evidence.sockets.iter().enumerate() {
            // Neighbours are often of the same namespace.
            if latest != Some(socket.netns) {
                latest = Some(socket.netns);
                alive.insert(socket.netns);
            }
            let in_detail = info.contains(&socket.cookie);
            if in_detail {
                let of_this = wanted.entry(socket.netns).or_default();
                of_this.details.push((socket.cookie, socket.tuple));
            }
            let listens = listeners.contains(&socket.cookie);
            if listens {
                wanted.entry(socket.netns).or_default().listeners = true;
            }
            if in_detail || listens {
                places.insert(socket.cookie, place);
            }
        }
        let beyond = self.readings.make_room(&alive, clock::monotonic_ns());
        if beyond > 0 {
            let why = format!(
                "for lack of room it is not known what was counted in {beyond} of the network namespaces"
            );
            evidence.cannot_see.push(words::unseen(What::Namespace, None, why));
        }
        // Those that are not visited this time are as they were.
        evidence.namespaces.extend(self.readings.last(&alive));
        for (netns, wanted) in wanted {
            let now_ns = clock::monotonic_ns();
            let seen = self.ways.visit(netns, &wanted, now_ns);
            for why in seen.cannot_see {
                evidence.cannot_see.push(words::unseen(What::Namespace, Some(netns), why));
            }
            if seen.counters.is_some() || seen.sysctls.is_some() {
                let now = words::counters(seen.counters.as_ref(), seen.sockstat);
                let sysctls = seen.sysctls.as_ref().map(words::sysctls).unwrap_or_default();
                let namespace = self.readings.add(netns, &now, &sysctls, now_ns);
                evidence.namespaces.insert(netns, namespace);
            }
            for detail in &seen.details {
                let cookie = detail.row.cookie;
                if let Some(info) = &detail.info
                    && let Some(place) = places.get(&cookie)
                    && refresh(&mut evidence.sockets, *place, &detail.row)
                {
                    evidence.info.insert(cookie, words::info(info, now_ns));
                }
            }
            for listener in seen.listeners.into_iter().flatten() {
                let cookie = listener.row.cookie;
                if let Some(place) = places.get(&cookie)
                    && refresh(&mut evidence.sockets, *place, &listener.row)
                {
                    evidence.listeners.insert(cookie, Listener { drops: listener.drops });
                }
            }
        }
    }

    /// Looks at processes.
    pub(super) fn processes(&self, pids: &[u32], evidence: &mut Evidence) {
        let starts: HashMap<u32, u64> = evidence.holders.processes().collect();
        for pid in pids {
            let looked = process::look(*pid, starts.get(pid).copied(), &self.freezers);
            let notes = looked.as_ref().map(|seen| seen.cannot_see.clone()).unwrap_or_default();
            for why in notes {
                evidence.cannot_see.push(words::unseen(What::Process, Some(*pid), why));
            }
            match words::process(looked) {
                Ok(process) => drop(evidence.processes.insert(*pid, process)),
                Err(error) => {
                    let why = format!("process {pid} may not be looked at: {error}");
                    evidence.cannot_see.push(words::unseen(What::Process, Some(*pid), why));
                }
            }
        }
    }
}

/// Takes in what a look at a single socket has shown. Returns false for one that has moved on since it was selected:
/// what was seen belongs to another state then.
fn refresh(sockets: &mut Sockets, place: usize, row: &Row) -> bool {
    let mut socket = sockets.at(place);
    if row.state != socket.state || row.is_mini() {
        return false;
    }
    socket.timer = row.timer;
    socket.retransmits = row.retransmits;
    socket.rqueue = row.rqueue;
    socket.wqueue = row.wqueue;
    sockets.replace(place, &socket);
    true
}

/// Sockets whose holders one cannot wait for, in the order of their cookies: something may be about to be said about
/// them.
pub(super) fn urgent(selected: &Selected) -> Vec<u64> {
    let sockets = selected.sockets.iter().filter(is_urgent);
    let mut urgent: Vec<_> = sockets.map(|socket| socket.cookie).collect();
    urgent.sort_unstable();
    urgent
}

/// Whether there are such sockets.
pub(super) fn has_urgent(selected: &Selected) -> bool {
    selected.sockets.iter().any(|socket| is_urgent(&socket))
}

fn is_urgent(socket: &Socket) -> bool {
    socket.inode != 0 && (socket.state.parks() || socket.rqueue > 0 || socket.retransmits > 0)
}

/// Of the sockets whose holders are wanted those that the engine does not ask about anyhow, which are those that park
/// and have a file.
pub(super) fn beside_parked(wanted: &[u64], selected: &Selected) -> Vec<u64> {
    let others = selected.sockets.iter().filter(|socket| socket.inode != 0 && !socket.state.parks());
    let others = others.map(|socket| socket.cookie);
    let towards = selected.destinations.iter().flat_map(|destination| destination.cookies.iter().copied());
    let mut beside: Vec<_> =
        others.chain(towards).filter(|cookie| wanted.binary_search(cookie).is_ok()).collect();
    beside.sort_unstable();
    beside.dedup();
    beside
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::TcpListener;

    use rustix::net::sockopt::socket_cookie;
    use tcpstate_common::TcpState;

    use super::*;
    use crate::{
        diagnose::evidence::Paused,
        observe::netns,
        track::{Family, Since, Timer, Tuple},
    };

    pub(in crate::app::diagnosis) fn socket(cookie: u64, state: TcpState, inode: u32) -> Socket {
        let local = "127.0.0.1:8000".parse().expect("an address");
        let remote = "0.0.0.0:0".parse().expect("an address");
        Socket {
            cookie,
            netns: netns::own().expect("/proc"),
            tuple: Tuple { family: Family::V4, local, remote },
            state,
            since: Since::AtLatest(1),
            timer: Timer::None,
            retransmits: 0,
            rqueue: 0,
            wqueue: 0,
            uid: Some(0),
            inode,
            actor: None,
            opened: None,
        }
    }

    fn selected(sockets: Vec<Socket>) -> Selected {
        let mut selected = Selected::default();
        selected.sockets = sockets.into_iter().collect();
        selected
    }

    #[test]
    fn sockets_that_park_are_not_asked_about_twice() {
        let selected = selected(vec![
            socket(9, TcpState::Established, 1),
            socket(8, TcpState::CloseWait, 1),
            socket(7, TcpState::Established, 1),
            socket(6, TcpState::Established, 0),
            socket(5, TcpState::Established, 1),
        ]);
        assert_eq!(beside_parked(&[6, 7, 8, 9], &selected), [7, 9]);
    }

    #[test]
    fn only_what_is_remarkable_is_urgent() {
        let mut full = socket(8, TcpState::Listen, 1);
        full.rqueue = 1;
        let selected = selected(vec![
            socket(9, TcpState::FinWait2, 1),
            full,
            socket(7, TcpState::Listen, 1),
            socket(6, TcpState::Established, 1),
            socket(5, TcpState::CloseWait, 0),
        ]);
        assert_eq!(urgent(&selected), [8, 9]);
    }

    #[test]
    fn listener_is_looked_at_as_it_is_now_and_counters_as_they_have_grown() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let cookie = socket_cookie(std::os::fd::AsFd::as_fd(&listener)).expect("a cookie");
        let selected = socket(cookie, TcpState::Listen, 1);
        let requirements = Requirements {
            namespaces: vec![selected.netns],
            listeners: vec![cookie],
            ..Requirements::default()
        };
        let mut collector = Collector::new();
        let mut look = || {
            let mut evidence =
                Evidence { sockets: Sockets::from_iter([selected.clone()]), ..Evidence::default() };
            collector.namespaces(&requirements, &mut evidence);
            evidence
        };
        let first = look();
        assert_eq!(first.sockets.at(0).wqueue, 128, "the limit of the backlog");
        assert_eq!(first.listeners[&cookie].drops, Some(0));
        let namespace = &first.namespaces[&selected.netns];
        assert_eq!(namespace.delta, None, "nothing was read before");
        assert!(namespace.sysctls.local_ports.is_some() && namespace.counters.orphans.is_some());
        std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
        let second = look();
        assert_eq!(second.sockets.at(0).rqueue, 1, "it waits to be accepted");
        let delta = second.namespaces[&selected.netns].delta.expect("read before");
        assert!(delta.active_opens >= Some(1) && delta.orphans.is_none(), "{delta:?}");
    }

    #[test]
    fn namespace_that_is_not_visited_keeps_its_settings_and_its_counters_go_on() {
        let here = socket(1, TcpState::Listen, 1);
        let visit = Requirements { namespaces: vec![here.netns], ..Requirements::default() };
        let mut collector = Collector::new();
        let mut look = |requirements: &Requirements| {
            let mut evidence =
                Evidence { sockets: Sockets::from_iter([here.clone()]), ..Evidence::default() };
            collector.namespaces(requirements, &mut evidence);
            evidence.namespaces.remove(&here.netns).expect("known")
        };
        let first = look(&visit);
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
        let between = look(&Requirements::default());
        assert_eq!((between.sysctls, between.delta), (first.sysctls, None));
        let later = look(&visit);
        assert!(later.delta.expect("read before").active_opens >= Some(1) && later.delta_ms.is_some());
    }

    #[test]
    fn socket_that_has_moved_on_is_not_refreshed() {
        let one = socket(7, TcpState::CloseWait, 1);
        let mut selected = Sockets::from_iter([one.clone()]);
        let row = |state| Row {
            cookie: 7,
            netns: 1,
            tuple: one.tuple,
            state,
            timer: Timer::Persist,
            expires_ms: 1,
            retransmits: 2,
            rqueue: 3,
            wqueue: 4,
            uid: None,
            inode: 1,
        };
        let (later, same) = (row(TcpState::LastAck), row(TcpState::CloseWait));
        assert!(!refresh(&mut selected, 0, &later));
        assert_eq!(selected.at(0).wqueue, 0);
        assert!(refresh(&mut selected, 0, &same));
        assert_eq!((selected.at(0).timer, selected.at(0).wqueue), (Timer::Persist, 4));
    }

    #[test]
    fn process_that_has_ended_is_known_to_have_ended() {
        let mut child = std::process::Command::new("true").spawn().expect("started");
        child.wait().expect("ended");
        let mut evidence = Evidence::default();
        let own = std::process::id();
        Collector::new().processes(&[child.id(), own], &mut evidence);
        assert!(evidence.processes[&child.id()].exited);
        let this = &evidence.processes[&own];
        assert!(!this.exited && this.comm.is_some() && this.fds.is_some() && this.fd_limit.is_some());
        assert!(matches!(this.paused, None | Some(Paused::No)));
        assert!(evidence.cannot_see.is_empty(), "{:?}", evidence.cannot_see);
    }
}
