//! A list of sockets, packed: there may be half a million.

use std::ops::Range;

use super::{
    aside::Aside,
    packed::Packed,
    table::{SPARE, Socket},
};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    packed: Vec<Packed>,
    aside: Aside,
}

impl Sockets {
    /// An empty list with room for so many.
    #[must_use]
    pub fn with_capacity(room: usize) -> Self {
        Self { packed: Vec::with_capacity(room), ..Self::default() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packed.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// The socket at this place.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    #[expect(clippy::inline_always, reason = "whoever asks for little of it has little of it unpacked")]
    #[inline(always)]
    pub fn at(&self, place: usize) -> Socket {
        self.packed[place].unpack(&self.aside)
    }

    /// All of them, in their order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Socket> {
        self.packed.iter().map(|packed| packed.unpack(&self.aside))
    }

    /// Some of them, by their places, and whether there are more.
    pub(super) fn portion(&self, places: Range<usize>) -> (impl Iterator<Item = Socket>, bool) {
        let end = places.end.min(self.len());
        let portion = self.packed[places.start.min(end)..end].iter();
        (portion.map(|packed| packed.unpack(&self.aside)), end < self.len())
    }

    /// Puts a socket at the end.
    pub fn push(&mut self, socket: &Socket) {
        self.push_seen(socket, 0);
    }

    /// The same with the number of the census that has seen it.
    pub(super) fn push_seen(&mut self, socket: &Socket, seen: u8) {
        self.packed.push(Packed::new(socket, seen, &mut self.aside));
    }

    /// Puts another one in the place of one that is there.
    ///
    /// # Panics
    /// If there is none.
    pub fn replace(&mut self, place: usize, socket: &Socket) {
        let old = self.packed[place];
        // Who acted is mostly the same as before, and stays where it is.
        self.packed[place] = Packed::new(socket, old.seen, &mut self.aside);
        old.leave(&mut self.aside);
    }

    /// Takes one out, and puts the last one in its place.
    pub(super) fn swap_remove(&mut self, place: usize) -> Socket {
        let packed = self.packed.swap_remove(place);
        let socket = packed.unpack(&self.aside);
        packed.leave(&mut self.aside);
        socket
    }

    /// Frees room of which most is not in use.
    pub(super) fn give_back(&mut self) {
        if self.packed.capacity() > SPARE * self.len() {
            self.packed.shrink_to(2 * self.packed.len());
        }
    }

    /// A census has seen the socket at this place.
    pub(super) fn see(&mut self, place: usize, census: u8) {
        self.packed[place].seen = census;
    }

    /// Puts them in the order of their cookies.
    pub fn sort(&mut self) {
        self.packed.sort_unstable_by_key(Packed::cookie);
    }

    /// As they are kept.
    pub(super) fn packed(&self) -> &[Packed] {
        &self.packed
    }
}

impl FromIterator<Socket> for Sockets {
    fn from_iter<I: IntoIterator<Item = Socket>>(sockets: I) -> Self {
        let mut list = Self::default();
        for socket in sockets {
            list.push(&socket);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use proptest::prelude::*;
    use tcpstate_common::TcpState;

    use super::*;
    use crate::track::{Comm, Family, Opened, Process, Since, Timer, Tuple};

    fn sockets() -> impl Strategy<Value = Socket> {
        // Few processes, so that several sockets are one's.
        let actor = prop::option::of((1..4_u32).prop_map(|pid| Process { pid, comm: Comm::new("nginx") }));
        let numbers = (any::<[u32; 5]>(), any::<u64>(), any::<u8>(), any::<(bool, bool)>());
        let timer = prop::sample::select(vec![Timer::None, Timer::Retransmit, Timer::TimeWait]);
        let state = prop::sample::select(TcpState::ALL.to_vec());
        (tuples(), actor, numbers, timer, state).prop_map(|(tuple, actor, numbers, timer, state)| {
            let ([netns, rqueue, wqueue, uid, inode], ns, retransmits, (exactly, has_uid)) = numbers;
            Socket {
                cookie: ns ^ u64::from(netns),
                netns,
                tuple,
                state,
                since: if exactly { Since::Exactly(ns) } else { Since::AtLatest(ns) },
                timer,
                retransmits,
                rqueue,
                wqueue,
                uid: has_uid.then_some(uid),
                inode,
                actor,
                opened: exactly.then_some(Opened { at_ns: ns, active: has_uid }),
            }
        })
    }

    fn tuples() -> impl Strategy<Value = Tuple> {
        let v4 = || any::<[u8; 4]>().prop_map(IpAddr::from);
        let v6 = || {
            prop_oneof![
                any::<[u8; 16]>().prop_map(IpAddr::from),
                any::<[u8; 4]>().prop_map(|ip| IpAddr::V6(std::net::Ipv4Addr::from(ip).to_ipv6_mapped())),
                Just(IpAddr::from([0; 16])),
            ]
        };
        let ends = prop_oneof![
            (v4(), v4()).prop_map(|ends| (Family::V4, ends)),
            (v6(), v6()).prop_map(|ends| (Family::V6, ends)),
        ];
        (ends, any::<(u16, u16)>()).prop_map(|((family, (local, remote)), (from, to))| Tuple {
            family,
            local: SocketAddr::new(local, from),
            remote: SocketAddr::new(remote, to),
        })
    }

    fn same(one: &Socket, other: &Socket) -> bool {
        format!("{one:?}") == format!("{other:?}")
    }

    #[test]
    fn room_that_is_not_in_use_is_given_back() {
        let mut list = Sockets::with_capacity(1_000);
        list.give_back();
        assert!(list.packed.capacity() <= SPARE, "{}", list.packed.capacity());
    }

    proptest! {
        #[test]
        fn socket_is_the_same_after_it_was_packed_and_nothing_stays_aside(
            begin in prop::collection::vec(sockets(), 1..8),
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(sockets())), 0..24),
        ) {
            let (mut list, mut model): (Sockets, _) = (begin.iter().cloned().collect(), begin);
            for (place, change) in changes {
                if model.is_empty() {
                    break;
                }
                let place = place.index(model.len());
                if let Some(socket) = change {
                    list.replace(place, &socket);
                    model[place] = socket;
                } else {
                    let (removed, expected) = (list.swap_remove(place), model.swap_remove(place));
                    prop_assert!(same(&removed, &expected), "{removed:?} {expected:?}");
                }
                for (socket, expected) in list.iter().zip(&model) {
                    prop_assert!(same(&socket, expected), "{socket:?} {expected:?}");
                }
            }
            while !list.is_empty() {
                list.swap_remove(0);
            }
            prop_assert!(list.aside.is_empty(), "{:?}", list.aside);
        }
    }
}
