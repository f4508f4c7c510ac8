//! `/api/v1/resets`: the latest RSTs, sent and received.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::request::Parts,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Ends, Process, ends};
use crate::{
    serve::{
        figures,
        params::{Pairs, cursor::List, limit},
        problem::Problem,
        shared::Shared,
        stamp::Stamps,
    },
    track::{self, Phase},
};

/// Which page is asked for.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::serve) struct ResetParams {
    /// Resets on a page at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[param(rename = "cursor", value_type = Option<String>, pattern = "^r1[0-9a-f]{16}$")]
    before: Option<u64>,
}

impl ResetParams {
    const NAMES: [&str; 2] = ["limit", "cursor"];
}

impl<S: Sync> FromRequestParts<S> for ResetParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = Pairs::of(&parts.uri, &Self::NAMES)?;
        Ok(Self {
            limit: pairs.get("limit", limit::parse)?,
            before: pairs.get("cursor", |cursor| List::Resets.parse(cursor))?,
        })
    }
}

/// A page of resets, the newest first.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Resets {
    pub resets: Vec<Reset>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Which way a reset went.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Sent,
    Received,
}

/// One RST.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Reset {
    /// Counts up from 1 since the daemon started; never used twice.
    pub id: u64,
    /// When (RFC 3339).
    pub at: String,
    pub direction: Direction,
    /// `connect`, `accept`, `established` or `closing`: in which part of its life it met the connection;
    /// null when there was no socket.
    #[schema(required, example = "established")]
    pub phase: Option<String>,
    /// The state in which it met the socket; null when there was no socket.
    #[schema(required, example = "ESTABLISHED")]
    pub state: Option<String>,
    /// Why the kernel sent it, by the kernel's own name; null for received ones, and on kernels before 6.10.
    #[schema(required, example = "TCP_ABORT_ON_CLOSE")]
    pub reason: Option<String>,
    /// The socket's cookie, as a string; null without socket.
    #[schema(required)]
    pub cookie: Option<String>,
    #[serde(flatten)]
    pub ends: Ends,
    /// The process that caused it; null when none can be named.
    #[schema(required)]
    pub process: Option<Process>,
}

impl Reset {
    fn of(reset: &track::Reset, reasons: &BTreeMap<u32, String>, stamps: &Stamps) -> Self {
        let direction = match reset.direction {
            track::Direction::Sent => Direction::Sent,
            track::Direction::Received => Direction::Received,
        };
        Self {
            id: reset.id,
            at: stamps.micros(reset.at_ns),
            direction,
            phase: reset.state.map(|state| Phase::of(state).name().to_owned()),
            state: reset.state.map(|state| state.name().to_owned()),
            reason: reset.reason.map(|number| figures::reason(number, reasons)),
            cookie: ends::cookie(reset.cookie),
            ends: Ends::of(&reset.tuple, reset.netns),
            process: reset.process.map(Process::from),
        }
    }
}

/// The latest RSTs, the newest first.
///
/// Only the latest ones are kept; `limits.max_resets` of `/api/v1/status` says how many. A received RST that
/// turns out to be made by the kernel itself becomes a sent one.
#[utoipa::path(
    get,
    path = "/api/v1/resets",
    tag = "api",
    params(ResetParams),
    responses(
        (status = 200, description = "A page of resets", body = Resets),
        (status = 400, description = "A parameter is wrong; `field` names it", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The daemon is ending", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn resets(
    State(shared): State<Shared>,
    params: ResetParams,
) -> Result<Json<Resets>, Problem> {
    let limit = params.limit.unwrap_or(limit::DEFAULT);
    // One more than the page holds, to know whether there is a next one.
    let mut page = shared.engine.resets(params.before, limit + 1).await?;
    let more = page.len() > limit;
    page.truncate(limit);
    let reasons = shared.readings().await?.reset_reasons;
    let stamps = Stamps::now();
    let next_cursor = page.last().filter(|_| more).map(|reset| List::Resets.cursor(reset.id));
    let resets = page.iter().map(|reset| Reset::of(reset, &reasons, &stamps)).collect();
    Ok(Json(Resets { resets, next_cursor }))
}
