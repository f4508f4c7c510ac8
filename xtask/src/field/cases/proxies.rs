//! A proxy in front of an application that has stopped answering. The clients see the proxy, and the proxy is well.

use anyhow::Result;

use super::{
    super::{
        case::{Case, Want},
        program::{
            APACHE_HUNG_CONF, HAPROXY_HUNG_CFG, HUNG_GO, HUNG_JS, HUNG_PY, NGINX_HUNG_CONF, VISITORS_PY,
        },
        stage::Stage,
    },
    servers,
};

const UNANSWERED: &[Want] =
    &[Want::warning(&["unanswered-requests"], &["backend"]).names(&["proxy"]).within(45)];

pub(super) const CASES: &[Case] = &[
    Case::bug(
        "nginx-hung-upstream",
        "nginx passes requests on to a Python service whose threads all wait for a lock",
        nginx,
        UNANSWERED,
    )
    .proof(|stage| stage.ensure_sockets("state established dport = :8123", 20)),
    Case::bug(
        "haproxy-hung-upstream",
        "haproxy passes requests on to a Node service whose database calls never return",
        haproxy,
        UNANSWERED,
    )
    .proof(|stage| stage.ensure_sockets("state established dport = :3217", 60)),
    Case::bug(
        "apache-hung-upstream",
        "Apache's mod_proxy passes requests on to a Go service whose only worker is stuck",
        apache,
        UNANSWERED,
    )
    .proof(|stage| stage.ensure_sockets("state established dport = :4711", 60)),
];

/// Some clients wait for an answer, others have left after seven seconds.
fn visitors(stage: &mut Stage) -> Result<()> {
    stage.play("clients", VISITORS_PY, "127.0.0.1:80/ --every 0.83 --patience 7,400,7")?;
    stage.until_said("clients", "left 3")
}

fn nginx(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "backend", HUNG_PY, 8123, "6")?;
    servers::nginx(stage, "proxy", NGINX_HUNG_CONF, 80)?;
    visitors(stage)
}

fn haproxy(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "backend", HUNG_JS, 3217, "8")?;
    servers::haproxy(stage, "proxy", HAPROXY_HUNG_CFG, 80)?;
    visitors(stage)
}

fn apache(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "backend", HUNG_GO, 4711, "5")?;
    servers::apache(stage, "proxy", APACHE_HUNG_CONF, 80)?;
    visitors(stage)
}
