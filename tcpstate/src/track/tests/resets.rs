//! The list of resets: pairs, bounds.

use proptest::prelude::*;
use tcpstate_common::TcpState;

use super::{tracker, tuple};
use crate::track::{Direction, Event, ResetReceived, ResetSent};

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
