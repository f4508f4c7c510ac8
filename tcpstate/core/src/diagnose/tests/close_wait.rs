//! `CLOSE_WAIT` in all its meanings.

use tcpstate_common::TcpState::{CloseWait, Established, FinWait1, FinWait2};

use super::{SECOND, World};
use crate::{
    diagnose::{Class, Diagnosis, Severity, Thresholds, evidence::Paused, harm::Kind},
    track::{Since, Timer},
};

/// A `CLOSE_WAIT` of payments[4121] towards a server.
fn client(world: &mut World, cookie: u64, rqueue: u32) {
    let local = format!("10.0.0.1:{}", 40_000 + cookie);
    world.socket(cookie, CloseWait, &local, "10.0.0.7:443").rqueue = rqueue;
    world.hold(cookie, 4121, "payments");
    world.carried(cookie, 60_000, 60_000);
}

/// One that java[77] accepted on port 8000.
fn served(world: &mut World, cookie: u64, rqueue: u32) {
    let remote = format!("10.0.0.9:{}", 40_000 + cookie);
    world.socket(cookie, CloseWait, "10.0.0.1:8000", &remote).rqueue = rqueue;
    world.hold(cookie, 77, "java");
    world.carried(cookie, 60_000, 60_000);
}

fn server() -> World {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:8000", 77, "java");
    world
}

#[test]
fn a_leak_that_grows_is_a_warning_with_trend_and_deadline() {
    let mut world = World::new();
    world.process(4121, "payments").unit = Some("app.service".to_owned());
    for step in 0..8 {
        client(&mut world, 10 + 2 * step, 0);
        client(&mut world, 11 + 2 * step, 0);
        world.processes.get_mut(&4121).expect("it runs").fds = Some(100 + 2 * step);
        world.pass();
    }
    let leak = world.only(Class::CloseWaitLeak);
    assert_eq!(leak.severity, Severity::Critical, "36 min until the limit");
    assert_eq!((leak.subject.pid, leak.subject.unit.as_deref()), (Some(4121), Some("app.service")));
    assert_eq!(leak.subject.peer.as_deref(), Some("10.0.0.7:443"));
    assert_eq!(
        leak.verdict,
        "payments[4121] in app.service read EOF from 10.0.0.7:443 on 16 sockets and closed none, the oldest 40 s ago; +24/min; its fd limit is reached in 37 min."
    );
    assert_eq!(leak.trend_per_minute, Some(24.0));
    assert!(leak.remedy.contains("read() returns 0"));
    assert_eq!(leak.sockets.len(), 10);
    assert_eq!((leak.sockets[0].pid, leak.sockets[0].fd), (Some(4121), Some(10)));
    assert_eq!(leak.sockets[0].age_ms, 40_000);
}

#[test]
fn a_leak_is_told_within_fifteen_seconds_and_is_old_news_after_two_minutes() {
    let mut world = World::new();
    for cookie in 10..13 {
        client(&mut world, cookie, 0);
    }
    world.pass();
    world.assert_clean();
    world.pass();
    assert_eq!(world.only(Class::CloseWaitLeak).severity, Severity::Info);
    world.passes(22);
    assert_eq!(world.only(Class::CloseWaitLeak).severity, Severity::Warning);
}

#[test]
fn a_single_leaked_socket_is_told_with_its_descriptor() {
    let mut world = World::new();
    client(&mut world, 10, 0);
    world.passes(2);
    let leak = world.only(Class::CloseWaitLeak);
    assert_eq!(
        leak.verdict,
        "payments[4121] read EOF from 10.0.0.7:443 on fd 10 10 s ago and has not closed it."
    );
    assert_eq!(leak.severity, Severity::Info);
}

#[test]
fn sockets_that_come_and_go_are_no_leak() {
    let mut world = server();
    for step in 0..40 {
        served(&mut world, 10 + step, 0);
        // Each is answered and closed after 5 s.
        world.remove(9 + step);
        world.pass();
        world.assert_clean();
    }
}

#[test]
fn a_growing_queue_of_slow_handlers_that_do_finish_is_no_warning() {
    let mut world = server();
    for step in 0..40 {
        for cookie in 0..=step {
            served(&mut world, 100 * (step + 1) + cookie, 0);
        }
        // Each takes 15 s.
        world
            .sockets
            .retain(|socket| socket.cookie < 100 || socket.cookie >= 100 * (step.saturating_sub(2) + 1));
        world.pass();
        assert!(world.open().iter().all(|finding| finding.severity == Severity::Info), "{:#?}", world.open());
    }
}

