//! Bad input gets one clear sentence and an exit code that is not 0; never a panic.
#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and counts are exact in f64"
)]

mod support;

use std::process::{Command, Output, Stdio};

use support::{Daemon, alone, tcpstate};

/// Runs a command that must fail, and returns what it says.
fn refused(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).env("RUST_BACKTRACE", "1").output().expect("it runs");
    let text = String::from_utf8(stderr).expect("text");
    assert!(!status.success(), "{text}");
    assert!(stdout.is_empty(), "errors go to stderr: {}", String::from_utf8_lossy(&stdout));
    assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
    text
}

fn without_capabilities(keep: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--inh-caps=-all", &format!("--bounding-set=-all{keep}")])
        .arg(env!("CARGO_BIN_EXE_tcpstate"));
    command
}

#[test]
fn each_wrong_flag_is_named_with_what_is_wrong() {
    for (arguments, says) in [
        (&["daemon", "--no-such-flag"][..], "--no-such-flag"),
        (&["daemon", "--source", "magic"], "[possible values: auto, ebpf, sockdiag]"),
        (&["daemon", "--web.listen-address", "nonsense"], "--web.listen-address"),
        (&["daemon", "--ring-size", "5000"], "power of two"),
        (&["daemon", "--max-sockets", "0"], "1..=16777216"),
        (&["daemon", "--max-memory", "lots"], "such as 256MiB"),
        (&["daemon", "--max-memory", "1MiB"], "leaves no room for sockets"),
        (&["daemon", "--reconcile-interval", "1ms"], "less than 100ms"),
        (&["daemon", "--reconcile-interval", "soon"], "not a duration"),
        (&["no-such-command"], "no-such-command"),
        (&["sockets", "--port", "70000"], "--port"),
        (&["sockets", "--min-age", "-5s"], "-5"),
    ] {
        let text = refused(tcpstate().args(arguments));
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}

#[test]
fn port_in_use_is_said_with_a_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let text = refused(tcpstate().args(["daemon", "--web.listen-address", &address]));
    assert!(text.contains(&format!("{address} is in use")), "{text}");
    assert!(text.contains("--web.listen-address"), "{text}");
}

#[test]
fn address_of_another_host_is_said_with_a_way_out() {
    let text = refused(tcpstate().args(["daemon", "--web.listen-address", "192.0.2.77:19293"]));
    assert!(text.contains("cannot listen on 192.0.2.77:19293"), "{text}");
}

#[test]
fn missing_privilege_is_named_with_its_purpose() {
    alone("missing_privilege_is_named_with_its_purpose", || {
        let arguments = ["daemon", "--source", "ebpf", "--web.listen-address", "127.0.0.1:0"];
        let text = refused(without_capabilities("").args(arguments));
        assert!(text.contains("CAP_BPF is missing: it is needed to load eBPF programs"), "{text}");
        let text = refused(without_capabilities(",+bpf").args(arguments));
        assert!(text.contains("CAP_PERFMON is missing: it is needed to attach eBPF programs"), "{text}");
    });
}

#[test]
fn client_without_daemon_says_how_to_start_one() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    for command in ["sockets", "watch"] {
        let text = refused(tcpstate().args([command, "--url", &url]));
        assert!(text.contains("no daemon answers"), "{text}");
        assert!(text.contains("tcpstate daemon"), "{text}");
    }
}

#[test]
fn api_names_the_field_that_is_wrong() {
    alone("api_names_the_field_that_is_wrong", || {
        let daemon = Daemon::start(&[]);
        for (query, field) in [
            ("state=DREAMING", "state"),
            ("min_age=-1", "min_age"),
            ("limit=0", "limit"),
            ("limit=1000000", "limit"),
            ("cursor=%F0%9F%8D%8C", "cursor"),
            ("cursor=abc", "cursor"),
            ("port=70000", "port"),
            ("pid=-1", "pid"),
            ("peer=example.org", "peer"),
            ("netns=everywhere", "netns"),
            ("colour=red", "colour"),
            ("port=1&port=2", "port"),
        ] {
            let (status, body) = daemon.get(&format!("/api/v1/sockets?{query}"));
            assert_eq!(status, 400, "{query}: {body}");
            let problem: serde_json::Value = serde_json::from_str(&body).expect("a problem document");
            assert_eq!(problem["field"], field, "{problem:#}");
            assert_eq!(problem["status"], 400, "{problem:#}");
        }
        for (path, status) in [("/api/v1/nothing", 404), ("/api/v2", 404)] {
            let (got, body) = daemon.get(path);
            assert_eq!(got, status, "{body}");
            assert!(body.contains("\"status\":404"), "{body}");
        }
    });
}
