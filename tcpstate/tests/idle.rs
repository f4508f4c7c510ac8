//! Servers that close idle connections, and clients that send just then: with real sockets.
#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and counts are exact in f64"
)]

mod support;

use serde_json::Value;
use support::{Actor, Daemon, Events, alone, eventually, eventually_true, send_signal};

/// Connections at a time: enough that one that was late is not the tenth of them.
const CONNECTIONS: usize = 12;
/// How many closes of idle connections have been told.
const TOLD: &str = "tcpstate_events_total{kind=\"idle_close\"}";
/// The server's idle timeout, ms.
const IDLE_MS: u32 = 800;

/// The findings of a class about a process.
fn findings(daemon: &Daemon, class: &str, pid: u32) -> Vec<Value> {
    let page = daemon.json(&format!("/api/v1/findings?class={class}"));
    let all = page["findings"].as_array().expect("findings").iter();
    all.filter(|finding| finding["subject"]["pid"] == pid).cloned().collect()
}

/// Asks the server something on new connections; returns their addresses.
fn ask(client: &mut Actor, address: &str) -> Vec<String> {
    (0..CONNECTIONS)
        .map(|number| {
            let local = client.told(&format!("connect c{number} {address}"));
            client.told(&format!("send c{number} 9"));
            client.told(&format!("recv c{number} 9"));
            local
        })
        .collect()
}

/// Asks again on all of them, whatever has become of them.
fn ask_again(client: &mut Actor) {
    for number in 0..CONNECTIONS {
        client.told(&format!("send c{number} 9"));
        client.told(&format!("close c{number}"));
    }
}

/// Waits until these connections, on which nothing goes on, are idle.
fn until_idle(daemon: &Daemon, locals: &[String]) {
    eventually(|| {
        let all = daemon.sockets("state=ESTABLISHED");
        let is_idle = |socket: &&Value| {
            locals.iter().any(|local| socket["local"] == *local) && socket["age_ms"].as_u64() > Some(1_000)
        };
        if all.iter().filter(is_idle).count() == locals.len() { Ok(()) } else { Err(format!("{all:#?}")) }
    });
}

/// A time to the millisecond, so that two can be compared.
fn time(at: &Value) -> String {
    at.as_str().expect("a time").chars().take("2026-01-01T00:00:00.000".len()).collect()
}

#[test]
fn server_whose_idle_timeout_meets_requests_is_named_with_the_timeout() {
    alone("server_whose_idle_timeout_meets_requests_is_named_with_the_timeout", || {
        let daemon = Daemon::start(&[]);
        let events = Events::watch(&daemon);
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let mut server = Actor::in_new_namespace();
            let mut client = Actor::beside(&server);
            let address = server.told(&format!("serve {address} idle {IDLE_MS}"));
            let race = eventually(|| {
                for local in ask(&mut client, &address) {
                    events.wait_for("close by the server", |event| {
                        event["remote"] == *local && event["to"] == "FIN_WAIT1"
                    });
                }
                ask_again(&mut client);
                let found = findings(&daemon, "keepalive-race", server.pid());
                let told = found.iter().find(|finding| finding["severity"] == "warning");
                told.cloned().ok_or_else(|| format!("{found:#?}"))
            });
            let unseen = daemon.json("/api/v1/findings")["cannot_see"].to_string();
            assert!(!unseen.contains("idle"), "{unseen}");
            let verdict = race["verdict"].as_str().expect("a sentence");
            let begin = format!("actor[{}] closes idle connections after ", server.pid());
            let (after, rest) = verdict
                .strip_prefix(&begin)
                .and_then(|rest| rest.split_once(" s; in "))
                .unwrap_or_else(|| panic!("{verdict}"));
            // It is never early; how late it is depends on the machine.
            assert!(after.parse::<f64>().expect("seconds") * 1000.0 >= f64::from(IDLE_MS), "{verdict}");
            assert!(rest.contains(" closes a request arrived within "), "{verdict}");
            assert_eq!(race["subject"]["listener"], address.as_str(), "{race:#}");
        }
    });
}

