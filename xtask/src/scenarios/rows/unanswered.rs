//! Requests that nobody answers, and answers that take long.

use anyhow::Result;

use super::{Row, bug, look_alike};
use crate::scenarios::stage::{Stage, Who};

pub(super) const ROWS: &[Row] = &[
    bug("unanswered-requests", "a server that hangs", |stage| hung(stage, 0)),
    bug("unanswered-requests", "an upstream that hangs, behind a proxy", |stage| hung(stage, 1)),
    bug("unanswered-requests", "an upstream that hangs, behind two proxies", |stage| hung(stage, 2)),
    look_alike("unanswered-requests", "long polls", |stage| long_polls(stage, 0)),
    look_alike("unanswered-requests", "long polls through a proxy", |stage| long_polls(stage, 1)),
    look_alike("unanswered-requests", "subscriptions", subscriptions),
];

/// A server behind some proxies, and clients that leave when there is no answer within `patience`. Returns the server
/// and the clients.
fn behind(stage: &mut Stage, proxies: usize, server: (&str, &[&str]), patience: &str) -> Result<(Who, Who)> {
    let here = stage.place()?;
    let server = stage.play(here, server.0, server.1)?;
    let mut front = server;
    for _ in 0..proxies {
        front = stage.client(here, front, ("relay", &[]))?;
    }
    let words = ["every=500", "threads=3", "bye=0", "gives-up=10", patience];
    Ok((server, stage.client(here, front, ("visitor", &words))?))
}

/// The proxies in front of it are not at fault.
fn hung(stage: &mut Stage, proxies: usize) -> Result<()> {
    let patience = format!("patience={}", stage.dice.between(700, 2_000));
    let (server, clients) = behind(stage, proxies, ("hung-server", &[]), &patience)?;
    let stood = stage.until_stands(clients)?;
    if proxies == 0 {
        stage.expect("unanswered-requests", server, stood);
    } else {
        // Its sample sockets are those of the proxy that waits for it.
        stage.expect_without_descriptor("unanswered-requests", server, stood);
    }
    stage.as_a_warning();
    Ok(())
}

/// Some clients have a timeout, and leave.
fn long_polls(stage: &mut Stage, proxies: usize) -> Result<()> {
    let think = format!("think={}", stage.dice.between(10_000, 16_000));
    let patience = format!("patience={}", stage.dice.between(2_000, 5_000));
    let (_, clients) = behind(stage, proxies, ("server", &[&think]), &patience)?;
    stage.until_stands(clients).map(drop)
}

fn subscriptions(stage: &mut Stage) -> Result<()> {
    let size = format!("size={}", stage.dice.between(4, 12));
    let (_, clients) = stage.pair(("announcer", &[]), ("subscribers", &[&size]))?;
    stage.until_stands(clients).map(drop)
}
