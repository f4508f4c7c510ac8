//! `cargo xtask api`: tests a daemon by the description of its API, and checks the description itself.
//!
//! Schemathesis makes requests out of `/api/v1/openapi.json`, those that it allows and those that it does not, and compares
//! every answer with it; redocly looks at the document alone. Around the daemon are connections that a server leaked, so
//! that the lists are not empty.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    build, child,
    daemon::{self, Daemon},
    duration,
    running::Running,
    say::{say, warn},
    setup::{self, Needs, Tools},
    workspace::Workspace,
};

const DESCRIPTION: &str = "/api/v1/openapi.json";
/// What the test chooses at random, it chooses again the next time.
const SEED: &str = "20260";
/// For how long the tests send requests.
const MOMENT: Duration = Duration::from_mins(1);
/// Connections that are leaked: enough for a finding.
const LEAKED: &str = "12";
/// How long the daemon may take to see them, and to be sure of what they mean.
const PATIENCE: Duration = Duration::from_mins(1);

/// Tests the HTTP API by its own description.
///
/// Starts a daemon on a free port, and a server that leaks connections. Schemathesis sends what the description allows, and
/// what it does not; status, media type, headers and body of every answer have to be as described, wrong requests refused
/// and right ones not. Then redocly checks the description.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask api\n  cargo xtask api --for 10m")]
pub(crate) struct Args {
    /// For how long requests are sent
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    time: Duration,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let tools = setup::ensure(Needs::Test)?;
    build::everything(&workspace, &tools, false)?;
    let outcome = check(&workspace, &tools, args.time)?;
    say(format!("API: {outcome}"));
    Ok(if outcome.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of each of the two checks.
pub(crate) struct Outcome(Vec<(&'static str, Verdict)>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Right,
    Wrong,
    /// The program for it could not be had.
    Skipped,
}

impl Outcome {
    /// Says whether both were made, and found nothing.
    pub(crate) fn is_right(&self) -> bool {
        self.0.iter().all(|(_, verdict)| *verdict == Verdict::Right)
    }

    /// Says whether one of them was not made.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.0.iter().any(|(_, verdict)| *verdict == Verdict::Skipped)
    }

    /// Says whether one of them found something.
    pub(crate) fn is_wrong(&self) -> bool {
        self.0.iter().any(|(_, verdict)| *verdict == Verdict::Wrong)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (what, verdict)) in self.0.iter().enumerate() {
            let verdict = match verdict {
                Verdict::Right => "right",
                Verdict::Wrong => "wrong",
                Verdict::Skipped => "skipped",
            };
            write!(f, "{}{what} {verdict}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The short form, for `cargo xtask test`, which has built everything.
pub(crate) fn test(workspace: &Workspace, tools: &Tools) -> Outcome {
    check(workspace, tools, MOMENT).unwrap_or_else(|error| {
        warn(format!("the tests of the API: {error:#}"));
        Outcome(vec![("daemon", Verdict::Wrong)])
    })
}

fn check(workspace: &Workspace, tools: &Tools, time: Duration) -> Result<Outcome> {
    let mut build = build::cargo(workspace);
    build.args(["build", "--quiet", "--package", "tcpstate", "--examples"]);
    child::run(&mut build, "compiling the programs around the daemon")?;
    let mut daemon = Command::new(workspace.daemon(false));
    daemon.args(daemon::ARGUMENTS).args(["--reconcile-interval", "1s"]);
    let daemon = Daemon::of(Running::start(daemon.stderr(Stdio::piped()), None)?)?;
    let _leak = Leak::around(&daemon, &workspace.target.join("debug/examples"))?;
    // Both programs leave files where they run.
    let folder = workspace.target.join("api");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let run = |program: Option<&Path>, what: &str, arguments: &dyn Fn(&mut Command)| {
        let Some(program) = program else {
            warn(format!("SKIPPED: {what} could not be had; `cargo xtask setup` says why"));
            return Verdict::Skipped;
        };
        let mut command = Command::new(program);
        arguments(command.current_dir(&folder));
        match child::run(&mut command, what) {
            Ok(()) => Verdict::Right,
            Err(error) => {
                warn(format!("{error:#}"));
                Verdict::Wrong
            }
        }
    };
    let url = format!("http://{}{DESCRIPTION}", daemon.address());
    let requests =
        run(tools.schemathesis.as_deref(), "schemathesis", &|command| requests(command, &url, time));
    let file = folder.join("openapi.json");
    fs::write(&file, daemon.connect()?.get(DESCRIPTION)?)?;
    let description = run(tools.redocly.as_deref(), "redocly", &|command| lint(command, &file));
    Ok(Outcome(vec![("requests", requests), ("description", description)]))
}

/// All of schemathesis's checks are on.
fn requests(command: &mut Command, url: &str, time: Duration) {
    command.args(["run", url, "--max-time", &time.as_secs().to_string(), "--seed", SEED]);
    // The stream of events does not end; `serve/tests` look at it.
    command.args(["--exclude-path", "/api/v1/events"]);
    // The next run begins with nothing of this one; and a busy machine is no failure.
    command.args(["--generation-database", "none", "--suppress-health-check", "too_slow"]);
    command.args(["--request-timeout", "30", "--max-examples", "30", "--continue-on-failure"]);
}

fn lint(command: &mut Command, file: &Path) {
    command.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    command.args(["lint", "--extends", "recommended-strict"]);
    // OpenAPI 3.1 cannot say what a stream consists of, so nothing refers to the types of its events.
    command.args(["--skip-rule", "no-unused-components"]).arg(file);
}

/// A server that leaks connections, and its client.
struct Leak {
    _server: Running,
    _client: Running,
}

impl Leak {
    /// Waits until the daemon has a finding.
    fn around(daemon: &Daemon, examples: &Path) -> Result<Self> {
        let mut server = Command::new(examples.join("leaky-server"));
        let mut server = Running::start(server.stdout(Stdio::piped()), None)?;
        let address = server.first_line().context("leaky-server did not start")?;
        let mut client = Command::new(examples.join("churning-client"));
        let client = Running::start(client.args([LEAKED, &address]).stdin(Stdio::piped()), None)?;
        let deadline = Instant::now() + PATIENCE;
        while is_empty(&daemon.connect()?.json("/api/v1/findings")?["findings"]) {
            ensure!(Instant::now() < deadline, "the daemon found no leak within {} s", PATIENCE.as_secs());
            thread::sleep(Duration::from_millis(200));
        }
        Ok(Self { _server: server, _client: client })
    }
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}
