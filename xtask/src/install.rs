//! `cargo xtask install`: puts a release build and its systemd unit where a server expects them.

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{
    build, child, host,
    packaging::{Destination, UNIT, systemctl},
    say::{say, warn},
    setup::{self, Needs},
    workspace::Workspace,
};

/// Installs a release build with its systemd unit.
///
/// This takes root, but for staging with --destdir. Run as somebody else, it builds, and prints the command that
/// does the rest as root. The service is neither started nor enabled; the command for that is printed at the end.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    destination: Destination,
    /// Install what was built before, without building
    #[arg(long)]
    no_build: bool,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let Args { destination, no_build } = args;
    let workspace = Workspace::find()?;
    if !no_build {
        let tools = setup::ensure(Needs::Build)?;
        build::everything(&workspace, &tools, true)?;
    }
    if destination.destdir.is_none() && !host::is_root() {
        bail!("{}", needs_root("install --no-build", destination)?);
    }
    let mut users = None;
    for item in destination.items(&workspace) {
        let is_optional = item.place.starts_with("/etc/sysusers.d");
        if is_optional && !item.source.exists() {
            continue;
        }
        let place = destination.put(&item)?;
        say(format!("installed {}", place.display()));
        if is_optional {
            users = Some(place);
        }
    }
    if destination.destdir.is_none() {
        into_the_system(destination, users.as_deref())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn into_the_system(destination: &Destination, users: Option<&Path>) -> Result<()> {
    let has = |program| host::find_program(&host::search_path(), program).is_some();
    if let Some(users) = users {
        if has("systemd-sysusers") {
            child::run(Command::new("systemd-sysusers").arg(users), "creating the system user")?;
        } else {
            warn("no systemd-sysusers here: create the system user that the unit names");
        }
    }
    if has("systemd-analyze") {
        let unit = Path::new("/etc/systemd/system").join(UNIT);
        let mut verify = Command::new("systemd-analyze");
        child::run(verify.arg("verify").arg(unit), "systemd's check of the unit (systemd-analyze verify)")?;
        say("systemd finds the unit in order");
    }
    if destination.is_run_by_systemd() {
        systemctl(&["daemon-reload"])?;
        say("start it, now and at each boot, with: systemctl enable --now tcpstate");
    } else {
        let binary = destination.prefix.join("bin/tcpstate");
        say(format!("systemd does not run here; start it with: {} daemon", binary.display()));
    }
    Ok(())
}

/// The sentence for a user who is not root, with the command that does only the copying as root.
///
/// # Errors
/// When this program's own place cannot be read.
pub(crate) fn needs_root(task: &str, destination: &Destination) -> Result<String> {
    let exe = env::current_exe().context("cannot tell where this program is")?;
    let (exe, prefix) = (exe.display(), destination.prefix.display());
    Ok(format!(
        "this writes to {prefix} and /etc, which takes root; run: sudo {exe} {task} --prefix {prefix}"
    ))
}
