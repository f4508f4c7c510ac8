//! The HTTP API, version 1: what it answers and how. The client subcommands read the same types.

pub mod ends;
pub mod events;
pub mod explain;
pub mod feed;
pub mod findings;
mod lines;
pub mod listeners;
pub mod openapi;
mod page;
pub mod ports;
pub mod processes;
pub mod records;
pub mod resets;
pub mod sockets;
pub mod status;
pub mod summary;

pub use ends::{Ends, Process};