#[test]
fn a_leak_without_visible_owner_blames_nobody_and_says_why() {
    let mut world = World::new();
    world.holders_complete = false;
    client(&mut world, 10, 0);
    world.held.clear();
    world.passes(3);
    let leak = world.only(Class::CloseWaitLeak);
    assert_eq!((leak.subject.pid, &leak.subject.comm), (None, &None));
    assert!(
        leak.verdict.starts_with("A process that could not be seen, of user 1000, read EOF"),
        "{}",
        leak.verdict
    );
    assert!(leak.cannot_see[0].contains("descriptors"), "{:?}", leak.cannot_see);
}

#[test]
fn two_leaks_in_two_processes_are_two_findings() {
    let mut world = server();
    client(&mut world, 10, 0);
    served(&mut world, 11, 0);
    world.passes(3);
    let pids: Vec<_> = world.open().iter().map(|finding| finding.subject.pid).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.contains(&Some(77)) && pids.contains(&Some(4121)));
}

#[test]
fn requests_that_nobody_reads_are_a_pool_that_is_exhausted() {
    let mut world = server();
    for step in 0..8 {
        served(&mut world, 10 + step, 10);
        world.pass();
    }
    let stuck = world.only(Class::CloseWaitNeverRead);
    assert_eq!(stuck.severity, Severity::Warning, "the fd limit is 83 min away");
    assert_eq!(stuck.subject.listener.as_deref(), Some("0.0.0.0:8000"));
    assert!(
        stuck.verdict.starts_with("java[77] accepted 7 connections on :8000 and does not read from them, though the clients have left"),
        "{}", stuck.verdict
    );
    assert!(stuck.remedy.contains("thread dump"));
}

#[test]
fn a_slow_handler_that_drains_is_not_stuck() {
    let mut world = server();
    served(&mut world, 10, 1_000_000);
    for _ in 0..30 {
        world.get(10).rqueue -= 1000;
        world.pass();
        world.assert_clean();
    }
}

#[test]
fn a_stale_pool_is_harmless_with_and_without_tls() {
    for rqueue in [1, 25, 32, 85] {
        let mut world = World::new();
        for cookie in 10..20 {
            client(&mut world, cookie, rqueue);
        }
        world.passes(100);
        let pool = world.only(Class::CloseWaitIdlePool);
        assert_eq!((pool.severity, pool.harm.kind), (Severity::Info, Kind::NoneSeen));
        assert_eq!(
            pool.verdict,
            "payments[4121] keeps 10 stale connections to 10.0.0.7:443 that the server closed first, the oldest 8 min ago; no harm seen: their number has not grown for 8 min."
        );
    }
}

#[test]
fn a_pool_that_grows_without_bound_is_a_leak() {
    let mut world = World::new();
    for step in 0..100 {
        client(&mut world, 10 + step, 1);
        world.pass();
    }
    let leak = world.only(Class::CloseWaitLeak);
    assert!(leak.severity >= Severity::Warning);
    assert!(leak.verdict.contains("neither looked at again nor closed"), "{}", leak.verdict);
}

#[test]
fn a_stopped_owner_is_the_one_thing_that_is_told() {
    for (paused, word) in [
        (Paused::Stopped, "stopped by a signal"),
        (Paused::Frozen, "cgroup is frozen"),
        (Paused::Traced, "debugger"),
    ] {
        let mut world = server();
        world.processes.get_mut(&77).expect("it runs").paused = Some(paused);
        served(&mut world, 10, 9);
        served(&mut world, 11, 0);
        world.socket(12, Established, "10.0.0.1:8000", "10.0.0.9:1").rqueue = 7;
        world.hold(12, 77, "java");
        let queued = world.socket(13, CloseWait, "10.0.0.1:8000", "10.0.0.9:2");
        (queued.inode, queued.rqueue) = (0, 1);
        world.get(1).rqueue = 1;
        world.passes(3);
        let stopped = world.only(Class::OwnerStopped);
        assert_eq!((stopped.severity, stopped.subject.pid), (Severity::Warning, Some(77)));
        assert!(
            stopped.verdict.contains(word) && stopped.verdict.contains("4 connections wait"),
            "{}",
            stopped.verdict
        );
    }
}

