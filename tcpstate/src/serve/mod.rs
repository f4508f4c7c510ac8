//! What the daemon shows over HTTP: metrics, the API and its description, health. Asks the engine, knows
//! nothing of where its answers come from.

pub mod api;
pub mod ask;
mod errno;
mod figures;
mod guard;
pub mod http;
mod metrics;
pub mod nearest;
mod pages;
pub mod params;
pub mod problem;
mod shared;
pub mod stamp;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use axum::{
    http::{Method, Uri},
    middleware,
};
use tokio::sync::{Semaphore, watch};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    api::openapi::{Description, describe_cursors, describe_refusals},
    ask::Engine,
    http::{Bounds, Server, connections::Connections, gate::Gate},
    problem::Problem,
    shared::{Own, Shared},
};
use crate::pulse::Pulses;

/// Lists that are made at a time, and that wait for it: what costs the daemon and the engine most. One of the daemon's two
/// threads stays free for all others.
const LISTS: (usize, usize) = (1, 16);
/// Pages of metrics that are made at a time, and that wait for it: each takes some ms, and a scraper is never refused
/// because of others.
const SCRAPES: (usize, usize) = (2, 256);

/// All routes, served in these bounds. `pulses` say whether the rest of the daemon works. Streams end when `stop` becomes
/// true or loses its sender.
pub fn server(engine: Engine, pulses: Pulses, stop: watch::Receiver<bool>, bounds: Bounds) -> Server {
    let connections = Connections::new(bounds);
    let own = Arc::new(Own::new(Arc::clone(&connections), engine.late()));
    let gate = |(turns, waiting)| {
        middleware::from_fn_with_state(Gate::new(turns, waiting, Arc::clone(&own)), Gate::pass)
    };
    let lists = OpenApiRouter::<Shared>::new()
        .routes(routes!(api::summary::summary))
        .routes(routes!(api::sockets::sockets))
        .routes(routes!(api::resets::resets))
        .routes(routes!(api::findings::findings))
        .routes(routes!(api::findings::finding))
        .routes(routes!(api::processes::processes))
        .routes(routes!(api::ports::ports))
        .routes(routes!(api::listeners::listeners))
        .routes(routes!(api::openapi::openapi))
        .route_layer(gate(LISTS));
    let scrapes = OpenApiRouter::new().routes(routes!(metrics::metrics)).route_layer(gate(SCRAPES));
    let (router, mut description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(pages::landing))
        .routes(routes!(pages::healthy))
        .routes(routes!(pages::ready))
        .routes(routes!(api::status::status))
        .routes(routes!(api::explain::explain))
        .routes(routes!(api::events::events))
        .merge(lists)
        .merge(scrapes)
        .split_for_parts();
    describe_refusals(&mut description);
    describe_cursors(&mut description);
    let watchers = Arc::new(Semaphore::new(bounds.watchers));
    let router = router
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&own), guard::guard))
        .with_state(Shared {
            engine,
            pulses,
            stop: stop.clone(),
            openapi: Arc::new(description),
            own,
            watchers,
        });
    Server { router, connections, stop }
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::no_such_path(&uri)
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::method(&method, &uri)
}
