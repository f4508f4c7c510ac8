//! What the daemon said during the run, poll by poll. Pure: it is fed.

use std::{collections::BTreeMap, time::Duration};

use super::finding::Finding;

/// One finding as it was from a certain poll on. Times count from the beginning of the run.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub(super) at: Duration,
    pub(super) finding: Finding,
}

/// Every finding in every form in which it was seen.
#[derive(Default)]
pub(super) struct Record {
    sightings: Vec<Sighting>,
    /// The last form of each, by id.
    last: BTreeMap<String, Finding>,
    /// When the daemon last answered, by its own clock.
    as_of: String,
}

impl Record {
    /// Takes in one answer.
    pub(super) fn take(&mut self, at: Duration, as_of: &str, findings: Vec<Finding>) {
        as_of.clone_into(&mut self.as_of);
        for finding in findings {
            if self.last.get(&finding.id) != Some(&finding) {
                self.last.insert(finding.id.clone(), finding.clone());
                self.sightings.push(Sighting { at, finding });
            }
        }
    }

    pub(super) fn as_of(&self) -> &str {
        &self.as_of
    }

    pub(super) fn sightings(&self) -> &[Sighting] {
        &self.sightings
    }
}
