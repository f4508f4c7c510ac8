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

/// Whether the daemon is alive: it answers.
#[utoipa::path(
    get,
    path = "/-/healthy",
    tag = "self",
    responses((status = 200, description = "It is alive", body = String, content_type = "text/plain"))
)]
pub(super) async fn healthy() -> &'static str {
    "healthy\n"
}

/// Whether the daemon is ready: it watches, and the first census is done.
#[utoipa::path(
    get,
    path = "/-/ready",
    tag = "self",
    responses(
        (status = 200, description = "It is ready", body = String, content_type = "text/plain"),
        (status = 503, description = "It is not ready yet, or is ending", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ready(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    if shared.readings().await?.ready {
        Ok("ready\n")
    } else {
        Err(Problem::unavailable("the first census of all sockets is not done yet; ask again in a moment"))
    }
}
