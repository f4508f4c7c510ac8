//! `/api/v1/sockets`: the sockets that exist, with everyone who holds them.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::request::Parts,
};
use serde::{Deserialize, Serialize};
use tcpstate_common::TcpState;
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat, Type, schema::AnyOfBuilder};
use utoipa::{IntoParams, ToSchema};

use super::{Ends, Process};
use crate::{
    serve::{
        ask::SocketAnswer,
        params::{Pairs, cursor::List, duration, limit, number, one_of, state},
        problem::Problem,
        shared::Shared,
        stamp::Stamps,
    },
    track::{self, Filter, Owner, Since},
};

/// Which sockets are asked for; all that are given must hold.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::serve) struct SocketParams {
    /// Only sockets in this state. The names of `ss` are understood too, and all in either case, with `-` or `_`.
    #[param(schema_with = states, example = "CLOSE_WAIT")]
    state: Option<TcpState>,
    /// Only sockets at least this long in their state: a whole number with `ms`, `s`, `m`, `h` or `d`;
    /// without unit it is seconds. The number has up to 11 digits. An age that is only known to be `at_least` something counts as that.
    #[param(rename = "min_age", value_type = Option<String>, pattern = "^[0-9]{1,11}(ms|s|m|h|d)?$", example = "5m")]
    min_age_ms: Option<u64>,
    /// Only sockets that this process has open, or last acted on where no process can have them open.
    #[param(minimum = 1, maximum = 2_147_483_647)]
    pid: Option<u32>,
    /// Only sockets with this port at either end.
    #[param(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    /// Only sockets with this IP address at the other end; an IPv4 address finds v4-mapped peers too.
    #[param(schema_with = addresses, example = "10.0.0.7")]
    peer: Option<IpAddr>,
    /// Only sockets in the network namespace with this inode number.
    #[param(minimum = 1, maximum = 4_294_967_295_i64, format = Int64)]
    netns: Option<u32>,
    /// Sockets on a page at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[param(rename = "cursor", value_type = Option<String>, pattern = "^s1[0-9a-f]{16}$")]
    after: Option<u64>,
}

fn states() -> Object {
    one_of(TcpState::VISIBLE.map(TcpState::name))
}

fn addresses() -> Schema {
    let of = |format| {
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)))
    };
    AnyOfBuilder::new().item(of(KnownFormat::Ipv4)).item(of(KnownFormat::Ipv6)).build().into()
}

impl SocketParams {
    const NAMES: [&str; 8] = ["state", "min_age", "pid", "port", "peer", "netns", "limit", "cursor"];
}

impl<S: Sync> FromRequestParts<S> for SocketParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = Pairs::of(&parts.uri, &Self::NAMES)?;
        Ok(Self {
            state: pairs.get("state", |name| state::parse(name, &TcpState::VISIBLE))?,
            min_age_ms: pairs.get("min_age", duration::parse_ms)?,
            pid: pairs.get("pid", number::pid)?,
            port: pairs.get("port", number::port)?,
            peer: pairs.get("peer", peer)?,
            netns: pairs.get("netns", number::netns)?,
            limit: pairs.get("limit", limit::parse)?,
            after: pairs.get("cursor", |cursor| List::Sockets.parse(cursor))?,
        })
    }
}

impl From<SocketParams> for Filter {
    fn from(params: SocketParams) -> Self {
        Self {
            state: params.state,
            min_age_ms: params.min_age_ms,
            pid: params.pid,
            port: params.port,
            peer: params.peer,
            netns: params.netns,
            after: params.after,
            limit: params.limit.unwrap_or(limit::DEFAULT),
            // The engine knows them.
            holders: Arc::default(),
        }
    }
}

fn peer(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is not an IP address; give one without port and brackets, such as 10.0.0.7 or 2001:db8::7")
    })
}

