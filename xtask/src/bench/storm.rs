//! Connections that end in resets as fast as the machine makes them, each from another port: whether memory and
//! series stay within bounds, and whether the API still answers.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    numbers::{Spread, as_f64, percentile},
    process,
    stage::Closer,
    subjects::{Subjects, page},
    table::{or_dash, table},
};
use crate::say::say;

/// How often the daemon is asked meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Storm {
    seconds: u64,
    connections: String,
    resident_mb: [f64; 2],
    series: [u64; 2],
    /// Time to each answer of `/api/v1/status`, ms.
    answers_ms: Vec<f64>,
}

/// # Errors
/// When the load or the daemon fails.
pub(super) fn measure(subjects: &Subjects, quick: bool) -> Result<Storm> {
    subjects.bpftool.wait_until_nothing_traces()?;
    let seconds = if quick { 10 } else { 60 };
    let stage = subjects.stage()?;
    let daemon = subjects.start_daemon()?;
    let mut connection = daemon.connect()?;
    // The first census, and what asking takes.
    thread::sleep(Duration::from_secs(2));
    let series_before = page(&mut connection)?.series()?;
    let resident_before = process::resident_kb(daemon.pid())?;
    say(format!("storm: resets for {seconds} s"));
    let mut load = stage.start_churn(Closer::Reset, seconds)?;
    let begun = Instant::now();
    let mut answers_ms = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let asked = Instant::now();
        connection.get("/api/v1/status")?;
        answers_ms.push(asked.elapsed().as_secs_f64() * 1e3);
        thread::sleep(PAUSE);
    }
    let line = load.first_line().context("the load failed")?;
    let resident_after = process::resident_kb(daemon.pid())?;
    let series_after = page(&mut connection)?.series()?;
    Ok(Storm {
        seconds,
        connections: line.rsplit(' ').next().unwrap_or_default().to_owned(),
        resident_mb: [resident_before, resident_after].map(|kb| as_f64(kb) / 1024.0),
        series: [series_before, series_after],
        answers_ms,
    })
}

impl Storm {
    pub(super) fn markdown(&self) -> String {
        const HEADS: [&str; 3] = ["tcpstate", "before", "after"];
        let memory = self.resident_mb.map(|mb| format!("{mb:.1}"));
        let series = self.series.map(|count| count.to_string());
        let row = |name: &str, cells: [String; 2]| [name.to_owned()].into_iter().chain(cells).collect();
        let rows: [Vec<_>; 2] = [row("RSS, MB", memory), row("series of /metrics", series)];
        let answer = |percent| or_dash(percentile(&self.answers_ms, percent).map(|ms| format!("{ms:.1}")));
        let Self { seconds, connections, .. } = self;
        format!(
            "## Storm\n\n{connections} connections, each ended by a reset, in {seconds} s. Meanwhile \
            /api/v1/status answered within {} ms (median), and within\n{} ms at worst.\n\n{}",
            answer(50.0),
            answer(100.0),
            table(&HEADS, &rows)
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "connections": self.connections.parse::<u64>().ok(),
            "resident_mb": self.resident_mb,
            "series": self.series,
            "status_ms": Spread::of(&self.answers_ms).map(Spread::json),
        })
    }
}
