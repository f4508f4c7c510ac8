//! When which census is taken, so that censuses cost next to nothing however many sockets there are. Where all
//! sockets are quickly counted, all of them are, every time; where there are very many, those that are not
//! `ESTABLISHED` are looked at more often than the rest. Where counting is not expensive, it is done often enough for
//! a verdict, which takes two looks, to come within 15 s, and earlier while something waits for the second look. No
//! verdict waits for `TIME_WAIT`, which a busy server has a hundred thousand of: they are counted along with the others
//! as often as they can, by what that costs.

use std::time::Duration;

use crate::{clock, track::Scope};

/// Up to this cost a census is taken often enough for a verdict: what costs more could not be had in time anyway without
/// taking more than 2 % of a CPU.
const AFFORDABLE: Duration = Duration::from_millis(100);
/// After a census of at most that cost the next one of its kind waits this many times as long as it took of the CPU, and
/// [`IN_TIME`] at most.
const EASY_REST: u32 = 600;
const IN_TIME: Duration = Duration::from_secs(8);
/// After one that costs more it waits this many times as long: half a percent of a CPU.
const DEAR_REST: u32 = 200;
/// The same after counting `TIME_WAIT`, and after a look-up of holders.
const REST: u32 = 150;
/// The same while somebody waits for a census of at most that cost: 2 % of a CPU.
const HASTE: u32 = 50;
/// A census that is due waits so long, ns, for the time at which somebody wants it.
const SOON_NS: u64 = 1_000_000_000;
/// What takes so long is worth waiting for; what takes longer is not, and goes on behind.
pub(super) const CHEAP: Duration = Duration::from_millis(10);
/// What was seen so recently, or so many times as long ago as looking took, is as good as new.
const FRESH: Duration = Duration::from_secs(1);
const FRESH_FACTOR: u32 = 20;
/// What counting a `TIME_WAIT` takes, as long as it has not been measured.
const TIME_WAIT_COST: Duration = Duration::from_nanos(1500);
/// How long one lasts (`TCP_TIMEWAIT_LEN` in `include/net/tcp.h`): where counting them is more than [`AFFORDABLE`], each of
/// them is counted once.
const TIME_WAIT_LASTS: Duration = Duration::from_mins(1);
/// Fewer do not make a measurement.
const ENOUGH: u64 = 1000;

/// Whether something that was seen a while ago, and cost something to see, is as good as new.
pub(super) fn is_fresh(age: Duration, cost: Duration) -> bool {
    age <= FRESH.max(cost * FRESH_FACTOR)
}

/// Whether something that was seen a while ago, at this cost, may be looked at again.
pub(super) fn has_rested(age: Duration, cost: Duration) -> bool {
    age >= cost * REST
}

fn times(cost: Duration, count: u64) -> Duration {
    cost.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The censuses that there were.
#[derive(Debug)]
pub(super) struct Pace {
    /// The shortest time from one to the next.
    interval: Duration,
    /// With `ESTABLISHED`; what counting `TIME_WAIT` took is not in its cost.
    all: Option<Last>,
    /// Of the others, likewise.
    some: Option<Last>,
    time_wait: Option<Last>,
    /// What counting one of those takes.
    each_time_wait: Duration,
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
        ended_ns >= self.at_ns && scope.covers(self.scope)
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
        let rest = if self.cost <= AFFORDABLE {
            (self.cost * EASY_REST).min(IN_TIME)
        } else {
            self.cost * DEAR_REST
        };
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
        self.ended_ns.saturating_add(clock::nanos(rest))
    }
}

