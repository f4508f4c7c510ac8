//! What a case is: a situation, and the right answer to it. The answer is data, decided before the daemon is asked.

use anyhow::Result;

use super::stage::Stage;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    /// From the API's name.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "critical" => Self::Critical,
            "warning" => Self::Warning,
            _ => Self::Info,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// The situation in one sentence.
    pub(super) what: &'static str,
    /// Starts the programs, and returns when the situation stands.
    pub(super) set: fn(&mut Stage) -> Result<()>,
    /// Checks at the end that the situation was what it was meant to be.
    pub(super) proof: fn(&Stage) -> Result<()>,
    /// The findings that must be there. Without any, nothing is wrong in this case.
    pub(super) wants: &'static [Want],
    /// Class and role of what is true besides, and may be a warning.
    pub(super) permits: &'static [(&'static str, &'static str)],
    /// For how long it is judged, if that is not the usual time, s.
    pub(super) seconds: Option<u64>,
}

/// A finding that must be there, and be the only warning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    /// Any of these classes is right.
    pub(super) classes: &'static [&'static str],
    /// The subject is a process of one of these roles.
    pub(super) at: &'static [&'static str],
    pub(super) least: Severity,
    /// Each of these is in the text; `|` separates words of which one suffices.
    pub(super) says: &'static [&'static str],
    /// A process of each of these roles is named in the text.
    pub(super) names: &'static [&'static str],
    /// How many processes the subject has, at least.
    pub(super) processes: u64,
    /// How long after the situation stands it may come, s.
    pub(super) within: Option<u64>,
}

impl Case {
    /// A case in which something is wrong.
    pub(super) const fn bug(
        name: &'static str,
        what: &'static str,
        set: fn(&mut Stage) -> Result<()>,
        wants: &'static [Want],
    ) -> Self {
        Self { name, what, set, proof: |_| Ok(()), wants, permits: &[], seconds: None }
    }

    /// A case in which nothing is wrong.
    pub(super) const fn healthy(
        name: &'static str,
        what: &'static str,
        set: fn(&mut Stage) -> Result<()>,
        proof: fn(&Stage) -> Result<()>,
    ) -> Self {
        Self { name, what, set, proof, wants: &[], permits: &[], seconds: None }
    }

    pub(super) const fn proof(mut self, proof: fn(&Stage) -> Result<()>) -> Self {
        self.proof = proof;
        self
    }

    pub(super) const fn permits(mut self, permits: &'static [(&'static str, &'static str)]) -> Self {
        self.permits = permits;
        self
    }

    pub(super) const fn seconds(mut self, seconds: u64) -> Self {
        self.seconds = Some(seconds);
        self
    }
}

impl Want {
    /// A warning, or worse.
    pub(super) const fn warning(classes: &'static [&'static str], at: &'static [&'static str]) -> Self {
        Self { classes, at, least: Severity::Warning, says: &[], names: &[], processes: 1, within: None }
    }

    /// Worth knowing, and no more.
    pub(super) const fn info(classes: &'static [&'static str], at: &'static [&'static str]) -> Self {
        let mut want = Self::warning(classes, at);
        want.least = Severity::Info;
        want
    }

    pub(super) const fn critical(classes: &'static [&'static str], at: &'static [&'static str]) -> Self {
        let mut want = Self::warning(classes, at);
        want.least = Severity::Critical;
        want
    }

    pub(super) const fn says(mut self, says: &'static [&'static str]) -> Self {
        self.says = says;
        self
    }

    pub(super) const fn names(mut self, names: &'static [&'static str]) -> Self {
        self.names = names;
        self
    }

    pub(super) const fn processes(mut self, processes: u64) -> Self {
        self.processes = processes;
        self
    }

    pub(super) const fn within(mut self, seconds: u64) -> Self {
        self.within = Some(seconds);
        self
    }
}
