//! When which census is taken, so that censuses cost next to nothing however many sockets there are. Where all
//! sockets are quickly counted, all of them are, every time; where there are very many, those that are not
//! `ESTABLISHED` are looked at more often than the rest. Where counting is not expensive, it is done often enough for
//! a verdict, which takes two looks, to come within 15 s, and earlier while something waits for the second look.

use std::time::Duration;

use crate::track::Scope;

/// After a census the next one of its kind waits this many times as long as it took of the CPU.
const REST: u32 = 150;
/// Up to this cost a census is taken often enough for a verdict: what costs more could not be had in time anyway without
/// taking more than 2 % of a CPU.
const AFFORDABLE: Duration = Duration::from_millis(100);
/// From one census of such a cost to the next at most.
const IN_TIME: Duration = Duration::from_secs(8);
/// The same as [`REST`], while somebody waits for it: 2 % of a CPU.
const HASTE: u32 = 50;
/// A census that is due waits so long, ns, for the time at which somebody wants it.
const SOON_NS: u64 = 1_000_000_000;
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
    wish: Option<Wish>,
    /// When the last one failed, monotonic ns, if it did.
    failed_ns: Option<u64>,
}

/// A census that somebody waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Wish {
    pub(super) scope: Scope,
    /// What was seen before is too old, monotonic ns.
    pub(super) at_ns: u64,
}

impl Wish {
    /// Whether a census that ended then is as good as the one that is waited for.
    pub(super) fn is_fulfilled_by(self, scope: Scope, ended_ns: u64) -> bool {
        ended_ns >= self.at_ns && (scope == Scope::All || scope == self.scope)
    }
}

/// When the last census of a kind ended, and what it cost.
#[derive(Clone, Copy, Debug)]
struct Last {
    ended_ns: u64,
    cost: Duration,
}

impl Last {
    fn due_ns(self, interval: Duration) -> u64 {
        let mut rest = self.cost * REST;
        if self.cost <= AFFORDABLE {
            rest = rest.min(IN_TIME);
        }
        self.after(interval.max(rest))
    }

    /// The same while somebody waits for one that ends at `wished_ns` or later.
    fn due_for_ns(self, interval: Duration, wished_ns: u64) -> u64 {
        let due_ns = self.due_ns(interval);
        if self.cost > AFFORDABLE {
            return due_ns;
        }
        due_ns.min(wished_ns.max(self.after(self.cost * HASTE)))
    }

