//! apt-get: asks what it knows, and installs with root's rights where we have them.

use std::{path::Path, process::Command};

use anyhow::{Result, bail, ensure};

use super::compiler::{OLDEST_MINOR, minor};
use crate::{
    child,
    host::Privilege,
    say::{say, warn},
};

/// The packages of the system's eBPF compiler.
pub(super) const COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// The packages of a linker for ordinary programs.
pub(super) const CC: [&str; 2] = ["gcc", "libc6-dev"];

/// Installs `packages`, with fresh package lists when the present ones do not know them.
///
/// # Errors
/// When apt-get has no such package, or too old a compiler, or fails.
pub(super) fn install(packages: &[&str], privilege: Privilege) -> Result<()> {
    let known = || packages.iter().all(|package| candidate(package).is_some());
    let mut fresh = false;
    if !known() {
        update(privilege)?;
        fresh = true;
    }
    for package in packages {
        let Some(version) = candidate(package) else {
            bail!("apt-get knows no package {package}");
        };
        if *package == COMPILER[0] {
            ensure!(
                minor(&version).is_some_and(|it| it >= OLDEST_MINOR),
                "apt-get offers {package} {version}, and 1.{OLDEST_MINOR} is needed"
            );
        }
    }
    let install = || child::run(&mut install_command(packages, privilege), "installing packages");
    match install() {
        // The lists may name versions that the mirror has replaced since.
        Err(error) if !fresh => {
            warn(format!("{error}; trying once more with fresh package lists"));
            update(privilege)?;
            install()
        }
        result => result,
    }
}

fn install_command(packages: &[&str], privilege: Privilege) -> Command {
    let mut command = apt_get(privilege);
    // Nothing of the user's is ever removed to make room for ours.
    command.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages);
    command
}

/// Fetches the package lists.
///
/// # Errors
/// When apt-get fails.
pub(super) fn update(privilege: Privilege) -> Result<()> {
    say("fetching the package lists (apt-get update)");
    child::run(apt_get(privilege).arg("update"), "fetching the package lists")
}

/// Fetches the file of one package into `folder` without installing it.
///
/// # Errors
/// When apt-get does not know the package or cannot fetch it.
pub(super) fn download(package: &str, folder: &Path) -> Result<()> {
    let mut command = Command::new("apt-get");
    // Root's apt-get fetches as another user, who may not write into our folder.
    command.args(["--quiet", "-o", "APT::Sandbox::User=root", "download", package]).current_dir(folder);
    child::run(&mut command, &format!("fetching the package {package}"))
}

fn apt_get(privilege: Privilege) -> Command {
    let mut command = if privilege == Privilege::Sudo {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "env"]);
        sudo
    } else {
        Command::new("env")
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]);
    command.args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]);
    command
}

/// Whether `package` is installed.
pub(super) fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    let told = child::output_of(query.args(["--show", "--showformat=${db:Status-Status}", package]));
    told.is_some_and(|status| status == "installed")
}

/// The version of `package` that apt-get would install, if it knows one.
pub(super) fn candidate(package: &str) -> Option<String> {
    let told = child::output_of(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"))?;
    candidate_in(&told)
}

/// The version to install in what `apt-cache policy` prints.
pub(super) fn candidate_in(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim();
    (version != "(none)").then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{candidate_in, install_command};
    use crate::host::Privilege;

    #[test]
    fn a_package_without_a_version_to_install_is_unknown() {
        let known = "bpftool:\n  Installed: (none)\n  Candidate: 7.1.0+6.1.192-2\n  Version table:\n";
        assert_eq!(candidate_in(known).as_deref(), Some("7.1.0+6.1.192-2"));
        assert_eq!(candidate_in("bpftool:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_in(""), None);
    }

    fn line(privilege: Privilege) -> String {
        let command = install_command(&["gcc"], privilege);
        let words = [command.get_program()].into_iter().chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn installing_asks_no_question_and_removes_nothing() {
        let line = line(Privilege::Root);
        assert!(line.starts_with("env DEBIAN_FRONTEND=noninteractive apt-get "), "{line}");
        assert!(line.ends_with("install --yes --no-install-recommends --no-remove gcc"), "{line}");
    }

    #[test]
    fn sudo_is_never_allowed_to_ask_for_a_password() {
        assert!(line(Privilege::Sudo).starts_with("sudo -n env DEBIAN_FRONTEND="));
    }
}
