//! What a diagnosis says. Serialised, it is what `/api/v1/findings` answers; only the times have to be turned into
//! dates first, by [`Finding::stamped`].

use serde::{Deserialize, Serialize};

use super::{class::Class, harm::Kind};

/// How bad it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Does no harm, or is only worth knowing.
    Info,
    /// A program or a path is at fault, and it will hurt or hurts already.
    Warning,
    /// Connections fail now, or will within the hour.
    Critical,
}

impl Resource {
    /// The name in the API and in sentences.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FileDescriptors => "file descriptors",
            Self::EphemeralPorts => "ephemeral ports",
        }
    }
}

impl Severity {
    /// All, the mildest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The name in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Whether it is still so.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Open,
    /// The signature has been gone for some passes.
    Resolved,
}

/// Whom a finding is about. What is not known, or does not belong to the class, is `None`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Subject {
    /// Of the program's processes the one with most of the sockets or events.
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub exe: Option<String>,
    /// What the program runs, if it is an interpreter: a script, a module or a jar.
    pub script: Option<String>,
    /// The systemd unit.
    pub unit: Option<String>,
    /// The container's id.
    pub container: Option<String>,
    /// The Kubernetes pod's uid.
    pub pod: Option<String>,
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// The listener's address.
    pub listener: Option<String>,
    /// The peer: an address with port where there is one, else an address.
    pub peer: Option<String>,
    /// How many processes it is about.
    pub process_count: u64,
    /// Those, the one with most first; at most [`MAX_SUBJECT_PROCESSES`].
    pub processes: Vec<SubjectProcess>,
}

impl Subject {
    /// Whether a process is among those that a finding is about.
    #[must_use]
    pub fn has(&self, pid: u32) -> bool {
        self.pid == Some(pid) || self.processes.iter().any(|process| process.pid == pid)
    }
}

/// A process of the program that a finding is about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SubjectProcess {
    pub pid: u32,
    pub comm: String,
    /// Its sockets or events among those that the finding is about.
    pub count: u64,
    /// It has ended.
    pub ended: bool,
}

/// Processes that a subject lists at most.
pub const MAX_SUBJECT_PROCESSES: usize = 64;

/// What harm is done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HarmDone {
    pub kind: Kind,
    /// A sentence.
    pub text: String,
}

/// A limit that is being used up.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Limit {
    pub of: Resource,
    pub used: u64,
    pub max: u64,
    /// At the present trend; `None` when it does not rise.
    pub reached_in_seconds: Option<u64>,
}

/// What there is only so much of.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Resource {
    #[serde(rename = "file descriptors")]
    FileDescriptors,
    #[serde(rename = "ephemeral ports")]
    EphemeralPorts,
}

/// What an age is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgeIs {
    Exact,
    /// The socket was in its state before it was first seen.
    AtLeast,
}

/// One of the sockets that a finding is about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sample {
    /// A number, written as a string because it may need 64 bits.
    pub cookie: String,
    pub local: String,
    pub remote: String,
    /// The state as the kernel names it.
    pub state: String,
    /// Time in that state, ms.
    pub age_ms: u64,
    pub age_is: AgeIs,
    /// Bytes not read yet.
    pub rqueue: u32,
    /// Bytes not acknowledged yet.
    pub wqueue: u32,
    /// A process that has it open.
    pub pid: Option<u32>,
    pub fd: Option<u32>,
}

/// Sample sockets that a finding shows at most.
pub const MAX_SAMPLES: usize = 10;

/// A verdict with everything that it stands on. `At` is a time: monotonic ns within the pure rooms.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Finding<At = u64> {
    /// The class and a hash of the program and place: the same while it is the same trouble.
    pub id: String,
    pub class: Class,
    pub severity: Severity,
    pub status: Status,
    pub subject: Subject,
    /// When the oldest of what it is about began; at the latest, where that was before the daemon came.
    pub since: At,
    pub opened_at: At,
    /// When it was last seen to be so.
    pub updated_at: At,
    pub resolved_at: Option<At>,
    /// Sockets, resets or failures that it is about.
    pub count: u64,
    /// By how much `count` rises in a minute; `None` before that can be said.
    pub trend_per_minute: Option<f64>,
    pub limit: Option<Limit>,
    pub harm: HarmDone,
    /// One sentence: who, what, how many, how fast, until when.
    pub verdict: String,
    /// One sentence: what to change.
    pub remedy: String,
    /// What it stands on, with numbers.
    pub evidence: Vec<String>,
    /// What could not be seen, and why.
    pub cannot_see: Vec<String>,
    /// At most [`MAX_SAMPLES`], the oldest first.
    pub sockets: Vec<Sample>,
    /// Where the class is explained.
    pub explanation: String,
}

impl<At> Finding<At> {
    /// The same with its times told otherwise: as dates, for example.
    pub fn stamped<To>(self, tell: impl Fn(At) -> To) -> Finding<To> {
        Finding {
            since: tell(self.since),
            opened_at: tell(self.opened_at),
            updated_at: tell(self.updated_at),
            resolved_at: self.resolved_at.map(tell),
            id: self.id,
            class: self.class,
            severity: self.severity,
            status: self.status,
            subject: self.subject,
            count: self.count,
            trend_per_minute: self.trend_per_minute,
            limit: self.limit,
            harm: self.harm,
            verdict: self.verdict,
            remedy: self.remedy,
            evidence: self.evidence,
            cannot_see: self.cannot_see,
            sockets: self.sockets,
            explanation: self.explanation,
        }
    }
}
