//! RSTs and failed connects.

use tcpstate_common::TcpState::{Close, CloseWait, Established, FinWait2, TimeWait};

use super::{NETNS, SECOND, World, at, process, tuple};
use crate::{
    diagnose::{
        Class, Severity,
        evidence::{Reason, Unseen, What},
    },
    track::{Failure, IdleClose},
};

fn server() -> World {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:8000", 77, "nginx");
    world
}

fn closed_unread(world: &mut World, times: usize) {
    for _ in 0..times {
        let seen = world.sent(Reason::AbortOnClose, Some(Close), "10.0.0.1:8000", "10.0.0.9:4000");
        seen.reset.process = Some(process(77, "nginx"));
        seen.unread_bytes = Some(30);
    }
}

#[test]
fn a_close_with_unread_data_is_told_and_a_habit_of_it_is_a_warning() {
    let mut world = server();
    closed_unread(&mut world, 1);
    world.pass();
    assert_eq!(world.only(Class::RstUnreadData).severity, Severity::Info);
    closed_unread(&mut world, 12);
    world.pass();
    let unread = world.only(Class::RstUnreadData);
    assert_eq!((unread.severity, unread.subject.pid, unread.count), (Severity::Warning, Some(77), 13));
    assert!(
        unread.verdict.starts_with("nginx[77] closed 13 connections with up to 30 bytes unread"),
        "{}",
        unread.verdict
    );
}

#[test]
fn a_process_that_was_killed_is_not_blamed_for_its_unread_data() {
    let mut world = server();
    closed_unread(&mut world, 20);
    world.process(77, "nginx").exited = true;
    world.passes(2);
    world.assert_clean();
    // Its number has been given to another since.
    let mut world = server();
    closed_unread(&mut world, 20);
    world.process(77, "nginx").start_boottime_ns = Some(10_003 * SECOND);
    world.passes(2);
    world.assert_clean();
}

fn abortive(world: &mut World, bytes_moved: Option<u64>) {
    for _ in 0..12 {
        let seen = world.sent(Reason::TcpState, Some(Close), "10.0.0.1:8000", "10.0.0.9:4000");
        (seen.reset.process, seen.bytes_moved) = (Some(process(77, "nginx")), bytes_moved);
    }
    world.delta().abort_on_data = Some(12);
}

#[test]
fn an_abortive_close_is_linger_zero() {
    let mut world = server();
    abortive(&mut world, Some(900));
    world.pass();
    let linger = world.only(Class::RstLingerZero);
    assert_eq!((linger.severity, linger.subject.pid), (Severity::Warning, Some(77)));
    assert!(linger.remedy.contains("SO_LINGER"));
}

#[test]
fn checks_without_data_a_disconnect_and_a_killed_socket_are_no_linger() {
    let mut world = server();
    abortive(&mut world, Some(0));
    world.pass();
    world.assert_clean();
    abortive(&mut world, Some(900));
    world.delta().abort_on_data = Some(0);
    world.pass();
    world.assert_clean();
    // ss -K: the RST comes first, and the state is not CLOSE yet.
    world.sent(Reason::TcpState, Some(Established), "10.0.0.1:8000", "10.0.0.9:4000");
    world.sent(Reason::TcpState, Some(FinWait2), "10.0.0.1:8000", "10.0.0.9:4000");
    world.pass();
    world.assert_clean();
    // Nobody knows whether there was data.
    abortive(&mut world, None);
    world.pass();
    let linger = world.only(Class::RstLingerZero);
    assert_eq!(linger.severity, Severity::Info);
    assert!(linger.cannot_see[0].contains("carried data"), "{:?}", linger.cannot_see);
}

