//! `/api/v1/findings`: what is wrong, or only looks wrong, with everything that the verdict stands on.

use axum::{
    Json,
    extract::{FromRequestParts, Path, State, rejection::PathRejection},
    http::{Uri, request::Parts},
};
use serde::{Deserialize, Serialize};
use utoipa::openapi::Object;
use utoipa::{IntoParams, ToSchema};

use super::sockets::AgeIs;
use crate::{
    diagnose::{
        self, Class, Severity, Status,
        finding::{self, Resource},
        harm::Kind,
    },
    serve::{
        ask::Diagnosed,
        nearest::did_you_mean,
        params::{NoParams, Pairs, number, one_of},
        problem::Problem,
        shared::Shared,
        stamp::Stamps,
    },
};

/// Which findings are asked for; all that are given must hold.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::serve) struct FindingParams {
    /// Only findings of this class.
    #[param(schema_with = classes, example = "close-wait-leak")]
    class: Option<Class>,
    /// Only findings of this severity: `info`, `warning` or `critical`.
    #[param(schema_with = severities, example = "warning")]
    severity: Option<Severity>,
    /// Only `open` or only `resolved` findings; without it both.
    #[param(schema_with = statuses, example = "open")]
    status: Option<Status>,
    /// Only findings about this process.
    #[param(minimum = 1, maximum = 2_147_483_647)]
    pid: Option<u32>,
    /// Only findings about processes of this systemd unit, by its full name.
    #[param(pattern = r"^[A-Za-z0-9:_.\\@-]+\.[A-Za-z0-9:_\\@-]+$", example = "payments.service")]
    unit: Option<String>,
}

fn classes() -> Object {
    one_of(Class::ALL.map(Class::name))
}

fn severities() -> Object {
    one_of(Severity::ALL.map(Severity::name))
}

fn statuses() -> Object {
    one_of(["open", "resolved"])
}

impl FindingParams {
    const NAMES: [&str; 5] = ["class", "severity", "status", "pid", "unit"];

    fn let_through(&self, finding: &diagnose::Finding) -> bool {
        self.class.is_none_or(|class| finding.class == class)
            && self.severity.is_none_or(|severity| finding.severity == severity)
            && self.status.is_none_or(|status| finding.status == status)
            && self.pid.is_none_or(|pid| finding.subject.has(pid))
            && (self.unit.is_none() || finding.subject.unit == self.unit)
    }
}

impl<S: Sync> FromRequestParts<S> for FindingParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = Pairs::of(&parts.uri, &Self::NAMES)?;
        Ok(Self {
            class: pairs.get("class", class)?,
            severity: pairs.get("severity", severity)?,
            status: pairs.get("status", status)?,
            pid: pairs.get("pid", number::pid)?,
            unit: pairs.get("unit", unit)?,
        })
    }
}

/// Reads the id of a class.
///
/// # Errors
/// A sentence with what was perhaps meant.
pub fn class(id: &str) -> Result<Class, String> {
    let proposal = || did_you_mean(id, Class::ALL.map(Class::name));
    Class::of(id).ok_or_else(|| format!("`{id}` is no class{}", proposal()))
}

fn severity(name: &str) -> Result<Severity, String> {
    Severity::ALL
        .into_iter()
        .find(|severity| severity.name() == name)
        .ok_or_else(|| format!("`{name}` is no severity; they are info, warning and critical"))
}

fn status(name: &str) -> Result<Status, String> {
    match name {
        "open" => Ok(Status::Open),
        "resolved" => Ok(Status::Resolved),
        _ => Err(format!("`{name}` is no status; give open or resolved")),
    }
}

/// A unit's name (`systemd.unit(5)`): letters, digits and `:-_.\@`, with its type behind a dot.
fn unit(name: &str) -> Result<String, String> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let has_type = name.rsplit_once('.').is_some_and(|(stem, kind)| !stem.is_empty() && !kind.is_empty());
    if has_type && name.bytes().all(is_of_name) {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "`{name}` is not the name of a systemd unit; give the whole of it, such as nginx.service"
        ))
    }
}

/// What is wrong, or only looks wrong.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Findings {
    /// When it was last looked at (RFC 3339); null before the first time.
    #[schema(required)]
    pub as_of: Option<String>,
    /// First what is open, the worst first; then what was resolved within the last hour.
    pub findings: Vec<Finding>,
    /// What could not be seen, one sentence each: there may be more findings than these.
    pub cannot_see: Vec<String>,
    /// Those of them that make a host without findings none that is known to be well: network namespaces, processes and
    /// sockets that were not looked at.
    #[serde(default)]
    pub not_looked_at: Vec<String>,
}

impl Findings {
    /// What a diagnosis says.
    #[must_use]
    pub fn of(diagnosed: &Diagnosed, stamps: &Stamps) -> Self {
        Self::filtered(diagnosed, stamps, &FindingParams::default())
    }

