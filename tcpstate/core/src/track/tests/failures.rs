//! The list of connects that failed.

use tcpstate_common::TcpState;

use super::{SECOND, process, tracker, transition, tuple};
use crate::track::{Actor, Event, Failure, Transition};

fn failed(error: u32) -> Transition {
    Transition { error, ..transition(7, 3 * SECOND, TcpState::SynSent, TcpState::Close) }
}

fn failures(events: impl IntoIterator<Item = Transition>) -> Vec<Failure> {
    let mut tracker = tracker(8);
    for event in events {
        tracker.ingest(&mut Event::Transition(event));
    }
    tracker.failures().since(0, 99).0.copied().collect()
}

#[test]
fn failed_connect_is_kept_with_who_made_it_and_how_long_it_took() {
    let begun = transition(7, SECOND, TcpState::Close, TcpState::SynSent);
    let actor = Some(Actor { process: process(9, "client"), carried: false });
    let expected = Failure {
        at_ns: 3 * SECOND,
        netns: 1,
        tuple: tuple(),
        errno: 111,
        process: Some(process(9, "client")),
        lasted_ns: Some(2 * SECOND),
    };
    assert_eq!(failures([Transition { actor, ..begun }, failed(111)]), [expected]);
}

#[test]
fn connect_that_never_got_a_port_has_the_error_that_connect_returned() {
    let mut event = failed(0);
    assert_eq!(failures([event.clone()])[0].errno, 0, "given up");
    event.tuple.local.set_port(0);
    assert_eq!(failures([event.clone()])[0].errno, 99);
    event.error = 101;
    assert_eq!(failures([event])[0].errno, 101);
}

#[test]
fn what_is_no_failure_is_not_kept() {
    assert!(failures([transition(7, SECOND, TcpState::SynSent, TcpState::Established)]).is_empty());
}