#[test]
fn server_that_ends_and_clients_that_close_have_no_idle_timeout() {
    alone("server_that_ends_and_clients_that_close_have_no_idle_timeout", || {
        let daemon = Daemon::start(&[]);
        let mut server = Actor::in_new_namespace();
        let mut client = Actor::beside(&server);
        let address = server.told("serve 127.0.0.1:0 idle 60000");
        // Its clients close them.
        until_idle(&daemon, &ask(&mut client, &address));
        let before = daemon.metrics()[TOLD];
        for number in 0..CONNECTIONS {
            client.told(&format!("close c{number}"));
        }
        eventually(|| {
            let more = daemon.metrics()[TOLD] - before;
            if more >= 12.0 { Ok(()) } else { Err(format!("{more}")) }
        });
        // It ends with connections that are idle.
        until_idle(&daemon, &ask(&mut client, &address));
        let (pid, netns) = (server.pid(), server.netns());
        server.kill();
        ask_again(&mut client);
        let answered = eventually(|| {
            let page = daemon.json("/api/v1/resets?limit=100");
            let all = page["resets"].as_array().expect("resets");
            let sent = all.iter().filter(|reset| reset["netns"] == netns && reset["direction"] == "sent");
            let times: Vec<_> = sent.map(|reset| time(&reset["at"])).collect();
            let last = times.iter().max().filter(|_| times.len() >= CONNECTIONS);
            last.cloned().ok_or_else(|| format!("{all:#?}"))
        });
        eventually(|| {
            let as_of = time(&daemon.json("/api/v1/findings")["as_of"]);
            if as_of > answered { Ok(()) } else { Err(format!("{as_of} is not after {answered}")) }
        });
        // That they were idle may be known, but not that there is a timeout.
        for finding in findings(&daemon, "keepalive-race", pid) {
            assert_eq!(finding["severity"], "info", "{finding:#}");
            assert!(!finding["verdict"].to_string().contains("closes idle"), "{finding:#}");
        }
    });
}

/// Whether all threads have taken note of a signal that stops them: they go on until then.
fn has_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    threads
        .map(|thread| std::fs::read_to_string(thread.expect("a thread").path().join("status")))
        .all(|status| status.expect("its status").contains("State:\tT"))
}

#[test]
fn closes_of_idle_connections_leave_room_for_resets() {
    alone("closes_of_idle_connections_leave_room_for_resets", || {
        // Half of it holds 16 closes.
        let daemon = Daemon::start(&["--ring-size", "4096"]);
        let mut actor = Actor::in_new_namespace();
        let locals: Vec<_> = (0..40)
            .map(|number| {
                actor.pair(&format!("p{number}"), "127.0.0.1:0");
                actor.told(&format!("local p{number}c"))
            })
            .collect();
        actor.pair("r", "127.0.0.1:0");
        actor.told("linger0 ra");
        until_idle(&daemon, &locals);
        let lost = |kind: &str| daemon.metrics()[&format!("tcpstate_events_lost_total{{kind=\"{kind}\"}}")];
        let before = [lost("idle_close"), lost("reset_sent"), lost("reset_received")];
        // Nobody takes anything out of the ring.
        send_signal(daemon.pid(), libc::SIGSTOP);
        eventually_true("all of its threads have stopped", || has_stopped(daemon.pid()));
        for number in 0..40 {
            actor.told(&format!("close p{number}a"));
        }
        actor.told("close ra");
        send_signal(daemon.pid(), libc::SIGCONT);
        let after = [lost("idle_close"), lost("reset_sent"), lost("reset_received")];
        assert!(after[0] - before[0] >= 40.0 - 16.0, "{before:?}, then {after:?}");
        assert_eq!(after[1..], before[1..]);
    });
}
