//! tcpstate: which program mistreats its TCP connections, on which sockets, since when, and why.
//!
//! One way through the house: the kernel's events and socket dumps come in through [`observe`], become
//! connections in [`track`], are judged in [`diagnose`], and go out through [`serve`] and [`cli`]; [`recording`]
//! writes down what enters the two pure ones, and replays it; [`app`] wires the rooms together.

pub mod app;
pub mod cli;
pub mod clock;
pub mod diagnose;
pub mod observe;
pub mod printable;
pub mod pulse;
pub mod recording;
pub mod serve;
pub mod track;

#[cfg(test)]
#[path = "../fuzz/mod.rs"]
mod fuzz;
