//! All workers of a server are occupied, and new connections wait in its accept queue.

use anyhow::{Result, ensure};

use super::{
    super::{
        case::{Case, Want},
        program::{
            APACHE_PREFORK_CONF, FPM_CONF, NGINX_FPM_SHOP_CONF, NGINX_FPM_WEB_CONF, PAGE_PHP, SITE_HTML,
            SLOW_PAGE_PY, VISITORS_PY, WORKERS_PY,
        },
        stage::Stage,
    },
    servers,
};

const QUEUE: &[&str] = &["accept-stall", "accept-overflow"];

pub(super) const CASES: &[Case] = &[
    Case::bug(
        "apache-idle-clients",
        "each of Apache's six prefork workers holds an idle keep-alive client, and new clients are not accepted",
        apache,
        &[Want::warning(QUEUE, &["apache"]).says(&["KeepAliveTimeout", "idle", "6|six"]).within(45)],
    )
    .proof(|stage| stage.ensure_sockets("state established sport = :80", 6)),
    Case::bug(
        "fpm-occupied-by-pool",
        "the idle connections of one nginx occupy all children of PHP-FPM, and another nginx gets no answer",
        fpm,
        &[Want::warning(QUEUE, &["fpm"]).says(&["idle", "4|four"]).names(&["web"]).within(45)],
    )
    .proof(|stage| stage.ensure_sockets("state established sport = :9000", 4)),
    Case::bug(
        "uwsgi-queue-overflows",
        "uWSGI's three workers take six seconds for a page, and its short listen queue overflows",
        uwsgi,
        &[Want::warning(QUEUE, &["app"]).says(&["3|three", BUSY]).within(45)],
    )
    .proof(|stage| {
        let overflows = stage.kernel_count("TcpExtListenOverflows");
        ensure!(overflows > 20, "only {overflows} overflows");
        Ok(())
    }),
    Case::bug(
        "sync-workers-busy",
        "each of three forked workers serves one client at a time, for thirteen seconds, and the others wait",
        workers,
        &[Want::warning(QUEUE, &["server"]).says(&["3|three", BUSY]).within(45)],
    )
    .proof(|stage| stage.ensure_sockets("sport = :8081", 9)),
];

const BUSY: &str = "busy|working|at work|occupied|in progress|being answered|handling|serving";

fn apache(stage: &mut Stage) -> Result<()> {
    let page = stage.install(SITE_HTML)?;
    stage.shell(&format!("mkdir site; cp {page} site/index.html"))?;
    servers::apache(stage, "apache", APACHE_PREFORK_CONF, 80)?;
    stage.play("readers", VISITORS_PY, "127.0.0.1:80/index.html --every 0.2 --count 6 --idle 900")?;
    stage.until_said("readers", "served 6")?;
    stage.play("clients", VISITORS_PY, "127.0.0.1:80/index.html --every 1.3 --patience 6")?;
    stage.until_said("clients", "left 2")
}

fn fpm(stage: &mut Stage) -> Result<()> {
    stage.install(PAGE_PHP)?;
    servers::fpm(stage, "fpm", FPM_CONF)?;
    servers::nginx(stage, "web", NGINX_FPM_WEB_CONF, 80)?;
    stage.play("readers", VISITORS_PY, "127.0.0.1:80/ --every 0.02 --count 4")?;
    stage.until_said("readers", "served 4")?;
    servers::nginx(stage, "shop", NGINX_FPM_SHOP_CONF, 8080)?;
    stage.play("clients", VISITORS_PY, "127.0.0.1:8080/ --every 1.1 --patience 20")?;
    stage.until_said("clients", "failed 2")
}

fn uwsgi(stage: &mut Stage) -> Result<()> {
    let words = stage.install(SLOW_PAGE_PY)?;
    let page = words.trim_start_matches("/usr/bin/python3 ");
    let settings = "--plugins python3 --master --processes 3 --listen 7 --disable-logging";
    stage.start("app", &format!("uwsgi {settings} --http-socket 127.0.0.1:8080 --wsgi-file {page}"))?;
    stage.until_listening(8080)?;
    stage.play("clients", VISITORS_PY, "127.0.0.1:8080/ --every 0.45 --patience 14")?;
    stage.until_said("clients", "left 2")
}

fn workers(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", WORKERS_PY, 8081, "3 13.3")?;
    stage.play("clients", VISITORS_PY, "127.0.0.1:8081/ --every 1.3 --patience 9,30")?;
    stage.until_said("clients", "left 2")
}
