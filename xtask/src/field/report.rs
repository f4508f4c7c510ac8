//! The outcome of a run as a table and as JSON.

use serde_json::{Value, json};

use super::{case::Case, judge::Outcome};
use crate::say::say;

/// One case and how it came out.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) outcome: Outcome,
}

/// Prints what there is.
pub(super) fn list(cases: &[Case]) {
    for case in cases {
        let answer = match case.wants {
            [] => "no warning".to_owned(),
            wants => {
                let answer =
                    |want: &super::case::Want| format!("{} at {}", want.classes[0], want.at.join("/"));
                wants.iter().map(answer).collect::<Vec<_>>().join(", ")
            }
        };
        println!("  {:<28} {answer:<40} {}", case.name, case.what);
    }
}

/// One line about one case.
pub(super) fn summary(outcome: &Outcome) -> String {
    let mut parts: Vec<_> = outcome
        .answers
        .iter()
        .map(|answer| format!("{} ({}) after {:.0} s", answer.class, answer.severity.name(), answer.seconds))
        .collect();
    if !outcome.mentioned.is_empty() {
        let mentioned: Vec<_> = outcome.mentioned.iter().map(String::as_str).collect();
        parts.push(format!("info: {}", mentioned.join(", ")));
    }
    if parts.is_empty() { "nothing".into() } else { parts.join("; ") }
}

/// Prints all cases, and below them everything that is not right.
pub(super) fn table(lines: &[Line]) {
    println!();
    println!("  {:<28} {:<12} THE DAEMON", "CASE", "RESULT");
    for Line { name, outcome } in lines {
        println!("  {name:<28} {:<12} {}", outcome.label(), summary(outcome));
    }
    println!();
    for Line { name, outcome } in lines {
        details(name, outcome);
    }
    let right = lines.iter().filter(|line| line.outcome.is_right()).count();
    let alarms: usize = lines.iter().map(|line| line.outcome.alarms.len()).sum();
    say(format!("field: {right} of {} cases right, {alarms} false alarms", lines.len()));
}

fn details(name: &str, outcome: &Outcome) {
    let sections =
        [("wrong", &outcome.wrong), ("false alarm", &outcome.alarms), ("wording", &outcome.wording)];
    for (kind, texts) in sections {
        for text in texts {
            println!("  {name}: {kind}: {text}");
        }
    }
    if let Some(drift) = &outcome.drift {
        println!("  {name}: drift: {drift}");
    }
}

/// Prints the same for programs.
pub(super) fn json(lines: &[Line]) {
    println!("{}", json!({ "cases": lines.iter().map(of).collect::<Vec<_>>() }));
}

pub(super) fn of(line: &Line) -> Value {
    let Line { name, outcome } = line;
    let answers = outcome.answers.iter().map(|answer| {
        json!({
            "class": answer.class,
            "severity": answer.severity.name(),
            "seconds": answer.seconds,
            "verdict": answer.verdict,
        })
    });
    json!({
        "case": name,
        "result": outcome.label(),
        "answers": answers.collect::<Vec<_>>(),
        "wrong": outcome.wrong,
        "false_alarms": outcome.alarms,
        "wording": outcome.wording,
        "mentioned": outcome.mentioned,
        "drift": outcome.drift,
    })
}
