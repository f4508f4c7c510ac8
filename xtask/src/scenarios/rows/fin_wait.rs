//! Connections that were shut down or closed, and wait for the other end.

use anyhow::Result;

use super::{Row, bug, look_alike};
use crate::scenarios::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    bug("fin-wait2-owned", "shut down, and the peer is gone", owned),
    bug("fin-wait2-owned", "shut down, and the peer never closes", owned_by_a_peer),
    look_alike("fin-wait2-owned", "a client that has asked and reads", reading),
    bug("fin-wait2-orphan", "closed, and the peer is gone", orphan),
    bug("fin-wait2-orphan", "a peer that takes its time", orphan_of_a_peer),
];

fn owned(stage: &mut Stage) -> Result<()> {
    let (_, client) = stage.pair(("vanishing-server", &[]), ("shutdown-client", &[]))?;
    let stood = stage.until_stands(client)?;
    stage.expect("fin-wait2-owned", client, stood);
    Ok(())
}

/// The peer is on this host: it has read the end and keeps the connection, so it is to close.
fn owned_by_a_peer(stage: &mut Stage) -> Result<()> {
    let (server, client) = stage.pair(("long-job", &[]), ("shutdown-client", &[]))?;
    let stood = stage.until_stands(client)?;
    stage.expect("close-wait-leak", server, stood);
    Ok(())
}

fn reading(stage: &mut Stage) -> Result<()> {
    let (_, client) =
        stage.pair(("export-server", &["pace=1000", "bytes=700"]), ("half-closer", &["size=4"]))?;
    stage.until_stands(client).map(drop)
}

fn orphan(stage: &mut Stage) -> Result<()> {
    let size = format!("size={}", stage.dice.between(3, 9));
    let (_, client) = stage.pair(("vanishing-server", &[]), ("asker", &["closes=1", &size]))?;
    let stood = stage.until_stands(client)?;
    stage.expect_owner_or_nobody("fin-wait2-orphan", client, stood);
    Ok(())
}

/// The same with a peer on this host, which is to close.
fn orphan_of_a_peer(stage: &mut Stage) -> Result<()> {
    let (server, client) = stage.pair(("long-job", &[]), ("asker", &["closes=1", "size=6"]))?;
    let stood = stage.until_stands(client)?;
    stage.expect("close-wait-leak", server, stood);
    Ok(())
}
