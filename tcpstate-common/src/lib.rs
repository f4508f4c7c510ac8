//! What the kernel side and the user side agree on: structs on the wire, TCP's states, and the names of
//! programs, maps and globals. Knows nothing else of tcpstate, and nothing of the standard library.
#![no_std]

pub mod layout;
pub mod names;
pub mod state;
pub mod wire;

pub use state::TcpState;
pub use wire::slot;
pub use wire::{Addresses6, Brief, Counters, Dwell, Event, EventKind, Holder, PerCpu, Slot, TapeEnd};
