//! Plays one case beside a daemon: sets its stage, polls the findings, keeps the evidence, and has it judged.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    case::Case,
    finding::{Finding, Record},
    judge::{self, Outcome},
    processes::Roles,
    report::{self, Line},
    room::{self, Namespace},
    stage::Stage,
};
use crate::{
    daemon::Daemon,
    http::Connection,
    recording::{Cut, Warned, worst},
};

/// How often the daemon is asked.
const POLL: Duration = Duration::from_millis(500);

/// What the cases of a run share.
pub(super) struct Field<'a> {
    pub(super) daemon: &'a Daemon,
    /// The folder for evidence.
    pub(super) folder: PathBuf,
    /// The folder of the recordings of earlier runs, with their findings.
    pub(super) recordings: PathBuf,
    /// For how long a case is judged.
    pub(super) time: Duration,
    /// What is to be kept, if it is recorded.
    pub(super) cuts: Mutex<Vec<Cut>>,
}

/// Plays `case`. Returns how it came out, and its namespaces, whose numbers must not be given to a later case.
pub(super) fn play(field: &Field<'_>, case: &Case) -> (Outcome, Vec<Namespace>) {
    let folder = field.folder.join(case.name);
    let begun_as_of = field.as_of();
    let failed = |error: anyhow::Error| Outcome {
        wrong: vec![format!("the case itself failed: {error:#}")],
        ..Outcome::default()
    };
    let scratch = folder.join("scratch");
    let stage = room::empty_folder(&folder).and_then(|()| Stage::open(&scratch, &field.folder.join("cache")));
    let mut stage = match stage {
        Ok(stage) => stage,
        Err(error) => return (failed(error), Vec::new()),
    };
    let outcome = begun_as_of
        .and_then(|begun_as_of| perform(field, case, &mut stage, &folder, begun_as_of))
        .unwrap_or_else(failed);
    let namespaces = stage.close();
    // The sources and data of the programs are of no use any more.
    let _ = fs::remove_dir_all(&scratch);
    (outcome, namespaces)
}

impl Field<'_> {
    /// The daemon's clock.
    fn as_of(&self) -> Result<String> {
        let answer = self.daemon.connect()?.json("/api/v1/findings")?;
        Ok(answer["as_of"].as_str().unwrap_or_default().to_owned())
    }
}

fn perform(
    field: &Field<'_>,
    case: &Case,
    stage: &mut Stage,
    folder: &Path,
    begun_as_of: String,
) -> Result<Outcome> {
    let namespaces: BTreeSet<u64> = stage.namespaces()?.into_iter().collect();
    let set = (case.set)(stage);
    let connection = field.daemon.connect()?;
    let mut watch = Watch { connection, record: Record::default(), namespaces, begun_as_of };
    // A second machine may have been added meanwhile.
    watch.namespaces.extend(stage.namespaces()?);
    let stood = Instant::now();
    let time = case.seconds.map_or(field.time, Duration::from_secs);
    while set.is_ok() && stood.elapsed() < time {
        let begun = Instant::now();
        stage.look();
        watch.poll(stood.elapsed(), &stage.roles())?;
        thread::sleep(POLL.saturating_sub(begun.elapsed()));
    }
    let (roles, until) = (stage.roles(), SystemTime::now());
    let mut outcome = judge::judge(case, &roles, &watch.record);
    if let Err(error) = set.and_then(|()| (case.proof)(stage)) {
        outcome.wrong = vec![format!("the case itself failed: {error:#}")];
    }
    let warned = watch.record.warned();
    outcome.drift = drift(&field.recordings.join(format!("{}.findings", case.name)), &warned);
    if outcome.is_right() {
        let namespaces = watch.namespaces.clone();
        let cut = Cut { family: "field", name: case.name.to_owned(), namespaces, until, warned };
        field.cuts.lock().unwrap_or_else(PoisonError::into_inner).push(cut);
    }
    keep(case, stage, &watch.record, &outcome, folder).context("the evidence cannot be kept")?;
    Ok(outcome)
}

/// How what was warned of differs from what was recorded, if it does.
fn drift(recorded: &Path, warned: &Warned) -> Option<String> {
    let recorded = fs::read_to_string(recorded).ok()?;
    // A line is "warning close-wait-leak java".
    let lines = recorded.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    let recorded = worst(lines);
    (recorded != *warned).then(|| format!("recorded were {recorded:?}, and now {warned:?}"))
}

/// The findings of one case.
struct Watch {
    connection: Connection,
    record: Record,
    namespaces: BTreeSet<u64>,
    /// The daemon's clock when the case began. What was opened before is about others that had the same numbers.
    begun_as_of: String,
}

impl Watch {
    fn poll(&mut self, at: Duration, roles: &Roles) -> Result<()> {
        let answer = self.connection.json("/api/v1/findings")?;
        let is_ours = |finding: &Finding| {
            let is_here = finding.netns.is_some_and(|netns| self.namespaces.contains(&netns))
                || finding.pids.iter().any(|pid| roles.role(*pid).is_some());
            is_here && finding.opened_at > self.begun_as_of
        };
        self.record.take(at, &answer, is_ours);
        Ok(())
    }
}

/// Writes down what there was to see, for the reader who has to find out why a finding is wrong.
fn keep(case: &Case, stage: &Stage, record: &Record, outcome: &Outcome, folder: &Path) -> Result<()> {
    let pretty = |name: &str, value: &Value| {
        fs::write(folder.join(name), serde_json::to_string_pretty(value).unwrap_or_default())
    };
    pretty("findings.json", &record.evidence())?;
    pretty("outcome.json", &report::of(&Line { name: case.name, outcome: outcome.clone() }))?;
    let roles = stage.roles();
    let members = roles
        .members()
        .iter()
        .map(|(pid, member)| json!({ "pid": pid, "role": member.role, "comm": member.comm }));
    pretty("processes.json", &members.collect())?;
    fs::write(folder.join("ss.txt"), stage.evidence())?;
    for entry in fs::read_dir(stage.log_folder())?.flatten() {
        fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    Ok(())
}
