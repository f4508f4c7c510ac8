//! What a diagnosis has found, as it is answered.

use serde_json::{Value, json};

use super::{daemon::Daemon, diagnosed, scene};
use crate::serve::ask::Diagnosed;

const LEAK: &str = "close-wait-leak-1f3a9c02b4d5e6f7";

fn get(daemon: &Daemon, path: &str) -> Value {
    let answer = daemon.get(path);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
    answer.json()
}

/// Takes a time out of an object, after checking that it is RFC 3339 in UTC.
fn take_time(object: &mut Value, name: &str) -> jiff::Timestamp {
    let text = object.as_object_mut().unwrap().remove(name).unwrap();
    let text = text.as_str().unwrap();
    assert!(text.ends_with('Z'), "{name}: {text}");
    text.parse().unwrap()
}

#[test]
fn a_finding_has_everything_that_its_verdict_stands_on() {
    let daemon = Daemon::start();
    let mut finding = get(&daemon, &format!("/api/v1/findings/{LEAK}"));
    let since = take_time(&mut finding, "since");
    let opened = take_time(&mut finding, "opened_at");
    let updated = take_time(&mut finding, "updated_at");
    assert_eq!((opened - since).get_seconds(), 30);
    assert_eq!((updated - opened).get_seconds(), 60);
    let expected = json!({
        "id": LEAK, "class": "close-wait-leak", "severity": "critical", "status": "open",
        "subject": {
            "pid": 4121, "comm": "payments", "exe": "/usr/bin/payments", "script": null,
            "unit": "payments.service", "container": null, "pod": null, "netns": scene::NETNS, "listener": null,
            "peer": "10.0.0.7:443", "process_count": 1,
            "processes": [{"pid": 4121, "comm": "payments", "count": 812, "ended": false}]
        },
        "resolved_at": null, "count": 812, "trend_per_minute": 4.0,
        "limit": {"of": "file descriptors", "used": 836, "max": 1024, "reached_in_seconds": 2820},
        "harm": {
            "kind": "runs_out",
            "text": "836 of 1024 file descriptors are in use, all of them in 47 min; more and more are taken, and \
                     none is given back."
        },
        "verdict": "payments[4121] in payments.service read EOF from 10.0.0.7:443 on 812 sockets and closed none; \
                    +4/min; its fd limit is reached in 47 min.",
        "remedy": "Close the socket on every path after read() returns 0.",
        "evidence": ["812 sockets in CLOSE_WAIT, nothing unread"], "cannot_see": ["who opened them"],
        "sockets": [{
            "cookie": "1", "local": "10.0.0.1:8080", "remote": "10.0.0.7:443", "state": "CLOSE_WAIT",
            "age_ms": 90_000, "age_is": "exact", "rqueue": 0, "wqueue": 0, "pid": 4121, "fd": 17
        }],
        "explanation": "/api/v1/explain/close-wait-leak"
    });
    assert_eq!(finding, expected);
}

#[test]
fn the_list_says_as_of_when_it_is_and_what_could_not_be_seen() {
    let daemon = Daemon::start();
    let mut list = get(&daemon, "/api/v1/findings");
    take_time(&mut list, "as_of");
    assert_eq!(list["cannot_see"], json!(["The kernel tells reset reasons since Linux 6.10."]));
    assert_eq!(list["findings"][0], get(&daemon, &format!("/api/v1/findings/{LEAK}")));
    take_time(&mut list["findings"][2], "resolved_at");
    assert_eq!(list["not_looked_at"], json!([]));
    assert_eq!(list.as_object().unwrap().len(), 3);
}

#[test]
fn before_the_first_pass_nothing_is_known() {
    let daemon = Daemon::start();
    daemon.diagnose(Diagnosed::default());
    let nothing = json!({"as_of": null, "findings": [], "cannot_see": [], "not_looked_at": []});
    assert_eq!(get(&daemon, "/api/v1/findings"), nothing);
    let nothing = json!({
        "as_of": null, "looked_at": {"sockets": 0, "processes": 0}, "total": 0, "processes": [], "next_cursor": null
    });
    assert_eq!(get(&daemon, "/api/v1/processes"), nothing);
    let nothing = json!({"as_of": null, "total": 0, "destinations": [], "next_cursor": null});
    assert_eq!(get(&daemon, "/api/v1/ports"), nothing);
    let nothing = json!({"as_of": null, "total": 0, "listeners": [], "namespaces": [], "next_cursor": null});
    assert_eq!(get(&daemon, "/api/v1/listeners"), nothing);
}

#[test]
fn each_filter_keeps_what_it_says() {
    let daemon = Daemon::start();
    let kept = [
        ("", 3),
        ("?class=half-open", 1),
        ("?class=syn-flood", 0),
        ("?severity=critical", 1),
        ("?severity=info", 1),
        ("?status=open", 2),
        ("?status=resolved", 1),
        ("?pid=4121", 1),
        ("?pid=1", 0),
        ("?unit=payments.service", 1),
        ("?status=open&severity=warning", 0),
        ("?status=open&unit=payments.service&pid=4121&class=close-wait-leak&severity=critical", 1),
    ];
    for (query, count) in kept {
        let list = get(&daemon, &format!("/api/v1/findings{query}"));
        assert_eq!(list["findings"].as_array().unwrap().len(), count, "{query}");
    }
}

