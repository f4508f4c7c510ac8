//! How connections end by a RST: by design, by a farewell, by an idle timeout, or with something lost.

use tcpstate_common::TcpState::{Close, CloseWait, Established, FinWait2};

use super::{World, process};
use crate::{
    diagnose::{
        Class, Severity,
        evidence::{Reason, ResetSeen},
    },
    track::{Opened, Process},
};

const SERVER: &str = "10.0.0.1:8000";

fn world() -> World {
    let mut world = World::new();
    world.listener(1, SERVER, 77, "nginx");
    world
}

/// client[50] or nginx[77] ends a connection of its own by RST.
fn ended(world: &mut World, reason: Reason, active: bool, port: u32) -> &mut ResetSeen {
    let client = format!("10.0.0.1:{port}");
    let (local, remote) = if active { (client.as_str(), SERVER) } else { (SERVER, client.as_str()) };
    let at_ns = world.at_ns;
    world.delta().abort_on_data = Some(100);
    let who = if active { process(50, "client") } else { process(77, "nginx") };
    world.process(who.pid, &who.comm.to_string());
    let seen = world.sent(reason, Some(Close), local, remote);
    seen.reset.process = Some(who);
    seen.opened = Some(Opened { at_ns, active });
    (seen.bytes_moved, seen.unsent_bytes, seen.unread_bytes) = (Some(1_000), Some(0), Some(0));
    seen
}

/// The other end of what was just ended hears of it.
fn heard(world: &mut World, active: bool, port: u32, owner: Process) {
    let client = format!("10.0.0.1:{port}");
    let (local, remote) = if active { (SERVER, client.as_str()) } else { (client.as_str(), SERVER) };
    world.received(Established, local, remote).owner = Some(owner);
}

#[test]
fn close_with_the_servers_tls_farewell_unread_is_no_trouble() {
    let mut world = world();
    for port in 4_000..4_020 {
        let seen = ended(&mut world, Reason::AbortOnClose, true, port);
        (seen.unread_bytes, seen.idle_ms, seen.spoke_ms) = (Some(24), Some(3), Some(40));
    }
    world.pass();
    world.assert_clean();
    // The same from a server whose client says good-bye.
    for port in 4_000..4_020 {
        let seen = ended(&mut world, Reason::AbortOnClose, false, port);
        (seen.unread_bytes, seen.idle_ms, seen.spoke_ms) = (Some(31), Some(0), Some(5));
    }
    world.pass();
    world.assert_clean();
}

#[test]
fn request_that_is_as_short_as_a_farewell_and_was_not_read_is_told() {
    let mut world = world();
    for port in 4_000..4_020 {
        // The server had not spoken: the last word was the request.
        let seen = ended(&mut world, Reason::AbortOnClose, false, port);
        (seen.unread_bytes, seen.idle_ms, seen.spoke_ms) = (Some(24), Some(40), Some(3));
    }
    world.pass();
    assert_eq!(world.only(Class::RstUnreadData).severity, Severity::Warning);
}

#[test]
fn pair_within_one_process_that_is_closed_with_bytes_unread_is_no_trouble() {
    let mut world = world();
    for port in 4_000..4_020 {
        ended(&mut world, Reason::AbortOnClose, false, port).unread_bytes = Some(1);
        heard(&mut world, false, port, process(77, "nginx"));
    }
    world.pass();
    world.assert_clean();
}

#[test]
fn connections_that_a_proxy_does_not_need_any_more_may_end_by_rst() {
    let mut world = world();
    for port in 4_000..4_030 {
        let seen = ended(&mut world, Reason::TcpState, true, port);
        (seen.idle_ms, seen.spoke_ms) = (Some(9_000), Some(9_010));
        heard(&mut world, true, port, process(77, "nginx"));
    }
    world.pass();
    let ended = world.only(Class::RstLingerZero);
    assert_eq!((ended.severity, ended.subject.pid, ended.count), (Severity::Info, Some(50), 30));
    assert!(
        ended.verdict.ends_with("no harm seen: nothing was unsent, unread or owed on any of them."),
        "{}",
        ended.verdict
    );
}

#[test]
fn answer_that_is_cut_off_by_a_rst_is_lost() {
    let mut world = world();
    for port in 4_000..4_012 {
        let seen = ended(&mut world, Reason::TcpState, false, port);
        (seen.idle_ms, seen.spoke_ms, seen.unsent_bytes) = (Some(10), Some(2), Some(512));
    }
    world.pass();
    assert_eq!(world.only(Class::RstLingerZero).severity, Severity::Warning);
}

