//! What the judge reads of a finding, and all findings of a case over time.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::case::Severity;
use crate::recording::{Warned, worst};

/// A finding as it was at one poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) id: String,
    pub(super) class: String,
    pub(super) severity: Severity,
    pub(super) open: bool,
    /// When it was opened, by the daemon's clock.
    pub(super) opened_at: String,
    pub(super) netns: Option<u64>,
    /// The processes that it is about, the first one first.
    pub(super) pids: Vec<u32>,
    pub(super) process_count: u64,
    /// What the first process runs: the script, or else the program's file.
    pub(super) program: String,
    pub(super) verdict: String,
    /// Everything that a reader gets to read.
    pub(super) text: String,
}

impl Finding {
    pub(super) fn of(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pid = |value: &Value| value["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let subject = &value["subject"];
        let mut pids: Vec<u32> = pid(subject).into_iter().collect();
        pids.extend(subject["processes"].as_array().into_iter().flatten().filter_map(pid));
        let evidence = value["evidence"].as_array().into_iter().flatten().chain([
            &value["verdict"],
            &value["harm"]["text"],
            &value["remedy"],
        ]);
        let program = subject["script"].as_str().or_else(|| subject["exe"].as_str());
        Self {
            id: text(&value["id"]),
            class: text(&value["class"]),
            severity: Severity::of(&text(&value["severity"])),
            open: value["status"] == "open",
            opened_at: text(&value["opened_at"]),
            netns: subject["netns"].as_u64(),
            pids,
            process_count: subject["process_count"].as_u64().unwrap_or(1),
            program: program.unwrap_or_default().to_owned(),
            verdict: text(&value["verdict"]),
            text: evidence.map(text).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// A finding in a form in which it was seen. Times count from the moment at which the situation stood; what was seen
/// before has the time 0.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub(super) at: Duration,
    pub(super) finding: Finding,
}

/// Every finding in every form, poll by poll.
#[derive(Default)]
pub(super) struct Record {
    sightings: Vec<Sighting>,
    last: BTreeMap<String, Value>,
    forms: Vec<Value>,
}

impl Record {
    /// Takes in those findings of one answer that `is_ours` picks.
    pub(super) fn take(&mut self, at: Duration, answer: &Value, is_ours: impl Fn(&Finding) -> bool) {
        for value in answer["findings"].as_array().into_iter().flatten() {
            let finding = Finding::of(value);
            let id = finding.id.clone();
            if self.last.get(&id) == Some(value) || !is_ours(&finding) {
                continue;
            }
            self.last.insert(id, value.clone());
            self.forms.push(json!({ "at": at.as_secs_f64(), "finding": value }));
            self.sightings.push(Sighting { at, finding });
        }
    }

    pub(super) fn sightings(&self) -> &[Sighting] {
        &self.sightings
    }

    /// What was warned of, at most.
    pub(super) fn warned(&self) -> Warned {
        worst(
            self.sightings
                .iter()
                .map(|Sighting { finding, .. }| (finding.severity.name().to_owned(), finding.class.clone())),
        )
    }

    /// All forms of each finding, one after the other in time.
    pub(super) fn by_id(&self) -> BTreeMap<&str, Vec<&Sighting>> {
        let mut all = BTreeMap::<&str, Vec<&Sighting>>::new();
        for sighting in &self.sightings {
            all.entry(&sighting.finding.id).or_default().push(sighting);
        }
        all
    }

    /// The findings as the daemon gave them, for the evidence: the last form of each, and all forms.
    pub(super) fn evidence(&self) -> Value {
        json!({ "last": self.last, "forms": self.forms })
    }
}
