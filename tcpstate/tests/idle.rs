//! Servers that close idle connections, and clients that send just then: with real sockets.
#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod support;

use serde_json::Value;
use support::{Actor, Daemon, Events, alone, eventually};

/// Connections at a time: enough that one that was late is not the tenth of them.
const CONNECTIONS: usize = 12;
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
        let port = address.rsplit(':').next().expect("a port").to_owned();
        let idle = |locals: &[String]| {
            eventually(|| {
                let all = daemon.sockets(&format!("state=ESTABLISHED&port={port}"));
                let mut idle = all.iter().filter(|socket| {
                    locals.iter().any(|local| socket["local"] == *local)
                        && socket["age_ms"].as_u64() > Some(1_000)
                });
                if idle.by_ref().count() == locals.len() { Ok(()) } else { Err(format!("{all:#?}")) }
            });
        };
        let told = "tcpstate_events_total{kind=\"idle_close\"}";
        // Its clients close them.
        idle(&ask(&mut client, &address));
        let before = daemon.metrics()[told];
        for number in 0..CONNECTIONS {
            client.told(&format!("close c{number}"));
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of a test")]
        eventually(|| {
            let more = daemon.metrics()[told] - before;
            if more >= CONNECTIONS as f64 { Ok(()) } else { Err(format!("{more}")) }
        });
        // It ends with connections that are idle.
        idle(&ask(&mut client, &address));
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
