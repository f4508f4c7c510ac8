//! What the kernel side remembers joins what a census shows.

use tcpstate_common::TcpState;

use super::{SECOND, census, process, row, tracker};
use crate::track::{Filter, Note, Opened, Row, Scope, Since, Socket, Timer, Tracker};

fn note(cookie: u64, state: TcpState, at_ns: u64) -> Note {
    let mini = state == TcpState::TimeWait;
    Note {
        cookie,
        state,
        mini,
        entered_ns: at_ns,
        written_ns: at_ns,
        actor: Some(process(9, "app")),
        opened: None,
    }
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
fn note_that_comes_after_its_socket_was_shown_says_when_and_who() {
    let known = (Since::Exactly(3 * SECOND), Some(process(9, "app")));
    for state in [TcpState::CloseWait, TcpState::TimeWait] {
        let mut tracker = tracker(8);
        tracker.reconcile(&census(10 * SECOND, vec![row(7, state)]), None);
        tracker.note(note(7, state, 3 * SECOND));
        let socket = first(&tracker);
        assert_eq!((socket.since, socket.actor), known, "{state:?}, after the census");
    }
    for state in [TcpState::CloseWait, TcpState::TimeWait] {
        let mut tracker = tracker(8);
        tracker.census_begins(Scope::ALL, 2 * SECOND);
        tracker.census_shows(&[row(7, state)], 4 * SECOND);
        tracker.note(note(7, state, 3 * SECOND));
        tracker.census_ends(5 * SECOND, None, None, &[]);
        let socket = first(&tracker);
        assert_eq!((socket.since, socket.actor), known, "{state:?}, meanwhile");
    }
}

#[test]
fn notes_that_lie_together_name_each_its_own_process() {
    let mut tracker = tracker(600);
    let actor = |cookie: u64| {
        (!cookie.is_multiple_of(4)).then(|| process(u32::try_from(cookie % 300).unwrap(), "app"))
    };
    for cookie in 1..=600 {
        tracker.note(Note { actor: actor(cookie), ..note(cookie, TcpState::CloseWait, 3 * SECOND) });
    }
    let rows = (1..=600).map(|cookie| row(cookie, TcpState::CloseWait)).collect();
    tracker.reconcile(&census(10 * SECOND, rows), None);
    for socket in tracker.page(&Filter { limit: 600, ..Filter::default() }, 0).sockets {
        let said = (socket.since, socket.actor);
        assert_eq!(said, (Since::Exactly(3 * SECOND), actor(socket.cookie)), "{}", socket.cookie);
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

/// Sockets whose cookies are so far apart were not made one after the other.
const APART: u64 = 10_000;

#[test]
fn note_waits_for_a_census_that_could_show_its_socket_and_no_longer() {
    let mut tracker = tracker(20_000);
    tracker.note(note(7, TcpState::TimeWait, 11 * SECOND));
    tracker.reconcile(&census(10 * SECOND, vec![]), None);
    tracker.note(note(APART, TcpState::TimeWait, 12 * SECOND));
    tracker.reconcile(&census(12 * SECOND, vec![]), None);
    let rows = vec![row(7, TcpState::TimeWait), row(APART, TcpState::TimeWait)];
    tracker.reconcile(&census(13 * SECOND, rows), None);
    let sockets = tracker.page(&Filter { limit: 2, ..Filter::default() }, 0).sockets;
    assert_eq!(sockets[0].since, Since::AtLatest(13 * SECOND), "the second census should have shown it");
    assert_eq!(sockets[1].since, Since::Exactly(12 * SECOND));
}

#[test]
fn note_about_time_wait_waits_for_a_census_that_shows_them() {
    let mut tracker = tracker(8);
    tracker.note(note(7, TcpState::TimeWait, 9 * SECOND));
    tracker.census_begins(Scope::FEWEST, 10 * SECOND);
    tracker.census_ends(10 * SECOND, None, None, &[]);
    tracker.reconcile(&census(20 * SECOND, vec![row(7, TcpState::TimeWait)]), None);
    assert_eq!(first(&tracker).since, Since::Exactly(9 * SECOND));
}

/// The kernel side's clock is a tick behind: what seems to have been written just before a census began may have
/// come too late for it.
#[test]
fn note_that_was_written_just_before_a_census_waits_for_the_next() {
    let mut tracker = tracker(8);
    tracker.note(note(7, TcpState::TimeWait, 10 * SECOND - 9_000_000));
    tracker.reconcile(&census(10 * SECOND, vec![]), None);
    tracker.reconcile(&census(11 * SECOND, vec![row(7, TcpState::TimeWait)]), None);
    assert_eq!(first(&tracker).since, Since::Exactly(10 * SECOND - 9_000_000));
}

/// Two sockets far apart, noted one after the other in so many seconds, where there is room for one.
fn where_room_is_for_one(state: TcpState, seconds: [u64; 2]) -> [Since; 2] {
    let mut tracker = tracker(8);
    let cookies = [7, APART];
    for (cookie, second) in cookies.into_iter().zip(seconds) {
        tracker.note(note(cookie, state, second * SECOND));
    }
    let rows = cookies.map(|cookie| row(cookie, state)).to_vec();
    tracker.reconcile(&census(99 * SECOND, rows), None);
    let page = tracker.page(&Filter { limit: 2, ..Filter::default() }, 0);
    assert_eq!(tracker.given_up().notes, 1);
    [page.sockets[0].since, page.sockets[1].since]
}

#[test]
fn notes_are_bounded_and_the_oldest_go_first() {
    let unknown = Since::AtLatest(99 * SECOND);
    assert_eq!(where_room_is_for_one(TcpState::CloseWait, [1, 2]), [unknown, Since::Exactly(2 * SECOND)]);
}

#[test]
fn notes_of_time_wait_give_way_when_their_time_is_over() {
    let unknown = Since::AtLatest(99 * SECOND);
    assert_eq!(where_room_is_for_one(TcpState::TimeWait, [1, 60]), [Since::Exactly(SECOND), unknown]);
    assert_eq!(where_room_is_for_one(TcpState::TimeWait, [1, 62]), [unknown, Since::Exactly(62 * SECOND)]);
}

#[test]
fn what_was_given_up_counts_where_somebody_misses_it() {
    let mut tracker = tracker(8);
    for cookie in [7, APART, 2 * APART] {
        tracker.note(note(cookie, TcpState::CloseWait, SECOND));
    }
    assert_eq!(tracker.given_up().notes, 0, "perhaps those sockets are gone");
    let rows =
        vec![row(7, TcpState::CloseWait), row(2 * APART, TcpState::CloseWait), row(8, TcpState::Established)];
    for second in [9, 10] {
        tracker.reconcile(&census(second * SECOND, rows.clone()), None);
        assert_eq!(tracker.given_up().notes, 1, "a socket counts once");
    }
}

fn late(cookie: u64) -> Note {
    Note { mini: true, ..note(cookie, TcpState::FinWait2, 3 * SECOND) }
}

fn begun_by_its_timer(left_ms: u32) -> Row {
    Row { expires_ms: left_ms, ..row(7, TcpState::TimeWait) }
}

/// The peer's FIN comes later than its ACK: `FIN_WAIT2` goes on in a mini-socket, which becomes `TIME_WAIT` in silence.
#[test]
fn time_wait_after_a_late_fin_keeps_who_closed_and_tells_its_age_by_its_timer() {
    // The test's census takes a microsecond.
    let expected = (Since::AtLatest(4 * SECOND + 1_000), Some(process(9, "app")));
    // The note comes before the census that shows the TIME_WAIT, or after it.
    let mut tracker = tracker(8);
    tracker.note(late(7));
    tracker.reconcile(&census(10 * SECOND, vec![begun_by_its_timer(54_000)]), None);
    assert_eq!((first(&tracker).since, first(&tracker).actor), expected);
    let mut tracker = super::tracker(8);
    tracker.reconcile(&census(10 * SECOND, vec![begun_by_its_timer(54_000)]), None);
    tracker.note(late(7));
    assert_eq!((first(&tracker).since, first(&tracker).actor), expected);
}

#[test]
fn time_wait_keeps_who_closed_where_censuses_do_not_ask_about_it_for_a_while() {
    for is_seen in [false, true] {
        let mut tracker = tracker(8);
        tracker.note(late(7));
        if is_seen {
            let mini = Row { timer: Timer::TimeWait, inode: 0, ..row(7, TcpState::FinWait2) };
            tracker.reconcile(&census(4 * SECOND, vec![mini]), None);
        }
        // It has become TIME_WAIT, which these do not show.
        for round in [5, 10] {
            tracker.census_begins(Scope::FEWEST, round * SECOND);
            tracker.census_ends(round * SECOND + 1, None, None, &[]);
        }
        tracker.reconcile(&census(15 * SECOND, vec![row(7, TcpState::TimeWait)]), None);
        assert_eq!(first(&tracker).actor, Some(process(9, "app")), "seen before: {is_seen}");
    }
}

#[test]
fn note_says_how_a_connection_came_to_be_and_that_stays_known() {
    let opened = Opened { at_ns: 3 * SECOND, active: true };
    let mut tracker = tracker(8);
    tracker.note(Note { opened: Some(opened), ..note(7, TcpState::Established, 3 * SECOND) });
    tracker.reconcile(&census(10 * SECOND, vec![row(7, TcpState::Established)]), None);
    let socket = first(&tracker);
    assert_eq!((socket.since, socket.opened), (Since::Exactly(3 * SECOND), Some(opened)));
    tracker.reconcile(&census(20 * SECOND, vec![row(7, TcpState::CloseWait)]), None);
    let known = first(&tracker).opened.expect("as before");
    // In units of 2^20 ns.
    assert!(known.active && known.at_ns.abs_diff(3 * SECOND) < 2 << 20, "{known:?}");
}

#[test]
fn how_a_connection_came_to_be_is_kept_in_32_bits() {
    let day = 86_400 * SECOND;
    for (at_ns, since_ns) in [(0, 0), (5, 5), (SECOND, 90 * SECOND), (SECOND, 20 * day)] {
        for active in [false, true] {
            let opened = Opened { at_ns, active };
            let again = Opened::unpack(Opened::pack(Some(opened), since_ns), since_ns).expect("known");
            let off_ns = again.at_ns.abs_diff(at_ns);
            assert!(again.active == active && (off_ns <= 1 << 20 || since_ns - again.at_ns >= 13 * day));
        }
    }
    assert_eq!(Opened::unpack(Opened::pack(None, 7), 7), None);
}

#[test]
fn time_wait_of_which_no_note_came_is_counted_if_it_began_while_notes_were_taken() {
    let mut tracker = Tracker::new(crate::track::Limits { max_sockets: 16, max_resets: 1 }, true);
    let ends = |cookie: u64, expires_ms: u32| Row { expires_ms, ..row(cookie, TcpState::TimeWait) };
    let counters = tcpstate_common::Counters::ZERO;
    let shows = |tracker: &mut Tracker, at_s: u64, rows: &[Row], notes: &[Note]| {
        tracker.census_begins(Scope::ALL, at_s * SECOND);
        tracker.census_shows(rows, at_s * SECOND);
        for note in notes {
            tracker.note(*note);
        }
        tracker.census_ends(at_s * SECOND, Some((&counters, &counters)), None, &[]);
        tracker.given_up().notes
    };
    assert_eq!(shows(&mut tracker, 100, &[ends(1, 50_000)], &[]), 0, "older than the first census");
    let rows = [ends(1, 45_000), ends(2, 57_000), ends(3, 57_000)];
    assert_eq!(shows(&mut tracker, 105, &rows, &[note(2, TcpState::TimeWait, 102 * SECOND)]), 1);
    assert_eq!(shows(&mut tracker, 110, &rows, &[]), 1, "each once");
}
