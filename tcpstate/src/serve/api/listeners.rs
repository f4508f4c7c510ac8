//! `/api/v1/listeners`: how full the accept queues are, and what they refused.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::page::{Page, PageParams};
use crate::{
    serve::{
        ask::Diagnosed,
        params::cursor::{List, Place},
        problem::Problem,
        shared::Shared,
        stamp::Stamps,
    },
    track::{NO_LIMIT, Socket},
};

/// How full the accept queues are, and what they refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Listeners {
    /// When it was last looked at (RFC 3339); null before the first time.
    #[schema(required)]
    pub as_of: Option<String>,
    /// Listeners on all pages together.
    pub total: u64,
    /// Those with the longest queue come first.
    pub listeners: Vec<Listener>,
    /// The kernel counts these for a whole network namespace only. All of them are on the first page, and none on the
    /// others.
    pub namespaces: Vec<Overflows>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// One listening socket.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Listener {
    /// As in `/api/v1/sockets`.
    #[schema(example = "4711")]
    pub cookie: String,
    /// Where it listens.
    #[schema(example = "0.0.0.0:8000")]
    pub address: String,
    /// Inode number of the network namespace.
    #[schema(format = Int64, example = 4_026_531_840_u32)]
    pub netns: u32,
    /// Connections that wait to be accepted.
    #[schema(format = Int64)]
    pub queue: u32,
    /// How many may wait; one more finds room, too, and what comes then is dropped. Null where the kernel does not say it:
    /// it has no `tcp_diag`.
    #[schema(required, format = Int64)]
    pub limit: Option<u32>,
    /// SYNs and final ACKs that it dropped since it listens, modulo 2^32; null when that was not asked or could not
    /// be seen.
    #[schema(required, format = Int64)]
    pub drops: Option<u32>,
    /// Every open file that is this socket, one entry a descriptor; null while nobody has looked.
    #[schema(required)]
    pub holders: Option<Vec<ListenerHolder>>,
}

/// A process that has a listener open.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct ListenerHolder {
    pub pid: u32,
    pub comm: String,
    pub fd: u32,
}

/// What listeners of one network namespace refused since it was made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Overflows {
    /// Inode number of the network namespace.
    #[schema(format = Int64, example = 4_026_531_840_u32)]
    pub netns: u32,
    /// Connections that found an accept queue full (`ListenOverflows`); null when that could not be read.
    #[schema(required)]
    pub overflows: Option<u64>,
    /// SYNs and final ACKs that a listener dropped for any reason, a full queue among them (`ListenDrops`); null
    /// likewise.
    #[schema(required)]
    pub drops: Option<u64>,
}

impl Listener {
    fn of(socket: &Socket, drops: Option<u32>, diagnosed: &Diagnosed) -> Self {
        let holder = |holder: crate::track::Holder| ListenerHolder {
            pid: holder.pid,
            comm: holder.comm.to_string(),
            fd: holder.fd,
        };
        let known = diagnosed.holders.know(socket);
        Self {
            cookie: socket.cookie.to_string(),
            address: socket.tuple.local.to_string(),
            netns: socket.netns,
            queue: socket.rqueue,
            limit: (socket.wqueue != NO_LIMIT).then_some(socket.wqueue),
            drops,
            holders: known.then(|| diagnosed.holders.of(socket).map(holder).collect()),
        }
    }
}

/// What was refused, in the order of the namespaces.
fn overflows(diagnosed: &Diagnosed) -> Vec<Overflows> {
    let mut namespaces: Vec<_> = diagnosed
        .namespaces
        .iter()
        .map(|(netns, namespace)| Overflows {
            netns: *netns,
            overflows: namespace.counters.listen_overflows,
            drops: namespace.counters.listen_drops,
        })
        .collect();
    namespaces.sort_by_key(|namespace| namespace.netns);
    namespaces
}

impl Listeners {
    fn of(diagnosed: &Diagnosed, params: &PageParams, stamps: &Stamps) -> Result<Self, Problem> {
        // Several may listen at the same address.
        let name =
            |socket: &Socket| format!("{} {:010} {:020}", socket.tuple.local, socket.netns, socket.cookie);
        let all = diagnosed.listeners.iter();
        let all = all.map(|(socket, more)| (Place::new(socket.rqueue.into(), name(socket)), (socket, more)));
        let Page { total, entries, next_cursor } = params.page(List::Listeners, all.collect())?;
        let listeners = entries
            .into_iter()
            .map(|(socket, more)| Listener::of(socket, more.and_then(|more| more.drops), diagnosed))
            .collect();
        let namespaces = if params.is_first() { overflows(diagnosed) } else { Vec::new() };
        let as_of = diagnosed.at_ns.map(|at_ns| stamps.millis(at_ns));
        Ok(Self { as_of, total, listeners, namespaces, next_cursor })
    }
}

/// How full the accept queues are, and what they refused.
///
/// A cursor names the length of the queue and the listener with which its page ended, and the next page goes on behind
/// them in what was found last: a listener whose queue stays as long is on exactly one page, and one whose queue has
/// changed meanwhile may be on two or on none.
#[utoipa::path(
    get,
    path = "/api/v1/listeners",
    tag = "api",
    params(PageParams),
    responses(
        (status = 200, description = "A page of listeners", body = Listeners),
        (status = 400, description = "A parameter is wrong; `field` names it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn listeners(
    State(shared): State<Shared>,
    params: PageParams,
) -> Result<Json<Listeners>, Problem> {
    Ok(Json(Listeners::of(&shared.engine.diagnosed(), &params, &Stamps::now())?))
}
