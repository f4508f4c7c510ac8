//! Pace and schedule together, against troubles that begin at every phase of both: how long the verdict takes, and what
//! looking costs.

use std::time::Duration;

use super::{REST, Schedule};
use crate::{
    app::{diagnosis::Notice, pace::Pace},
    diagnose::{Pending, Thresholds},
    track::Scope,
};

const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;

/// What is to be told, and what it takes.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// A socket that closes, which is told from a certain age on.
    Aged,
    /// Data in an open connection that two counts show unmoved.
    Unread,
    /// An open connection that nobody is found to hold, twice.
    Ghost,
}

/// What looking costs, ms of CPU; nothing takes longer than that.
#[derive(Clone, Copy, Debug, Default)]
struct Costs {
    all: u64,
    others: u64,
    pass: u64,
    /// Somebody asks for sockets again after so long, ms, which takes a census; 0 for never.
    asked: u64,
}

/// How it went.
#[derive(Debug, Default)]
struct Outcome {
    /// From the beginning of the trouble to the pass that tells it, ms.
    told_after_ms: u64,
    /// CPU for censuses and for passes in the time before, in parts of a million.
    census_ppm: u64,
    pass_ppm: u64,
}

/// What a pass looks at: as of when, monotonic ns.
struct Look {
    all: u64,
    others: u64,
    holders: u64,
}

/// What is remembered of the trouble.
struct Case {
    trouble: Trouble,
    begun_ns: u64,
    /// The first look, for what takes two.
    first_ns: Option<u64>,
}

impl Case {
    /// Returns whether it is told, and otherwise what has to be looked at again.
    fn look(&mut self, look: &Look) -> Result<(), Pending> {
        let Thresholds { settle_ms, notice_ms, frozen_ms, .. } = Thresholds::default();
        let age_ms = look.others.saturating_sub(self.begun_ns) / MS;
        let mut pending = Pending { others: (250..notice_ms).contains(&age_ms), ..Pending::default() };
        let (counted_ns, now_ns) = match self.trouble {
            Trouble::Aged if age_ms >= notice_ms => return Ok(()),
            Trouble::Aged => return Err(pending),
            Trouble::Unread => (look.all, look.all),
            Trouble::Ghost => (look.all, look.holders),
        };
        if counted_ns < self.begun_ns {
            return Err(Pending::default());
        }
        let first_ns = *self.first_ns.get_or_insert(now_ns);
        let is_second = counted_ns.min(now_ns) >= first_ns + frozen_ms * MS;
        let is_old = age_ms >= settle_ms || matches!(self.trouble, Trouble::Ghost);
        if is_second && is_old {
            return Ok(());
        }
        pending.established = !is_second;
        Err(pending)
    }
}

/// Plays a host on which `background` is always pending, and on which a trouble begins then.
fn play(trouble: Trouble, begun_ns: u64, costs: Costs, background: Pending) -> Outcome {
    let mut pace = Pace::new(Duration::from_secs(5));
    let mut schedule = Schedule::default();
    let mut case = Case { trouble, begun_ns, first_ns: None };
    let (mut counting, mut passing) = (None, None);
    let mut waiting = Vec::new();
    let (mut counted_ns, mut passed_ns) = (0, 0);
    let (mut now_ns, mut asked_ns) = (0, 0);
    loop {
        let due_ns = if costs.asked == 0 { pace.due_ns() } else { pace.due_ns().min(asked_ns) };
        let count_ns = counting.map_or(due_ns, |(_, ends_ns)| ends_ns);
        let pass_ns = passing.map_or_else(|| schedule.due_ns(), |(ends_ns, _)| ends_ns);
        now_ns = count_ns.min(pass_ns).max(now_ns);
        assert!(now_ns < begun_ns + 300 * S, "{trouble:?} at {begun_ns} is never told: {costs:?}");
        if count_ns <= pass_ns {
            let Some((scope, ended_ns)) = counting.take() else {
                let scope = pace.scope(now_ns, 0);
                if now_ns >= asked_ns {
                    asked_ns = now_ns + costs.asked * MS;
                }
                let cost_ms = if scope.established { costs.all } else { costs.others };
                counted_ns += if now_ns < begun_ns { cost_ms * MS } else { 0 };
                counting = Some((scope, now_ns + cost_ms * MS));
                continue;
            };
            let cost = if scope.established { costs.all } else { costs.others };
            pace.ended(scope, ended_ns, Duration::from_millis(cost), (0, 0));
            waiting.push(Notice { scope, ended_ns, calm: false });
        } else if let Some((_, result)) = passing.take() {
            let told: Result<(), Pending> = result;
            let Err(pending) = told else {
                return Outcome {
                    told_after_ms: (now_ns - begun_ns) / MS,
                    census_ppm: counted_ns * 1_000_000 / begun_ns,
                    pass_ppm: passed_ns * 1_000_000 / begun_ns,
                };
            };
            let pending = Pending {
                established: pending.established || background.established,
                others: pending.others || background.others,
                ..pending
            };
            let wish = schedule.passed(now_ns, Duration::from_millis(costs.pass), false, pending);
            if let Some(wish) = wish {
                pace.wish(wish);
            }
        } else {
            let last = |scope| pace.last(scope).map_or(0, |(ended_ns, _)| ended_ns);
            let look = Look {
                all: last(Scope::ALL),
                others: last(Scope::FEWEST),
                holders: now_ns + costs.pass * MS / 2,
            };
            passed_ns += if now_ns < begun_ns { costs.pass * MS } else { 0 };
            passing = Some((now_ns + costs.pass * MS, case.look(&look)));
        }
        if passing.is_none() {
            waiting.drain(..).for_each(|notice| schedule.census(notice));
        }
    }
}

