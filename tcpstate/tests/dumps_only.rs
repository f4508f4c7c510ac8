//! The daemon without BPF: the same sockets, the same holders, and everywhere what it cannot see.
#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and counts are exact in f64"
)]

mod support;

use std::process::Command;

use serde_json::Value;
use support::{Actor, Daemon, Reach, agree, alone, eventually};

fn with_capabilities(keep: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--inh-caps=-all", &format!("--bounding-set=-all{keep}")])
        .arg(env!("CARGO_BIN_EXE_tcpstate"))
        .args(["daemon", "--reconcile-interval", "200ms"]);
    command
}

fn says_what_it_cannot_see(daemon: &Daemon, why: &str) {
    let status = daemon.json("/api/v1/status");
    assert_eq!(status["tier"], "dumps only", "{status:#}");
    assert!(status["tier_reason"].as_str().expect("a reason").contains(why), "{status:#}");
    assert!(!status["blind_spots"].as_array().expect("blind spots").is_empty());
    let metrics = daemon.metrics();
    assert_eq!(metrics["tcpstate_tier{tier=\"dumps only\"}"], 1.0);
    assert_eq!(metrics["tcpstate_tier{tier=\"events\"}"], 0.0);
    assert!(
        !metrics.keys().any(|name| name.starts_with("tcpstate_transitions_total")),
        "what is not seen is not 0"
    );
    assert!(daemon.log().contains("dumps only"), "{}", daemon.log());
    eventually(|| {
        let unseen = &daemon.json("/api/v1/findings")["cannot_see"];
        let of_idle = |line: &&Value| line.as_str().is_some_and(|line| line.contains("were idle"));
        let told = unseen.as_array().expect("a list").iter().filter(of_idle).count();
        if told == 1 { Ok(()) } else { Err(format!("{unseen:#}")) }
    });
    assert!(daemon.log().contains(why), "{}", daemon.log());
}

#[test]
fn without_capabilities_the_daemon_runs_on_socket_dumps() {
    alone("without_capabilities_the_daemon_runs_on_socket_dumps", || {
        let mut actor = Actor::without_capabilities();
        actor.pair("p", "127.0.0.1:0");
        actor.told("close pc");
        actor.told("recv pa 1");
        let local = actor.told("local pa");
        let port = local.rsplit(':').next().expect("a port");
        let daemon = Daemon::start_command(&mut with_capabilities(""));
        says_what_it_cannot_see(&daemon, "CAP_BPF");
        let found = eventually(|| {
            let all = daemon.sockets(&format!("state=CLOSE_WAIT&port={port}"));
            all.first().cloned().ok_or_else(|| "none".to_owned())
        });
        assert_eq!(found["age_is"], "at_least");
        // Same user and no more privileges, so its files may be read.
        assert_eq!(found["holders"][0]["pid"], actor.pid(), "{found:#}");
        agree(&daemon, Reach::Here);
    });
}

#[test]
fn other_namespaces_that_may_not_be_visited_are_counted() {
    alone("other_namespaces_that_may_not_be_visited_are_counted", || {
        let actor = Actor::in_new_namespace();
        let daemon =
            Daemon::start_command(&mut with_capabilities(",+bpf,+perfmon,+sys_ptrace,+dac_read_search"));
        let status = daemon.json("/api/v1/status");
        assert_eq!(status["tier"], "events", "{status:#}");
        assert!(status["census"]["namespaces_unreachable"].as_u64() >= Some(1), "{status:#}");
        assert!(daemon.metrics()["tcpstate_namespaces{reached=\"false\"}"] >= 1.0);
        assert!(daemon.log().contains("CAP_SYS_ADMIN"), "{}", daemon.log());
        drop(actor);
    });
}

#[test]
fn holders_by_procfs_are_those_by_iterator() {
    alone("holders_by_procfs_are_those_by_iterator", || {
        let mut actor = Actor::in_new_namespace();
        for number in 0..20 {
            actor.pair(&format!("p{number}"), "127.0.0.1:0");
        }
        actor.told("fork");
        let netns = actor.netns();
        let of = |daemon: &Daemon| {
            let mut list: Vec<(Value, Value)> = daemon
                .sockets(&format!("netns={netns}"))
                .iter()
                .map(|socket| {
                    let mut holders: Vec<_> = socket["holders"]
                        .as_array()
                        .expect("holders")
                        .iter()
                        .map(|holder| (holder["pid"].as_u64(), holder["fd"].as_u64(), holder["comm"].clone()))
                        .collect();
                    holders.sort_by_key(|(pid, fd, _)| (*pid, *fd));
                    (socket["cookie"].clone(), Value::String(format!("{holders:?}")))
                })
                .collect();
            list.sort_by_key(|(cookie, _)| cookie.to_string());
            list
        };
        let by_iterator = {
            let daemon = Daemon::start(&[]);
            assert_eq!(daemon.json("/api/v1/status")["holder_lookup"], "task_file");
            of(&daemon)
        };
        let daemon = Daemon::start(&["--source", "sockdiag"]);
        assert_eq!(daemon.json("/api/v1/status")["holder_lookup"], "procfs");
        says_what_it_cannot_see(&daemon, "--source sockdiag");
        let by_procfs = of(&daemon);
        assert_eq!(by_iterator.len(), 60);
        assert_eq!(by_iterator, by_procfs);
    });
}
