//! Judges what the daemon said of one scenario. Pure: facts and a record in, an outcome out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    classes,
    finding::Finding,
    record::{Record, Sighting},
};
use crate::recording::{Warned, worst};

/// A verdict that has to come.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// Usually one class. Several where the same trouble is rightly told from either end.
    pub(super) classes: Vec<&'static str>,
    /// The processes that it may name.
    pub(super) owners: BTreeSet<u64>,
    /// Whether nobody on the machine can know the owner, so that naming none is right too.
    pub(super) owner_may_be_unknown: bool,
    /// Whether its sample sockets have to show the owner's descriptors.
    pub(super) needs_descriptors: bool,
    /// Whether it has to be a warning or worse.
    pub(super) has_to_warn: bool,
    /// When the signature stood. Times count from the beginning of the run.
    pub(super) stood: Duration,
}

/// What is true of a scenario.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) netns: BTreeSet<u64>,
    pub(super) pids: BTreeSet<u64>,
    /// Empty for a look-alike.
    pub(super) expected: Vec<Expected>,
    /// What is also true, of which process (`None`: of any): a second trouble that the first one brings along.
    pub(super) permitted: Vec<(&'static str, Option<u64>)>,
    /// The descriptors that may be named, by process.
    pub(super) descriptors: BTreeMap<u64, BTreeSet<u64>>,
    pub(super) begun: Duration,
    /// The daemon's clock when it began. What was opened before is somebody else's.
    pub(super) begun_as_of: String,
    pub(super) ended: Duration,
}

/// How one expected verdict came out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) class: String,
    /// Seconds from the signature to the first finding of the class that names the right owner, as a warning if it has to
    /// be one.
    pub(super) seconds: Option<f64>,
    pub(super) severity: String,
    pub(super) verdict: String,
}

/// How a scenario came out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) answers: Vec<Answer>,
    /// Everything that is off the diagonal, one sentence each.
    pub(super) wrong: Vec<String>,
    /// Classes that were mentioned as `info` besides.
    pub(super) mentioned: BTreeSet<String>,
}

