//! What holds for every answer: it is not cached, its type is not guessed, and a handler that panics answers
//! 500 without telling what is inside.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::Problem;

/// Wraps every handler.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut handler = pin!(next.run(request));
    let mut response = poll_fn(|context| {
        // The handler is not polled again after a panic, so no half-changed state of it is seen. The panic
        // itself is reported by the panic hook.
        catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)))
            .unwrap_or_else(|_| Poll::Ready(Problem::internal().into_response()))
    })
    .await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
