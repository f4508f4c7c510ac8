//! What the answers look like.

use serde_json::{Value, json};

use super::{daemon::Daemon, scene};
use crate::serve::ask::Readings;

/// Takes the times out, after checking that they are RFC 3339 in UTC.
fn without_times(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        for name in ["as_of", "since", "at", "started_at", "finished_at"] {
            if let Some(time) = object.get_mut(name).filter(|time| time.is_string()) {
                let text = time.as_str().unwrap();
                assert!(text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(), "{name}: {text}");
                *time = "TIME".into();
            }
        }
    }
    value
}

fn sockets(daemon: &Daemon) -> Vec<Value> {
    let page = without_times(daemon.get("/api/v1/sockets").json());
    assert_eq!(
        (&page["as_of"], &page["total"], &page["next_cursor"]),
        (&"TIME".into(), &5.into(), &Value::Null)
    );
    page["sockets"].as_array().unwrap().iter().cloned().map(without_times).collect()
}

#[test]
fn a_held_socket_names_everyone_who_holds_it() {
    let payments = json!({
        "pid": 4121, "fd": 17, "comm": "payments", "exe": "/usr/bin/payments", "unit": "payments.service",
        "container": null
    });
    let heir = json!({
        "pid": 4122, "fd": 17, "comm": "payments", "exe": null, "unit": null, "container": null
    });
    let expected = json!({
        "cookie": "1", "state": "CLOSE_WAIT", "family": "ipv4", "local": "10.0.0.1:8080",
        "remote": "10.0.0.7:50000", "netns": scene::NETNS, "age_ms": 90_000, "age_is": "exact", "since": "TIME",
        "rqueue": 1, "wqueue": 0, "timer": null, "retransmits": 0, "uid": 1000, "inode": 77,
        "holders": [payments, heir], "actor": null
    });
    assert_eq!(sockets(&Daemon::start())[0], expected);
}

#[test]
fn a_listener_has_no_remote_end_and_an_age_that_is_a_lower_bound() {
    let listener = &sockets(&Daemon::start())[1];
    assert_eq!((&listener["local"], &listener["remote"]), (&"[::]:443".into(), &Value::Null));
    assert_eq!((&listener["family"], &listener["age_is"]), (&"ipv6".into(), &"at_least".into()));
    assert_eq!(listener["uid"], 0);
}

#[test]
fn a_mini_socket_has_neither_user_nor_inode_but_the_process_that_closed_it() {
    let time_wait = &sockets(&Daemon::start())[2];
    assert_eq!((&time_wait["uid"], &time_wait["inode"]), (&Value::Null, &Value::Null));
    assert_eq!(time_wait["timer"], "timewait");
    assert_eq!(time_wait["actor"], json!({"pid": 99, "comm": "curl"}));
}

#[test]
fn before_the_first_census_there_is_no_as_of() {
    let daemon = Daemon::with(scene::blind_readings(), scene::tracker(&[]));
    assert_eq!(
        daemon.get("/api/v1/sockets").json(),
        json!({"as_of": null, "holders_as_of": null, "total": 0, "sockets": [], "next_cursor": null})
    );
}

#[test]
fn resets_say_which_way_why_and_who() {
    let mut tracker = scene::tracker(&[]);
    scene::add_resets(&mut tracker, 3);
    let page = Daemon::with(scene::readings(), tracker).get("/api/v1/resets").json();
    let resets: Vec<_> = page["resets"].as_array().unwrap().iter().cloned().map(without_times).collect();
    let from_nowhere = json!({
        "id": 3, "at": "TIME", "direction": "sent", "phase": null, "state": null, "reason": "UNKNOWN_40",
        "cookie": null, "family": "ipv4", "local": "10.0.0.1:8080", "remote": "10.0.0.7:50001",
        "netns": scene::NETNS, "process": null
    });
    let received = json!({
        "id": 2, "at": "TIME", "direction": "received", "phase": "connect", "state": "SYN_SENT", "reason": null,
        "cookie": "8", "family": "ipv4", "local": "10.0.0.1:8080", "remote": "10.0.0.7:50002",
        "netns": scene::NETNS, "process": null
    });
    let sent = json!({
        "id": 1, "at": "TIME", "direction": "sent", "phase": "established", "state": "ESTABLISHED",
        "reason": "TCP_ABORT_ON_CLOSE", "cookie": "7", "family": "ipv4", "local": "10.0.0.1:8080",
        "remote": "10.0.0.7:50001", "netns": scene::NETNS, "process": {"pid": 12, "comm": "nginx"}
    });
    assert_eq!(resets, [from_nowhere, received, sent]);
}

