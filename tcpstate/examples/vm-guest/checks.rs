//! The checks: each makes traffic and returns what the daemon says of it.

use std::fs;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::{
    boot::Parameters,
    churn,
    closers::Closers,
    daemon::{Daemon, eventually, since},
    kernel,
    traffic::Actor,
};

/// Connections of each sort in the small checks.
const FEW: u64 = 20;
/// Connections that a server closes 200 ms before its clients do.
const LATE: u64 = 120;

pub(crate) fn play(check: &str, daemon: &mut Daemon, parameters: &Parameters) -> Result<Value> {
    let facts = match check {
        "source" => source(daemon),
        "socket" => socket(daemon),
        "reset" => reset(daemon),
        "time-wait" => time_wait(daemon),
        "ownership" => ownership(daemon),
        "late-closer" => late_closer(daemon),
        "churn" => churn::play(daemon, parameters.connections),
        _ => bail!("there is no such check"),
    };
    daemon.ensure_alive()?;
    facts
}

/// Where the daemon's knowledge comes from.
fn source(daemon: &Daemon) -> Result<Value> {
    let status = daemon.json("/api/v1/status")?;
    Ok(json!({ "tier": status["tier"], "reason": status["tier_reason"] }))
}

/// The gauges beside the kernel's own count, while nothing moves.
fn socket(daemon: &Daemon) -> Result<Value> {
    let mut kept = Vec::new();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (server, address) = Actor::server(address)?;
        let mut client = Actor::start()?;
        for order in ["k", "w", "c", "s"] {
            client.told(&format!("make {address} {order} {FEW}"))?;
        }
        kept.extend([server, client]);
    }
    let mut last = Value::Null;
    let equal = eventually(|| {
        let ours = since(&[].into(), &daemon.metrics()?.by("tcpstate_sockets", "state"));
        let kernel = kernel::sockets()?;
        let equal = ours == kernel;
        last = json!({ "ours": ours, "kernel": kernel });
        Ok(equal.then_some(()))
    })?;
    last["equal"] = equal.is_some().into();
    Ok(last)
}

/// RSTs for unread data and for a closed port.
fn reset(daemon: &Daemon) -> Result<Value> {
    let numbers = || {
        let metrics = daemon.metrics()?;
        let [sent, received, failed] = [
            ("tcpstate_resets_sent_total", "reason"),
            ("tcpstate_resets_received_total", "phase"),
            ("tcpstate_connect_failures_total", "errno"),
        ]
        .map(|(name, label)| metrics.by(name, label));
        Ok::<_, anyhow::Error>((sent, received, failed))
    };
    let before = numbers()?;
    let (_server, address) = Actor::server("127.0.0.1:0")?;
    let mut client = Actor::start()?;
    client.told(&format!("make {address} u {FEW}"))?;
    client.told(&format!("make {address} x {FEW}"))?;
    let after = numbers()?;
    Ok(json!({
        "unread": FEW,
        "refused": FEW,
        "sent": since(&before.0, &after.0),
        "received": since(&before.1, &after.1),
        "failed": since(&before.2, &after.2),
    }))
}

/// Connections that the client closed first, and such that the server did.
fn time_wait(daemon: &Daemon) -> Result<Value> {
    let (server, address) = Actor::server("127.0.0.1:0")?;
    let mut client = Actor::start()?;
    let mut closers = Closers::default();
    closers.add_server(&server, &address);
    closers.add_client(&client);
    for order in ["c", "s"] {
        client.told(&format!("make {address} {order} {FEW}"))?;
    }
    let mut facts = closers.eventually(daemon, 2 * FEW)?.facts();
    facts["made"] = (2 * FEW).into();
    Ok(facts)
}

/// A server that closes first, and clients that do so 200 ms later: the kernel makes the `TIME_WAIT` in silence.
fn late_closer(daemon: &Daemon) -> Result<Value> {
    let (server, address) = Actor::server("127.0.0.1:0")?;
    let mut client = Actor::start()?;
    let mut closers = Closers::default();
    closers.add_server(&server, &address);
    for _ in 0..3 {
        client.told(&format!("late {address} {} 200", LATE / 3))?;
    }
    let mut facts = closers.eventually(daemon, LATE)?.facts();
    facts["made"] = LATE.into();
    Ok(facts)
}

/// A server that reads the end of its connections and forgets to close them.
fn ownership(daemon: &Daemon) -> Result<Value> {
    let (server, address) = Actor::server("127.0.0.1:0")?;
    let mut client = Actor::start()?;
    client.told(&format!("make {address} w {FEW}"))?;
    let is_it = |socket: &Value| {
        socket["state"] == "CLOSE_WAIT" && socket["pid"] == server.pid() && is_open(&server, &socket["fd"])
    };
    let mut findings = Value::Null;
    let found = eventually(|| {
        findings = daemon.json("/api/v1/findings?class=close-wait-leak")?["findings"].take();
        let mut samples =
            findings.as_array().into_iter().flatten().filter_map(|it| it["sockets"].as_array()).flatten();
        Ok(samples.any(is_it).then_some(()))
    })?;
    Ok(json!({ "found": found.is_some(), "findings": findings }))
}

/// Says whether a descriptor of that process is a socket.
fn is_open(process: &Actor, fd: &Value) -> bool {
    let link = fs::read_link(format!("/proc/{}/fd/{fd}", process.pid()));
    link.is_ok_and(|it| it.to_string_lossy().starts_with("socket:"))
}
