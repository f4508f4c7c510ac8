//! The command line: one file a subcommand.

pub mod check;
pub mod client;
pub mod daemon;
pub mod sockets;
pub mod table;
pub mod watch;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// Tells which program mistreats its TCP connections: which sockets, since when, and who holds them.
#[derive(Debug, Parser)]
#[command(
    name = "tcpstate",
    version,
    about,
    after_help = "To begin: `tcpstate check` says what this kernel allows, `tcpstate daemon` watches, and in another\nterminal `tcpstate sockets --state close-wait` lists sockets that a program forgot to close."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch TCP, and serve metrics and the API until told to stop
    Daemon(daemon::Args),
    /// List sockets with their state, age and owner (asks a running daemon)
    Sockets(sockets::Args),
    /// Show every state change and reset as it happens (asks a running daemon)
    Watch(watch::Args),
    /// Say what this kernel and these privileges allow, and which tier follows
    Check(check::Args),
}

/// Runs what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Daemon(args) => daemon::run(args),
        Command::Sockets(args) => sockets::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Check(args) => check::run(args),
    };
    result.unwrap_or_else(|error| {
        // Nobody is left to tell if even this fails.
        let _ = writeln!(io::stderr(), "tcpstate: {error:#}");
        ExitCode::FAILURE
    })
}
