//! How long answers take, asked for at a steady pace over one connection. Where they take too long for that pace,
//! the pace that was reached belongs to the result.

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
    /// From the question.
    p50: f64,
    p99: f64,
    max: f64,
    /// From when the question was due: an answer that took long made others late.
    p99_from_due: f64,
    /// Answers a second.
    rate: f64,
}

/// One answer.
pub(super) struct Taken {
    pub(super) from_question: Duration,
    pub(super) from_due: Duration,
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
    let mut taken = Vec::new();
    while begun.elapsed() < how_long {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        connection.get(question)?;
        taken.push(Taken { from_question: asked.elapsed(), from_due: due.elapsed() });
        due += pause;
    }
    Latencies::of(question, &taken, begun.elapsed()).context("nothing was asked")
}

impl Latencies {
    pub(super) fn of(question: &'static str, taken: &[Taken], took: Duration) -> Option<Self> {
        let ms = |which: fn(&Taken) -> Duration| {
            taken.iter().map(|it| which(it).as_secs_f64() * 1e3).collect::<Vec<_>>()
        };
        let answered = ms(|it| it.from_question);
        Some(Self {
            question,
            p50: percentile(&answered, 50.0)?,
            p99: percentile(&answered, 99.0)?,
            max: percentile(&answered, 100.0)?,
            p99_from_due: percentile(&ms(|it| it.from_due), 99.0)?,
            rate: as_f64(taken.len() as u64) / took.as_secs_f64(),
        })
    }

    pub(super) fn json(&self) -> Value {
        let Self { question, p50, p99, max, p99_from_due, rate } = self;
        json!({
            "question": question,
            "p50_ms": p50,
            "p99_ms": p99,
            "max_ms": max,
            "p99_from_due_ms": p99_from_due,
            "per_second": rate,
        })
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, rate, .. } = self;
        write!(f, "{p50:.1} / {p99:.1}")?;
        // The last question may be due a little before the end.
        if *rate < as_f64(PER_SECOND) * 0.98 {
            write!(f, " at {rate:.0}/s")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Latencies, Taken};

    fn taken() -> Vec<Taken> {
        let ms = (0..=100).map(Duration::from_millis);
        ms.map(|it| Taken { from_question: it, from_due: it * 2 }).collect()
    }

    #[test]
    fn the_slowest_in_a_hundred_is_shown_beside_the_usual() {
        let latencies = Latencies::of("/metrics", &taken(), Duration::from_secs(2)).unwrap();
        assert_eq!(latencies.to_string(), "50.0 / 99.0");
        assert!((latencies.p99_from_due - 198.0).abs() < 1e-9);
        assert!(Latencies::of("/metrics", &[], Duration::from_secs(2)).is_none());
    }

    #[test]
    fn a_pace_that_was_not_kept_is_told() {
        let latencies = Latencies::of("/metrics", &taken(), Duration::from_secs(5)).unwrap();
        assert_eq!(latencies.to_string(), "50.0 / 99.0 at 20/s");
    }
}
