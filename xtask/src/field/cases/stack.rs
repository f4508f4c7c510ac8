//! A whole stack of healthy programs under light load, two of which are reloaded now and then. A monitor that warns
//! about it is switched off the same night.

use anyhow::Result;

use super::{
    super::{
        case::Case,
        program::{
            CONSUMERS_PY, FPM_CONF, HEALTHY_JS, MYSQL_POOL_PY, PAGE_PHP, PGBOUNCER_INI, POOL_JAVA, POOL_JS,
            POOL_PY, POSTGRES_POOL_PY, RELOAD_SH, SITE_HTML, STACK_APACHE_CONF, STACK_HAPROXY_CFG,
            STACK_NGINX_CONF, STACK_STUNNEL_CONF, SUBSCRIBERS_PY, TLS_PY, VISITORS_PY,
        },
        stage::Stage,
    },
    servers,
};

/// The clients: each counts what it is answered.
const CLIENTS: [&str; 14] = [
    "to-pool",
    "to-single",
    "to-php",
    "to-reuse",
    "to-close",
    "to-apache",
    "to-tunnel",
    "java-pool",
    "node-pool",
    "python-pool",
    "mysql-pool",
    "postgres-pool",
    "subscribers",
    "consumers",
];

/// How many requests of a client may fail, as connections do that end just when they are used.
const FAILURES: u64 = 4;

pub(super) const STACK: Case = Case::healthy(
    "healthy",
    "web servers, proxies, databases and brokers under light load, with reloads of nginx and haproxy",
    stack,
    |stage| CLIENTS.into_iter().try_for_each(|client| stage.ensure_served(client, 2, FAILURES)),
);

fn stack(stage: &mut Stage) -> Result<()> {
    web(stage)?;
    data(stage)?;
    clients(stage)?;
    stage.play("reloads", RELOAD_SH, "HUP nginx.pid 97")?;
    stage.play("reloads", RELOAD_SH, "USR2 haproxy.pid 83")?;
    CLIENTS.into_iter().try_for_each(|client| stage.until_said(client, "served 1"))
}

fn web(stage: &mut Stage) -> Result<()> {
    for port in [3001, 3002] {
        servers::serve(stage, "app", HEALTHY_JS, port, "35")?;
    }
    stage.install(PAGE_PHP)?;
    servers::fpm(stage, "fpm", FPM_CONF)?;
    servers::nginx(stage, "nginx", STACK_NGINX_CONF, 8001)?;
    let conf = stage.install(STACK_HAPROXY_CFG)?;
    stage.start("haproxy", &format!("haproxy -W -db -f {conf} -p /srv/field/haproxy.pid"))?;
    stage.until_listening(8101)?;
    let page = stage.install(SITE_HTML)?;
    stage.shell(&format!("mkdir site; cp {page} site/index.html"))?;
    servers::apache(stage, "apache", STACK_APACHE_CONF, 8201)?;
    servers::certificate(stage)?;
    let conf = stage.install(STACK_STUNNEL_CONF)?;
    stage.start("tunnel", &format!("stunnel4 {conf}"))?;
    stage.until_listening(8443)
}

fn data(stage: &mut Stage) -> Result<()> {
    servers::postgres(stage, "postgres")?;
    servers::pgbouncer(stage, "bouncer", PGBOUNCER_INI)?;
    servers::mariadb(stage, "mariadb", "")?;
    servers::redis(stage, "redis")?;
    servers::rabbitmq(stage, "rabbitmq")
}

fn clients(stage: &mut Stage) -> Result<()> {
    let visitors: [(&'static str, &str); 6] = [
        ("to-pool", "127.0.0.1:8001/ --every 1.3 --requests 3 --pause 2.1"),
        ("to-single", "127.0.0.1:8002/ --every 0.9"),
        ("to-php", "127.0.0.1:8003/ --every 1.9"),
        ("to-reuse", "127.0.0.1:8101/ --every 5.3 --group 7"),
        ("to-close", "127.0.0.1:8102/ --every 1.7 --requests 4 --pause 1.2"),
        ("to-apache", "127.0.0.1:8201/index.html --every 2.3 --requests 2 --pause 1.6"),
    ];
    for (role, arguments) in visitors {
        stage.play(role, VISITORS_PY, arguments)?;
    }
    stage.play("to-tunnel", TLS_PY, "8443 1.7 4000")?;
    stage.play("java-pool", POOL_JAVA, "3001")?;
    stage.play("node-pool", POOL_JS, "8001")?;
    stage.play("python-pool", POOL_PY, "3002 4 1.1")?;
    stage.play("mysql-pool", MYSQL_POOL_PY, "3306 6 17")?;
    stage.play("postgres-pool", POSTGRES_POOL_PY, "6432 7 23")?;
    stage.play("subscribers", SUBSCRIBERS_PY, "6379 5")?;
    stage.play("consumers", CONSUMERS_PY, "5672 4")
}
