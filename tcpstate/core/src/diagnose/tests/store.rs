//! Opening, keeping and resolving.

use tcpstate_common::TcpState::CloseWait;

use super::World;
use crate::diagnose::{
    Class, Diagnosis, Finding, Severity, Status, Thresholds,
    evidence::{Hidden, Reason, Unseen, What},
};

fn leak(world: &mut World, cookies: std::ops::Range<u64>) {
    for cookie in cookies {
        world.socket(cookie, CloseWait, &format!("10.0.0.1:{}", 40_000 + cookie), "10.0.0.7:443");
        world.hold(cookie, 4121, "payments");
    }
}

#[test]
fn a_finding_opens_once_keeps_its_id_and_resolves_once() {
    let mut world = World::new();
    leak(&mut world, 10..13);
    world.pass();
    let opened = world.pass().opened;
    assert_eq!(opened.len(), 1);
    let id = opened[0].id.clone();
    assert!(id.starts_with("close-wait-leak-") && id.len() == "close-wait-leak-".len() + 16, "{id}");
    leak(&mut world, 13..20);
    for _ in 0..5 {
        let changes = world.pass();
        assert!(changes.opened.is_empty() && changes.resolved.is_empty());
    }
    assert_eq!(world.only(Class::CloseWaitLeak).id, id);
    assert_eq!(world.only(Class::CloseWaitLeak).opened_at, opened[0].opened_at);
    world.sockets.clear();
    world.passes(2);
    assert_eq!(world.open().len(), 1, "not at once");
    let resolved = world.pass().resolved;
    assert_eq!(
        (resolved.len(), resolved[0].status, resolved[0].resolved_at),
        (1, Status::Resolved, Some(world.at_ns))
    );
    assert_eq!(world.diagnosis.findings()[0].id, id, "it is still shown");
    world.passes(730);
    assert!(world.diagnosis.findings().is_empty());
}

#[test]
fn what_comes_back_is_the_same_finding_opened_again() {
    let mut world = World::new();
    leak(&mut world, 10..13);
    world.passes(2);
    let id = world.only(Class::CloseWaitLeak).id.clone();
    let sockets = std::mem::take(&mut world.sockets);
    world.passes(4);
    world.assert_clean();
    world.sockets = sockets;
    let opened = world.pass().opened;
    assert_eq!(opened[0].id, id);
    assert_eq!((opened[0].opened_at, opened[0].resolved_at), (world.at_ns, None));
}

