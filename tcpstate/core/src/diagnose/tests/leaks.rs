//! A leak is what only grows; a pool uses its connections again.

use tcpstate_common::TcpState::{self, CloseWait, Established};

use super::World;
use crate::diagnose::{Class, Severity};

/// client[77] has more and more connections to one server, open or ended by that, each used once.
fn open(world: &mut World, cookies: std::ops::Range<u64>, state: TcpState) {
    for cookie in cookies {
        let local = format!("10.0.0.1:{}", 30_000 + cookie);
        world.open_connection(cookie, true, &local, "10.0.0.7:443").state = state;
        if state == CloseWait {
            world.get(cookie).rqueue = 1;
        }
        world.hold(cookie, 77, "client");
        world.said(cookie, Some(4_900), Some(4_800));
    }
}

fn limited(fds: u64) -> World {
    let mut world = World::new();
    let process = world.process(77, "client");
    (process.fds, process.fd_limit) = (Some(fds), Some(256));
    world
}

#[test]
fn connections_that_are_opened_for_each_request_and_kept_are_a_leak() {
    let mut world = limited(100);
    for pass in 0..14 {
        open(&mut world, 100 + 4 * pass..104 + 4 * pass, Established);
        world.pass();
    }
    let leak = world.only(Class::EstablishedLeak);
    assert_eq!((leak.severity, leak.subject.pid), (Severity::Critical, Some(77)));
    assert!(leak.verdict.contains("to 10.0.0.7:443 open that it never uses again"), "{}", leak.verdict);
    assert!(leak.evidence.iter().any(|line| line.contains("server is not at fault")), "{:?}", leak.evidence);
    // It stays a leak when it grows no more.
    world.passes(30);
    world.only(Class::EstablishedLeak);
}

#[test]
fn pool_that_grows_and_uses_its_connections_again_is_none() {
    let mut world = limited(100);
    for pass in 0..14_u64 {
        open(&mut world, 100 + 4 * pass..104 + 4 * pass, Established);
        // Those that were there before are used in turn.
        for cookie in (100..100 + 4 * pass).filter(|cookie| cookie % 3 == pass % 3) {
            world.said(cookie, Some(100), Some(50));
        }
        world.pass();
    }
    world.assert_clean();
}

#[test]
fn pool_that_was_busy_once_and_lies_idle_is_none() {
    let mut world = limited(100);
    open(&mut world, 100..160, Established);
    world.passes(40);
    world.assert_clean();
}

#[test]
fn proxy_that_has_a_connection_for_each_client_is_none() {
    let mut world = limited(100);
    world.listener(1, "0.0.0.0:8080", 77, "client");
    for pass in 0..14 {
        let cookies = 100 + 4 * pass..104 + 4 * pass;
        for cookie in cookies.clone() {
            let client = format!("10.0.0.9:{}", 40_000 + cookie);
            world.open_connection(1_000 + cookie, false, "10.0.0.1:8080", &client);
            world.said(1_000 + cookie, Some(4_800), Some(4_900));
            world.hold(1_000 + cookie, 77, "client");
        }
        open(&mut world, cookies, Established);
        world.pass();
    }
    world.assert_clean();
}

#[test]
fn connections_that_the_server_ended_while_new_ones_are_opened_are_a_leak_and_no_pool() {
    let mut world = limited(100);
    for pass in 0..14 {
        open(&mut world, 100 + 4 * pass..104 + 4 * pass, CloseWait);
        world.pass();
    }
    let leak = world.only(Class::CloseWaitLeak);
    assert!(leak.severity >= Severity::Warning, "{leak:#?}");
    // It is not called a pool later, when it grows no more.
    world.passes(40);
    world.only(Class::CloseWaitLeak);
}

#[test]
fn connections_that_were_all_opened_before_the_server_ended_them_are_a_pool() {
    let mut world = limited(100);
    open(&mut world, 100..140, Established);
    for pass in 0..10 {
        for cookie in 100 + 4 * pass..104 + 4 * pass {
            let at_ns = world.at_ns;
            let socket = world.get(cookie);
            (socket.state, socket.rqueue) = (CloseWait, 1);
            socket.since = crate::track::Since::Exactly(at_ns);
        }
        world.pass();
    }
    world.passes(3);
    let pool = world.only(Class::CloseWaitIdlePool);
    assert_eq!(pool.severity, Severity::Info);
    assert!(pool.verdict.contains("no harm seen: "), "{}", pool.verdict);
}

#[test]
fn nothing_is_called_harmless_while_sockets_are_missing() {
    let mut world = limited(100);
    open(&mut world, 100..140, Established);
    for cookie in 100..140 {
        let at_ns = world.at_ns;
        let socket = world.get(cookie);
        (socket.state, socket.rqueue) = (CloseWait, 1);
        socket.since = crate::track::Since::Exactly(at_ns);
    }
    world.hidden.sockets = 12_000;
    world.passes(10);
    let pool = world.only(Class::CloseWaitIdlePool);
    let why = "ot known whether it does harm, since the table has no room for 12,000 sockets";
    assert!(pool.verdict.contains(why) && pool.harm.text.contains(why), "{pool:#?}");
    assert!(!format!("{pool:?}").contains("o harm seen"), "{pool:#?}");
    let expected = "12,000 sockets for which the table has no room (--max-sockets, --max-memory).";
    assert_eq!(world.diagnosis.cannot_see(), [expected]);
    assert_eq!(world.diagnosis.not_looked_at(), [expected]);
}

#[test]
fn nothing_is_said_not_to_grow_while_sockets_are_missing() {
    let mut world = limited(100);
    for cookie in 100..107 {
        world.socket(cookie, CloseWait, "10.0.0.1:8000", &format!("10.0.0.9:{cookie}"));
        world.hold(cookie, 77, "client");
    }
    world.hidden.sockets = 32;
    world.passes(3);
    let text = &world.only(Class::CloseWaitLeak).harm.text;
    assert_eq!(text, "Not known whether it does harm, since the table has no room for 32 sockets.");
}
