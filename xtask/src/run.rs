//! `cargo xtask run`: builds what changed and becomes the daemon.
//!
//! Only the daemon ever runs as root, so that nothing in the checkout or in cargo's folders comes to belong to
//! root.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Result, anyhow};

use crate::{
    build, host,
    say::{say, warn},
    setup::{self, Needs},
    workspace::Workspace,
};

/// Installs what is missing, builds, and starts the daemon.
///
/// The daemon stays in the foreground; Ctrl-C ends it. Seeing all connections takes root. Run as somebody else, only the daemon itself is started with sudo.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask run\n  cargo xtask run --release -- --help")]
pub(crate) struct Args {
    /// Build with optimisation
    #[arg(long)]
    release: bool,
    /// Arguments for `tcpstate daemon`
    #[arg(last = true, value_name = "DAEMON ARGS")]
    daemon: Vec<OsString>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let tools = setup::ensure(Needs::Build)?;
    let daemon = build::everything(&workspace, &tools, args.release)?;
    let sudo = host::find_program(&host::search_path(), "sudo");
    let mut command = if host::is_root() {
        daemon_command(&daemon, None)
    } else if let Some(sudo) = sudo {
        say("starting the daemon, and only the daemon, with sudo: reading all sockets takes root");
        daemon_command(&daemon, Some(&sudo))
    } else {
        warn("not root, and no sudo here: the daemon will see less, and says what");
        daemon_command(&daemon, None)
    };
    command.args(&args.daemon);
    // Becoming the daemon instead of starting it lets signals reach it directly.
    let error = command.exec();
    Err(anyhow!(error).context(format!("cannot start {}", daemon.display())))
}

fn daemon_command(daemon: &Path, sudo: Option<&Path>) -> Command {
    let mut command = Command::new(sudo.unwrap_or(daemon));
    if sudo.is_some() {
        command.arg(daemon);
    }
    command.arg("daemon");
    command
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::daemon_command;

    #[test]
    fn sudo_starts_nothing_but_the_daemon() {
        let command = daemon_command(Path::new("/t/debug/tcpstate"), Some(Path::new("/usr/bin/sudo")));
        assert_eq!(command.get_program(), "/usr/bin/sudo");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["/t/debug/tcpstate", "daemon"]);
    }

    #[test]
    fn root_starts_the_daemon_itself() {
        let command = daemon_command(Path::new("/t/debug/tcpstate"), None);
        assert_eq!(command.get_program(), "/t/debug/tcpstate");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["daemon"]);
    }
}
