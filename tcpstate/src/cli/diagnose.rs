//! `tcpstate diagnose`: what is wrong, in words that can be forwarded to whom it concerns. Asks a running daemon;
//! where none runs it looks for a while by itself.

mod replayed;
mod report;

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::Result;
use clap::ValueEnum;

use self::report::Report;
use super::{
    alone,
    client::{self, Client, Target},
    threshold::Choice,
};
use crate::{
    app, clock,
    diagnose::{Class, Severity, Status, Thresholds},
    printable::printable,
    serve::{
        api::{
            findings::{self, Findings},
            processes::{LookedAt, Processes},
        },
        stamp::Stamps,
    },
};

/// The exit code when something is wrong.
const EXIT_FINDINGS: u8 = 1;
/// The exit code when that could not be found out.
const EXIT_ERROR: u8 = 2;
/// From one look at a daemon that has just been started to the next.
const ASK_AGAIN: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Examples:
  tcpstate diagnose                            what is wrong on this host
  tcpstate diagnose --for 60s                  the same where no daemon runs, after a longer look
  tcpstate diagnose --class close-wait-leak    only this trouble
  tcpstate diagnose --fail-on critical         for a health check: 1 only if connections fail
  tcpstate diagnose --json                     for programs, as /api/v1/findings answers
  tcpstate diagnose --replay trouble.tcpstate  what is said of what `tcpstate record` wrote down

Exit code: 0 nothing wrong, 1 findings of the severity of --fail-on or worse, 2 it could not be \
found out: the diagnosis failed, or found nothing and could not look at some namespaces, processes or sockets \
(--accept-hidden makes that 0). What is only worth knowing stands at the end and is never a reason for 1.";

/// From which severity on a finding counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum FailOn {
    Warning,
    Critical,
}

impl FailOn {
    fn severity(self) -> Severity {
        match self {
            Self::Warning => Severity::Warning,
            Self::Critical => Severity::Critical,
        }
    }
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How long to look where no daemon runs: 15s, 2m. A daemon has been looking all the time
    #[arg(long = "for", value_name = "TIME", default_value = "15s", value_parser = alone::time)]
    time: Duration,
    /// Print one JSON object, as /api/v1/findings answers, with what is open now
    #[arg(long)]
    json: bool,
    /// Only findings of this class; may be given several times. `tcpstate explain` lists them
    #[arg(long = "class", value_name = "CLASS", value_parser = findings::class)]
    classes: Vec<Class>,
    /// From which severity on a finding makes the exit code 1
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "warning")]
    fail_on: FailOn,
    /// Exit with 0 where nothing wrong was found, though not everything could be looked at
    #[arg(long)]
    accept_hidden: bool,
    /// Judge a recording instead: what was opened and resolved when, and what was open at its end
    #[arg(long, value_name = "FILE", conflicts_with_all = ["time", "url"])]
    replay: Option<PathBuf>,
    #[command(flatten)]
    thresholds: Choice,
    #[command(flatten)]
    target: Target,
}

/// Finds out what is wrong and prints it.
///
/// # Errors
/// None: what stands in the way is printed, and has an exit code of its own.
pub fn run(args: &Args) -> Result<ExitCode> {
    let written = find_out(args).and_then(|report| {
        let mut out = BufWriter::new(io::stdout().lock());
        match print(&report, args, &mut out).and_then(|()| out.flush()) {
            // A reader that has gone (`| head`) is not an error.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(exit_code(&report, args)),
        }
    });
    Ok(match written {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::from(EXIT_ERROR)
        }
    })
}

fn exit_code(report: &Report, args: &Args) -> u8 {
    if report.is_bad(args.fail_on.severity()) {
        EXIT_FINDINGS
    } else if report.is_partial() && !args.accept_hidden {
        EXIT_ERROR
    } else {
        0
    }
}

/// Tells the user, apart from what is to be forwarded.
fn tell(text: &str) {
    // Nobody is left to tell if even this fails.
    let _ = writeln!(io::stderr(), "tcpstate: {}", printable(text));
}

fn print(report: &Report, args: &Args, out: &mut impl Write) -> io::Result<()> {
    if args.json { report.json(out) } else { report.print(out) }
}

fn find_out(args: &Args) -> Result<Report> {
    let mut report = match &args.replay {
        Some(file) => replayed::judge(file, &args.thresholds.thresholds())?,
        None => look(args)?,
    };
    if !args.classes.is_empty() {
        report.retain(&args.classes);
    }
    Ok(report)
}

