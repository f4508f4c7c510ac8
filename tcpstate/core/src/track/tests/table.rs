//! The connection table: what ends stays ended, and room is given to what matters.

use proptest::prelude::*;
use tcpstate_common::TcpState;

use super::{SECOND, census, closed_by, process, row, tracker, transition};
use crate::track::{Actor, Event, Family, Filter, ResetSent, Row, Scope, Since, Socket, Tracker};

fn sockets(tracker: &Tracker) -> Vec<Socket> {
    tracker.page(&Filter { limit: usize::MAX, ..Filter::default() }, 0).sockets
}

#[test]
fn late_fin_does_not_resurrect_a_connection() {
    let mut tracker = tracker(8);
    tracker.ingest(&mut Event::Transition(transition(7, 20, TcpState::LastAck, TcpState::Close)));
    tracker.ingest(&mut Event::Transition(transition(7, 10, TcpState::Established, TcpState::CloseWait)));
    assert_eq!(tracker.tracked(), 0);
    assert_eq!(tracker.given_up().late_events, 1);
}

#[test]
fn census_that_began_before_the_end_does_not_resurrect_a_connection() {
    let mut tracker = tracker(8);
    tracker.ingest(&mut Event::Transition(transition(7, 150, TcpState::LastAck, TcpState::Close)));
    tracker.reconcile(&census(100, vec![row(7, TcpState::LastAck)]), None);
    assert_eq!(tracker.tracked(), 0);
    // A cookie is never used twice, but a census after the end is believed all the same.
    tracker.reconcile(&census(200, vec![row(7, TcpState::LastAck)]), None);
    assert_eq!(tracker.tracked(), 1);
}

#[test]
fn event_after_the_census_began_is_newer_than_the_census() {
    let mut tracker = tracker(8);
    tracker.reconcile(&census(10, vec![row(7, TcpState::Established)]), None);
    tracker.ingest(&mut Event::Transition(transition(7, 150, TcpState::Established, TcpState::CloseWait)));
    tracker.reconcile(&census(100, vec![row(7, TcpState::Established)]), None);
    assert_eq!(sockets(&tracker)[0].state, TcpState::CloseWait);
    assert_eq!(sockets(&tracker)[0].since, Since::Exactly(150));
}

#[test]
fn time_wait_keeps_the_process_that_closed() {
    let mut tracker = tracker(8);
    let event = transition(7, 10, TcpState::FinWait2, TcpState::TimeWait);
    tracker.ingest(&mut closed_by(event, 4121, "payments"));
    tracker.reconcile(&census(100, vec![row(7, TcpState::TimeWait)]), None);
    let socket = &sockets(&tracker)[0];
    assert_eq!(socket.actor, Some(process(4121, "payments")));
    assert_eq!(socket.since, Since::Exactly(10));
    assert_eq!(socket.uid, None, "a mini-socket has no user, and root least of all");
}

/// A close whose FIN is answered late makes a mini-socket in `FIN_WAIT2`; that it goes on to `TIME_WAIT` no
/// event tells.
#[test]
fn silent_step_from_fin_wait2_to_time_wait_is_seen_by_the_census() {
    let mut tracker = tracker(8);
    let mut event = transition(7, 10, TcpState::FinWait2, TcpState::FinWait2);
    event.inferred = true;
    event.entered_ns = Some(5);
    tracker.ingest(&mut closed_by(event, 9, "client"));
    assert_eq!(sockets(&tracker)[0].since, Since::Exactly(5));
    tracker.reconcile(&census(100, vec![row(7, TcpState::TimeWait)]), None);
    let socket = &sockets(&tracker)[0];
    assert_eq!((socket.state, socket.since), (TcpState::TimeWait, Since::AtLatest(100)));
    assert_eq!(socket.actor, Some(process(9, "client")));
}

#[test]
fn socket_older_than_the_daemon_has_an_age_that_is_at_least() {
    let mut tracker = tracker(8);
    tracker.reconcile(&census(10 * SECOND, vec![row(7, TcpState::CloseWait)]), None);
    tracker.reconcile(&census(20 * SECOND, vec![row(7, TcpState::CloseWait)]), None);
    let socket = &sockets(&tracker)[0];
    assert_eq!(socket.since, Since::AtLatest(10 * SECOND));
    assert_eq!(socket.age_ms(30 * SECOND), 20_000);
}

