//! `/api/v1/openapi.json`: the API's own description, made from the routes themselves.

use axum::{extract::State, http::header, response::IntoResponse};
use utoipa::OpenApi;

use super::events::{Lost, ResetReceived, ResetSent, Transition};
use crate::serve::{params::NoParams, problem::Problem, shared::Shared};

/// What the routes cannot say: the title, and the types that travel inside the event stream.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "tcpstate",
        description = "Which program mistreats its TCP connections, on which sockets, since when, and why. \
                       Read-only. Every error is a problem document (RFC 9457).",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(Transition, ResetSent, ResetReceived, Lost)),
    tags(
        (name = "api", description = "Answers for programs"),
        (name = "self", description = "The daemon itself: its page, metrics and health")
    )
)]
pub(in crate::serve) struct Description;

/// This description of the API.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "api",
    responses(
        (status = 200, description = "The description", body = serde_json::Value),
        (status = 400, description = "This route takes no parameters", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn openapi(
    State(shared): State<Shared>,
    _: NoParams,
) -> Result<impl IntoResponse, Problem> {
    let description = shared.openapi.to_pretty_json().map_err(|error| {
        tracing::error!(%error, "the description of the API could not be written");
        Problem::internal()
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], description))
}
