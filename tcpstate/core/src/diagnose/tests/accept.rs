//! The listener's side.

use tcpstate_common::TcpState::{self, CloseWait, Established, SynRecv, SynSent};

use super::World;
use crate::{
    diagnose::{Class, Severity, evidence::Reason},
    track::{Since, Timer},
};

const MS: u64 = 1_000_000;

/// java[77] listens on port 8000; with this length and limit of its queue.
fn server(rqueue: u32, wqueue: u32) -> World {
    let mut world = World::new();
    let listener = world.listener(1, "0.0.0.0:8000", 77, "java");
    (listener.rqueue, listener.wqueue) = (rqueue, wqueue);
    world
}

fn queued(world: &mut World, cookie: u64, state: TcpState, rqueue: u32) {
    let remote = format!("10.0.0.9:{}", 40_000 + cookie);
    let socket = world.socket(cookie, state, "10.0.0.1:8000", &remote);
    (socket.inode, socket.rqueue) = (0, rqueue);
}

#[test]
fn connections_that_nobody_accepts_are_a_stall_and_no_leak() {
    let mut world = server(3, 128);
    for cookie in 10..13 {
        queued(&mut world, cookie, CloseWait, 10);
    }
    world.passes(2);
    let stall = world.only(Class::AcceptStall);
    assert_eq!((stall.severity, stall.subject.pid), (Severity::Warning, Some(77)));
    assert_eq!(stall.subject.listener.as_deref(), Some("0.0.0.0:8000"));
    assert_eq!(
        stall.verdict,
        "3 CLOSE_WAIT sockets sit in the accept queue of :8000, their clients gave up; java[77] is not accepting, the oldest waits for 10 s; no fd is leaked."
    );
    assert!(stall.sockets.iter().all(|socket| socket.pid.is_none()));
}

#[test]
fn clients_that_still_wait_are_a_stall_too() {
    let mut world = server(2, 128);
    queued(&mut world, 10, Established, 0);
    queued(&mut world, 11, CloseWait, 1);
    world.passes(2);
    let stall = world.only(Class::AcceptStall);
    assert!(
        stall
            .verdict
            .contains("2 connections sit in the accept queue of :8000, one of their clients gave up"),
        "{}",
        stall.verdict
    );
}

#[test]
fn a_queue_that_moves_is_no_stall() {
    let mut world = server(1, 128);
    for step in 0..40 {
        queued(&mut world, 10 + step, Established, 0);
        world.remove(9 + step);
        // It comes just before the look.
        world.get(10 + step).since = Since::Exactly(world.at_ns + 4_900 * MS);
        world.pass();
        world.assert_clean();
    }
}

/// Where there are many sockets, those that are `ESTABLISHED` are counted less often.
#[test]
fn connections_that_were_queued_when_they_were_counted_are_no_stall() {
    let mut world = server(2, 128);
    for cookie in 10..13 {
        queued(&mut world, cookie, Established, 0);
    }
    world.established_ns = Some(world.at_ns + 1);
    world.passes(10);
    world.assert_clean();
}

#[test]
fn a_listener_of_a_v6_socket_has_v4_connections() {
    let mut world = World::new();
    world.listener(1, "[::]:8000", 77, "java").rqueue = 2;
    for cookie in [10, 11] {
        let socket = world.socket(cookie, CloseWait, "[::ffff:10.0.0.1]:8000", "[::ffff:10.0.0.9]:4000");
        socket.inode = 0;
    }
    world.passes(3);
    assert_eq!(world.only(Class::AcceptStall).subject.pid, Some(77));
}

#[test]
fn process_one_is_not_blamed_for_what_it_handed_on() {
    let mut world = server(2, 128);
    world.process(1, "systemd");
    world.hold(1, 1, "systemd");
    queued(&mut world, 10, CloseWait, 1);
    world.passes(3);
    assert_eq!(world.only(Class::AcceptStall).subject.pid, Some(77));
}

#[test]
fn a_full_queue_that_turns_clients_away_is_an_overflow_and_no_stall() {
    let mut world = server(2, 1);
    for cookie in [10, 11] {
        queued(&mut world, cookie, Established, 0);
    }
    for retransmits in 1..5 {
        world.remove(12);
        let client = world.socket(12, SynSent, "10.0.0.1:50000", "10.0.0.1:8000");
        (client.retransmits, client.timer) = (retransmits, Timer::Retransmit);
        world.hold(12, 4121, "client");
        world.delta().listen_overflows = Some(1);
        world.pass();
    }
    let overflow = world.only(Class::AcceptOverflow);
    assert_eq!((overflow.severity, overflow.subject.pid), (Severity::Warning, Some(77)));
    assert!(
        overflow.verdict.starts_with(
            "The accept queue of :8000 is full (2, with a limit of 1) and turns clients away; java[77] accepts too slowly"
        ),
        "{}",
        overflow.verdict
    );
    assert!(overflow.remedy.ends_with("last."), "the backlog is not the first thing to change");
}

