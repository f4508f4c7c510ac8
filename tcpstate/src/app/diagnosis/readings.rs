//! What was last read of each network namespace. A pass visits only some of them where there are many, so that what
//! their counters have grown by is known only if the last reading of each is kept.

use foldhash::{HashMap, HashSet};

use super::words;
use crate::diagnose::evidence::{Counters, Namespace, Sysctls};

/// Namespaces whose last reading is kept: about half a KiB each.
const MOST: usize = 1024;
/// A reading is kept for so long, ns: by then the number may be another namespace's.
const KEPT_NS: u64 = 3_600_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
struct Reading {
    at_ns: u64,
    counters: Counters,
    sysctls: Sysctls,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Readings {
    by_netns: HashMap<u32, Reading>,
    most: usize,
}

impl Default for Readings {
    fn default() -> Self {
        Self { by_netns: HashMap::default(), most: MOST }
    }
}

impl Readings {
    /// Takes in what was read now, monotonic ns, and returns it with what was added since the last time.
    pub(super) fn add(
        &mut self,
        netns: u32,
        counters: &Counters,
        sysctls: &Sysctls,
        now_ns: u64,
    ) -> Namespace {
        let before = self.by_netns.get(&netns);
        let namespace = Namespace {
            counters: *counters,
            delta: before.map(|before| words::delta(counters, &before.counters)),
            delta_ms: before.map(|before| now_ns.saturating_sub(before.at_ns) / NS_PER_MS),
            sysctls: *sysctls,
        };
        if before.is_some() || self.by_netns.len() < self.most {
            self.by_netns.insert(netns, Reading { at_ns: now_ns, counters: *counters, sysctls: *sysctls });
        }
        namespace
    }

    /// Forgets what is old, and, if there is no room left, the namespaces that have no sockets any more. Returns how
    /// many of those that have some find no room.
    pub(super) fn make_room(&mut self, alive: &HashSet<u32>, now_ns: u64) -> usize {
        self.by_netns.retain(|_, reading| now_ns.saturating_sub(reading.at_ns) < KEPT_NS);
        if self.by_netns.len() < self.most {
            return 0;
        }
        self.by_netns.retain(|netns, _| alive.contains(netns));
        alive.len().saturating_sub(self.most)
    }

    /// What was last read of these namespaces: nothing was added that is known of.
    pub(super) fn last(&self, alive: &HashSet<u32>) -> impl Iterator<Item = (u32, Namespace)> {
        let known = self.by_netns.iter().filter(|(netns, _)| alive.contains(netns));
        known.map(|(netns, reading)| {
            let Reading { counters, sysctls, .. } = *reading;
            (*netns, Namespace { counters, delta: None, delta_ms: None, sysctls })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn overflows(count: u64) -> Counters {
        Counters { listen_overflows: Some(count), ..Counters::default() }
    }

    fn add(readings: &mut Readings, netns: u32, count: u64, now_ns: u64) -> Option<(u64, u64)> {
        let namespace = readings.add(netns, &overflows(count), &Sysctls::default(), now_ns);
        Some((namespace.delta?.listen_overflows?, namespace.delta_ms?))
    }

    #[test]
    fn what_was_added_is_exact_over_the_passes_that_did_not_look() {
        let mut readings = Readings::default();
        assert_eq!(add(&mut readings, 1, 100, S), None, "it was never read before");
        for pass in 2..20 {
            readings.make_room(&HashSet::from_iter([1, 2]), pass * S);
            add(&mut readings, 2, 0, pass * S);
        }
        assert_eq!(add(&mut readings, 1, 130, 20 * S), Some((30, 19_000)));
        assert_eq!(add(&mut readings, 1, 131, 21 * S), Some((1, 1_000)));
        assert_eq!(add(&mut readings, 1, 7, 22 * S), None, "another namespace has the number now");
    }

    #[test]
    fn settings_are_known_between_visits_and_nothing_is_counted_twice() {
        let mut readings = Readings::default();
        let sysctls = Sysctls { local_ports: Some((50_000, 50_009)), ..Sysctls::default() };
        readings.add(1, &overflows(1), &sysctls, S);
        readings.add(1, &overflows(4), &sysctls, 2 * S);
        let last: Vec<_> = readings.last(&HashSet::from_iter([1, 2])).collect();
        let expected = Namespace { counters: overflows(4), delta: None, delta_ms: None, sysctls };
        assert_eq!(last, [(1, expected)]);
        assert_eq!(readings.last(&HashSet::from_iter([2])).count(), 0, "it has gone");
    }

    #[test]
    fn room_is_bounded_and_what_finds_none_is_counted() {
        let mut readings = Readings { most: 3, ..Readings::default() };
        for netns in 1..=5 {
            add(&mut readings, netns, 0, S);
        }
        assert_eq!(readings.last(&(1..=5).collect()).count(), 3);
        assert_eq!(readings.make_room(&(1..=5).collect(), S), 2);
        assert_eq!(add(&mut readings, 5, 9, 2 * S), None);
        assert_eq!(add(&mut readings, 3, 9, 2 * S), Some((9, 1_000)));
        // The first two have gone: there is room.
        assert_eq!(readings.make_room(&(3..=5).collect(), 3 * S), 0);
        add(&mut readings, 5, 10, 3 * S);
        assert_eq!(add(&mut readings, 5, 12, 4 * S), Some((2, 1_000)));
        readings.make_room(&(3..=5).collect(), 2 * S + KEPT_NS);
        assert_eq!(add(&mut readings, 3, 10, 5 * S + KEPT_NS), None, "that is too long ago");
    }
}
