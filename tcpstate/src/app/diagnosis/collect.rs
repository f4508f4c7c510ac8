//! Collects what the rules want, and nothing else: visits each namespace once, looks at each process once.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashSet};

use super::{readings::Readings, words};
use crate::{
    clock,
    diagnose::{
        Collected, Evidence, Requirements, Selected,
        evidence::{Listener, Unseen, What},
    },
    observe::evidence::{
        freezer::Freezers,
        namespaces::{self, Ways},
        process,
    },
    track::Socket,
};

/// Collects, and remembers what makes the next time cheaper or says what has changed since.
#[derive(Debug)]
pub(super) struct Collector {
    ways: Ways,
    freezers: Freezers,
    readings: Readings,
    /// Why something is never seen here, as sentences without full stop.
    losses: Vec<String>,
}

impl Collector {
    pub(super) fn new(losses: Vec<String>) -> Self {
        Self {
            ways: Ways::default(),
            freezers: Freezers::find().unwrap_or_default(),
            readings: Readings::default(),
            losses,
        }
    }

    /// Visits the namespaces in question, and returns what is wanted of each.
    pub(super) fn namespaces(&mut self, requirements: &Requirements, evidence: &Evidence) -> Collected {
        let losses = self.losses.iter().map(|why| Unseen::of_all(What::Missing, why));
        let mut collected = Collected { cannot_see: losses.collect(), ..Collected::default() };
        let mut wanted: BTreeMap<u32, namespaces::Wanted> = BTreeMap::new();
        for netns in &requirements.namespaces {
            let of_this = wanted.entry(*netns).or_default();
            (of_this.counters, of_this.sysctls) = (true, true);
        }
        let info: HashSet<u64> = requirements.info.iter().copied().collect();
        let listeners: HashSet<u64> = requirements.listeners.iter().copied().collect();
        let mut alive: HashSet<u32> =
            evidence.destinations.iter().map(|destination| destination.netns).collect();
        let mut latest = None;
        for socket in evidence.sockets.iter() {
            // Neighbours are often of the same namespace.
            if latest != Some(socket.netns) {
                latest = Some(socket.netns);
                alive.insert(socket.netns);
            }
            if info.contains(&socket.cookie) {
                let of_this = wanted.entry(socket.netns).or_default();
                of_this.details.push((socket.cookie, socket.tuple));
            }
            if listeners.contains(&socket.cookie) {
                wanted.entry(socket.netns).or_default().listeners = true;
            }
        }
        let beyond = self.readings.make_room(&alive, clock::monotonic_ns());
        if beyond > 0 {
            let why = format!(
                "for lack of room it is not known what was counted in {beyond} of the network namespaces"
            );
            collected.cannot_see.push(Unseen::of_all(What::Namespace, why));
        }
        // Those that are not visited this time are as they were.
        collected.namespaces.extend(self.readings.last(&alive));
        for (netns, mut wanted) in wanted {
            if evidence.hidden.without_netlink {
                // Each attempt would have the kernel look for the module that it has not.
                wanted.listeners = false;
                wanted.details.clear();
            }
            let now_ns = clock::monotonic_ns();
            let seen = self.ways.visit(netns, &wanted, now_ns);
            for why in seen.cannot_see {
                collected.cannot_see.push(Unseen { what: What::Namespace, of: Some(netns), why });
            }
            if seen.counters.is_some() || seen.sysctls.is_some() {
                let now = words::counters(seen.counters.as_ref(), seen.sockstat);
                let sysctls = seen.sysctls.as_ref().map(words::sysctls).unwrap_or_default();
                let namespace = self.readings.add(netns, &now, &sysctls, now_ns);
                collected.namespaces.insert(netns, namespace);
            }
            let details = seen.details.into_iter();
            collected
                .info
                .extend(details.filter_map(|detail| Some((detail.row, words::info(&detail.info?, now_ns)))));
            let found = seen.listeners.into_iter().flatten();
            let found = found.filter(|found| listeners.contains(&found.row.cookie));
            collected.listeners.extend(found.map(|found| (found.row, Listener { drops: found.drops })));
        }
        collected
    }

    /// Looks at processes.
    pub(super) fn processes(&self, pids: &[u32], evidence: &Evidence, collected: &mut Collected) {
        let starts: HashMap<u32, u64> = evidence.holders.processes().collect();
        for pid in pids {
            let looked = process::look(*pid, starts.get(pid).copied(), &self.freezers);
            let mut unseen = |why| {
                collected.cannot_see.push(Unseen { what: What::Process, of: Some(*pid), why });
            };
            looked.iter().flat_map(|seen| &seen.cannot_see).cloned().for_each(&mut unseen);
            match words::process(looked) {
                Ok(process) => drop(collected.processes.insert(*pid, process)),
                Err(error) => unseen(format!("process {pid} may not be looked at: {error}")),
            }
        }
    }
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
        diagnose::evidence::{Hidden, Paused},
        observe::netns,
        track::{Family, Since, Sockets, Timer, Tuple},
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
        let mut collector = Collector::new(Vec::new());
        let mut look = || {
            let mut evidence =
                Evidence { sockets: Sockets::from_iter([selected.clone()]), ..Evidence::default() };
            evidence.add(collector.namespaces(&requirements, &evidence));
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
    fn single_sockets_are_not_asked_about_where_the_kernel_dumps_none() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let cookie = socket_cookie(std::os::fd::AsFd::as_fd(&listener)).expect("a cookie");
        let requirements =
            Requirements { listeners: vec![cookie], info: vec![cookie], ..Requirements::default() };
        let sockets = || Sockets::from_iter([socket(cookie, TcpState::Listen, 1)]);
        for without_netlink in [false, true] {
            let hidden = Hidden { without_netlink, ..Hidden::default() };
            let evidence = Evidence { sockets: sockets(), hidden, ..Evidence::default() };
            let collected = Collector::new(Vec::new()).namespaces(&requirements, &evidence);
            assert_eq!(collected.listeners.is_empty(), without_netlink);
            assert!(collected.cannot_see.is_empty(), "{:?}", collected.cannot_see);
        }
    }

    #[test]
    fn namespace_that_is_not_visited_keeps_its_settings_and_its_counters_go_on() {
        let here = socket(1, TcpState::Listen, 1);
        let visit = Requirements { namespaces: vec![here.netns], ..Requirements::default() };
        let mut collector = Collector::new(Vec::new());
        let mut look = |requirements: &Requirements| {
            let evidence = Evidence { sockets: Sockets::from_iter([here.clone()]), ..Evidence::default() };
            collector.namespaces(requirements, &evidence).namespaces.remove(&here.netns).expect("known")
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
    fn process_that_has_ended_is_known_to_have_ended() {
        let mut child = std::process::Command::new("true").spawn().expect("started");
        child.wait().expect("ended");
        let (own, mut evidence) = (std::process::id(), Collected::default());
        Collector::new(Vec::new()).processes(&[child.id(), own], &Evidence::default(), &mut evidence);
        assert!(evidence.processes[&child.id()].exited);
        let this = &evidence.processes[&own];
        assert!(!this.exited && this.comm.is_some() && this.fds.is_some() && this.fd_limit.is_some());
        assert!(matches!(this.paused, None | Some(Paused::No)));
        assert!(evidence.cannot_see.is_empty(), "{:?}", evidence.cannot_see);
    }
}
