//! The gauges against random histories.

use std::collections::HashMap;

use proptest::prelude::*;
use tcpstate_common::{Counters, TcpState};

use super::{Census, SECOND, census, row};
use crate::track::{Family, Gauges, Row, Scope, Tally, Timer};

fn count(counters: &mut Counters, from: TcpState, to: TcpState) {
    counters.transitions[0][from.index()][to.index()] += 1;
}

fn read(gauges: &Gauges, counters: &Counters, state: TcpState) -> u64 {
    gauges.read(Some(counters), 0).get(Family::V4, state)
}

#[test]
fn listener_stays_where_it_is_when_a_child_is_born() {
    let mut gauges = Gauges::new(true);
    let mut counters = Counters::ZERO;
    count(&mut counters, TcpState::Close, TcpState::Listen);
    gauges.compare(&census(1, vec![row(1, TcpState::Listen)]), Some((&counters, &counters)));
    for _ in 0..3 {
        count(&mut counters, TcpState::Listen, TcpState::SynRecv);
        count(&mut counters, TcpState::SynRecv, TcpState::Established);
    }
    assert_eq!(read(&gauges, &counters, TcpState::Listen), 1);
    assert_eq!(read(&gauges, &counters, TcpState::Established), 3);
}

#[test]
fn sockets_older_than_the_daemon_count() {
    let mut gauges = Gauges::new(true);
    let counters = Counters::ZERO;
    let rows = vec![row(1, TcpState::Established), row(2, TcpState::Established)];
    gauges.compare(&census(1, rows), Some((&counters, &counters)));
    let mut counters = counters;
    count(&mut counters, TcpState::Established, TcpState::CloseWait);
    assert_eq!(read(&gauges, &counters, TcpState::Established), 1);
    assert_eq!(read(&gauges, &counters, TcpState::CloseWait), 1);
    assert!(gauges.read(Some(&counters), 0).exact);
}

#[test]
fn gauges_are_not_exact_from_a_missed_event_to_a_quiet_census() {
    let mut gauges = Gauges::new(true);
    let quiet = Counters::ZERO;
    gauges.compare(&census(1, vec![row(1, TcpState::Established)]), Some((&quiet, &quiet)));
    assert!(gauges.read(Some(&quiet), 0).exact);
    // It goes to CLOSE_WAIT, which no event shows.
    gauges.doubt();
    assert!(!gauges.read(Some(&quiet), 0).exact);
    let rows = || vec![row(1, TcpState::CloseWait)];
    let mut busy = quiet;
    count(&mut busy, TcpState::Close, TcpState::SynSent);
    count(&mut busy, TcpState::SynSent, TcpState::Close);
    gauges.compare(&census(2, rows()), Some((&quiet, &busy)));
    assert!(!gauges.read(Some(&busy), 0).exact, "something happened meanwhile");
    gauges.compare(&census(3, rows()), Some((&busy, &busy)));
    let counts = gauges.read(Some(&busy), 0);
    assert!(counts.exact);
    assert_eq!(counts.get(Family::V4, TcpState::CloseWait), 1);
}

#[test]
fn time_wait_counts_from_the_inference_until_its_time_is_over() {
    let mut gauges = Gauges::new(true);
    let mut counters = Counters::ZERO;
    gauges.compare(&census(SECOND, vec![row(1, TcpState::TimeWait)]), Some((&counters, &counters)));
    count(&mut counters, TcpState::FinWait2, TcpState::TimeWait);
    let at = |ns| gauges.read(Some(&counters), ns).get(Family::V4, TcpState::TimeWait);
    assert_eq!(at(2 * SECOND), 2);
    assert_eq!(at(60 * SECOND), 2);
    assert_eq!(at(63 * SECOND), 1, "the one of the census has ended, the other not yet");
}

