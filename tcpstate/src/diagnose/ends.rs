//! The two ends of a connection as one, where both are on this host.

use std::{hash::BuildHasher, net::SocketAddr};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use tcpstate_common::TcpState;

use super::socket_view::SocketView;
use crate::track::{Socket, Tuple};

/// The sockets of a pass by their addresses, as indexes.
#[derive(Debug)]
pub(super) struct Ends(HashTable<u32>);

impl Ends {
    pub(super) fn new(all: &[SocketView<'_>]) -> Self {
        let mut ends = HashTable::with_capacity(all.len());
        let hash_of = |index: &u32| all.get(*index as usize).map_or(0, |seen| hash(between(&seen.socket())));
        for (index, seen) in (0_u32..).zip(all) {
            if seen.socket().state != TcpState::Listen {
                ends.insert_unique(hash_of(&index), index, hash_of);
            }
        }
        Self(ends)
    }

    /// The index of the socket at the other end: in the same namespace, or else in the only other one that has a socket
    /// with these addresses. What is of the loopback net stays in its namespace.
    pub(super) fn other(&self, all: &[SocketView<'_>], socket: &Socket) -> Option<usize> {
        let (place, (local, remote)) = between(socket);
        let wanted = (place, (remote, local));
        let mut elsewhere = None;
        let mut others = 0;
        for index in self.0.iter_hash(hash(wanted)) {
            let Some(seen) = all.get(*index as usize) else { continue };
            if between(&seen.socket()) == wanted {
                if seen.socket().netns == socket.netns {
                    return Some(*index as usize);
                }
                elsewhere = Some(*index as usize);
                others += 1;
            }
        }
        elsewhere.filter(|_| others == 1)
    }
}

/// Both ends as plain addresses, the local one first: a mapped IPv4 address is the one that it maps.
pub(super) fn of(tuple: &Tuple) -> (SocketAddr, SocketAddr) {
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    (plain(tuple.local), plain(tuple.remote))
}

/// The two ends of a socket's connection, and the namespace if that is the only one in which these addresses mean these
/// ends.
fn between(socket: &Socket) -> (Option<u32>, (SocketAddr, SocketAddr)) {
    let (local, remote) = of(&socket.tuple);
    let stays = local.ip().is_loopback() || remote.ip().is_loopback();
    (stays.then_some(socket.netns), (local, remote))
}

fn hash(ends: (Option<u32>, (SocketAddr, SocketAddr))) -> u64 {
    FixedState::default().hash_one(ends)
}
