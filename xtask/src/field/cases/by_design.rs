//! What looks like a mistake and is none: resets by design, farewells that are not read, wake-up pairs.

use anyhow::{Result, ensure};

use super::{
    super::{
        case::Case,
        program::{
            HAPROXY_CLOSE_CFG, HAPROXY_REUSE_CFG, HEALTHY_JS, NGINX_TLS_CONF, Program, STUNNEL_CONF, TLS_PY,
            VISITORS_PY, WAKEUPS_C, WAKEUPS_PY,
        },
        stage::Stage,
    },
    servers,
};

pub(super) const CASES: &[Case] = &[
    Case::healthy(
        "haproxy-reuse",
        "haproxy shares its connections to two servers, and purges the surplus by RST",
        |stage| haproxy(stage, HAPROXY_REUSE_CFG),
        well_through_haproxy,
    ),
    Case::healthy(
        "haproxy-server-close",
        "haproxy ends its connection to the server after each answer, by RST, to save ports",
        |stage| haproxy(stage, HAPROXY_CLOSE_CFG),
        well_through_haproxy,
    ),
    Case::healthy(
        "tls-farewell-nginx",
        "clients of nginx close after the last byte of the answer, with the farewell of TLS unread",
        nginx,
        farewells_unread,
    ),
    Case::healthy(
        "tls-farewell-stunnel",
        "clients of stunnel close after the last byte of the answer, with the farewell of TLS unread",
        stunnel,
        |stage| stage.ensure_served("client", 40, 0),
    ),
    Case::healthy(
        "wake-up-pairs",
        "programs wake their own threads over TCP, and close such pairs with bytes unread",
        pairs,
        |stage| {
            stage.ensure_served("loops", 100, 0)?;
            stage.ensure_served("runner", 100, 0)
        },
    ),
];

fn haproxy(stage: &mut Stage, conf: Program) -> Result<()> {
    for port in [3001, 3002] {
        servers::serve(stage, "servers", HEALTHY_JS, port, "40")?;
    }
    servers::haproxy(stage, "proxy", conf, 80)?;
    stage.play("steady", VISITORS_PY, "127.0.0.1:80/ --every 1.7 --requests 4 --pause 0.9")?;
    stage.play("bursts", VISITORS_PY, "127.0.0.1:80/ --every 7.3 --group 13")?;
    stage.until_said("bursts", "served 13")
}

fn well_through_haproxy(stage: &Stage) -> Result<()> {
    stage.ensure_served("steady", 100, 0)?;
    stage.ensure_served("bursts", 90, 0)?;
    let resets = stage.kernel_count("TcpOutRsts");
    ensure!(resets > 10, "haproxy sent {resets} resets only");
    Ok(())
}

fn nginx(stage: &mut Stage) -> Result<()> {
    servers::certificate(stage)?;
    servers::nginx(stage, "server", NGINX_TLS_CONF, 443)?;
    stage.play("client", TLS_PY, "443 0.6 400")?;
    stage.until_said("client", "served 3")
}

fn stunnel(stage: &mut Stage) -> Result<()> {
    servers::certificate(stage)?;
    servers::serve(stage, "server", HEALTHY_JS, 3001, "5")?;
    let conf = stage.install(STUNNEL_CONF)?;
    stage.start("tunnel", &format!("stunnel4 {conf}"))?;
    stage.until_listening(443)?;
    stage.play("client", TLS_PY, "443 0.7 400")?;
    stage.until_said("client", "served 3")
}

fn farewells_unread(stage: &Stage) -> Result<()> {
    stage.ensure_served("client", 40, 0)?;
    let resets = stage.kernel_count("TcpExtTCPAbortOnClose");
    ensure!(resets > 30, "only {resets} connections were closed with bytes unread");
    Ok(())
}

fn pairs(stage: &mut Stage) -> Result<()> {
    stage.play("loops", WAKEUPS_C, "")?;
    stage.play("runner", WAKEUPS_PY, "")?;
    stage.until_said("loops", "served 2")?;
    stage.until_said("runner", "served 2")
}
