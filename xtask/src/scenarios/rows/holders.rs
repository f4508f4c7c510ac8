//! Sockets whose owner is not who one would think: children, nobody, processes that are stopped.

use anyhow::Result;

use super::{Row, bug, look_alike};
use crate::scenarios::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    bug("owner-stopped", "a server that is stopped", stopped),
    bug("owner-stopped", "a server in a frozen cgroup", frozen),
    bug("fd-inherited", "a helper that was executed", |stage| inherited(stage, &[])),
    bug("fd-inherited", "a helper that was forked", |stage| inherited(stage, &["fork=1"])),
    look_alike("fd-inherited", "workers that were forked before", |stage| innocent(stage, "prefork")),
    look_alike("fd-inherited", "a process for each connection", |stage| {
        innocent(stage, "fork-per-connection")
    }),
    look_alike("fd-inherited", "a worker that was handed the connections", handed_over),
    look_alike("fd-inherited", "a service that was given its listener", |stage| innocent(stage, "activator")),
    bug("ghost-reference", "closed under a thread that reads", |stage| {
        ghost(stage, &[], "cancelling-client", &[])
    }),
    bug("ghost-reference", "sent to a worker that never takes it", |stage| {
        ghost(stage, &["idle=1500"], "in-flight", &["ended=1"])
    }),
    look_alike("ghost-reference", "a server whose first thread has ended", |stage| {
        innocent(stage, "headless-server")
    }),
];

const IMPATIENT: (&str, &[&str]) = ("visitor", &["every=300", "patience=700", "threads=3", "gives-up=4"]);

fn stopped(stage: &mut Stage) -> Result<()> {
    let (server, client) = stage.pair(("stopping-server", &[]), IMPATIENT)?;
    let stood = stage.until_stands(client)?;
    stage.expect_without_descriptor("owner-stopped", server, stood);
    Ok(())
}

fn frozen(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    let (server, busy) = stage.pair_in(here, here, ("server", &[]), ("sleeper", &["size=3"]))?;
    stage.until_stands(busy)?;
    let client = stage.client(here, server, IMPATIENT)?;
    stage.freeze(server)?;
    let stood = stage.until_stands(client)?;
    stage.expect_without_descriptor("owner-stopped", server, stood);
    Ok(())
}

fn inherited(stage: &mut Stage, words: &[&str]) -> Result<()> {
    let (server, _) = stage.pair(("spawning-server", words), ("leaver", &[]))?;
    let stood = stage.until_stands(server)?;
    stage.expect_children("fd-inherited", server, stood);
    Ok(())
}

fn innocent(stage: &mut Stage, server: &'static str) -> Result<()> {
    let here = stage.place()?;
    let server = stage.play(here, server, &[])?;
    stage.client(here, server, ("keeper", &["size=4"]))?;
    stage.client(here, server, ("visitor", &["every=1000"]))?;
    let idle = stage.client(here, server, ("sleeper", &["size=3"]))?;
    stage.until_stands(idle).map(drop)
}

fn handed_over(stage: &mut Stage) -> Result<()> {
    let (server, _) = stage.pair(("handing-over", &["size=4"]), ("sleeper", &["size=4"]))?;
    stage.until_stands(server).map(drop)
}

fn ghost(stage: &mut Stage, server: &[&str], client: &str, words: &[&str]) -> Result<()> {
    let (_, client) = stage.pair(("server", server), (client, words))?;
    let stood = stage.until_stands(client)?;
    // Nobody holds it; who connected may be remembered.
    stage.expect_owner_or_nobody("ghost-reference", client, stood);
    Ok(())
}