#[test]
fn a_process_that_was_stopped_and_whose_number_is_used_again_is_not_blamed() {
    let mut world = server();
    served(&mut world, 10, 9);
    let process = world.processes.get_mut(&77).expect("it runs");
    (process.paused, process.start_boottime_ns) = (Some(Paused::Stopped), Some(9_000 * SECOND));
    world.passes(3);
    world.only(Class::CloseWaitNeverRead);
}

#[test]
fn a_child_that_inherited_is_told_from_its_parent() {
    let mut world = server();
    served(&mut world, 10, 1);
    world.held.retain(|(cookie, _)| *cookie != 10);
    let child = world.process(900, "helper");
    (child.start_boottime_ns, child.ppid) = (Some(9_990 * SECOND), Some(77));
    world.hold(10, 900, "helper");
    world.passes(3);
    let inherited = world.only(Class::FdInherited);
    assert_eq!(inherited.subject.pid, Some(900));
    assert!(inherited.verdict.contains("started after it was made"), "{}", inherited.verdict);
    assert!(inherited.verdict.contains("it has inherited it from java[77]"), "{:?}", inherited.evidence);
}

#[test]
fn a_child_that_inherited_everything_at_once_is_found_by_the_listener() {
    let mut world = server();
    served(&mut world, 10, 1);
    world.carried(10, 5_000, 5_000);
    world.held.retain(|(cookie, _)| *cookie != 10);
    // Forked half a second after the connection was made.
    world.process(900, "python").start_boottime_ns = Some(10_000 * SECOND + SECOND / 2);
    world.get(10).since = Since::Exactly(10_001 * SECOND);
    world.hold(10, 900, "python");
    world.passes(1);
    let mut forked_for_it = World { held: world.held.clone(), ..server() };
    std::mem::swap(&mut forked_for_it.sockets, &mut world.sockets);
    world = forked_for_it;
    world.process(900, "python").start_boottime_ns = Some(10_000 * SECOND + SECOND / 2);
    world.carried(10, 5_000, 5_000);
    world.passes(3);
    world.only(Class::CloseWaitLeak);
    let mut world_with_listener = World { held: world.held.clone(), ..server() };
    std::mem::swap(&mut world_with_listener.sockets, &mut world.sockets);
    world = world_with_listener;
    world.process(900, "python").start_boottime_ns = Some(10_000 * SECOND + SECOND / 2);
    world.hold(1, 900, "python");
    world.carried(10, 5_000, 5_000);
    world.passes(3);
    assert_eq!(world.only(Class::FdInherited).subject.pid, Some(900));
}

#[test]
fn workers_that_were_there_before_and_shared_sockets_are_not_inherited() {
    // A prefork worker, started before the connection.
    let mut world = server();
    world.process(78, "worker").start_boottime_ns = Some(9_000 * SECOND);
    served(&mut world, 10, 1);
    world.held.retain(|(cookie, _)| *cookie != 10);
    world.hold(10, 78, "worker");
    world.passes(3);
    world.only(Class::CloseWaitLeak);

    // The parent has it too: it is the parent's.
    let mut world = server();
    served(&mut world, 10, 1);
    world.process(900, "helper").start_boottime_ns = Some(9_990 * SECOND);
    world.hold(10, 900, "helper");
    world.passes(3);
    let shared = world.only(Class::CloseWaitLeak);
    assert_eq!(shared.subject.pid, Some(77));
    assert!(shared.evidence.iter().any(|line| line.contains("other processes")), "{:?}", shared.evidence);

    // A super-server passed it on as standard input.
    let mut world = server();
    served(&mut world, 10, 1);
    world.held.retain(|(cookie, _)| *cookie != 10);
    world.process(900, "session").start_boottime_ns = Some(9_990 * SECOND);
    world.hold(10, 900, "session");
    world.held.last_mut().expect("held").1.fd = 0;
    world.passes(3);
    world.only(Class::CloseWaitLeak);
}

#[test]
fn a_stream_after_a_half_close_is_legitimate_and_nothing_more() {
    let mut world = server();
    served(&mut world, 10, 0);
    for _ in 0..60 {
        world.carried(10, 200, 60_000);
        world.pass();
    }
    let stream = world.only(Class::HalfClose);
    assert_eq!((stream.severity, stream.harm.kind), (Severity::Info, Kind::NoneSeen));
    assert!(stream.verdict.ends_with("legitimate."), "{}", stream.verdict);
}

