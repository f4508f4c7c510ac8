//! A proxy in front of an application that has stopped answering. The clients see the proxy, and the proxy is well.

use anyhow::Result;

use super::{
    super::{
        case::{Case, Want},
        program::{
            APACHE_HUNG_CONF, HAPROXY_HUNG_CFG, HAPROXY_POLLS_CFG, HUNG_GO, HUNG_JS, HUNG_PY,
            LIGHTTPD_HUNG_CONF, NGINX_CHAIN_CONF, NGINX_HUNG_CONF, PUSH_JS, RELAY_RU, VISITORS_PY,
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
    Case::bug(
        "lighttpd-hung-upstream",
        "lighttpd passes requests on to a Python service whose threads all wait for a lock",
        lighttpd,
        UNANSWERED,
    )
    .proof(|stage| stage.ensure_sockets("state established dport = :8124", 30)),
    Case::bug(
        "chain-hung-upstream",
        "nginx asks Puma, Puma's threads all ask a Go service, and that has stopped answering",
        chain,
        // The wait has to be followed to its end. That Puma accepts no more is a consequence.
        &[Want::warning(&["unanswered-requests"], &["backend"]).names(&["app"]).within(45)],
    )
    .proof(|stage| stage.ensure_sockets("state established dport = :4712", 5)),
    Case::healthy(
        "long-polls-through-proxy",
        "haproxy passes on long polls, which are answered after half a minute as they should be",
        polls,
        |stage| stage.ensure_served("clients", 30, 0),
    )
    .seconds(100),
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

fn lighttpd(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "backend", HUNG_PY, 8124, "7")?;
    let conf = stage.install(LIGHTTPD_HUNG_CONF)?;
    stage.start("proxy", &format!("lighttpd -D -f {conf}"))?;
    stage.until_listening(80)?;
    visitors(stage)
}

fn chain(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "backend", HUNG_GO, 4712, "4")?;
    let app = stage.install(RELAY_RU)?;
    stage.start(
        "app",
        &format!("puma --bind tcp://127.0.0.1:9292 --threads 5:5 --environment production {app}"),
    )?;
    stage.until_listening(9292)?;
    servers::nginx(stage, "proxy", NGINX_CHAIN_CONF, 80)?;
    visitors(stage)
}

fn polls(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", PUSH_JS, 8090, "")?;
    servers::haproxy(stage, "proxy", HAPROXY_POLLS_CFG, 80)?;
    stage.play("clients", VISITORS_PY, "127.0.0.1:80/poll --every 1.7 --patience 60")?;
    stage.until_said("clients", "served 1")
}
