//! What happened to the findings, one pass after the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnose::{Class, Finding, Severity, Status};

/// What happened to a finding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Opened,
    Worse,
    Milder,
    Resolved,
}

impl Change {
    /// The name in the API and on the screen.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Worse => "worse",
            Self::Milder => "milder",
            Self::Resolved => "resolved",
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Monotonic ns of the pass.
    pub at_ns: u64,
    pub change: Change,
    pub id: String,
    pub class: Class,
    pub severity: Severity,
    pub verdict: String,
}

/// The findings that were open at the last pass, by their ids.
#[derive(Debug, Default)]
pub struct Timeline(BTreeMap<String, Severity>);

impl Timeline {
    /// What is different after a pass.
    pub fn step(&mut self, at_ns: u64, findings: &[Finding]) -> Vec<Moved> {
        let mut moved = Vec::new();
        for finding in findings {
            let is_open = finding.status == Status::Open;
            let change = match (self.0.get(&finding.id), is_open) {
                (None, true) => Change::Opened,
                (Some(_), false) => Change::Resolved,
                (Some(before), true) if finding.severity > *before => Change::Worse,
                (Some(before), true) if finding.severity < *before => Change::Milder,
                _ => continue,
            };
            if is_open {
                self.0.insert(finding.id.clone(), finding.severity);
            } else {
                self.0.remove(&finding.id);
            }
            moved.push(Moved {
                at_ns,
                change,
                id: finding.id.clone(),
                class: finding.class,
                severity: finding.severity,
                verdict: finding.verdict.clone(),
            });
        }
        moved
    }
}
