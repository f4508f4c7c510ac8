//! From evidence to findings: which program mistreats its connections, why, and what to change. Pure: time is an
//! argument, memory is bounded. Knows nothing of where evidence comes from and who reads the findings.
//!
//! A pass goes like this: [`Diagnosis::gather`] chooses sockets while somebody walks through the table;
//! [`Diagnosis::wants`] says what else is to be found out about them, and [`Diagnosis::wants_processes`], once it is
//! known who holds them, about which processes; [`Diagnosis::pass`] judges.

pub mod class;
pub mod evidence;
pub mod finding;
pub mod gather;
pub mod thresholds;
pub mod wants;

pub use class::Class;
pub use evidence::Evidence;
pub use finding::{Finding, Severity, Status};
pub use gather::{Gather, Gathered};
pub use thresholds::Thresholds;
pub use wants::Wants;

use std::collections::HashSet;

use gather::Turn;

/// What changed at a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Findings that were opened.
    pub opened: Vec<Finding>,
    /// Findings that were open and are now resolved.
    pub resolved: Vec<Finding>,
}

/// The rules, what they remember, and what they have found.
#[derive(Debug)]
pub struct Diagnosis {
    thresholds: Thresholds,
    findings: Vec<Finding>,
}

impl Diagnosis {
    /// Nothing has been looked at yet.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, findings: Vec::new() }
    }

    /// Begins a pass: to be shown every socket of the table, in any order.
    #[must_use]
    pub fn gather(&self) -> Gather {
        Gather::new(&self.thresholds, HashSet::new(), HashSet::new(), Turn::ALL)
    }

    /// What is to be found out about the sockets that were gathered.
    #[must_use]
    pub fn wants(&self, gathered: &Gathered) -> Wants {
        let _ = gathered;
        Wants::default()
    }

    /// The processes that are to be looked at, once `evidence` has everything but them: at most
    /// [`Thresholds::max_processes`].
    #[must_use]
    pub fn wants_processes(&self, evidence: &Evidence) -> Vec<u32> {
        let _ = evidence;
        Vec::new()
    }

    /// Judges. The events in `evidence` are those since the last pass.
    pub fn pass(&mut self, evidence: &Evidence) -> Changes {
        let _ = evidence;
        Changes::default()
    }

    /// Everything found: first what is open, the worst first; then what was resolved not long ago.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What could not be seen at the last pass, one sentence each, for the head of the list.
    #[must_use]
    pub fn cannot_see(&self) -> &[String] {
        &[]
    }
}
