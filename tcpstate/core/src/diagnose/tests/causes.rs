//! Who waits for whom, what holds what, and what fills what is full: one cause is one finding.

use tcpstate_common::TcpState::CloseWait;

use super::{SECOND, World};
use crate::diagnose::{Class, Severity, finding::SubjectProcess};

/// haproxy[10] at port 8080 passes requests on to app[20] at port 9000.
fn proxy() -> World {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:8080", 10, "haproxy");
    world.listener(2, "127.0.0.1:9000", 20, "app");
    world
}

/// A client of the proxy whose request was passed on, and is not answered.
fn request(world: &mut World, number: u32) -> u64 {
    let front = 100 + 10 * u64::from(number);
    let (client, port) = (format!("10.0.0.9:{}", 40_000 + number), 50_000 + number);
    world.open_connection(front, false, "10.0.0.1:8080", &client);
    world.said(front, None, Some(4_900));
    world.hold(front, 10, "haproxy");
    let own = format!("127.0.0.1:{port}");
    world.open_connection(front + 1, true, &own, "127.0.0.1:9000");
    world.said(front + 1, Some(4_900), None);
    world.hold(front + 1, 10, "haproxy");
    world.open_connection(front + 2, false, "127.0.0.1:9000", &own);
    world.said(front + 2, None, Some(4_900));
    world.hold(front + 2, 20, "app");
    front
}

/// The client has left: only its FIN is unread.
fn leaves(world: &mut World, front: u64) {
    let at_ns = world.at_ns;
    let socket = world.get(front);
    socket.state = CloseWait;
    socket.rqueue = 1;
    socket.since = crate::track::Since::Exactly(at_ns);
}

#[test]
fn who_does_not_answer_is_told_and_not_the_proxy_that_waits_for_him() {
    let mut world = proxy();
    for number in 0..5 {
        let front = request(&mut world, number);
        world.pass();
        leaves(&mut world, front);
    }
    world.passes(30);
    let unanswered = world.only(Class::UnansweredRequests);
    assert_eq!((unanswered.severity, unanswered.subject.pid), (Severity::Warning, Some(20)));
    assert_eq!(unanswered.subject.listener.as_deref(), Some("127.0.0.1:9000"));
    assert!(
        unanswered
            .verdict
            .starts_with("app[20] at 127.0.0.1:9000 has not answered 5 requests, the oldest for ")
            && unanswered.verdict.ends_with("; haproxy[10] waits for it."),
        "{}",
        unanswered.verdict
    );
    let lines = unanswered.evidence.join("\n");
    assert!(lines.contains("not at fault: haproxy[10]"), "{lines}");
    assert!(unanswered.remedy.contains("(timeout server)"), "{}", unanswered.remedy);
}

#[test]
fn clients_that_still_wait_are_counted_beside_those_that_have_left() {
    let mut world = proxy();
    let requests: Vec<_> = (0..8).map(|number| request(&mut world, number)).collect();
    world.pass();
    // This proxy closes its own connection when the client leaves.
    for front in &requests[..5] {
        world.remove(*front);
        world.remove(front + 1);
        leaves(&mut world, front + 2);
    }
    world.passes(30);
    let unanswered = world.only(Class::UnansweredRequests);
    assert_eq!((unanswered.subject.pid, unanswered.count), (Some(20), 8));
    assert!(
        unanswered
            .verdict
            .starts_with("app[20] has read 8 requests on 127.0.0.1:9000 and not answered them, ")
            && unanswered.verdict.ends_with("; 5 clients have left and 3 still wait."),
        "{}",
        unanswered.verdict
    );
    assert_eq!(unanswered.trend_per_minute, Some(0.0));
    let lines = unanswered.evidence.join("\n");
    assert!(lines.contains("not at fault: haproxy[10], which waits for it"), "{lines}");
}

#[test]
fn clients_that_are_counted_in_later_do_not_end_the_growth_of_those_that_have_left() {
    let mut world = proxy();
    let mut waiting = std::collections::VecDeque::new();
    let mut severities = Vec::new();
    for number in 0..28 {
        waiting.push_back(request(&mut world, number));
        waiting.push_back(request(&mut world, number + 100));
        // Clients wait for five passes.
        if number >= 5 {
            for front in waiting.drain(..2).collect::<Vec<_>>() {
                leaves(&mut world, front);
            }
        }
        world.pass();
        let unanswered = world.open().into_iter().find(|finding| finding.class == Class::UnansweredRequests);
        severities.extend(unanswered.map(|finding| finding.severity));
    }
    severities.dedup();
    assert_eq!(severities, [Severity::Info, Severity::Warning]);
}

