//! The traps of the kernel's interfaces, each with real sockets, and each so that the naive reading fails.
#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and counts are exact in f64"
)]

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{Actor, Daemon, Events, Reach, agree, alone, eventually, eventually_true, skip};

fn metric(daemon: &Daemon, name: &str) -> f64 {
    daemon.metrics().get(name).copied().unwrap_or_else(|| panic!("no metric {name}"))
}

/// The one socket with this local address.
fn socket_at(daemon: &Daemon, local: &str) -> Value {
    let port = local.rsplit(':').next().expect("a port");
    eventually(|| {
        let all = daemon.sockets(&format!("port={port}"));
        all.iter().find(|socket| socket["local"] == local).cloned().ok_or_else(|| format!("{all:#?}"))
    })
}

fn state_at(daemon: &Daemon, local: &str, state: &str) -> Value {
    eventually(|| {
        let socket = socket_at(daemon, local);
        if socket["state"] == state { Ok(socket) } else { Err(format!("{socket:#}")) }
    })
}

fn holders(socket: &Value) -> Vec<(u64, u64)> {
    let list = socket["holders"].as_array().expect("holders");
    list.iter()
        .map(|holder| (holder["pid"].as_u64().expect("pid"), holder["fd"].as_u64().expect("fd")))
        .collect()
}

/// Traps 1 and 17: the kernel never reports `TIME_WAIT`, and says uid 0 for it.
/// Trap 15: its owner is known by the cookie, which the socket must have had before.
#[test]
fn time_wait_is_seen_with_its_owner_and_is_not_roots() {
    alone("time_wait_is_seen_with_its_owner_and_is_not_roots", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        let entered = "tcpstate_transitions_total{from=\"FIN_WAIT2\",to=\"TIME_WAIT\"}";
        let before = metric(&daemon, entered);
        let listener = actor.told("listen l 127.0.0.1:0");
        let local = actor.told(&format!("connect c {listener}"));
        actor.told("accept a l");
        actor.told("shutdown c");
        assert_eq!(actor.told("recv a 1"), "0");
        actor.told("close a");
        actor.told("close c");
        state_at(&daemon, &local, "TIME_WAIT");
        // What the event tells is not enough: the census must have seen it too, with what the kernel says of it.
        let told = daemon.json("/api/v1/status")["census"]["finished_at"].clone();
        eventually_true("another census", || daemon.json("/api/v1/status")["census"]["finished_at"] != told);
        let socket = state_at(&daemon, &local, "TIME_WAIT");
        assert!(metric(&daemon, entered) >= before + 1.0);
        assert_eq!(socket["uid"], Value::Null);
        assert_eq!(socket["actor"]["pid"], actor.pid(), "{socket:#}");
        assert_eq!(socket["actor"]["comm"], "actor");
        assert_eq!(socket["age_is"], "exact");
    });
}

/// The peer's FIN comes later than its ACK, as on any real network: then `TIME_WAIT` comes of a mini-socket, in silence.
#[test]
fn time_wait_after_a_late_fin_keeps_who_closed() {
    alone("time_wait_after_a_late_fin_keeps_who_closed", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        let listener = actor.told("listen l 127.0.0.1:0");
        let local = actor.told(&format!("connect c {listener}"));
        actor.told("accept a l");
        actor.told("close c");
        assert_eq!(actor.told("recv a 1"), "0");
        actor.told("close a");
        let socket = state_at(&daemon, &local, "TIME_WAIT");
        assert_eq!(socket["actor"]["pid"], actor.pid(), "{socket:#}");
    });
}

