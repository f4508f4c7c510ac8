//! The programs that `cargo xtask field` plays, each with the Debian package that brings it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result, ensure};

use super::{advice, apt, places::Places};
use crate::{host::Privilege, say::say};

/// A program and its package. Where the program's name differs from version to version, there is only the package.
const NEEDED: [(Option<&str>, &str); 35] = [
    (Some("ip"), "iproute2"),
    (Some("ss"), "iproute2"),
    (Some("nsenter"), "util-linux"),
    (Some("openssl"), "openssl"),
    (Some("curl"), "curl"),
    (Some("cc"), "gcc"),
    (None, "libc6-dev"),
    (Some("curl-config"), "libcurl4-openssl-dev"),
    (Some("haproxy"), "haproxy"),
    (Some("nginx"), "nginx"),
    (Some("apache2"), "apache2"),
    (Some("lighttpd"), "lighttpd"),
    (Some("varnishd"), "varnish"),
    (None, "php-fpm"),
    (Some("php"), "php-cli"),
    (Some("uwsgi"), "uwsgi"),
    (None, "uwsgi-plugin-python3"),
    (Some("ruby"), "ruby"),
    (Some("puma"), "puma"),
    (Some("unicorn"), "unicorn"),
    (None, "postgresql"),
    (Some("pgbouncer"), "pgbouncer"),
    (Some("mariadbd"), "mariadb-server"),
    (Some("redis-server"), "redis-server"),
    (Some("rabbitmq-server"), "rabbitmq-server"),
    (Some("stunnel4"), "stunnel4"),
    (Some("javac"), "default-jdk-headless"),
    (Some("go"), "golang-go"),
    (Some("node"), "nodejs"),
    (Some("python3"), "python3"),
    (Some("perl"), "perl"),
    (Some("erlc"), "erlang-base"),
    (None, "python3-pymysql"),
    (None, "python3-psycopg2"),
    (None, "python3-pika"),
];

/// Debian's maintainer scripts ask this file whether they may start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const REFUSAL: &str =
    "#!/bin/sh\n# tcpstate: no service is started while its test programs are installed.\nexit 101\n";

/// Makes sure that the programs of the field cases are there.
///
/// # Errors
/// When one is missing and cannot be installed from here.
pub(crate) fn ensure() -> Result<()> {
    let places = Places::of_this_machine()?;
    let packages = missing(&places);
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install by hand: {}", packages.join(" "));
    ensure!(
        places.program("apt-get").is_some(),
        "this machine has no apt-get for the programs of the cases; {by_hand}"
    );
    let privilege = Privilege::of_this_process();
    ensure!(privilege == Privilege::Root, "installing the programs of the cases takes root; {by_hand}");
    say(advice::about_to_install(&packages));
    let _refusal = Refusal::put(Path::new(POLICY))?;
    apt::install(&packages, privilege).context(by_hand)?;
    let left = missing(&places);
    ensure!(left.is_empty(), "the packages {} do not bring what they should", left.join(", "));
    Ok(())
}

/// The packages of what is not there.
fn missing(places: &Places) -> Vec<&'static str> {
    let is_there = |program: Option<&str>, package: &str| match program {
        Some(program) => places.program(program).is_some(),
        None => apt::is_installed(package),
    };
    let mut packages: Vec<_> = NEEDED
        .into_iter()
        .filter(|(program, package)| !is_there(*program, package))
        .map(|(_, it)| it)
        .collect();
    packages.dedup();
    packages
}

/// Keeps services from being started, until this goes. An administrator's own policy stays as it is.
struct Refusal<'a> {
    file: Option<&'a Path>,
}

impl<'a> Refusal<'a> {
    fn put(file: &'a Path) -> Result<Self> {
        // One of ours that is there was left by a run that was killed.
        if file.exists() && !fs::read_to_string(file).is_ok_and(|text| text == REFUSAL) {
            return Ok(Self { file: None });
        }
        fs::write(file, REFUSAL).with_context(|| format!("cannot write {}", file.display()))?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
        Ok(Self { file: Some(file) })
    }
}

impl Drop for Refusal<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file {
            let _ = fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Refusal;
    use crate::scratch::Scratch;

    #[test]
    fn services_may_be_started_again_afterwards() {
        let scratch = Scratch::new();
        let file = scratch.path().join("policy");
        drop(Refusal::put(&file).unwrap());
        assert!(!file.exists());
        std::mem::forget(Refusal::put(&file).unwrap());
        assert!(file.exists(), "as a run leaves it that is killed");
        drop(Refusal::put(&file).unwrap());
        assert!(!file.exists());
    }

    #[test]
    fn an_administrators_policy_stays() {
        let scratch = Scratch::new();
        let file = scratch.file("policy", "theirs");
        drop(Refusal::put(&file).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
    }
}
