//! What packed sockets keep aside: the processes that acted, of which there are few, and pairs of IPv6 addresses, which
//! most hosts have few of. Both have numbers.

use std::{collections::hash_map::Entry, net::Ipv6Addr};

use foldhash::HashMap;

use super::event::Process;

/// The addresses of both ends of a connection.
pub(super) type Pair = [Ipv6Addr; 2];

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Aside {
    actors: Numbered<Actor>,
    /// The numbers of the actors.
    known: HashMap<Process, u32>,
    pairs: Numbered<Pair>,
}

/// A process that acted on sockets.
#[derive(Clone, Copy, Debug)]
struct Actor {
    process: Process,
    sockets: u32,
}

impl Aside {
    /// The number of a process that acted on one more socket; never 0.
    pub(super) fn add_actor(&mut self, process: Process) -> u32 {
        match self.known.entry(process) {
            Entry::Occupied(known) => {
                let number = *known.get();
                if let Some(actor) = self.actors.get_mut(number) {
                    actor.sockets += 1;
                }
                number
            }
            Entry::Vacant(place) => *place.insert(self.actors.add(Actor { process, sockets: 1 })),
        }
    }

    /// One socket less on which this one acted.
    pub(super) fn remove_actor(&mut self, number: u32) {
        let Some(actor) = self.actors.get_mut(number) else { return };
        actor.sockets -= 1;
        if actor.sockets == 0 {
            self.known.remove(&actor.process);
            self.actors.remove(number);
        }
    }

    /// The process with this number; `None` for 0.
    pub(super) fn actor(&self, number: u32) -> Option<Process> {
        self.actors.get(number).map(|actor| actor.process)
    }

    pub(super) fn add_pair(&mut self, pair: Pair) -> u32 {
        self.pairs.add(pair)
    }

    pub(super) fn remove_pair(&mut self, number: u32) {
        self.pairs.remove(number);
    }

    pub(super) fn pair(&self, number: u32) -> Pair {
        self.pairs.get(number).copied().unwrap_or([Ipv6Addr::UNSPECIFIED; 2])
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.actors.all.is_empty() && self.pairs.all.is_empty()
    }
}

/// Things with numbers from 1 on. The number of one that was removed is given again.
#[derive(Clone, Debug)]
struct Numbered<T> {
    all: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { all: Vec::new(), free: Vec::new() }
    }
}

impl<T> Numbered<T> {
    fn add(&mut self, thing: T) -> u32 {
        if let Some(number) = self.free.pop() {
            if let Some(place) = self.get_mut(number) {
                *place = thing;
            }
            return number;
        }
        self.all.push(thing);
        // There are no more than sockets in a list, whose places have 32 bits.
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    fn remove(&mut self, number: u32) {
        self.free.push(number);
        if self.free.len() == self.all.len() {
            (self.all, self.free) = (Vec::new(), Vec::new());
        }
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.all.get((number as usize).checked_sub(1)?)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.all.get_mut((number as usize).checked_sub(1)?)
    }
}
