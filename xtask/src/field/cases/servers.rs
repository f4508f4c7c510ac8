//! How the servers that several cases use are started.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::super::{
    program::{APACHE_MODULES_CONF, NGINX_HTTP_CONF, Program},
    stage::Stage,
};

/// Starts nginx, and waits until it listens.
pub(super) fn nginx(stage: &mut Stage, role: &'static str, conf: Program, port: u16) -> Result<()> {
    stage.install(NGINX_HTTP_CONF)?;
    stage.folder("temp")?;
    let conf = stage.install(conf)?;
    stage.start(role, &format!("nginx -p /srv/field -c {conf}"))?;
    stage.until_listening(port)
}

/// Starts haproxy, and waits until it listens.
pub(super) fn haproxy(stage: &mut Stage, role: &'static str, conf: Program, port: u16) -> Result<()> {
    let conf = stage.install(conf)?;
    stage.start(role, &format!("haproxy -db -f {conf}"))?;
    stage.until_listening(port)
}

/// Starts Apache, and waits until it listens.
pub(super) fn apache(stage: &mut Stage, role: &'static str, conf: Program, port: u16) -> Result<()> {
    stage.install(APACHE_MODULES_CONF)?;
    let conf = stage.install(conf)?;
    stage.start(role, &format!("apache2 -DFOREGROUND -f {conf}"))?;
    stage.until_listening(port)
}

/// Starts one of our servers, and waits until it listens on the port that is its first argument.
pub(super) fn serve(
    stage: &mut Stage,
    role: &'static str,
    program: Program,
    port: u16,
    arguments: &str,
) -> Result<()> {
    stage.play(role, program, &format!("{port} {arguments}"))?;
    stage.until_listening(port)
}

/// Makes a key and a certificate: `key.pem` and `cert.pem`.
pub(super) fn certificate(stage: &Stage) -> Result<()> {
    stage.shell(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 9 -subj /CN=field",
    )?;
    stage.shell("chmod 644 key.pem")
}

/// The last of the files in `folder` whose name starts with `name`: Debian puts versions into names.
pub(super) fn newest(folder: &str, name: &str) -> Result<String> {
    let entries = fs::read_dir(folder).with_context(|| format!("there is no {folder}"))?;
    let is_it = |path: &PathBuf| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(name));
    let newest = entries.flatten().map(|entry| entry.path()).filter(is_it).max();
    Ok(newest.with_context(|| format!("there is no {name} in {folder}"))?.display().to_string())
}

/// Starts a `MariaDB` with an empty database, in which everybody is root.
pub(super) fn mariadb(stage: &mut Stage, role: &'static str, arguments: &str) -> Result<()> {
    stage.shell(
        "mariadb-install-db --no-defaults --user=mysql --datadir=/srv/field/data --skip-test-db \
         --auth-root-authentication-method=normal",
    )?;
    let line = format!(
        "mariadbd --no-defaults --datadir=/srv/field/data --socket=/srv/field/mariadb.sock --port=3306 \
         --bind-address=127.0.0.1 --skip-grant-tables --skip-name-resolve {arguments}"
    );
    stage.start_as("mysql", role, &line)?;
    stage.until_listening(3306)
}

/// Starts a `PostgreSQL` with an empty database, in which everybody is trusted.
pub(super) fn postgres(stage: &mut Stage, role: &'static str) -> Result<()> {
    let folder = newest("/usr/lib/postgresql", "")?;
    stage.shell_as("postgres", &format!("{folder}/bin/initdb -D base -A trust --no-sync"))?;
    let line = format!(
        "{folder}/bin/postgres -D /srv/field/base -c listen_addresses=127.0.0.1 -c fsync=off \
         -c unix_socket_directories=/srv/field"
    );
    stage.start_as("postgres", role, &line)?;
    stage.until_listening(5432)
}

/// Starts a `PgBouncer` in front of the `PostgreSQL`.
pub(super) fn pgbouncer(stage: &mut Stage, role: &'static str, conf: Program) -> Result<()> {
    let conf = stage.install(conf)?;
    stage.start_as("postgres", role, &format!("pgbouncer {conf}"))?;
    stage.until_listening(6432)
}

/// Starts a `RabbitMQ` of its own.
pub(super) fn rabbitmq(stage: &mut Stage, role: &'static str) -> Result<()> {
    stage.folder("rabbit")?;
    let line = "env HOME=/srv/field/rabbit RABBITMQ_MNESIA_BASE=/srv/field/rabbit RABBITMQ_LOGS=- \
                RABBITMQ_NODENAME=rabbit@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
                RABBITMQ_PID_FILE=/srv/field/rabbit/pid rabbitmq-server";
    stage.start_as("rabbitmq", role, line)?;
    stage.until_listening(5672)
}

/// Starts a Redis that keeps nothing on disk.
pub(super) fn redis(stage: &mut Stage, role: &'static str) -> Result<()> {
    stage.start(role, "redis-server --port 6379 --bind 127.0.0.1 --save --appendonly no --dir /srv/field")?;
    stage.until_listening(6379)
}

/// Starts PHP-FPM, and waits until it listens.
pub(super) fn fpm(stage: &mut Stage, role: &'static str, conf: Program) -> Result<()> {
    let conf = stage.install(conf)?;
    let binary = newest("/usr/sbin", "php-fpm")?;
    stage.start(role, &format!("{binary} --nodaemonize --fpm-config {conf}"))?;
    stage.until_listening(9000)
}
