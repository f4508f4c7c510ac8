//! Every wrong parameter is a 400 that names it.

use super::{daemon::Daemon, scene};
use crate::serve::params::cursor::{List, Place};

#[test]
fn each_wrong_parameter_is_named() {
    let daemon = Daemon::start();
    let other_list = format!("cursor={}", List::Resets.cursor(7));
    let place = Place::new(7, "nginx".into());
    let of = |list: List| format!("cursor={}", list.cursor_behind(&place));
    let wrong = [
        ("sockets?state=NOPE", "state"),
        ("sockets?state=", "state"),
        ("sockets?state=CLOSE", "state"),
        ("sockets?min_age=-5", "min_age"),
        ("sockets?min_age=soon", "min_age"),
        ("sockets?min_age=99999999999999999999d", "min_age"),
        ("sockets?pid=0", "pid"),
        ("sockets?pid=-1", "pid"),
        ("sockets?pid=nginx", "pid"),
        ("sockets?port=65536", "port"),
        ("sockets?port=0", "port"),
        ("sockets?peer=example.org", "peer"),
        ("sockets?peer=10.0.0.7:80", "peer"),
        ("sockets?peer=10.0.0.0/8", "peer"),
        ("sockets?netns=4294967296", "netns"),
        ("sockets?limit=0", "limit"),
        ("sockets?limit=1001", "limit"),
        ("sockets?limit=%2B5", "limit"),
        ("sockets?cursor=7", "cursor"),
        ("sockets?cursor=", "cursor"),
        (&format!("sockets?{other_list}"), "cursor"),
        ("sockets?State=CLOSE_WAIT", "State"),
        ("sockets?pid=1&states=x", "states"),
        ("sockets?pid=1&pid=1", "pid"),
        ("sockets?pid=1&port=1&pid=2", "pid"),
        ("resets?limit=0", "limit"),
        ("resets?limit=1001", "limit"),
        ("resets?cursor=junk", "cursor"),
        ("resets?state=CLOSE_WAIT", "state"),
        ("resets?limit=5&limit=5", "limit"),
        ("status?verbose=1", "verbose"),
        ("summary?x", "x"),
        ("events?state=CLOSE_WAIT", "state"),
        ("openapi.json?pretty=1", "pretty"),
        ("findings?class=leak!", "class"),
        ("findings?class=Close-Wait-Leak", "class"),
        ("findings?severity=fatal", "severity"),
        ("findings?severity=", "severity"),
        ("findings?status=closed", "status"),
        ("findings?pid=0", "pid"),
        ("findings?unit=", "unit"),
        ("findings?unit=nginx", "unit"),
        ("findings?unit=a%20b.service", "unit"),
        ("findings?limit=1", "limit"),
        ("findings?pid=1&pid=1", "pid"),
        ("findings/close-wait-leak-1f3a9c02b4d5e6f7?x=1", "x"),
        ("explain/close-wait-leak?x=1", "x"),
        ("processes?x=1", "x"),
        ("processes?limit=0", "limit"),
        ("processes?limit=1001", "limit"),
        ("processes?limit=5&limit=5", "limit"),
        ("processes?cursor=", "cursor"),
        (&format!("processes?{other_list}"), "cursor"),
        (&format!("processes?{}", of(List::Ports)), "cursor"),
        ("ports?x=1", "x"),
        ("ports?limit=-1", "limit"),
        ("ports?cursor=junk", "cursor"),
        (&format!("ports?{}", of(List::Listeners)), "cursor"),
        ("listeners?x=1", "x"),
        ("listeners?limit=all", "limit"),
        ("listeners?cursor=4711", "cursor"),
        (&format!("listeners?{}0", of(List::Listeners)), "cursor"),
    ];
    for (query, field) in wrong {
        let answer = daemon.get(&format!("/api/v1/{query}"));
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (400, "application/problem+json"),
            "{query}"
        );
        let problem = answer.json();
        assert_eq!((&problem["field"], &problem["title"]), (&field.into(), &"Bad Request".into()), "{query}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains('`') && !detail.contains('\n'), "{query}: {detail}");
    }
}

#[test]
fn an_unknown_state_is_told_which_states_there_are() {
    let detail = Daemon::start().get("/api/v1/sockets?state=WAITING").json()["detail"].clone();
    assert_eq!(
        detail,
        "`WAITING` is no state here; the states are LISTEN, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT1, \
         FIN_WAIT2, CLOSING, TIME_WAIT, CLOSE_WAIT, LAST_ACK"
    );
}

#[test]
fn each_filter_keeps_what_it_says() {
    let daemon = Daemon::start();
    let kept = [
        ("", vec!["1", "2", "3", "4", "5"]),
        ("?state=close-wait", vec!["1", "5"]),
        ("?state=fin-wait-1", vec!["4"]),
        ("?min_age=90", vec!["1", "4", "5"]),
        ("?min_age=90001ms", vec![]),
        ("?port=443", vec!["2"]),
        ("?peer=10.0.0.7", vec!["1", "3", "4", "5"]),
        ("?peer=%3A%3Affff%3A10.0.0.7", vec!["1", "3", "4", "5"]),
        ("?peer=10.0.0.8", vec![]),
        ("?pid=99", vec!["3"]),
        (&format!("?netns={}", scene::NETNS), vec!["1", "2", "3", "4", "5"]),
        ("?netns=1", vec![]),
        ("?state=TIME_WAIT&pid=99&min_age=30s", vec!["3"]),
    ];
    for (query, cookies) in kept {
        let answer = daemon.get(&format!("/api/v1/sockets{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let page = answer.json();
        let found: Vec<_> = page["sockets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|socket| socket["cookie"].as_str().unwrap())
            .collect();
        assert_eq!(found, cookies, "{query}");
        assert_eq!(page["total"], cookies.len(), "{query}");
    }
}
