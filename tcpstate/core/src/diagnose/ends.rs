//! The two ends of a connection as one, where both are on this host.

use std::{hash::BuildHasher, net::SocketAddr};

use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table::Entry};
use tcpstate_common::TcpState;

use super::socket_view::SocketView;
use crate::track::{Socket, Tuple};

/// The sockets of a pass between the same two addresses, in a ring: each leads to the next of them, one alone to itself.
#[derive(Debug)]
pub(super) struct Ends(Vec<u32>);

impl Ends {
    pub(super) fn new(all: &[SocketView<'_>]) -> Self {
        let mut next: Vec<u32> = (0..).take(all.len()).collect();
        let mut rings = HashTable::with_capacity(all.len());
        let between_of = |index: u32| all.get(index as usize).map(|seen| unordered(between(&seen.socket())));
        for (index, seen) in (0_u32..).zip(all) {
            if seen.socket().state == TcpState::Listen {
                continue;
            }
            let ends = unordered(between(&seen.socket()));
            let is_same = |other: &u32| between_of(*other) == Some(ends);
            match rings.entry(hash(ends), is_same, |other| between_of(*other).map_or(0, hash)) {
                Entry::Occupied(ring) => next.swap(*ring.get() as usize, index as usize),
                Entry::Vacant(ring) => {
                    ring.insert(index);
                }
            }
        }
        Self(next)
    }

    /// The index of the socket at the other end: in the same namespace, or else in the only other one that has a socket
    /// with these addresses. What is of the loopback net stays in its namespace.
    pub(super) fn other(&self, all: &[SocketView<'_>], of: &SocketView<'_>) -> Option<usize> {
        let socket = of.socket();
        let (_, (_, remote)) = between(&socket);
        let mut elsewhere = None;
        let mut others = 0;
        let mut index = *self.0.get(of.index())? as usize;
        while index != of.index() {
            let other = all.get(index)?.socket();
            if between(&other).1.0 == remote {
                if other.netns == socket.netns {
                    return Some(index);
                }
                elsewhere = Some(index);
                others += 1;
            }
            index = *self.0.get(index)? as usize;
        }
        elsewhere.filter(|_| others == 1)
    }
}

/// Both ends as plain addresses, the local one first: a mapped IPv4 address is the one that it maps.
pub(super) fn of(tuple: &Tuple) -> (SocketAddr, SocketAddr) {
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    (plain(tuple.local), plain(tuple.remote))
}

/// The ends of a connection, and the namespace if that is the only one in which these addresses mean these ends.
type Between = (Option<u32>, (SocketAddr, SocketAddr));

/// Of a socket: the local end first.
fn between(socket: &Socket) -> Between {
    let (local, remote) = of(&socket.tuple);
    let stays = local.ip().is_loopback() || remote.ip().is_loopback();
    (stays.then_some(socket.netns), (local, remote))
}

/// The same for both ends.
fn unordered((place, (one, other)): Between) -> Between {
    (place, (one.min(other), one.max(other)))
}

fn hash(ends: Between) -> u64 {
    FixedState::default().hash_one(ends)
}
