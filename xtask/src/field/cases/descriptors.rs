//! No descriptor is left: clients that never speak hold them all.

use anyhow::{Context, Result, ensure};

use super::super::{
    case::{Case, Want},
    program::{Program, SILENT_PY, TICKETS_GO, TICKETS_PY, VISITORS_PY},
    stage::Stage,
};

/// The words for clients that have not sent a byte.
const SILENT: &str =
    "never sent|sent nothing|not sent|silent|no byte|never spoke|without a request|no request";

pub(super) const CASES: &[Case] = &[
    Case::bug(
        "asyncio-descriptors",
        "silent clients hold all descriptors of an asyncio server, and other clients are not accepted",
        |stage| silent(stage, TICKETS_PY, 8091),
        &[Want::critical(&["fd-exhaustion"], &["server"]).says(&[SILENT]).within(20)],
    )
    .proof(nobody_is_served),
    Case::bug(
        "go-descriptors",
        "silent clients hold all descriptors of a Go server, and other clients are not accepted",
        |stage| silent(stage, TICKETS_GO, 8092),
        &[Want::critical(&["fd-exhaustion"], &["server"]).says(&[SILENT]).within(20)],
    )
    .proof(nobody_is_served),
    Case::healthy(
        "descriptors-to-spare",
        "idle clients hold two thirds of the descriptors of a server, as many as ever, and others are served",
        to_spare,
        |stage| stage.ensure_served("clients", 40, 0),
    ),
];

fn silent(stage: &mut Stage, server: Program, port: u16) -> Result<()> {
    let words = stage.install(server)?;
    stage.start("server", &format!("prlimit --nofile=83:83 {words} {port}"))?;
    stage.until_listening(port)?;
    stage.play("scanner", SILENT_PY, &format!("{port} 91 0.03"))?;
    stage.until_said("scanner", "connected 91")?;
    stage.play("clients", VISITORS_PY, &format!("127.0.0.1:{port}/ --every 1.6 --patience 4"))?;
    stage.until_said("clients", "left 1")
}

fn nobody_is_served(stage: &Stage) -> Result<()> {
    let left = stage.number("clients", "left").context("no client has left")?;
    ensure!(left > 20, "only {left} clients have left");
    stage.ensure_served("clients", 0, 0)
}

fn to_spare(stage: &mut Stage) -> Result<()> {
    let words = stage.install(TICKETS_GO)?;
    stage.start("server", &format!("prlimit --nofile=90:90 {words} 8093"))?;
    stage.until_listening(8093)?;
    stage.play("idlers", VISITORS_PY, "127.0.0.1:8093/ --every 0.05 --count 58 --idle 900")?;
    stage.until_said("idlers", "served 58")?;
    stage.play("clients", VISITORS_PY, "127.0.0.1:8093/ --every 1.1 --patience 4")?;
    stage.until_said("clients", "served 1")
}