    fn filtered(diagnosed: &Diagnosed, stamps: &Stamps, params: &FindingParams) -> Self {
        let findings = diagnosed.findings.iter().filter(|finding| params.let_through(finding));
        Self {
            as_of: diagnosed.at_ns.map(|at_ns| stamps.millis(at_ns)),
            findings: findings.map(|finding| Finding::of(finding.clone(), stamps)).collect(),
            cannot_see: diagnosed.cannot_see.clone(),
            not_looked_at: diagnosed.not_looked_at.clone(),
        }
    }
}

/// A verdict with everything that it stands on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Finding {
    /// The same while it is the same trouble.
    #[schema(example = "close-wait-leak-1f3a9c02b4d5e6f7")]
    pub id: String,
    /// What kind of trouble; `explanation` says more about it.
    #[schema(value_type = String, example = "close-wait-leak")]
    pub class: Class,
    /// `info`: does no harm, or is only worth knowing; `warning`: a program or a path is at fault; `critical`:
    /// connections fail now, or will within the hour.
    #[schema(value_type = String, example = "warning")]
    pub severity: Severity,
    /// `open`, or `resolved` when it has not been so for a while.
    #[schema(value_type = String, example = "open")]
    pub status: Status,
    pub subject: Subject,
    /// When the oldest of what it is about began (RFC 3339); at the latest, where that was before the daemon came.
    pub since: String,
    /// When it was found (RFC 3339).
    pub opened_at: String,
    /// When it was last seen to be so (RFC 3339).
    pub updated_at: String,
    /// When it was resolved (RFC 3339); null while it is open.
    #[schema(required)]
    pub resolved_at: Option<String>,
    /// Sockets, resets or failures that it is about.
    pub count: u64,
    /// By how much `count` rises in a minute; null before that can be said.
    #[schema(required)]
    pub trend_per_minute: Option<f64>,
    /// A limit that is being used up; null when there is none.
    #[schema(required)]
    pub limit: Option<Limit>,
    pub harm: HarmDone,
    /// One sentence: who, what, how many, how fast, until when.
    pub verdict: String,
    /// One sentence: what to change.
    pub remedy: String,
    /// What the verdict stands on, with numbers, one line each.
    pub evidence: Vec<String>,
    /// What could not be seen of it, and why.
    pub cannot_see: Vec<String>,
    /// Some of the sockets: 10 at most.
    pub sockets: Vec<Sample>,
    /// Where it is explained what this class is, how to confirm it by hand and how to fix it.
    #[schema(example = "/api/v1/explain/close-wait-leak")]
    pub explanation: String,
}

/// Whom a finding is about. What is not known, or does not belong to the class, is null.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Subject {
    #[schema(required, example = 4121)]
    pub pid: Option<u32>,
    /// The process's name.
    #[schema(required, example = "payments")]
    pub comm: Option<String>,
    /// The program's file.
    #[schema(required, example = "/usr/bin/payments")]
    pub exe: Option<String>,
    /// What the program runs, if it is an interpreter: a script, a module or a jar.
    #[schema(required, example = "/srv/payments/server.py")]
    pub script: Option<String>,
    /// The systemd unit.
    #[schema(required, example = "payments.service")]
    pub unit: Option<String>,
    /// The container's id.
    #[schema(required)]
    pub container: Option<String>,
    /// The Kubernetes pod's uid.
    #[schema(required)]
    pub pod: Option<String>,
    /// Inode number of the network namespace.
    #[schema(required, format = Int64, example = 4_026_531_840_u32)]
    pub netns: Option<u32>,
    /// The listener's address.
    #[schema(required, example = "0.0.0.0:8000")]
    pub listener: Option<String>,
    /// The peer.
    #[schema(required, example = "10.0.0.7:443")]
    pub peer: Option<String>,
    /// How many processes of the program it is about.
    #[schema(example = 1)]
    pub process_count: u64,
    /// Those processes, the one with most sockets or events first: 64 at most.
    pub processes: Vec<SubjectProcess>,
}

/// A process of the program that a finding is about.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SubjectProcess {
    #[schema(example = 4121)]
    pub pid: u32,
    /// Its name.
    #[schema(example = "payments")]
    pub comm: String,
    /// Its sockets or events among those that the finding is about.
    pub count: u64,
    /// Whether it has ended.
    pub ended: bool,
}

/// The harm that is done; the severity follows from it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct HarmDone {
    /// `none_seen`, `not_known` (sockets are missing that might show it), `runs_out` (of descriptors or ports), `waits` (somebody), `fails` (requests or connects) or
    /// `data_lost`.
    #[schema(value_type = String, example = "waits")]
    pub kind: Kind,
    /// One sentence: who waits, what fails, or why no harm was seen.
    pub text: String,
}

/// A limit that is being used up.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Limit {
    /// `file descriptors` or `ephemeral ports`.
    #[schema(value_type = String, example = "file descriptors")]
    pub of: Resource,
    pub used: u64,
    pub max: u64,
    /// At the present trend; null when it does not rise.
    #[schema(required)]
    pub reached_in_seconds: Option<u64>,
}

