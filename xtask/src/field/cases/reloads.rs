//! Servers that are reloaded under light load: old workers go, new ones come, and nobody is harmed.

use anyhow::{Context, Result, ensure};

use super::{
    super::{
        case::Case,
        program::{HAPROXY_RELOAD_CFG, HEALTHY_JS, NGINX_KEEPALIVE_CONF, RELOAD_SH, VISITORS_PY},
        stage::Stage,
    },
    servers,
};

pub(super) const CASES: &[Case] = &[
    Case::healthy("nginx-reloads", "nginx is reloaded every eleven seconds under light load", nginx, well),
    Case::healthy(
        "haproxy-reloads",
        "haproxy is reloaded every thirteen seconds under light load",
        haproxy,
        well,
    ),
];

fn nginx(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "app", HEALTHY_JS, 3001, "60")?;
    servers::nginx(stage, "front", NGINX_KEEPALIVE_CONF, 80)?;
    stage.play("reloads", RELOAD_SH, "HUP nginx.pid 11")?;
    visitors(stage)
}

fn haproxy(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "app", HEALTHY_JS, 3001, "60")?;
    let conf = stage.install(HAPROXY_RELOAD_CFG)?;
    stage.start("front", &format!("haproxy -W -db -f {conf} -p /srv/field/haproxy.pid"))?;
    stage.until_listening(80)?;
    stage.play("reloads", RELOAD_SH, "USR2 haproxy.pid 13")?;
    visitors(stage)
}

fn visitors(stage: &mut Stage) -> Result<()> {
    stage.play("readers", VISITORS_PY, "127.0.0.1:80/ --every 0.7 --requests 5 --pause 1.3")?;
    stage.play("passers-by", VISITORS_PY, "127.0.0.1:80/ --every 0.9")?;
    stage.until_said("reloads", "reloaded 1")
}

fn well(stage: &Stage) -> Result<()> {
    stage.ensure_served("readers", 200, 3)?;
    stage.ensure_served("passers-by", 60, 1)?;
    let reloads = stage.number("reloads", "reloaded").context("nothing was reloaded")?;
    ensure!(reloads > 4, "it was reloaded {reloads} times only");
    Ok(())
}
