//! `cargo xtask fuzz`: feeds the decoders and parsers with changed real inputs, for a given time.
//!
//! Input: the targets of `tcpstate/fuzz/targets`, which are tests as well; this tells them for how long. No coverage guides
//! it: that takes an unstable compiler, and these parsers are small.

use std::{fs, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    build, child, duration,
    setup::{self, Needs},
    workspace::Workspace,
};

const TARGETS: &str = "tcpstate/fuzz/targets";
/// Tells the targets for how long, ms.
const TIME_VARIABLE: &str = "TCPSTATE_FUZZ_MS";

/// Fuzzes the decoders and parsers.
///
/// Each target is fed with real inputs that were changed at random. An input on which one panics is kept in
/// `tcpstate/fuzz/inputs`, and every `cargo xtask test` tries it again.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask fuzz\n  cargo xtask fuzz netlink recording --for 10m")]
pub(crate) struct Args {
    /// Only these targets
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// For how long each target is fed
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    time: Duration,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let there = targets(&workspace)?;
    for name in &args.targets {
        ensure!(there.contains(name), "there is no target {name}, but {}", there.join(", "));
    }
    let wanted = if args.targets.is_empty() { &there } else { &args.targets };
    build::object(&workspace, &setup::ensure(Needs::Build)?)?;
    let mut cargo = build::cargo(&workspace);
    cargo.args(["test", "--quiet", "--package", "tcpstate", "--lib", "--", "--exact"]);
    cargo.args(wanted.iter().map(|name| format!("fuzz::targets::{name}::{name}")));
    cargo.env(TIME_VARIABLE, args.time.as_millis().to_string());
    child::run(&mut cargo, "fuzzing")?;
    Ok(ExitCode::SUCCESS)
}

/// The names of all targets.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let files =
        fs::read_dir(workspace.root.join(TARGETS)).with_context(|| format!("cannot read {TARGETS}"))?;
    let names = files
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned));
    let mut names: Vec<_> = names.filter(|name| name != "mod").collect();
    names.sort();
    Ok(names)
}
