//! The dashboards, the alert rules and the reference stand on metrics that a live daemon serves.

#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and counts are exact in f64"
)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use support::{Daemon, alone, skip};

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

/// promtool, which `cargo xtask setup` brings. Without it a test says that it was skipped; in CI it fails.
fn promtool(test: &str) -> Option<Command> {
    let program = std::env::var_os("TCPSTATE_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let found = Command::new(&program).arg("--version").output().is_ok();
    if !found {
        skip(&format!("{test} needs promtool, which `cargo xtask setup` brings"));
        return None;
    }
    Some(Command::new(program))
}

/// Runs promtool to its end with success.
fn succeeds(command: &mut Command, input: &str) {
    let mut child = command
        .current_dir(dashboards())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn alert_rules_are_right_and_fire_when_they_should() {
    let Some(mut check) = promtool("alert_rules_are_right_and_fire_when_they_should") else { return };
    succeeds(check.args(["check", "rules", "alerts.yml"]), "");
    let mut test = promtool("rules").expect("it was there");
    succeeds(test.args(["test", "rules", "alerts_test.yml"]), "");
}

#[test]
fn live_metrics_are_well_formed() {
    alone("live_metrics_are_well_formed", || {
        let Some(mut check) = promtool("live_metrics_are_well_formed") else { return };
        let daemon = Daemon::start(&[]);
        let (_, page) = daemon.get("/metrics");
        succeeds(check.args(["check", "metrics"]), &page);
    });
}

/// Every `tcpstate_…` word in a text.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .filter(|word| word.starts_with("tcpstate_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn dashboards_and_reference_name_what_the_daemon_serves() {
    alone("dashboards_and_reference_name_what_the_daemon_serves", || {
        let daemon = Daemon::start(&[]);
        // A family without a series has no HELP either: something must be parked, the page been
        // scraped before, and a diagnosis been made.
        let mut actor = support::Actor::here();
        actor.pair("p", "127.0.0.1:0");
        actor.told("close pc");
        let served = support::eventually(|| {
            let (_, page) = daemon.get("/metrics");
            let served: BTreeSet<_> = page
                .lines()
                .filter_map(|line| line.strip_prefix("# HELP "))
                .filter_map(|line| line.split(' ').next().map(str::to_owned))
                .collect();
            let late = [
                "tcpstate_parked_sockets",
                "tcpstate_scrape_duration_seconds",
                "tcpstate_findings",
                "tcpstate_listen_overflows_total",
            ];
            if late.iter().all(|name| served.contains(*name)) {
                Ok(served)
            } else {
                Err(format!("{served:?}"))
            }
        });
        // While the kernel keeps no statistics of programs these two are absent.
        let mut known = served.clone();
        known.extend(["tcpstate_probe_runs_total".to_owned(), "tcpstate_probe_run_seconds_total".to_owned()]);
        for file in ["tcpstate.json", "alerts.yml"] {
            let text = fs::read_to_string(dashboards().join(file)).expect(file);
            for name in names(&text) {
                let family =
                    ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
                assert!(
                    known.contains(&name) || family.is_some_and(|family| known.contains(family)),
                    "{file} uses {name}, which the daemon does not serve"
                );
            }
        }
        let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let reference = fs::read_to_string(reference).expect("the reference");
        let documented: BTreeSet<_> = reference
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|line| line.split(['`', '{']).next().map(str::to_owned))
            .collect();
        assert_eq!(documented, known, "left: documented; right: served");
    });
}