/// A page of sockets, in the order of their cookies.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Sockets {
    /// When the last census that shows all such sockets ended (RFC 3339); null before the first. What events have told
    /// since is in the answer too; queues, timers and mini-sockets' ends are as of the census.
    #[schema(required)]
    pub as_of: Option<String>,
    /// When it was looked up who holds them (RFC 3339); null before the first look-up. On a host with very many
    /// sockets that is some time ago.
    #[schema(required)]
    pub holders_as_of: Option<String>,
    /// Sockets that pass the filters, on all pages together.
    pub total: u64,
    pub sockets: Vec<Socket>,
    /// The `cursor` of the next page; null on the last one. Every socket that is there from the first page to the last is
    /// on one of them, once; one that comes meanwhile may be on none, and `total` counts it.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// One socket.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Socket {
    /// The kernel's name for the socket, unique until the next boot: 64 bits, so a string.
    #[schema(example = "4711")]
    pub cookie: String,
    #[schema(example = "CLOSE_WAIT")]
    pub state: String,
    #[serde(flatten)]
    pub ends: Ends,
    /// Time in the state, ms. See `age_is`.
    pub age_ms: u64,
    pub age_is: AgeIs,
    /// When the state was entered (RFC 3339), or, if `age_is` is `at_least`, when the socket was first seen
    /// in it.
    pub since: String,
    /// Bytes received and not read yet, a FIN counting as one; for a listener the connections not accepted
    /// yet.
    #[schema(format = Int64)]
    pub rqueue: u32,
    /// Bytes sent and not acknowledged yet; for a listener the limit of its backlog.
    #[schema(format = Int64)]
    pub wqueue: u32,
    /// `retransmit`, `keepalive`, `timewait` (a mini-socket waits for its end) or `persist` (the peer's
    /// window is closed); null when none runs.
    #[schema(required, example = "keepalive")]
    pub timer: Option<String>,
    /// Retransmissions of the oldest unacknowledged segment.
    pub retransmits: u8,
    /// The user who made the socket; null for a mini-socket, whose user the kernel has forgotten, and for
    /// a socket that no census has seen yet.
    #[schema(required, format = Int64)]
    pub uid: Option<u32>,
    /// Inode of the socket's file; null when no process can have it open: never accepted, orphaned or a
    /// mini-socket. Null too for a socket that no census has seen yet.
    #[schema(required, format = Int64)]
    pub inode: Option<u32>,
    /// Every open file that is this socket. Empty when no process has it open, or none that could be seen.
    pub holders: Vec<Holder>,
    /// The process that last connected, shut down or closed it, if that was seen. It may have ended since,
    /// and its number may be another's by now.
    #[schema(required)]
    pub actor: Option<Process>,
}

/// How well an age is known.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgeIs {
    /// The change to the state was seen. Exact to one kernel tick (1 to 10 ms).
    Exact,
    /// The socket was already in the state when the daemon came, or no event told of the change.
    AtLeast,
}

/// An open file that is a socket.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Holder {
    /// The process's number in the initial pid namespace.
    pub pid: u32,
    /// The descriptor's number in that process.
    pub fd: u32,
    /// The process's name.
    pub comm: String,
    /// The program's file; null when it could not be read.
    #[schema(required, example = "/usr/sbin/nginx")]
    pub exe: Option<String>,
    /// The systemd unit; null when there is none.
    #[schema(required, example = "nginx.service")]
    pub unit: Option<String>,
    /// The container's id; null outside containers.
    #[schema(required)]
    pub container: Option<String>,
}

impl Holder {
    fn of((holder, owner): (track::Holder, Owner)) -> Self {
        Self {
            pid: holder.pid,
            fd: holder.fd,
            comm: holder.comm.to_string(),
            exe: owner.exe,
            unit: owner.unit,
            container: owner.container,
        }
    }
}

impl Socket {
    fn of(
        socket: &track::Socket,
        holders: Vec<(track::Holder, Owner)>,
        now_ns: u64,
        stamps: &Stamps,
    ) -> Self {
        let age_is = match socket.since {
            Since::Exactly(_) => AgeIs::Exact,
            Since::AtLatest(_) => AgeIs::AtLeast,
        };
        Self {
            cookie: socket.cookie.to_string(),
            state: socket.state.name().to_owned(),
            ends: Ends::of(&socket.tuple, socket.netns),
            age_ms: socket.age_ms(now_ns),
            age_is,
            since: stamps.millis(socket.since.ns()),
            rqueue: socket.rqueue,
            wqueue: socket.wqueue,
            timer: socket.timer.name().map(str::to_owned),
            retransmits: socket.retransmits,
            uid: socket.uid,
            inode: (socket.inode != 0).then_some(socket.inode),
            holders: holders.into_iter().map(Holder::of).collect(),
            actor: socket.actor.map(Process::from),
        }
    }
}

impl Sockets {
    fn of(answer: SocketAnswer, stamps: &Stamps) -> Self {
        let SocketAnswer { now_ns, census_ns, holders_ns, sockets, total, next } = answer;
        Self {
            as_of: census_ns.map(|census_ns| stamps.millis(census_ns)),
            holders_as_of: holders_ns.map(|holders_ns| stamps.millis(holders_ns)),
            total,
            sockets: sockets
                .into_iter()
                .map(|(socket, holders)| Socket::of(&socket, holders, now_ns, stamps))
                .collect(),
            next_cursor: next.map(|last| List::Sockets.cursor(last)),
        }
    }
}

/// The sockets that exist, with everyone who holds them.
///
/// Pages follow the order of the cookies, so that a socket that stays is on exactly one page, whatever
/// comes and goes meanwhile.
#[utoipa::path(
    get,
    path = "/api/v1/sockets",
    tag = "api",
    params(SocketParams),
    responses(
        (status = 200, description = "A page of sockets", body = Sockets),
        (status = 400, description = "A parameter is wrong; `field` names it", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The daemon is ending", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn sockets(
    State(shared): State<Shared>,
    params: SocketParams,
) -> Result<Json<Sockets>, Problem> {
    let answer = shared.engine.sockets(params.into()).await?;
    Ok(Json(Sockets::of(answer, &Stamps::now())))
}