#[test]
fn another_start_of_the_program_is_the_same_trouble() {
    let ids: Vec<_> = [1, 2]
        .map(|start| {
            let mut world = World::new();
            world.process(4121, "payments").start_boottime_ns = Some(start);
            leak(&mut world, 10..13);
            world.passes(2);
            world.only(Class::CloseWaitLeak).id.clone()
        })
        .to_vec();
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn a_severity_falls_only_when_it_has_been_less_bad_for_a_while() {
    let mut world = World::new();
    leak(&mut world, 10..40);
    world.passes(25);
    assert_eq!(world.only(Class::CloseWaitLeak).severity, Severity::Warning);
    world.sockets.clear();
    leak(&mut world, 50..51);
    world.passes(2);
    assert_eq!(world.only(Class::CloseWaitLeak).severity, Severity::Warning);
    world.passes(3);
    assert_eq!(world.only(Class::CloseWaitLeak).severity, Severity::Info);
}

#[test]
fn events_keep_a_finding_open_for_longer() {
    let mut world = World::new();
    world.listener(1, "0.0.0.0:8000", 77, "nginx");
    let seen = world.sent(Reason::KeepaliveTimeout, None, "10.0.0.1:8000", "10.0.0.9:1");
    seen.owner = Some(super::process(77, "nginx"));
    world.passes(20);
    assert_eq!(world.open().len(), 1);
    world.passes(10);
    world.assert_clean();
}

#[test]
fn a_finding_is_serialised_as_the_api_shows_it() {
    let mut world = World::new();
    leak(&mut world, 10..11);
    world.passes(2);
    let finding = world.only(Class::CloseWaitLeak).clone();
    let stamped: Finding<String> = finding.stamped(|ns| format!("at {}", ns / super::SECOND));
    let json = serde_json::to_value(&stamped).expect("plain data");
    let expected = serde_json::json!({
        "id": stamped.id,
        "class": "close-wait-leak",
        "severity": "info",
        "status": "open",
        "subject": {
            "pid": 4121, "comm": "payments", "exe": null, "script": null, "unit": null, "container": null,
            "pod": null, "netns": 7, "listener": null, "peer": "10.0.0.7:443", "process_count": 1,
            "processes": [{"pid": 4121, "comm": "payments", "count": 1, "ended": false}],
        },
        "since": "at 10000", "opened_at": "at 10010", "updated_at": "at 10010", "resolved_at": null,
        "count": 1,
        "trend_per_minute": null,
        "limit": {"of": "file descriptors", "used": 20, "max": 1024, "reached_in_seconds": null},
        "harm": {"kind": "runs_out", "text": "Descriptors and memory: no growth is seen now."},
        "verdict": "payments[4121] read EOF from 10.0.0.7:443 on fd 10 10 s ago and has not closed it.",
        "remedy": "Close the socket on every path after read() returns 0, error paths included.",
        "evidence": ["1 in CLOSE_WAIT, for 10 s", "nothing is unread: the application has read the EOF"],
        "cannot_see": ["whether they sent anything in the last minutes: no tcp_info of them was read yet"],
        "sockets": [{
            "cookie": "10", "local": "10.0.0.1:40010", "remote": "10.0.0.7:443", "state": "CLOSE_WAIT",
            "age_ms": 10_000, "age_is": "exact", "rqueue": 0, "wqueue": 0, "pid": 4121, "fd": 10,
        }],
        "explanation": "/api/v1/explain/close-wait-leak",
    });
    assert_eq!(json, expected);
    let back: Finding<String> = serde_json::from_value(json).expect("the same");
    assert_eq!(back, stamped);
}

#[test]
fn mild_findings_make_room_for_a_bad_one() {
    let mut world = World::new();
    let thresholds = Thresholds { max_findings: 3, ..Thresholds::default() };
    world.diagnosis = Diagnosis::new(thresholds);
    for pid in 1..5_u32 {
        let cookie = 10 * u64::from(pid);
        world.socket(cookie, CloseWait, "10.0.0.1:40000", "10.0.0.7:443");
        world.hold(cookie, pid, &format!("app{pid}"));
    }
    world.passes(2);
    assert_eq!(world.found(), [(Class::CloseWaitLeak, Severity::Info); 3]);
    for cookie in 1000..1400 {
        world.listener(1, "0.0.0.0:8000", 77, "nginx");
        world.socket(cookie, CloseWait, "10.0.0.1:8000", &format!("10.0.0.9:{cookie}"));
        world.hold(cookie, 77, "nginx");
    }
    world.process(77, "nginx").fds = Some(1020);
    world.passes(60);
    let worst = world.open().iter().map(|finding| finding.severity).max();
    assert!(worst > Some(Severity::Info), "{:?}", world.found());
    assert_eq!(world.diagnosis.findings().len(), 3);
    let lines = world.diagnosis.cannot_see();
    assert!(lines.iter().any(|line| line.ends_with("could not be kept for lack of room.")), "{lines:?}");
}

#[test]
fn what_was_not_looked_at_is_told_apart() {
    let mut world = World::new();
    world.hidden =
        Hidden { namespaces: 2, processes: 1, sockets: 0, without_netlink: true, ..Hidden::default() };
    world.cannot_see = vec![
        Unseen::of_all(What::Holders, "the open files of 3 processes may not be read"),
        Unseen::of_all(What::IdleTimes, "idle times"),
    ];
    world.pass();
    let hidden = [
        "the open files of 3 processes may not be read.",
        "The sockets of 2 network namespaces, which could not be visited (CAP_SYS_ADMIN and CAP_SYS_PTRACE are needed).",
        "Whether a process has sockets elsewhere: its network namespace may not be read (no CAP_SYS_PTRACE, or a protected process).",
    ];
    assert_eq!(world.diagnosis.not_looked_at(), hidden);
    let all = world.diagnosis.cannot_see();
    assert!(all.ends_with(&hidden.map(str::to_owned)), "{all:?}");
    assert!(all[0] == "idle times." && all[1].contains("no tcp_diag") && all.len() == 5, "{all:?}");
    world.hidden = Hidden::default();
    world.cannot_see.remove(0);
    world.pass();
    assert_eq!(world.diagnosis.cannot_see(), ["idle times."]);
}

#[test]
fn program_that_could_not_be_attached_is_told() {
    let mut world = World::new();
    world.hidden = Hidden { without_resets_sent: true, ..Hidden::default() };
    world.pass();
    let told = world.diagnosis.cannot_see();
    assert!(told.len() == 1 && told[0].starts_with("RSTs that were sent: the eBPF program"), "{told:?}");
}
