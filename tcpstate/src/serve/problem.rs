//! Every error as a problem document (RFC 9457). The detail is for people: one sentence that says what was
//! wrong and what would be right. Nothing of the inside of the daemon goes into it.

use axum::{
    Json,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ask::NoAnswer;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong (RFC 9457).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says which problem it is.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    /// The status in words.
    #[schema(example = "Bad Request")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 400)]
    pub status: u16,
    /// One sentence that says what was wrong and what would be right.
    pub detail: String,
    /// The query parameter to blame, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "limit", nullable = false)]
    pub field: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
        }
    }

    /// A query parameter is wrong: 400.
    pub(super) fn parameter(field: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// The query string cannot be read: 400.
    pub(super) fn query() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the query string must be `name=value` pairs joined by `&`")
    }

    /// What was asked for by name is not there: 404.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// There is nothing at this path: 404.
    pub(super) fn no_such_path(uri: &Uri) -> Self {
        let detail =
            format!("there is nothing at `{}`; `/api/v1/openapi.json` lists what there is", uri.path());
        Self::not_found(detail)
    }

    /// The path does not take this method: 405.
    pub(super) fn method(method: &Method, uri: &Uri) -> Self {
        let detail =
            format!("`{}` cannot be asked with {method}; use GET: this daemon only reads", uri.path());
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    /// The daemon failed: 500. What failed stands in its log.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the daemon failed to answer; its log says why")
    }

    /// `Host` is not as HTTP requires: 400.
    pub(super) fn host(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// The daemon is called by a name that is not its own: 421.
    pub(super) fn misdirected(host: &str) -> Self {
        let detail = format!(
            "this daemon answers as localhost and not as `{host}`; use http://127.0.0.1 or http://localhost, or start it \
             with --web.allow-host"
        );
        Self::new(StatusCode::MISDIRECTED_REQUEST, detail)
    }

    /// The daemon cannot answer yet, not now, or no more: 503, with the advice to ask again.
    pub(super) fn unavailable(detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl From<NoAnswer> for Problem {
    fn from(why: NoAnswer) -> Self {
        Self::unavailable(&why.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
