//! `/api/v1/events`: every event as it comes, as server-sent events.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse,
};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Ends, Process, ends,
    feed::{Feed, Told},
    lines::Lines,
    records::{self, Head},
};
use crate::{
    serve::{
        errno, figures,
        http::accept::wants,
        params::NoParams,
        problem::Problem,
        shared::{Refused, Shared},
        stamp::Stamps,
    },
    track::{self, Phase},
};

/// How long the stream may be silent; then a comment shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The `event:` names of the stream.
pub mod names {
    /// A [`super::Transition`].
    pub const TRANSITION: &str = "transition";
    /// A [`super::ResetSent`].
    pub const RESET_SENT: &str = "reset_sent";
    /// A [`super::ResetReceived`].
    pub const RESET_RECEIVED: &str = "reset_received";
    /// A [`super::Lost`].
    pub const LOST: &str = "lost";
}

/// A socket changed its state (`event: transition`).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = TransitionEvent)]
pub struct Transition {
    /// When (RFC 3339).
    pub at: String,
    /// The socket's cookie, as a string; null where the kernel had none to give.
    #[schema(required)]
    pub cookie: Option<String>,
    #[serde(flatten)]
    pub ends: Ends,
    #[schema(example = "ESTABLISHED")]
    pub from: String,
    #[schema(example = "CLOSE_WAIT")]
    pub to: String,
    /// Whether `to` is inferred: the kernel said `CLOSE`, and the socket's flags say that a mini-socket took
    /// over, in `TIME_WAIT` or in `FIN_WAIT2`.
    pub inferred: bool,
    /// Time spent in `from`, ns; null when its beginning was not seen. Up to one kernel tick (1 to 10 ms) too long
    /// where it began before somebody watched.
    #[schema(required)]
    pub in_old_state_ns: Option<u64>,
    /// The process that acted; null when none can be named, as for what the network brings about.
    #[schema(required)]
    pub actor: Option<Actor>,
    /// The socket's error, by name; null when there is none.
    #[schema(required, example = "ECONNREFUSED")]
    pub errno: Option<String>,
}

/// Whom a transition names.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Actor {
    #[serde(flatten)]
    pub process: Process,
    /// The process acted on the socket earlier (it closed it, for example), not now.
    pub carried: bool,
}

/// The kernel sent a RST (`event: reset_sent`).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = ResetSentEvent)]
pub struct ResetSent {
    /// When (RFC 3339).
    pub at: String,
    /// The socket's cookie, as a string; null without socket.
    #[schema(required)]
    pub cookie: Option<String>,
    #[serde(flatten)]
    pub ends: Ends,
    /// The socket's state; null when there was no socket.
    #[schema(required)]
    pub state: Option<String>,
    /// `connect`, `accept`, `established` or `closing`; null when there was no socket.
    #[schema(required)]
    pub phase: Option<String>,
    /// Why, by the kernel's own name; null on kernels before 6.10.
    #[schema(required, example = "TCP_ABORT_ON_CLOSE")]
    pub reason: Option<String>,
    /// The process that caused it; null when none can be named.
    #[schema(required)]
    pub process: Option<Process>,
}

/// The kernel ran `tcp_reset` on a socket (`event: reset_received`): a RST came in, or the kernel made it up
/// itself, which a `reset_sent` on the same socket then tells.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = ResetReceivedEvent)]
pub struct ResetReceived {
    /// When (RFC 3339).
    pub at: String,
    /// The socket's cookie, as a string; null where the kernel had none to give.
    #[schema(required)]
    pub cookie: Option<String>,
    #[serde(flatten)]
    pub ends: Ends,
    /// The state in which it met the socket.
    pub state: String,
    /// `connect`, `accept`, `established` or `closing`.
    pub phase: String,
}

/// The watcher was too slow (`event: lost`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = LostEvent)]
pub struct Lost {
    /// How many events are missing at this place.
    pub count: u64,
}

impl Transition {
    /// An event, as it is told.
    #[must_use]
    pub fn of(event: &track::Transition, stamps: &Stamps) -> Self {
        Self {
            at: stamps.micros(event.at_ns),
            cookie: ends::cookie(event.cookie),
            ends: Ends::of(&event.tuple, event.netns),
            from: event.from.name().to_owned(),
            to: event.to.name().to_owned(),
            inferred: event.inferred,
            in_old_state_ns: event.entered_ns.map(|entered_ns| event.at_ns.saturating_sub(entered_ns)),
            actor: event.actor.map(|actor| Actor { process: actor.process.into(), carried: actor.carried }),
            errno: (event.error != 0).then(|| errno::name(event.error)),
        }
    }
}

