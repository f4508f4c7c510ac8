//! Many short connections on all processors at once: do the numbers balance, and are the closers known?

use std::{
    collections::BTreeMap,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    closers::{Closers, Told},
    daemon::{Daemon, Metrics, since},
    kernel,
    traffic::Actor,
};

/// Servers, and twice as many clients.
const SERVERS: usize = 8;
/// The states whose gauges are exact when the daemon says that they are.
const EXACT: [&str; 7] =
    ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "CLOSING", "CLOSE_WAIT", "LAST_ACK", "LISTEN"];
/// Those of which nothing is left at rest, so that their gauges are right then too.
const BRIEF: [&str; 2] = ["SYN_RECV", "FIN_WAIT2"];
/// The events of one connection that is closed by one end after the other. From `FIN_WAIT2` it goes on in one of three
/// ways, of which each has one event.
const EVENTS: [(&str, &[&str]); 8] = [
    ("CLOSE", &["SYN_SENT"]),
    ("SYN_SENT", &["ESTABLISHED"]),
    ("LISTEN", &["SYN_RECV"]),
    ("SYN_RECV", &["ESTABLISHED"]),
    ("ESTABLISHED", &["FIN_WAIT1", "CLOSE_WAIT"]),
    ("FIN_WAIT1", &["FIN_WAIT2"]),
    ("CLOSE_WAIT", &["LAST_ACK"]),
    ("LAST_ACK", &["CLOSE"]),
];
const LAST_EVENT: (&str, &[&str]) = ("FIN_WAIT2", &["TIME_WAIT", "FIN_WAIT2"]);
const EVENTS_OF_A_CONNECTION: u64 = 10;
/// How long the gauges are compared with the kernel's count after the last connection.
const WATCHED: Duration = Duration::from_secs(20);

pub(crate) fn play(daemon: &Daemon, connections: u64) -> Result<Value> {
    let mut closers = Closers::default();
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..SERVERS {
        let (server, address) = Actor::server("127.0.0.1:0")?;
        closers.add_server(&server, &address);
        servers.push(server);
        for order in ["c", "s"] {
            let client = Actor::start()?;
            closers.add_client(&client);
            clients.push((client, format!("make {address} {order}")));
        }
    }
    let share = connections / clients.len() as u64;
    let made = share * clients.len() as u64;
    let before = daemon.metrics()?;
    let begun = Instant::now();
    for (client, order) in &mut clients {
        client.order(&format!("{order} {share}"))?;
    }
    thread::scope(|scope| {
        let (done, all_done) = mpsc::channel();
        scope.spawn(move || keep_connected(daemon, &all_done));
        let answers: Result<Vec<_>> = clients.iter_mut().map(|(client, _)| client.answer()).collect();
        drop(done);
        answers
    })?;
    let took = begun.elapsed();
    let dishonest = watch(daemon)?;
    let after = daemon.metrics()?;
    let told = closers_of(&closers, daemon)?;
    let (before_transitions, after_transitions) = (before.transitions(), after.transitions());
    let transitions = since(&before_transitions, &after_transitions);
    let lost = since(&lost(&before), &lost(&after));
    Ok(json!({
        "connections": made,
        "seconds": took.as_secs(),
        "off": off(&transitions, &before, &after),
        "expected_events": made * EVENTS_OF_A_CONNECTION,
        "counted_events": counted(&transitions),
        "lost": lost,
        "drift": after.one("tcpstate_reconcile_drift_sockets")?,
        "closers": told.facts(),
        "dishonest": dishonest,
        "gauges": after.by("tcpstate_sockets", "state"),
        "transitions": transitions.iter().map(|((from, to), count)| (format!("{from} {to}"), *count)).collect::<BTreeMap<_, _>>(),
    }))
}

/// Asks now and then, until all is done: an idle connection to the daemon would end, and the next one would be counted.
fn keep_connected(daemon: &Daemon, all_done: &mpsc::Receiver<()>) {
    while all_done.recv_timeout(Duration::from_secs(2)) == Err(RecvTimeoutError::Timeout) {
        // A daemon that does not answer fails the next question, too.
        drop(daemon.metrics());
    }
}

fn lost(metrics: &Metrics) -> BTreeMap<String, i64> {
    metrics.by("tcpstate_events_lost_total", "kind")
}

/// How many of the events that these connections have were counted.
fn counted(transitions: &BTreeMap<(String, String), i64>) -> i64 {
    let of = |from: &str, to: &&str| transitions.get(&(from.to_owned(), (*to).to_owned())).unwrap_or(&0);
    EVENTS.iter().chain([&LAST_EVENT]).flat_map(|(from, to)| to.iter().map(move |to| of(from, to))).sum()
}

/// By how much entered less left differs from what is there, for each state where it does.
fn off(
    transitions: &BTreeMap<(String, String), i64>,
    before: &Metrics,
    after: &Metrics,
) -> BTreeMap<&'static str, i64> {
    let (there_before, there) =
        (before.by("tcpstate_sockets", "state"), after.by("tcpstate_sockets", "state"));
    let differences = EXACT.into_iter().chain(BRIEF).map(|state| {
        let mut balance = there_before.get(state).unwrap_or(&0) - there.get(state).unwrap_or(&0);
        for ((from, to), count) in transitions {
            // A listener stays when a connection is born of it; a socket that is handed over to a mini-socket goes.
            if to == state && from != to {
                balance += count;
            }
            if from == state && (from.as_str(), to.as_str()) != ("LISTEN", "SYN_RECV") {
                balance -= count;
            }
        }
        (state, balance)
    });
    differences.filter(|(_, balance)| *balance != 0).collect()
}

/// Compares the gauges with the kernel's count for a while. Returns what was seen when they differed and were called
/// exact.
fn watch(daemon: &Daemon) -> Result<Vec<Value>> {
    let of_states =
        |counts: &BTreeMap<String, i64>| EXACT.map(|state| (state, counts.get(state).copied().unwrap_or(0)));
    let mut dishonest = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        let before = of_states(&kernel::sockets()?);
        let metrics = daemon.metrics()?;
        let after = of_states(&kernel::sockets()?);
        let ours = of_states(&metrics.by("tcpstate_sockets", "state"));
        if before == after && ours != before && metrics.one("tcpstate_sockets_exact")? > 0.5 {
            let differ = ours.iter().zip(before).filter(|(ours, kernel)| *ours != kernel);
            let differ = differ.map(|(ours, kernel)| (ours.0, json!([ours.1, kernel.1])));
            dishonest.push(Value::Object(differ.map(|(state, it)| (state.to_owned(), it)).collect()));
        }
        thread::sleep(Duration::from_millis(500));
    }
    Ok(dishonest)
}

/// Asks for the closers when a census has shown what is in `TIME_WAIT`, which ends after a minute.
fn closers_of(closers: &Closers, daemon: &Daemon) -> Result<Told> {
    let mut best = Told::default();
    for _ in 0..8 {
        let told = closers.told(daemon)?;
        if told.listed >= best.listed {
            best = told;
        }
        let there = kernel::sockets()?.get("TIME_WAIT").copied().unwrap_or(0);
        let listed = i64::try_from(told.listed).context("a count")?;
        if listed * 100 >= there * 95 {
            break;
        }
        thread::sleep(Duration::from_secs(2));
    }
    Ok(best)
}
