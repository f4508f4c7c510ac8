//! Judges the findings of one case. Pure: the expectation, the processes and the findings in, an outcome out.

use std::{collections::BTreeSet, time::Duration};

use super::{
    case::{Case, Severity, Want},
    finding::{Finding, Record, Sighting},
    processes::Roles,
    wording,
};

/// How a case came out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// The findings that were wanted and came.
    pub(super) answers: Vec<Answer>,
    /// What is missing or wrong, one sentence each.
    pub(super) wrong: Vec<String>,
    /// Warnings about processes that did nothing wrong.
    pub(super) alarms: Vec<String>,
    /// Sentences that no reader should have to read.
    pub(super) wording: Vec<String>,
    /// Classes that were mentioned as info besides.
    pub(super) mentioned: BTreeSet<String>,
    /// How what was warned of differs from the recording of an earlier run, if it does.
    pub(super) drift: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) class: String,
    pub(super) severity: Severity,
    pub(super) seconds: f64,
    pub(super) verdict: String,
}

impl Outcome {
    pub(super) fn is_right(&self) -> bool {
        self.wrong.is_empty() && self.alarms.is_empty() && self.wording.is_empty()
    }

    /// In one word or two.
    pub(super) fn label(&self) -> &'static str {
        match (self.wrong.is_empty(), self.alarms.is_empty(), self.wording.is_empty()) {
            (false, _, _) => "WRONG",
            (true, false, _) => "FALSE ALARM",
            (true, true, false) => "WORDING",
            (true, true, true) => "right",
        }
    }
}

pub(super) fn judge(case: &Case, roles: &Roles, record: &Record) -> Outcome {
    let mut outcome = Outcome::default();
    let findings = record.by_id();
    let mut taken = BTreeSet::new();
    for want in case.wants {
        match best(want, roles, &findings.values().collect::<Vec<_>>()) {
            Some(forms) => {
                taken.insert(forms[0].finding.id.as_str());
                weigh(want, roles, forms, &mut outcome);
            }
            None => outcome.wrong.push(missing(want, roles, record)),
        }
    }
    for (id, forms) in &findings {
        let texts: BTreeSet<_> = forms
            .iter()
            .flat_map(|sighting| wording::complaints(&sighting.finding.text))
            .map(|complaint| format!("{}: {complaint}", forms[0].finding.class))
            .collect();
        outcome.wording.extend(texts);
        if taken.contains(id) {
            continue;
        }
        let worst = forms.iter().max_by_key(|sighting| sighting.finding.severity);
        let Some(Sighting { finding, .. }) = worst else { continue };
        let again = case.wants.iter().any(|want| is_about(want, roles, finding));
        let permitted = case.permits.iter().any(|(class, role)| {
            *class == finding.class && first_role(roles, finding).is_some_and(|it| it == *role)
        });
        if again {
            outcome.wrong.push(format!("a second finding of the same: {}", quote(finding)));
        } else if finding.severity == Severity::Info {
            outcome.mentioned.insert(finding.class.clone());
        } else if !permitted {
            outcome.alarms.push(quote(finding));
        }
    }
    outcome
}

/// Of the findings that are about what is wanted the one with the worst severity; all its forms.
fn best<'a>(want: &Want, roles: &Roles, findings: &[&'a Vec<&'a Sighting>]) -> Option<&'a [&'a Sighting]> {
    let worst = |forms: &[&Sighting]| forms.iter().map(|sighting| sighting.finding.severity).max();
    let about = findings.iter().filter(|forms| forms.iter().any(|it| is_about(want, roles, &it.finding)));
    about.max_by_key(|forms| worst(forms)).map(|forms| forms.as_slice())
}

fn is_about(want: &Want, roles: &Roles, finding: &Finding) -> bool {
    let role = first_role(roles, finding);
    want.classes.contains(&finding.class.as_str()) && role.is_some_and(|role| want.at.contains(&role))
}

