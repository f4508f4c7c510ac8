//! Tests of the whole room over real connections, with a made-up engine behind it.

mod bad_input;
mod bounds;
pub(crate) mod daemon;
pub(crate) mod diagnosed;
mod diagnosis;
mod events;
mod health;
mod metrics;
mod openapi;
mod paging;
mod problems;
pub(crate) mod scene;
mod shapes;
pub(crate) mod snapshot;
