//! Local ports: how many are left towards one destination (`__inet_hash_connect` in `net/ipv4/inet_hashtables.c` takes
//! a port only if the pair of ends is free), what `TIME_WAIT` has to do with it (`tcp_twsk_unique` in
//! `net/ipv4/tcp_ipv4.c` says when its port may be used again), and a connection with itself.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{Growth, Harm, MAX_TOLD, base, blame_holders, blame_members, oldest_ms};
use crate::{
    diagnose::{
        class::Class,
        evidence::{Destination, Namespace},
        finding::{Resource, Subject},
        format, naming,
        program::{self, Member, ProgramId},
        selection::TOP_DESTINATIONS,
        socket_view::{Holding, SocketView},
        suspicion::{Key, Suspicion},
        view::View,
    },
    track::Socket,
};

/// A rate is given when it was seen over this time at least, ms.
const RATE_MS: u64 = 1_000;

pub(super) fn sort_self_connect(view: &View<'_>, seen: &SocketView<'_>) -> Option<Key> {
    let (netns, place) = (seen.socket().netns, Some(seen.socket().tuple.local));
    match seen.holding() {
        Holding::NotAsked => None,
        _ => Some(view.key_of(Class::SelfConnect, netns, seen.holder().as_ref(), place)),
    }
}

/// A simultaneous open with itself (RFC 9293 section 3.5): it takes the port that the server should listen on.
pub(super) fn self_connect(view: &View<'_>, key: Key, members: &[&SocketView<'_>]) -> Suspicion {
    let mut suspicion = base(key, members);
    let who = blame_holders(view, &mut suspicion, members);
    let place = key.place.map_or_else(String::new, format::address);
    let port = key.place.map_or(0, |place| place.port());
    suspicion.harm = Some(Harm::Hangs { count: suspicion.count, longest_ms: oldest_ms(members) });
    suspicion.subject.peer = Some(place.clone());
    suspicion.verdict = format!(
        "{who} is connected with itself at {place}: nothing listened there, the port is in the range for outgoing connections, and now it is taken from the server"
    );
    suspicion.remedy = format!(
        "Reserve the port (net.ipv4.ip_local_reserved_ports={port}) or move the service out of ip_local_port_range, and close this connection."
    );
    let (first, last) = view.local_ports(key.netns);
    suspicion.evidence.push(format!("both ends are {place}; the range is {first} to {last}"));
    suspicion
}

/// Destinations that use up the local ports, and processes that leave many `TIME_WAIT`s behind. A process that does not
/// use its connections again does so wherever it connects to: it is one finding, with the destinations in the evidence.
pub(super) fn judge(view: &View<'_>) -> Vec<Suspicion> {
    let all = &view.evidence.destinations;
    let scarce: Vec<_> =
        all.iter().filter(|destination| Use::of(view, destination).is_scarce(view)).collect();
    let is_told = |destination: &Destination| {
        scarce.iter().any(|told| (told.netns, told.remote) == (destination.netns, destination.remote))
    };
    let others: Vec<_> =
        all.iter().filter(|destination| time_waits(destination) > 0 && !is_told(destination)).collect();
    let is_busy = |destination: &&Destination| time_waits(destination) >= view.thresholds.time_wait_churn;
    let busy: BTreeSet<u32> =
        others.iter().copied().filter(is_busy).map(|destination| destination.netns).collect();
    if scarce.is_empty() && busy.is_empty() {
        return Vec::new();
    }
    let towards = towards(view);
    let mut churns = BTreeMap::<(u32, ProgramId), (Vec<Member>, Vec<&Destination>)>::new();
    for destination in others.into_iter().filter(|destination| busy.contains(&destination.netns)) {
        let (program, owners) = owners(view, destination, &towards);
        let (all, to) = churns.entry((destination.netns, program)).or_default();
        all.extend(owners);
        to.push(destination);
    }
    let churns =
        churns.into_iter().filter(|(_, (_, to))| to.iter().copied().any(|destination| is_busy(&destination)));
    let mut suspicions: Vec<_> =
        scarce.iter().map(|destination| exhaustion(view, destination, &towards)).collect();
    suspicions.extend(churns.map(|((_, program), (owners, to))| churn(view, program, owners, to, &towards)));
    suspicions
}