/// A socket dump tells no age. Since when a connection is open the programs remember, at both ends; and who listens.
#[test]
fn open_connections_and_listeners_tell_their_age() {
    alone("open_connections_and_listeners_tell_their_age", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        let listener = actor.told("listen l 127.0.0.1:0");
        let client = actor.told(&format!("connect c {listener}"));
        actor.told("accept a l");
        let at = |state: &str, local: &String| {
            let port = local.rsplit(':').next().expect("a port");
            eventually(|| {
                let all = daemon.sockets(&format!("state={state}&port={port}"));
                all.iter()
                    .find(|socket| socket["local"] == *local)
                    .cloned()
                    .ok_or_else(|| format!("{all:#?}"))
            })
        };
        let pid = Value::from(actor.pid());
        for (state, local, acted) in [
            ("ESTABLISHED", &client, &pid),
            ("ESTABLISHED", &listener, &Value::Null),
            ("LISTEN", &listener, &pid),
        ] {
            let socket = at(state, local);
            assert_eq!(socket["age_is"], "exact", "{socket:#}");
            assert_eq!(&socket["actor"]["pid"], acted, "{socket:#}");
        }
    });
}

/// Trap 2: the process on the CPU when a FIN comes in is the one that sent it, not the one that gets it.
#[test]
fn no_event_names_a_process_that_does_not_own_the_socket() {
    alone("no_event_names_a_process_that_does_not_own_the_socket", || {
        let daemon = Daemon::start(&[]);
        let events = Events::watch(&daemon);
        let mut server = Actor::in_new_namespace();
        let mut client = Actor::beside(&server);
        let address = server.told("listen l 127.0.0.1:0");
        let netns = server.netns();
        let mut of_client = Vec::new();
        for _ in 0..200 {
            of_client.push(client.told(&format!("connect c {address}")));
            server.told("accept a l");
            client.told("close c");
            server.told("recv a 1");
            server.told("close a");
        }
        let last = of_client.last().expect("a connection").clone();
        events.wait_for("end of the last connection", |event| {
            event["remote"] == *last && event["to"] == "CLOSE"
        });
        let (mut named, mut unnamed) = (0, 0);
        for event in events.all().iter().filter(|event| event["netns"] == netns) {
            let Some(pid) = event["actor"]["pid"].as_u64() else {
                unnamed += 1;
                continue;
            };
            named += 1;
            let local = event["local"].as_str().expect("an address");
            // A client is not bound yet when it begins to connect; the other end tells whose it is.
            let is_servers = local == address;
            let owner = if is_servers { server.pid() } else { client.pid() };
            assert_eq!(pid, u64::from(owner), "{event:#}");
            assert_eq!(event["actor"]["comm"], "actor", "{event:#}");
        }
        assert!(named >= 400, "connects and closes have an owner; named {named}, unnamed {unnamed}");
        assert!(unnamed >= 200, "FINs come in on somebody else's time; named {named}, unnamed {unnamed}");
    });
}

/// Trap 3: a connect that finds no port ends with port 0 and without an error in the socket.
#[test]
fn exhausted_ports_are_a_failed_connect() {
    alone("exhausted_ports_are_a_failed_connect", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        let listener = actor.told("listen l 127.0.0.1:0");
        actor.told("sysctl net/ipv4/ip_local_port_range 50000-50001");
        let failures = "tcpstate_connect_failures_total{errno=\"EADDRNOTAVAIL\"}";
        let before = metric(&daemon, failures);
        actor.told(&format!("connect a {listener}"));
        actor.told(&format!("connect b {listener}"));
        actor.attempt(&format!("connect c {listener}")).expect_err("there are two ports");
        eventually_true("the failure is counted", || metric(&daemon, failures) == before + 1.0);
    });
}

