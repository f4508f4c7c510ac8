//! Local ports: how many are left towards one destination (`__inet_hash_connect` in `net/ipv4/inet_hashtables.c` takes
//! a port only if the pair of ends is free), what `TIME_WAIT` has to do with it (`tcp_twsk_unique` in
//! `net/ipv4/tcp_ipv4.c` says when its port may be used again), and a connection with itself.

use std::collections::BTreeMap;

use tcpstate_common::TcpState;

use super::{base, blame_holder};
use crate::{
    diagnose::{
        candidate::{Candidate, Key},
        class::Class,
        evidence::{Destination, Namespace},
        finding::{Resource, Severity, Subject},
        say,
        view::{Held, Seen, View},
    },
    track::Process,
};

/// How long a `TIME_WAIT` lasts (`TCP_TIMEWAIT_LEN` in `include/net/tcp.h`), s.
const TIME_WAIT_S: u64 = 60;

pub(super) fn sort_self_connect(_: &View<'_>, seen: &Seen<'_>) -> Option<Key> {
    let (netns, place) = (seen.socket.netns, Some(seen.socket.tuple.local));
    match seen.held {
        Held::By { holder, .. } => Some(View::key_of(Class::SelfConnect, netns, &holder, place)),
        Held::NotAsked => None,
        _ => Some(Key { class: Class::SelfConnect, netns, pid: 0, start_boottime_ns: 0, place }),
    }
}

/// A simultaneous open with itself (RFC 9293 section 3.5): it takes the port that the server should listen on.
pub(super) fn self_connect(view: &View<'_>, key: Key, members: &[&Seen<'_>]) -> Candidate {
    let mut candidate = base(key, members);
    let who = blame_holder(view, &mut candidate, members);
    let place = key.place.map_or_else(String::new, say::address);
    let port = key.place.map_or(0, |place| place.port());
    candidate.severity = Some(Severity::Warning);
    candidate.subject.peer = Some(place.clone());
    candidate.verdict = format!(
        "{who} is connected with itself at {place}: nothing listened there, the port is in the range for outgoing connections, and now it is taken from the server"
    );
    candidate.remedy = format!(
        "Reserve the port (net.ipv4.ip_local_reserved_ports={port}) or move the service out of ip_local_port_range, and close this connection."
    );
    let (first, last) = view.local_ports(key.netns);
    candidate.evidence.push(format!("both ends are {place}; the range is {first} to {last}"));
    candidate
}

/// Destinations that use up the local ports, and namespaces whose `TIME_WAIT`s are cut short.
pub(super) fn judge(view: &View<'_>) -> Vec<Candidate> {
    view.evidence.destinations.iter().filter_map(|destination| towards(view, destination)).collect()
}

/// How many local ports a namespace has for one destination.
pub(super) fn ports(view: &View<'_>, netns: u32) -> u64 {
    let (first, last) = view.local_ports(netns);
    let all = u64::from(last.saturating_sub(first)) + 1;
    let reserved = view.namespace(netns).and_then(|namespace| namespace.sysctls.reserved_local_ports);
    all.saturating_sub(reserved.unwrap_or(0).into()).max(1)
}

/// Whether the kernel takes a port out of `TIME_WAIT` for a new connection to the same destination.
fn reuses(namespace: Option<&Namespace>, destination: &Destination) -> bool {
    match namespace.and_then(|namespace| namespace.sysctls.tw_reuse) {
        Some(1) => true,
        Some(2) => destination.remote.ip().to_canonical().is_loopback(),
        _ => false,
    }
}

