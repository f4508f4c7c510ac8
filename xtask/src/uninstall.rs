//! `cargo xtask uninstall`: takes away what `install` put.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{
    host,
    install::needs_root,
    packaging::{Destination, systemctl},
    say::{say, warn},
    workspace::Workspace,
};

/// Stops the service and removes what `install` put.
///
/// This takes root, but for staging with --destdir.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    destination: Destination,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let destination = &args.destination;
    if destination.destdir.is_none() && !host::is_root() {
        bail!("{}", needs_root("uninstall", destination)?);
    }
    let items = destination.items(&Workspace::find()?);
    let systemd = destination.is_run_by_systemd();
    if systemd && items.iter().any(|item| item.place.starts_with("/etc/systemd") && item.place.exists()) {
        // A service that cannot be stopped is no reason to leave its files.
        if let Err(error) = systemctl(&["disable", "--now", "tcpstate"]) {
            warn(error);
        }
    }
    let mut removed = Vec::new();
    for item in &items {
        if let Some(place) = destination.take_away(item)? {
            say(format!("removed {}", place.display()));
            removed.push(place);
        }
    }
    if removed.is_empty() {
        say("nothing was installed");
    } else if systemd {
        systemctl(&["daemon-reload"])?;
    }
    if destination.destdir.is_none() && removed.iter().any(|it| it.starts_with("/etc/sysusers.d")) {
        say("the system user stays, as other files may belong to it");
    }
    Ok(ExitCode::SUCCESS)
}