/// Trap 4: up to 6.12 a child that is being born has its listener's cookie; so it is not asked for.
/// Trap 5: `skc_num` is 0 when a socket that was bound automatically closes.
/// Trap 6: addresses of either family, and IPv4 on an IPv6 socket.
#[test]
fn events_have_the_addresses_of_the_connection_from_birth_to_end() {
    alone("events_have_the_addresses_of_the_connection_from_birth_to_end", || {
        let daemon = Daemon::start(&[]);
        let events = Events::watch(&daemon);
        let mut actor = Actor::in_new_namespace();
        for (listen, connect) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "[::1]"), ("[::]:0", "127.0.0.1")]
        {
            let bound = actor.told(&format!("listen l {listen}"));
            let port = bound.rsplit(':').next().expect("a port");
            let local = actor.told(&format!("connect c {connect}:{port}"));
            actor.told("accept a l");
            actor.told("close c");
            actor.told("recv a 1");
            actor.told("close a");
            let mapped = listen == "[::]:0";
            let client_port = local.rsplit(':').next().expect("a port");
            let servers =
                if mapped { format!("[::ffff:127.0.0.1]:{port}") } else { format!("{connect}:{port}") };
            let peers = if mapped { format!("[::ffff:127.0.0.1]:{client_port}") } else { local.clone() };
            let end = events.transition(&servers, "LAST_ACK", "CLOSE");
            assert_eq!(end["remote"], peers.as_str(), "{end:#}");
            assert_eq!(end["family"], if connect == "[::1]" || mapped { "ipv6" } else { "ipv4" });
            let born = events.wait_for("birth", |event| {
                event["from"] == "LISTEN"
                    && event["to"] == "SYN_RECV"
                    && event["local"].as_str().is_some_and(|local| local.ends_with(&format!(":{port}")))
            });
            assert_eq!(born["cookie"], Value::Null, "{born:#}");
            let active = events.transition(&local, "ESTABLISHED", "FIN_WAIT1");
            assert_eq!(active["remote"], format!("{connect}:{port}"));
            actor.told("close l");
        }
        // A RST ends a connection in one step, with its port already given back.
        let listener = actor.told("listen l 127.0.0.1:0");
        let local = actor.told(&format!("connect c {listener}"));
        actor.told("linger0 c");
        actor.told("close c");
        let end = events.transition(&local, "ESTABLISHED", "CLOSE");
        assert_eq!(end["actor"]["pid"], actor.pid(), "{end:#}");
    });
}

/// Trap 7: the kernel reuses a socket's memory within milliseconds; a new connection has an age of its own.
#[test]
fn socket_in_reused_memory_is_a_new_one() {
    alone("socket_in_reused_memory_is_a_new_one", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        let mut ages = Vec::<(Value, Value)>::new();
        for round in 0..60 {
            actor.pair("p", "127.0.0.1:0");
            actor.told("close pc");
            actor.told("recv pa 1");
            if round % 20 == 19 {
                let all = eventually(|| {
                    let netns = actor.netns();
                    let mut all = daemon.sockets(&format!("state=close-wait&netns={netns}"));
                    // Those of the rounds before may still be there from the census before.
                    all.retain(|socket| ages.iter().all(|(cookie, _)| socket["cookie"] != *cookie));
                    if all.len() == 1 { Ok(all) } else { Err(format!("{all:#?}")) }
                });
                assert_eq!(all[0]["age_is"], "exact");
                ages.push((all[0]["cookie"].clone(), all[0]["since"].clone()));
            }
            actor.told("close pa");
            actor.told("close pl");
        }
        assert!(
            ages.windows(2).all(|pair| pair[0].1.as_str() < pair[1].1.as_str()),
            "each entered CLOSE_WAIT after the one before: {ages:?}"
        );
    });
}

/// Trap 8: the RST for unread data is sent after the socket has gone to CLOSE.
#[test]
fn reset_after_close_is_the_closers_and_brings_nothing_back() {
    alone("reset_after_close_is_the_closers_and_brings_nothing_back", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        let listener = actor.pair("p", "127.0.0.1:0");
        actor.told("send pc 3");
        // Reading one of them waits until they are there.
        actor.told("recv pa 1");
        actor.told("close pa");
        let reset = eventually(|| {
            let resets = daemon.json("/api/v1/resets?limit=1000");
            let all = resets["resets"].as_array().expect("resets").clone();
            all.iter()
                .find(|reset| reset["local"] == *listener && reset["direction"] == "sent")
                .cloned()
                .ok_or_else(|| format!("{all:#?}"))
        });
        assert_eq!(reset["process"]["pid"], actor.pid(), "{reset:#}");
        assert_eq!(reset["reason"], "TCP_ABORT_ON_CLOSE", "{reset:#}");
        let port = listener.rsplit(':').next().expect("a port");
        eventually(|| {
            let left = daemon.sockets(&format!("port={port}"));
            if left.iter().all(|socket| socket["state"] == "LISTEN") {
                Ok(())
            } else {
                Err(format!("{left:#?}"))
            }
        });
    });
}