#[test]
fn idle_timeout_that_ends_by_rst_is_told_with_its_time_and_the_clients() {
    let mut world = world();
    world.process(77, "nginx").exe = Some("/usr/sbin/mariadbd".into());
    world.pass();
    for port in 4_000..4_008 {
        let seen = ended(&mut world, Reason::TcpState, false, port);
        (seen.idle_ms, seen.spoke_ms) = (Some(30_000 + u64::from(port % 7)), Some(30_001));
        heard(&mut world, false, port, process(50, "client"));
    }
    world.passes(2);
    let idle = world.only(Class::IdleTimeoutReset);
    assert_eq!((idle.severity, idle.subject.pid), (Severity::Info, Some(77)));
    assert_eq!(idle.subject.listener.as_deref(), Some(SERVER));
    assert!(
        idle.verdict
            .starts_with("nginx[77] ended 8 idle connections of client[50] by RST, each after 30.0 s"),
        "{}",
        idle.verdict
    );
    assert!(idle.remedy.contains("(wait_timeout)") && idle.remedy.contains("pool"), "{}", idle.remedy);
}

/// client[50] writes into a connection that the server ended so long ago.
fn written(world: &mut World, port: u32, after_ms: u64, unsent: u64) {
    let (at_ns, local) = (world.at_ns, format!("10.0.0.1:{port}"));
    world.process(50, "client");
    let seen = world.received(CloseWait, &local, "10.0.0.7:443");
    seen.opened = Some(Opened { at_ns, active: true });
    (seen.owner, seen.unsent_bytes) = (Some(process(50, "client")), Some(unsent));
    (seen.after_close_ns, seen.spoke_ms) = (Some(after_ms * 1_000_000), Some(0));
}

#[test]
fn who_writes_into_what_its_peer_has_ended_is_named_and_not_the_peer() {
    let mut world = world();
    for pass in 0..4 {
        written(&mut world, 4_000 + pass, 9_900, 300);
        world.pass();
    }
    let writer = world.only(Class::WriteAfterFin);
    assert_eq!((writer.severity, writer.subject.pid), (Severity::Warning, Some(50)));
    assert_eq!(writer.harm.text, "What was sent on 4 connections in the last 60 s is lost.");
    assert!(
        writer.verdict.starts_with(
            "client[50] wrote into 4 connections to 10.0.0.7:443 that the peer had ended 9.9 s before"
        ),
        "{}",
        writer.verdict
    );
}

/// The other end, which this process had closed, answers by RST.
fn answered(world: &mut World, port: u32, closer: Process) {
    let remote = format!("10.0.0.1:{port}");
    let seen = world.sent(Reason::TimeWaitSocket, Some(FinWait2), "10.0.0.7:443", &remote);
    seen.owner = Some(closer);
}

/// Three times a worker ends with some connections, and each meets a write later.
fn workers_end(world: &mut World, connections: u32) {
    for worker in 0..3 {
        let closer = process(200 + worker, "worker");
        world.process(closer.pid, "worker").exited = true;
        for number in 0..connections {
            let port = 4_000 + 10 * worker + number;
            written(world, port, 900, 300);
            answered(world, port, closer);
        }
        world.passes(2);
    }
}

#[test]
fn worker_that_crashes_again_and_again_is_no_habit_of_its_client() {
    let mut world = world();
    workers_end(&mut world, 4);
    let writer = world.only(Class::WriteAfterFin);
    assert_eq!((writer.severity, writer.count), (Severity::Info, 12));
    assert!(
        writer.evidence[0].starts_with("the server of all of them has been restarted"),
        "{:?}",
        writer.evidence
    );
}

#[test]
fn process_for_one_connection_ends_with_it() {
    let mut world = world();
    workers_end(&mut world, 1);
    assert_eq!(world.only(Class::WriteAfterFin).severity, Severity::Warning);
}

#[test]
fn write_within_a_round_trip_is_no_write_after_the_fin() {
    let mut world = world();
    for pass in 0..10 {
        written(&mut world, 4_000 + pass, 200, 300);
        world.pass();
    }
    world.assert_clean();
}

#[test]
fn farewell_into_what_the_peer_has_ended_loses_nothing() {
    let mut world = world();
    for pass in 0..10 {
        written(&mut world, 4_000 + pass, 9_900, 6);
        world.pass();
    }
    let writer = world.only(Class::WriteAfterFin);
    assert_eq!(writer.severity, Severity::Info);
    assert!(!writer.verdict.contains("lost"), "{}", writer.verdict);
}

#[test]
fn jobs_of_one_program_that_each_end_with_a_rst_are_one_finding() {
    let mut world = world();
    for job in 0..12_u32 {
        let who = process(500 + job, "report");
        let known = world.process(who.pid, "report");
        (known.exe, known.ppid) = (Some("/usr/local/bin/report".into()), Some(400));
        let seen = ended(&mut world, Reason::AbortOnClose, true, 4_000 + job);
        (seen.reset.process, seen.unread_bytes) = (Some(who), Some(9_000));
        seen.ending = Some(true);
        world.pass();
        world.process(who.pid, "report").exited = true;
    }
    let jobs = world.only(Class::RstUnreadData);
    assert_eq!(jobs.severity, Severity::Info);
    assert_eq!(jobs.subject.process_count, 12);
    assert!(
        jobs.verdict.starts_with("report[500] (12 processes) ended with up to 9000 bytes unread"),
        "{}",
        jobs.verdict
    );
    assert_eq!(jobs.subject.processes.iter().filter(|process| process.ended).count(), 11);
}
