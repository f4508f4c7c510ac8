//! Connections that the server ends while the client keeps them.

use anyhow::Result;

use super::{Row, bug, look_alike};
use crate::scenarios::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    bug("idle-timeout-reset", "a pool that keeps them for longer", idle_reset),
    look_alike("idle-timeout-reset", "a proxy that purges its pool", purge),
    bug("write-after-fin", "a pool that does not look", late_request),
    bug("write-after-fin", "a log sender that never reads", late_line),
    look_alike("write-after-fin", "a farewell to a server that has closed", farewell),
    look_alike("write-after-fin", "a server that is restarted once", restart),
];

/// The idle timeout of a server and a longer one of its clients, as words for both.
fn idle_times(stage: &mut Stage) -> (String, String) {
    let idle = stage.dice.between(1_000, 2_000);
    let longer = idle + stage.dice.between(1_500, 2_500);
    (format!("idle={idle}"), format!("idle={longer}"))
}

fn sized(stage: &mut Stage) -> String {
    format!("size={}", stage.dice.between(6, 12))
}

fn idle_reset(stage: &mut Stage) -> Result<()> {
    let ((idle, longer), size) = (idle_times(stage), sized(stage));
    let (server, client) =
        stage.pair(("server", &[&idle, "resets=1"]), ("careless-pool", &[&longer, &size]))?;
    let stood = stage.until_stands(client)?;
    stage.expect_without_descriptor("idle-timeout-reset", server, stood);
    Ok(())
}

fn purge(stage: &mut Stage) -> Result<()> {
    let (_, client) = stage.pair(("server", &[]), ("purging-pool", &[]))?;
    stage.until_stands(client).map(drop)
}

fn late_request(stage: &mut Stage) -> Result<()> {
    late(stage, "server", "careless-pool")
}

fn late_line(stage: &mut Stage) -> Result<()> {
    late(stage, "collector", "log-senders")
}

fn late(stage: &mut Stage, server: &str, client: &str) -> Result<()> {
    let ((idle, longer), size) = (idle_times(stage), sized(stage));
    let (_, client) = stage.pair((server, &[&idle]), (client, &[&longer, &size]))?;
    let stood = stage.until_stands(client)?;
    stage.expect_without_descriptor("write-after-fin", client, stood);
    stage.as_a_warning();
    Ok(())
}

fn farewell(stage: &mut Stage) -> Result<()> {
    let idle = format!("idle={}", stage.dice.between(800, 2_000));
    let size = sized(stage);
    let (_, clients) = stage.pair(("server", &[&idle]), ("polite-clients", &[&size]))?;
    stage.until_stands(clients).map(drop)
}

/// All its connections end at one time.
fn restart(stage: &mut Stage) -> Result<()> {
    let (longer, size) = (format!("idle={}", stage.dice.between(3_000, 6_000)), sized(stage));
    let (server, client) = stage.pair(("restarted-server", &[]), ("careless-pool", &[&longer, &size]))?;
    stage.until_ready(client)?;
    stage.go_on(server)?;
    stage.until_stands(server).map(drop)
}