#[test]
fn descriptors_that_ran_out_are_the_cause_of_an_overflow() {
    let mut world = server(3, 2);
    let process = world.process(77, "java");
    (process.fds, process.fd_limit) = (Some(8), Some(8));
    for cookie in [10, 11, 12] {
        queued(&mut world, cookie, Established, 0);
    }
    for _ in 0..3 {
        world.delta().listen_overflows = Some(2);
        world.pass();
    }
    let full = world.only(Class::FdExhaustion);
    assert_eq!(full.severity, Severity::Critical, "every new connection fails");
    assert!(
        full.verdict.contains("8 of 8 descriptors open, so accept() fails with EMFILE"),
        "{}",
        full.verdict
    );
    assert_eq!(full.limit.as_ref().map(|limit| (limit.used, limit.max)), Some((8, 8)));
}

#[test]
fn descriptors_that_were_leaked_are_told_as_the_leak() {
    let mut world = server(3, 2);
    let process = world.process(77, "java");
    (process.fds, process.fd_limit) = (Some(40), Some(40));
    for cookie in 20..50 {
        world.socket(cookie, CloseWait, "10.0.0.1:8000", "10.0.0.9:4000");
        world.hold(cookie, 77, "java");
    }
    queued(&mut world, 10, Established, 0);
    for _ in 0..130 {
        world.delta().listen_overflows = Some(2);
        world.pass();
    }
    let leak = world.only(Class::CloseWaitLeak);
    assert_eq!(leak.severity, Severity::Critical);
    assert!(leak.verdict.contains("its fd limit of 40 is reached"), "{}", leak.verdict);
}

#[test]
fn drops_alone_and_old_counts_are_no_overflow() {
    let mut world = server(100, 128);
    world.namespace.counters.listen_overflows = Some(1_000_000);
    for _ in 0..5 {
        world.delta().listen_drops = Some(500);
        world.delta().listen_overflows = Some(0);
        world.pass();
        world.assert_clean();
    }
}

#[test]
fn a_queue_that_is_full_to_its_limit_with_nobody_turned_away_is_fine() {
    let mut world = server(129, 128);
    world.passes(5);
    world.assert_clean();
}

#[test]
fn a_burst_is_told_by_the_listeners_own_drops() {
    let mut world = server(70, 128);
    world.listener(2, "0.0.0.0:9000", 78, "quiet").rqueue = 0;
    world.drops.insert(1, 5);
    world.pass();
    world.delta().listen_overflows = Some(3);
    world.drops.insert(1, 8);
    world.pass();
    assert_eq!(world.only(Class::AcceptOverflow).subject.pid, Some(77));
}

#[test]
fn an_overflow_that_resets_is_told_as_such_and_alone() {
    let mut world = server(2, 1);
    world.namespace.sysctls.abort_on_overflow = Some(true);
    world.sent(Reason::InvalidSyn, Some(TcpState::Listen), "10.0.0.1:8000", "10.0.0.9:4000");
    (world.delta().listen_overflows, world.delta().embryonic_rsts) = (Some(1), Some(1));
    world.pass();
    let reset = world.only(Class::AcceptOverflowRst);
    assert_eq!((reset.severity, reset.subject.pid), (Severity::Warning, Some(77)));
    assert!(reset.verdict.contains("tcp_abort_on_overflow=1"), "{}", reset.verdict);
}

fn handshakes(world: &mut World, count: u64, retransmits: u8) {
    for cookie in 100..100 + count {
        let socket = world.socket(cookie, SynRecv, "10.0.0.1:8000", &format!("10.9.9.9:{}", 1000 + cookie));
        (socket.inode, socket.retransmits) = (0, retransmits);
    }
}

#[test]
fn handshakes_that_are_never_finished_are_a_flood() {
    let mut world = server(0, 16);
    handshakes(&mut world, 16, 2);
    (world.delta().syncookies_sent, world.delta().req_q_full_do_cookies) = (Some(14), Some(14));
    world.pass();
    let flood = world.only(Class::SynFlood);
    assert_eq!((flood.severity, flood.subject.peer.as_deref()), (Severity::Warning, Some("10.9.9.9")));
    assert!(flood.verdict.starts_with("16 handshakes on :8000 from 10.9.9.9"), "{}", flood.verdict);
}

#[test]
fn deferred_accepts_a_few_bad_links_and_a_full_queue_are_no_flood() {
    let mut world = server(0, 128);
    handshakes(&mut world, 100, 0);
    world.passes(3);
    world.assert_clean();
    let mut world = server(0, 128);
    handshakes(&mut world, 5, 2);
    world.passes(3);
    world.assert_clean();
    let mut world = server(2, 1);
    handshakes(&mut world, 20, 2);
    world.delta().listen_overflows = Some(20);
    world.pass();
    world.only(Class::AcceptOverflow);
}