#[test]
fn a_listener_that_is_closed_resets_its_queue() {
    let mut world = server();
    world.pass();
    world.remove(1);
    for _ in 0..5 {
        world.sent(Reason::TcpState, Some(Close), "10.0.0.1:8000", "10.0.0.9:4000");
    }
    world.pass();
    let closed = world.only(Class::RstListenerClosed);
    assert_eq!((closed.severity, closed.subject.pid), (Severity::Warning, Some(77)));
    assert_eq!(
        closed.verdict,
        "5 connections that nobody had accepted were reset when the listener :8000 of nginx[77] was closed."
    );
}

fn refused(world: &mut World, remote: &str) {
    world.process(9, "worker");
    world.failures.push(Failure {
        at_ns: world.at_ns,
        netns: NETNS,
        tuple: tuple(if at(remote).is_ipv4() { "10.0.0.1:4000" } else { "[::1]:4000" }, remote),
        errno: 111,
        process: Some(process(9, "worker")),
        lasted_ns: Some(1),
    });
}

#[test]
fn a_service_that_is_down_is_told_and_warned_of_when_it_lasts() {
    let mut world = World::new();
    for step in 0..6 {
        for _ in 0..4 {
            refused(&mut world, "10.0.0.5:9000");
        }
        world.pass();
        let severity = world.only(Class::ConnectionRefused).severity;
        assert_eq!(severity, if step < 2 { Severity::Info } else { Severity::Warning }, "{step}");
    }
    let down = world.only(Class::ConnectionRefused);
    assert!(
        down.verdict.starts_with("24 connects of worker[9] to 10.0.0.5:9000 were refused"),
        "{}",
        down.verdict
    );
}

#[test]
fn fallbacks_single_probes_and_scans_are_not_refused_connects() {
    let mut world = World::new();
    world.listener(1, "127.0.0.1:8000", 77, "nginx");
    world.pass();
    for _ in 0..10 {
        for _ in 0..5 {
            refused(&mut world, "[::1]:8000");
        }
        world.pass();
        world.assert_clean();
    }
    refused(&mut world, "10.0.0.5:9000");
    world.pass();
    world.assert_clean();
    let mut world = World::new();
    for port in 1..200 {
        for _ in 0..3 {
            refused(&mut world, &format!("10.0.0.5:{port}"));
        }
    }
    world.pass();
    world.assert_clean();
}

fn late_request(world: &mut World, idle_ms: Option<u64>) {
    let seen = world.sent(Reason::TimeWaitSocket, Some(TimeWait), "10.0.0.1:8000", "10.0.0.9:4000");
    (seen.owner, seen.after_close_ns, seen.idle_ms) = (Some(process(77, "nginx")), Some(3_000_000), idle_ms);
}

fn idle_close(world: &mut World, idle_ms: u64) -> &mut IdleClose {
    world.closes.push(IdleClose {
        at_ns: world.at_ns,
        netns: NETNS,
        tuple: tuple("10.0.0.1:8000", "10.0.0.9:4001"),
        process: Some(process(77, "nginx")),
        received_bytes: 900,
        heard_ms: idle_ms + 2,
        spoke_ms: idle_ms,
    });
    world.closes.last_mut().expect("just pushed")
}

#[test]
fn requests_that_meet_the_idle_timeout_are_a_race() {
    let mut world = server();
    world.pass();
    for step in 0..180 {
        idle_close(&mut world, 4_997 + step % 7);
    }
    for _ in 0..9 {
        late_request(&mut world, Some(5_001));
    }
    world.pass();
    let race = world.only(Class::KeepaliveRace);
    assert_eq!((race.severity, race.subject.pid), (Severity::Warning, Some(77)));
    assert!(
        race.verdict.starts_with("nginx[77] closes idle connections after 5.0 s; in 9 of 180 closes a request arrived within 3 ms of that and got a RST"),
        "{}", race.verdict
    );
    assert!(race.remedy.contains("longer than the client's"));
}

