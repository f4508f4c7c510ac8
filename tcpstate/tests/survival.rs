//! What happens when things go wrong: the daemon is killed, told to stop in the middle of everything, given
//! too little room, or shown more namespaces than it can visit.
#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and counts are exact in f64"
)]

mod support;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;
use support::{Actor, Daemon, Events, Reach, agree, alone, eventually, eventually_true, tcpstate};

/// The programs that the kernel holds.
fn programs() -> BTreeSet<u64> {
    let output = Command::new("bpftool").args(["--json", "prog", "show"]).output().expect("bpftool");
    assert!(output.status.success(), "{output:?}");
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    list.iter().map(|program| program["id"].as_u64().expect("an id")).collect()
}

#[test]
fn killed_daemon_leaves_nothing_attached() {
    alone("killed_daemon_leaves_nothing_attached", || {
        let mut server = Actor::in_new_namespace();
        let mut client = Actor::beside(&server);
        let address = server.told("serve 127.0.0.1:0");
        let before = programs();
        let mut daemon = Daemon::start(&[]);
        let during: BTreeSet<_> = programs().difference(&before).copied().collect();
        assert!(during.len() >= 4, "{during:?}");
        client.order(&format!("drive {address} 1 2000"));
        let entered = "tcpstate_transitions_total{from=\"CLOSE\",to=\"SYN_SENT\"}";
        eventually_true("traffic flows", || daemon.metrics()[entered] > 50.0);
        daemon.end(libc::SIGKILL);
        eventually(|| {
            let left: Vec<_> = programs().intersection(&during).copied().collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        client.answer().expect("traffic goes on");
    });
}

#[test]
fn told_to_stop_while_it_loads_its_programs_it_ends_at_once() {
    alone("told_to_stop_while_it_loads_its_programs_it_ends_at_once", || {
        let mut command = tcpstate();
        command.args(["daemon", "--web.listen-address", "127.0.0.1:0"]).stderr(Stdio::piped());
        let mut daemon = command.spawn().expect("the daemon starts");
        let mut lines = BufReader::new(daemon.stderr.take().expect("stderr")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("listening on")), "it listens first");
        support::send_signal(daemon.id(), libc::SIGTERM);
        let log: Vec<_> = lines.collect();
        assert!(daemon.wait().expect("it ends").success(), "{log:?}");
        assert!(log.iter().any(|line| line.contains("SIGTERM: stopping")), "{log:?}");
        assert!(!log.iter().any(|line| line.ends_with("ready")), "{log:?}");
    });
}

#[test]
fn told_to_stop_it_ends_in_order_whoever_is_connected() {
    alone("told_to_stop_it_ends_in_order_whoever_is_connected", || {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let mut daemon = Daemon::start(&[]);
            let mut actor = Actor::in_new_namespace();
            let events = Events::watch(&daemon);
            actor.pair("p", "127.0.0.1:0");
            events.wait_for("event", |event| event["netns"] == actor.netns());
            let status = daemon.end(signal);
            assert!(status.success(), "{status}: {}", daemon.log());
            assert!(daemon.log().contains("stopping"), "{}", daemon.log());
            assert!(!daemon.log().contains("ending anyway"), "{}", daemon.log());
        }
    });
}

#[test]
fn full_ring_loses_only_what_it_counts() {
    alone("full_ring_loses_only_what_it_counts", || {
        let daemon = Daemon::start(&["--ring-size", "4096"]);
        let mut server = Actor::in_new_namespace();
        let mut client = Actor::beside(&server);
        let address = server.told("serve 127.0.0.1:0");
        // The connection over which metrics are read stays open, and is not new once somebody watches.
        daemon.metrics();
        let events = Events::watch(&daemon);
        let before = daemon.metrics();
        client.told(&format!("drive {address} 5 3000"));
        agree(&daemon, Reach::Everywhere);
        let after = daemon.metrics();
        let more = |name: &str| after[name] - before[name];
        let lost = more("tcpstate_events_lost_total{kind=\"transition\"}");
        let told = more("tcpstate_events_total{kind=\"transition\"}");
        let happened: f64 = after
            .keys()
            .filter(|name| name.starts_with("tcpstate_transitions_total"))
            .map(|name| after[name] - before.get(name).copied().unwrap_or(0.0))
            .sum();
        assert!(lost > 0.0, "a ring of one page is too small for {happened} transitions");
        assert!((told + lost - happened).abs() < 0.5, "{told} told, {lost} lost, {happened} happened");
        // Whatever was told reached the watcher, or it was told how much did not.
        eventually(|| {
            let all = events.all();
            let seen = all.iter().filter(|event| event["kind"] == "transition").count() as u64;
            let missed: u64 = all
                .iter()
                .filter(|event| event["kind"] == "lost")
                .filter_map(|event| event["count"].as_u64())
                .sum();
            let others = all
                .iter()
                .filter(|event| event["kind"].as_str().is_some_and(|kind| kind.starts_with("reset")));
            let resets = daemon.metrics();
            let told: f64 = resets
                .iter()
                .filter(|(name, _)| name.starts_with("tcpstate_events_total"))
                .map(|(name, value)| value - before[name])
                .sum();
            let accounted = seen + missed + others.count() as u64;
            #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
            if (accounted as f64 - told).abs() < 0.5 { Ok(()) } else { Err(format!("{accounted} of {told}")) }
        });
    });
}

#[test]
fn full_table_is_counted_and_the_gauges_stay_right() {
    alone("full_table_is_counted_and_the_gauges_stay_right", || {
        let daemon = Daemon::start(&["--max-sockets", "10"]);
        let mut actor = Actor::in_new_namespace();
        let listener = actor.told("listen l 127.0.0.1:0");
        for number in 0..40 {
            actor.told(&format!("connect c{number} {listener}"));
            actor.told(&format!("accept a{number} l"));
            actor.told(&format!("close c{number}"));
            actor.told(&format!("recv a{number} 1"));
        }
        agree(&daemon, Reach::Everywhere);
        eventually_true("30 sockets have no room", || {
            daemon.metrics()["tcpstate_events_lost_total{kind=\"socket\"}"] >= 30.0
        });
        assert!(daemon.metrics()["tcpstate_tracked_sockets"] <= 10.0);
        let losses = &daemon.json("/api/v1/status")["losses"];
        assert!(losses["socket"].as_u64() >= Some(30), "{losses}");
    });
}

#[test]
fn thousand_short_lived_namespaces_are_survived() {
    alone("thousand_short_lived_namespaces_are_survived", || {
        let mut daemon = Daemon::start(&["--reconcile-interval", "100ms"]);
        let mut actor = Actor::here();
        actor.told("namespaces 1000");
        assert_eq!(daemon.child.try_wait().expect("a status"), None, "{}", daemon.log());
        agree(&daemon, Reach::Everywhere);
        let status = daemon.json("/api/v1/status");
        assert_eq!(status["census"]["namespaces_unreachable"], 0, "{status:#}");
        assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    });
}