/// Trap 9: `tcp_receive_reset` also fires for a RST that the kernel makes up itself.
#[test]
fn reset_that_the_kernel_makes_up_is_not_a_received_one() {
    alone("reset_that_the_kernel_makes_up_is_not_a_received_one", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        let received = "tcpstate_resets_received_total{phase=\"closing\"}";
        let sent = "tcpstate_resets_sent_total{reason=\"TCP_ABORT_ON_DATA\"}";
        let before = daemon.metrics();
        let listener = actor.pair("p", "127.0.0.1:0");
        // It will read no more, and says so only to its own kernel.
        actor.told("shutdown pc both");
        assert_eq!(actor.told("recv pa 1"), "0");
        actor.told("send pa 5");
        eventually_true("the RST is counted", || metric(&daemon, sent) == before[sent] + 1.0);
        // The peer did receive it, in CLOSE_WAIT; the sender received nothing.
        eventually_true("one RST was received", || metric(&daemon, received) == before[received] + 1.0);
        let resets = daemon.json("/api/v1/resets?limit=1000");
        let all = resets["resets"].as_array().expect("resets").clone();
        let of_pair = |reset: &&Value| reset["local"] == *listener || reset["remote"] == *listener;
        let directions: Vec<_> = all
            .iter()
            .filter(of_pair)
            .map(|reset| (reset["direction"].clone(), reset["local"] == *listener))
            .collect();
        assert_eq!(directions.len(), 2, "{all:#?}");
        assert!(directions.contains(&("sent".into(), false)), "{all:#?}");
        assert!(directions.contains(&("received".into(), true)), "{all:#?}");
    });
}

/// Traps 10 and 21: a RST for a closed port has no socket; its addresses are the packet's.
#[test]
fn refused_connect_is_seen_from_both_sides() {
    alone("refused_connect_is_seen_from_both_sides", || {
        let daemon = Daemon::start(&[]);
        let before = daemon.metrics();
        let mut actor = Actor::in_new_namespace();
        for address in ["127.0.0.1:1", "[::1]:1"] {
            actor.attempt(&format!("connect c {address}")).expect_err("nobody listens on port 1");
            let all = eventually(|| {
                let resets = daemon.json("/api/v1/resets?limit=1000");
                let all: Vec<_> = resets["resets"].as_array().expect("resets").clone();
                let here = all.iter().filter(|reset| reset["netns"] == actor.netns());
                let here: Vec<_> =
                    here.filter(|r| r["local"] == address || r["remote"] == address).cloned().collect();
                if here.len() == 2 { Ok(here) } else { Err(format!("{all:#?}")) }
            });
            let sent = all.iter().find(|reset| reset["direction"] == "sent").expect("the kernel's answer");
            let received = all.iter().find(|reset| reset["direction"] == "received").expect("the refusal");
            assert_eq!(sent["local"], address);
            assert_eq!(sent["remote"], received["local"]);
            assert_eq!(sent["reason"], "NO_SOCKET");
            assert_eq!(sent["process"], Value::Null, "nobody is to blame for a port on which nobody listens");
            assert_eq!(received["phase"], "connect");
        }
        for (name, more) in [
            ("tcpstate_resets_sent_total{reason=\"NO_SOCKET\"}", 2.0),
            ("tcpstate_resets_received_total{phase=\"connect\"}", 2.0),
            ("tcpstate_connect_failures_total{errno=\"ECONNREFUSED\"}", 2.0),
        ] {
            eventually_true(name, || metric(&daemon, name) == before[name] + more);
        }
    });
}