/// A namespace that has as many `TIME_WAIT` as it may have makes no more of them, and says nothing.
#[test]
fn time_wait_that_the_kernel_did_not_make_are_counted_out_at_every_census() {
    let mut gauges = Gauges::new(true);
    let mut counters = Counters::ZERO;
    let made = |counters: &mut Counters, count: u64| {
        counters.transitions[0][TcpState::FinWait2.index()][TcpState::TimeWait.index()] += count;
    };
    let at = |gauges: &Gauges, counters: &Counters, s: u64| {
        gauges.read(Some(counters), s * SECOND).get(Family::V4, TcpState::TimeWait)
    };
    let tally = Tally::new;
    gauges.reconcile(tally(Scope::ALL), Some((&counters, &counters)), Some(0), SECOND);
    made(&mut counters, 50_000);
    assert_eq!(at(&gauges, &counters, 2), 50_000, "nothing is known to the contrary");
    gauges.reconcile(tally(Scope::FEWEST), Some((&counters, &counters)), Some(10_000), 3 * SECOND);
    assert_eq!(at(&gauges, &counters, 3), 10_000);
    // One in five has stayed.
    made(&mut counters, 1000);
    assert_eq!(at(&gauges, &counters, 4), 10_200);
    gauges.reconcile(tally(Scope::FEWEST), Some((&counters, &counters)), Some(10_000), 5 * SECOND);
    made(&mut counters, 30_000);
    assert_eq!(at(&gauges, &counters, 6), 10_000);
    // The load is over: what is few says nothing about the next ones.
    gauges.reconcile(tally(Scope::FEWEST), Some((&counters, &counters)), Some(10_000), 10 * SECOND);
    gauges.reconcile(tally(Scope::FEWEST), Some((&counters, &counters)), Some(4000), 60 * SECOND);
    made(&mut counters, 1);
    assert_eq!(at(&gauges, &counters, 61), 4001);
}

#[test]
fn time_wait_that_were_not_shown_are_divided_as_they_were() {
    let mut gauges = Gauges::new(true);
    let mut counters = Counters::ZERO;
    for (family, made) in [(0, 300), (1, 100)] {
        counters.transitions[family][TcpState::FinWait2.index()][TcpState::TimeWait.index()] = made;
    }
    let mut tally = Tally::new(Scope::FEWEST);
    tally.add(&Row { timer: Timer::TimeWait, expires_ms: 1000, ..row(1, TcpState::FinWait2) }, SECOND);
    gauges.reconcile(tally, Some((&counters, &counters)), Some(201), SECOND);
    let counts = gauges.read(Some(&counters), SECOND);
    let time_waits = Family::ALL.map(|family| counts.get(family, TcpState::TimeWait));
    assert_eq!((time_waits, counts.get(Family::V4, TcpState::FinWait2)), ([150, 50], 1));
}

#[test]
fn fin_wait2_without_its_socket_still_counts() {
    let mut gauges = Gauges::new(true);
    let mut counters = Counters::ZERO;
    gauges.compare(&census(1, vec![]), Some((&counters, &counters)));
    count(&mut counters, TcpState::FinWait1, TcpState::FinWait2);
    assert_eq!(read(&gauges, &counters, TcpState::FinWait2), 1);
    count(&mut counters, TcpState::FinWait2, TcpState::FinWait2);
    assert_eq!(read(&gauges, &counters, TcpState::FinWait2), 1);
    counters.taken_back[0][TcpState::FinWait2.index()] = 1;
    assert_eq!(read(&gauges, &counters, TcpState::FinWait2), 0);
}

#[test]
fn drift_is_how_far_the_census_is_from_the_events() {
    let mut gauges = Gauges::new(true);
    let counters = Counters::ZERO;
    let still = Some((&counters, &counters));
    assert_eq!(gauges.compare(&census(1, vec![row(1, TcpState::Established)]), still), 0);
    assert_eq!(gauges.compare(&census(2, vec![row(1, TcpState::Established)]), still), 0);
    assert_eq!(gauges.compare(&census(3, vec![]), still), 1);
    assert_eq!(read(&gauges, &counters, TcpState::Established), 0);
}

#[test]
fn census_in_the_middle_of_traffic_is_believed_when_the_next_one_agrees() {
    let mut gauges = Gauges::new(true);
    let start = Counters::ZERO;
    let two = || vec![row(1, TcpState::Established), row(2, TcpState::Established)];
    gauges.compare(&census(1, two()), Some((&start, &start)));
    // Somebody else connects and closes meanwhile; the dump passes both sockets over.
    let mut moved = start;
    count(&mut moved, TcpState::Close, TcpState::SynSent);
    count(&mut moved, TcpState::SynSent, TcpState::Close);
    assert_eq!(gauges.compare(&census(2, vec![]), Some((&start, &moved))), 0);
    assert_eq!(read(&gauges, &moved, TcpState::Established), 2);
    // Then it passes one over, and then none.
    let mut more = moved;
    count(&mut more, TcpState::Close, TcpState::SynSent);
    assert_eq!(gauges.compare(&census(3, two()[..1].to_vec()), Some((&moved, &more))), 1);
    assert_eq!(read(&gauges, &more, TcpState::Established), 1);
    let mut last = more;
    count(&mut last, TcpState::SynSent, TcpState::Close);
    assert_eq!(gauges.compare(&census(4, two()), Some((&more, &last))), 0);
    assert_eq!(gauges.compare(&census(5, two()), Some((&last, &last))), 1, "at rest it is believed at once");
    assert_eq!(read(&gauges, &last, TcpState::Established), 2);
}

