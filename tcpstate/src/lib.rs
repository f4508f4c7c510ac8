//! tcpstate: which program mistreats its TCP connections, on which sockets, since when, and why.
//!
//! One way through the house: the kernel's events and socket dumps come in through [`observe`], become
//! connections in [`track`], are judged in [`diagnose`], and go out through [`serve`] and [`cli`]; [`recording`]
//! writes down what enters these two, and replays it; [`app`] wires the rooms together. Those three are the pure core,
//! and a crate of their own.

pub mod app;
pub mod cli;
pub mod clock;
pub mod observe;
pub mod printable;
pub mod pulse;
pub mod serve;

pub use tcpstate_core::{diagnose, recording, track};

#[cfg(test)]
#[path = "../fuzz/mod.rs"]
mod fuzz;
#[cfg(test)]
mod wire_of;