/// The longest that any phase makes it take, ms.
fn worst_ms(trouble: Trouble, costs: Costs, background: Pending) -> u64 {
    let phases = (0..150).map(|step| 60 * S + step * 83 * MS);
    phases.map(|begun_ns| play(trouble, begun_ns, costs, background).told_after_ms).max().unwrap()
}

const TROUBLES: [Trouble; 3] = [Trouble::Aged, Trouble::Unread, Trouble::Ghost];
const QUIET: Pending = Pending { established: false, others: false, holders: false };
const BUSY: [Pending; 3] =
    [QUIET, Pending { others: true, ..QUIET }, Pending { established: true, others: true, ..QUIET }];

#[test]
fn verdict_comes_in_time_at_every_phase_whatever_looking_costs_up_to_a_limit() {
    let costs = [
        (Costs { all: 1, others: 1, pass: 1, asked: 0 }, 12_400),
        (Costs { all: 20, others: 15, pass: 50, asked: 0 }, 12_500),
        (Costs { all: 40, others: 10, pass: 100, asked: 0 }, 12_500),
        (Costs { all: 60, others: 50, pass: 100, asked: 0 }, 12_600),
        (Costs { all: 85, others: 80, pass: 60, asked: 0 }, 12_900),
        (Costs { all: 100, others: 100, pass: 130, asked: 0 }, 13_900),
        // Whoever asks makes censuses come at other times.
        (Costs { all: 5, others: 5, pass: 20, asked: 1100 }, 13_500),
        (Costs { all: 5, others: 5, pass: 20, asked: 3000 }, 13_500),
        (Costs { all: 5, others: 5, pass: 20, asked: 7300 }, 13_500),
        (Costs { all: 30, others: 10, pass: 20, asked: 30_000 }, 13_500),
    ];
    for (costs, most_ms) in costs {
        for background in BUSY {
            for trouble in TROUBLES {
                let worst_ms = worst_ms(trouble, costs, background);
                assert!(worst_ms <= most_ms, "{trouble:?} {costs:?} {background:?}: {worst_ms} ms");
            }
        }
    }
}

#[test]
fn where_nothing_is_unsettled_looking_costs_what_it_must() {
    let cheap = play(Trouble::Aged, 1000 * S, Costs { all: 10, others: 5, pass: 10, asked: 0 }, QUIET);
    // Every 5 s.
    assert!(cheap.census_ppm <= 2_100 && cheap.pass_ppm <= 2_100, "{cheap:?}");
    let dear = play(Trouble::Aged, 1000 * S, Costs { all: 600, others: 40, pass: 200, asked: 0 }, QUIET);
    assert!(dear.census_ppm <= 5_000 + 5_000 + 600, "1/200, 40 ms every 8 s, and the first: {dear:?}");
}

#[test]
fn what_is_unsettled_makes_looking_dearer_by_a_bound() {
    for all in [1, 10, 30, 60, 100, 101, 300, 1000] {
        for background in BUSY {
            let costs = Costs { all, others: all, pass: all, asked: 0 };
            let outcome = play(Trouble::Aged, 1000 * S, costs, background);
            assert!(outcome.census_ppm <= 21_000, "2 %: {costs:?} {background:?} {outcome:?}");
            assert!(outcome.pass_ppm <= 1_000_000 / u64::from(REST), "{costs:?} {background:?} {outcome:?}");
        }
    }
}

#[test]
fn look_that_follows_another_is_always_a_second_one() {
    let mut schedule = Schedule::default();
    schedule.census(Notice { scope: Scope::ALL, ended_ns: S, calm: false });
    let pending = Pending { established: true, ..QUIET };
    let wish = schedule.passed(2 * S, Duration::ZERO, false, pending).unwrap();
    assert!(wish.at_ns >= 2 * S + Thresholds::default().frozen_ms * MS);
}
