//! The kernel side of tcpstate: counts every TCP state transition, remembers sockets that park, and tells
//! user space about resets, failed connects, and what the slots cannot tell. Decides nothing: no thresholds, no policy.
#![no_std]
#![no_main]
// Five kinds of instructions that have no other name here: see `maps.rs`, `numbers.rs`, `publish.rs`, `slots.rs` and `inet_sock_set_state.rs`.
#![feature(asm_experimental_arch)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the kernel hands small numbers over in 64 bits; BPF has 64-bit registers only"
)]
#![expect(clippy::inline_always, reason = "a call that is not inlined hides bounds from the verifier")]
#![expect(clippy::needless_pass_by_value, reason = "the attribute macros hand contexts over by value")]

mod clock;
mod connection;
mod emit;
mod maps;
mod numbers;
mod object;
mod packet;
mod probes;
mod publish;
mod read;
mod slots;
mod sock;
mod tape;
mod task;
