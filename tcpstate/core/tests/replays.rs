//! Every recording in the folder `recordings` is judged again, and the findings have to be those that stand beside it:
//! each by its worst severity, its class, and its program. With `UPDATE_SNAPSHOTS=1` what is found is written there.
//!
//! `cargo xtask scenarios --record` and `cargo xtask field --record` make them of real processes.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tcpstate_core::{
    diagnose::{Finding, Severity, Status, Thresholds},
    recording::{Reader, Replay},
    track::Limits,
};

/// The largest recording, and all together, bytes.
const MOST: u64 = 200_000;
const MOST_IN_ALL: u64 = 4_000_000;
const LIMITS: Limits = Limits { max_sockets: 1_000_000, max_resets: 10_000 };

#[test]
fn recordings_are_judged_as_they_were() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings");
    let update = env::var_os("UPDATE_SNAPSHOTS").is_some();
    let recordings = recordings(&folder)?;
    assert!(recordings.len() > 20, "{} has only {} recordings", folder.display(), recordings.len());
    let mut wrong = Vec::new();
    for recording in recordings {
        let name = recording.display().to_string();
        let found = findings(&recording).with_context(|| name.clone())?;
        let beside = recording.with_extension("findings");
        if update {
            fs::write(&beside, &found)?;
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{name}\nexpected:\n{expected}found:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{} are judged otherwise:\n\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// A clone of the repository has to stay quick.
#[test]
fn recordings_are_small() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings");
    let mut bytes = Vec::new();
    for recording in recordings(&folder)? {
        bytes.push((fs::metadata(&recording)?.len(), recording));
    }
    let total: u64 = bytes.iter().map(|(bytes, _)| bytes).sum();
    assert!(total <= MOST_IN_ALL, "{total} bytes in all");
    let largest = bytes.iter().max().context("there are some")?;
    assert!(largest.0 <= MOST, "{largest:?}");
    Ok(())
}

fn recordings(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(recordings(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "tcpstate") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A line for each finding that was ever open, the worst first.
fn findings(recording: &Path) -> Result<String> {
    let mut reader = Reader::new(BufReader::new(File::open(recording)?))?;
    let mut replay = Replay::new(&Thresholds::default(), LIMITS, reader.header().reset_reasons.clone());
    let mut worst = BTreeMap::<String, Severity>::new();
    while let Some(input) = reader.input()? {
        if replay.take(input).is_none() {
            continue;
        }
        for finding in replay.diagnosis().findings().iter().filter(|finding| finding.status == Status::Open) {
            let what = format!("{} {}", finding.class.name(), program(finding));
            let severity = worst.entry(what).or_insert(finding.severity);
            *severity = finding.severity.max(*severity);
        }
    }
    let mut lines: Vec<_> = worst.into_iter().collect();
    lines.sort_by(|(what, severity), (other, than)| than.cmp(severity).then(what.cmp(other)));
    let mut text = String::new();
    for (what, severity) in lines {
        writeln!(text, "{} {what}", severity.name())?;
    }
    Ok(text)
}

/// The name of its program, as a verdict has it: of an interpreter the script.
fn program(finding: &Finding) -> String {
    let subject = &finding.subject;
    let path = subject.script.as_ref().or(subject.exe.as_ref()).or(subject.comm.as_ref());
    path.map_or("-", |path| path.rsplit('/').next().unwrap_or(path)).to_owned()
}
