//! Counts the events that the kernel hands to any eBPF program at `inet_sock_set_state`, for tests: an event that
//! this program was handed and the daemon's was not is the daemon's fault.
#![no_std]
#![no_main]

#[path = "../object.rs"]
mod object;

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::PerCpuArray,
    programs::BtfTracePointContext,
};

#[map]
static HANDED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[btf_tracepoint(function = "inet_sock_set_state")]
fn witness(_ctx: BtfTracePointContext) -> i32 {
    if let Some(count) = HANDED.get_ptr_mut(0) {
        // SAFETY: each CPU has its own number, and the kernel runs this program on a CPU only once at a time: what
        // comes in meanwhile it counts as a recursion miss.
        unsafe { *count += 1 };
    }
    0
}
