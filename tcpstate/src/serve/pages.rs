//! The landing page, and what supervisors ask: is it alive, is it ready.

use axum::{
    extract::State,
    http::header,
    response::{Html, IntoResponse},
};

use super::{problem::Problem, shared::Shared};

const LANDING: &str = include_str!("landing.html");

/// A page with links to everything else.
#[utoipa::path(
    get,
    path = "/",
    tag = "self",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(super) async fn landing() -> impl IntoResponse {
    let page = LANDING.replace("{version}", env!("CARGO_PKG_VERSION"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page))
}

/// Whether the daemon is alive: it answers, and each of its parts works.
#[utoipa::path(
    get,
    path = "/-/healthy",
    tag = "self",
    responses(
        (status = 200, description = "It is alive", body = String, content_type = "text/plain"),
        (status = 503, description = "A part of it hangs", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn healthy(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    works(&shared)?;
    Ok("healthy\n")
}

/// An error that names the part of the daemon that hangs, if one does.
fn works(shared: &Shared) -> Result<(), Problem> {
    match shared.pulses.hanging() {
        None => Ok(()),
        Some((worker, age)) => Err(Problem::unavailable(&format!(
            "the daemon's {} thread has done nothing for {} s: what is shown here may be old; the daemon gives up soon, or restart it",
            worker.name(),
            age.as_secs()
        ))),
    }
}

/// Whether the daemon is ready: it watches, and the first census is done.
#[utoipa::path(
    get,
    path = "/-/ready",
    tag = "self",
    responses(
        (status = 200, description = "It is ready", body = String, content_type = "text/plain"),
        (status = 503, description = "It is not ready yet, is ending, or a part of it hangs", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ready(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    works(&shared)?;
    if shared.readings().await?.ready {
        Ok("ready\n")
    } else {
        Err(Problem::unavailable("the first census of all sockets is not done yet; ask again in a moment"))
    }
}