#[test]
fn a_farewell_that_meets_the_close_is_no_request_that_met_it() {
    let mut world = server();
    world.pass();
    // QUIT with its line end, a TLS alert, and requests.
    for (bytes, races) in [(6, 0), (31, 0), (300, 1)] {
        for _ in 0..9 {
            idle_close(&mut world, 5_000);
            late_request(&mut world, Some(5_001));
            world.resets.last_mut().expect("just pushed").payload_bytes = Some(bytes);
        }
        world.pass();
        assert_eq!(world.open().len(), races, "{bytes}");
    }
}

#[test]
fn without_idle_times_a_race_is_only_told() {
    let mut world = server();
    let why = "no eBPF here".to_owned();
    world.cannot_see.push(Unseen { what: What::IdleTimes, of: None, why });
    late_request(&mut world, None);
    world.pass();
    let race = world.only(Class::KeepaliveRace);
    assert_eq!(race.severity, Severity::Info);
    assert!(race.cannot_see[0].ends_with("idle: no eBPF here"), "{:?}", race.cannot_see);
    // The RST itself says that it had been quiet, but not whether that was a timeout.
    let mut world = server();
    late_request(&mut world, Some(5_001));
    world.pass();
    let race = world.only(Class::KeepaliveRace);
    assert_eq!(race.severity, Severity::Info);
    assert!(race.cannot_see[0].contains("too few closes"), "{:?}", race.cannot_see);
}

#[test]
fn what_others_close_is_not_the_servers_habit() {
    let mut world = server();
    world.listener(2, "0.0.0.0:9000", 78, "worker");
    world.pass();
    for _ in 0..20 {
        // A client's pool, another server, another process of this one, and connections that were never used.
        idle_close(&mut world, 5_000).tuple = tuple("10.0.0.1:40000", "10.0.0.9:443");
        let other = idle_close(&mut world, 5_000);
        (other.tuple, other.process) = (tuple("10.0.0.1:9000", "10.0.0.9:4001"), Some(process(78, "worker")));
        idle_close(&mut world, 5_000).process = Some(process(79, "cron"));
        idle_close(&mut world, 5_000).received_bytes = 0;
    }
    for _ in 0..9 {
        late_request(&mut world, Some(5_001));
    }
    world.pass();
    assert_eq!(world.only(Class::KeepaliveRace).severity, Severity::Info);
}

#[test]
fn who_closed_is_known_from_the_close_if_the_reset_does_not_say() {
    let mut world = server();
    world.pass();
    for _ in 0..4 {
        idle_close(&mut world, 5_000).tuple.remote = at("10.0.0.9:4000");
    }
    for _ in 0..3 {
        late_request(&mut world, None);
        world.resets.last_mut().expect("just pushed").owner = None;
    }
    world.pass();
    let race = world.only(Class::KeepaliveRace);
    assert_eq!((race.severity, race.subject.pid), (Severity::Warning, Some(77)));
    // Of another connection it is not.
    let mut world = server();
    world.pass();
    for _ in 0..4 {
        idle_close(&mut world, 5_000);
    }
    late_request(&mut world, None);
    world.resets.last_mut().expect("just pushed").owner = None;
    world.pass();
    let race = world.only(Class::KeepaliveRace);
    assert_eq!(race.subject.pid, None);
    assert!(race.verdict.starts_with("An unknown process closes idle connections after 5.0 s"));
}

#[test]
fn how_late_a_request_was_is_known_from_the_close_if_the_reset_does_not_say() {
    let mut world = server();
    world.pass();
    for _ in 0..4 {
        let close = idle_close(&mut world, 5_000);
        close.at_ns -= 20_000_000;
        close.tuple.remote = at("10.0.0.9:4000");
    }
    for _ in 0..3 {
        let seen = world.sent(Reason::AbortOnData, Some(Close), "10.0.0.1:8000", "10.0.0.9:4000");
        seen.owner = Some(process(77, "nginx"));
    }
    world.pass();
    let verdict = &world.only(Class::KeepaliveRace).verdict;
    assert!(verdict.contains("in 3 of 4 closes a request arrived within 20 ms of that"), "{verdict}");
}

