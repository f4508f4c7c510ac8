//! When a pass is due: every few seconds, right after a census has shown what there is; less often where a pass takes
//! long, and where nothing happens. While a pass leaves something behind that only another look will tell, it says for
//! which census it waits, and the next pass follows that one.

use std::time::Duration;

use super::Notice;
use crate::{app::pace::Wish, clock, diagnose::Pending, track::Scope};

/// From one pass to the next, ns. Three fit into the 15 s within which a verdict is due.
const INTERVAL_NS: u64 = 5_000_000_000;
/// So much earlier than that may a census be done, ns: they come in about the same interval. It is no less than
/// [`frozen_ms`](crate::diagnose::Thresholds::frozen_ms), so that the next look is always a second one.
const EARLY_NS: u64 = 1_000_000_000;
/// After a pass the next one waits this many times as long as it took of the CPU: at most 3 % of one.
pub(in crate::app) const REST: u32 = 30;
/// After one that costs more than [`DEAR`] it waits more times as long, in proportion, and this many at most: two thirds
/// of a percent of one. Without a census it always waits that long, as it would look at a hundred thousand sockets again
/// for the sake of a few events.
const MOST_REST: u32 = 150;
const DEAR: Duration = Duration::from_millis(150);
/// From one pass to the next while there is no connection, ns.
const CALM_NS: u64 = 60_000_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    last: Option<Last>,
    /// A census since the last pass.
    census: Option<Notice>,
    /// The census that the last pass waits for.
    wish: Option<Wish>,
    /// That one has been taken.
    fulfilled: bool,
}

/// A pass.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// Monotonic ns.
    ended_ns: u64,
    cost: Duration,
    /// It left a finding open.
    has_open: bool,
    /// When the last pass that had a census of its own ended, monotonic ns.
    fresh_ns: u64,
}

impl Schedule {
    /// A pass has ended. Returns the census for which the next one waits.
    pub(super) fn passed(
        &mut self,
        ended_ns: u64,
        cost: Duration,
        has_open: bool,
        pending: Pending,
    ) -> Option<Wish> {
        let before = self.last.filter(|_| self.census.is_none());
        let fresh_ns = before.map_or(ended_ns, |last| last.fresh_ns);
        self.last = Some(Last { ended_ns, cost, has_open, fresh_ns });
        self.census = None;
        let at_ns = ended_ns.saturating_add((INTERVAL_NS - EARLY_NS).max(rest_ns(cost)));
        self.wish = scope(pending).map(|scope| Wish { scope, at_ns });
        self.fulfilled = false;
        self.wish
    }

    /// A census has been taken.
    pub(super) fn census(&mut self, notice: Notice) {
        self.census = Some(notice);
        self.fulfilled |= self.wish.is_some_and(|wish| wish.is_fulfilled_by(notice.scope, notice.ended_ns));
    }

    /// When the next pass is due, monotonic ns. The first one waits for a census.
    pub(super) fn due_ns(&self) -> u64 {
        let Some(Last { ended_ns, cost, has_open, fresh_ns }) = self.last else {
            return if self.census.is_some() { 0 } else { u64::MAX };
        };
        let due_ns = match self.census {
            Some(Notice { calm: true, .. }) if !has_open => return ended_ns.saturating_add(CALM_NS),
            Some(_) if self.fulfilled => 0,
            // The census that is waited for is about to come.
            Some(_) if self.wish.is_some() => fresh_ns.saturating_add(INTERVAL_NS),
            Some(_) => fresh_ns.saturating_add(INTERVAL_NS - EARLY_NS),
            // What there is to see is old, but events are not.
            None if cost > DEAR => ended_ns.saturating_add(clock::nanos(cost * MOST_REST)),
            None => ended_ns.saturating_add(2 * INTERVAL_NS),
        };
        due_ns.max(ended_ns.saturating_add(rest_ns(cost)))
    }
}

/// How long the next pass waits at least.
fn rest_ns(cost: Duration) -> u64 {
    let dear = cost.max(DEAR).div_duration_f64(DEAR);
    clock::nanos((cost * REST).mul_f64(dear).min(cost * MOST_REST))
}

