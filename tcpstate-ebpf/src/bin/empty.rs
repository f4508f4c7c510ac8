//! The floor for benchmarks: a program at `inet_sock_set_state` that does nothing. What it costs is the price of
//! being called at all.
#![no_std]
#![no_main]

#[path = "../object.rs"]
mod object;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

#[btf_tracepoint(function = "inet_sock_set_state")]
fn empty(_ctx: BtfTracePointContext) -> i32 {
    0
}