impl ResetSent {
    /// An event, as it is told; the kernel calls the reasons so.
    #[must_use]
    pub fn of(event: &track::ResetSent, stamps: &Stamps, reasons: &BTreeMap<u32, String>) -> Self {
        Self {
            at: stamps.micros(event.at_ns),
            cookie: ends::cookie(event.cookie),
            ends: Ends::of(&event.tuple, event.netns),
            state: event.state.map(|state| state.name().to_owned()),
            phase: event.state.map(|state| Phase::of(state).name().to_owned()),
            reason: event.reason.map(|number| figures::reason(number, reasons)),
            process: event.process.map(Into::into),
        }
    }
}

impl ResetReceived {
    /// An event, as it is told.
    #[must_use]
    pub fn of(event: &track::ResetReceived, stamps: &Stamps) -> Self {
        Self {
            at: stamps.micros(event.at_ns),
            cookie: ends::cookie(event.cookie),
            ends: Ends::of(&event.tuple, event.netns),
            state: event.state.name().to_owned(),
            phase: Phase::of(event.state).name().to_owned(),
        }
    }
}

/// Every event as it comes, as server-sent events.
///
/// `event:` is `transition`, `reset_sent`, `reset_received` or `lost`; `data:` is one JSON object:
/// `TransitionEvent`, `ResetSentEvent`, `ResetReceivedEvent` or `LostEvent`. Comments keep a silent stream
/// alive. The stream ends when the daemon does. Where there are dumps only it is silent.
///
/// With `Accept: application/vnd.tcpstate.records` the events come as the kernel side tells them, which costs the
/// server a tenth: a line of JSON that says how to read them, then records of `record_bytes` bytes, laid out as
/// `Brief` in `tcpstate-common/src/wire.rs`; kind 255 says that as many are missing as its cookie.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "api",
    responses(
        (status = 200, description = "The events", content(
            (String = "text/event-stream"),
            (Vec<u8> = "application/vnd.tcpstate.records"),
        )),
        (status = 400, description = "This route takes no parameters", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "There are as many watchers as there may be, or the daemon is ending", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn events(
    State(shared): State<Shared>,
    _: NoParams,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let Ok(place) = Arc::clone(&shared.watchers).try_acquire_owned() else {
        shared.own.refused(Refused::Watchers);
        return Err(Problem::unavailable(
            "there are as many watchers as there may be; try again when one has gone",
        ));
    };
    let reasons = shared.readings().await?.reset_reasons;
    let (kind, body) = if wants(&headers, header::ACCEPT, records::MEDIA_TYPE) {
        let feed =
            Feed::new(shared.engine.record().await?, shared.stop.clone(), Arc::clone(&shared.own), place);
        let head = Head::new((*reasons).clone()).line();
        let told =
            stream::unfold(feed, |mut feed| async { Some((records::bytes(feed.next().await?), feed)) });
        let stream = stream::once(async { head }).chain(told);
        (records::MEDIA_TYPE, Body::from_stream(stream.map(Ok::<_, Infallible>)))
    } else {
        let feed =
            Feed::new(shared.engine.watch().await?, shared.stop.clone(), Arc::clone(&shared.own), place);
        let stream = stream::unfold(feed, move |mut feed| {
            let reasons = Arc::clone(&reasons);
            async move {
                let chunk = match tokio::time::timeout(KEEP_ALIVE, feed.next()).await {
                    Ok(told) => lines(&told?, &reasons),
                    Err(_) => b":\n\n".to_vec(),
                };
                Some((Ok::<_, Infallible>(chunk), feed))
            }
        });
        ("text/event-stream", Body::from_stream(stream))
    };
    Ok(([(header::CONTENT_TYPE, kind)], body))
}

/// What is told together is sent together.
fn lines(told: &Told<track::Event>, reasons: &BTreeMap<u32, String>) -> Vec<u8> {
    let mut lines = Lines::new(reasons);
    match told {
        Told::Events(batch) => batch.events.iter().for_each(|event| lines.event(event)),
        Told::Lost(count) => lines.lost(*count),
    }
    lines.into_bytes()
}
