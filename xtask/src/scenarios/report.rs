//! The matrix as a table and as JSON.

use serde_json::{Value, json};

use super::{
    matrix::Outcome,
    rows::{Kind, Row},
};
use crate::say::say;

/// One scenario and how it came out.
pub(super) struct Line {
    /// Its place in the list.
    pub(super) number: u8,
    pub(super) class: &'static str,
    pub(super) what: &'static str,
    pub(super) kind: Kind,
    pub(super) outcome: Outcome,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Bug => "bug",
            Self::LookAlike => "look-alike",
            Self::Several => "several",
        }
    }
}

/// What there is.
pub(super) fn list(rows: &[Row]) {
    for Row { class, what, kind, .. } in rows {
        println!("  {:<10} {class:<24} {what}", kind.name());
    }
}

/// Prints the matrix, and below it everything that is off its diagonal.
pub(super) fn table(lines: &[Line]) {
    println!();
    println!(
        "  {:<24} {:<10} {:<44} {:<24} {:>7}  {:<8} RESULT",
        "CLASS", "KIND", "SCENARIO", "VERDICT", "SECONDS", "SEVERITY"
    );
    for line in lines {
        let Line { class, what, kind, outcome, .. } = line;
        let result = if outcome.is_right() { "right" } else { "WRONG" };
        let rows: Vec<_> = outcome
            .answers
            .iter()
            .map(|answer| {
                let seconds = answer.seconds.map_or("-".into(), |seconds| format!("{seconds:.1}"));
                (answer.class.clone(), seconds, answer.severity.clone())
            })
            .collect();
        let nothing = || vec![("nothing".to_owned(), "-".to_owned(), "-".to_owned())];
        for (verdict, seconds, severity) in if rows.is_empty() { nothing() } else { rows } {
            println!(
                "  {class:<24} {:<10} {what:<44} {verdict:<24} {seconds:>7}  {severity:<8} {result}",
                kind.name()
            );
        }
    }
    println!();
    for line in lines {
        for wrong in &line.outcome.wrong {
            println!("  {} ({}): {wrong}", line.class, line.what);
        }
    }
    let wrong = lines.iter().filter(|line| !line.outcome.is_right()).count();
    say(match wrong {
        0 => format!("all {} scenarios are on the diagonal", lines.len()),
        _ => format!("{wrong} of {} scenarios are off the diagonal", lines.len()),
    });
}

/// Prints the same for programs.
pub(super) fn json(seed: u64, lines: &[Line]) {
    let scenarios: Vec<Value> = lines.iter().map(of).collect();
    println!("{}", json!({ "seed": seed, "scenarios": scenarios }));
}

fn of(line: &Line) -> Value {
    let answers = line.outcome.answers.iter().map(|answer| {
        json!({
            "class": answer.class,
            "seconds": answer.seconds,
            "severity": answer.severity,
            "verdict": answer.verdict,
        })
    });
    json!({
        "class": line.class,
        "scenario": line.what,
        "kind": line.kind.name(),
        "right": line.outcome.is_right(),
        "verdicts": answers.collect::<Vec<_>>(),
        "mentioned": line.outcome.mentioned,
        "wrong": line.outcome.wrong,
    })
}
