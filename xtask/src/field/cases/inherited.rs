//! A child process has inherited sockets, and keeps them open after its parent has closed them.

use anyhow::Result;

use super::{
    super::{
        case::{Case, Want},
        program::{AGENT_C, CALLERS_PY, GATEWAY_PHP, STORE_PY, VISITORS_PY},
        stage::Stage,
    },
    servers,
};

const CLOSE_ON_EXEC: &str = "close-on-exec|O_CLOEXEC|SOCK_CLOEXEC|FD_CLOEXEC";

pub(super) const CASES: &[Case] = &[
    Case::bug(
        "inherited-listener",
        "an agent has crashed, and the helper that it started still holds its listener",
        listener,
        &[Want::warning(&["fd-inherited"], &["helper"]).says(&["listen", CLOSE_ON_EXEC]).within(45)],
    )
    .proof(|stage| stage.ensure_sockets("state close-wait sport = :7070", 5)),
    Case::bug(
        "inherited-connections",
        "a PHP server has closed its clients' connections, and a job that it started holds them open",
        connections,
        &[Want::warning(&["fd-inherited"], &["helper"]).says(&[CLOSE_ON_EXEC]).names(&["server"]).within(45)],
    )
    .proof(|stage| stage.ensure_sockets("state established sport = :7171", 9)),
    Case::bug(
        "inherited-by-snapshot",
        "a store closes connections while its forked child writes a snapshot, and their clients wait for the end",
        snapshot,
        &[Want::warning(&["fd-inherited"], &["snapshot"]).says(&["fork|child"]).names(&["store"]).within(45)],
    )
    .proof(|stage| stage.ensure_sockets("state established sport = :6380", 13)),
];

fn listener(stage: &mut Stage) -> Result<()> {
    stage.child("agent", Some("sleep"), "helper");
    servers::serve(stage, "agent", AGENT_C, 7070, "5")?;
    stage.may_end("agent");
    stage.play("clients", VISITORS_PY, "127.0.0.1:7070/ --every 1.2 --patience 5")?;
    stage.until_said("clients", "left 2")
}

fn connections(stage: &mut Stage) -> Result<()> {
    stage.child("server", Some("sleep"), "helper");
    servers::serve(stage, "server", GATEWAY_PHP, 7171, "9")?;
    stage.play("clients", CALLERS_PY, "7171 9 4 1.9")?;
    stage.until_said("clients", "served 2")
}

fn snapshot(stage: &mut Stage) -> Result<()> {
    stage.child("store", None, "snapshot");
    servers::serve(stage, "store", STORE_PY, 6380, "13")?;
    stage.play("clients", CALLERS_PY, "6380 13 3 1.4")?;
    stage.until_said("clients", "served 2")
}
