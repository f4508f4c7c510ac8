//! What many sockets cost: the daemon's census against `ss -tan`, its memory, and its answers during churn.

mod latency;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::latency::Latencies;
use super::{
    numbers::{Spread, as_f64},
    process,
    stage::{Closer, Stage},
    subjects::Subjects,
    table::{or_dash, table},
};
use crate::{daemon::Daemon, http::Connection, say::say};

const SIZES: [u64; 3] = [10_000, 100_000, 500_000];
const QUICK_SIZES: [u64; 2] = [10_000, 100_000];
/// What is asked while connections come and go, and its column's head.
const QUESTIONS: [(&str, &str); 2] = [
    ("/metrics", "/metrics p50 / p99, ms"),
    ("/api/v1/sockets?state=CLOSE_WAIT&limit=100", "/api/v1/sockets p50 / p99, ms"),
];
/// Room at least: for what churn leaves in `TIME_WAIT` beside them.
const USUAL_ROOM: u64 = 262_144;
/// The daemon's default for the shortest time between two censuses, nearly: before, there is nothing to ask.
const NO_CENSUS: Duration = Duration::from_secs(4);
/// A question about all sockets, to which none is the answer.
const SOONER: &str = "/api/v1/sockets?port=1&limit=1";
/// How long a census may let us wait.
const PATIENCE: Duration = Duration::from_mins(2);

/// What was measured with so many sockets present.
struct Row {
    sockets: u64,
    census_ms: Vec<f64>,
    /// The daemon's time on the processors from one census to the next, ms.
    census_cpu_ms: Vec<f64>,
    ss_ms: Vec<f64>,
    ss_cpu_ms: Vec<f64>,
    /// Every second of those in which nothing changes.
    resident_mb: Vec<f64>,
    /// Share of one core while nothing changes, in percent.
    percent: f64,
    answers: Vec<Latencies>,
}

pub(super) struct Scale(Vec<Row>);

/// # Errors
/// When the sockets cannot be made, or the daemon fails.
pub(super) fn measure(subjects: &Subjects, quick: bool) -> Result<Scale> {
    let sizes: &[u64] = if quick { &QUICK_SIZES } else { &SIZES };
    let rows = sizes.iter().map(|sockets| row(subjects, *sockets, quick));
    Ok(Scale(rows.collect::<Result<_>>()?))
}

fn row(subjects: &Subjects, sockets: u64, quick: bool) -> Result<Row> {
    let (samples, steady_s, asking_s) = if quick { (3, 10, 4) } else { (5, 150, 10) };
    subjects.bpftool.wait_until_nothing_traces()?;
    say(format!("scale: making {sockets} sockets"));
    let stage = subjects.stage()?;
    // Half of the pairs have one end in CLOSE_WAIT, and the other in FIN_WAIT2.
    let _established = stage.park("established", sockets / 4)?;
    let _closing = stage.park("close-wait", sockets / 4)?;
    // Connections that come and go meanwhile leave their share in TIME_WAIT.
    let daemon = subjects.start_daemon_for((2 * sockets).max(USUAL_ROOM))?;
    let mut connection = daemon.connect()?;
    let mut row = Row {
        sockets,
        census_ms: Vec::new(),
        census_cpu_ms: Vec::new(),
        ss_ms: Vec::new(),
        ss_cpu_ms: Vec::new(),
        resident_mb: Vec::new(),
        percent: 0.0,
        answers: Vec::new(),
    };
    say(format!("scale: {sockets} sockets, census and ss in turn"));
    let mut last = next_census(&mut connection, None)?;
    ensure!(last.sockets >= sockets, "the daemon sees only {} of {sockets} sockets", last.sockets);
    let mut before = process::activity(daemon.pid())?;
    for _ in 0..samples {
        row.list_with_ss(&stage)?;
        thread::sleep(NO_CENSUS);
        last = next_census(&mut connection, Some(&last))?;
        row.census_ms.push(last.took_ms);
        let now = process::activity(daemon.pid())?;
        row.census_cpu_ms.push(as_f64(now.since(&before).running_ns) / 1e6);
        before = now;
    }
    say(format!("scale: {sockets} sockets, {steady_s} s in which nothing changes"));
    (row.percent, row.resident_mb) = at_rest(&daemon, steady_s)?;
    for (question, _) in QUESTIONS {
        say(format!("scale: {sockets} sockets, asking for {question} during churn"));
        let mut churn = stage.start_churn(Closer::Client, asking_s + 1)?;
        row.answers.push(latency::ask(&mut connection, question, Duration::from_secs(asking_s))?);
        churn.first_line().context("the load failed")?;
    }
    drop(daemon);
    Ok(row)
}

/// What the daemon says of a census.
struct Census {
    finished_at: String,
    took_ms: f64,
    sockets: u64,
}

