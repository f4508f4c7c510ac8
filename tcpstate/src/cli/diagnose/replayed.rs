//! `tcpstate diagnose --replay`: a recording, judged as it was.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};

use super::report::{Change, Report};
use crate::{
    cli::alone,
    diagnose::{Status, Thresholds},
    recording::{Header, Reader, Replay, Timeline, timeline::Moved},
    serve::{
        api::{findings::Findings, processes::LookedAt},
        ask::Diagnosed,
        stamp::Stamps,
    },
};

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// Judges what was recorded in a file.
///
/// # Errors
/// If it cannot be read, or is no recording that this version knows.
pub(super) fn judge(file: &Path, thresholds: &Thresholds) -> Result<Report> {
    let name = file.display();
    let open = File::open(file).with_context(|| format!("{name} cannot be read"))?;
    replay(BufReader::new(open), thresholds).with_context(|| format!("{name} cannot be replayed"))
}

fn replay(source: impl Read, thresholds: &Thresholds) -> Result<Report> {
    let mut reader = Reader::new(source)?;
    let header = reader.header().clone();
    let stamps = Stamps::at(header.at_ns, header.wall_ns);
    let mut replay = Replay::new(thresholds, alone::limits()?, header.reset_reasons.clone());
    let (mut timeline, mut changes) = (Timeline::default(), Vec::new());
    while let Some(input) = reader.input()? {
        if let Some((moment, _)) = replay.take(input) {
            let moved = timeline.step(moment.at_ns, replay.diagnosis().findings());
            changes.extend(moved.into_iter().map(|moved| change(moved, &header, &stamps)));
        }
    }
    let ended_ns = replay.last().map(|moment| moment.at_ns);
    let diagnosed = Diagnosed {
        at_ns: ended_ns,
        findings: replay.diagnosis().findings().to_vec(),
        cannot_see: replay.diagnosis().cannot_see().to_vec(),
        not_looked_at: replay.diagnosis().not_looked_at().to_vec(),
        holders: Arc::clone(replay.holders()),
        tracked: replay.tracked(),
        ..Diagnosed::default()
    };
    let mut findings = Findings::of(&diagnosed, &stamps);
    findings.findings.retain(|finding| finding.status == Status::Open);
    if reader.is_cut_off() {
        findings.cannot_see.push("The recording is cut off: what came after this was lost.".to_owned());
    }
    if replay.lost() > 0 {
        let lost = replay.lost();
        findings
            .cannot_see
            .push(format!("{lost} inputs are missing in the recording: they came too fast to be written."));
    }
    let ended_ns = ended_ns.unwrap_or(header.at_ns);
    let seconds = ended_ns.saturating_sub(header.at_ns) / NS_PER_S;
    let whence =
        format!("in a recording of {seconds} s by tcpstate {} on Linux {}", header.tcpstate, header.kernel);
    let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(stamps.wall_ns(ended_ns));
    Ok(Report { findings, looked_at: LookedAt::of(&diagnosed), whence, now, timeline: Some(changes) })
}

fn change(moved: Moved, header: &Header, stamps: &Stamps) -> Change {
    let Moved { at_ns, change, id, class, severity, verdict } = moved;
    let after_ms = at_ns.saturating_sub(header.at_ns) / NS_PER_MS;
    Change { at: stamps.millis(at_ns), after_ms, what: change, id, class, severity, verdict }
}
