//! `cargo xtask`: the one way to set up, build, run, test and install tcpstate.
//!
//! Input: the command line. Each subcommand lives in the file of its name; this file only hands over to it.
//! Must not know how tcpstate works: it knows the project's files, not their meaning.
#![expect(clippy::print_stdout, reason = "a command line tool talks on stdout; say.rs does most of it")]

mod api;
mod bench;
mod build;
mod child;
mod daemon;
mod demo;
mod duration;
mod field;
mod fuzz;
mod host;
mod http;
mod install;
mod lint;
mod packaging;
mod recording;
mod run;
mod running;
mod say;
mod scenarios;
mod setup;
mod test;
mod tidy;
mod uninstall;
mod vm;
mod workspace;

#[cfg(test)]
mod scratch;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Sets up, builds, runs, tests and installs tcpstate.
///
/// Start with `cargo xtask run`: it installs what is missing, builds everything and starts the daemon.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Setup(setup::Args),
    Build(build::Args),
    Run(run::Args),
    Demo(demo::Args),
    Scenarios(scenarios::Args),
    Field(field::Args),
    Test(test::Args),
    Bench(bench::Args),
    Vm(vm::Args),
    Api(api::Args),
    Fuzz(fuzz::Args),
    Lint(lint::Args),
    Tidy(tidy::Args),
    Install(install::Args),
    Uninstall(uninstall::Args),
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup(args) => setup::main(&args),
        Task::Build(args) => build::main(&args),
        Task::Run(args) => run::main(&args),
        Task::Demo(args) => demo::main(&args),
        Task::Scenarios(args) => scenarios::main(&args),
        Task::Field(args) => field::main(&args),
        Task::Test(args) => test::main(&args),
        Task::Bench(args) => bench::main(&args),
        Task::Vm(args) => vm::main(&args),
        Task::Api(args) => api::main(&args),
        Task::Fuzz(args) => fuzz::main(&args),
        Task::Lint(args) => lint::main(&args),
        Task::Tidy(args) => tidy::main(&args),
        Task::Install(args) => install::main(&args),
        Task::Uninstall(args) => uninstall::main(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
