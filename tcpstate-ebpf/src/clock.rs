//! What time it is, ns of `CLOCK_MONOTONIC`.

use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_jiffies64};
use tcpstate_common::PerCpu;

/// Now.
pub(crate) fn now_ns() -> u64 {
    // SAFETY: takes nothing, returns a number.
    unsafe { bpf_ktime_get_ns() }
}

/// Some time within the present kernel tick: the clock is read once a tick on each CPU, since reading it costs as
/// much as everything else that a transition takes.
///
/// # Safety
/// `cpu` is this CPU's.
#[inline(always)]
pub(crate) unsafe fn this_tick_ns(cpu: *mut PerCpu) -> u64 {
    // SAFETY: the caller's promise. A program that interrupts this one may write the same pair; a mix of both is
    // still a time within this tick.
    unsafe {
        let tick = bpf_jiffies64();
        if tick != (*cpu).tick {
            (*cpu).tick_ns = now_ns();
            (*cpu).tick = tick;
        }
        (*cpu).tick_ns
    }
}