#[test]
fn streams_of_which_there_are_too_many_to_be_read_at_once_are_no_leaks() {
    let mut world = server();
    world.diagnosis = Diagnosis::new(Thresholds { max_info: 1, ..Thresholds::default() });
    for cookie in 10..50 {
        served(&mut world, cookie, 0);
    }
    for _ in 0..150 {
        for cookie in 10..50 {
            world.carried(cookie, 200, 60_000);
        }
        world.pass();
    }
    assert_eq!(world.found(), [(Class::HalfClose, Severity::Info)]);
}

#[test]
fn what_has_not_moved_for_long_is_read_in_turns() {
    let mut world = server();
    let thresholds = Thresholds { max_info: 8, ..Thresholds::default() };
    world.diagnosis = Diagnosis::new(thresholds);
    for cookie in 10..26 {
        served(&mut world, cookie, 0);
    }
    let wanted = |world: &mut World| world.selection().1.info.len();
    assert_eq!(wanted(&mut world), 8);
    world.passes(40);
    assert_eq!(wanted(&mut world), 1);
    for _ in 0..18 {
        world.carried(20, 200, 60_000);
        world.pass();
    }
    assert!(world.found().contains(&(Class::HalfClose, Severity::Info)), "{:?}", world.found());
    assert_eq!(wanted(&mut world), 2);
}

#[test]
fn an_answer_after_the_eof_does_not_make_a_leak_a_stream() {
    let mut world = server();
    served(&mut world, 10, 0);
    // It was sent right after the FIN.
    world.carried(10, 5_000, 6_000);
    world.passes(3);
    world.only(Class::CloseWaitLeak);
}

#[test]
fn a_peer_that_half_closed_and_does_not_read_blocks_the_sender() {
    let mut world = server();
    served(&mut world, 10, 0);
    let blocked = world.get(10);
    (blocked.wqueue, blocked.timer) = (2_500_000, Timer::Persist);
    world.passes(3);
    let found = world.only(Class::CloseWaitSendBlocked);
    assert_eq!((found.severity, found.subject.pid), (Severity::Warning, Some(77)));
    assert!(
        found.verdict.starts_with("java[77] has 2441 KiB to send to 10.0.0.9 on 1 connection"),
        "{}",
        found.verdict
    );
}

#[test]
fn brief_backpressure_is_not_blocked() {
    let mut world = server();
    served(&mut world, 10, 0);
    for step in 0..20 {
        let socket = world.get(10);
        (socket.wqueue, socket.timer) = (2_500_000 - step * 1000, Timer::Persist);
        world.pass();
        world.assert_clean();
    }
}

/// Each look shows the same full queue, which was emptied and filled in between.
#[test]
fn a_client_that_reads_in_gulps_is_not_deaf() {
    let mut world = server();
    served(&mut world, 10, 0);
    let socket = world.get(10);
    (socket.wqueue, socket.timer) = (4_190_000, Timer::Persist);
    for _ in 0..20 {
        world.carried(10, 1_900, 60_000);
        world.pass();
        world.assert_clean();
    }
}

/// haproxy[5] has a front connection in `CLOSE_WAIT` and an upstream one in `FIN_WAIT2`.
fn proxy(world: &mut World, cookie: u64) {
    let front = format!("10.0.0.9:{}", 40_000 + cookie);
    world.socket(cookie, CloseWait, "10.0.0.1:80", &front);
    let back = format!("10.0.0.1:{}", 40_000 + cookie);
    world.socket(cookie + 1, FinWait2, &back, "10.0.0.8:9000");
    for cookie in [cookie, cookie + 1] {
        world.hold(cookie, 5, "haproxy");
        world.carried(cookie, 60_000, 60_000);
    }
}

#[test]
fn a_proxy_is_not_blamed_for_its_upstream() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:80", 5, "haproxy");
    for step in 0..8 {
        proxy(&mut world, 10 + 2 * step);
        world.pass();
    }
    let pair = world.only(Class::ProxyPair);
    assert!(pair.severity >= Severity::Warning);
    assert_eq!((pair.subject.pid, pair.subject.peer.as_deref()), (Some(5), Some("10.0.0.8:9000")));
    assert!(
        pair.verdict.contains("to the upstream 10.0.0.8:9000, which does not close its end"),
        "{}",
        pair.verdict
    );
}

#[test]
fn a_long_half_close_through_a_proxy_that_carries_data_is_fine() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:80", 5, "haproxy");
    proxy(&mut world, 10);
    for _ in 0..40 {
        world.carried(10, 100, 60_000);
        world.carried(11, 60_000, 100);
        world.pass();
    }
    assert_eq!(world.found(), [(Class::HalfClose, Severity::Info)]);
}