#[test]
fn a_farewell_or_a_late_answer_before_the_close_is_no_proof_of_a_race() {
    let mut world = server();
    world.pass();
    for _ in 0..20 {
        idle_close(&mut world, 5_000).spoke_ms = 0;
    }
    for _ in 0..9 {
        late_request(&mut world, Some(5_001));
    }
    world.pass();
    let race = world.only(Class::KeepaliveRace);
    assert_eq!(race.severity, Severity::Info);
    assert!(
        race.verdict.starts_with("nginx[77] closes connections 5.0 s after data last came in; in 9 of 20 "),
        "{}",
        race.verdict
    );
    assert!(race.cannot_see[0].contains("may be a farewell (TLS, HTTP/2) or an answer"));
}

#[test]
fn idle_times_are_remembered_for_longer_than_the_requests_that_met_them() {
    let mut world = server();
    world.pass();
    for _ in 0..3 {
        idle_close(&mut world, 60_000);
    }
    world.passes(24);
    idle_close(&mut world, 60_000);
    late_request(&mut world, None);
    world.pass();
    let race = world.only(Class::KeepaliveRace);
    assert!(race.verdict.contains("after 60.0 s; in 1 of 1 close"), "{}", race.verdict);
    assert_eq!(race.evidence[0], "idle times of 4 closes: nine in ten within 20% of 60.0 s");
    world.passes(200);
    assert_eq!(world.diagnosis.events.size(), 0);
}

#[test]
fn a_server_that_closes_in_the_middle_of_a_request_is_no_race() {
    let mut world = server();
    for _ in 0..20 {
        late_request(&mut world, Some(3));
    }
    world.pass();
    world.assert_clean();
    // Nothing is left of the connection, but it was not idle when it was closed, or that would have been told.
    for _ in 0..20 {
        late_request(&mut world, None);
    }
    world.pass();
    world.assert_clean();
}

#[test]
fn idle_times_all_over_the_place_are_no_timeout() {
    let mut world = server();
    world.pass();
    for step in 0..100 {
        idle_close(&mut world, 200 + 900 * step);
    }
    for _ in 0..9 {
        late_request(&mut world, None);
    }
    world.pass();
    let race = world.only(Class::KeepaliveRace);
    assert_eq!(race.severity, Severity::Info);
    assert!(race.cannot_see[0].ends_with("it differs from close to close"), "{:?}", race.cannot_see);
}

#[test]
fn a_peer_that_forgot_is_known_from_its_answer_or_from_the_silence() {
    let mut world = server();
    for port in 4000..4004 {
        let peer = format!("10.0.0.9:{port}");
        world.received(Established, "10.0.0.1:8000", &peer).owner = Some(process(77, "nginx"));
        world.sent(Reason::NoSocket, None, &peer, "10.0.0.1:8000").answered_syn = Some(false);
    }
    world.pass();
    let lost = world.only(Class::PeerLostState);
    assert_eq!((lost.severity, lost.subject.pid), (Severity::Warning, Some(77)));
    assert!(lost.verdict.contains("4 open connections to 10.0.0.9"), "{}", lost.verdict);

    let mut world = server();
    let seen = world.received(Established, "10.0.0.1:40000", "10.0.0.5:5432");
    (seen.idle_ms, seen.owner) = (Some(900_000), Some(process(77, "nginx")));
    world.pass();
    let lost = world.only(Class::PeerLostState);
    assert!(lost.verdict.contains("after 15 min of silence"), "{}", lost.verdict);
}