/// The kernel side takes the time, is held up, and only then puts the event into the ring; meanwhile a whole
/// census has been taken and has come in.
#[test]
fn event_that_a_census_has_overtaken_says_when_and_who() {
    for (to, entered_ns, since) in [(TcpState::TimeWait, 5, 10), (TcpState::FinWait2, 5, 5)] {
        let mut tracker = tracker(8);
        tracker.reconcile(&census(100, vec![row(7, to)]), None);
        let mut event = transition(7, 10, TcpState::FinWait2, to);
        event.inferred = true;
        event.entered_ns = Some(entered_ns);
        tracker.ingest(&mut closed_by(event, 4121, "payments"));
        let socket = &sockets(&tracker)[0];
        assert_eq!((socket.state, socket.since), (to, Since::Exactly(since)));
        assert_eq!(socket.actor, Some(process(4121, "payments")));
        assert_eq!(tracker.given_up().late_events, 0);
    }
}

#[test]
fn earlier_step_that_a_census_has_overtaken_says_only_who() {
    let mut tracker = tracker(8);
    tracker.reconcile(&census(100, vec![row(7, TcpState::TimeWait)]), None);
    tracker.ingest(&mut closed_by(transition(7, 10, TcpState::Established, TcpState::FinWait1), 9, "client"));
    let socket = &sockets(&tracker)[0];
    assert_eq!((socket.state, socket.since), (TcpState::TimeWait, Since::AtLatest(100)));
    assert_eq!(socket.actor, Some(process(9, "client")));
}

#[test]
fn event_older_than_what_is_known_exactly_is_late() {
    let mut tracker = tracker(8);
    tracker.ingest(&mut closed_by(transition(7, 20, TcpState::FinWait2, TcpState::TimeWait), 9, "client"));
    tracker.ingest(&mut Event::Transition(transition(7, 10, TcpState::Established, TcpState::FinWait1)));
    assert_eq!(sockets(&tracker)[0].state, TcpState::TimeWait);
    assert_eq!(tracker.given_up().late_events, 1);
}

/// What parks for long the kernel side has handed over: it tells that the socket moves on, and no more.
#[test]
fn what_the_kernel_side_has_handed_over_the_table_knows() {
    let mut tracker = tracker(8);
    tracker.ingest(&mut closed_by(
        transition(7, SECOND, TcpState::Established, TcpState::FinWait1),
        9,
        "app",
    ));
    tracker.ingest(&mut Event::Transition(transition(7, 2 * SECOND, TcpState::FinWait1, TcpState::FinWait2)));
    let mut event = Event::Transition(transition(7, 42 * SECOND, TcpState::FinWait2, TcpState::TimeWait));
    tracker.ingest(&mut event);
    let Event::Transition(event) = event else { unreachable!() };
    assert_eq!(event.entered_ns, Some(2 * SECOND));
    assert_eq!(event.actor, Some(Actor { process: process(9, "app"), carried: true }));
    let dwell = &tracker.dwell()[TcpState::FinWait2.index()];
    assert_eq!((dwell.buckets.iter().sum::<u64>(), dwell.sum_ns), (1, 40 * SECOND));
}

#[test]
fn close_after_shutdown_says_who_and_changes_nothing_else() {
    let mut tracker = tracker(8);
    tracker.ingest(&mut Event::Transition(transition(7, SECOND, TcpState::FinWait1, TcpState::FinWait2)));
    tracker.acted(7, Some(process(9, "app")));
    tracker.acted(8, Some(process(9, "app")));
    let sockets = sockets(&tracker);
    assert_eq!(sockets.len(), 1);
    assert_eq!((sockets[0].state, sockets[0].since), (TcpState::FinWait2, Since::Exactly(SECOND)));
    assert_eq!(sockets[0].actor, Some(process(9, "app")));
}

#[test]
fn time_that_the_kernel_side_has_counted_is_not_counted_again() {
    let mut tracker = tracker(8);
    tracker.ingest(&mut Event::Transition(transition(7, SECOND, TcpState::FinWait1, TcpState::FinWait2)));
    let mut event = transition(7, 2 * SECOND, TcpState::FinWait2, TcpState::TimeWait);
    event.entered_ns = Some(SECOND);
    tracker.ingest(&mut Event::Transition(event));
    assert_eq!(tracker.dwell()[TcpState::FinWait2.index()].sum_ns, 0);
}

#[test]
fn time_since_before_the_daemon_is_not_counted() {
    let mut tracker = tracker(8);
    tracker.reconcile(&census(SECOND, vec![row(7, TcpState::CloseWait)]), None);
    let mut event = Event::Transition(transition(7, 2 * SECOND, TcpState::CloseWait, TcpState::LastAck));
    tracker.ingest(&mut event);
    assert!(matches!(event, Event::Transition(event) if event.entered_ns.is_none()));
    assert_eq!(tracker.dwell()[TcpState::CloseWait.index()].sum_ns, 0);
}

