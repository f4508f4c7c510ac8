//! `/api/v1/listeners`: how full the accept queues are, and what they refused.

use std::cmp::Reverse;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    serve::{ask::Diagnosed, params::NoParams, problem::Problem, shared::Shared, stamp::Stamps},
    track::Socket,
};

/// How full the accept queues are, and what they refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Listeners {
    /// When it was last looked at (RFC 3339); null before the first time.
    #[schema(required)]
    pub as_of: Option<String>,
    /// Those with the longest queue come first.
    pub listeners: Vec<Listener>,
    /// The kernel counts these for a whole network namespace only.
    pub namespaces: Vec<Overflows>,
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
    /// So many may wait; one more finds room, too, and what comes then is dropped.
    #[schema(format = Int64)]
    pub limit: u32,
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
            limit: socket.wqueue,
            drops,
            holders: known.then(|| diagnosed.holders.of(socket).map(holder).collect()),
        }
    }
}

impl Listeners {
    fn of(diagnosed: &Diagnosed, stamps: &Stamps) -> Self {
        let all = diagnosed.listeners.iter();
        let mut listeners: Vec<_> = all
            .map(|(socket, more)| Listener::of(socket, more.and_then(|more| more.drops), diagnosed))
            .collect();
        listeners.sort_by(|a, b| {
            (Reverse(a.queue), &a.address, a.netns).cmp(&(Reverse(b.queue), &b.address, b.netns))
        });
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
        Self { as_of: diagnosed.at_ns.map(|at_ns| stamps.millis(at_ns)), listeners, namespaces }
    }
}

/// How full the accept queues are, and what they refused.
#[utoipa::path(
    get,
    path = "/api/v1/listeners",
    tag = "api",
    responses(
        (status = 200, description = "The listeners", body = Listeners),
        (status = 400, description = "This route takes no parameters", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn listeners(State(shared): State<Shared>, _: NoParams) -> Json<Listeners> {
    Json(Listeners::of(&shared.engine.diagnosed(), &Stamps::now()))
}
