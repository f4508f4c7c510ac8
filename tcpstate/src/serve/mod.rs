//! What the daemon shows over HTTP: metrics, the API and its description, health. Asks the engine, knows
//! nothing of where its answers come from.

pub mod api;
pub mod ask;
mod errno;
mod figures;
mod guard;
mod metrics;
pub mod nearest;
mod pages;
pub mod params;
pub mod problem;
mod shared;
pub mod stamp;
#[cfg(test)]
pub(crate) mod tests;

use std::{io, sync::Arc};

use axum::{
    Router,
    http::{Method, Uri},
    middleware,
    serve::ListenerExt,
};
use tokio::{net::TcpListener, sync::watch};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    api::{feed::stopped, openapi::Description},
    ask::Engine,
    problem::Problem,
    shared::{Own, Shared},
};
use crate::pulse::Pulses;

/// All routes. `pulses` say whether the rest of the daemon works. Streams end when `stop` becomes true or loses its sender.
pub fn router(engine: Engine, pulses: Pulses, stop: watch::Receiver<bool>) -> Router {
    let (router, description) = OpenApiRouter::<Shared>::with_openapi(Description::openapi())
        .routes(routes!(pages::landing))
        .routes(routes!(metrics::metrics))
        .routes(routes!(pages::healthy))
        .routes(routes!(pages::ready))
        .routes(routes!(api::status::status))
        .routes(routes!(api::summary::summary))
        .routes(routes!(api::sockets::sockets))
        .routes(routes!(api::resets::resets))
        .routes(routes!(api::findings::findings))
        .routes(routes!(api::findings::finding))
        .routes(routes!(api::explain::explain))
        .routes(routes!(api::processes::processes))
        .routes(routes!(api::ports::ports))
        .routes(routes!(api::listeners::listeners))
        .routes(routes!(api::events::events))
        .routes(routes!(api::openapi::openapi))
        .split_for_parts();
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(guard::guard))
        .with_state(Shared {
            engine,
            pulses,
            stop,
            openapi: Arc::new(description),
            own: Arc::new(Own::default()),
        })
}

/// Answers on one listener until `stop` becomes true or loses its sender; then it ends streams at once and
/// takes no new connections, and returns when the answers under way are given.
///
/// # Errors
/// None at present; a connection that cannot be accepted is tried again.
pub async fn run(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    // Events are small and must not wait for each other.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
    });
    axum::serve(listener, router).with_graceful_shutdown(async move { stopped(&mut stop).await }).await
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::no_such_path(&uri)
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::method(&method, &uri)
}
