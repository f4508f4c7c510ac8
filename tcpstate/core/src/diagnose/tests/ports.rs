//! Local ports.

use tcpstate_common::TcpState::{Established, TimeWait};

use super::{NETNS, SECOND, World, process, tuple};
use crate::{
    diagnose::{Class, Severity, harm::Kind},
    track::{Failure, Since, Timer},
};

fn time_waits(world: &mut World, count: u64, remote: &str) {
    let first = 1_000 + world.sockets.len() as u64;
    for cookie in 0..count {
        let local = format!("10.0.0.1:{}", 33_000 + cookie);
        let since = Since::Exactly(world.at_ns - (count - cookie) * SECOND / 20);
        let socket = world.socket(first + cookie, TimeWait, &local, remote);
        socket.since = since;
        (socket.inode, socket.uid, socket.timer) = (0, None, Timer::TimeWait);
        socket.actor = Some(process(9, "worker"));
    }
    world.process(9, "worker");
}

fn no_port(world: &mut World, remote: &str) {
    world.failures.push(Failure {
        at_ns: world.at_ns,
        netns: NETNS,
        tuple: tuple("0.0.0.0:0", remote),
        errno: 99,
        process: Some(process(9, "worker")),
        lasted_ns: None,
    });
}

#[test]
fn ports_that_run_out_are_told_with_their_numbers() {
    let mut world = World::new();
    (world.namespace.sysctls.local_ports, world.namespace.sysctls.tw_reuse) =
        (Some((50_000, 50_009)), Some(0));
    time_waits(&mut world, 9, "10.0.0.5:6379");
    world.socket(10, Established, "10.0.0.1:40000", "10.0.0.5:6379");
    world.hold(10, 9, "worker");
    world.pass();
    let found = world.only(Class::PortExhaustion);
    assert_eq!((found.severity, found.subject.pid), (Severity::Critical, Some(9)));
    assert_eq!(found.subject.peer.as_deref(), Some("10.0.0.5:6379"));
    assert!(
        found.verdict.starts_with("worker[9] holds 10 of 10 ports to 10.0.0.5:6379, 90% TIME_WAIT"),
        "{}",
        found.verdict
    );
    no_port(&mut world, "10.0.0.5:6379");
    world.pass();
    let found = world.only(Class::PortExhaustion);
    assert!(found.evidence.iter().any(|line| line.contains("EADDRNOTAVAIL")), "{:?}", found.evidence);
}

#[test]
fn connects_that_found_no_port_are_critical_without_anything_else() {
    let mut world = World::new();
    world.process(9, "worker");
    no_port(&mut world, "10.0.0.5:6379");
    world.pass();
    let found = world.only(Class::PortExhaustion);
    assert_eq!((found.severity, found.subject.pid), (Severity::Critical, Some(9)));
}

#[test]
fn many_connections_to_many_destinations_use_up_nothing() {
    let mut world = World::new();
    world.namespace.sysctls.local_ports = Some((50_000, 50_099));
    for cookie in 0..300 {
        let remote = format!("10.0.{}.{}:443", cookie / 50, cookie % 50);
        world.socket(1_000 + cookie, Established, &format!("10.0.0.1:{}", 33_000 + cookie), &remote);
        world.hold(1_000 + cookie, 9, "worker");
    }
    world.passes(3);
    world.assert_clean();
}

#[test]
fn churn_is_harmless_and_says_how_fast() {
    let mut world = World::new();
    world.namespace.sysctls.tw_reuse = Some(0);
    time_waits(&mut world, 300, "10.0.0.5:80");
    world.passes(2);
    let churn = world.only(Class::TimeWaitChurn);
    assert_eq!(
        (churn.severity, churn.harm.kind, churn.subject.pid),
        (Severity::Info, Kind::NoneSeen, Some(9))
    );
    assert!(
        churn.verdict.contains(
            "300 TIME_WAIT sockets behind to 10.0.0.5:80, 21 connections/s over 14 s; no harm seen"
        ),
        "{}",
        churn.verdict
    );
}

#[test]
fn churn_of_one_process_is_one_finding_however_many_destinations_it_has() {
    let mut world = World::new();
    world.namespace.sysctls.tw_reuse = Some(0);
    for host in 0..40 {
        time_waits(&mut world, 150 + host, &format!("10.0.1.{host}:443"));
    }
    // Not enough for a word of its own, but the same process.
    time_waits(&mut world, 20, "10.0.2.1:443");
    world.pass();
    let id = world.only(Class::TimeWaitChurn).id.clone();
    let churn = world.only(Class::TimeWaitChurn);
    assert_eq!((churn.severity, churn.subject.pid, churn.count), (Severity::Info, Some(9), 6_800));
    assert_eq!(churn.subject.peer, None);
    assert!(
        churn.verdict.contains("6800 TIME_WAIT sockets behind to 41 destinations, most often 10.0.1.39:443"),
        "{}",
        churn.verdict
    );
    assert!(
        churn.verdict.ends_with("no harm seen: at most 1% of the ports to each of them are in use."),
        "{}",
        churn.verdict
    );
    assert!(churn.evidence[0].contains("to 10.0.1.39:443: 189 TIME_WAIT"), "{:?}", churn.evidence);
    assert!(churn.evidence[5].starts_with("to 36 other destinations: 5865"), "{:?}", churn.evidence);
    // Other destinations, the same finding.
    world.sockets.clear();
    for host in 0..70 {
        time_waits(&mut world, 150, &format!("10.0.3.{host}:443"));
    }
    world.pass();
    let churn = world.only(Class::TimeWaitChurn);
    assert_eq!(churn.id, id);
    assert!(churn.cannot_see.iter().any(|line| line.contains("only the 64")), "{:?}", churn.cannot_see);
}

