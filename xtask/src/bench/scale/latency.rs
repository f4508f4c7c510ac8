//! How long answers take, asked for at a steady pace: a slow answer delays the next question, and that counts.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    bench::numbers::{as_f64, percentile},
    http::Connection,
};

/// Questions a second.
pub(super) const PER_SECOND: u64 = 50;

/// How long answers took, ms.
pub(super) struct Latencies {
    question: &'static str,
    p50: f64,
    p99: f64,
    max: f64,
}

/// Asks for so long.
///
/// # Errors
/// When the daemon does not answer.
pub(super) fn ask(
    connection: &mut Connection,
    question: &'static str,
    how_long: Duration,
) -> Result<Latencies> {
    let begun = Instant::now();
    let pause = Duration::from_secs(1).div_f64(as_f64(PER_SECOND));
    let mut due = begun;
    let mut taken_ms = Vec::new();
    while due.duration_since(begun) < how_long {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        connection.get(question)?;
        taken_ms.push(due.elapsed().as_secs_f64() * 1e3);
        due += pause;
    }
    Latencies::of(question, &taken_ms).context("nothing was asked")
}

impl Latencies {
    pub(super) fn of(question: &'static str, taken_ms: &[f64]) -> Option<Self> {
        let at = |percent| percentile(taken_ms, percent);
        Some(Self { question, p50: at(50.0)?, p99: at(99.0)?, max: at(100.0)? })
    }

    pub(super) fn json(&self) -> Value {
        let Self { question, p50, p99, max } = self;
        json!({ "question": question, "p50_ms": p50, "p99_ms": p99, "max_ms": max })
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} / {:.1}", self.p50, self.p99)
    }
}

#[cfg(test)]
mod tests {
    use super::Latencies;

    #[test]
    fn the_slowest_in_a_hundred_is_shown_beside_the_usual() {
        let taken: Vec<_> = (0..=100).map(f64::from).collect();
        assert_eq!(Latencies::of("/metrics", &taken).unwrap().to_string(), "50.0 / 99.0");
        assert!(Latencies::of("/metrics", &[]).is_none());
    }
}