    fn after(self, rest: Duration) -> u64 {
        self.ended_ns.saturating_add(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Pace {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, all: None, some: None, wish: None, failed_ns: None }
    }

    /// Somebody waits for a census. The interval that was asked for is halved at most.
    pub(super) fn wish(&mut self, wish: Wish) {
        let earliest_ns = self.some.map_or(0, |last| last.after(self.interval / 2));
        self.wish = Some(Wish { at_ns: wish.at_ns.max(earliest_ns), ..wish });
    }

    /// A census has ended. One of all sockets is one of some of them, too.
    pub(super) fn ended(&mut self, scope: Scope, ended_ns: u64, cost: Duration) {
        let last = Last { ended_ns, cost };
        self.failed_ns = None;
        self.wish = self.wish.filter(|wish| !wish.is_fulfilled_by(scope, ended_ns));
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
        let due_ns = self.all_due_ns().min(self.some_due_ns());
        match self.wish {
            // One that comes just too early would be of no use to whoever waits, and be in the way of the next one.
            Some(Wish { at_ns, .. }) if due_ns < at_ns && at_ns - due_ns <= SOON_NS => at_ns,
            _ => due_ns,
        }
    }

    fn all_due_ns(&self) -> u64 {
        self.all.map_or(0, |all| self.kind_due_ns(all, Scope::All))
    }

    fn some_due_ns(&self) -> u64 {
        self.some.map_or(0, |some| self.kind_due_ns(some, Scope::NotEstablished))
    }

    fn kind_due_ns(&self, last: Last, scope: Scope) -> u64 {
        // Where all sockets cannot be had in time, the others are better than nothing.
        let wish = self.wish.filter(|wish| wish.scope == scope || wish.scope == Scope::All);
        wish.map_or_else(|| last.due_ns(self.interval), |wish| last.due_for_ns(self.interval, wish.at_ns))
    }

    /// What a census that is taken now is to show: all, if that costs so little that it might as well, or if it would be
    /// due before the next one of the others and has rested enough to be taken earlier.
    pub(super) fn scope(&self, now_ns: u64) -> Scope {
        let Some(all) = self.all.filter(|all| all.cost > CHEAP) else { return Scope::All };
        let due_ns = self.all_due_ns();
        // Otherwise it would never be known what a census of the others costs.
        let is_known = self.some.is_some_and(|some| !some.cost.is_zero());
        let next_ns = now_ns.saturating_add(u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX));
        let is_near = is_known && next_ns >= due_ns && now_ns >= all.after(all.cost * HASTE);
        if now_ns >= due_ns || is_near { Scope::All } else { Scope::NotEstablished }
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
    fn affordable_census_is_taken_often_enough_for_two_before_a_verdict_is_due() {
        let mut pace = Pace::new(millis(5000));
        for (cost_ms, due_ms) in [(50, 7500), (60, 8000), (100, 8000), (101, 15_150)] {
            pace.ended(Scope::All, 10 * S, millis(cost_ms));
            pace.ended(Scope::NotEstablished, 10 * S, millis(cost_ms));
            assert_eq!(pace.due_ns(), 10 * S + due_ms * 1_000_000, "{cost_ms} ms");
        }
    }

    #[test]
    fn census_that_somebody_waits_for_comes_when_it_is_wanted_if_it_is_affordable() {
        let mut pace = Pace::new(millis(5000));
        let mut due_ns = |cost_ms, wish| {
            pace.ended(Scope::All, 10 * S, millis(cost_ms));
            pace.ended(Scope::NotEstablished, 10 * S, millis(cost_ms));
            pace.wish(wish);
            (pace.due_ns(), pace.scope(pace.due_ns()))
        };
        let all = |at_ns| Wish { scope: Scope::All, at_ns };
        assert_eq!(due_ns(60, all(14 * S)), (14 * S, Scope::All));
        assert_eq!(due_ns(1, all(12 * S)), (12 * S + S / 2, Scope::All), "an interval is halved at most");
        assert_eq!(due_ns(90, all(12 * S)), (14 * S + S / 2, Scope::All), "50 times as long as it took");
        assert_eq!(due_ns(60, Wish { scope: Scope::NotEstablished, at_ns: 14 * S }).0, 14 * S);
    }

    #[test]
    fn census_that_would_come_just_before_it_is_wanted_is_put_off_until_then() {
        let mut pace = Pace::new(millis(5000));
        pace.ended(Scope::All, 10 * S, millis(1));
        let wish = |at_ns| Wish { scope: Scope::NotEstablished, at_ns };
        pace.wish(wish(16 * S));
        assert_eq!(pace.due_ns(), 16 * S);
        pace.wish(wish(16 * S + 1));
        assert_eq!(pace.due_ns(), 15 * S);
        // Whoever waited has what it wanted.
        pace.ended(Scope::All, 17 * S, millis(1));
        pace.ended(Scope::NotEstablished, 11 * S, millis(1));
        assert_eq!(pace.due_ns(), 16 * S);
    }

    #[test]
    fn census_that_is_too_expensive_is_taken_no_sooner_for_being_waited_for() {
        let mut pace = Pace::new(millis(5000));
        pace.ended(Scope::All, 10 * S, millis(600));
        pace.ended(Scope::NotEstablished, 10 * S, millis(200));
        pace.wish(Wish { scope: Scope::All, at_ns: 14 * S });
        assert_eq!((pace.due_ns(), pace.scope(14 * S)), (40 * S, Scope::NotEstablished));
    }

    #[test]
    fn all_are_counted_where_they_would_be_due_before_the_others_are_again() {
        let mut pace = Pace::new(millis(5000));
        pace.ended(Scope::All, 10 * S, millis(600));
        assert_eq!(pace.scope(99 * S), Scope::NotEstablished, "it is not known what the others cost");
        pace.ended(Scope::NotEstablished, 10 * S, millis(40));
        assert_eq!(pace.scope(94 * S), Scope::NotEstablished);
        assert_eq!(pace.scope(95 * S), Scope::All);
        pace.ended(Scope::All, 110 * S, millis(100));
        assert_eq!(pace.scope(114 * S), Scope::NotEstablished, "it has rested 40 times as long as it took");
        assert_eq!(pace.scope(115 * S), Scope::All);
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
