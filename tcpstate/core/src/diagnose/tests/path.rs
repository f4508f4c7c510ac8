//! Paths and peers that are gone.

use tcpstate_common::TcpState::{Established, SynSent};

use super::{NETNS, World, process, tuple};
use crate::{
    diagnose::{Class, Severity},
    track::{Failure, Since, Timer},
};

fn retransmitting(world: &mut World, cookie: u64, local: &str, remote: &str, retransmits: u8) {
    let socket = world.socket(cookie, Established, local, remote);
    (socket.wqueue, socket.timer, socket.retransmits) = (500, Timer::Retransmit, retransmits);
    world.hold(cookie, 4121, "payments");
    world.carried(cookie, 4_000, 9_000);
}

#[test]
fn a_server_that_does_not_answer_any_more_is_a_warning() {
    let mut world = World::new();
    retransmitting(&mut world, 10, "10.0.0.1:40000", "10.0.0.5:5432", 5);
    world.pass();
    let dead = world.only(Class::HalfOpen);
    assert_eq!((dead.severity, dead.subject.pid), (Severity::Warning, Some(4121)));
    assert!(
        dead.verdict.starts_with("payments[4121] has 500 bytes unacknowledged on 1 open connection to 10.0.0.5:5432, retransmitted up to 5 of 15 times"),
        "{}", dead.verdict
    );
}

#[test]
fn clients_that_vanish_are_only_told() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:8000", 4121, "payments");
    for cookie in 10..15 {
        retransmitting(&mut world, cookie, "10.0.0.1:8000", &format!("10.0.0.{cookie}:4000"), 6);
    }
    world.passes(2);
    assert_eq!(world.only(Class::HalfOpen).severity, Severity::Info);
}

#[test]
fn a_burst_of_loss_is_not_a_dead_peer() {
    let mut world = World::new();
    retransmitting(&mut world, 10, "10.0.0.1:40000", "10.0.0.5:5432", 3);
    world.pass();
    world.assert_clean();
    // Many retransmits, but an ACK has just come.
    world.get(10).retransmits = 6;
    world.carried(10, 100, 100);
    world.pass();
    world.assert_clean();
}

#[test]
fn an_idle_session_without_keepalive_is_fine() {
    let mut world = World::new();
    world.socket(10, Established, "10.0.0.1:22", "10.0.0.5:50000");
    world.hold(10, 4121, "sshd");
    world.passes(100);
    world.assert_clean();
}

fn connecting(world: &mut World, cookie: u64, remote: &str, retransmits: u8) {
    let socket = world.socket(cookie, SynSent, &format!("10.0.0.1:{}", 40_000 + cookie), remote);
    (socket.timer, socket.retransmits) = (Timer::Retransmit, retransmits);
    world.hold(cookie, 4121, "payments");
}

#[test]
fn syns_without_answer_are_a_black_hole() {
    let mut world = World::new();
    connecting(&mut world, 10, "10.0.0.5:443", 2);
    world.pass();
    assert_eq!(world.only(Class::SynBlackhole).severity, Severity::Info);
    world.get(10).retransmits = 3;
    world.pass();
    let hole = world.only(Class::SynBlackhole);
    assert_eq!((hole.severity, hole.subject.peer.as_deref()), (Severity::Warning, Some("10.0.0.5:443")));
    assert!(
        hole.verdict.starts_with("payments[4121] gets no answer to its SYN to 10.0.0.5:443"),
        "{}",
        hole.verdict
    );
}

#[test]
fn a_scanner_and_a_slow_handshake_are_no_black_hole() {
    let mut world = World::new();
    connecting(&mut world, 10, "10.0.0.5:443", 1);
    world.pass();
    world.assert_clean();
    for cookie in 11..60 {
        connecting(&mut world, cookie, &format!("10.0.1.{cookie}:22"), 4);
    }
    world.passes(3);
    world.assert_clean();
}