impl Pace {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            all: None,
            some: None,
            time_wait: None,
            each_time_wait: TIME_WAIT_COST,
            wish: None,
            failed_ns: None,
        }
    }

    /// Somebody waits for a census. The interval that was asked for is halved at most.
    pub(super) fn wish(&mut self, wish: Wish) {
        let earliest_ns = self.some.map_or(0, |last| last.after(self.interval / 2));
        self.wish = Some(Wish { at_ns: wish.at_ns.max(earliest_ns), ..wish });
    }

    /// A census has ended, which has shown so many sockets, and so many `TIME_WAIT` among them. One of all sockets is
    /// one of some of them, too.
    pub(super) fn ended(
        &mut self,
        scope: Scope,
        ended_ns: u64,
        cost: Duration,
        (time_waits, sockets): (u64, u64),
    ) {
        self.failed_ns = None;
        self.wish = self.wish.filter(|wish| !wish.is_fulfilled_by(scope, ended_ns));
        let share = |of: u64| times(cost, of) / u32::try_from(sockets).unwrap_or(u32::MAX).max(1);
        let of_time_wait = share(time_waits);
        if scope.time_wait {
            self.time_wait = Some(Last { ended_ns, cost: of_time_wait });
        }
        if time_waits >= ENOUGH {
            self.each_time_wait = share(1);
        }
        // Where `TIME_WAIT` are left out, the kernel still walks past them: counting the others costs no less than it did.
        let known = self.some.filter(|some| !some.cost.is_zero());
        let before = if scope.established { self.all } else { known.or(self.all) };
        let mut others = cost.saturating_sub(of_time_wait);
        if let Some(before) = before
            && time_waits >= ENOUGH
        {
            others = others.max(before.cost.min(cost));
        }
        if scope.established {
            self.all = Some(Last { ended_ns, cost: others });
            others = self.some.map_or(Duration::ZERO, |some| some.cost.min(others));
        }
        self.some = Some(Last { ended_ns, cost: others });
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
        self.all.map_or(0, |all| self.kind_due_ns(all, true))
    }

    fn some_due_ns(&self) -> u64 {
        self.some.map_or(0, |some| self.kind_due_ns(some, false))
    }

    fn kind_due_ns(&self, last: Last, established: bool) -> u64 {
        // Where all sockets cannot be had in time, the others are better than nothing.
        let wish = self.wish.filter(|wish| wish.scope.established || !established);
        wish.map_or_else(|| last.due_ns(self.interval), |wish| last.due_for_ns(self.interval, wish.at_ns))
    }

    /// What a census that is taken now is to show, while there are so many `TIME_WAIT`.
    pub(super) fn scope(&self, now_ns: u64, time_waits: u64) -> Scope {
        Scope {
            established: self.is_for_established(now_ns),
            time_wait: self.is_for_time_wait(now_ns, time_waits),
        }
    }

    /// Whether it costs so little that `ESTABLISHED` might as well be shown, or whether that would be due before the
    /// next census of the others and has rested enough to be done earlier.
    fn is_for_established(&self, now_ns: u64) -> bool {
        let Some(all) = self.all.filter(|all| all.cost > CHEAP) else { return true };
        // Otherwise it would never be known what a census of the others costs.
        let is_known = self.some.is_some_and(|some| !some.cost.is_zero());
        self.is_due(all, self.all_due_ns(), now_ns, is_known)
    }

    fn is_for_time_wait(&self, now_ns: u64, time_waits: u64) -> bool {
        let Some(last) = self.time_wait else { return true };
        // Those that have just become many are counted soon, once; those that have become few again, too.
        let cost = times(self.each_time_wait, time_waits).min(last.cost);
        let last = Last { cost, ..last };
        let shortest = if cost <= AFFORDABLE { self.interval } else { TIME_WAIT_LASTS };
        let due_ns = last.after(shortest.max(cost.saturating_mul(REST)));
        self.is_due(last, due_ns, now_ns, true)
    }

    /// Whether it is due, or will be before the next census and has rested enough to be taken now.
    fn is_due(&self, last: Last, due_ns: u64, now_ns: u64, may_be_early: bool) -> bool {
        let next_ns = now_ns.saturating_add(clock::nanos(self.interval));
        let is_near = next_ns >= due_ns && now_ns >= last.after(last.cost.saturating_mul(HASTE));
        now_ns >= due_ns || (may_be_early && is_near)
    }

    /// As of when all such sockets are known, monotonic ns, and what it cost to count them.
    pub(super) fn last(&self, scope: Scope) -> Option<(u64, Duration)> {
        let last = if scope.established { self.all } else { self.some };
        let Last { ended_ns, cost } = last?;
        if !scope.time_wait {
            return Some((ended_ns, cost));
        }
        let time_wait = self.time_wait?;
        Some((ended_ns.min(time_wait.ended_ns), cost + time_wait.cost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    /// What is shown where `ESTABLISHED` is left out and there is no `TIME_WAIT`.
    const OTHERS: Scope = Scope { established: false, time_wait: true };
    const NONE: (u64, u64) = (0, 100);

    fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn few_sockets_are_all_looked_at_every_time() {
        let mut pace = Pace::new(millis(5000));
        assert_eq!((pace.due_ns(), pace.scope(0, 0)), (0, Scope::ALL));
        pace.ended(Scope::ALL, 10 * S, millis(2), NONE);
        assert_eq!((pace.due_ns(), pace.scope(11 * S, 0)), (15 * S, Scope::ALL));
    }

    #[test]
    fn many_established_sockets_are_looked_at_rarely_and_the_others_as_often_as_they_can() {
        let mut pace = Pace::new(millis(5000));
        pace.ended(Scope::ALL, 10 * S, millis(600), NONE);
        assert_eq!((pace.due_ns(), pace.scope(15 * S, 0)), (15 * S, OTHERS));
        pace.ended(OTHERS, 15 * S, millis(40), NONE);
        assert_eq!(pace.due_ns(), 23 * S, "as often as it has to be in time");
        pace.ended(OTHERS, 129 * S, millis(40), NONE);
        assert_eq!((pace.due_ns(), pace.scope(130 * S, 0)), (130 * S, Scope::ALL));
        // What is seen of all is seen of some.
        pace.ended(Scope::ALL, 131 * S, millis(600), NONE);
        assert_eq!(pace.last(OTHERS), Some((131 * S, millis(40))));
        assert_eq!(pace.due_ns(), 139 * S);
    }

    #[test]
    fn census_that_failed_is_tried_again_and_nothing_is_newer_for_it() {
        let mut pace = Pace::new(millis(5000));
        pace.failed(10 * S);
        assert_eq!((pace.due_ns(), pace.has_failed(), pace.last(Scope::ALL)), (15 * S, true, None));
        pace.ended(Scope::ALL, 16 * S, millis(1), NONE);
        pace.failed(30 * S);
        assert_eq!((pace.due_ns(), pace.last(Scope::ALL)), (35 * S, Some((16 * S, millis(1)))));
        pace.ended(Scope::ALL, 36 * S, millis(1), NONE);
        assert!(!pace.has_failed());
    }

    #[test]
    fn affordable_census_is_taken_often_enough_for_two_before_a_verdict_is_due() {
        let mut pace = Pace::new(millis(5000));
        for (cost_ms, due_ms) in [(8, 5000), (10, 6000), (14, 8000), (100, 8000), (101, 20_200)] {
            pace.ended(Scope::ALL, 10 * S, millis(cost_ms), NONE);
            pace.ended(OTHERS, 10 * S, millis(cost_ms), NONE);
            assert_eq!(pace.due_ns(), 10 * S + due_ms * 1_000_000, "{cost_ms} ms");
        }
    }

    #[test]
    fn census_that_somebody_waits_for_comes_when_it_is_wanted_if_it_is_affordable() {
        let mut pace = Pace::new(millis(5000));
        let mut due_ns = |cost_ms, wish| {
            pace.ended(Scope::ALL, 10 * S, millis(cost_ms), NONE);
            pace.ended(OTHERS, 10 * S, millis(cost_ms), NONE);
            pace.wish(wish);
            (pace.due_ns(), pace.scope(pace.due_ns(), 0))
        };
        let all = |at_ns| Wish { scope: Scope::ALL, at_ns };
        assert_eq!(due_ns(60, all(14 * S)), (14 * S, Scope::ALL));
        assert_eq!(due_ns(1, all(12 * S)), (12 * S + S / 2, Scope::ALL), "an interval is halved at most");
        assert_eq!(due_ns(90, all(12 * S)), (14 * S + S / 2, Scope::ALL), "50 times as long as it took");
        assert_eq!(due_ns(60, Wish { scope: OTHERS, at_ns: 14 * S }).0, 14 * S);
    }

    #[test]
    fn census_that_would_come_just_before_it_is_wanted_is_put_off_until_then() {
        let mut pace = Pace::new(millis(5000));
        pace.ended(Scope::ALL, 10 * S, millis(1), NONE);
        let wish = |at_ns| Wish { scope: OTHERS, at_ns };
        pace.wish(wish(16 * S));
        assert_eq!(pace.due_ns(), 16 * S);
        pace.wish(wish(16 * S + 1));
        assert_eq!(pace.due_ns(), 15 * S);
        // Whoever waited has what it wanted.
        pace.ended(Scope::ALL, 17 * S, millis(1), NONE);
        pace.ended(OTHERS, 11 * S, millis(1), NONE);
        assert_eq!(pace.due_ns(), 16 * S);
    }

    #[test]
    fn census_that_is_too_expensive_is_taken_no_sooner_for_being_waited_for() {
        let mut pace = Pace::new(millis(5000));
        pace.ended(Scope::ALL, 10 * S, millis(600), NONE);
        pace.ended(OTHERS, 10 * S, millis(200), NONE);
        pace.wish(Wish { scope: Scope::ALL, at_ns: 14 * S });
        assert_eq!((pace.due_ns(), pace.scope(14 * S, 0)), (50 * S, OTHERS));
    }

    #[test]
    fn all_are_counted_where_they_would_be_due_before_the_others_are_again() {
        let mut pace = Pace::new(millis(5000));
        pace.ended(Scope::ALL, 10 * S, millis(600), NONE);
        assert_eq!(pace.scope(129 * S, 0), OTHERS, "it is not known what the others cost");
        pace.ended(OTHERS, 10 * S, millis(40), NONE);
        assert_eq!(pace.scope(124 * S, 0), OTHERS);
        assert_eq!(pace.scope(125 * S, 0), Scope::ALL);
        pace.ended(Scope::ALL, 110 * S, millis(100), NONE);
        assert_eq!(pace.scope(114 * S, 0), OTHERS, "it has rested 40 times as long as it took");
        assert_eq!(pace.scope(115 * S, 0), Scope::ALL);
    }

    #[test]
    fn many_time_wait_are_left_out_and_nothing_else_waits_for_them() {
        let mut pace = Pace::new(millis(5000));
        pace.ended(Scope::ALL, 10 * S, millis(202), (100_000, 101_000));
        assert_eq!(
            (pace.due_ns(), pace.scope(15 * S, 100_000)),
            (15 * S, Scope { time_wait: false, ..Scope::ALL })
        );
        for at_s in [15, 30, 60] {
            pace.ended(pace.scope(at_s * S, 100_000), at_s * S, millis(2), (0, 1000));
        }
        assert_eq!(pace.scope(64 * S, 100_000), Scope { time_wait: false, ..Scope::ALL });
        assert_eq!(pace.scope(65 * S, 100_000), Scope::ALL, "a minute, or nearly so");
        assert_eq!(pace.last(Scope::ALL), Some((10 * S, millis(202))), "all are as old as the oldest");
        assert_eq!(pace.last(Scope { time_wait: false, ..Scope::ALL }), Some((60 * S, millis(2))));
    }

    #[test]
    fn counting_the_others_costs_no_less_for_having_counted_time_wait_with_them() {
        const SHOWN: (u64, u64) = (131_000, 131_007);
        let few = Scope { time_wait: false, ..Scope::ALL };
        let mut pace = Pace::new(millis(5000));
        pace.ended(Scope::ALL, 10 * S, millis(165), SHOWN);
        assert_eq!(pace.due_ns(), 15 * S, "what the others cost is not known");
        pace.ended(few, 15 * S, millis(26), (0, 7));
        pace.ended(Scope { established: false, ..Scope::ALL }, 20 * S, millis(165), SHOWN);
        assert_eq!(
            (pace.last(few), pace.last(Scope::FEWEST)),
            (Some((15 * S, millis(26))), Some((20 * S, millis(26))))
        );
        pace.ended(Scope::ALL, 80 * S, millis(165), SHOWN);
        assert_eq!((pace.due_ns(), pace.last(few)), (88 * S, Some((80 * S, millis(26)))));
        // They have become fewer, and then many.
        pace.ended(Scope::ALL, 90 * S, millis(10), (2000, 2007));
        assert_eq!(pace.last(few), Some((90 * S, millis(10))));
        pace.ended(Scope::ALL, 100 * S, millis(60), (2000, 4000));
        assert_eq!(pace.last(few), Some((100 * S, millis(30))));
    }

    #[test]
    fn time_wait_that_have_become_many_are_counted_soon_and_once() {
        let mut pace = Pace::new(millis(5000));
        pace.ended(Scope::ALL, 10 * S, millis(1), (10, 20));
        assert!(pace.scope(15 * S, 100_000).time_wait);
        pace.ended(Scope::ALL, 15 * S, millis(90), (60_000, 60_000));
        assert!(!pace.scope(23 * S, 60_000).time_wait);
        assert!(pace.scope(24 * S, 60_000).time_wait, "those of all local ports are counted in time");
        pace.ended(Scope::ALL, 25 * S, millis(150), (100_000, 100_000));
        assert!(!pace.scope(79 * S, 100_000).time_wait);
        assert!(pace.scope(80 * S, 100_000).time_wait, "none of those that were seen is left");
        assert!(pace.scope(30 * S, 1000).time_wait, "few again");
        pace.ended(Scope::ALL, 80 * S, millis(600), (100_000, 100_000));
        assert!(!pace.scope(164 * S, 100_000).time_wait);
        assert!(pace.scope(165 * S, 100_000).time_wait, "150 times as long as it took, or nearly so");
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
