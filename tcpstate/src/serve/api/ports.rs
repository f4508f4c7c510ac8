//! `/api/v1/ports`: how many local ports are in use towards each destination.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    page::{Page, PageParams},
    processes::by_state,
};
use crate::{
    diagnose::evidence::Destination,
    serve::{
        ask::Diagnosed,
        figures,
        params::cursor::{List, Place},
        problem::Problem,
        shared::Shared,
        stamp::Stamps,
    },
};

/// How many local ports are in use towards each destination.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Ports {
    /// When it was last looked at (RFC 3339); null before the first time.
    #[schema(required)]
    pub as_of: Option<String>,
    /// Destinations on all pages together: at most 64.
    pub total: u64,
    /// The largest come first; none has fewer than 8 sockets.
    pub destinations: Vec<Towards>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Connections from one address of this host to one place. Each needs a local port of its own.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Towards {
    /// The address of this host.
    #[schema(example = "10.0.0.1")]
    pub local: String,
    /// Address and port of the destination.
    #[schema(example = "10.0.0.5:6379")]
    pub remote: String,
    /// Inode number of the network namespace.
    #[schema(format = Int64, example = 4_026_531_840_u32)]
    pub netns: u32,
    /// Local ports in use: sockets in any state.
    pub used: u64,
    /// Local ports that the kernel chooses from (`ip_local_port_range` without `ip_local_reserved_ports`); null when
    /// that could not be read.
    #[schema(required)]
    pub range_size: Option<u64>,
    /// The sockets by state.
    #[schema(example = json!({"ESTABLISHED": 3, "TIME_WAIT": 800}))]
    pub by_state: BTreeMap<String, u64>,
    /// Processes that opened or closed them, those with the most first, at most 4; where no event told, some that
    /// hold them.
    pub holders: Vec<PortHolder>,
}

/// A process with sockets towards one destination.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct PortHolder {
    pub pid: u32,
    pub comm: String,
    /// How many of the sockets it opened or closed; null where that was not seen.
    #[schema(required)]
    pub sockets: Option<u64>,
}

impl Towards {
    fn of(destination: &Destination, diagnosed: &Diagnosed) -> Self {
        let actors = destination.actors.iter();
        let mut holders: Vec<_> = actors
            .map(|(process, sockets)| PortHolder {
                pid: process.pid,
                comm: process.comm.to_string(),
                sockets: Some(*sockets),
            })
            .collect();
        if holders.is_empty() {
            for holder in destination.cookies.iter().flat_map(|cookie| diagnosed.holders.of_cookie(*cookie)) {
                let known = holders.iter().any(|known| known.pid == holder.pid);
                if !known && holders.len() < Destination::MAX_ACTORS {
                    let (pid, comm) = (holder.pid, holder.comm.to_string());
                    holders.push(PortHolder { pid, comm, sockets: None });
                }
            }
        }
        Self {
            local: destination.local.to_string(),
            remote: destination.remote.to_string(),
            netns: destination.netns,
            used: destination.used(),
            range_size: figures::local_ports(destination.netns, diagnosed),
            by_state: by_state(&destination.by_state),
            holders,
        }
    }
}

/// How many local ports are in use towards each destination.
///
/// Two connections may share a local port if they go to different places, so that only what goes to the same address
/// and port counts together.
///
/// A cursor names the count and the destination with which its page ended, and the next page goes on behind them in what
/// was found last: a destination whose count stays is on exactly one page, and one whose count has changed meanwhile may
/// be on two or on none.
#[utoipa::path(
    get,
    path = "/api/v1/ports",
    tag = "api",
    params(PageParams),
    responses(
        (status = 200, description = "A page of destinations", body = Ports),
        (status = 400, description = "A parameter is wrong; `field` names it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn ports(
    State(shared): State<Shared>,
    params: PageParams,
) -> Result<Json<Ports>, Problem> {
    let diagnosed = shared.engine.diagnosed();
    let place =
        |to: &Destination| Place::new(to.used(), format!("{:010} {} {}", to.netns, to.local, to.remote));
    let all = diagnosed.destinations.iter().map(|to| (place(to), to)).collect();
    let Page { total, entries, next_cursor } = params.page(List::Ports, all)?;
    Ok(Json(Ports {
        as_of: diagnosed.at_ns.map(|at_ns| Stamps::now().millis(at_ns)),
        total,
        destinations: entries.into_iter().map(|to| Towards::of(to, &diagnosed)).collect(),
        next_cursor,
    }))
}
