//! A client opens a connection for each request and never closes it, beside pools that only grow for some time.

use anyhow::Result;

use super::{
    super::{
        case::{Case, Want},
        program::{
            AGENTS_JS, BOARD_RB, FEEDS_JAVA, FEEDS_PY, HEALTHY_JS, NGINX_PATIENT_CONF, POOL_C, POOL_GO,
            POOL_JAVA, RATES_GO, WARM_POOL_GO,
        },
        stage::Stage,
    },
    servers,
};

pub(super) const CASES: &[Case] = &[
    Case::bug(
        "go-body-not-closed",
        "a Go service never closes the bodies of its answers, so that each request leaves an open connection",
        go,
        &[Want::warning(&["established-leak"], &["client"]).says(&["clos|reus"]).within(60)],
    )
    .proof(|stage| stage.ensure_sockets("state established dport = :8080", 100)),
    Case::bug(
        "go-body-server-closes",
        "the same Go service, and a server that ends idle connections after five seconds",
        go_and_closing_server,
        &[Want::warning(&["close-wait-leak"], &["client"]).says(&["clos|reus"]).within(60)],
    )
    .proof(|stage| stage.ensure_sockets("state close-wait dport = :3004", 80)),
    Case::bug(
        "node-agent-per-request",
        "a Node service makes a new keep-alive agent for each request, and each keeps its connection",
        node,
        &[Want::warning(&["established-leak"], &["client"])
            .says(&["127.0.0.1:8080", "agent|reus|pool|one client"])
            .within(60)],
    )
    .proof(|stage| stage.ensure_sockets("state established dport = :8080", 90)),
    Case::bug(
        "java-sockets-not-closed",
        "a Java reader keeps the sockets from which it has read all, and never closes them",
        java,
        &[Want::warning(&["close-wait-leak"], &["client"]).says(&["127.0.0.1:7300", "clos"]).within(60)],
    )
    .proof(|stage| stage.ensure_sockets("state close-wait dport = :7300", 80)),
    Case::healthy(
        "growing-pools",
        "clients with pools in C, Go and Java, whose concurrency rises for a minute, and falls",
        pools,
        |stage| {
            stage.ensure_served("curl", 300, 0)?;
            stage.ensure_served("go", 300, 0)?;
            stage.ensure_served("java", 300, 0)
        },
    )
    .seconds(110),
    Case::healthy(
        "warm-pool",
        "a Go service opens all connections of its pool at its start, and needs two of them most of the time",
        warm,
        |stage| stage.ensure_served("client", 120, 0),
    ),
];

fn go(stage: &mut Stage) -> Result<()> {
    servers::nginx(stage, "server", NGINX_PATIENT_CONF, 8080)?;
    stage.play("client", RATES_GO, "8080 610")?;
    stage.until_said("client", "served 5")
}

fn go_and_closing_server(stage: &mut Stage) -> Result<()> {
    // Node's own default is five seconds.
    servers::serve(stage, "server", HEALTHY_JS, 3004, "10 5000")?;
    stage.play("client", RATES_GO, "3004 690")?;
    stage.until_said("client", "served 5")
}

fn node(stage: &mut Stage) -> Result<()> {
    servers::nginx(stage, "server", NGINX_PATIENT_CONF, 8080)?;
    stage.play("client", AGENTS_JS, "8080 740")?;
    stage.until_said("client", "served 5")
}

fn java(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", FEEDS_PY, 7300, "")?;
    stage.play("client", FEEDS_JAVA, "7300 780")?;
    stage.until_said("client", "served 5")
}

fn pools(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", HEALTHY_JS, 3005, "130 65000")?;
    stage.play("curl", POOL_C, "3005")?;
    stage.play("go", POOL_GO, "3005")?;
    stage.play("java", POOL_JAVA, "3005")?;
    stage.until_said("java", "served 5")
}

fn warm(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", BOARD_RB, 7402, "")?;
    stage.play("client", WARM_POOL_GO, "7402")?;
    stage.until_said("client", "served 5")
}