#[test]
fn reset_sent_after_close_brings_nothing_back_and_takes_the_false_mini_socket_away() {
    let mut tracker = tracker(8);
    let mut event = transition(7, 10, TcpState::FinWait2, TcpState::FinWait2);
    event.inferred = true;
    tracker.ingest(&mut closed_by(event, 9, "client"));
    assert_eq!(tracker.tracked(), 1);
    tracker.ingest(&mut Event::ResetSent(ResetSent {
        at_ns: 11,
        cookie: Some(7),
        netns: 1,
        tuple: super::tuple(),
        state: Some(TcpState::Close),
        reason: Some(8),
        process: None,
    }));
    assert_eq!(tracker.tracked(), 0);
    assert_eq!(tracker.resets().newest_first().count(), 1);
}

#[test]
fn event_without_cookie_is_of_nobody() {
    let mut tracker = tracker(8);
    let mut event = transition(0, 10, TcpState::Listen, TcpState::SynRecv);
    event.cookie = None;
    tracker.ingest(&mut Event::Transition(event));
    assert_eq!(tracker.tracked(), 0);
}

#[test]
fn parked_sockets_find_room_before_time_wait_and_that_before_the_rest() {
    let mut tracker = tracker(3);
    let rows = vec![
        row(1, TcpState::Established),
        row(2, TcpState::TimeWait),
        row(3, TcpState::Established),
        row(4, TcpState::CloseWait),
        row(5, TcpState::FinWait2),
    ];
    tracker.reconcile(&census(10, rows), None);
    let mut kept: Vec<_> = sockets(&tracker).iter().map(|socket| socket.cookie).collect();
    kept.sort_unstable();
    assert_eq!(kept, [2, 4, 5]);
    assert_eq!(tracker.given_up().sockets, 2);
}

#[test]
fn listener_never_has_to_go() {
    let mut tracker = tracker(2);
    let rows = vec![
        row(1, TcpState::Listen),
        row(2, TcpState::CloseWait),
        row(3, TcpState::CloseWait),
        row(4, TcpState::Listen),
    ];
    tracker.reconcile(&census(10, rows), None);
    let kept: Vec<_> = sockets(&tracker).iter().map(|socket| socket.cookie).collect();
    assert_eq!(kept, [1, 4]);
    tracker.ingest(&mut Event::Transition(transition(5, 5000, TcpState::Established, TcpState::CloseWait)));
    assert_eq!((tracker.tracked(), tracker.count(TcpState::Listen)), (2, 2));
}

#[test]
fn sockets_without_room_are_missing_until_a_census_of_their_state_finds_room() {
    let mut tracker = tracker(2);
    let open = |cookies: std::ops::Range<u64>| cookies.map(|cookie| row(cookie, TcpState::Established));
    tracker.reconcile(&census(10, open(1..6).collect()), None);
    assert_eq!(tracker.missing(), 3);
    // Without those that are open: two of them have to go.
    tracker.census_begins(Scope::FEWEST, 20_000);
    tracker.census_shows(&[row(10, TcpState::CloseWait), row(11, TcpState::CloseWait)], 20_000);
    tracker.census_ends(20_000, None, None, &[]);
    assert_eq!(tracker.missing(), 5);
    tracker.reconcile(&census(30_000, open(1..3).collect()), None);
    assert_eq!(tracker.missing(), 2, "those that park are forgotten after the others were shown");
    tracker.reconcile(&census(40_000, open(1..3).collect()), None);
    assert_eq!(tracker.missing(), 0);
}

