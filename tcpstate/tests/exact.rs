//! Every number agrees with the kernel's, after thousands of connections of every sort.
#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and counts are exact in f64"
)]

mod support;

use std::{
    collections::BTreeMap,
    net::{TcpListener, TcpStream},
};

use serde_json::Value;
use support::{Actor, Daemon, Events, Reach, agree, alone, eventually, handed};

/// Connections of each pair of actors.
const CONNECTIONS: u32 = 2000;

/// Normal closes from either side, RSTs, half-closes, refused connects, sockets that stay open, leaked and
/// never accepted ones, IPv4 and IPv6, in two network namespaces at once.
#[test]
fn counters_balance_and_gauges_are_what_ss_says() {
    alone("counters_balance_and_gauges_are_what_ss_says", || {
        let daemon = Daemon::start(&[]);
        let mut servers = [Actor::in_new_namespace(), Actor::in_new_namespace()];
        let mut clients = [Actor::beside(&servers[0]), Actor::beside(&servers[1])];
        // Both ends are on this host and a FIN may be late: what waits for it is a mini-socket, for a while.
        let before = transitions(&daemon.metrics());
        let at_rest = gauges(&daemon.metrics());
        for (index, (server, client)) in servers.iter_mut().zip(&mut clients).enumerate() {
            for address in ["127.0.0.1:0", "[::1]:0"] {
                let address = server.told(&format!("serve {address}"));
                client.order(&format!("drive {address} {index} {CONNECTIONS}"));
            }
            let listener = server.told("listen never-accepts 127.0.0.1:0");
            for queued in 0..20 {
                client.order(&format!("connect queued{queued} {listener}"));
            }
        }
        for client in &mut clients {
            for _ in 0..22 {
                client.answer().expect("all of it works");
            }
        }
        let actors: Vec<&Actor> = servers.iter().chain(&clients).collect();
        agree(&daemon, Reach::Everywhere);

        // For every state: entered - left = now there. Mini-sockets end in silence, and a birth from a listener
        // does not leave LISTEN.
        let metrics = daemon.metrics();
        let after = transitions(&metrics);
        let now = gauges(&metrics);
        for state in ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "CLOSING", "CLOSE_WAIT", "LAST_ACK", "LISTEN"] {
            let mut balance = 0.0;
            for ((from, to), count) in &after {
                let more = count - before.get(&(from.clone(), to.clone())).copied().unwrap_or(0.0);
                if to == state {
                    balance += more;
                }
                if from == state && (from.as_str(), to.as_str()) != ("LISTEN", "SYN_RECV") {
                    balance -= more;
                }
            }
            assert!(
                (balance - (now[state] - at_rest[state])).abs() < 0.5,
                "{state}: {balance} by transitions, {} before and {} now",
                at_rest[state],
                now[state]
            );
        }
        assert_eq!(metrics["tcpstate_sockets_exact"], 1.0);
        for (name, value) in metrics.iter().filter(|(name, _)| name.starts_with("tcpstate_events_lost_total"))
        {
            // What is missed at the hooks of resets is told, and is in no balance.
            assert!(*value == 0.0 || name.contains("missed"), "{name} {value}");
        }
        // It is as of a look-up, which may have come in between a close and the census that tells of it.
        eventually(|| match daemon.metrics()["tcpstate_unattributed_sockets"] {
            0.0 => Ok(()),
            sockets => Err(format!("{sockets} sockets without holder")),
        });
        assert_eq!(metrics["tcpstate_reconcile_drift_sockets"], 0.0);
        owners_are_right(&daemon, &actors);
    });
}

/// Every holder and every actor of a socket is a process that is known to use sockets in that namespace.
fn owners_are_right(daemon: &Daemon, actors: &[&Actor]) {
    let mut named = 0;
    for actor in actors.iter().take(2) {
        let netns = actor.netns();
        let pids: Vec<u64> = actors
            .iter()
            .filter(|other| other.netns() == netns)
            .map(|other| u64::from(other.pid()))
            .collect();
        let sockets = daemon.sockets(&format!("netns={netns}"));
        for socket in &sockets {
            let server = actor.pid();
            for holder in socket["holders"].as_array().expect("holders") {
                named += 1;
                let pid = holder["pid"].as_u64().expect("a pid");
                assert!(pids.contains(&pid), "{socket:#}");
                let fd = holder["fd"].as_u64().expect("a descriptor");
                let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("it is open");
                let inode = &socket["inode"];
                assert_eq!(link.to_string_lossy(), format!("socket:[{inode}]"), "{socket:#}");
            }
            if let Some(pid) = socket["actor"]["pid"].as_u64() {
                assert!(pids.contains(&pid), "{socket:#}");
            }
            if socket["state"] == "CLOSE_WAIT" && socket["inode"] != Value::Null {
                let holder = &socket["holders"][0]["pid"];
                assert_eq!(*holder, server, "only servers leak here: {socket:#}");
            }
        }
    }
    assert!(named > 400, "{named} holders");
}