#[test]
fn chain_is_followed_to_its_end() {
    let mut world = proxy();
    world.listener(3, "127.0.0.1:5432", 30, "postgres");
    for number in 0..5 {
        let front = request(&mut world, number);
        let own = format!("127.0.0.1:{}", 55_000 + number);
        world.open_connection(front + 3, true, &own, "127.0.0.1:5432");
        world.said(front + 3, Some(4_800), None);
        world.hold(front + 3, 20, "app");
        world.open_connection(front + 4, false, "127.0.0.1:5432", &own);
        world.said(front + 4, None, Some(4_800));
        world.hold(front + 4, 30, "postgres");
        world.pass();
        leaves(&mut world, front);
    }
    world.passes(30);
    assert_eq!(world.only(Class::UnansweredRequests).subject.pid, Some(30));
}

#[test]
fn proxy_that_did_not_pass_its_requests_on_is_at_fault_itself() {
    let mut world = proxy();
    for number in 0..5 {
        let front = request(&mut world, number);
        // It was passed on and answered; this is another one.
        world.said(front + 1, Some(60_000), Some(59_000));
        world.said(front + 2, Some(59_000), Some(60_000));
        world.pass();
        leaves(&mut world, front);
    }
    world.passes(30);
    let open = world.open();
    assert!(open.iter().all(|finding| finding.subject.pid == Some(10)), "{open:#?}");
    assert!(open.iter().any(|finding| finding.severity == Severity::Warning), "{open:#?}");
}

#[test]
fn requests_that_wait_for_long_answers_are_no_alarm_while_nobody_leaves() {
    let mut world = proxy();
    for number in 0..5 {
        request(&mut world, number);
    }
    world.passes(40);
    assert!(world.open().iter().all(|finding| finding.severity == Severity::Info), "{:#?}", world.open());
}

/// apache2 with its workers, which all have the listener open.
fn prefork(workers: u32) -> World {
    let mut world = World::new();
    let listener = world.listener(1, "0.0.0.0:80", 10, "apache2");
    listener.rqueue = 3;
    for pid in 11..11 + workers {
        let process = world.process(pid, "apache2");
        (process.ppid, process.exe) = (Some(10), Some("/usr/sbin/apache2".into()));
        process.start_boottime_ns = Some(2 * SECOND);
        world.hold(1, pid, "apache2");
    }
    world.process(10, "apache2").exe = Some("/usr/sbin/apache2".into());
    for cookie in 900..903 {
        let remote = format!("10.0.0.9:{}", 40_000 + cookie);
        world.open_connection(cookie, false, "10.0.0.1:80", &remote).inode = 0;
    }
    world
}

#[test]
fn workers_that_are_occupied_by_idle_connections_are_told_with_the_setting() {
    let mut world = prefork(3);
    for pid in 11..14 {
        let cookie = 100 + u64::from(pid);
        world.open_connection(cookie, false, "10.0.0.1:80", &format!("10.0.0.8:{}", 30_000 + pid));
        world.said(cookie, Some(20_000), Some(20_010));
        world.hold(cookie, pid, "apache2");
    }
    world.passes(4);
    let stall = world.only(Class::AcceptStall);
    assert_eq!(stall.severity, Severity::Warning);
    assert!(
        stall.verdict.starts_with("All 3 workers of apache2[10] (4 processes) are each occupied by an idle connection, the longest idle for "),
        "{}",
        stall.verdict
    );
    assert!(
        stall.remedy.contains("(KeepAliveTimeout)") && stall.remedy.contains("(MaxRequestWorkers)"),
        "{}",
        stall.remedy
    );
    let pids: Vec<_> = stall.subject.processes.iter().map(|SubjectProcess { pid, .. }| *pid).collect();
    assert_eq!(pids, [10, 11, 12, 13]);
}

#[test]
fn workers_that_are_busy_are_told_with_their_requests() {
    let mut world = prefork(2);
    for pid in 11..13 {
        let cookie = 100 + u64::from(pid);
        world.open_connection(cookie, false, "10.0.0.1:80", &format!("10.0.0.8:{}", 30_000 + pid));
        world.said(cookie, None, Some(20_000));
        world.hold(cookie, pid, "apache2");
    }
    world.passes(4);
    let stall = world.only(Class::AcceptStall);
    assert!(
        stall.verdict.starts_with(
            "Both workers of apache2[10] (3 processes) are busy with requests, the longest for "
        ),
        "{}",
        stall.verdict
    );
}

