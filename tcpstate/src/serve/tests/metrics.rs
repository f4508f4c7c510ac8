//! The page for Prometheus.

use std::collections::HashSet;

use tcpstate_common::TcpState;

use super::{daemon::Daemon, scene, snapshot};

fn page(daemon: &Daemon) -> String {
    let answer = daemon.get("/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    answer.body
}

/// The samples, without their values.
fn series(page: &str) -> HashSet<&str> {
    page.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

#[test]
fn the_whole_page_is_as_agreed() {
    let daemon = Daemon::start();
    let page = page(&daemon).replace(env!("CARGO_PKG_VERSION"), "VERSION");
    snapshot::check("src/serve/tests/metrics.txt", &page);
}

#[test]
fn a_host_that_sees_little_says_so_and_no_zeros() {
    let daemon = Daemon::with(scene::blind_readings(), scene::tracker(&[]));
    let page = page(&daemon).replace(env!("CARGO_PKG_VERSION"), "VERSION");
    snapshot::check("src/serve/tests/metrics_blind.txt", &page);
}

#[test]
fn no_series_is_exported_twice() {
    let daemon = Daemon::start();
    let page = page(&daemon);
    let samples = page.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(series(&page).len(), samples);
}

#[test]
fn every_state_of_both_families_is_there_even_at_zero() {
    let daemon = Daemon::start();
    let page = page(&daemon);
    let series = series(&page);
    for state in TcpState::VISIBLE {
        for family in ["ipv4", "ipv6"] {
            let name = format!("tcpstate_sockets{{family=\"{family}\",state=\"{}\"}}", state.name());
            assert!(series.contains(name.as_str()), "{name}");
        }
    }
}

#[test]
fn the_second_scrape_tells_how_long_the_first_took() {
    let daemon = Daemon::start();
    assert!(!page(&daemon).contains("\ntcpstate_scrape_duration_seconds "));
    let page = page(&daemon);
    let line = page.lines().find(|line| line.starts_with("tcpstate_scrape_duration_seconds ")).unwrap();
    let seconds: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!(seconds > 0.0 && seconds < 20.0, "{line}");
}

#[test]
fn parameters_of_a_scrape_are_ignored() {
    assert_eq!(Daemon::start().get("/metrics?collect[]=x&collect[]=y").status, 200);
}

#[test]
fn the_kinds_of_losses_are_those_of_the_status() {
    for readings in [scene::readings(), scene::blind_readings()] {
        let daemon = Daemon::with(readings, scene::tracker(&[]));
        let page = page(&daemon);
        let prefix = "tcpstate_events_lost_total{kind=\"";
        let lost = page.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once("\"} "));
        let status = daemon.get("/api/v1/status").json();
        let losses = status["losses"].as_object().unwrap();
        let from_status: HashSet<_> =
            losses.iter().map(|(kind, count)| (kind.clone(), count.to_string())).collect();
        let from_metrics: HashSet<_> =
            lost.map(|(kind, count)| (kind.to_owned(), count.to_owned())).collect();
        assert_eq!(from_metrics, from_status);
    }
}

/// The page as `OpenMetrics`.
fn open_metrics(daemon: &Daemon) -> String {
    let answer = daemon.get_with("/metrics", ("accept", "application/openmetrics-text; version=1.0.0"));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((answer.status, answer.header("content-type")), (200, kind));
    answer.body
}

#[test]
fn open_metrics_has_the_same_samples_and_an_end() {
    let daemon = Daemon::start();
    let text = page(&daemon);
    let open = open_metrics(&daemon);
    let bounds = |series: &str| series.replace(".0\"}", "\"}");
    let from_open: HashSet<_> = series(&open).into_iter().map(bounds).collect();
    let mut from_text: HashSet<_> = series(&text).into_iter().map(bounds).collect();
    // The second scrape tells how long the first took.
    from_text.insert("tcpstate_scrape_duration_seconds".to_owned());
    assert_eq!(from_open, from_text);
    assert!(open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1);
}

#[test]
fn open_metrics_names_counters_without_their_ending() {
    let open = open_metrics(&Daemon::start());
    let mut kind = "";
    let mut name = "";
    for line in open.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            (name, kind) = family.split_once(' ').unwrap();
            assert!(!name.ends_with("_total"), "{line}");
        } else if !line.starts_with('#') {
            let rest = line.strip_prefix(name).unwrap_or_else(|| panic!("{name} is followed by {line}"));
            assert_eq!(rest.starts_with("_total"), kind == "counter", "{line}");
        }
    }
    assert!(open.contains("le=\"1.0\"}") && open.contains("le=\"0.01\"}"), "{open}");
    let help = |line: &&str| line.starts_with("# HELP ") && line.replace("\\\"", "").contains('"');
    assert_eq!(open.lines().find(help), None);
}

#[test]
fn a_scraper_that_takes_gzip_gets_the_same_page() {
    use std::io::Read;

    let daemon = Daemon::start();
    let answer = daemon.get_with("/metrics", ("accept-encoding", "br, gzip;q=0.5"));
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert_eq!(answer.header("vary"), "accept, accept-encoding");
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&*answer.bytes).read_to_string(&mut unpacked).unwrap();
    assert!(answer.bytes.len() < unpacked.len() / 3);
    let plain = daemon.get_with("/metrics", ("accept-encoding", "gzip;q=0"));
    assert_eq!(plain.header("content-encoding"), "");
    assert!(series(&unpacked).is_subset(&series(&plain.body)));
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // It is not everywhere; `cargo xtask setup` installs what the project cannot do without.
    let Ok(mut child) = promtool.spawn() else { return };
    child.stdin.take().unwrap().write_all(page(&Daemon::start()).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
