//! Connections that stay in `CLOSE_WAIT`, and responses that nobody reads.

use anyhow::Result;

use super::{Row, bug, look_alike};
use crate::scenarios::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    bug("close-wait-leak", "sessions that are never closed", leak),
    look_alike("close-wait-leak", "a server that closes late", late_closer),
    bug("close-wait-never-read", "deadlocked workers", deadlock),
    look_alike("close-wait-never-read", "a slow reader", slow_reader),
    bug("close-wait-idle-pool", "a pool that never evicts", |stage| pool(stage, 0)),
    bug("close-wait-idle-pool", "the same over TLS", |stage| {
        let alert = stage.dice.between(24, 31);
        pool(stage, alert)
    }),
    bug("half-close", "a client that has asked and reads", half_close),
    bug("close-wait-send-blocked", "a client that has asked and forgot", send_blocked),
    look_alike("close-wait-send-blocked", "a client that reads in gulps", gulps),
    bug("proxy-pair", "an upstream that never closes", proxy),
    look_alike("proxy-pair", "an upstream that still answers", long_half_close),
    bug("unread-body", "responses that are kept unread", unread_body),
    look_alike("unread-body", "a consumer that pauses", |stage| consumer(stage, &[])),
    look_alike("unread-body", "a consumer that is paused", |stage| consumer(stage, &["forever=1"])),
];

fn leak(stage: &mut Stage) -> Result<()> {
    let every = format!("every={}", stage.dice.between(250, 700));
    let (server, client) =
        stage.pair(("forgetful-server", &[]), ("visitor", &[&every, "bye=30", "threads=2"]))?;
    let _ = client;
    let stood = stage.until_stands(server)?;
    stage.expect("close-wait-leak", server, stood);
    Ok(())
}

fn late_closer(stage: &mut Stage) -> Result<()> {
    let (server, _) = stage.pair(("late-closer", &[]), ("visitor", &["every=250", "bye=0", "threads=2"]))?;
    stage.until_stands(server).map(drop)
}

fn deadlock(stage: &mut Stage) -> Result<()> {
    let (server, client) = stage.pair(
        ("deadlocked-server", &[]),
        ("visitor", &["every=300", "patience=700", "threads=3", "gives-up=5"]),
    )?;
    let stood = stage.until_stands(client)?;
    stage.expect("close-wait-never-read", server, stood);
    Ok(())
}

fn slow_reader(stage: &mut Stage) -> Result<()> {
    let bytes = format!("bytes={}", stage.dice.between(25_000, 55_000));
    let (server, _) = stage.pair(("slow-reader", &[]), ("uploader", &["every=4000", &bytes]))?;
    stage.until_stands(server).map(drop)
}

fn pool(stage: &mut Stage, alert: u64) -> Result<()> {
    let (idle, alert) = (format!("idle={}", stage.dice.between(1_500, 4_000)), format!("alert={alert}"));
    let (_, client) = stage.pair(("server", &[&idle, &alert]), ("hoarding-pool", &[]))?;
    let stood = stage.until_stands(client)?;
    stage.expect("close-wait-idle-pool", client, stood);
    Ok(())
}

fn half_close(stage: &mut Stage) -> Result<()> {
    let pace = format!("pace={}", stage.dice.between(30, 400));
    let (server, client) = stage.pair(("export-server", &[&pace]), ("half-closer", &[]))?;
    let stood = stage.until_stands(client)?;
    stage.expect("half-close", server, stood);
    Ok(())
}

fn send_blocked(stage: &mut Stage) -> Result<()> {
    let (server, client) = stage.pair(("export-server", &["blocks=1"]), ("half-closer", &["deaf=1"]))?;
    let stood = stage.until_stands(server)?;
    stage.expect("close-wait-send-blocked", server, stood);
    // The same seen from the other end.
    stage.permit("unread-body", client);
    Ok(())
}

fn gulps(stage: &mut Stage) -> Result<()> {
    let (_, client) =
        stage.pair(("export-server", &["pace=2", "bytes=30000"]), ("half-closer", &["gulps=1"]))?;
    stage.until_stands(client).map(drop)
}

fn proxy(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    let (upstream, proxy) = stage.pair_in(here, here, ("forgetful-server", &[]), ("proxy", &[]))?;
    stage.client(here, proxy, ("visitor", &["every=500", "bye=0"]))?;
    let stood = stage.until_stands(proxy)?;
    stage.expect("proxy-pair", proxy, stood);
    // What the verdict asks to look for is on this machine too.
    stage.permit("close-wait-leak", upstream);
    Ok(())
}

fn long_half_close(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    let (_, proxy) = stage.pair_in(here, here, ("export-server", &["pace=100"]), ("proxy", &[]))?;
    let client = stage.client(here, proxy, ("half-closer", &["size=5"]))?;
    stage.until_stands(client).map(drop)
}

fn unread_body(stage: &mut Stage) -> Result<()> {
    let (_, client) = stage.pair(("file-server", &[]), ("body-leaker", &[]))?;
    let stood = stage.until_stands(client)?;
    stage.expect("unread-body", client, stood);
    Ok(())
}

fn consumer(stage: &mut Stage, words: &[&str]) -> Result<()> {
    let (_, client) = stage.pair(("feed", &[]), ("paused-consumer", words))?;
    stage.until_stands(client).map(drop)
}