/// One of the sockets that a finding is about.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Sample {
    /// As in `/api/v1/sockets`.
    #[schema(example = "4711")]
    pub cookie: String,
    pub local: String,
    pub remote: String,
    #[schema(example = "CLOSE_WAIT")]
    pub state: String,
    /// Time in that state, ms. See `age_is`.
    pub age_ms: u64,
    pub age_is: AgeIs,
    /// Bytes not read yet.
    #[schema(format = Int64)]
    pub rqueue: u32,
    /// Bytes not acknowledged yet.
    #[schema(format = Int64)]
    pub wqueue: u32,
    /// A process that has it open; null when there is none, or none that could be seen.
    #[schema(required)]
    pub pid: Option<u32>,
    /// The descriptor's number in that process.
    #[schema(required)]
    pub fd: Option<u32>,
}

impl Finding {
    fn of(finding: diagnose::Finding, stamps: &Stamps) -> Self {
        let finding = finding.stamped(|at_ns| stamps.millis(at_ns));
        Self {
            id: finding.id,
            class: finding.class,
            severity: finding.severity,
            status: finding.status,
            subject: finding.subject.into(),
            since: finding.since,
            opened_at: finding.opened_at,
            updated_at: finding.updated_at,
            resolved_at: finding.resolved_at,
            count: finding.count,
            trend_per_minute: finding.trend_per_minute,
            limit: finding.limit.map(Limit::from),
            harm: HarmDone { kind: finding.harm.kind, text: finding.harm.text },
            verdict: finding.verdict,
            remedy: finding.remedy,
            evidence: finding.evidence,
            cannot_see: finding.cannot_see,
            sockets: finding.sockets.into_iter().map(Sample::from).collect(),
            explanation: finding.explanation,
        }
    }
}

impl From<finding::Subject> for Subject {
    fn from(subject: finding::Subject) -> Self {
        let finding::Subject {
            pid,
            comm,
            exe,
            script,
            unit,
            container,
            pod,
            netns,
            listener,
            peer,
            process_count,
            processes,
        } = subject;
        let processes = processes.into_iter().map(|process| {
            let finding::SubjectProcess { pid, comm, count, ended } = process;
            SubjectProcess { pid, comm, count, ended }
        });
        Self {
            pid,
            comm,
            exe,
            script,
            unit,
            container,
            pod,
            netns,
            listener,
            peer,
            process_count,
            processes: processes.collect(),
        }
    }
}

impl From<finding::Limit> for Limit {
    fn from(limit: finding::Limit) -> Self {
        let finding::Limit { of, used, max, reached_in_seconds } = limit;
        Self { of, used, max, reached_in_seconds }
    }
}

impl From<finding::Sample> for Sample {
    fn from(sample: finding::Sample) -> Self {
        let finding::Sample { cookie, local, remote, state, age_ms, age_is, rqueue, wqueue, pid, fd } =
            sample;
        let age_is = match age_is {
            finding::AgeIs::Exact => AgeIs::Exact,
            finding::AgeIs::AtLeast => AgeIs::AtLeast,
        };
        Self { cookie, local, remote, state, age_ms, age_is, rqueue, wqueue, pid, fd }
    }
}

/// What is wrong, or only looks wrong, with TCP connections of this host.
///
/// It is looked at every few seconds. A finding is open from when its signature is there until it has been gone for
/// a while, and keeps its id for as long. One cause gives one finding.
#[utoipa::path(
    get,
    path = "/api/v1/findings",
    tag = "api",
    params(FindingParams),
    responses(
        (status = 200, description = "The findings", body = Findings),
        (status = 400, description = "A parameter is wrong; `field` names it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn findings(
    State(shared): State<Shared>,
    params: FindingParams,
) -> Json<Findings> {
    Json(Findings::filtered(&shared.engine.diagnosed(), &Stamps::now(), &params))
}

/// One finding.
#[utoipa::path(
    get,
    path = "/api/v1/findings/{id}",
    tag = "api",
    params(("id" = String, Path, description = "The finding's id")),
    responses(
        (status = 200, description = "The finding", body = Finding),
        (status = 400, description = "This route takes no parameters", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none with this id, or it was resolved more than an hour ago", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn finding(
    State(shared): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
    _: NoParams,
) -> Result<Json<Finding>, Problem> {
    let Ok(Path(id)) = id else { return Err(Problem::no_such_path(&uri)) };
    let diagnosed = shared.engine.diagnosed();
    let found = diagnosed.findings.iter().find(|finding| finding.id == id);
    let found = found.ok_or_else(|| {
        Problem::not_found(format!(
            "there is no finding `{id}`, or it was resolved more than an hour ago; `/api/v1/findings` lists those \
             there are"
        ))
    })?;
    Ok(Json(Finding::of(found.clone(), &Stamps::now())))
}