impl Outcome {
    pub(super) fn is_right(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// Whether all verdicts have come by now.
pub(super) fn is_complete(facts: &Facts, record: &Record) -> bool {
    facts.expected.iter().all(|expected| first_right(facts, expected, record).is_some())
}

pub(super) fn judge(facts: &Facts, record: &Record) -> Outcome {
    let mut outcome = Outcome::default();
    for expected in &facts.expected {
        outcome.answers.push(answer(facts, expected, record, &mut outcome.wrong));
    }
    let mut wrong = BTreeSet::new();
    for Sighting { finding, .. } in of(facts, record) {
        wrong.extend(stray(facts, finding));
        wrong.extend(wrongly_owned(facts, finding));
        if !finding.alerts {
            outcome.mentioned.insert(finding.class.clone());
        }
    }
    wrong.extend(doubled(facts, record));
    outcome.wrong.extend(wrong);
    outcome
}

/// What was said of this scenario while it ran. Ports and names do not count.
/// What was warned of, at most.
pub(super) fn warned(facts: &Facts, record: &Record) -> Warned {
    worst(of(facts, record).map(|sighting| {
        let Finding { severity, class, .. } = &sighting.finding;
        (severity.clone(), class.clone())
    }))
}

fn of<'a>(facts: &'a Facts, record: &'a Record) -> impl Iterator<Item = &'a Sighting> {
    record.sightings().iter().filter(|sighting| {
        let Finding { netns, pid, opened_at, .. } = &sighting.finding;
        let is_ours = netns.is_some_and(|netns| facts.netns.contains(&netns))
            || pid.is_some_and(|pid| facts.pids.contains(&pid));
        is_ours
            && (facts.begun..=facts.ended).contains(&sighting.at)
            && (opened_at.is_empty() || *opened_at > facts.begun_as_of)
    })
}

/// All findings about this scenario in the order of time, one line each.
pub(super) fn findings(facts: &Facts, record: &Record) -> Vec<String> {
    let line = |Sighting { at, finding }: &Sighting| {
        let Finding { class, severity, pid, verdict, .. } = finding;
        format!("{:.1} s: {class} ({severity}, process {pid:?}): {verdict}", at.as_secs_f64())
    };
    of(facts, record).map(line).collect()
}

fn first_right<'a>(facts: &'a Facts, expected: &Expected, record: &'a Record) -> Option<&'a Sighting> {
    of(facts, record).find(|sighting| {
        let finding = &sighting.finding;
        expected.classes.contains(&finding.class.as_str())
            && match finding.pid {
                Some(pid) => expected.owners.contains(&pid),
                None => expected.owner_may_be_unknown,
            }
            && (finding.alerts || !expected.has_to_warn)
            && (!expected.needs_descriptors || names_a_descriptor(facts, expected, finding))
    })
}

fn names_a_descriptor(facts: &Facts, expected: &Expected, finding: &Finding) -> bool {
    finding.descriptors.iter().any(|(pid, fd)| {
        expected.owners.contains(pid) && facts.descriptors.get(pid).is_some_and(|fds| fds.contains(fd))
    })
}

fn answer(facts: &Facts, expected: &Expected, record: &Record, wrong: &mut Vec<String>) -> Answer {
    let class = expected.classes[0];
    let Some(sighting) = first_right(facts, expected, record) else {
        let of_class = of(facts, record)
            .filter(|sighting| expected.classes.contains(&sighting.finding.class.as_str()))
            .last();
        wrong.push(match of_class {
            None => format!("no verdict {class}"),
            Some(sighting) => {
                let warned = if expected.has_to_warn { " in a warning" } else { "" };
                format!("{class} never named the right owner{warned}; it said: {}", sighting.finding.verdict)
            }
        });
        return Answer { class: "-".into(), seconds: None, severity: "-".into(), verdict: String::new() };
    };
    let finding = &sighting.finding;
    let took = sighting.at.saturating_sub(expected.stood);
    let deadline = classes::deadline(class);
    if took > deadline {
        wrong.push(format!("{class} took {:.1} s, more than {} s", took.as_secs_f64(), deadline.as_secs()));
    }
    Answer {
        class: finding.class.clone(),
        seconds: Some(took.as_secs_f64()),
        severity: finding.severity.clone(),
        verdict: finding.verdict.clone(),
    }
}

/// A warning of a class that is not true here.
fn stray(facts: &Facts, finding: &Finding) -> Option<String> {
    let class = finding.class.as_str();
    let expected = facts.expected.iter().any(|expected| expected.classes.contains(&class));
    let permitted = facts
        .permitted
        .iter()
        .any(|(permitted, pid)| *permitted == class && (pid.is_none() || *pid == finding.pid));
    (finding.alerts && !expected && !permitted)
        .then(|| format!("{} ({}) is not true: {}", class, finding.severity, finding.verdict))
}

/// The right class with an owner, or a descriptor, that is innocent.
fn wrongly_owned(facts: &Facts, finding: &Finding) -> Option<String> {
    let class = finding.class.as_str();
    let mut expected = facts.expected.iter().filter(|expected| expected.classes.contains(&class)).peekable();
    expected.peek()?;
    let owners: BTreeSet<u64> = expected.flat_map(|expected| &expected.owners).copied().collect();
    let permitted = facts
        .permitted
        .iter()
        .any(|(permitted, pid)| *permitted == class && (pid.is_none() || *pid == finding.pid));
    if permitted {
        return None;
    }
    if let Some(pid) = finding.pid.iter().chain(&finding.processes).find(|pid| !owners.contains(pid)) {
        return Some(format!("{class} names {pid}, who is innocent: {}", finding.verdict));
    }
    let innocent = finding.descriptors.iter().find(|(pid, fd)| {
        owners.contains(pid) && facts.descriptors.get(pid).is_some_and(|fds| !fds.contains(fd))
    });
    innocent.map(|(pid, fd)| format!("{class} names descriptor {fd} of {pid}, which is innocent"))
}

/// One trouble told more than once.
fn doubled(facts: &Facts, record: &Record) -> Vec<String> {
    let mut ids = BTreeMap::<(&str, Option<u64>), BTreeSet<&str>>::new();
    for Sighting { finding, .. } in of(facts, record) {
        if facts.expected.iter().any(|expected| expected.classes.contains(&finding.class.as_str())) {
            ids.entry((&finding.class, finding.pid)).or_default().insert(&finding.id);
        }
    }
    ids.into_iter()
        .filter(|(_, ids)| ids.len() > 1)
        .map(|((class, _), ids)| format!("{class} was told {} times", ids.len()))
        .collect()
}

#[cfg(test)]
mod tests;