#[test]
fn a_process_with_a_leak_and_an_unrelated_shutdown_is_no_proxy() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:80", 5, "app");
    world.socket(10, CloseWait, "10.0.0.1:80", "10.0.0.9:4000");
    world.hold(10, 5, "app");
    world.passes(2);
    world.socket(11, FinWait2, "10.0.0.1:40000", "10.0.0.8:9000");
    world.hold(11, 5, "app");
    world.passes(3);
    let classes: Vec<_> = world.found().into_iter().map(|(class, _)| class).collect();
    assert_eq!(classes, [Class::CloseWaitLeak, Class::FinWait2Owned]);
}

#[test]
fn who_has_both_ends_of_its_connections_is_no_proxy() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:80", 5, "app");
    for step in 0..8 {
        let (server, client) = ("127.0.0.1:80", format!("127.0.0.1:{}", 40_000 + step));
        world.socket(10 + 2 * step, CloseWait, server, &client);
        world.socket(11 + 2 * step, FinWait2, &client, server);
        for cookie in [10 + 2 * step, 11 + 2 * step] {
            world.hold(cookie, 5, "app");
        }
        world.pass();
    }
    world.passes(2);
    let classes: Vec<_> = world.found().into_iter().map(|(class, _)| class).collect();
    assert_eq!(classes, [Class::CloseWaitLeak, Class::FinWait2Owned]);
}

/// A client that does not read, and its server on the same host that has closed.
fn unread(world: &mut World, cookie: u64) {
    let client = format!("127.0.0.1:{}", 40_000 + cookie);
    world.socket(cookie, Established, &client, "127.0.0.1:8000").rqueue = 200_000;
    world.hold(cookie, 4121, "payments");
    let server = world.socket(cookie + 1, FinWait1, "127.0.0.1:8000", &client);
    (server.inode, server.wqueue, server.timer) = (0, 100_000, Timer::Persist);
}

#[test]
fn a_body_that_was_never_read_is_the_clients_fault_and_told_once() {
    let mut world = server();
    for step in 0..8 {
        unread(&mut world, 10 + 2 * step);
        world.pass();
    }
    let body = world.only(Class::UnreadBody);
    assert_eq!((body.severity >= Severity::Warning, body.subject.pid), (true, Some(4121)));
    assert!(body.verdict.contains("KiB unread on"), "{}", body.verdict);
    assert!(body.evidence.iter().any(|line| line.contains("holds back")), "{:?}", body.evidence);
}

#[test]
fn a_process_that_reads_no_body_is_told_once_whatever_servers_it_asks() {
    let mut world = World::new();
    for host in 0..7_u64 {
        for cookie in 0..=host {
            let local = format!("10.0.0.1:{}", 40_000 + 10 * host + cookie);
            world.socket(100 + 10 * host + cookie, CloseWait, &local, &format!("10.0.0.{}:443", 10 + host));
            world.get(100 + 10 * host + cookie).rqueue = 5_000;
            world.hold(100 + 10 * host + cookie, 4121, "payments");
        }
    }
    world.passes(3);
    let body = world.only(Class::UnreadBody);
    assert!(body.verdict.contains("from 7 peers, most often 10.0.0.16:443"), "{}", body.verdict);
    let told = "7 to 10.0.0.16:443, 6 to 10.0.0.15:443, 5 to 10.0.0.14:443, 4 to 10.0.0.13:443, 3 to 10.0.0.12:443 and 3 to 2 more";
    assert!(body.evidence.iter().any(|line| line == told), "{:?}", body.evidence);
}

#[test]
fn stale_pools_for_many_servers_are_one_finding_and_no_leak() {
    let mut world = World::new();
    for cookie in 100..400_u64 {
        let remote = format!("10.0.1.{}:443", cookie % 60);
        world.socket(cookie, CloseWait, &format!("10.0.0.1:{}", 40_000 + cookie), &remote).rqueue = 1;
        world.hold(cookie, 4121, "payments");
        if cookie % 10 == 0 {
            world.pass();
        }
    }
    assert_eq!(world.only(Class::CloseWaitIdlePool).severity, Severity::Info);
}

#[test]
fn a_consumer_that_pauses_while_the_server_is_open_is_fine() {
    let mut world = server();
    unread(&mut world, 10);
    let server = world.get(11);
    (server.state, server.inode) = (Established, 11);
    world.hold(11, 77, "java");
    world.passes(60);
    world.assert_clean();
}