/// Which sockets have to be counted again to settle it.
fn scope(pending: Pending) -> Option<Scope> {
    let Pending { established, others, .. } = pending;
    (established || others).then_some(Scope { established, ..Scope::FEWEST })
}

#[cfg(test)]
mod simulated;

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const BUSY: Notice = Notice { scope: Scope::ALL, ended_ns: 100 * S, calm: false };
    const CALM: Notice = Notice { calm: true, ..BUSY };
    const SETTLED: Pending = Pending { established: false, others: false, holders: false };

    fn after(cost_ms: u64, has_open: bool, census: Option<Notice>) -> u64 {
        let mut schedule = Schedule::default();
        schedule.passed(100 * S, Duration::from_millis(cost_ms), has_open, SETTLED);
        if let Some(notice) = census {
            schedule.census(notice);
        }
        schedule.due_ns() / S - 100
    }

    #[test]
    fn first_pass_follows_the_first_census() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.due_ns(), u64::MAX);
        schedule.census(CALM);
        assert_eq!(schedule.due_ns(), 0);
    }

    #[test]
    fn pass_follows_a_census_and_does_not_wait_for_it_for_ever() {
        assert_eq!(after(1, false, Some(BUSY)), 4);
        assert_eq!(after(1, false, None), 10);
    }

    #[test]
    fn pass_that_costs_much_is_made_less_often() {
        assert_eq!(after(150, false, Some(BUSY)), 4);
        assert_eq!(after(300, false, Some(BUSY)), 18, "60 times its cost");
        assert_eq!(after(1000, false, Some(BUSY)), 150);
        assert_eq!(after(150, false, None), 10);
        assert_eq!(after(1000, false, None), 150, "nothing but events is new");
    }

    #[test]
    fn where_there_is_no_connection_a_pass_is_made_rarely_unless_something_is_to_be_resolved() {
        assert_eq!(after(1, false, Some(CALM)), 60);
        assert_eq!(after(1, true, Some(CALM)), 4);
    }

    #[test]
    fn pass_that_leaves_something_unsettled_is_followed_by_the_census_that_it_waits_for() {
        let mut schedule = Schedule::default();
        schedule.census(BUSY);
        let pending = Pending { others: true, ..SETTLED };
        let wish = schedule.passed(100 * S, Duration::from_millis(1), false, pending);
        assert_eq!(wish, Some(Wish { scope: Scope::FEWEST, at_ns: 104 * S }));
        // One that came too early is waited with, but not for ever.
        schedule.census(Notice { ended_ns: 103 * S, ..BUSY });
        assert_eq!(schedule.due_ns(), 105 * S);
        schedule.census(Notice { ended_ns: 104 * S, ..BUSY });
        assert!(schedule.due_ns() <= 104 * S);
    }

    #[test]
    fn census_of_some_sockets_is_not_what_is_waited_for_where_an_open_connection_is_unsettled() {
        let mut schedule = Schedule::default();
        schedule.census(BUSY);
        let pending = Pending { established: true, others: true, ..SETTLED };
        let wish = schedule.passed(100 * S, Duration::from_secs(1), false, pending);
        assert_eq!(
            wish,
            Some(Wish { scope: Scope { established: true, ..Scope::FEWEST }, at_ns: 250 * S }),
            "no sooner than a pass may be made"
        );
        schedule.census(Notice { scope: Scope::FEWEST, ended_ns: 251 * S, calm: false });
        assert!(!schedule.fulfilled);
        schedule.census(Notice { ended_ns: 252 * S, ..BUSY });
        assert!(schedule.fulfilled);
        assert_eq!(schedule.due_ns(), 250 * S);
    }

    #[test]
    fn pass_without_a_census_does_not_keep_the_next_census_waiting() {
        let mut schedule = Schedule::default();
        schedule.census(BUSY);
        schedule.passed(100 * S, Duration::from_millis(1), false, SETTLED);
        schedule.passed(110 * S, Duration::from_millis(100), false, SETTLED);
        schedule.census(Notice { ended_ns: 110 * S + 1, ..BUSY });
        assert_eq!(schedule.due_ns(), 113 * S, "it rests, and no longer");
    }
}
