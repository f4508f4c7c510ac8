//! What the matrix needs of a finding, taken from the API's JSON. What is missing counts as not said.

use std::collections::BTreeSet;

use serde_json::Value;

/// A finding as it was at one poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) id: String,
    pub(super) class: String,
    /// Whether it is a warning or worse.
    pub(super) alerts: bool,
    pub(super) severity: String,
    pub(super) opened_at: String,
    /// The process that is named first.
    pub(super) pid: Option<u64>,
    /// All processes of the program that it is about.
    pub(super) processes: BTreeSet<u64>,
    pub(super) netns: Option<u64>,
    /// Process and descriptor of the sample sockets that have them.
    pub(super) descriptors: Vec<(u64, u64)>,
    pub(super) verdict: String,
}

impl Finding {
    pub(super) fn of(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let sockets = value["sockets"].as_array().into_iter().flatten();
        let processes = value["subject"]["processes"].as_array().into_iter().flatten();
        let severity = text("severity");
        Self {
            id: text("id"),
            class: text("class"),
            alerts: severity != "info",
            severity,
            opened_at: text("opened_at"),
            pid: value["subject"]["pid"].as_u64(),
            processes: processes.filter_map(|process| process["pid"].as_u64()).collect(),
            netns: value["subject"]["netns"].as_u64(),
            descriptors: sockets
                .filter_map(|socket| Some((socket["pid"].as_u64()?, socket["fd"].as_u64()?)))
                .collect(),
            verdict: text("verdict"),
        }
    }

    /// All of an answer.
    pub(super) fn all(answer: &Value) -> Vec<Self> {
        answer["findings"].as_array().into_iter().flatten().map(Self::of).collect()
    }
}
