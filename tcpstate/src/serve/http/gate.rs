//! How many requests of one kind are answered at a time.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;

use crate::serve::{
    problem::Problem,
    shared::{Own, Refused},
};

/// The longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lets a few requests through at a time, and a few more wait for that.
#[derive(Clone)]
pub(in crate::serve) struct Gate {
    turns: Arc<Semaphore>,
    /// Requests that are answered or wait.
    places: Arc<Semaphore>,
    own: Arc<Own>,
}

impl Gate {
    /// A gate with as many turns at a time, and as many requests that wait for one.
    pub(in crate::serve) fn new(turns: usize, waiting: usize, own: Arc<Own>) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(turns)),
            places: Arc::new(Semaphore::new(turns + waiting)),
            own,
        }
    }

    /// Answers a request when it is its turn; 503 where too many wait, or where it takes too long.
    pub(in crate::serve) async fn pass(State(gate): State<Self>, request: Request, next: Next) -> Response {
        let turn = async {
            let place = gate.places.try_acquire().ok()?;
            let turn = tokio::time::timeout(PATIENCE, gate.turns.acquire()).await.ok()?.ok()?;
            Some((place, turn))
        };
        let Some(_turn) = turn.await else {
            gate.own.refused(Refused::Busy);
            return Problem::unavailable("too many requests are being answered; ask again in a moment")
                .into_response();
        };
        next.run(request).await
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::StatusCode, middleware, routing::get};
    use tokio::sync::{Notify, mpsc};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn requests_take_turns_and_only_some_may_wait() {
        let own = Arc::new(Own::default());
        let (begun, mut begins) = mpsc::unbounded_channel();
        let end = Arc::new(Notify::new());
        let handler = {
            let end = Arc::clone(&end);
            move || async move {
                begun.send(()).unwrap();
                end.notified().await;
            }
        };
        let gate = middleware::from_fn_with_state(Gate::new(1, 1, Arc::clone(&own)), Gate::pass);
        let router = Router::new().route("/", get(handler)).layer(gate);
        let ask = || tokio::spawn(router.clone().oneshot(Request::new(Body::empty())));
        let first = ask();
        begins.recv().await.unwrap();
        let (second, third) = (ask(), ask());
        // One of them waits, and the other finds no place.
        assert_eq!(third.await.unwrap().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(begins.try_recv().is_err(), "two at a time");
        for request in [first, second] {
            end.notify_one();
            assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
        }
        assert_eq!(own.refusals().next(), Some(("busy", 1)));
    }

    #[test]
    fn wait_for_a_turn_ends() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let gate = Gate::new(1, 1, Arc::new(Own::default()));
        let router = Router::new().route("/", get(std::future::pending::<()>));
        let router = router.layer(middleware::from_fn_with_state(gate, Gate::pass));
        runtime.block_on(async {
            let first = tokio::spawn(router.clone().oneshot(Request::new(Body::empty())));
            tokio::task::yield_now().await;
            let second = router.oneshot(Request::new(Body::empty())).await.unwrap();
            assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
            first.abort();
        });
    }
}
