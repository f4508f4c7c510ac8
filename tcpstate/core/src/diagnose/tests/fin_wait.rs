//! Sockets that have sent their FIN.

use tcpstate_common::TcpState::{self, CloseWait, Established, FinWait1, FinWait2, LastAck};

use super::{World, process};
use crate::{
    diagnose::{Class, Severity, harm::Kind},
    track::Timer,
};

fn shut_down(world: &mut World, cookie: u64) {
    world.socket(cookie, FinWait2, &format!("10.0.0.1:{}", 40_000 + cookie), "10.0.0.8:9000");
    world.hold(cookie, 4121, "payments");
    world.carried(cookie, 60_000, 60_000);
}

#[test]
fn a_shutdown_without_close_is_told_and_grows_into_a_warning() {
    let mut world = World::new();
    shut_down(&mut world, 10);
    world.passes(2);
    assert_eq!(world.only(Class::FinWait2Owned).severity, Severity::Info);
    for cookie in 11..20 {
        shut_down(&mut world, cookie);
        world.pass();
    }
    let owned = world.only(Class::FinWait2Owned);
    assert_eq!((owned.severity, owned.subject.pid), (Severity::Warning, Some(4121)));
    assert!(
        owned.verdict.starts_with("payments[4121] shut down 10 connections to 10.0.0.8:9000 and waits for the peer's FIN without a timeout"),
        "{}", owned.verdict
    );
    assert!(owned.remedy.contains("tcp_fin_timeout"));
}

#[test]
fn a_client_that_half_closes_and_still_reads_is_fine() {
    let mut world = World::new();
    shut_down(&mut world, 10);
    for _ in 0..60 {
        world.carried(10, 60_000, 100);
        world.pass();
        world.assert_clean();
    }
}

fn orphan(world: &mut World, cookie: u64, state: TcpState, timer: Timer, retransmits: u8) {
    let remote = format!("10.0.0.9:{}", 40_000 + cookie);
    let socket = world.socket(cookie, state, "10.0.0.1:8000", &remote);
    (socket.inode, socket.timer, socket.retransmits) = (0, timer, retransmits);
    (socket.wqueue, socket.actor) = (1, Some(process(77, "java")));
}

#[test]
fn an_orphan_that_waits_for_its_peer_is_benign() {
    let mut world = World::new();
    orphan(&mut world, 10, FinWait2, Timer::TimeWait, 0);
    world.passes(2);
    let found = world.only(Class::FinWait2Orphan);
    assert_eq!(
        (found.severity, found.harm.kind, found.subject.pid),
        (Severity::Info, Kind::NoneSeen, Some(77))
    );
    assert!(found.verdict.contains("the peer is late"), "{}", found.verdict);
}

#[test]
fn orphans_of_one_server_with_and_without_a_name_are_one_finding() {
    for (state, timer, retransmits) in [(FinWait2, Timer::TimeWait, 0), (LastAck, Timer::Retransmit, 5)] {
        let mut world = World::new();
        world.listener(1, "0.0.0.0:8000", 77, "java");
        for cookie in 10..20 {
            orphan(&mut world, cookie, state, timer, retransmits);
        }
        for cookie in 10..14 {
            world.get(cookie).actor = None;
        }
        world.passes(2);
        let [found] = world.open()[..] else { panic!("{:#?}", world.open()) };
        assert_eq!((found.count, found.subject.pid), (10, Some(77)));
        let told = "who closed 4 of them, which have the same server as the others: no event told of it";
        assert!(found.cannot_see.iter().any(|line| line == told), "{:?}", found.cannot_see);
    }
}

#[test]
fn orphans_of_another_server_or_of_several_processes_get_no_name() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:8000", 77, "java");
    world.listener(2, "0.0.0.0:9000", 78, "nginx");
    for cookie in 10..14 {
        orphan(&mut world, cookie, FinWait2, Timer::TimeWait, 0);
    }
    world.get(12).actor = None;
    world.get(12).tuple.local = super::at("10.0.0.1:9000");
    world.passes(2);
    let unknown = |world: &World| -> u64 {
        world.open().iter().filter(|finding| finding.subject.pid.is_none()).map(|finding| finding.count).sum()
    };
    assert_eq!((world.open().len(), unknown(&world)), (2, 1));

    world.get(12).tuple.local = super::at("10.0.0.1:8000");
    world.get(13).actor = Some(process(79, "cron"));
    world.passes(5);
    assert_eq!((world.open().len(), unknown(&world)), (3, 1));
}

#[test]
fn an_orphan_whose_peer_leaks_on_this_host_is_told_as_the_leak() {
    let mut world = World::new();
    for step in 0..8 {
        let cookie = 10 + 2 * step;
        orphan(&mut world, cookie, FinWait2, Timer::TimeWait, 0);
        world.socket(cookie + 1, CloseWait, &format!("10.0.0.9:{}", 40_000 + cookie), "10.0.0.1:8000");
        world.hold(cookie + 1, 4121, "payments");
        world.pass();
    }
    let leak = world.only(Class::CloseWaitLeak);
    assert!(leak.severity >= Severity::Warning);
}

#[test]
fn orphans_that_are_stuck_tell_a_dead_path_from_a_peer_that_does_not_read() {
    for (state, timer, retransmits, why) in [
        (LastAck, Timer::Retransmit, 5, "the path or the peer is dead"),
        (FinWait1, Timer::Persist, 0, "the peer does not read"),
    ] {
        let mut world = World::new();
        orphan(&mut world, 10, state, timer, retransmits);
        world.pass();
        world.assert_clean();
        world.pass();
        let stuck = world.only(Class::OrphanStuck);
        assert_eq!((stuck.severity, stuck.subject.pid), (Severity::Info, Some(77)));
        assert!(stuck.verdict.contains(why), "{}", stuck.verdict);
        for cookie in 11..30 {
            orphan(&mut world, cookie, state, timer, retransmits);
        }
        world.passes(2);
        assert_eq!(world.only(Class::OrphanStuck).severity, Severity::Warning);
    }
}

#[test]
fn orphans_that_nobody_saw_close_blame_nobody() {
    let mut world = World::new();
    orphan(&mut world, 10, LastAck, Timer::Retransmit, 5);
    world.get(10).actor = None;
    world.passes(2);
    let stuck = world.only(Class::OrphanStuck);
    assert_eq!(stuck.subject.pid, None);
    assert!(!stuck.cannot_see.is_empty());
}

#[test]
fn a_burst_of_orphans_that_get_through_is_fine() {
    let mut world = World::new();
    for step in 0..20 {
        world.sockets.clear();
        for cookie in 0..200 {
            orphan(&mut world, 1000 * (step + 1) + cookie, LastAck, Timer::Retransmit, 2);
        }
        world.pass();
        world.assert_clean();
    }
}

#[test]
fn the_unread_peer_on_this_host_is_at_fault_not_the_orphan() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:8000", 77, "java");
    orphan(&mut world, 10, FinWait1, Timer::Persist, 0);
    world.socket(11, Established, "10.0.0.9:40010", "10.0.0.1:8000").rqueue = 100_000;
    world.hold(11, 4121, "payments");
    world.passes(3);
    world.only(Class::UnreadBody);
}
