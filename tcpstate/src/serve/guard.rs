//! What holds for every request and answer: the request calls the daemon by its name, the answer is not cached, its type
//! is not guessed, and a handler that panics answers 500 without telling what is inside.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    http::hosts::{self, Hosts},
    problem::Problem,
    shared::{Own, Refused},
};

/// Wraps every handler.
pub(super) async fn guard(State(own): State<Arc<Own>>, request: Request, next: Next) -> Response {
    let allowed = request.extensions().get::<Arc<Hosts>>().map(AsRef::as_ref);
    let mut response = match hosts::check(request.version(), request.uri(), request.headers(), allowed) {
        Ok(()) => answer(request, next).await,
        Err(problem) => {
            own.refused(Refused::Host);
            problem.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn answer(request: Request, next: Next) -> Response {
    let mut handler = pin!(next.run(request));
    poll_fn(|context| {
        // The handler is not polled again after a panic, so no half-changed state of it is seen. The panic
        // itself is reported by the panic hook.
        catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)))
            .unwrap_or_else(|_| Poll::Ready(Problem::internal().into_response()))
    })
    .await
}
