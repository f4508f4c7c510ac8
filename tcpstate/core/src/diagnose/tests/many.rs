//! Hosts with very many sockets, of which none may be compared with every other: what grows with the square of their
//! number would not end here.

use tcpstate_common::TcpState::{CloseWait, Established, FinWait2, SynSent};

use super::{super::Class, NETNS, World};
use crate::track::Timer;

const MANY: u64 = 40_000;

fn client(number: u64) -> String {
    format!("10.{}.{}.{}:4000", number >> 16, number >> 8 & 255, number & 255)
}

#[test]
fn waiting_sockets_of_one_process_that_make_no_pairs() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:80", 5, "app");
    for number in 0..MANY {
        let state = if number.is_multiple_of(2) { CloseWait } else { FinWait2 };
        world.socket(10 + number, state, "10.0.0.1:80", &client(number));
        world.hold(10 + number, 5, "app");
    }
    world.passes(3);
    let mut found: Vec<_> = world.diagnosis.findings().iter().map(|one| (one.class, one.count)).collect();
    found.sort_unstable_by_key(|(class, _)| class.name());
    assert_eq!(found, [(Class::CloseWaitLeak, MANY / 2), (Class::FinWait2Owned, MANY / 2)]);
}

#[test]
fn dead_peers_whose_port_is_served_in_another_namespace() {
    let mut world = World::new();
    for number in 0..MANY {
        let local = format!("10.200.0.1:{}", 1024 + number);
        let peer = format!("{}:443", client(number).trim_end_matches(":4000"));
        let socket = world.socket(10 + number, Established, &local, &peer);
        (socket.wqueue, socket.timer, socket.retransmits) = (100, Timer::Retransmit, 9);
        world.hold(10 + number, 5, "app");
    }
    world.listener(1, "0.0.0.0:443", 6, "proxy").netns = NETNS + 1;
    world.passes(2);
    assert!(world.diagnosis.findings().iter().all(|finding| finding.class == Class::HalfOpen));
}

#[test]
fn clients_that_send_again_to_listeners_that_are_all_full() {
    let mut world = World::new();
    for number in 0..MANY / 2 {
        // At one port, and at as many addresses.
        let server = format!("10.{}.{}.{}:80", 100 + (number >> 16), number >> 8 & 255, number & 255);
        let listener = world.listener(2 * number + 1, &server, 5, "app");
        (listener.rqueue, listener.wqueue) = (2, 1);
        let socket = world.socket(2 * number + 2, SynSent, "10.0.0.1:40000", &server);
        (socket.retransmits, socket.timer) = (3, Timer::Retransmit);
        world.hold(2 * number + 2, 6, "client");
    }
    world.delta().listen_overflows = Some(7);
    world.pass();
    assert!(!world.open().is_empty());
    assert!(world.open().iter().all(|finding| finding.class == Class::AcceptOverflow));
}