#[test]
fn churn_of_two_processes_is_two_findings() {
    let mut world = World::new();
    time_waits(&mut world, 150, "10.0.0.5:80");
    let first = world.sockets.len();
    time_waits(&mut world, 150, "10.0.0.6:80");
    for socket in &mut world.sockets[first..] {
        socket.actor = Some(process(10, "other"));
    }
    world.process(10, "other");
    world.passes(2);
    let pids: std::collections::BTreeSet<_> =
        world.open().iter().map(|finding| finding.subject.pid).collect();
    assert_eq!((world.open().len(), pids), (2, [Some(9), Some(10)].into()));
}

#[test]
fn ports_that_run_out_to_several_destinations_are_one_finding_of_the_process() {
    let mut world = World::new();
    (world.namespace.sysctls.local_ports, world.namespace.sysctls.tw_reuse) =
        (Some((33_000, 33_199)), Some(0));
    time_waits(&mut world, 170, "10.0.0.5:6379");
    time_waits(&mut world, 195, "10.0.0.6:6379");
    // Churn, which comes to the same.
    time_waits(&mut world, 120, "10.0.0.7:6379");
    no_port(&mut world, "10.0.0.5:6379");
    world.passes(2);
    let found = world.only(Class::PortExhaustion);
    assert_eq!((found.severity, found.subject.pid), (Severity::Critical, Some(9)));
    let id = found.id.clone();
    world.sockets.retain(|socket| socket.tuple.remote.ip() == super::at("10.0.0.6:0").ip());
    world.pass();
    let found = world.only(Class::PortExhaustion);
    assert_eq!((&found.id, found.count), (&id, 195));
    time_waits(&mut world, 170, "10.0.0.8:6379");
    world.passes(15);
    let found = world.only(Class::PortExhaustion);
    assert!(found.verdict.contains("holds 195 of 200 ports to 10.0.0.6:6379"), "{}", found.verdict);
    let also = "the same to 1 other destination: 10.0.0.8:6379";
    assert!(found.evidence.iter().any(|line| line == also), "{:?}", found.evidence);
}

#[test]
fn time_waits_of_a_server_and_those_that_may_be_used_again_block_nothing() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:8000", 77, "java");
    for cookie in 0..5_000_u64 {
        let remote = format!("10.0.{}.{}:{}", cookie / 250, cookie % 250, 40_000 + cookie);
        let socket = world.socket(1_000 + cookie, TimeWait, "10.0.0.1:8000", &remote);
        (socket.inode, socket.timer) = (0, Timer::TimeWait);
    }
    world.passes(3);
    world.assert_clean();

    let mut world = World::new();
    world.namespace.sysctls.local_ports = Some((33_000, 33_199));
    world.namespace.sysctls.tw_reuse = Some(1);
    time_waits(&mut world, 190, "10.0.0.5:80");
    world.passes(3);
    assert_eq!(world.found(), [(Class::TimeWaitChurn, Severity::Info)]);
}

#[test]
fn time_waits_that_are_cut_short_are_told_while_it_happens() {
    let mut world = World::new();
    world.namespace.counters.time_wait_overflow = Some(1_000_000);
    world.listener(1, "0.0.0.0:8000", 77, "java");
    world.passes(3);
    world.assert_clean();
    world.namespace.sysctls.max_tw_buckets = Some(5);
    world.delta().time_wait_overflow = Some(25);
    world.pass();
    let overflow = world.only(Class::TimeWaitOverflow);
    assert_eq!(
        (overflow.severity, overflow.count, overflow.subject.netns),
        (Severity::Warning, 25, Some(NETNS))
    );
    assert!(
        overflow.verdict.starts_with(
            "25 TIME_WAITs have been cut short in network namespace 7 because there are 5 already"
        ),
        "{}",
        overflow.verdict
    );
}

#[test]
fn a_connection_with_itself_is_told_at_once() {
    let mut world = World::new();
    world.socket(10, Established, "127.0.0.1:40000", "127.0.0.1:40000");
    world.hold(10, 9, "worker");
    world.pass();
    let own = world.only(Class::SelfConnect);
    assert_eq!((own.severity, own.subject.pid), (Severity::Warning, Some(9)));
    assert!(own.remedy.contains("ip_local_reserved_ports=40000"), "{}", own.remedy);
}
