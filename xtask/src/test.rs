//! `cargo xtask test`: all tests of the workspace, the scenarios, the test of the API, then `tidy`; ends with one line that says what ran.
//!
//! Input: the workspace, setup's tools. It counts the tests' own report lines, and knows no test.

mod tally;

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    process::{Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result};

use self::tally::Tally;
use crate::{
    api, build, child,
    host::Privilege,
    say::{say, warn},
    scenarios,
    setup::{self, Needs, Tools},
    tidy,
    workspace::Workspace,
};

/// Tells tests where promtool is.
const PROMTOOL_VARIABLE: &str = "TCPSTATE_PROMTOOL";
/// Tells tests where the eBPF program is that does nothing.
const EMPTY_VARIABLE: &str = "TCPSTATE_EMPTY_OBJECT";

/// What is left out where only some tests are asked for.
const LEFT_OUT: &str = "left out because of the filter";

/// Builds everything, runs all tests, and ends with `tidy`.
///
/// Many tests load eBPF programs and need root: run as somebody else, the test programs are started with sudo
/// where it asks no question. Tests that cannot do their work here print SKIPPED with the reason, and are listed at the
/// end; where the variable CI is set they fail the run, unless the kernel is the reason. A test that failed because the
/// kernel kept events from every eBPF program is tried again, which is listed as well.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test late_fin -- --nocapture")]
pub(crate) struct Args {
    /// Run only tests whose name contains one of these; leaves out `tidy`
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Arguments for the test programs
    #[arg(last = true, value_name = "LIBTEST ARGS")]
    libtest: Vec<String>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let tools = setup::ensure(Needs::Test)?;
    build::everything(&workspace, &tools, false)?;
    build::empty_object(&workspace, &tools)?;
    build::witness_object(&workspace, &tools)?;

    let privilege = Privilege::of_this_process();
    // Compiling apart keeps cargo's progress on the terminal; the tests' own output is read below.
    let mut compile = test_command(&workspace, &tools, privilege)?;
    child::run(compile.arg("--no-run"), "compiling the tests")?;
    let mut command = test_command(&workspace, &tools, privilege)?;
    command.arg("--").args(&args.filters).args(&args.libtest);
    let (tally, code) = watch(&mut command, &mut io::stdout(), &mut io::stderr())?;

    if !args.filters.is_empty() && tally.passed + tally.failed == 0 {
        warn(format!("no test's name contains {}", args.filters.join(" or ")));
    }
    let scenarios = if args.filters.is_empty() { Some(play(&workspace, &tools, privilege)?) } else { None };
    let api = if args.filters.is_empty() { Some(api::test(&workspace, &tools)) } else { None };
    let tidy = if args.filters.is_empty() { Some(tidy::check(&workspace)?) } else { None };
    let clean = tidy.as_ref().is_none_or(tidy::Report::is_clean);
    let tidy = tidy.map_or(LEFT_OUT.into(), |report| report.summary());
    let rights = match privilege {
        Privilege::Root => "as root",
        Privilege::Sudo => "as root with sudo",
        Privilege::None => "without root",
    };
    for name in &tally.failures {
        say(format!("failed: {name}"));
    }
    for what in &tally.repeated {
        say(format!("repeated: {what}"));
    }
    for why in &tally.skipped {
        say(format!("skipped: {why}"));
    }
    let mut complete = true;
    for why in tally.skipped_without_need().filter(|_| is_in_ci()) {
        say(format!("CI must run what was skipped: {why}"));
        complete = false;
    }
    if is_in_ci() && api.as_ref().is_some_and(api::Outcome::is_incomplete) {
        say("CI must run what was skipped: the tests of the API");
        complete = false;
    }
    let described = api.as_ref().is_none_or(|api| !api.is_wrong());
    let api = api.map_or(LEFT_OUT.into(), |api| api.to_string());
    let (scenarios, diagonal) = scenarios.unwrap_or((LEFT_OUT.into(), true));
    let tests = tally.summary(code);
    say(format!("tests {rights}: {tests}; scenarios: {scenarios}; API: {api}; tidy: {tidy}"));
    let right = clean && diagonal && complete && described;
    Ok(ExitCode::from(if code == 0 && !right { 1 } else { code }))
}