fn look(args: &Args) -> Result<Report> {
    let client = Client::new(&args.target)?;
    Ok(match ask(&client, args.time) {
        Err(client::Error::Unreachable(url)) if !args.target.is_given() => {
            by_itself(&url, args.time, &args.thresholds.thresholds())?
        }
        answer => {
            let report = answer?;
            if args.thresholds.is_given() {
                tell("--threshold changes nothing here: a running daemon judges by its own thresholds");
            }
            report
        }
    })
}

/// What a daemon has found. One that has just been started gets some time.
fn ask(client: &Client, patience: Duration) -> Result<Report, client::Error> {
    let until_ns = clock::monotonic_ns().saturating_add(clock::nanos(patience));
    loop {
        let query = [("status", "open".to_owned())];
        let findings: Findings = client.get("/api/v1/findings", &query)?;
        if findings.as_of.is_some() || clock::monotonic_ns() >= until_ns {
            // Only how much was looked at is of interest, which every page says.
            let query = [("limit", "1".to_owned())];
            let Processes { looked_at, .. } = client.get("/api/v1/processes", &query)?;
            let whence = format!("by the daemon at {}", client.url());
            return Ok(Report::now(findings, looked_at, whence));
        }
        thread::sleep(ASK_AGAIN);
    }
}

