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
