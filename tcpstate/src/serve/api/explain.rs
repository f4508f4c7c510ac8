//! `/api/v1/explain/{topic}`: what a class of findings or a state of TCP is, and what to do about it.

use axum::{
    extract::{Path, rejection::PathRejection},
    http::{Uri, header},
    response::IntoResponse,
};

use crate::{
    diagnose::explain::Topic,
    serve::{nearest::did_you_mean, params::NoParams, problem::Problem},
};

/// The media type of the texts.
const MEDIA_TYPE: &str = "text/markdown; charset=utf-8";

/// Why there is nothing to explain under a name, with what was perhaps meant: one sentence.
#[must_use]
pub fn unknown(name: &str) -> String {
    let proposal = did_you_mean(name, Topic::all().map(Topic::name));
    format!("`{name}` is neither a class of findings nor a state of TCP{proposal}")
}

/// What a class of findings or a state of TCP is, how the kernel gets there, how to confirm it by hand, and how to
/// fix it.
#[utoipa::path(
    get,
    path = "/api/v1/explain/{topic}",
    tag = "api",
    params(("topic" = String, Path, description = "The id of a class, or the name of a state", example = "close-wait-leak")),
    responses(
        (status = 200, description = "The explanation, in Markdown", body = String, content_type = "text/markdown"),
        (status = 400, description = "This route takes no parameters", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is neither a class nor a state of this name", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn explain(
    topic: Result<Path<String>, PathRejection>,
    uri: Uri,
    _: NoParams,
) -> Result<impl IntoResponse, Problem> {
    let Ok(Path(name)) = topic else { return Err(Problem::no_such_path(&uri)) };
    let topic = Topic::of(&name).ok_or_else(|| Problem::not_found(unknown(&name)))?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], topic.text()))
}
