//! `/api/v1/status`: how well the daemon sees, what it missed, and within which limits it works.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::serve::{
    ask::{self, Readings},
    figures,
    params::NoParams,
    problem::Problem,
    shared::{Own, Shared},
    stamp::Stamps,
};

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// How well the daemon sees.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// How it learns of sockets: `events`, from the kernel's events and from socket dumps, or `dumps only`, from
    /// socket dumps and /proc alone.
    #[schema(example = "events")]
    pub tier: String,
    /// Why it is not a better tier; null when nothing stood in the way.
    #[schema(required)]
    pub tier_reason: Option<String>,
    /// What cannot be seen: in this tier, and for want of capabilities and files. One sentence each.
    pub blind_spots: Vec<String>,
    /// Whether it watches and the first census is done.
    pub ready: bool,
    /// When the daemon started (RFC 3339).
    pub started_at: String,
    pub uptime_s: u64,
    pub probes: Vec<Probe>,
    /// The last census of all sockets; null before the first.
    #[schema(required)]
    pub census: Option<Census>,
    /// What was lost since the start, by kind, as in `tcpstate_events_lost_total`: records of the kernel
    /// side that found no room (`transition`, `reset_sent`, `reset_received`, `parked`; not there where
    /// there are dumps only), sockets that found none in the table (`socket`), and events that watchers were too slow for
    /// (`watch`).
    #[schema(example = json!({"transition": 0, "socket": 0, "watch": 0}))]
    pub losses: BTreeMap<String, u64>,
    /// Events about sockets that had already ended, told too late to count.
    pub late_events: u64,
    /// States that the kernel side did not know and counted nowhere else; null where there are dumps only.
    #[schema(required)]
    pub unknown_states: Option<u64>,
    pub limits: Limits,
    /// How the holders of sockets are looked up: `task_file` (a BPF iterator) or `procfs`.
    #[schema(example = "task_file")]
    pub holder_lookup: String,
    /// Sockets in the table.
    pub tracked_sockets: u64,
    /// Parked sockets that a process must have open and for which none was found.
    pub unattributed_sockets: u64,
}

/// One eBPF program.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Probe {
    #[schema(example = "inet_sock_set_state")]
    pub name: String,
    pub attached: bool,
    /// Why it is not attached; null when it is.
    #[schema(required)]
    pub error: Option<String>,
    /// How often it ran; null unless the kernel counts that (`sysctl kernel.bpf_stats_enabled=1`).
    #[schema(required)]
    pub runs: Option<u64>,
    /// Time spent in it, ns; null likewise.
    #[schema(required)]
    pub run_time_ns: Option<u64>,
}

impl Probe {
    fn of(probe: &ask::Probe) -> Self {
        Self {
            name: probe.name.to_owned(),
            attached: probe.attached.is_ok(),
            error: probe.attached.as_ref().err().cloned(),
            runs: probe.runs.map(|(runs, _)| runs),
            run_time_ns: probe.runs.map(|(_, run_time_ns)| run_time_ns),
        }
    }
}

/// A census: the sockets that existed at one time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Census {
    /// States of which there are so many that it left them out, and which are as of an earlier one.
    #[schema(example = json!(["TIME_WAIT"]))]
    pub states_left_out: Vec<String>,
    /// When it ended (RFC 3339).
    pub finished_at: String,
    /// How long ago that is.
    pub age_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Sockets that it saw.
    pub sockets: u64,
    pub namespaces_visited: u64,
    /// Network namespaces that exist and could not be visited: their sockets are in no number here.
    pub namespaces_unreachable: u64,
    /// Processes whose namespace may not be read: there may be more namespaces than these.
    pub processes_hidden: u64,
    /// By how many sockets the gauges were off; null where there are dumps only: nothing else counts them then.
    #[schema(required)]
    pub drift_sockets: Option<u64>,
}

impl Census {
    fn of(readings: &Readings, stamps: &Stamps) -> Option<Self> {
        let census = readings.census?;
        Some(Self {
            finished_at: stamps.millis(census.finished_ns),
            states_left_out: census.scope.left_out().map(|state| state.name().to_owned()).collect(),
            age_ms: readings.now_ns.saturating_sub(census.finished_ns) / NS_PER_MS,
            took_ms: census.took_ns / NS_PER_MS,
            sockets: census.sockets,
            namespaces_visited: census.namespaces_visited,
            namespaces_unreachable: census.namespaces_unreachable,
            processes_hidden: census.processes_hidden,
            drift_sockets: readings.tier.counts().then_some(census.drift),
        })
    }
}

/// The limits in force.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Limits {
    /// Memory that the daemon takes at most, bytes.
    pub max_memory_bytes: u64,
    /// Sockets in the table at most.
    pub max_sockets: u64,
    /// Resets that are kept at most.
    pub max_resets: u64,
    /// Size of the ring in which events wait.
    #[schema(format = Int64)]
    pub ring_bytes: u32,
    /// Owners of parked sockets that are named for each state at most; the rest is one group.
    pub top_owners: u64,
}

impl From<ask::Limits> for Limits {
    fn from(limits: ask::Limits) -> Self {
        Self {
            max_memory_bytes: limits.max_memory,
            max_sockets: limits.max_sockets as u64,
            max_resets: limits.max_resets as u64,
            ring_bytes: limits.ring_bytes,
            top_owners: limits.top_owners as u64,
        }
    }
}

impl Status {
    fn of(readings: &Readings, own: &Own, stamps: &Stamps) -> Self {
        let losses = figures::losses(readings, own);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tier: readings.tier.name().to_owned(),
            tier_reason: readings.tier_reason.clone(),
            blind_spots: blind_spots(readings),
            ready: readings.ready,
            started_at: stamps.millis(readings.started_ns),
            uptime_s: readings.now_ns.saturating_sub(readings.started_ns) / NS_PER_S,
            probes: readings.probes.iter().map(Probe::of).collect(),
            census: Census::of(readings, stamps),
            losses: losses.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(),
            late_events: readings.given_up.late_events,
            unknown_states: readings.counters.as_ref().map(|counters| counters.unknown_states),
            limits: readings.limits.into(),
            holder_lookup: readings.holder_lookup.to_owned(),
            tracked_sockets: readings.tracked as u64,
            unattributed_sockets: readings.unattributed,
        }
    }
}

fn blind_spots(readings: &Readings) -> Vec<String> {
    let of_tier = readings.tier.blind_spots().iter().map(|&spot| spot.to_owned());
    of_tier
        .chain(readings.needs.iter().filter_map(|need| need.loss.as_ref()).map(|loss| format!("{loss}.")))
        .collect()
}

/// How well the daemon sees, what it missed, and within which limits it works.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "api",
    responses(
        (status = 200, description = "The daemon's status", body = Status),
        (status = 400, description = "This route takes no parameters", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The daemon is ending", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn status(
    State(shared): State<Shared>,
    _: NoParams,
) -> Result<Json<Status>, Problem> {
    let readings = shared.readings().await?;
    Ok(Json(Status::of(&readings, &shared.own, &Stamps::now())))
}