fn transitions(metrics: &BTreeMap<String, f64>) -> BTreeMap<(String, String), f64> {
    metrics
        .iter()
        .filter_map(|(name, value)| {
            let labels = name.strip_prefix("tcpstate_transitions_total{from=\"")?;
            let (from, rest) = labels.split_once("\",to=\"")?;
            Some(((from.to_owned(), rest.trim_end_matches("\"}").to_owned()), *value))
        })
        .collect()
}

/// Sockets by state, both families together.
fn gauges(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for (name, value) in metrics {
        if let Some(labels) = name.strip_prefix("tcpstate_sockets{")
            && let Some((_, rest)) = labels.split_once("state=\"")
            && let Some((state, _)) = rest.split_once('"')
        {
            *sums.entry(state.to_owned()).or_default() += value;
        }
    }
    sums
}

/// While somebody watches, every transition is told, once, with the namespace that it happened in: the stream has what
/// was done in each of two at the same time.
#[test]
fn watcher_sees_every_transition_once() {
    alone("watcher_sees_every_transition_once", || {
        let daemon = Daemon::start(&[]);
        let mut servers = [Actor::in_new_namespace(), Actor::in_new_namespace()];
        let mut clients = [Actor::beside(&servers[0]), Actor::beside(&servers[1])];
        let events = Events::watch(&daemon);
        for (server, client) in servers.iter_mut().zip(&mut clients) {
            let address = server.told("serve 127.0.0.1:0");
            client.order(&format!("drive {address} 1 1000"));
        }
        for client in &mut clients {
            client.answer().expect("driven");
        }
        for server in &servers {
            let of = |from: &str, to: &str| {
                let all = events.all();
                let here = all.iter().filter(|event| event["netns"] == server.netns());
                here.filter(|event| event["from"] == from && event["to"] == to).count()
            };
            eventually(|| {
                // Every connection that was begun has come to its answer, and every birth to its end.
                let (begun, answered) =
                    (of("CLOSE", "SYN_SENT"), of("SYN_SENT", "ESTABLISHED") + of("SYN_SENT", "CLOSE"));
                let (born, accepted) = (of("LISTEN", "SYN_RECV"), of("SYN_RECV", "ESTABLISHED"));
                if begun == 1000 && answered == 1000 && born == accepted && born > 900 {
                    Ok(())
                } else {
                    Err(format!("begun {begun}, answered {answered}, born {born}, accepted {accepted}"))
                }
            });
        }
        assert!(events.all().iter().all(|event| event["kind"] != "lost"));
    });
}

/// Another program at the same tracepoint is handed no event that the daemon does not count, or tell as missed.
#[test]
fn daemon_overlooks_nothing_that_another_program_is_handed() {
    alone("daemon_overlooks_nothing_that_another_program_is_handed", || {
        let daemon = Daemon::start(&[]);
        let mut server = Actor::in_new_namespace();
        let mut client = Actor::beside(&server);
        let address = server.told("serve 127.0.0.1:0");
        // First the daemon, and last: what others do meanwhile on this machine is in its number alone.
        let told = daemon.told().expect("events");
        let handed_before = handed().expect("`cargo xtask test` builds the program that counts this");
        client.told(&format!("drive {address} 2 {CONNECTIONS}"));
        let handed = handed().expect("a count") - handed_before;
        let told = daemon.told().expect("events") - told;
        assert!(handed > 8 * i64::from(CONNECTIONS), "{handed} events were handed over");
        assert!(told >= handed, "the daemon counted {told} events, and another program was handed {handed}");
    });
}

/// Whoever has the head of the answer has begun to watch, however soon something happens then.
#[test]
fn stream_has_all_that_happens_once_it_has_begun() {
    alone("stream_has_all_that_happens_once_it_has_begun", || {
        for _ in 0..5 {
            let daemon = Daemon::start(&[]);
            let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
            let address = listener.local_addr().expect("an address");
            let events = Events::watch(&daemon);
            let client = TcpStream::connect(address).expect("a connection");
            let local = client.local_addr().expect("an address").to_string();
            // The port is chosen after SYN_SENT is entered.
            events.wait_for("first event", |event| {
                event["from"] == "CLOSE"
                    && event["to"] == "SYN_SENT"
                    && event["remote"] == *address.to_string()
            });
            events.transition(&local, "SYN_SENT", "ESTABLISHED");
        }
    });
}
