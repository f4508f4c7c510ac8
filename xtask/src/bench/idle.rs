//! What the daemon costs where nothing happens.

use std::{thread, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    numbers::as_f64,
    process,
    subjects::{Subjects, settle},
    table::table,
};
use crate::say::say;

pub(super) struct Idle {
    /// Share of one core, in percent.
    percent: f64,
    wakeups_per_s: f64,
    resident_mb: f64,
    seconds: u64,
}

/// # Errors
/// When the daemon fails.
pub(super) fn measure(subjects: &Subjects, quick: bool) -> Result<Idle> {
    subjects.bpftool.wait_until_nothing_traces()?;
    let seconds = if quick { 10 } else { 60 };
    let daemon = subjects.start_daemon()?;
    settle(&mut daemon.connect()?)?;
    say(format!("idle: watching the daemon do nothing for {seconds} s"));
    // What asking it has stirred up comes to rest.
    thread::sleep(Duration::from_secs(10));
    let before = process::activity(daemon.pid())?;
    thread::sleep(Duration::from_secs(seconds));
    let done = process::activity(daemon.pid())?.since(&before);
    Ok(Idle {
        percent: as_f64(done.running_ns) / 1e7 / as_f64(seconds),
        wakeups_per_s: as_f64(done.wakeups) / as_f64(seconds),
        resident_mb: as_f64(process::resident_kb(daemon.pid())?) / 1024.0,
        seconds,
    })
}

impl Idle {
    pub(super) fn markdown(&self) -> String {
        const HEADS: [&str; 4] = ["subject", "CPU, % of one core", "wakeups per s", "RSS, MB"];
        let Self { percent, wakeups_per_s, resident_mb, seconds } = self;
        let row = vec![
            "tcpstate".to_owned(),
            format!("{percent:.3}"),
            format!("{wakeups_per_s:.1}"),
            format!("{resident_mb:.1}"),
        ];
        let text = table(&HEADS, &[row]);
        format!(
            "## Idle\n\nThe daemon with its defaults for {seconds} s in which nobody asks it anything.\n\n{text}"
        )
    }

    pub(super) fn json(&self) -> Value {
        let Self { percent, wakeups_per_s, resident_mb, seconds } = self;
        json!({
            "cpu_percent": percent,
            "wakeups_per_second": wakeups_per_s,
            "resident_mb": resident_mb,
            "seconds": seconds,
        })
    }
}