fn time_waits(destination: &Destination) -> u64 {
    destination.by_state[TcpState::TimeWait.index()]
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

/// How many of the ports towards a destination are in use.
struct Use {
    /// Ports that cannot be taken for a new connection.
    blocked: u64,
    /// Ports in `TIME_WAIT` that can.
    reusable: u64,
    /// Ports that there are.
    all: u64,
}

impl Use {
    fn of(view: &View<'_>, destination: &Destination) -> Self {
        let reuses = reuses(view.namespace(destination.netns), destination);
        let reusable = if reuses { time_waits(destination) } else { 0 };
        let blocked = destination.used() - reusable;
        Self { blocked, reusable, all: ports(view, destination.netns) }
    }

    fn percent(&self) -> u64 {
        format::percent(self.blocked, self.all)
    }

    fn is_scarce(&self, view: &View<'_>) -> bool {
        self.percent() >= view.thresholds.ports_percent
    }
}

/// How many connections went to `TIME_WAIT` in a second: those that are there, over the time in which they did. Empty
/// where that is too short to tell.
fn rate(to: &[&Destination]) -> String {
    let spans: Vec<_> = to.iter().filter_map(|destination| destination.time_waits_between_ns).collect();
    let Some(first_ns) = spans.iter().map(|(first_ns, _)| *first_ns).min() else { return String::new() };
    let last_ns = spans.iter().map(|(_, last_ns)| *last_ns).max().unwrap_or(first_ns);
    let span_ms = last_ns.saturating_sub(first_ns) / 1_000_000;
    if span_ms < RATE_MS {
        return String::new();
    }
    let count: u64 = to.iter().map(|destination| time_waits(destination)).sum();
    let per_second = count.saturating_mul(1_000).div_ceil(span_ms);
    format!("{}/s over {}", format::count(per_second, "connection"), format::duration(span_ms))
}

fn exhaustion(view: &View<'_>, destination: &Destination, towards: &Towards<'_>) -> Suspicion {
    let (program, owners) = owners(view, destination, towards);
    let place = Some(destination.remote);
    let key = Key { class: Class::PortExhaustion, netns: destination.netns, program, place };
    let (mut suspicion, who) = begin(view, key, owners, &[destination], towards);
    let peer = format::address(destination.remote);
    suspicion.subject.peer = Some(peer.clone());
    let Use { blocked, reusable, all } = Use::of(view, destination);
    let time_waits = time_waits(destination);
    suspicion.count = blocked;
    suspicion.harm = Some(Harm::RunsOut(Growth::Grows));
    suspicion.limit = Some((Resource::EphemeralPorts, blocked, all));
    suspicion.tells_trend = true;
    suspicion.verdict = format!(
        "{who} holds {} of {} to {peer}, {}",
        format::digits(blocked),
        format::count(all, "port"),
        if reusable == 0 && time_waits > 0 {
            let rate = rate(&[destination]);
            let comma = if rate.is_empty() { "" } else { ", " };
            format!("{}% TIME_WAIT{comma}{rate}", format::percent(time_waits, destination.used()))
        } else {
            "none of them in TIME_WAIT that blocks".to_owned()
        }
    );
    "Reuse connections (keep-alive, a pool); until then widen net.ipv4.ip_local_port_range or set net.ipv4.tcp_tw_reuse=1."
        .clone_into(&mut suspicion.remedy);
    suspicion.evidence.push(states(destination));
    tell_range(view, &mut suspicion, destination.netns);
    suspicion
}

/// A process that makes many connections and closes them, to however many destinations.
fn churn(
    view: &View<'_>,
    program: ProgramId,
    owners: Vec<Member>,
    mut to: Vec<&Destination>,
    towards: &Towards<'_>,
) -> Suspicion {
    to.sort_by_key(|destination| (Reverse(time_waits(destination)), destination.remote, destination.local));
    let netns = to.first().map_or(0, |destination| destination.netns);
    let key = Key { class: Class::TimeWaitChurn, netns, program, place: None };
    let (mut suspicion, who) = begin(view, key, owners, &to, towards);
    let peers: BTreeSet<_> = to.iter().map(|destination| destination.remote).collect();
    let most = to.first().map_or_else(String::new, |destination| format::address(destination.remote));
    suspicion.count = to.iter().map(|destination| time_waits(destination)).sum();
    let share = to.iter().map(|destination| Use::of(view, destination).percent()).max().unwrap_or(0);
    let (peers, used) = if peers.len() == 1 {
        suspicion.subject.peer = Some(most.clone());
        (most, format!("{share}% of the ports are in use"))
    } else {
        let used = format!("at most {}% of the ports to each of them are in use", share.max(1));
        (format!("{} destinations, most often {most}", peers.len()), used)
    };
    let rate = rate(&to);
    let closed = if rate.is_empty() { rate } else { format!(", {rate}") };
    suspicion.harm = Some(Harm::NoneSeen(used.clone()));
    suspicion.verdict = format!(
        "{who} leaves {} behind to {peers}{closed}; {}",
        format::count(suspicion.count, "TIME_WAIT socket"),
        view.none_seen(&used)
    );
    "Keep connections open and use them again; nothing breaks before the ports run out."
        .clone_into(&mut suspicion.remedy);
    suspicion.evidence.extend(to.iter().take(MAX_TOLD).map(|destination| states(destination)));
    let rest: Vec<_> = to.iter().skip(MAX_TOLD).map(|destination| time_waits(destination)).collect();
    if !rest.is_empty() {
        let others = format::count(rest.len() as u64, "other destination");
        suspicion.evidence.push(format!("to {others}: {} TIME_WAIT", format::digits(rest.iter().sum())));
    }
    if let Some(destination) = to.first() {
        tell_range(view, &mut suspicion, destination.netns);
    }
    if view.evidence.destinations.len() >= TOP_DESTINATIONS {
        suspicion.cannot_see.push(format!(
            "how many more there are: of all destinations, only the {TOP_DESTINATIONS} with the most connections are counted"
        ));
    }
    suspicion
}

/// What findings about destinations have in common, and the name of the program for a sentence.
fn begin(
    view: &View<'_>,
    key: Key,
    owners: Vec<Member>,
    to: &[&Destination],
    towards: &Towards<'_>,
) -> (Suspicion, String) {
    let sockets = to.iter().filter_map(|destination| towards.get(&way(destination)));
    let mut sockets: Vec<_> = sockets.flatten().copied().collect();
    sockets.sort_unstable_by_key(|seen| seen.socket().cookie);
    let mut suspicion = base(key, &sockets);
    suspicion.since_ns = view.evidence.at_ns;
    suspicion.cookies.extend(to.iter().flat_map(|destination| &destination.cookies));
    suspicion.members = program::members(owners.into_iter());
    if suspicion.members.is_empty() {
        suspicion
            .cannot_see
            .push("who opened or closed them: no event told, and no holder was found".to_owned());
        return (suspicion, "An unknown process".to_owned());
    }
    blame_members(view, &mut suspicion);
    let who = naming::who(view, &suspicion.members);
    (suspicion, who)
}

/// Which sockets there are: "from 10.0.0.1 to 10.0.0.5:80: 3 `TIME_WAIT` and 2 `ESTABLISHED`".
fn states(destination: &Destination) -> String {
    let states = TcpState::ALL.into_iter().filter(|state| destination.by_state[state.index()] > 0);
    let states: Vec<_> = states
        .map(|state| format!("{} {}", format::digits(destination.by_state[state.index()]), state.name()))
        .collect();
    let (local, remote) = (format::ip(destination.local), format::address(destination.remote));
    format!("from {local} to {remote}: {}", format::list(&states))
}

fn tell_range(view: &View<'_>, suspicion: &mut Suspicion, netns: u32) {
    let (first, last) = view.local_ports(netns);
    if view.namespace(netns).is_some_and(|namespace| namespace.sysctls.local_ports.is_some()) {
        suspicion.evidence.push(format!("ip_local_port_range is {first} to {last}"));
    } else {
        suspicion
            .cannot_see
            .push(format!("ip_local_port_range: the kernel's default, {first} to {last}, is assumed"));
    }
}

/// What connections to one destination have in common: the namespace, the address here, and the other end.
type Way = (u32, IpAddr, SocketAddr);

/// The sockets to each destination, as far as they were selected.
type Towards<'a> = HashMap<Way, Vec<&'a SocketView<'a>>>;

fn way(destination: &Destination) -> Way {
    (destination.netns, destination.local, destination.remote)
}

fn way_of(socket: &Socket) -> Way {
    (socket.netns, socket.tuple.local.ip(), socket.tuple.remote)
}

fn towards<'a>(view: &'a View<'_>) -> Towards<'a> {
    let mut towards: Towards<'_> =
        view.evidence.destinations.iter().map(|destination| (way(destination), Vec::new())).collect();
    for seen in &view.seen {
        if let Some(sockets) = towards.get_mut(&way_of(&seen.socket())) {
            sockets.push(seen);
        }
    }
    towards
}

/// The program with most of them, and its processes: by who holds them, or closed or connected them.
fn owners(view: &View<'_>, destination: &Destination, towards: &Towards<'_>) -> (ProgramId, Vec<Member>) {
    let acted =
        destination.actors.iter().map(|(process, count)| Member { count: *count, ..(*process).into() });
    let unacted = towards.get(&way(destination)).into_iter().flatten();
    let unacted = unacted.filter(|seen| seen.socket().actor.is_none());
    let holders = unacted.filter_map(|seen| seen.holder()).map(|holder| Member::from(&holder));
    let failures =
        view.evidence.failures.iter().filter(|failure| {
            failure.netns == destination.netns && failure.tuple.remote == destination.remote
        });
    let failed = failures.filter_map(|failure| failure.process).map(Member::from);
    let mut by_program = BTreeMap::<ProgramId, (u64, Vec<Member>)>::new();
    for member in acted.chain(holders).chain(failed) {
        let (sum, members) = by_program.entry(view.programs.of(&member)).or_default();
        *sum += member.count;
        members.push(member);
    }
    let most = by_program.into_iter().max_by_key(|(_, (sum, _))| *sum);
    most.map_or((ProgramId::NONE, Vec::new()), |(program, (_, members))| (program, members))
}

/// `inet_twsk_alloc` gives up when there are `tcp_max_tw_buckets` already.
pub(super) fn time_wait_overflow(view: &View<'_>, suspicion: &mut Suspicion) {
    let netns = suspicion.key.netns;
    let namespace = view.namespace(netns);
    suspicion.subject = of_namespace(netns);
    suspicion.harm = Some(Harm::RunsOut(Growth::Grows));
    let max = namespace.and_then(|namespace| namespace.sysctls.max_tw_buckets);
    let max = max.map_or_else(|| "their maximum".to_owned(), format::digits);
    suspicion.verdict = format!(
        "{} been cut short in network namespace {netns} because there are {max} already: late packets may hit new connections",
        if suspicion.count == 1 {
            "A TIME_WAIT has".to_owned()
        } else {
            format!("{} TIME_WAITs have", format::digits(suspicion.count))
        },
    );
    "Raise net.ipv4.tcp_max_tw_buckets, or make fewer and longer connections."
        .clone_into(&mut suspicion.remedy);
    if let Some(now) = namespace.and_then(|namespace| namespace.counters.time_waits) {
        suspicion.evidence.push(format!("sockstat shows {} in TIME_WAIT", format::digits(now)));
    }
    suspicion.evidence.push("TCPTimeWaitOverflow has risen".to_owned());
}

/// The subject of what a namespace as a whole suffers from.
fn of_namespace(netns: u32) -> Subject {
    Subject { netns: (netns != 0).then_some(netns), ..Subject::default() }
}
