//! Chooses what a pass looks at while somebody walks through the table of all sockets, of which there may be half a
//! million: keeps those that park or are remarkable, takes turns with the others, and counts local ports in use.

mod destinations;

use std::{
    cmp::Reverse,
    collections::hash_map::Entry,
    net::{IpAddr, SocketAddr},
};

use foldhash::{HashMap, HashMapExt, HashSet};
use tcpstate_common::TcpState;

use self::destinations::Towards;
use super::{evidence::Destination, thresholds::Thresholds};
use crate::track::{Socket, Sockets, Timer};

/// Destinations that are counted at a time. When there are more, those with a single socket make room.
const MAX_DESTINATIONS: usize = 1 << 16;
/// Destinations that are handed on.
pub(super) const TOP_DESTINATIONS: usize = 64;

/// What was chosen.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// See [`super::Evidence::sockets`]; in the order of their cookies.
    pub sockets: Sockets,
    /// See [`super::Evidence::left_out`].
    pub left_out: u64,
    /// See [`super::Evidence::destinations`].
    pub destinations: Vec<Destination>,
    /// `ESTABLISHED` sockets, all of them.
    pub established: u64,
    /// Destinations that were counted, those with a single socket among them.
    pub(super) counted: usize,
}

/// Chooses. Made by [`super::Diagnosis::selection`] for every pass.
#[derive(Clone, Debug)]
pub struct Selection {
    limits: Limits,
    /// Ports on which something listened at the last pass, with their namespaces: connections to them use up no
    /// ports of this host.
    listening: HashSet<(u32, u16)>,
    /// Sockets that are looked at again, whatever they look like.
    watched: HashSet<u64>,
    turn: Turn,
    unremarkable: usize,
    selected: Selected,
    towards: HashMap<(u32, IpAddr, SocketAddr), Towards>,
    /// There was no room for all destinations, and making room did not help.
    crowded: bool,
}

/// How much there was at the last pass, so that room is made once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    pub(super) sockets: usize,
    pub(super) destinations: usize,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    sockets: usize,
    established: usize,
    destination: u64,
}

/// Which unremarkable sockets have their turn: those whose cookie, hashed, leaves this rest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Turn {
    pub(super) of: u64,
    pub(super) rest: u64,
}

impl Turn {
    fn has(self, cookie: u64) -> bool {
        // Cookies are given out in rows to the CPUs; the high bits of the product are well mixed.
        (cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % self.of.max(1) == self.rest
    }
}

impl Selection {
    pub(super) fn new(
        thresholds: &Thresholds,
        listening: HashSet<(u32, u16)>,
        watched: HashSet<u64>,
        turn: Turn,
        expected: Expected,
    ) -> Self {
        Self {
            limits: Limits {
                sockets: thresholds.max_sockets,
                established: thresholds.max_established,
                destination: thresholds.min_destination,
            },
            listening,
            watched,
            turn,
            unremarkable: 0,
            selected: Selected { sockets: Sockets::with_capacity(expected.sockets), ..Selected::default() },
            towards: HashMap::with_capacity(expected.destinations),
            crowded: false,
        }
    }

    /// Looks at one socket.
    pub fn see(&mut self, socket: &Socket) {
        let state = socket.state;
        self.selected.established += u64::from(state == TcpState::Established);
        if self.is_chosen(socket) {
            if self.selected.sockets.len() < self.limits.sockets {
                self.selected.sockets.push(socket);
            } else {
                self.selected.left_out += 1;
            }
        }
        let uses_a_port = !matches!(state, TcpState::Listen | TcpState::SynRecv | TcpState::NewSynRecv);
        if uses_a_port && !self.listening.contains(&(socket.netns, socket.tuple.local.port())) {
            self.count(socket);
        }
    }

    fn is_chosen(&mut self, socket: &Socket) -> bool {
        match socket.state {
            TcpState::TimeWait | TcpState::Close => false,
            TcpState::Established => {
                if is_remarkable(socket) || self.watched.contains(&socket.cookie) {
                    return true;
                }
                let chosen = self.unremarkable < self.limits.established && self.turn.has(socket.cookie);
                self.unremarkable += usize::from(chosen);
                chosen
            }
            _ => true,
        }
    }

    fn count(&mut self, socket: &Socket) {
        if self.towards.len() >= MAX_DESTINATIONS && !self.crowded {
            self.towards.retain(|_, towards| matches!(towards, Towards::Many(_)));
            self.crowded = self.towards.len() > MAX_DESTINATIONS / 2;
        }
        let full = self.towards.len() >= MAX_DESTINATIONS;
        match self.towards.entry((socket.netns, socket.tuple.local.ip(), socket.tuple.remote)) {
            Entry::Vacant(_) if full => {}
            Entry::Vacant(place) => {
                place.insert(Towards::One(socket.into()));
            }
            Entry::Occupied(place) => place.into_mut().add(socket.into()),
        }
    }

    /// Everything has been looked at.
    #[must_use]
    pub fn finish(self) -> Selected {
        let mut selected = self.selected;
        // Whatever else is known of them is kept by cookie, and found faster one after the other.
        selected.sockets.sort();
        selected.counted = self.towards.len();
        for ((netns, local, remote), towards) in self.towards {
            let Towards::Many(many) = towards else { continue };
            // Accepted connections are no destinations, and have none in common: each has its client's own port.
            if many.sockets() < self.limits.destination || remote.port() == 0 {
                continue;
            }
            let destination = many.into_destination(netns, local, remote);
            if destination.used() >= self.limits.destination {
                selected.destinations.push(destination);
            }
        }
        selected
            .destinations
            .sort_by_key(|destination| (Reverse(destination.used()), destination.netns, destination.remote));
        selected.destinations.truncate(TOP_DESTINATIONS);
        selected
    }
}

/// Whether an `ESTABLISHED` socket has something about it that a rule asks for.
fn is_remarkable(socket: &Socket) -> bool {
    socket.inode == 0
        || socket.rqueue > 0
        || socket.retransmits > 0
        || socket.timer == Timer::Persist
        || socket.tuple.local == socket.tuple.remote
}
