//! Connections that are reset or refused.

use anyhow::Result;

use super::{Row, bug, look_alike};
use crate::scenarios::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    bug("peer-lost-state", "clients that are gone without a word", peer_lost),
    look_alike("peer-lost-state", "a server that crashes", peer_restarts),
    bug("keepalive-race", "the same idle time on both sides", keepalive_race),
    bug("rst-unread-data", "uploads that are refused unread", unread_data),
    look_alike("rst-unread-data", "a worker that is killed", killed),
    bug("rst-linger-zero", "a client that aborts", |stage| linger_zero(stage, &[])),
    look_alike("rst-linger-zero", "a load balancer's check", balancer),
    bug("rst-listener-closed", "a server that restarts itself", listener_closed),
    bug("connection-refused", "a wrong port", refused),
    look_alike("connection-refused", "::1 first, then 127.0.0.1", fallback),
    look_alike("connection-refused", "a probe that waits for a service", probe),
];

fn peer_lost(stage: &mut Stage) -> Result<()> {
    let idle = format!("idle={}", stage.dice.between(12_000, 18_000));
    let (server, _) = stage.pair(("rare-speaker", &[&idle]), ("vanishing-clients", &[]))?;
    let stood = stage.until_stands(server)?;
    stage.expect_without_descriptor("peer-lost-state", server, stood);
    Ok(())
}

fn peer_restarts(stage: &mut Stage) -> Result<()> {
    let (server, _) = stage.pair(("crashing-server", &["every=7000"]), ("stubborn-clients", &["size=5"]))?;
    stage.until_stands(server).map(drop)
}

fn keepalive_race(stage: &mut Stage) -> Result<()> {
    let time = stage.dice.between(800, 2_500);
    let (idle, every) = (format!("idle={time}"), format!("every={time}"));
    let (server, client) = stage.pair(("server", &[&idle]), ("metronome", &[&every, "size=8"]))?;
    let stood = stage.until_stands(client)?;
    stage.expect_without_descriptor("keepalive-race", server, stood);
    Ok(())
}

fn unread_data(stage: &mut Stage) -> Result<()> {
    let (server, _) = stage.pair(("impatient-server", &[]), ("poster", &[]))?;
    let stood = stage.until_stands(server)?;
    stage.expect_without_descriptor("rst-unread-data", server, stood);
    Ok(())
}

fn killed(stage: &mut Stage) -> Result<()> {
    let (server, _) = stage.pair(("killer", &[]), ("poster", &["every=400"]))?;
    stage.until_stands(server).map(drop)
}

fn linger_zero(stage: &mut Stage, words: &[&str]) -> Result<()> {
    let (_, client) = stage.pair(("server", &[]), ("aborter", words))?;
    let stood = stage.until_stands(client)?;
    stage.expect_without_descriptor("rst-linger-zero", client, stood);
    Ok(())
}

fn balancer(stage: &mut Stage) -> Result<()> {
    let (_, client) = stage.pair(("server", &[]), ("aborter", &["mute=1"]))?;
    stage.until_stands(client).map(drop)
}

fn listener_closed(stage: &mut Stage) -> Result<()> {
    let (server, client) = stage.pair(
        ("restarting-server", &[]),
        ("visitor", &["every=250", "threads=4", "bye=0", "patience=1500"]),
    )?;
    let stood = stage.until_stands(server)?;
    // Nobody holds the lock of a connection that was never accepted.
    stage.expect_owner_or_nobody("rst-listener-closed", server, stood);
    // While the server is away.
    stage.permit("connection-refused", client);
    Ok(())
}

fn refused(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    let client = stage.play(here, "refused-client", &[])?;
    let stood = stage.until_stands(client)?;
    stage.expect_without_descriptor("connection-refused", client, stood);
    Ok(())
}

fn fallback(stage: &mut Stage) -> Result<()> {
    let (_, client) = stage.pair(("server", &["on=127.0.0.1"]), ("fallback-client", &[]))?;
    stage.until_stands(client).map(drop)
}

fn probe(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    let client = stage.play(here, "waiting-probe", &[])?;
    stage.until_stands(client).map(drop)
}