#[test]
fn the_status_says_what_is_seen_and_what_is_missed() {
    let mut status = without_times(Daemon::start().get("/api/v1/status").json());
    status["census"] = without_times(status["census"].take());
    let blind_spots = status["blind_spots"].take();
    assert_eq!(blind_spots.as_array().unwrap().len(), crate::track::Tier::Events.blind_spots().len());
    let expected = json!({
        "version": env!("CARGO_PKG_VERSION"), "tier": "events", "tier_reason": "fentry is not permitted here",
        "blind_spots": null, "ready": true, "started_at": "TIME", "uptime_s": 100,
        "probes": [
            {"name": "inet_sock_set_state", "attached": true, "error": null, "runs": 1000, "run_time_ns": 250_000},
            {"name": "tcp_send_reset", "attached": false, "error": "no such tracepoint", "runs": null,
             "run_time_ns": null}
        ],
        "census": {
            "states_left_out": ["TIME_WAIT"], "finished_at": "TIME", "age_ms": 3000, "took_ms": 5, "sockets": 5, "namespaces_visited": 2,
            "namespaces_unreachable": 1, "processes_hidden": 4, "drift_sockets": 3
        },
        "losses": {"transition": 6, "reset_sent": 5, "reset_received": 4, "malformed": 1, "missed": 5, "acted": 0, "idle_close": 2, "note": 3, "socket": 2, "watch": 0},
        "late_events": 9, "unknown_states": 1,
        "limits": {"max_memory_bytes": 67_108_864, "max_sockets": 100_000, "max_resets": 1000, "ring_bytes": 1_048_576, "top_owners": 20},
        "holder_lookup": "task_file", "tracked_sockets": 5, "unattributed_sockets": 1
    });
    assert_eq!(status, expected);
}

#[test]
fn the_summary_has_the_numbers_at_a_glance() {
    let summary = Daemon::start().get("/api/v1/summary").json();
    let by_state = &summary["sockets"]["by_state"];
    assert_eq!(summary["sockets"]["exact"], true);
    assert_eq!(by_state["CLOSE_WAIT"], json!({"ipv4": 2, "ipv6": 0}));
    assert_eq!(by_state["LISTEN"], json!({"ipv4": 0, "ipv6": 1}));
    assert_eq!(by_state["TIME_WAIT"], json!({"ipv4": 1, "ipv6": 0}));
    assert_eq!(by_state.as_object().unwrap().len(), 10);
    assert_eq!(summary["transitions_total"], 24);
    assert_eq!(
        summary["resets_sent"],
        json!({"NOT_SPECIFIED": 2, "NO_SOCKET": 0, "TCP_ABORT_ON_CLOSE": 5, "UNKNOWN_40": 1})
    );
    assert_eq!(
        summary["resets_received"],
        json!({"connect": 4, "accept": 0, "established": 0, "closing": 1})
    );
    assert_eq!(summary["connect_failures"]["ECONNREFUSED"], 4);
    assert_eq!(summary["connect_failures"]["NONE"], 1);
    assert_eq!(
        summary["parked"][0],
        json!({
            "state": "CLOSE_WAIT", "rest": false, "comm": "payments", "unit": "payments.service",
            "container": null, "count": 812, "oldest_age_ms": 1_218_000
        })
    );
    assert_eq!(summary["parked"][2]["rest"], true);
}

#[test]
fn a_census_that_alone_counts_has_no_drift() {
    let census = scene::readings().census;
    let daemon = Daemon::with(Readings { census, ..scene::blind_readings() }, scene::tracker(&[]));
    assert_eq!(daemon.get("/api/v1/status").json()["census"]["drift_sockets"], Value::Null);
    let page = daemon.get("/metrics").body;
    assert!(page.contains("\ntcpstate_reconcile_age_seconds 3\n"), "{page}");
    assert!(!page.contains("drift_sockets"), "{page}");
}

#[test]
fn what_dumps_do_not_show_is_null_and_not_zero() {
    let daemon = Daemon::with(scene::blind_readings(), scene::tracker(&[]));
    let summary = daemon.get("/api/v1/summary").json();
    for name in ["transitions_total", "resets_sent", "resets_received", "connect_failures"] {
        assert_eq!(summary[name], Value::Null, "{name}");
    }
    assert_eq!(summary["sockets"], json!({"exact": false, "by_state": null}));
    let status = daemon.get("/api/v1/status").json();
    assert_eq!((&status["census"], &status["unknown_states"]), (&Value::Null, &Value::Null));
    assert_eq!(status["losses"], json!({"socket": 0, "watch": 0}));
}
