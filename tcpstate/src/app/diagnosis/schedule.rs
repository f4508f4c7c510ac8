//! When a pass is due: every few seconds, right after a census has shown what there is; less often where a pass takes
//! long, and where nothing happens.

use std::time::Duration;

use super::Notice;

/// From one pass to the next, ns. Three fit into the 15 s within which a verdict is due.
const INTERVAL_NS: u64 = 5_000_000_000;
/// So much earlier than that may a census be done, ns: they come in about the same interval.
const EARLY_NS: u64 = 1_000_000_000;
/// After a pass the next one waits this many times as long as it took of the CPU: at most 3 % of one.
pub(in crate::app) const REST: u32 = 30;
/// From one pass to the next while there is no connection, ns.
const CALM_NS: u64 = 60_000_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// The last pass: when it ended, monotonic ns, what it cost, and whether it left a finding open.
    last: Option<(u64, Duration, bool)>,
    /// A census since.
    census: Option<Notice>,
}

impl Schedule {
    /// A pass has ended.
    pub(super) fn passed(&mut self, ended_ns: u64, cost: Duration, has_open: bool) {
        self.last = Some((ended_ns, cost, has_open));
        self.census = None;
    }

    /// A census has been taken.
    pub(super) fn census(&mut self, notice: Notice) {
        self.census = Some(notice);
    }

    /// When the next pass is due, monotonic ns. The first one waits for a census.
    pub(super) fn due_ns(&self) -> u64 {
        let Some((ended_ns, cost, has_open)) = self.last else {
            return if self.census.is_some() { 0 } else { u64::MAX };
        };
        let rest_ns = u64::try_from((cost * REST).as_nanos()).unwrap_or(u64::MAX);
        let wait_ns = match self.census {
            Some(Notice { calm: true }) if !has_open => CALM_NS,
            Some(_) => (INTERVAL_NS - EARLY_NS).max(rest_ns),
            // What there is to see is old, but events are not.
            None => (2 * INTERVAL_NS).max(rest_ns),
        };
        ended_ns.saturating_add(wait_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const BUSY: Notice = Notice { calm: false };
    const CALM: Notice = Notice { calm: true };

    fn after(cost_ms: u64, has_open: bool, census: Option<Notice>) -> u64 {
        let mut schedule = Schedule::default();
        schedule.passed(100 * S, Duration::from_millis(cost_ms), has_open);
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
        assert_eq!(after(250, false, Some(BUSY)), 7);
        assert_eq!(after(1000, false, Some(BUSY)), 30);
        assert_eq!(after(1000, false, None), 30);
    }

    #[test]
    fn where_there_is_no_connection_a_pass_is_made_rarely_unless_something_is_to_be_resolved() {
        assert_eq!(after(1, false, Some(CALM)), 60);
        assert_eq!(after(1, true, Some(CALM)), 4);
    }
}
