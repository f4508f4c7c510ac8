//! `cargo xtask bench`: what tcpstate costs, measured beside nothing, an empty program, and its peers.
//!
//! Each part lives in a file of its own: it starts what it measures, and gives a table and JSON. Here they are
//! only chosen and put together. Everything that this starts ends with it.

mod bpf;
mod churn;
mod idle;
mod keeper;
mod kernel;
mod metrics;
mod numbers;
mod peers;
mod process;
mod report;
mod saturation;
mod scale;
mod slices;
mod stage;
mod storm;
mod subjects;
mod table;
mod witness;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::Value;

use self::{
    bpf::Bpftool,
    report::{Conditions, Report},
    subjects::Subjects,
};
use crate::{
    build, child, host,
    say::{say, warn},
    setup::{self, Needs, Tools},
    workspace::Workspace,
};

/// Measures what tcpstate costs, beside nothing, an empty eBPF program, and other tools.
///
/// Takes root, an otherwise quiet machine, and half an hour. Builds everything with optimisation, installs
/// the other tools (Debian's packages libbpf-tools and bpftrace), and makes load in a network namespace of its
/// own. Writes bench.json and bench.md into the folder `bench` of cargo's target folder.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask bench --quick\n  cargo xtask bench --only idle")]
pub(crate) struct Args {
    /// How often everything is measured [default: 5, with --quick 2]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds of each load [default: 2, with --quick 1]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// Measure only this
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Fewer rounds, shorter loads, no more than 100,000 sockets: to see that it works, not for numbers to keep
    #[arg(long)]
    quick: bool,
    /// Write the tables to tcpstate/docs/performance.md as well
    #[arg(long)]
    record: bool,
}

/// What can be measured apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Throughput, time on the processors and losses under full load
    Churn,
    /// Throughput again, with programs attached and detached every tenth of a second
    Slices,
    /// Time inside the kernel, program by program
    Kernel,
    /// A minute at full load: whether every change of state is counted
    Saturation,
    /// Many sockets: the census against ss, memory, answers during churn
    Scale,
    /// A daemon with nothing to do
    Idle,
    /// Resets at full rate
    Storm,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    ensure!(host::is_root(), "the bench loads eBPF programs and makes a network namespace: run it as root");
    let workspace = Workspace::find()?;
    let tools = setup::ensure(Needs::Test)?;
    let bpftool = Bpftool::new(program("bpftool")?);
    bpftool.ensure_nothing_traces()?;
    witness::ensure_nobody_writes_down()?;
    let subjects = prepare(&workspace, &tools, bpftool, args)?;
    let conditions = Conditions {
        rounds: args.rounds.unwrap_or(if args.quick { 2 } else { 5 }),
        seconds: args.seconds.unwrap_or(if args.quick { 1 } else { 2 }),
        quick: args.quick,
    };
    let mut report = Report::new(&conditions)?;
    let wanted = |part| args.only.is_none_or(|only| only == part);
    let mut failed = false;
    let mut take = |name: &str, part, measured: &mut dyn FnMut() -> Result<(String, Value)>| {
        if !wanted(part) {
            return;
        }
        match measured() {
            Ok((markdown, json)) => report.add(name, markdown, json),
            // What the other parts have measured is not lost with it.
            Err(error) => {
                warn(format!("{name} is left out: {error:#}"));
                failed = true;
            }
        }
    };
    take("churn", Part::Churn, &mut || {
        let churn = churn::measure(&subjects, conditions.rounds, conditions.seconds)?;
        Ok((churn.markdown(), churn.json()))
    });
    take("slices", Part::Slices, &mut || {
        let slices = slices::measure(&subjects, conditions.rounds, args.quick)?;
        Ok((slices.markdown(), slices.json()))
    });
    take("kernel", Part::Kernel, &mut || {
        let kernel = kernel::measure(&subjects, conditions.rounds, conditions.seconds)?;
        Ok((kernel.markdown(), kernel.json()))
    });
    take("saturation", Part::Saturation, &mut || {
        let saturation = saturation::measure(&subjects, args.quick)?;
        Ok((saturation.markdown(), saturation.json()))
    });
    take("scale", Part::Scale, &mut || {
        let scale = scale::measure(&subjects, args.quick)?;
        Ok((scale.markdown(), scale.json()))
    });
    take("idle", Part::Idle, &mut || {
        let idle = idle::measure(&subjects, args.quick)?;
        Ok((idle.markdown(), idle.json()))
    });
    take("storm", Part::Storm, &mut || {
        let storm = storm::measure(&subjects, args.quick)?;
        Ok((storm.markdown(), storm.json()))
    });
    println!("\n{}", report.markdown());
    let folder = report.write(&workspace)?;
    say(format!("wrote bench.json and bench.md to {}", folder.display()));
    if args.record {
        say(format!("wrote {}", report.record(&workspace)?));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Builds and installs what the parts start.
fn prepare(workspace: &Workspace, tools: &Tools, bpftool: Bpftool, args: &Args) -> Result<Subjects> {
    let daemon = build::everything(workspace, tools, true)?;
    let mut examples = build::cargo(workspace);
    examples.args(["build", "--quiet", "--release", "--package", "tcpstate"]);
    child::run(
        examples.args(["--example", "load", "--example", "empty", "--example", "switch"]),
        "compiling the load",
    )?;
    let empty_object = build::empty_object(workspace, tools)?;
    let compared = args.only.is_none_or(|only| matches!(only, Part::Churn | Part::Kernel));
    let peers = if compared { peers::all() } else { Vec::new() };
    let examples = workspace.target.join("release/examples");
    Ok(Subjects { bpftool, daemon, examples, empty_object, peers })
}

fn program(name: &str) -> Result<PathBuf> {
    host::find_program(&host::search_path(), name).with_context(|| format!("the bench needs {name}"))
}
