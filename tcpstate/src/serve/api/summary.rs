//! `/api/v1/summary`: the numbers of this host at a glance.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use tcpstate_common::{Counters, TcpState};
use utoipa::ToSchema;

use crate::{
    serve::{
        ask::Readings,
        figures,
        params::NoParams,
        problem::Problem,
        shared::{Own, Shared},
    },
    track::{self, Family},
};

/// The numbers of this host at a glance.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Summary {
    pub sockets: SocketCounts,
    /// Changes of state since the daemon started; null where there are dumps only, which show none.
    #[schema(required)]
    pub transitions_total: Option<u64>,
    /// RSTs sent since the daemon started, by the kernel's reason; null where there are dumps only.
    #[schema(required, example = json!({"TCP_ABORT_ON_CLOSE": 3}))]
    pub resets_sent: Option<BTreeMap<String, u64>>,
    /// RSTs received since the daemon started, by the part of its life in which they met the connection;
    /// null where there are dumps only.
    #[schema(required, example = json!({"connect": 3}))]
    pub resets_received: Option<BTreeMap<String, u64>>,
    /// Failed connects since the daemon started, by the error's name; `NONE`: the application gave up. Null
    /// where there are dumps only.
    #[schema(required, example = json!({"ECONNREFUSED": 3}))]
    pub connect_failures: Option<BTreeMap<String, u64>>,
    /// Sockets that park, by who is to blame; the largest groups of each state come first.
    pub parked: Vec<Parked>,
}

/// Sockets by state and family.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SocketCounts {
    /// Whether every number but those of `TIME_WAIT`, `SYN_RECV` and `FIN_WAIT2`'s mini-sockets is exact now;
    /// those, and all if this is false, are as of the last census with what was seen since.
    pub exact: bool,
    /// Every state in which a socket can be seen; null before the first census.
    #[schema(required)]
    pub by_state: Option<BTreeMap<String, ByFamily>>,
}

/// Sockets by family.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ByFamily {
    pub ipv4: u64,
    pub ipv6: u64,
}

/// Parked sockets of one owner in one state.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Parked {
    #[schema(example = "CLOSE_WAIT")]
    pub state: String,
    /// Whether this is the rest: all owners that were not among the largest.
    pub rest: bool,
    /// The name of the process that holds the sockets, or that closed them where none can hold them; null
    /// when none can be named.
    #[schema(required)]
    pub comm: Option<String>,
    /// Its systemd unit.
    #[schema(required)]
    pub unit: Option<String>,
    /// Its container's id.
    #[schema(required)]
    pub container: Option<String>,
    pub count: u64,
    /// Age of the oldest, ms; a lower bound where the daemon came later.
    pub oldest_age_ms: u64,
}

impl Parked {
    fn of(group: &track::ParkedGroup) -> Self {
        let blamed = group.blamed.clone().unwrap_or_default();
        Self {
            state: group.state.name().to_owned(),
            rest: group.blamed.is_none(),
            comm: blamed.comm,
            unit: blamed.unit,
            container: blamed.container,
            count: group.count,
            oldest_age_ms: group.oldest_age_ms,
        }
    }
}

impl SocketCounts {
    fn of(readings: &Readings) -> Self {
        let count = |state| ByFamily {
            ipv4: readings.sockets.get(Family::V4, state),
            ipv6: readings.sockets.get(Family::V6, state),
        };
        let all = || TcpState::VISIBLE.map(|state| (state.name().to_owned(), count(state))).into();
        Self { exact: readings.sockets.exact, by_state: readings.census.map(|_| all()) }
    }
}

impl Summary {
    fn of(readings: &Readings, own: &Own) -> Self {
        let counters = readings.counters.as_deref();
        let names = &readings.reset_reasons;
        Self {
            sockets: SocketCounts::of(readings),
            transitions_total: counters.map(Counters::transitions_total),
            resets_sent: counters.map(|counters| figures::resets_sent(counters, names).into_iter().collect()),
            resets_received: counters.map(|counters| {
                let rows = figures::resets_received(counters, own);
                rows.into_iter().map(|(phase, count)| (phase.name().to_owned(), count)).collect()
            }),
            connect_failures: counters
                .map(|counters| figures::connect_failures(counters).into_iter().collect()),
            parked: readings.parked.iter().map(Parked::of).collect(),
        }
    }
}

/// The numbers of this host at a glance.
#[utoipa::path(
    get,
    path = "/api/v1/summary",
    tag = "api",
    responses(
        (status = 200, description = "The numbers", body = Summary),
        (status = 400, description = "This route takes no parameters", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The daemon is ending", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn summary(
    State(shared): State<Shared>,
    _: NoParams,
) -> Result<Json<Summary>, Problem> {
    let readings = shared.readings().await?;
    Ok(Json(Summary::of(&readings, &shared.own)))
}
