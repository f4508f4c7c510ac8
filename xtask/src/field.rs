//! `cargo xtask field`: situations out of bug reports, played with the real programs, and whether the daemon's
//! findings lead to the right program and the right change.
//!
//! Input: the daemon's `/api/v1/findings`. Each case runs in namespaces of its own, which go with it; a finding
//! belongs to a case by namespace or process, never by port or name.

mod case;
mod cases;
mod finding;
mod judge;
mod play;
mod processes;
mod program;
mod report;
mod room;
mod stage;
mod wording;

use std::{
    collections::VecDeque,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};

use self::{
    case::Case,
    play::{Field, play},
    report::Line,
};
use crate::{
    build,
    daemon::{self, Daemon},
    duration, host,
    recording::{self, Recorder},
    running::Running,
    say::say,
    setup::{self, Needs},
    workspace::Workspace,
};

/// Cases that are played at a time: so few that two cores are not the reason for a late verdict.
const AT_A_TIME: usize = 2;

/// For how long a case is judged, if nothing else is asked for.
const CASE_TIME: Duration = Duration::from_secs(75);
/// The same for the stack of healthy programs.
const HEALTHY_TIME: Duration = Duration::from_mins(20);

/// Plays situations out of bug reports with the real programs, and judges the daemon's findings.
///
/// Each case runs in namespaces of its own for network, mounts and processes, which end with it. Prints a line per
/// case, then a table. Fails when a finding is missing, is about the wrong program, lacks what a reader needs, or when
/// there is a warning about a program that does nothing wrong. Takes about two minutes per pair of cases, and root. Installs
/// the programs with apt-get; their services are not started. The evidence of each case is in the folder `field` of
/// the target folder.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these cases
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    /// Print what there is, and play nothing
    #[arg(long)]
    list: bool,
    /// Run a stack of healthy programs instead, and fail on any warning
    #[arg(long, conflicts_with = "cases")]
    healthy: bool,
    /// Record each case that comes out right, for the test that judges recordings again
    #[arg(long, conflicts_with = "healthy")]
    record: bool,
    /// How long a case is judged; by default 75s, and 20m with --healthy
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    time: Option<Duration>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let cases = if args.healthy { vec![cases::stack()] } else { chosen(&args.cases)? };
    if args.list {
        report::list(&cases);
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(host::is_root(), "the cases make namespaces: run `cargo xtask field` as root");
    let workspace = Workspace::find()?;
    setup::field()?;
    let binary = build::everything(&workspace, &setup::ensure(Needs::Build)?, false)?;
    let folder = workspace.target.join("field");
    let recorder = args.record.then(|| Recorder::start(&binary, &folder)).transpose()?;
    let daemon = start_daemon(&binary)?;
    let time = args.time.unwrap_or(if args.healthy { HEALTHY_TIME } else { CASE_TIME });
    let recordings = workspace.root.join("tcpstate/recordings/field");
    let field = Field { daemon: &daemon, folder, recordings, time, cuts: Mutex::default() };
    let lines = play_all(&field, &cases, !args.json);
    if let Some(recorder) = recorder {
        recorder.stop()?;
        let cuts = field.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        // The programs of a case have the same paths everywhere.
        recording::keep_all(&workspace, &field.folder, "", &cuts)?;
    }
    if args.json {
        report::json(&lines);
    } else {
        report::table(&lines);
        say(format!("evidence: {}", field.folder.display()));
    }
    let right = lines.iter().all(|line| line.outcome.is_right());
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(names: &[String]) -> Result<Vec<Case>> {
    let mut cases = cases::all();
    for name in names {
        ensure!(cases.iter().any(|case| case.name == name), "there is no case {name}; `--list` shows them");
    }
    cases.retain(|case| names.is_empty() || names.iter().any(|name| case.name == name));
    Ok(cases)
}

/// Starts the daemon beside which all cases are played.
fn start_daemon(binary: &Path) -> Result<Daemon> {
    // It ends with us, even where we are killed.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(binary);
    command.args(daemon::ARGUMENTS).stderr(Stdio::piped());
    Daemon::of(Running::start(&mut command, None)?)
}

/// Plays the cases, a few at a time. Returns how they came out, in the order of the list.
fn play_all(field: &Field<'_>, cases: &[Case], talk: bool) -> Vec<Line> {
    let waiting: Mutex<VecDeque<usize>> = Mutex::new((0..cases.len()).collect());
    let done = Mutex::new(Vec::new());
    // The numbers of namespaces are not given to another case as long as these are there.
    let namespaces = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(index) = next else { return };
            let case = &cases[index];
            if talk {
                say(format!("{}: {}", case.name, case.what));
            }
            let (outcome, left) = play(field, case);
            if talk {
                say(format!("{}: {}: {}", case.name, outcome.label(), report::summary(&outcome)));
            }
            namespaces.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
            let line = Line { name: case.name, outcome };
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, line));
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(cases.len()) {
            scope.spawn(work);
        }
    });
    let mut lines = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    lines.sort_by_key(|(index, _)| *index);
    lines.into_iter().map(|(_, line)| line).collect()
}
