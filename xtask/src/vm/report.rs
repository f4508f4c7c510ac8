//! The matrix of kernels and checks, as a table and as JSON.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::judge::{CHECKS, Fault, Outcome};
use crate::say::say;

/// One VM, and how its checks came out.
pub(super) struct Row {
    pub(super) kernel: &'static str,
    pub(super) cpus: u32,
    pub(super) seconds: u64,
    /// The console's log; none where it came to no boot.
    pub(super) log: Option<PathBuf>,
    pub(super) cells: Vec<Cell>,
}

/// One check in one VM.
pub(super) struct Cell {
    pub(super) check: &'static str,
    pub(super) outcome: Outcome,
    pub(super) facts: Value,
}

impl Row {
    pub(super) fn is_right(&self) -> bool {
        self.cells.iter().all(|cell| !matches!(cell.outcome, Outcome::Wrong(..)))
    }
}

impl Cell {
    fn short(&self) -> String {
        match &self.outcome {
            Outcome::Right => match self.facts["lost"]["missed"].as_i64() {
                None | Some(0) => "✓".into(),
                Some(missed) => format!("✓ {missed} missed"),
            },
            Outcome::Wrong(faults) => {
                let first = faults.first().map_or("", |fault| &fault.figure);
                let more = if faults.len() > 1 { "…" } else { "" };
                format!("✗ {first}{more}")
            }
            Outcome::NotHere => "–".into(),
        }
    }
}

/// Prints the matrix, and below it what went wrong.
pub(super) fn table(rows: &[Row]) {
    let line = |kernel: &str, cpus: &str, cells: &[String], seconds: &str| {
        let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:<14}")).collect();
        println!("  {kernel:<15} {cpus:>4}  {} {seconds:>7}", cells.join(" "));
    };
    let checks: Vec<_> = CHECKS
        .into_iter()
        .filter(|check| rows.iter().any(|row| row.cells.iter().any(|it| it.check == *check)))
        .collect();
    println!();
    line("KERNEL", "CPUS", &checks.iter().map(|it| it.to_uppercase()).collect::<Vec<_>>(), "SECONDS");
    for row in rows {
        let cell = |check: &&str| {
            let cell = row.cells.iter().find(|it| it.check == *check);
            cell.map_or(String::new(), Cell::short)
        };
        let cells: Vec<_> = checks.iter().map(cell).collect();
        line(row.kernel, &row.cpus.to_string(), &cells, &row.seconds.to_string());
    }
    println!();
    rows.iter().filter(|row| !row.is_right()).for_each(faults);
}

/// Prints what went wrong in a VM.
pub(super) fn faults(row: &Row) {
    for cell in &row.cells {
        let Outcome::Wrong(faults) = &cell.outcome else { continue };
        for Fault { why, .. } in faults {
            say(format!("{} with {} CPUs, {}: {why}", row.kernel, row.cpus, cell.check));
        }
    }
    if let Some(log) = &row.log {
        say(format!("  its console: {}", log.display()));
    }
}

/// Prints one array, with an object for each check of each VM.
pub(super) fn json(rows: &[Row]) {
    let cells = rows.iter().flat_map(|row| {
        row.cells.iter().map(|cell| {
            let (outcome, faults): (_, &[Fault]) = match &cell.outcome {
                Outcome::Right => ("right", &[]),
                Outcome::Wrong(faults) => ("wrong", faults),
                Outcome::NotHere => ("not here", &[]),
            };
            let why: Vec<_> = faults.iter().map(|fault| &fault.why).collect();
            json!({
                "kernel": row.kernel, "cpus": row.cpus, "check": cell.check, "outcome": outcome, "why": why,
                "facts": cell.facts, "console": row.log,
            })
        })
    });
    println!("{}", Value::Array(cells.collect()));
}