/// Trap 13: MPTCP shares the tracepoint, and its own sockets are not TCP sockets.
#[test]
fn mptcp_counts_its_subflows_only() {
    alone("mptcp_counts_its_subflows_only", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        let before = daemon.metrics();
        let listening = "tcpstate_transitions_total{from=\"CLOSE\",to=\"LISTEN\"}";
        match actor.attempt("mptcp") {
            Err(error) => skip(&format!("this kernel has no MPTCP ({error})")),
            Ok(_) => {
                eventually_true("one listening subflow", || {
                    metric(&daemon, listening) == before[listening] + 1.0
                });
            }
        }
    });
}

/// Trap 14: what leaves `FIN_WAIT2` before the peer's FIN goes on as a mini-socket in the same state.
/// Trap 16: `tcp_fin_timeout` ends that one, and not `TIME_WAIT`.
#[test]
fn fin_wait2_that_waits_for_the_peer_is_not_time_wait() {
    alone("fin_wait2_that_waits_for_the_peer_is_not_time_wait", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        actor.told("sysctl net/ipv4/tcp_fin_timeout 1");
        let before = daemon.metrics();
        let entered = "tcpstate_transitions_total{from=\"FIN_WAIT2\",to=\"TIME_WAIT\"}";
        let handed = "tcpstate_transitions_total{from=\"FIN_WAIT2\",to=\"FIN_WAIT2\"}";
        // One that goes all the way, for comparison.
        let listener = actor.told("listen l 127.0.0.1:0");
        let whole = actor.told(&format!("connect w {listener}"));
        actor.told("accept wa l");
        actor.told("shutdown w");
        actor.told("recv wa 1");
        actor.told("close wa");
        actor.told("close w");
        // One whose peer keeps its end.
        let half = actor.told(&format!("connect c {listener}"));
        actor.told("accept a l");
        actor.told("close c");
        let socket = state_at(&daemon, &half, "FIN_WAIT2");
        assert_eq!(socket["actor"]["pid"], actor.pid(), "{socket:#}");
        assert_eq!(socket["uid"], Value::Null);
        assert_eq!(metric(&daemon, handed), before[handed] + 1.0);
        assert_eq!(metric(&daemon, entered), before[entered] + 1.0);
        // Its end is silent; the gauge follows.
        eventually(|| {
            let left = daemon.sockets(&format!("netns={}", actor.netns()));
            if left.iter().any(|socket| socket["local"] == *half) {
                Err(format!("{left:#?}"))
            } else {
                Ok(())
            }
        });
        state_at(&daemon, &whole, "TIME_WAIT");
        agree(&daemon, Reach::Everywhere);
    });
}

/// The kernel side keeps note of a socket that parks for 20 s; after that the daemon does.
#[test]
fn what_parks_for_long_is_known_when_it_moves_on() {
    alone("what_parks_for_long_is_known_when_it_moves_on", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        let listener = actor.told("listen l 127.0.0.1:0");
        let local = actor.told(&format!("connect c {listener}"));
        actor.told("accept a l");
        actor.told("shutdown c");
        actor.told("recv a 1");
        let counted = "tcpstate_state_duration_seconds_count{state=\"FIN_WAIT2\"}";
        let before = metric(&daemon, counted);
        eventually(|| {
            let age_ms = socket_at(&daemon, &local)["age_ms"].as_u64();
            if age_ms > Some(20_500) { Ok(()) } else { Err(format!("{age_ms:?} ms in FIN_WAIT2")) }
        });
        let parked = socket_at(&daemon, &local);
        assert_eq!(
            (&parked["age_is"], &parked["actor"]["pid"]),
            (&json!("exact"), &json!(actor.pid())),
            "{parked:#}"
        );
        let events = Events::watch(&daemon);
        // It goes from FIN_WAIT2 to TIME_WAIT.
        actor.told("close a");
        let end = events.transition(&local, "FIN_WAIT2", "TIME_WAIT");
        assert!(end["in_old_state_ns"].as_u64() > Some(20_000_000_000), "{end:#}");
        assert_eq!(end["actor"]["pid"], actor.pid(), "{end:#}");
        assert_eq!(end["actor"]["carried"], true, "{end:#}");
        let waiting = state_at(&daemon, &local, "TIME_WAIT");
        assert_eq!(waiting["actor"]["pid"], actor.pid(), "{waiting:#}");
        assert_eq!(waiting["age_is"], "exact", "{waiting:#}");
        assert!(metric(&daemon, counted) - before > 0.5, "the time in FIN_WAIT2 is counted");
        events.transition(&listener, "CLOSE_WAIT", "LAST_ACK");
        // What the process did to a socket without changing its state is no event.
        let all = events.all();
        assert!(
            all.iter().all(|event| event["from"] != event["to"] || event["inferred"] == true),
            "{all:#?}"
        );
    });
}