#[test]
fn workers_of_which_some_are_busy_and_some_are_idle_are_counted() {
    let mut world = prefork(3);
    for pid in 11..14 {
        let cookie = 100 + u64::from(pid);
        world.open_connection(cookie, false, "10.0.0.1:80", &format!("10.0.0.8:{}", 30_000 + pid));
        world.said(cookie, (pid == 11).then_some(4_800), Some(4_900));
        world.hold(cookie, pid, "apache2");
    }
    world.passes(4);
    let stall = world.only(Class::AcceptStall);
    assert!(stall.verdict.contains("are occupied: 2 by requests, the longest for "), "{}", stall.verdict);
    assert!(
        stall.verdict.contains(", and 1 by idle connections, the longest idle for "),
        "{}",
        stall.verdict
    );
}

#[test]
fn descriptors_that_silent_clients_hold_are_told_at_once_with_what_fills_them() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:8000", 77, "gateway").rqueue = 5;
    for cookie in 100..116 {
        world.open_connection(cookie, false, "10.0.0.1:8000", &format!("10.0.0.9:{}", 40_000 + cookie));
        world.said(cookie, None, None);
        world.hold(cookie, 77, "gateway");
    }
    let process = world.process(77, "gateway");
    (process.fds, process.fd_limit) = (Some(20), Some(20));
    world.pass();
    assert_eq!(world.only(Class::FdExhaustion).severity, Severity::Critical);
    world.pass();
    let full = world.only(Class::FdExhaustion);
    assert_eq!((full.severity, full.subject.pid), (Severity::Critical, Some(77)));
    assert!(full.verdict.contains("20 of 20"), "{}", full.verdict);
    let told = format!("{} {}", full.verdict, full.evidence.join("; "));
    assert!(told.contains("16") && told.contains("never sent a byte"), "{told}");
}

#[test]
fn descriptors_that_are_nearly_all_in_use_by_other_files_are_no_alarm() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:8000", 77, "gateway");
    let process = world.process(77, "gateway");
    (process.fds, process.fd_limit) = (Some(1024), Some(1024));
    world.passes(3);
    world.assert_clean();
}

#[test]
fn child_that_has_a_listener_which_it_did_not_make_is_told() {
    let mut world = World::new();
    // lua[8] made it, and has ended; sleep[9] holds it.
    let listener = world.listener(1, "0.0.0.0:8000", 9, "sleep");
    (listener.rqueue, listener.actor) = (2, Some(super::process(8, "lua")));
    for cookie in 900..902 {
        let remote = format!("10.0.0.9:{}", 40_000 + cookie);
        world.open_connection(cookie, false, "10.0.0.1:8000", &remote).inode = 0;
    }
    world.passes(4);
    let inherited = world.only(Class::FdInherited);
    assert_eq!((inherited.severity, inherited.subject.pid), (Severity::Warning, Some(9)));
    assert!(
        inherited.verdict.contains("inherited the listener") && inherited.verdict.contains("lua[8]"),
        "{}",
        inherited.verdict
    );
    assert!(inherited.remedy.contains("CLOEXEC"), "{}", inherited.remedy);
}

#[test]
fn worker_that_a_supervisor_gave_its_listener_is_not_blamed() {
    let mut world = World::new();
    let listener = world.listener(1, "0.0.0.0:8000", 9, "worker");
    (listener.rqueue, listener.actor) = (0, Some(super::process(8, "master")));
    world.open_connection(100, false, "10.0.0.1:8000", "10.0.0.9:40000");
    world.said(100, Some(10), Some(20));
    world.hold(100, 9, "worker");
    world.passes(4);
    world.assert_clean();
}

/// store[8] serves clients, and has forked a child that goes on without it.
fn forked() -> World {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:6400", 8, "store");
    for cookie in 10..14 {
        world.open_connection(cookie, false, "10.0.0.1:6400", &format!("10.0.0.9:{}", 40_000 + cookie));
        world.said(cookie, Some(4_900), Some(4_950));
        world.hold(cookie, 8, "store");
    }
    world.passes(2);
    let child = world.process(9, "store");
    (child.ppid, child.start_boottime_ns) = (Some(8), Some(10_009 * SECOND));
    world
}

#[test]
fn open_connections_that_only_a_child_has_and_does_not_serve_are_inherited() {
    for has_listener in [false, true] {
        let mut world = forked();
        world.held.retain(|(cookie, _)| *cookie < 10);
        for cookie in 10..14 {
            world.hold(cookie, 9, "store");
        }
        if has_listener {
            world.hold(1, 9, "store");
        }
        world.passes(4);
        let inherited = world.only(Class::FdInherited);
        assert_eq!((inherited.severity, inherited.subject.pid), (Severity::Warning, Some(9)));
        assert_eq!(inherited.count, 4);
        assert!(inherited.verdict.contains("inherited them from store[8]"), "{}", inherited.verdict);
    }
}