fn towards(view: &View<'_>, destination: &Destination) -> Option<Candidate> {
    let thresholds = view.thresholds;
    let namespace = view.namespace(destination.netns);
    let all = ports(view, destination.netns);
    let time_waits = destination.by_state[TcpState::TimeWait.index()];
    let used = destination.used();
    let reusable = if reuses(namespace, destination) { time_waits } else { 0 };
    let blocked = used - reusable;
    let share = say::percent(blocked, all);
    let scarce = share >= thresholds.ports_percent;
    if !scarce && time_waits < thresholds.time_wait_churn {
        return None;
    }
    let class = if scarce { Class::PortExhaustion } else { Class::TimeWaitChurn };
    let owner = owner(view, destination);
    let key = Key {
        class,
        netns: destination.netns,
        pid: owner.map_or(0, |owner| owner.pid),
        start_boottime_ns: 0,
        place: Some(destination.remote),
    };
    let members: Vec<_> = view.seen.iter().filter(|seen| is_towards(seen, destination)).collect();
    let mut candidate = base(key, &members);
    candidate.since_ns = view.evidence.at_ns;
    candidate.cookies.extend(&destination.cookies);
    candidate.tells_trend = scarce;
    let who = if let Some(owner) = &owner {
        candidate.subject = view.subject_of(owner, destination.netns);
        view.who_acted(owner)
    } else {
        candidate
            .cannot_see
            .push("who opened or closed them: no event told, and no holder was found".to_owned());
        "An unknown process".to_owned()
    };
    let peer = say::address(destination.remote);
    candidate.subject.peer = Some(peer.clone());
    let per_s = time_waits / TIME_WAIT_S;
    let of_all = say::percent(time_waits, used);
    if scarce {
        candidate.count = blocked;
        candidate.severity = Some(Severity::Warning);
        candidate.limit = Some((Resource::EphemeralPorts, blocked, all));
        candidate.verdict = format!(
            "{who} holds {} of {} to {peer}, {}",
            say::digits(blocked),
            say::count(all, "port"),
            if reusable == 0 && time_waits > 0 {
                format!("{of_all}% TIME_WAIT, {}/s", say::count(per_s.max(1), "connection"))
            } else {
                "none of them in TIME_WAIT that blocks".to_owned()
            }
        );
        "Reuse connections (keep-alive, a pool); until then widen net.ipv4.ip_local_port_range or set net.ipv4.tcp_tw_reuse=1."
            .clone_into(&mut candidate.remedy);
    } else {
        candidate.count = time_waits;
        candidate.severity = Some(Severity::Info);
        candidate.verdict = format!(
            "{who} leaves {} behind to {peer}, about {} closed per second: usually harmless, {share}% of the ports are in use",
            say::count(time_waits, "TIME_WAIT socket"),
            say::count(per_s.max(1), "connection")
        );
        "Keep connections open and use them again; nothing breaks before the ports run out."
            .clone_into(&mut candidate.remedy);
    }
    let states = TcpState::ALL.into_iter().filter(|state| destination.by_state[state.index()] > 0);
    let states: Vec<_> = states
        .map(|state| format!("{} {}", say::digits(destination.by_state[state.index()]), state.name()))
        .collect();
    candidate.evidence.push(format!("from {} to {peer}: {}", say::ip(destination.local), say::list(&states)));
    let (first, last) = view.local_ports(destination.netns);
    if namespace.is_some_and(|namespace| namespace.sysctls.local_ports.is_some()) {
        candidate.evidence.push(format!("ip_local_port_range is {first} to {last}"));
    } else {
        candidate
            .cannot_see
            .push(format!("ip_local_port_range: the kernel's default, {first} to {last}, is assumed"));
    }
    Some(candidate)
}

fn is_towards(seen: &Seen<'_>, destination: &Destination) -> bool {
    seen.socket.netns == destination.netns
        && seen.socket.tuple.remote == destination.remote
        && seen.socket.tuple.local.ip() == destination.local
}

/// The process with most of them: by who holds them, or closed or connected them.
fn owner(view: &View<'_>, destination: &Destination) -> Option<Process> {
    let mut votes = BTreeMap::<u32, (u64, Process)>::new();
    let mut vote = |process: Process, count| {
        let (sum, _) = votes.entry(process.pid).or_insert((0, process));
        *sum += count;
    };
    for (process, count) in &destination.actors {
        vote(*process, *count);
    }
    for seen in view.seen.iter().filter(|seen| is_towards(seen, destination) && seen.socket.actor.is_none()) {
        if let Held::By { holder, .. } = seen.held {
            vote(Process { pid: holder.pid, comm: holder.comm }, 1);
        }
    }
    for failure in &view.evidence.failures {
        if failure.netns == destination.netns
            && failure.tuple.remote == destination.remote
            && let Some(process) = failure.process
        {
            vote(process, 1);
        }
    }
    votes.into_values().max_by_key(|(count, _)| *count).map(|(_, process)| process)
}

/// The subject of what a namespace as a whole suffers from.
pub(super) fn of_namespace(netns: u32) -> Subject {
    Subject { netns: (netns != 0).then_some(netns), ..Subject::default() }
}