/// `close()` after `shutdown()` makes the kernel report the state that the socket is in already. That is no
/// transition, and the time in the state goes on.
#[test]
fn close_in_fin_wait2_is_no_transition_and_starts_no_new_age() {
    alone("close_in_fin_wait2_is_no_transition_and_starts_no_new_age", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        let listener = actor.told("listen l 127.0.0.1:0");
        let local = actor.told(&format!("connect c {listener}"));
        actor.told("accept a l");
        actor.told("shutdown c");
        actor.told("recv a 1");
        let open = state_at(&daemon, &local, "FIN_WAIT2");
        assert_eq!(holders(&open).len(), 1, "{open:#}");
        let events = Events::watch(&daemon);
        actor.told("close c");
        let end = events.transition(&local, "FIN_WAIT2", "FIN_WAIT2");
        assert_eq!(end["inferred"], true, "{end:#}");
        assert_eq!(
            events.all().iter().filter(|event| event["local"] == *local).count(),
            1,
            "{:#?}",
            events.all()
        );
        let mini = eventually(|| {
            let socket = socket_at(&daemon, &local);
            if socket["inode"] == Value::Null { Ok(socket) } else { Err(format!("{socket:#}")) }
        });
        assert_eq!((&mini["since"], &mini["state"]), (&open["since"], &open["state"]), "{mini:#}");
    });
}

/// Whoever aborts other people's sockets (`ss -K`) holds their lock, and owns nothing.
#[test]
fn whoever_aborts_a_socket_is_not_its_owner() {
    alone("whoever_aborts_a_socket_is_not_its_owner", || {
        let daemon = Daemon::start(&[]);
        let events = Events::watch(&daemon);
        let mut actor = Actor::in_new_namespace();
        actor.pair("p", "127.0.0.1:0");
        let local = actor.told("local pc");
        let target = actor.pid().to_string();
        let command = ["--net", "--target", &target, "ss", "-H", "-K", "-t", "-n", "src", &local];
        let output = Command::new("nsenter").args(command).output().expect("ss");
        if output.stdout.is_empty() {
            skip("this kernel destroys no sockets (CONFIG_INET_DIAG_DESTROY)");
            return;
        }
        let end = events.transition(&local, "ESTABLISHED", "CLOSE");
        assert_eq!(end["actor"], Value::Null, "{end:#}");
        let reset = events.wait_for("RST", |event| event["kind"] == "reset_sent" && event["local"] == *local);
        assert_eq!(reset["process"], Value::Null, "{reset:#}");
    });
}

/// Trap 18: records do not wake the daemon one by one, however many there are.
#[test]
fn events_do_not_wake_the_daemon_one_by_one() {
    alone("events_do_not_wake_the_daemon_one_by_one", || {
        let mut slow = support::tcpstate();
        let daemon = Daemon::start_command(slow.args(["daemon", "--reconcile-interval", "60s"]));
        let mut server = Actor::in_new_namespace();
        let mut client = Actor::beside(&server);
        let address = server.told("serve 127.0.0.1:0");
        let _watcher = Events::watch(&daemon);
        let started = wakeups(daemon.pid());
        let events = "tcpstate_events_total{kind=\"transition\"}";
        let before = metric(&daemon, events);
        for seed in 0..10 {
            client.told(&format!("drive {address} {seed} 1000"));
        }
        let told = metric(&daemon, events) - before;
        let woken = wakeups(daemon.pid()) - started;
        assert!(told >= 2000.0, "{told} events");
        #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
        let share = woken as f64 / told;
        assert!(share < 0.2, "woken {woken} times for {told} events");
    });
}