#[test]
fn connections_that_were_passed_on_and_lie_idle_have_other_descriptors() {
    let mut world = forked();
    world.held.retain(|(cookie, _)| *cookie < 10);
    for cookie in 10..14 {
        world.hold(cookie, 9, "store");
        world.held.last_mut().expect("held").1.fd += 1;
    }
    world.passes(4);
    world.assert_clean();
}

#[test]
fn where_nobody_was_seen_to_have_them_before_it_is_only_told() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:6400", 8, "store");
    for cookie in 10..14 {
        world.open_connection(cookie, false, "10.0.0.1:6400", &format!("10.0.0.9:{}", 40_000 + cookie));
        world.said(cookie, Some(4_900), Some(4_950));
        world.hold(cookie, 9, "sleep");
    }
    for (_, holder) in &mut world.held {
        holder.start_boottime_ns = 10_003 * SECOND;
    }
    world.process(9, "sleep").start_boottime_ns = Some(10_003 * SECOND);
    world.passes(4);
    let inherited = world.only(Class::FdInherited);
    assert_eq!(inherited.severity, Severity::Info);
    assert!(inherited.cannot_see[0].contains("fdinfo"), "{:?}", inherited.cannot_see);
}

/// store[8] serves clients, and forks sleep[9] a moment later; the clients wait for an answer to what was read.
fn forked_at_once() -> World {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:6400", 8, "store");
    for (cookie, age_ms) in (10..14).zip([9_800, 9_600, 9_300, 9_000]) {
        let remote = format!("10.0.0.9:{}", 40_000 + cookie);
        let opened = world.open_connection(cookie, false, "10.0.0.1:6400", &remote).opened.as_mut();
        opened.expect("it is").at_ns -= 5 * SECOND;
        world.said(cookie, Some(age_ms), Some(6_000));
        world.hold(cookie, 9, "sleep");
    }
    let started_ns = world.at_ns - 4 * SECOND;
    for (_, holder) in world.held.iter_mut().filter(|(cookie, _)| *cookie >= 10) {
        holder.start_boottime_ns = started_ns;
    }
    let child = world.process(9, "sleep");
    (child.ppid, child.start_boottime_ns) = (Some(8), Some(started_ns));
    world
}

#[test]
fn several_connections_that_a_parent_had_served_before_its_child_started_are_inherited() {
    let mut world = forked_at_once();
    world.pass();
    let inherited = world.only(Class::FdInherited);
    assert_eq!((inherited.severity, inherited.count), (Severity::Warning, 4));
    assert!(inherited.verdict.contains("inherited them from store[8]"), "{}", inherited.verdict);

    // One alone may be what the child was forked for.
    let mut world = forked_at_once();
    world.sockets.retain(|socket| socket.cookie < 11);
    world.pass();
    world.assert_clean();

    // A child that speaks serves them.
    let mut world = forked_at_once();
    for cookie in 10..14 {
        world.said(cookie, Some(7_000), Some(6_000));
    }
    world.pass();
    world.assert_clean();
}

#[test]
fn child_that_serves_what_its_parent_passed_on_has_not_inherited_it() {
    let mut world = forked();
    world.held.retain(|(cookie, _)| *cookie < 10);
    for cookie in 10..14 {
        world.hold(cookie, 9, "store");
    }
    for _ in 0..4 {
        for cookie in 10..14 {
            world.said(cookie, Some(100), Some(200));
        }
        world.pass();
    }
    world.assert_clean();
}

#[test]
fn connections_that_are_silent_beside_dead_ones_are_counted_in_it() {
    let mut world = World::new();
    for cookie in 10..14 {
        world.open_connection(cookie, true, &format!("10.0.0.1:{}", 40_000 + cookie), "10.0.0.7:5432");
        world.hold(cookie, 77, "payments");
        world.said(cookie, Some(30_000), Some(30_000));
    }
    let dead = world.get(10);
    (dead.retransmits, dead.wqueue, dead.timer) = (6, 90, crate::track::Timer::Retransmit);
    world.passes(4);
    let path = world.only(Class::HalfOpen);
    assert!(
        path.verdict.ends_with("; 3 other silent connections to it without keepalive will hang."),
        "{}",
        path.verdict
    );
}
