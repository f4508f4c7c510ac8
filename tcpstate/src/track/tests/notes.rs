//! What the kernel side remembers joins what a census shows.

use tcpstate_common::TcpState;

use super::{SECOND, census, process, row, tracker};
use crate::track::{Filter, Note, Since, Socket, Tracker};

fn note(cookie: u64, state: TcpState, at_ns: u64) -> Note {
    let mini = state == TcpState::TimeWait;
    Note { cookie, state, mini, entered_ns: at_ns, written_ns: at_ns, actor: Some(process(9, "app")) }
}

fn first(tracker: &Tracker) -> Socket {
    tracker.page(&Filter { limit: 1, ..Filter::default() }, 0).sockets.remove(0)
}

#[test]
fn note_says_when_and_who() {
    for state in [TcpState::CloseWait, TcpState::TimeWait] {
        let mut tracker = tracker(8);
        tracker.note(note(7, state, 3 * SECOND));
        tracker.reconcile(&census(10 * SECOND, vec![row(7, state)]), None);
        let socket = first(&tracker);
        assert_eq!((socket.since, socket.actor), (Since::Exactly(3 * SECOND), Some(process(9, "app"))));
    }
}

#[test]
fn note_about_another_state_says_nothing() {
    let mut tracker = tracker(8);
    tracker.note(note(7, TcpState::FinWait1, 3 * SECOND));
    // The kernel side's note about the mini-socket is not about the socket before.
    tracker.note(Note { mini: true, ..note(8, TcpState::FinWait2, 3 * SECOND) });
    let rows = vec![row(7, TcpState::FinWait2), row(8, TcpState::FinWait2)];
    tracker.reconcile(&census(10 * SECOND, rows), None);
    for socket in tracker.page(&Filter { limit: 2, ..Filter::default() }, 0).sockets {
        assert_eq!((socket.since, socket.actor), (Since::AtLatest(10 * SECOND), None));
    }
}

#[test]
fn later_note_says_who_closed_and_leaves_no_time_out() {
    let mut tracker = tracker(8);
    tracker.note(Note { actor: None, ..note(7, TcpState::FinWait2, 3 * SECOND) });
    tracker.reconcile(&census(4 * SECOND, vec![row(7, TcpState::FinWait2)]), None);
    tracker.note(note(7, TcpState::FinWait2, 3 * SECOND));
    tracker.reconcile(&census(10 * SECOND, vec![row(7, TcpState::FinWait2)]), None);
    let socket = first(&tracker);
    assert_eq!((socket.since, socket.actor), (Since::Exactly(3 * SECOND), Some(process(9, "app"))));
}

#[test]
fn note_waits_for_a_census_that_could_show_its_socket_and_no_longer() {
    let mut tracker = tracker(8);
    tracker.note(note(7, TcpState::TimeWait, 11 * SECOND));
    tracker.reconcile(&census(10 * SECOND, vec![]), None);
    tracker.note(note(8, TcpState::TimeWait, 12 * SECOND));
    tracker.reconcile(&census(11 * SECOND + 1, vec![]), None);
    let rows = vec![row(7, TcpState::TimeWait), row(8, TcpState::TimeWait)];
    tracker.reconcile(&census(13 * SECOND, rows), None);
    let sockets = tracker.page(&Filter { limit: 2, ..Filter::default() }, 0).sockets;
    assert_eq!(sockets[0].since, Since::AtLatest(13 * SECOND), "the second census should have shown it");
    assert_eq!(sockets[1].since, Since::Exactly(12 * SECOND));
}

#[test]
fn notes_are_bounded_and_what_has_no_room_is_counted() {
    let mut tracker = tracker(4);
    for cookie in [1, 2, 2, 3, 4] {
        tracker.note(note(cookie, TcpState::TimeWait, SECOND));
    }
    assert_eq!(tracker.given_up().notes, 2);
}