#[test]
fn a_full_server_on_this_host_is_no_black_hole_and_no_dead_peer() {
    let mut world = World::new();
    let listener = world.listener(1, "0.0.0.0:8000", 77, "java");
    (listener.rqueue, listener.wqueue) = (2, 1);
    connecting(&mut world, 10, "10.0.0.1:8000", 5);
    retransmitting(&mut world, 11, "10.0.0.1:50000", "10.0.0.1:8000", 5);
    world.delta().listen_overflows = Some(2);
    world.pass();
    world.only(Class::AcceptOverflow);
}

#[test]
fn a_server_on_this_host_that_has_just_accepted_one_of_too_many_is_no_black_hole() {
    let play = |dropped: u32| {
        let mut world = World::new();
        // There is room.
        world.listener(1, "0.0.0.0:8000", 77, "java").wqueue = 1;
        world.drops.insert(1, 7);
        world.pass();
        connecting(&mut world, 10, "10.0.0.1:8000", 5);
        retransmitting(&mut world, 11, "10.0.0.1:50000", "10.0.0.1:8000", 5);
        world.drops.insert(1, 7 + dropped);
        world.pass();
        let found = world.found();
        [Class::SynBlackhole, Class::HalfOpen].map(|class| found.iter().any(|(found, _)| *found == class))
    };
    assert_eq!(play(2), [false, false]);
    assert_eq!(play(0), [true, true], "somebody else drops them");
    // The first look at it.
    let mut world = World::new();
    world.listener(1, "0.0.0.0:8000", 77, "java").wqueue = 1;
    world.drops.insert(1, 7);
    connecting(&mut world, 10, "10.0.0.1:8000", 5);
    world.pass();
    assert!(world.found().iter().all(|(class, _)| *class != Class::SynBlackhole), "{:?}", world.found());
}

/// payments[4121] fails to connect, for want of a neighbour that answers.
fn no_neighbour(world: &mut World, step: u16) {
    world.failures.push(Failure {
        at_ns: world.at_ns,
        netns: NETNS,
        tuple: tuple(&format!("10.0.0.1:{}", 4000 + step), "10.0.0.5:443"),
        errno: 113,
        process: Some(process(4121, "payments")),
        lasted_ns: Some(3_000_000_000),
    });
}

#[test]
fn a_neighbour_that_does_not_answer_is_told_from_the_failures() {
    let mut world = World::new();
    world.process(4121, "payments");
    for step in 0..4 {
        no_neighbour(&mut world, step);
        world.pass();
    }
    let hole = world.only(Class::SynBlackhole);
    assert_eq!((hole.severity, hole.subject.pid), (Severity::Warning, Some(4121)));
    assert!(hole.evidence[0].contains("EHOSTUNREACH"), "{:?}", hole.evidence);
}

#[test]
fn connects_that_wait_and_those_that_have_failed_are_one_finding() {
    let mut world = World::new();
    world.process(4121, "payments");
    let mut ids = std::collections::HashSet::new();
    for step in 0..6 {
        no_neighbour(&mut world, step);
        if step % 2 == 0 {
            connecting(&mut world, 10, "10.0.0.5:443", 2);
        } else {
            world.remove(10);
        }
        world.pass();
        ids.insert(world.only(Class::SynBlackhole).id.clone());
    }
    assert_eq!(ids.len(), 1);
}

#[test]
fn syns_that_were_there_before_were_sent_as_long_ago_as_their_number_takes() {
    let mut world = World::new();
    for cookie in 10..16 {
        connecting(&mut world, cookie, "10.0.0.5:443", 6);
        world.get(cookie).since = Since::AtLatest(world.at_ns + 5 * super::SECOND);
    }
    world.pass();
    let verdict = &world.only(Class::SynBlackhole).verdict;
    let expected = "payments[4121] gets no answer to its 6 SYNs to 10.0.0.5:443, the oldest sent at least 6 s ago, up to 6 times again: something drops them.";
    assert_eq!(verdict, expected);
    assert!(world.only(Class::SynBlackhole).harm.text.contains("the longest for 6 s"));
}
