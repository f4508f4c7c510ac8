//! `cargo xtask tidy`: the project's conventions as checks. Each check lives in a file of its own, takes the
//! project's files and returns findings; here they are only collected and shown.

mod help;
mod machine_paths;
mod metrics;
mod paths;
mod readme;
mod rooms;
mod sources;
mod tree;

use std::{fmt, process::ExitCode};

use anyhow::Result;

use self::tree::Tree;
use crate::{
    say::{say, warn},
    workspace::Workspace,
};

/// Checks the project's own rules.
///
/// These are: which room of the daemon may know what, the commands that the documentation names, the metrics
/// that dashboards and alerts name, the form of the sources, and the snapshots of `tcpstate --help`. Each finding
/// is one line: where, what is wrong, what would be right.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the snapshots of `tcpstate --help` anew instead of comparing
    #[arg(long)]
    bless: bool,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    if args.bless {
        help::bless(&workspace)?;
    }
    let report = check(&workspace)?;
    say(format!("tidy: {}", report.summary()));
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Something that is not as the project wants it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Relative to the workspace.
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is wrong, and what would be right.
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// What all checks together found.
pub(crate) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    pub(crate) fn summary(&self) -> String {
        match self.findings.len() {
            0 => "nothing to complain about".into(),
            1 => "1 finding".into(),
            count => format!("{count} findings"),
        }
    }
}

/// Runs all checks and prints what they found.
///
/// # Errors
/// When the project's files cannot be read.
pub(crate) fn check(workspace: &Workspace) -> Result<Report> {
    let tree = Tree::load(&workspace.root)?;
    let mut findings = [
        rooms::check(&tree),
        readme::check(&tree),
        metrics::check(&tree),
        sources::check(&tree),
        machine_paths::check(&tree),
    ]
    .concat();
    match help::check(workspace, &tree)? {
        Some(found) => findings.extend(found),
        None => warn("tidy: snapshots of --help NOT compared, as the daemon is not built"),
    }
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    Ok(Report { findings })
}
