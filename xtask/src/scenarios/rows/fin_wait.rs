//! Connections that were shut down or closed, and wait for the other end.

use anyhow::Result;

use super::{Row, bug, look_alike};
use crate::scenarios::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    bug("fin-wait2-owned", "shut down and never closed", owned),
    look_alike("fin-wait2-owned", "a client that has asked and reads", reading),
    bug("fin-wait2-orphan", "a peer that takes its time", orphan),
];

fn owned(stage: &mut Stage) -> Result<()> {
    let (server, client) = stage.pair(("long-job", &[]), ("shutdown-client", &[]))?;
    let stood = stage.until_stands(client)?;
    stage.expect("fin-wait2-owned", client, stood);
    // The peer has read the end and keeps the connection.
    stage.permit("close-wait-leak", server);
    Ok(())
}

fn reading(stage: &mut Stage) -> Result<()> {
    let (_, client) =
        stage.pair(("export-server", &["pace=1000", "bytes=700"]), ("half-closer", &["size=4"]))?;
    stage.until_stands(client).map(drop)
}

fn orphan(stage: &mut Stage) -> Result<()> {
    let (server, client) = stage.pair(("long-job", &[]), ("asker", &["closes=1", "size=6"]))?;
    let stood = stage.until_stands(client)?;
    stage.expect_owner_or_nobody("fin-wait2-orphan", client, stood);
    stage.permit("close-wait-leak", server);
    Ok(())
}
