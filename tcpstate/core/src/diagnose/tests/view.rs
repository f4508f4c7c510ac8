//! The evidence as the rules see it.

use tcpstate_common::TcpState;

use super::{NETNS, World};
use crate::diagnose::{
    evidence::Evidence, history::History, program::Programs, socket_view, thresholds::Thresholds, view::View,
};
use crate::track::Socket;

/// What a view of the world says about the socket with this cookie.
fn ask(world: &World, cookie: u64, question: impl FnOnce(&View<'_>, &Socket) -> Option<u64>) -> Option<u64> {
    let evidence = Evidence { sockets: world.sockets.iter().cloned().collect(), ..Evidence::default() };
    let seen = socket_view::all(&evidence);
    let (mut history, programs) = (History::default(), Programs::default());
    let thresholds = Thresholds::default();
    history.observe(&evidence, &seen);
    let view = View::new(&evidence, seen, &history, &programs, &thresholds);
    question(&view, world.sockets.iter().find(|socket| socket.cookie == cookie).expect("it is there"))
}

/// The cookie of the socket at the other end of the one with this cookie.
fn other_end(world: &World, cookie: u64) -> Option<u64> {
    ask(world, cookie, |view, socket| {
        let seen = view.seen.iter().find(|seen| seen.socket().cookie == socket.cookie)?;
        view.other_end(seen).map(|other| other.socket().cookie)
    })
}

/// The cookie of the listener that serves the address to which the one with this cookie goes.
fn local_server(world: &World, cookie: u64) -> Option<u64> {
    ask(world, cookie, |view, socket| {
        view.local_server(socket.netns, socket.tuple.remote).map(|listening| listening.socket.cookie)
    })
}

/// Sockets between two addresses, the server's first, in these namespaces; the cookies go on from 1.
fn pairs(server: &str, client: &str, namespaces: &[(u32, u32)]) -> World {
    let mut world = World::new();
    for (number, (servers, clients)) in (0..).zip(namespaces) {
        world.socket(2 * number + 1, TcpState::Established, server, client).netns = *servers;
        world.socket(2 * number + 2, TcpState::Established, client, server).netns = *clients;
    }
    world
}

#[test]
fn loopback_pairs_stay_in_their_namespaces() {
    let world = pairs("127.0.0.1:80", "127.0.0.1:40000", &[(NETNS, NETNS), (8, 8), (9, 9)]);
    let ends: Vec<_> = (1..=6).map(|cookie| other_end(&world, cookie)).collect();
    assert_eq!(ends, [2, 1, 4, 3, 6, 5].map(Some));
    // The other end of one is gone, and there is another between the same addresses.
    let mut world = pairs("[::ffff:127.0.0.1]:80", "127.0.0.1:40000", &[(NETNS, NETNS), (8, 8)]);
    world.remove(4);
    assert_eq!((other_end(&world, 3), other_end(&world, 1)), (None, Some(2)));
}

#[test]
fn other_end_in_another_namespace_is_found_by_its_addresses() {
    let world = pairs("10.0.0.1:80", "10.0.0.2:40000", &[(NETNS, 8)]);
    assert_eq!((other_end(&world, 1), other_end(&world, 2)), (Some(2), Some(1)));
}

#[test]
fn nobody_is_the_other_end_where_two_might_be() {
    // Two networks of containers with the same addresses.
    let world = pairs("10.0.0.1:80", "10.0.0.2:40000", &[(NETNS, 8), (9, 10)]);
    assert!((1..=4).all(|cookie| other_end(&world, cookie).is_none()));
    // But what is in the same namespace is nearer.
    let world = pairs("10.0.0.1:80", "10.0.0.2:40000", &[(NETNS, NETNS), (9, 10)]);
    assert_eq!((other_end(&world, 1), other_end(&world, 2)), (Some(2), Some(1)));
}

#[test]
fn server_in_another_namespace_is_known_if_only_one_has_its_address() {
    let mut world = pairs("10.0.0.1:80", "10.0.0.2:40000", &[(NETNS, 8), (9, 10)]);
    world.socket(20, TcpState::Listen, "0.0.0.0:80", "0.0.0.0:0").netns = NETNS;
    assert_eq!((local_server(&world, 2), local_server(&world, 4)), (Some(20), Some(20)));
    world.socket(21, TcpState::Listen, "10.0.0.1:80", "0.0.0.0:0").netns = 9;
    assert_eq!((local_server(&world, 2), local_server(&world, 4)), (None, None));
    // One of them goes to its own.
    assert_eq!(local_server(&world, 1), None, "nobody listens at the client's port");
    world.socket(22, TcpState::SynSent, "10.0.0.1:40001", "10.0.0.1:80").netns = 9;
    assert_eq!(local_server(&world, 22), Some(21));
}
