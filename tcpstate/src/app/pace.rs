//! When which census is taken, so that censuses cost next to nothing however many sockets there are. Where all
//! sockets are quickly counted, all of them are, every time; where there are very many, those that are not
//! `ESTABLISHED` are looked at more often than the rest.

use std::time::Duration;

use crate::track::Scope;

/// After a census the next one of its kind waits this many times as long as it took of the CPU.
const REST: u32 = 150;
/// What takes so long is worth waiting for; what takes longer is not, and goes on behind.
pub(super) const CHEAP: Duration = Duration::from_millis(10);
/// What was seen so recently, or so many times as long ago as looking took, is as good as new.
const FRESH: Duration = Duration::from_secs(1);
const FRESH_FACTOR: u32 = 20;

/// Whether something that was seen a while ago, and cost something to see, is as good as new.
pub(super) fn is_fresh(age: Duration, cost: Duration) -> bool {
    age <= FRESH.max(cost * FRESH_FACTOR)
}

/// Whether something that was seen a while ago, at this cost, may be looked at again.
pub(super) fn has_rested(age: Duration, cost: Duration) -> bool {
    age >= cost * REST
}

/// The censuses that there were.
#[derive(Debug)]
pub(super) struct Pace {
    /// The shortest time from one to the next.
    interval: Duration,
    all: Option<Last>,
    some: Option<Last>,
    /// When the last one failed, monotonic ns, if it did.
    failed_ns: Option<u64>,
}

/// When the last census of a kind ended, and what it cost.
#[derive(Clone, Copy, Debug)]
struct Last {
    ended_ns: u64,
    cost: Duration,
}

impl Last {
    fn due_ns(self, interval: Duration) -> u64 {
        let rest = interval.max(self.cost * REST);
        self.ended_ns.saturating_add(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Pace {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, all: None, some: None, failed_ns: None }
    }

    /// A census has ended. One of all sockets is one of some of them, too.
    pub(super) fn ended(&mut self, scope: Scope, ended_ns: u64, cost: Duration) {
        let last = Last { ended_ns, cost };
        self.failed_ns = None;
        match scope {
            Scope::All => {
                self.all = Some(last);
                let cost = self.some.map_or(Duration::ZERO, |some| some.cost.min(cost));
                self.some = Some(Last { ended_ns, cost });
            }
            Scope::NotEstablished => self.some = Some(last),
        }
    }

    /// A census has failed. What was seen before stays as old as it is.
    pub(super) fn failed(&mut self, now_ns: u64) {
        self.failed_ns = Some(now_ns);
    }

    /// Whether the last census has failed, so that waiting for the next one is waiting for nothing.
    pub(super) fn has_failed(&self) -> bool {
        self.failed_ns.is_some()
    }

    /// When the next census is due, monotonic ns.
    pub(super) fn due_ns(&self) -> u64 {
        if let Some(ended_ns) = self.failed_ns {
            return Last { ended_ns, cost: Duration::ZERO }.due_ns(self.interval);
        }
        let due_ns = |last: Option<Last>| last.map_or(0, |last| last.due_ns(self.interval));
        due_ns(self.all).min(due_ns(self.some))
    }

    /// What a census that is taken now is to show.
    pub(super) fn scope(&self, now_ns: u64) -> Scope {
        match self.all {
            // It costs so little that it might as well show all.
            Some(all) if all.cost > CHEAP && now_ns < all.due_ns(self.interval) => Scope::NotEstablished,
            _ => Scope::All,
        }
    }

    /// When the last census that shows such sockets ended, monotonic ns, and what it cost.
    pub(super) fn last(&self, scope: Scope) -> Option<(u64, Duration)> {
        let last = if scope == Scope::All { self.all } else { self.some };
        last.map(|last| (last.ended_ns, last.cost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn few_sockets_are_all_looked_at_every_time() {
        let mut pace = Pace::new(millis(5000));
        assert_eq!((pace.due_ns(), pace.scope(0)), (0, Scope::All));
        pace.ended(Scope::All, 10 * S, millis(2));
        assert_eq!((pace.due_ns(), pace.scope(11 * S)), (15 * S, Scope::All));
    }

    #[test]
    fn many_established_sockets_are_looked_at_rarely_and_the_others_as_often_as_they_can() {
        let mut pace = Pace::new(millis(5000));
        pace.ended(Scope::All, 10 * S, millis(600));
        assert_eq!((pace.due_ns(), pace.scope(15 * S)), (15 * S, Scope::NotEstablished));
        pace.ended(Scope::NotEstablished, 15 * S, millis(40));
        assert_eq!(pace.due_ns(), 21 * S, "150 times as long as it took");
        pace.ended(Scope::NotEstablished, 99 * S, millis(40));
        assert_eq!((pace.due_ns(), pace.scope(100 * S)), (100 * S, Scope::All));
        // What is seen of all is seen of some.
        pace.ended(Scope::All, 101 * S, millis(600));
        assert_eq!(pace.last(Scope::NotEstablished), Some((101 * S, millis(40))));
        assert_eq!(pace.due_ns(), 107 * S);
    }

    #[test]
    fn census_that_failed_is_tried_again_and_nothing_is_newer_for_it() {
        let mut pace = Pace::new(millis(5000));
        pace.failed(10 * S);
        assert_eq!((pace.due_ns(), pace.has_failed(), pace.last(Scope::All)), (15 * S, true, None));
        pace.ended(Scope::All, 16 * S, millis(1));
        pace.failed(30 * S);
        assert_eq!((pace.due_ns(), pace.last(Scope::All)), (35 * S, Some((16 * S, millis(1)))));
        pace.ended(Scope::All, 36 * S, millis(1));
        assert!(!pace.has_failed());
    }

    #[test]
    fn what_costs_much_stays_fresh_for_longer() {
        assert!(is_fresh(millis(1000), Duration::ZERO));
        assert!(!is_fresh(millis(1001), millis(1)));
        assert!(is_fresh(millis(4000), millis(200)));
        assert!(!has_rested(millis(29_000), millis(200)));
        assert!(has_rested(millis(30_000), millis(200)));
    }
}