/// Says whether nobody looks on, so that whatever can run has to.
fn is_in_ci() -> bool {
    env::var_os("CI").is_some_and(|it| !it.is_empty() && it != "false")
}

/// Plays the scenarios. Returns what came of it, and whether every verdict was right.
fn play(workspace: &Workspace, tools: &Tools, privilege: Privilege) -> Result<(String, bool)> {
    if privilege != Privilege::Root {
        warn(
            "SKIPPED: the scenarios make network namespaces and need root: run `cargo xtask scenarios` as root",
        );
        return Ok(("skipped".into(), !is_in_ci()));
    }
    let (count, wrong) = scenarios::test(workspace, tools)?;
    for name in &wrong {
        say(format!("wrong verdict: {name}"));
    }
    Ok(match wrong.len() {
        0 => (format!("{count} right"), true),
        off => (format!("{off} of {count} wrong"), false),
    })
}

fn test_command(workspace: &Workspace, tools: &Tools, privilege: Privilege) -> Result<Command> {
    let mut cargo = build::cargo(workspace);
    cargo.args(["test", "--workspace", "--exclude", "tcpstate-ebpf", "--no-fail-fast"]);
    cargo.env(EMPTY_VARIABLE, workspace.empty_object());
    if let Some(promtool) = &tools.promtool {
        cargo.env(PROMTOOL_VARIABLE, promtool);
    }
    match privilege {
        Privilege::Root => {}
        Privilege::Sudo => {
            cargo.env(runner_variable(&host_triple()?), "sudo -n -E");
        }
        Privilege::None => warn("not root, and sudo would ask: tests that need root will say SKIPPED"),
    }
    Ok(cargo)
}

fn host_triple() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = child::output_of(Command::new(rustc).arg("-vV")).context("rustc does not run")?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_owned())
}

/// The variable that makes cargo start test programs through another program.
fn runner_variable(triple: &str) -> String {
    format!("CARGO_TARGET_{}_RUNNER", triple.to_uppercase().replace(['-', '.'], "_"))
}

/// Runs the tests, passes their output on line by line and counts. Returns the exit code beside.
fn watch(
    command: &mut Command,
    our_stdout: &mut (impl Write + Send),
    our_stderr: &mut impl Write,
) -> Result<(Tally, u8)> {
    let step = "running the tests";
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| child::not_started(step, command.get_program()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let tally = Mutex::new(Tally::default());
    thread::scope(|scope| {
        scope.spawn(|| pass_on(stdout, our_stdout, &tally));
        pass_on(stderr, our_stderr, &tally);
    });
    let status = child.wait().with_context(|| format!("{step}: cannot wait for cargo"))?;
    // Ended by a signal, there is no code.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok((tally.into_inner().unwrap_or_else(PoisonError::into_inner), code))
}

fn pass_on(source: Option<impl Read>, sink: &mut impl Write, tally: &Mutex<Tally>) {
    let Some(source) = source else { return };
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    while source.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        tally.lock().unwrap_or_else(PoisonError::into_inner).read(&String::from_utf8_lossy(&line));
        // Nobody reads our output any more: the tests go on, and their exit code still counts.
        let _ = sink.write_all(&line);
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Tally, runner_variable, watch};

    #[test]
    fn results_of_several_programs_are_added_up() {
        let script = "echo 'test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured'
            echo 'SKIPPED: needs root' >&2
            echo 'test it_holds ... FAILED'
            echo 'test result: FAILED. 1 passed; 2 failed; 0 ignored'
            exit 101";
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut command = Command::new("sh");
        let (tally, code) = watch(command.args(["-c", script]), &mut stdout, &mut stderr).unwrap();
        let failures = vec!["it_holds".to_owned()];
        let skipped = vec!["needs root".to_owned()];
        assert_eq!(tally, Tally { passed: 4, failed: 2, skipped, repeated: vec![], failures });
        assert_eq!(code, 101);
        assert_eq!(stderr, b"SKIPPED: needs root\n", "the output is passed on as it is");
    }

    #[test]
    fn the_runner_is_named_after_the_triple() {
        let name = runner_variable("x86_64-unknown-linux-gnu");
        assert_eq!(name, "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER");
    }
}