/// A request, `ago_s` seconds ago, into a connection that the peer had ended 3 s before.
fn written_after_fin(world: &mut World, ago_s: u64) {
    let seen = world.received(CloseWait, "10.0.0.1:4000", "10.0.0.9:443");
    seen.reset.at_ns -= ago_s * SECOND;
    (seen.after_close_ns, seen.spoke_ms, seen.unsent_bytes) = (Some(3 * SECOND), Some(0), Some(300));
    seen.owner = Some(process(9, "worker"));
}

#[test]
fn a_peer_that_ends_connections_all_the_time_is_no_restart() {
    // At once, within two seconds, and one after the other.
    for (seconds, severity) in [(1, Severity::Info), (2, Severity::Info), (8, Severity::Warning)] {
        let mut world = World::new();
        world.process(9, "worker");
        world.pass();
        for number in 0..16 {
            written_after_fin(&mut world, number % seconds);
        }
        world.pass();
        let written = world.only(Class::WriteAfterFin);
        assert_eq!(
            (written.severity, written.count, written.subject.pid),
            (severity, 16, Some(9)),
            "{seconds}"
        );
    }
}

#[test]
fn a_peer_that_restarts_or_aborts_has_not_forgotten() {
    let mut world = server();
    for _ in 0..20 {
        world.received(Established, "10.0.0.1:40000", "10.0.0.5:5432").idle_ms = Some(10);
        world.received(super::TcpState::CloseWait, "10.0.0.1:40000", "10.0.0.5:5432").idle_ms = Some(900_000);
        world.received(super::TcpState::SynSent, "10.0.0.1:40000", "10.0.0.5:5432");
    }
    world.passes(2);
    world.assert_clean();
}

#[test]
fn keepalive_that_ends_connections_is_told_and_several_are_a_warning() {
    let mut world = server();
    let one = |world: &mut World| {
        let seen = world.sent(Reason::KeepaliveTimeout, Some(Established), "10.0.0.1:8000", "10.0.0.9:4000");
        seen.owner = Some(process(77, "nginx"));
    };
    one(&mut world);
    world.pass();
    assert_eq!(world.only(Class::KeepaliveTimeout).severity, Severity::Info);
    one(&mut world);
    one(&mut world);
    world.pass();
    let timeout = world.only(Class::KeepaliveTimeout);
    assert_eq!((timeout.severity, timeout.subject.peer.as_deref()), (Severity::Warning, Some("10.0.0.9")));
    assert!(
        timeout
            .verdict
            .starts_with("10.0.0.9 did not answer the keepalive probes of nginx[77] on 3 connections"),
        "{}",
        timeout.verdict
    );
}

#[test]
fn where_nobody_is_known_to_have_held_it_the_listener_is_told_and_not_blamed() {
    let mut world = server();
    world.pass();
    world.sent(Reason::KeepaliveTimeout, Some(Established), "10.0.0.1:8000", "10.0.0.9:4000").owner = None;
    world.pass();
    let timeout = world.only(Class::KeepaliveTimeout);
    let start = "10.0.0.9 did not answer the keepalive probes of an unknown process on 1 connection,";
    assert!(timeout.verdict.starts_with(start), "{}", timeout.verdict);
    assert_eq!((timeout.subject.pid, timeout.subject.listener.as_deref()), (None, Some("0.0.0.0:8000")));
    let why = "no process was recorded with it; nginx[77] listens at :8000, where these connections came in";
    assert!(timeout.cannot_see[0].ends_with(why), "{:?}", timeout.cannot_see);
}

#[test]
fn reasons_have_names_with_and_without_prefix() {
    assert_eq!(Reason::of("TCP_ABORT_ON_CLOSE"), Reason::AbortOnClose);
    assert_eq!(Reason::of("NO_SOCKET"), Reason::NoSocket);
    assert_eq!(Reason::of("TCP_STATE"), Reason::TcpState);
    assert_eq!(Reason::of("TCP_TIMEWAIT_SOCKET"), Reason::TimeWaitSocket);
    assert_eq!(Reason::of("MPTCP_RST_EMPTCP"), Reason::Other);
}