/// Looks by itself.
fn by_itself(url: &str, time: Duration, thresholds: &Thresholds) -> Result<Report> {
    tell(&format!("no daemon answers at {url}; looking for {} s without one", time.as_secs()));
    let found = app::alone::diagnose(&alone::config(thresholds)?, time)?;
    if let Some(reason) = &found.tier_reason {
        tell(&format!("without eBPF, which would show more: {reason}"));
    }
    let mut findings = Findings::of(&found.diagnosed, &Stamps::now());
    findings.findings.retain(|finding| finding.status == Status::Open);
    let before = format!(
        "What grows slowly, and what was before these {} s: no daemon was running (--for looks longer).",
        time.as_secs()
    );
    findings.cannot_see.push(before);
    let looked_at = LookedAt::of(&found.diagnosed);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(Report::now(findings, looked_at, format!("on {host} for {} s", time.as_secs())))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;
    use crate::serve::{
        ask::Diagnosed,
        tests::{daemon::Daemon, diagnosed},
    };

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        Command::try_parse_from(["diagnose"].iter().chain(words)).unwrap().args
    }

    /// What is printed, and whether it is bad.
    fn output(daemon: &Daemon, more: &[&str]) -> (String, bool) {
        let url = daemon.url();
        let args = args(&[&["--url", &url], more].concat());
        let report = find_out(&args).unwrap();
        let mut out = Vec::new();
        print(&report, &args, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), report.is_bad(args.fail_on.severity()))
    }

    fn without(class: Class) -> Diagnosed {
        let mut diagnosed = diagnosed::diagnosed();
        diagnosed.findings.retain(|finding| finding.class != class);
        diagnosed
    }

    #[test]
    fn json_is_what_the_api_answers_of_what_is_open() {
        let daemon = Daemon::start();
        let (text, _) = output(&daemon, &["--json"]);
        let mut printed: Value = serde_json::from_str(&text).unwrap();
        let mut answered = daemon.get("/api/v1/findings?status=open").json();
        for list in [&mut printed, &mut answered] {
            // The two clocks may be compared a millisecond apart.
            list["as_of"].take();
            for finding in list["findings"].as_array_mut().unwrap() {
                for time in ["since", "opened_at", "updated_at"] {
                    finding[time].take();
                }
            }
        }
        assert_eq!(printed, answered);
    }

    #[test]
    fn only_what_is_open_and_bad_enough_is_bad() {
        let daemon = Daemon::start();
        assert!(output(&daemon, &[]).1);
        assert!(output(&daemon, &["--fail-on", "critical"]).1);
        assert!(!output(&daemon, &["--class", "close-wait-idle-pool"]).1);
        assert!(!output(&daemon, &["--class", "half-open"]).1, "it is resolved");
        assert!(output(&daemon, &["--class", "half-open", "--class", "close-wait-leak"]).1);
        let mut milder = diagnosed::diagnosed();
        milder.findings[0].severity = Severity::Warning;
        daemon.diagnose(milder);
        assert!(output(&daemon, &[]).1);
        assert!(!output(&daemon, &["--fail-on", "critical"]).1);
        daemon.diagnose(without(Class::CloseWaitLeak));
        assert!(!output(&daemon, &[]).1);
    }

    #[test]
    fn nothing_found_where_not_everything_was_looked_at_is_no_success() {
        let daemon = Daemon::start();
        let code = |words: &[&str]| {
            let url = daemon.url();
            let args = args(&[&["--url", &url], words].concat());
            exit_code(&find_out(&args).unwrap(), &args)
        };
        let mut hidden = diagnosed::diagnosed();
        hidden.not_looked_at = vec!["The sockets of a network namespace.".into()];
        daemon.diagnose(hidden.clone());
        assert_eq!(code(&[]), EXIT_FINDINGS);
        assert_eq!(code(&["--class", "half-open"]), EXIT_ERROR);
        assert_eq!(code(&["--class", "half-open", "--accept-hidden"]), 0);
        hidden.not_looked_at.clear();
        daemon.diagnose(hidden);
        assert_eq!(code(&["--class", "half-open"]), 0);
    }

    #[test]
    fn a_daemon_that_is_named_and_not_there_is_an_error() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let args = args(&["--url", &format!("http://{unused}")]);
        let error = find_out(&args).err().unwrap();
        assert!(error.to_string().starts_with("no daemon answers at "), "{error}");
        assert_eq!(format!("{:?}", run(&args).unwrap()), format!("{:?}", ExitCode::from(EXIT_ERROR)));
    }

    #[test]
    fn wrong_arguments_are_refused_before_asking() {
        for words in [["--class", "leak"], ["--for", "10ms"], ["--for", "soon"], ["--fail-on", "info"]] {
            assert!(Command::try_parse_from(["diagnose"].iter().chain(&words)).is_err(), "{words:?}");
        }
        let error = Command::try_parse_from(["diagnose", "--class", "close-wait-leek"]).unwrap_err();
        assert!(error.to_string().contains("did you mean `close-wait-leak`"), "{error}");
    }

    #[test]
    fn a_daemon_that_has_not_looked_yet_is_waited_for() {
        let daemon = Daemon::start();
        daemon.diagnose(Diagnosed::default());
        let (text, bad) = output(&daemon, &["--for", "1s"]);
        assert!(text.starts_with("nothing is known yet"), "{text}");
        assert!(!bad);
    }

    #[test]
    fn recording_is_judged_with_its_timeline() {
        const OVERFLOW: &[u8] = include_bytes!(
            "../../recordings/scenarios/accept-overflow-a-short-backlog-and-a-slow-server.tcpstate"
        );
        let file = std::env::temp_dir().join(format!("tcpstate-replay-{}", std::process::id()));
        std::fs::write(&file, OVERFLOW).unwrap();
        let report = |words: &[&str]| {
            let args = args(&[&["--replay", file.to_str().unwrap()], words].concat());
            let report = find_out(&args).unwrap();
            let mut out = Vec::new();
            print(&report, &args, &mut out).unwrap();
            (String::from_utf8(out).unwrap(), report.is_bad(Severity::Warning))
        };
        let (text, bad) = report(&[]);
        assert!(bad && text.contains("  opened    warning   accept-overflow: "), "{text}");
        assert!(text.contains(" in a recording of "), "{text}");
        let (json, _) = report(&["--json"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["findings"][0]["subject"]["comm"], "worker");
        assert_eq!(json["timeline"][0]["change"], "opened");
        let (text, bad) = report(&["--class", "half-open"]);
        assert!(!bad && text.starts_with("nothing wrong found; "), "{text}");
        std::fs::write(&file, "hello").unwrap();
        let error = find_out(&args(&["--replay", file.to_str().unwrap()])).err().unwrap();
        assert!(format!("{error:#}").ends_with(" cannot be replayed: it is no recording of tcpstate: it has to be what `tcpstate record` wrote"), "{error:#}");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn recording_is_not_asked_for_from_a_daemon() {
        for words in [["--replay", "x", "--for", "1m"], ["--replay", "x", "--url", "http://x"]] {
            assert!(Command::try_parse_from(["diagnose"].iter().chain(&words)).is_err(), "{words:?}");
        }
    }
}
