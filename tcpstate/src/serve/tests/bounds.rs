//! What holds whatever clients do.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    time::Duration,
};

use super::daemon::Daemon;
use crate::serve::http::{Bounds, Hosts, Listen, Listener};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn dial(daemon: &Daemon) -> TcpStream {
    let connection = TcpStream::connect(daemon.url().trim_start_matches("http://")).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
}

fn send(mut connection: &TcpStream, text: &str) {
    connection.write_all(text.as_bytes()).unwrap();
}

/// What comes until the daemon closes the connection; a reset closes it too.
fn rest(mut connection: &TcpStream) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = connection.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it stays open");
    }
    String::from_utf8(bytes).unwrap()
}

/// The head of the next answer.
fn head(mut connection: &TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(connection.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn sample(daemon: &Daemon, series: &str) -> String {
    let page = daemon.get("/metrics").body;
    let found = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{series}: {page}")).to_owned()
}

#[test]
fn a_newcomer_takes_the_place_of_a_connection_that_waits() {
    let daemon = Daemon::within(Bounds { connections: 1, ..Bounds::default() });
    let waiting = dial(&daemon);
    assert_eq!(sample(&daemon, "tcpstate_http_connections_closed_total{reason=\"full\"}"), "1");
    assert_eq!(rest(&waiting), "");
}

#[test]
fn a_request_that_does_not_come_ends_the_connection() {
    let daemon = Daemon::within(Bounds { head: Duration::from_millis(50), ..Bounds::default() });
    let silent = dial(&daemon);
    assert_eq!(rest(&silent), "");
    let slow = dial(&daemon);
    send(&slow, "GET / HTTP/1.1\r\nHost:");
    rest(&slow);
    assert_eq!(sample(&daemon, "tcpstate_http_connections_closed_total{reason=\"idle\"}"), "2");
}

#[test]
fn a_watcher_beyond_the_last_place_is_refused_until_one_has_gone() {
    let daemon = Daemon::within(Bounds { watchers: 1, ..Bounds::default() });
    let watcher = dial(&daemon);
    send(&watcher, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head(&watcher).starts_with("HTTP/1.1 200"));
    let refused = daemon.get("/api/v1/events");
    assert_eq!((refused.status, refused.header("content-type")), (503, "application/problem+json"));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(sample(&daemon, "tcpstate_http_requests_refused_total{reason=\"watchers\"}"), "1");
    drop(watcher);
    while daemon.watchers() > 0 {
        std::thread::yield_now();
    }
    let next = dial(&daemon);
    send(&next, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head(&next).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_name_that_is_not_the_daemons_is_misdirected() {
    let daemon = Daemon::start();
    for (request, expected) in [
        ("GET /metrics HTTP/1.1\r\nHost: evil.example:19293\r\n", "HTTP/1.1 421 "),
        ("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n", "HTTP/1.1 421 "),
        ("GET /metrics HTTP/1.1\r\n", "HTTP/1.1 400 "),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", "HTTP/1.1 400 "),
        ("GET /metrics HTTP/1.1\r\nHost: LOCALHOST:80\r\n", "HTTP/1.1 200 "),
        ("GET /metrics HTTP/1.0\r\n", "HTTP/1.0 200 "),
    ] {
        let connection = dial(&daemon);
        send(&connection, &format!("{request}Connection: close\r\n\r\n"));
        let answer = rest(&connection);
        assert!(answer.starts_with(expected), "{request}: {answer}");
        assert!(answer.contains("cache-control: no-store"), "{answer}");
        assert_eq!(answer.contains("application/problem+json"), !expected.contains(" 200 "), "{answer}");
    }
}

/// Binds a Unix socket inside a runtime, which it needs.
fn bind(path: &std::path::Path) -> std::io::Result<Listener> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Listener::bind(&Listen::Unix(path.to_owned()), Hosts::default().into()) })
}

#[test]
fn a_unix_socket_is_for_its_group_and_goes_with_the_daemon() {
    let path = std::env::temp_dir().join(format!("tcpstate-mode-{}.sock", std::process::id()));
    let listener = bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let Err(error) = bind(&path) else { panic!("two daemons on one socket") };
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_nobody_serves_is_replaced_and_any_other_file_is_not() {
    let path = std::env::temp_dir().join(format!("tcpstate-old-{}.sock", std::process::id()));
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(bind(&path).unwrap());
    std::fs::write(&path, "mine").unwrap();
    assert!(bind(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_port_that_is_taken_is_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = Listen::Tcp(taken.local_addr().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bound = runtime.block_on(async { Listener::bind(&listen, Hosts::default().into()) });
    assert_eq!(bound.err().map(|error| error.kind()), Some(std::io::ErrorKind::AddrInUse));
}