/// Waits for a census of all sockets other than `last`. The daemon takes one sooner if somebody asks for sockets.
fn next_census(connection: &mut Connection, last: Option<&Census>) -> Result<Census> {
    let begun = Instant::now();
    loop {
        connection.get(SOONER)?;
        let status = connection.json("/api/v1/status")?;
        let census = &status["census"];
        if census["states_left_out"].as_array().is_some_and(Vec::is_empty)
            && let (Some(finished_at), Some(took_ms), Some(sockets)) =
                (census["finished_at"].as_str(), census["took_ms"].as_f64(), census["sockets"].as_u64())
            && last.is_none_or(|last| last.finished_at != finished_at)
        {
            return Ok(Census { finished_at: finished_at.to_owned(), took_ms, sockets });
        }
        ensure!(begun.elapsed() < PATIENCE, "the daemon took no census within {} s", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(100));
    }
}

/// The daemon's share of one core while nothing changes, in percent, and its memory every second, MB.
fn at_rest(daemon: &Daemon, seconds: u64) -> Result<(f64, Vec<f64>)> {
    let before = process::activity(daemon.pid())?;
    let begun = Instant::now();
    let mut resident_mb = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds) {
        resident_mb.push(as_f64(process::resident_kb(daemon.pid())?) / 1024.0);
        thread::sleep(Duration::from_secs(1));
    }
    let done = process::activity(daemon.pid())?.since(&before);
    let percent = as_f64(done.running_ns) / 1e7 / begun.elapsed().as_secs_f64();
    Ok((percent, resident_mb))
}

impl Row {
    fn list_with_ss(&mut self, stage: &Stage) -> Result<()> {
        let before = process::cpu_of_ended_children()?;
        let begun = Instant::now();
        stage.list_sockets()?;
        self.ss_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        let spent = process::cpu_of_ended_children()? - before;
        self.ss_cpu_ms.push((spent.user_s + spent.system_s) * 1e3);
        Ok(())
    }

    fn cells(&self) -> Vec<String> {
        let show = |values: &[f64]| or_dash(Spread::of(values).map(|spread| format!("{spread:.0}")));
        let mut cells = vec![
            self.sockets.to_string(),
            show(&self.census_ms),
            show(&self.ss_ms),
            show(&self.census_cpu_ms),
            show(&self.ss_cpu_ms),
            show(&self.resident_mb),
            format!("{:.2}", self.percent),
        ];
        cells.extend(self.answers.iter().map(Latencies::to_string));
        cells
    }
}

impl Scale {
    pub(super) fn markdown(&self) -> String {
        let heads = [
            "sockets",
            "census, ms",
            "ss -tan, ms",
            "CPU from census to census, ms",
            "CPU of ss, ms",
            "RSS, MB",
            "CPU at rest, % of one core",
        ];
        let heads: Vec<_> = heads.into_iter().chain(QUESTIONS.map(|(_, head)| head)).collect();
        let rows: Vec<_> = self.0.iter().map(Row::cells).collect();
        format!(
            "## Many sockets\n\nHalf of them ESTABLISHED, a quarter CLOSE_WAIT, a quarter FIN_WAIT2. Answers are to \
            {} requests a second over\none connection, during churn on all cores; where a rate stands beside, they \
            took too long for more.\n\n{}",
            latency::PER_SECOND,
            table(&heads, &rows)
        )
    }

    pub(super) fn json(&self) -> Value {
        let spread = |values: &[f64]| Spread::of(values).map(Spread::json);
        let rows = self.0.iter().map(|row| {
            json!({
                "sockets": row.sockets,
                "census_ms": spread(&row.census_ms),
                "census_cpu_ms": spread(&row.census_cpu_ms),
                "ss_ms": spread(&row.ss_ms),
                "ss_cpu_ms": spread(&row.ss_cpu_ms),
                "resident_mb": spread(&row.resident_mb),
                "cpu_percent": row.percent,
                "answers": row.answers.iter().map(Latencies::json).collect::<Vec<_>>(),
            })
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Latencies, QUESTIONS, Row, Scale, latency::Taken};

    #[test]
    fn a_row_has_a_cell_for_each_head() {
        let taken = [1, 3].map(Duration::from_millis).map(|it| Taken { from_question: it, from_due: it });
        let took = Duration::from_millis(40);
        let answers = QUESTIONS.map(|(question, _)| Latencies::of(question, &taken, took).unwrap()).into();
        let row = Row {
            sockets: 10_000,
            census_ms: vec![5.0, 7.0, 6.0],
            census_cpu_ms: vec![8.0],
            ss_ms: vec![30.0],
            ss_cpu_ms: vec![20.0],
            resident_mb: vec![21.4, 21.4, 40.2],
            percent: 0.123,
            answers,
        };
        let expected = "| 10000 | 6 (5–7) | 30 (30–30) | 8 (8–8) | 20 (20–20) | 21 (21–40) | 0.12 | 2.0 / 3.0 | 2.0 / 3.0 |\n";
        let text = Scale(vec![row]).markdown();
        assert!(text.ends_with(expected), "{text}");
        let head = text.lines().find(|line| line.starts_with("| sockets")).unwrap();
        assert_eq!(head.matches('|').count(), expected.matches('|').count());
    }
}
