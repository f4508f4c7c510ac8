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