#[test]
fn without_counters_the_gauge_is_the_census() {
    let mut gauges = Gauges::new(false);
    gauges.compare(&census(1, vec![row(1, TcpState::CloseWait)]), None);
    let counts = gauges.read(None, 0);
    assert_eq!(counts.get(Family::V4, TcpState::CloseWait), 1);
    assert!(!counts.exact);
    gauges.compare(&census(2, vec![]), None);
    assert_eq!(gauges.read(None, 0).get(Family::V4, TcpState::CloseWait), 0);
}

/// Steps that a full socket can take; `None` is its birth, and CLOSE its end.
fn next_states(state: Option<TcpState>) -> &'static [TcpState] {
    use TcpState::{Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynSent};
    match state {
        None => &[SynSent, Listen],
        Some(SynSent) => &[Established, Close],
        Some(Established) => &[FinWait1, CloseWait, Close],
        Some(FinWait1) => &[FinWait2, Closing, Close],
        Some(CloseWait) => &[LastAck, Close],
        _ => &[Close],
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A socket (one of a few) takes one of its next steps.
    Move(u64, usize),
    /// A census begins, sockets move (that many of the following steps), and it ends. Each socket is seen
    /// before the moves or after them.
    Census { moves: usize, seen_after: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12_u64, 0..3_usize).prop_map(|(socket, choice)| Step::Move(socket, choice)),
        1 => (0..4_usize, any::<u64>()).prop_map(|(moves, seen_after)| Step::Census { moves, seen_after }),
    ]
}

#[derive(Default)]
struct World {
    alive: HashMap<u64, TcpState>,
}

impl World {
    fn take(&mut self, socket: u64, choice: usize, counters: &mut Counters) {
        let from = self.alive.get(&socket).copied();
        let choices = next_states(from);
        let to = choices[choice % choices.len()];
        count(counters, from.unwrap_or(TcpState::Close), to);
        if to == TcpState::Close {
            self.alive.remove(&socket);
        } else {
            self.alive.insert(socket, to);
        }
    }

    fn rows(&self) -> Vec<Row> {
        self.alive.iter().map(|(socket, state)| row(*socket + 1, *state)).collect()
    }
}

proptest! {
    /// Once a census has found the sockets at rest, the gauge of every state is what really is there, at
    /// any time, whatever later censuses see in the middle of traffic.
    #[test]
    fn gauges_are_exact_at_any_time(
        before in prop::collection::vec((0..12_u64, 0..3_usize), 0..30),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::default();
        // What happened before the programs were attached was not counted.
        for (socket, choice) in before {
            world.take(socket, choice, &mut Counters::ZERO.clone());
        }
        let mut counters = Counters::ZERO;
        let mut gauges = Gauges::new(true);
        gauges.compare(&Census { rows: world.rows(), ..Census::default() }, Some((&counters, &counters)));
        let mut steps = steps.into_iter();
        while let Some(step) = steps.next() {
            match step {
                Step::Move(socket, choice) => world.take(socket, choice, &mut counters),
                Step::Census { moves, seen_after } => {
                    let (start, first) = (counters, world.rows());
                    for step in steps.by_ref().take(moves) {
                        if let Step::Move(socket, choice) = step {
                            world.take(socket, choice, &mut counters);
                        }
                    }
                    let after = |row: &Row| seen_after >> (row.cookie % 64) & 1 == 1;
                    let mut rows: Vec<_> = first.into_iter().filter(|row| !after(row)).collect();
                    rows.extend(world.rows().into_iter().filter(after));
                    let drift = gauges.compare(
                        &Census { rows, ..Census::default() },
                        Some((&start, &counters)),
                    );
                    prop_assert_eq!(drift, 0);
                }
            }
            for state in TcpState::VISIBLE {
                let there = world.alive.values().filter(|alive| **alive == state).count() as u64;
                prop_assert_eq!(read(&gauges, &counters, state), there, "{}", state.name());
            }
        }
    }
}