/// The role of the process that a finding names first. One that was too short-lived to be seen has the role of the
/// others that it names.
fn first_role(roles: &Roles, finding: &Finding) -> Option<&'static str> {
    finding.pids.iter().find_map(|pid| roles.role(*pid))
}

/// Whether a finding that was wanted is right in every respect.
fn weigh(want: &Want, roles: &Roles, forms: &[&Sighting], outcome: &mut Outcome) {
    let class = &forms[0].finding.class;
    let bad = |finding: &Finding| is_about(want, roles, finding) && finding.severity >= want.least;
    let Some(first) = forms.iter().find(|sighting| bad(&sighting.finding)) else {
        let last = &forms[forms.len() - 1].finding;
        let (is, wanted) = (last.severity.name(), want.least.name());
        outcome.wrong.push(format!("{class} is {is}, not {wanted}: {}", last.verdict));
        return;
    };
    if let Some(within) = want.within
        && first.at > Duration::from_secs(within)
    {
        outcome.wrong.push(format!("{class} came after {:.0} s, not {within}", first.at.as_secs_f64()));
    }
    let mut later = forms.iter().filter(|sighting| sighting.at > first.at).map(|sighting| &sighting.finding);
    if let Some(less) = later.find(|finding| !finding.open || finding.severity < want.least) {
        let what = if less.open { less.severity.name() } else { "resolved" };
        outcome.wrong.push(format!("{class} became {what} although it lasts: {}", less.verdict));
    }
    let told = forms.iter().rev().find(|sighting| bad(&sighting.finding)).unwrap_or(first);
    outcome.wrong.extend(content(want, roles, &told.finding));
    outcome.answers.push(Answer {
        class: class.clone(),
        severity: told.finding.severity,
        seconds: first.at.as_secs_f64(),
        verdict: told.finding.verdict.clone(),
    });
}

/// What a finding does not contain and should.
fn content(want: &Want, roles: &Roles, finding: &Finding) -> Vec<String> {
    let Finding { class, text, verdict, .. } = finding;
    let lower = text.to_lowercase();
    let mut wrong = Vec::new();
    for words in want.says {
        if !words.split('|').any(|word| lower.contains(&word.to_lowercase())) {
            wrong.push(format!("{class} does not mention {}: {verdict}", words.replace('|', " or ")));
        }
    }
    for role in want.names {
        let named = roles.pids(role).any(|pid| text.contains(&format!("[{pid}]")));
        if !named {
            wrong.push(format!("{class} does not name the {role}: {verdict}"));
        }
    }
    if finding.process_count < want.processes {
        let (has, wanted) = (finding.process_count, want.processes);
        wrong.push(format!("{class} is about {has} processes, not {wanted}: {verdict}"));
    }
    let strangers: BTreeSet<_> = finding
        .pids
        .iter()
        .filter_map(|pid| roles.role(*pid))
        .filter(|role| !want.at.contains(role))
        .collect();
    wrong.extend(
        strangers.iter().map(|role| format!("{class} counts the {role} among its subject: {verdict}")),
    );
    wrong
}

/// Why there is no finding that was wanted: the nearest that there was.
fn missing(want: &Want, roles: &Roles, record: &Record) -> String {
    let classes = want.classes.join(" or ");
    let at = want.at.join(" or ");
    let of_class =
        record.sightings().iter().rev().find(|it| want.classes.contains(&it.finding.class.as_str()));
    match of_class {
        None => format!("no {classes} at {at}"),
        Some(Sighting { finding, .. }) => {
            let role = first_role(roles, finding).unwrap_or("no process");
            format!("{classes} at {role}, not at {at}: {}", finding.verdict)
        }
    }
}

fn quote(finding: &Finding) -> String {
    format!("{} ({}): {}", finding.class, finding.severity.name(), finding.verdict)
}

#[cfg(test)]
mod tests;
