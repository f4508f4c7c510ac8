//! The command line: one file a subcommand.

mod alone;
pub mod check;
pub mod client;
pub mod daemon;
pub mod diagnose;
pub mod explain;
pub mod record;
pub mod sockets;
pub mod table;
pub mod threshold;
pub mod watch;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::printable::printable;

/// Tells which program mistreats its TCP connections: which sockets, since when, and who holds them.
#[derive(Debug, Parser)]
#[command(
    name = "tcpstate",
    version,
    about,
    after_help = "To begin: `tcpstate diagnose` says what is wrong here, `tcpstate check` what this kernel allows. `tcpstate daemon` watches all the time; then `tcpstate sockets --state close-wait` lists sockets that a program forgot to close."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch TCP, and serve metrics and the API until told to stop
    Daemon(daemon::Args),
    /// Say which program is wrong, and what to change (asks a running daemon, or looks by itself)
    Diagnose(diagnose::Args),
    /// Write down what a diagnosis looks at, so that somebody else can judge it again (looks by itself)
    Record(record::Args),
    /// Explain a class of findings or a state of TCP, and how to fix what is wrong
    Explain(explain::Args),
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
        Command::Diagnose(args) => diagnose::run(args),
        Command::Record(args) => record::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Sockets(args) => sockets::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Check(args) => check::run(args),
    };
    result.unwrap_or_else(|error| {
        // Nobody is left to tell if even this fails.
        let _ = writeln!(io::stderr(), "tcpstate: {}", printable(&format!("{error:#}")));
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn paragraphs_of_help_are_wrapped_by_the_terminal_alone() {
        let cli = Cli::command();
        for command in std::iter::once(&cli).chain(cli.get_subcommands()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let is_prose = |line: &str| !line.is_empty() && !line.starts_with("  ") && !line.ends_with(':');
            let lines: Vec<_> = help.lines().collect();
            for pair in lines.windows(2) {
                assert!(!pair.iter().all(|line| is_prose(line)), "{}: {pair:?}", command.get_name());
            }
        }
    }
}
