//! The list of resets: pairs, bounds.

use proptest::prelude::*;
use tcpstate_common::TcpState;

use super::{SECOND, census, process, row, tracker, transition, tuple};
use crate::track::{Actor, Circumstances, Direction, Event, ResetReceived, ResetSent};

fn received(cookie: u64, state: TcpState) -> Event {
    Event::ResetReceived(ResetReceived { at_ns: 1, cookie: Some(cookie), netns: 1, tuple: tuple(), state })
}

fn sent(cookie: Option<u64>, state: TcpState, reason: u32) -> Event {
    Event::ResetSent(ResetSent {
        at_ns: 2,
        cookie,
        netns: 1,
        tuple: tuple(),
        state: Some(state),
        reason: Some(reason),
        process: None,
    })
}

#[test]
fn reset_that_the_kernel_made_itself_is_not_a_received_one() {
    let mut tracker = tracker(8);
    tracker.ingest(&mut received(7, TcpState::FinWait2));
    tracker.ingest(&mut sent(Some(7), TcpState::Close, 8));
    let resets: Vec<_> = tracker.resets().newest_first().collect();
    assert_eq!(resets.len(), 1);
    assert_eq!(resets[0].direction, Direction::Sent);
    assert_eq!(resets[0].state, Some(TcpState::FinWait2), "where the data met the socket");
}

#[test]
fn reset_that_came_in_stays_beside_one_sent_by_another_socket() {
    let mut tracker = tracker(8);
    tracker.ingest(&mut received(7, TcpState::Established));
    tracker.ingest(&mut sent(Some(8), TcpState::Close, 11));
    let directions: Vec<_> = tracker.resets().newest_first().map(|reset| reset.direction).collect();
    assert_eq!(directions, [Direction::Sent, Direction::Received]);
}

#[test]
fn reset_sent_by_a_mini_socket_does_not_cancel_what_came_in() {
    let mut tracker = tracker(8);
    tracker.ingest(&mut received(7, TcpState::FinWait2));
    tracker.ingest(&mut sent(Some(7), TcpState::TimeWait, 9));
    assert_eq!(tracker.resets().newest_first().count(), 2);
}

#[test]
fn whoever_comes_again_gets_the_resets_that_are_new() {
    let mut tracker = tracker(8);
    let since = |tracker: &crate::track::Tracker, id, most| {
        let (resets, left_out) = tracker.resets().since(id, most);
        (resets.map(|(reset, _)| reset.id).collect::<Vec<_>>(), left_out)
    };
    assert_eq!(since(&tracker, 0, 9), (vec![], 0));
    for cookie in 1..=3 {
        tracker.ingest(&mut received(cookie, TcpState::Established));
    }
    assert_eq!(since(&tracker, 1, 9), (vec![2, 3], 0));
    assert_eq!(since(&tracker, 0, 2), (vec![2, 3], 1));
    assert_eq!(since(&tracker, tracker.resets().seen(), 9), (vec![], 0));
    for cookie in 4..=12 {
        tracker.ingest(&mut received(cookie, TcpState::Established));
    }
    // There is room for 8.
    assert_eq!(since(&tracker, 3, 9), (vec![5, 6, 7, 8, 9, 10, 11, 12], 1));
}

#[test]
fn reset_keeps_what_was_known_of_its_connection() {
    let mut tracker = tracker(8);
    tracker.reconcile(&census(SECOND, vec![row(7, TcpState::Established)]), None);
    let mut closed = transition(7, 2 * SECOND, TcpState::Established, TcpState::FinWait1);
    closed.actor = Some(Actor { process: process(9, "server"), carried: false });
    tracker.ingest(&mut Event::Transition(closed));
    let met = Circumstances { idle_ms: Some(5000), ..Circumstances::default() };
    tracker.ingest_with(&mut received(7, TcpState::FinWait1), met);
    let after = Circumstances { idle_ms: Some(1), moved_bytes: Some(700), ..Circumstances::default() };
    tracker.ingest_with(&mut sent(Some(7), TcpState::Close, 8), after);
    let (resets, _) = tracker.resets().since(0, 9);
    let expected = Circumstances {
        moved_bytes: Some(700),
        idle_ms: Some(5000),
        entered_ns: Some(2 * SECOND),
        actor: Some(process(9, "server")),
        ..Circumstances::default()
    };
    assert_eq!(resets.map(|(_, about)| *about).collect::<Vec<_>>(), [expected]);
}

proptest! {
    #[test]
    fn list_of_resets_is_bounded_and_its_ids_fall(events in prop::collection::vec((1..6_u64, any::<bool>()), 0..100)) {
        let mut tracker = tracker(8);
        for (cookie, is_sent) in events {
            tracker.ingest(&mut if is_sent {
                sent(Some(cookie), TcpState::Close, 8)
            } else {
                received(cookie, TcpState::FinWait1)
            });
            let ids: Vec<_> = tracker.resets().newest_first().map(|reset| reset.id).collect();
            prop_assert!(ids.len() <= 8);
            prop_assert!(ids.is_sorted_by(|newer, older| newer > older));
        }
    }
}