proptest! {
    /// Whatever comes, the table stays within its bound, and what finds no room is counted.
    #[test]
    fn table_never_holds_more_than_it_may(
        events in prop::collection::vec((1..200_u64, 0..12_usize, 0..12_usize, any::<bool>()), 0..400)
    ) {
        let mut tracker = tracker(16);
        for (at_ns, (cookie, from, to, is_census)) in events.into_iter().enumerate() {
            let at_ns = at_ns as u64;
            let (from, to) = (TcpState::ALL[from], TcpState::ALL[to]);
            if is_census {
                let rows = (cookie..cookie + 24).map(|cookie| row(cookie, TcpState::Established)).collect();
                tracker.reconcile(&census(at_ns, rows), None);
            } else {
                tracker.ingest(&mut Event::Transition(transition(cookie, at_ns, from, to)));
            }
            prop_assert!(tracker.tracked() <= 16);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Event { cookie: u64, to: TcpState },
    Census { shown: Vec<(u64, TcpState)>, scope: Scope },
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop::sample::select(TcpState::VISIBLE.to_vec());
    let socket = (1..20_u64, state.clone());
    prop_oneof![
        3 => (1..20_u64, prop_oneof![4 => state, 1 => Just(TcpState::Close)])
            .prop_map(|(cookie, to)| Step::Event { cookie, to }),
        1 => (prop::collection::vec(socket, 0..20), any::<(bool, bool)>()).prop_map(|(mut shown, (established, time_wait))| {
            let scope = Scope { established, time_wait };
            shown.retain(|(_, state)| scope.has(*state));
            Step::Census { shown, scope }
        }),
    ]
}

proptest! {
    /// Whatever comes, the table never has more than its room, and what it keeps to find sockets quickly says the
    /// same as the sockets themselves.
    #[test]
    fn what_finds_sockets_quickly_agrees_with_the_sockets(steps in prop::collection::vec(step(), 0..60), room in 1..12_usize) {
        let mut tracker = tracker(room);
        for (step, at_ns) in steps.into_iter().zip((1..).map(|number| number * 100)) {
            match step {
                Step::Event { cookie, to } => {
                    tracker.ingest(&mut Event::Transition(transition(cookie, at_ns, TcpState::Established, to)));
                }
                Step::Census { shown, scope } => {
                    tracker.census_begins(scope, at_ns);
                    let rows: Vec<_> = shown.iter().map(|(cookie, state)| row(*cookie, *state)).collect();
                    tracker.census_shows(&rows, at_ns);
                    tracker.census_ends(at_ns + 1, None, None, &[]);
                    let known: Vec<_> = rows.iter().map(|row| row.cookie).collect();
                    for socket in sockets(&tracker) {
                        prop_assert!(known.contains(&socket.cookie) || !scope.has(socket.state), "{socket:?}");
                    }
                }
            }
            let all = sockets(&tracker);
            prop_assert!(all.len() <= room);
            prop_assert_eq!(all.len(), tracker.tracked());
            for state in TcpState::VISIBLE {
                let filter = Filter { state: Some(state), limit: usize::MAX, ..Filter::default() };
                let quick = tracker.page(&filter, 0);
                let slow: Vec<_> = all.iter().filter(|socket| socket.state == state).map(|socket| socket.cookie).collect();
                let found: Vec<_> = quick.sockets.iter().map(|socket| socket.cookie).collect();
                prop_assert_eq!(found, slow);
                prop_assert_eq!(usize::try_from(quick.total), Ok(quick.sockets.len()));
            }
        }
    }
}

/// A census that could not enter the namespaces of some of the sockets.
fn census_without(tracker: &mut Tracker, started_ns: u64, rows: &[Row], unvisited: &[u32]) {
    tracker.census_begins(Scope::ALL, started_ns);
    tracker.census_shows(rows, started_ns + 1);
    tracker.census_ends(started_ns + 1, None, None, unvisited);
}

fn elsewhere(cookie: u64, state: TcpState) -> Row {
    Row { netns: 2, ..row(cookie, state) }
}

#[test]
fn namespace_that_was_not_visited_keeps_its_sockets_and_they_count() {
    let mut tracker = tracker(8);
    let here = row(1, TcpState::CloseWait);
    let rows = [here.clone(), elsewhere(2, TcpState::CloseWait)];
    census_without(&mut tracker, SECOND, &rows, &[]);
    census_without(&mut tracker, 2 * SECOND, std::slice::from_ref(&here), &[2]);
    assert_eq!(sockets(&tracker).len(), 2);
    assert_eq!(sockets(&tracker)[1].since, Since::AtLatest(SECOND));
    let counts = tracker.sockets(None, 2 * SECOND);
    assert_eq!(counts.get(Family::V4, TcpState::CloseWait), 2);
    // At the first visit it is missed once, and at the second twice.
    census_without(&mut tracker, 3 * SECOND, std::slice::from_ref(&here), &[]);
    assert_eq!(sockets(&tracker).len(), 2);
    census_without(&mut tracker, 4 * SECOND, &[here], &[]);
    assert_eq!(sockets(&tracker).len(), 1);
    census_without(&mut tracker, 5 * SECOND, &[], &[2]);
    assert!(sockets(&tracker).is_empty(), "of a namespace that was visited");
}

#[test]
fn mini_socket_ends_in_time_though_nobody_looks() {
    let mut tracker = tracker(8);
    census_without(&mut tracker, 100 * SECOND, &[elsewhere(2, TcpState::TimeWait)], &[]);
    census_without(&mut tracker, 150 * SECOND, &[], &[2]);
    assert_eq!(tracker.sockets(None, 150 * SECOND).get(Family::V4, TcpState::TimeWait), 1);
    census_without(&mut tracker, 170 * SECOND, &[], &[2]);
    assert!(sockets(&tracker).is_empty());
}

#[test]
fn socket_that_is_shown_again_is_as_it_was() {
    let mut tracker = tracker(8);
    let rows = [elsewhere(2, TcpState::Established)];
    census_without(&mut tracker, SECOND, &rows, &[]);
    census_without(&mut tracker, 2 * SECOND, &[], &[2]);
    census_without(&mut tracker, 3 * SECOND, &rows, &[]);
    assert_eq!(sockets(&tracker)[0].since, Since::AtLatest(SECOND));
    census_without(&mut tracker, 4 * SECOND, &[], &[]);
    assert!(sockets(&tracker).is_empty(), "it was shown in between");
}
