//! What was measured, as one file for people and one for programs, headed by how it was measured.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::stage::threads;
use crate::workspace::Workspace;

/// Where numbers to keep are written, relative to the workspace.
const RECORD: &str = "tcpstate/docs/performance.md";

/// How everything is measured.
pub(super) struct Conditions {
    pub(super) rounds: u32,
    pub(super) seconds: u64,
    pub(super) quick: bool,
}

pub(super) struct Report {
    parts: Vec<String>,
    values: Map<String, Value>,
    head: String,
}

impl Report {
    /// # Errors
    /// When the kernel does not say its version.
    pub(super) fn new(conditions: &Conditions) -> Result<Self> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("which kernel is this?")?;
        Ok(Self::on(conditions, version(&kernel), threads()))
    }

    fn on(conditions: &Conditions, kernel: &str, cores: u64) -> Self {
        let Conditions { rounds, seconds, quick } = conditions;
        let command = if *quick { "cargo xtask bench --quick" } else { "cargo xtask bench" };
        let head = format!(
            "# Performance\n\n\
            Measured by `{command}` on Linux {kernel} with {cores} cores: {rounds} rounds of {seconds} s for each \
            load.\nNumbers are medians, with the smallest and the largest in brackets. The load makes connections \
            over loopback,\nboth ends on this machine ({} changes of state each), in a network namespace of its \
            own. A throughput ratio is that\nof a run with the subject attached to the mean of the runs before and \
            after it, with nothing attached;\ntcpstate takes half a minute to settle, and is compared with the run right after it. \
            Only what ran interleaved in\none run compares: absolute figures differ between machines, and on one \
            machine from hour to hour.\n",
            super::stage::TRANSITIONS_OF_A_CONNECTION,
        );
        let mut values = Map::new();
        let conditions = json!({ "kernel": kernel, "cores": cores, "rounds": rounds, "seconds": seconds });
        values.insert("conditions".to_owned(), conditions);
        Self { parts: Vec::new(), values, head }
    }

    pub(super) fn add(&mut self, name: &str, markdown: String, json: Value) {
        self.parts.push(markdown);
        self.values.insert(name.to_owned(), json);
    }

    pub(super) fn markdown(&self) -> String {
        let parts = self.parts.iter().map(|part| format!("\n{part}"));
        [self.head.clone()].into_iter().chain(parts).collect()
    }

    /// Writes both files, and returns their folder.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn write(&self, workspace: &Workspace) -> Result<PathBuf> {
        let folder = workspace.target.join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let json = serde_json::to_string_pretty(&self.values).context("the numbers do not fit into JSON")?;
        write(&folder.join("bench.json"), &format!("{json}\n"))?;
        write(&folder.join("bench.md"), &self.markdown())?;
        Ok(folder)
    }

    /// Writes the tables where the project keeps them, and returns that place.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn record(&self, workspace: &Workspace) -> Result<&'static str> {
        write(&workspace.root.join(RECORD), &self.markdown())?;
        Ok(RECORD)
    }
}

/// `6.18.44` of `6.18.44-fc-v657`: the rest names a machine.
fn version(release: &str) -> &str {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    &release[..end]
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Conditions, Report, version};

    #[test]
    fn a_kernels_name_for_its_machine_is_left_out() {
        assert_eq!(version("6.18.44-fc-v657\n"), "6.18.44");
        assert_eq!(version("6.1"), "6.1");
    }

    #[test]
    fn the_head_says_how_it_was_measured_and_each_part_follows() {
        let conditions = Conditions { rounds: 5, seconds: 2, quick: false };
        let mut report = Report::on(&conditions, "6.18.44", 2);
        report.add("idle", "## Idle\n".to_owned(), json!({ "share": 0.1 }));
        report.add("storm", "## Storm\n".to_owned(), json!(1));
        let text = report.markdown();
        let head =
            "# Performance\n\nMeasured by `cargo xtask bench` on Linux 6.18.44 with 2 cores: 5 rounds of 2 s";
        assert!(text.starts_with(head), "{text}");
        assert!(text.ends_with("hour.\n\n## Idle\n\n## Storm\n"), "{text}");
        assert_eq!(report.values["idle"]["share"], 0.1);
        assert_eq!(report.values["conditions"]["kernel"], "6.18.44");
    }
}