#[test]
fn a_finding_that_is_not_there_is_a_problem() {
    let daemon = Daemon::start();
    for id in ["nothing", "close-wait-leak", "%ff", "a%2fb"] {
        let answer = daemon.get(&format!("/api/v1/findings/{id}"));
        assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"), "{id}");
        assert!(answer.json()["detail"].as_str().unwrap().contains('`'), "{id}");
    }
}

#[test]
fn classes_and_states_are_explained() {
    let daemon = Daemon::start();
    for (name, begins) in [
        ("close-wait-leak", "# close-wait-leak: "),
        ("CLOSE_WAIT", "# CLOSE_WAIT: "),
        ("fin-wait-2", "# FIN_WAIT2: "),
    ] {
        let answer = daemon.get(&format!("/api/v1/explain/{name}"));
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/markdown; charset=utf-8"));
        assert!(answer.body.starts_with(begins), "{name}: {}", answer.body);
    }
    let answer = daemon.get("/api/v1/explain/close-wait-leek");
    assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("did you mean `close-wait-leak`"), "{detail}");
    assert_eq!(daemon.get("/api/v1/explain/%ff").status, 404);
}

#[test]
fn every_explanation_that_a_finding_names_is_there() {
    let daemon = Daemon::start();
    for finding in get(&daemon, "/api/v1/findings")["findings"].as_array().unwrap() {
        assert_eq!(daemon.get(finding["explanation"].as_str().unwrap()).status, 200, "{finding}");
    }
}

#[test]
fn a_process_is_told_with_what_it_holds_and_what_is_wrong_with_it() {
    let daemon = Daemon::start();
    let mut list = get(&daemon, "/api/v1/processes");
    take_time(&mut list, "as_of");
    let payments = json!({
        "pid": 4121, "comm": "payments", "exe": "/usr/bin/payments", "unit": "payments.service",
        "container": null, "pod": null, "held": {"CLOSE_WAIT": 812}, "left": {"FIN_WAIT2": 3}, "fds": 836,
        "fd_limit": 1024, "findings": [LEAK]
    });
    // What is known about the number is about another process.
    let predecessor = json!({
        "pid": 4121, "comm": "other", "exe": null, "unit": null, "container": null, "pod": null, "held": {},
        "left": {"FIN_WAIT2": 3}, "fds": null, "fd_limit": null, "findings": []
    });
    let java = json!({
        "pid": 99, "comm": "java", "exe": null, "unit": null, "container": null, "pod": null, "held": {},
        "left": {}, "fds": null, "fd_limit": null, "findings": ["close-wait-idle-pool-00000000000000aa"]
    });
    let expected = json!({
        "looked_at": {"sockets": 900, "processes": 2}, "total": 3, "processes": [payments, predecessor, java],
        "next_cursor": null
    });
    assert_eq!(list, expected);
}

#[test]
fn ports_are_told_for_each_destination() {
    let daemon = Daemon::start();
    let mut ports = get(&daemon, "/api/v1/ports");
    take_time(&mut ports, "as_of");
    let to = |remote: &str, holders: Value| {
        json!({
            "local": "10.0.0.1", "remote": remote, "netns": scene::NETNS, "used": 100, "range_size": 200,
            "by_state": {"ESTABLISHED": 10, "TIME_WAIT": 90}, "holders": holders
        })
    };
    let destinations = [
        to("10.0.0.5:6379", json!([{"pid": 9, "comm": "worker", "sockets": 70}])),
        to("10.0.0.6:80", json!([{"pid": 9, "comm": "worker", "sockets": null}])),
    ];
    let expected = json!({"total": 2, "destinations": destinations, "next_cursor": null});
    assert_eq!(ports, expected);
    let mut unread = diagnosed::diagnosed();
    unread.namespaces.clear();
    daemon.diagnose(unread);
    assert_eq!(get(&daemon, "/api/v1/ports")["destinations"][0]["range_size"], Value::Null);
}

#[test]
fn listeners_are_told_with_their_queues_and_holders() {
    let daemon = Daemon::start();
    let mut listeners = get(&daemon, "/api/v1/listeners");
    take_time(&mut listeners, "as_of");
    let expected = json!({
        "total": 2,
        "listeners": [
            {"cookie": "2", "address": "0.0.0.0:8000", "netns": scene::NETNS, "queue": 129, "limit": 128, "drops": 5,
             "holders": [{"pid": 9, "comm": "worker", "fd": 3}]},
            {"cookie": "8", "address": "0.0.0.0:9000", "netns": scene::NETNS, "queue": 0, "limit": 0, "drops": null,
             "holders": null},
        ],
        "namespaces": [{"netns": scene::NETNS, "overflows": 41, "drops": 42}],
        "next_cursor": null
    });
    assert_eq!(listeners, expected);
}
