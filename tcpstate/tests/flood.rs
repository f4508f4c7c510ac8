//! What many clients at once can do to the daemon: nothing that lasts. Whatever they ask for and do not read, its
//! memory stays within `--max-memory`, a scraper gets its metrics, and the daemon goes on seeing everything.
#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and counts are exact in f64"
)]

mod support;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::{
    net::{
        AddressFamily, SocketType, connect, socket,
        sockopt::{Timeout, set_socket_recv_buffer_size, set_socket_timeout},
    },
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use support::{Daemon, alone, eventually};

const MAX_MEMORY_KB: u64 = 80 << 10;
/// A page as large as it can be, once there are as many sockets: those of this test alone are enough.
const HEAVY: &str = "/api/v1/sockets?limit=1000";

/// How long anything may take. Nothing is measured by it: it only ends a test that would never end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lets this process open as many connections as it may.
fn open_many() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("the soft limit may rise");
}

/// A connection that takes little before its user reads, with a request sent on it, if any.
fn dial(address: SocketAddr, path: Option<&str>) -> TcpStream {
    let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    set_socket_recv_buffer_size(&descriptor, 4096).expect("a small buffer");
    set_socket_timeout(&descriptor, Timeout::Send, Some(PATIENCE)).expect("a timeout");
    connect(&descriptor, &address).expect("a connection");
    let mut connection = TcpStream::from(descriptor);
    if let Some(path) = path {
        // The daemon may have closed it for a newer one.
        let _ = write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    }
    connection
}

/// Asks on a connection of its own, and reads the answer to its end; `None` where the daemon closed it early.
fn ask(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A line of `/proc/PID/status`, in kB.
fn memory_kb(daemon: &Daemon, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("a status");
    let value = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(":")).expect("a line");
    value.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Scrapes over and over on new connections; every scrape has to be answered.
fn scrape(address: SocketAddr, times: usize) -> BTreeMap<String, f64> {
    let mut last = BTreeMap::new();
    for number in 0..times {
        let (status, page) =
            ask(address, "/metrics").unwrap_or_else(|| panic!("scrape {number} was cut off"));
        assert_eq!(status, 200, "scrape {number}: {page}");
        last = support::samples(&page);
    }
    last
}

#[test]
fn flood_of_clients_costs_no_memory_no_scrape_and_no_sight() {
    alone("flood_of_clients_costs_no_memory_no_scrape_and_no_sight", || {
        open_many();
        let mut command = Command::new("prlimit");
        command.args(["--nofile=256:4096", "--", env!("CARGO_BIN_EXE_tcpstate"), "daemon"]);
        command.args(["--reconcile-interval", "200ms", "--max-memory", "80MiB"]);
        let daemon = Daemon::start_command(&mut command);
        let address: SocketAddr =
            daemon.url.trim_start_matches("http://").parse().expect("the daemon's address");
        let sees = |daemon: &Daemon| daemon.json("/api/v1/status")["holder_lookup"].clone();
        let seen_before = sees(&daemon);
        daemon.json(HEAVY);
        let before_kb = memory_kb(&daemon, "VmRSS");
        // From now on the peak counts.
        std::fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").expect("the peak is forgotten");

        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let idle: Vec<_> = (0..2000).map(|_| dial(address, None)).collect();
            scrape(address, 5);
            let slow: Vec<_> = (0..1000).map(|_| dial(address, Some(HEAVY))).collect();
            scrape(address, 5);
            let watchers: Vec<_> = (0..200).map(|_| dial(address, Some("/api/v1/events"))).collect();
            scrape(address, 5);
            for _ in 0..30 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let status = ask(address, HEAVY).map(|(status, _)| status);
                        assert!(matches!(status, None | Some(200 | 503)), "{status:?}");
                    }
                });
            }
            scrape(address, 30);
            over.store(true, Ordering::Relaxed);
            drop((idle, slow, watchers));
        });
        let peak_kb = memory_kb(&daemon, "VmHWM");
        assert!(peak_kb <= MAX_MEMORY_KB, "{peak_kb} kB at the peak, {before_kb} kB before");

        // A quarter more: its tables have room now for the sockets of this test.
        eventually(|| {
            let now_kb = memory_kb(&daemon, "VmRSS");
            if now_kb <= before_kb + before_kb / 4 {
                Ok(())
            } else {
                Err(format!("{now_kb} kB, {before_kb} kB before"))
            }
        });
        assert_eq!(sees(&daemon), seen_before);
        let log = daemon.log();
        assert!(!log.contains("Too many open files") && !log.contains("panicked"), "{log}");
        let counted = scrape(address, 1);
        for refused in [
            "tcpstate_http_connections_closed_total{reason=\"full\"}",
            "tcpstate_http_requests_refused_total{reason=\"watchers\"}",
        ] {
            assert!(counted[refused] > 0.0, "{refused}");
        }
    });
}