/// How often the threads of a process have gone to sleep and been woken.
fn wakeups(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
        .filter_map(|status| {
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .sum()
}

/// Trap 19: sockets older than the daemon, in another network namespace, and their ages.
#[test]
fn sockets_that_were_there_before_the_daemon_are_known() {
    alone("sockets_that_were_there_before_the_daemon_are_known", || {
        let mut actor = Actor::in_new_namespace();
        actor.pair("p", "[::1]:0");
        actor.told("close pc");
        actor.told("recv pa 1");
        let daemon = Daemon::start(&[]);
        let netns = actor.netns();
        let found = daemon.sockets(&format!("state=CLOSE_WAIT&netns={netns}"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0]["age_is"], "at_least", "{:#}", found[0]);
        let fd: u64 = actor.told("fd pa").parse().expect("a number");
        assert_eq!(holders(&found[0]), [(u64::from(actor.pid()), fd)]);
        agree(&daemon, Reach::Everywhere);
    });
}

/// Trap 20: a connection that was never accepted has no inode, and nobody leaks it.
#[test]
fn connection_that_was_never_accepted_is_nobodys_leak() {
    alone("connection_that_was_never_accepted_is_nobodys_leak", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        let listener = actor.told("listen l 127.0.0.1:0");
        actor.told(&format!("connect c {listener}"));
        actor.told("send c 1");
        actor.told("close c");
        let netns = actor.netns();
        let queued = eventually(|| {
            let found = daemon.sockets(&format!("state=CLOSE_WAIT&netns={netns}"));
            found.first().cloned().ok_or_else(|| "none".to_owned())
        });
        assert_eq!(queued["inode"], Value::Null, "{queued:#}");
        assert!(holders(&queued).is_empty(), "{queued:#}");
        assert_eq!(queued["actor"], Value::Null, "{queued:#}");
        eventually_true("the parked metric names nobody", || {
            daemon.metrics().keys().any(|name| {
                name.starts_with("tcpstate_parked_sockets{")
                    && name.contains("state=\"CLOSE_WAIT\"")
                    && name.contains("comm=\"\"")
            })
        });
    });
}

/// fork shares a socket: both processes are named, and it is not over when one of them closes.
#[test]
fn every_holder_of_a_shared_socket_is_named() {
    alone("every_holder_of_a_shared_socket_is_named", || {
        let daemon = Daemon::start(&[]);
        let mut actor = Actor::in_new_namespace();
        actor.pair("p", "127.0.0.1:0");
        let fd: u64 = actor.told("fd pa").parse().expect("a number");
        let child: u64 = actor.told("fork").parse().expect("a pid");
        let address = actor.told("local pa");
        let mut both = [(u64::from(actor.pid()), fd), (child, fd)];
        both.sort_unstable();
        holders_become(&daemon, &address, &both);
        actor.told("close pa");
        actor.told("close pc");
        holders_become(&daemon, &address, &[(child, fd)]);
    });
}

/// Waits until these, in order, are the holders of the established socket at `local`.
fn holders_become(daemon: &Daemon, local: &str, expected: &[(u64, u64)]) {
    let port = local.rsplit(':').next().expect("a port");
    eventually(|| {
        // What was seen a moment ago is as good as new, and may be the listener at the same address.
        let all = daemon.sockets(&format!("port={port}&state=ESTABLISHED"));
        let found = all.iter().find(|socket| socket["local"] == local).ok_or_else(|| format!("{all:#?}"))?;
        let mut list = holders(found);
        list.sort_unstable();
        if list == expected { Ok(()) } else { Err(format!("{list:?}")) }
    });
}
