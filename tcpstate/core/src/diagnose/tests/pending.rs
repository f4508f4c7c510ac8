//! What takes another look, and what only seems to.

use std::sync::Arc;

use tcpstate_common::TcpState;

use super::{PACE_NS, World};
use crate::{
    diagnose::{Evidence, Pending, evidence::Paused},
    track::{Comm, Holder, Holders, Key},
};

const SETTLED: Pending = Pending { established: false, others: false, holders: false };
const OTHERS: Pending = Pending { others: true, ..SETTLED };
const ESTABLISHED: Pending = Pending { established: true, ..SETTLED };

/// What is pending after each of some passes, the first of which comes `first_ms` from now.
fn after_passes<const N: usize>(world: &mut World, first_ms: u64) -> [Pending; N] {
    world.at_ns = world.at_ns + first_ms * 1_000_000 - PACE_NS;
    std::array::from_fn(|_| {
        world.pass();
        world.diagnosis.pending()
    })
}

#[test]
fn socket_that_closes_is_unsettled_from_a_quarter_of_a_second_until_it_is_told() {
    for state in [TcpState::CloseWait, TcpState::FinWait1, TcpState::FinWait2, TcpState::LastAck] {
        let mut world = World::new();
        world.socket(1, state, "10.0.0.1:8080", "10.0.0.7:50000");
        world.hold(1, 4121, "payments");
        assert_eq!(after_passes(&mut world, 249), [SETTLED, OTHERS, SETTLED], "{state:?}");
        let mut world = World::new();
        world.socket(1, state, "10.0.0.1:8080", "10.0.0.7:50000");
        world.hold(1, 4121, "payments");
        assert_eq!(after_passes(&mut world, 250), [OTHERS, OTHERS, SETTLED], "{state:?}");
    }
}

#[test]
fn what_does_not_close_is_settled() {
    for state in [TcpState::Established, TcpState::Listen, TcpState::SynRecv] {
        let mut world = World::new();
        let socket = world.socket(1, state, "10.0.0.1:8080", "10.0.0.7:50000");
        socket.rqueue = 9;
        world.hold(1, 4121, "payments");
        assert_eq!(after_passes(&mut world, 1000), [SETTLED, SETTLED], "{state:?}");
    }
}

#[test]
fn queue_of_a_slow_reader_is_waited_for_only_for_a_while() {
    let mut world = World::new();
    world.socket(1, TcpState::CloseWait, "10.0.0.1:8080", "10.0.0.7:50000").rqueue = 900;
    world.hold(1, 4121, "payments");
    let seen = [500, 5000, 5000, 5000, 5000].map(|after_ms| {
        world.sockets[0].rqueue -= 100;
        let [pending] = after_passes(&mut world, after_ms);
        pending
    });
    assert_eq!(seen, [OTHERS, OTHERS, OTHERS, OTHERS, SETTLED]);
}

#[test]
fn open_connection_that_waits_to_be_accepted_is_unsettled_until_it_is_told() {
    let mut world = World::new();
    world.socket(1, TcpState::Established, "10.0.0.1:8080", "10.0.0.7:50000").inode = 0;
    assert_eq!(after_passes(&mut world, 500), [ESTABLISHED, ESTABLISHED, SETTLED]);
}

#[test]
fn socket_that_nobody_holds_is_looked_up_again() {
    let ghost = Pending { holders: true, ..ESTABLISHED };
    let mut world = World::new();
    world.socket(1, TcpState::Established, "10.0.0.1:50000", "10.0.0.7:80");
    world.carried(1, 0, 0);
    assert_eq!(after_passes(&mut world, 1000), [ghost, SETTLED, SETTLED]);
    // It has ended since it was counted, as most have where connections come and go.
    let mut world = World::new();
    world.socket(1, TcpState::Established, "10.0.0.1:50000", "10.0.0.7:80");
    assert_eq!(after_passes(&mut world, 1000), [SETTLED, SETTLED, SETTLED]);
    // Where somebody may not be seen nothing follows from it.
    let mut world = World::new();
    world.holders_complete = false;
    world.socket(1, TcpState::Established, "10.0.0.1:50000", "10.0.0.7:80");
    assert_eq!(after_passes(&mut world, 1000), [SETTLED, SETTLED]);
}

#[test]
fn open_connection_is_asked_about_if_it_was_looked_up_in_vain() {
    let mut world = World::new();
    for cookie in 1..5 {
        world.socket(cookie, TcpState::Established, "10.0.0.1:50000", "10.0.0.7:80");
    }
    world.get(4).inode = 0;
    let holder = Holder { pid: 4121, fd: 3, comm: Comm::new("payments"), start_boottime_ns: 1 };
    let holders = Holders::new(1, vec![1, 2, 4], Vec::new(), [(Key::Cookie(1), holder)]);
    let sockets = world.sockets.iter().cloned().collect();
    let evidence = Evidence { sockets, holders: Arc::new(holders), ..Evidence::default() };
    assert_eq!(world.diagnosis.requires_info(&evidence), [2]);
}

#[test]
fn unread_answer_is_looked_at_twice_if_the_server_has_closed() {
    let play = |server_state| {
        let mut world = World::new();
        world.socket(1, TcpState::Established, "127.0.0.1:50000", "127.0.0.1:80").rqueue = 100_000;
        world.hold(1, 4121, "payments");
        let server = world.socket(2, server_state, "127.0.0.1:80", "127.0.0.1:50000");
        (server.wqueue, server.inode) = (9000, 0);
        after_passes::<2>(&mut world, 2000).map(|pending| pending.established)
    };
    assert_eq!(play(TcpState::FinWait1), [true, false]);
    assert_eq!(play(TcpState::FinWait2), [false, false]);
}

#[test]
fn data_that_a_paused_process_has_not_read_is_looked_at_twice() {
    let mut world = World::new();
    world.socket(1, TcpState::Established, "10.0.0.1:8080", "10.0.0.7:50000").rqueue = 9;
    world.hold(1, 4121, "payments");
    world.process(4121, "payments").paused = Some(Paused::Stopped);
    assert_eq!(after_passes(&mut world, 0), [ESTABLISHED, SETTLED]);
}