#[test]
fn a_response_and_its_fin_that_nobody_reads_are_an_unread_body() {
    let mut world = World::new();
    client(&mut world, 10, 5_000);
    world.passes(3);
    world.only(Class::UnreadBody);
}

#[test]
fn a_socket_without_descriptor_is_a_ghost_of_who_had_it() {
    let mut world = server();
    world.socket(10, Established, "10.0.0.1:8000", "10.0.0.9:4000");
    world.hold(10, 77, "java");
    world.passes(2);
    world.assert_clean();
    world.held.retain(|(cookie, _)| *cookie != 10);
    world.passes(3);
    let ghost = world.only(Class::GhostReference);
    assert_eq!((ghost.severity, ghost.subject.pid), (Severity::Warning, Some(77)));
    assert!(ghost.verdict.contains("java[77] closed fd 10"), "{}", ghost.verdict);
}

#[test]
fn a_socket_that_never_had_a_descriptor_may_be_the_kernels_and_is_only_told() {
    let mut world = World::new();
    world.socket(10, Established, "10.0.0.1:700", "10.0.0.9:2049");
    world.passes(3);
    let ghost = world.only(Class::GhostReference);
    assert_eq!((ghost.severity, ghost.subject.pid), (Severity::Info, None));
    assert!(!ghost.cannot_see.is_empty());
}

#[test]
fn without_privilege_there_are_no_ghosts() {
    let mut world = World::new();
    world.holders_complete = false;
    world.socket(10, Established, "10.0.0.1:40000", "10.0.0.9:5432");
    world.passes(10);
    world.assert_clean();
}

/// The end of a connection that nobody told of shows at the next count of all sockets.
#[test]
fn a_socket_that_may_have_ended_since_it_was_counted_is_no_ghost() {
    let mut world = server();
    world.socket(10, Established, "10.0.0.1:8000", "10.0.0.9:4000");
    world.hold(10, 77, "java");
    world.passes(2);
    world.held.retain(|(cookie, _)| *cookie != 10);
    world.established_ns = Some(world.at_ns);
    world.passes(10);
    world.assert_clean();
}

/// Requests of clients that left 3 s ago, which java[77] has passed on to worker[88], and nobody has answered.
fn passed_on(world: &mut World, number: u64) {
    let local = format!("10.0.0.1:{}", 50_000 + number);
    let (front, back, upstream) = (100 + number, 200 + number, 300 + number);
    served(world, front, 1);
    world.get(front).since = Since::Exactly(world.at_ns + 1_500_000_000);
    world.socket(back, Established, &local, "10.0.0.1:9000");
    world.hold(back, 77, "java");
    world.socket(upstream, Established, "10.0.0.1:9000", &local);
    world.hold(upstream, 88, "worker");
    for (cookie, bytes_sent, bytes_received) in [(front, 0, 90), (back, 90, 0), (upstream, 0, 90)] {
        world.carried(cookie, 5_500, 5_500);
        let info = world.info.get_mut(&cookie).expect("just put there");
        (info.bytes_sent, info.bytes_received) = (Some(bytes_sent), Some(bytes_received));
    }
}

#[test]
fn a_proxy_that_waits_for_its_upstream_is_named_at_no_look() {
    let mut world = server();
    world.listener(2, "0.0.0.0:9000", 88, "worker");
    (0..6).for_each(|number| passed_on(&mut world, number));
    world.pass();
    world.assert_clean();
    world.pass();
    let unanswered = world.only(Class::UnansweredRequests);
    assert_eq!((unanswered.subject.pid, unanswered.count), (Some(88), 6), "{}", unanswered.verdict);
}

/// What was there before tcpstate may have begun to wait at any time.
#[test]
fn two_sockets_without_a_known_order_are_no_pair() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:80", 5, "app");
    proxy(&mut world, 10);
    for cookie in [10, 11] {
        let at_ns = world.at_ns;
        world.get(cookie).since = Since::AtLatest(at_ns);
    }
    world.passes(3);
    let classes: Vec<_> = world.found().into_iter().map(|(class, _)| class).collect();
    assert_eq!(classes, [Class::CloseWaitLeak, Class::FinWait2Owned]);
    let open = world.open();
    let leak = open.iter().find(|finding| finding.class == Class::CloseWaitLeak).expect("it is open");
    assert!(leak.cannot_see.iter().any(|line| line.starts_with("whether it is a proxy")), "{leak:#?}");
}
