//! The maps. Sizes that the user may set are placeholders here; the loader sets them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use tcpstate_common::{Counters, Parked};

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(2, 0);
#[map]
static HANDLED: PerCpuArray<Handled> = PerCpuArray::with_max_entries(1, 0);

/// The packet's event that `inet_sock_set_state` handled last on this CPU.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(C)]
pub(crate) struct Handled {
    /// Address of the socket; 0 for no event.
    pub(crate) sk: u64,
    /// Old and new state. Apart from the address, because the verifier lets nobody calculate with that.
    pub(crate) states: u64,
}
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
// Not preallocated: a host with few parked sockets pays for few.
#[map]
pub(crate) static PARKED: HashMap<u64, Parked> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);
// Bridges the microseconds between `tcp_reset` and the RST that the kernel sends for it. Most entries are
// never asked for again (a RST that really came in), so the oldest make room.
#[map]
pub(crate) static RESET_MET: LruHashMap<u64, u32> = LruHashMap::with_max_entries(8192, 0);
#[map]
static WATCHERS: Array<u32> = Array::with_max_entries(1, 0);

/// This CPU's counters. A program never interrupts itself: the kernel would rather not run it
/// (`__bpf_trace_run` in `kernel/trace/bpf_trace.c`). So each field has one writer at a time.
pub(crate) fn counters() -> Option<*mut Counters> {
    COUNTERS.get_ptr_mut(0)
}

/// This CPU's counters for the program that may interrupt the one that writes [`counters`].
pub(crate) fn nested_counters() -> Option<*mut Counters> {
    COUNTERS.get_ptr_mut(1)
}

/// Where this CPU notes which softirq event it has handled.
pub(crate) fn handled() -> Option<*mut Handled> {
    HANDLED.get_ptr_mut(0)
}

/// Adds one to a counter.
///
/// # Safety
/// `counter` points into this CPU's [`Counters`].
pub(crate) unsafe fn bump(counter: *mut u64) {
    // SAFETY: the caller's promise; no other CPU writes this copy.
    unsafe { *counter += 1 };
}

/// A number as an index into an array of `SLOTS`, a power of two; numbers beyond it share the last slot.
/// The compiler may know that a number is small where the verifier has lost sight of it, and would drop a
/// plain mask; what is read back from memory it does not know.
#[inline(always)]
pub(crate) fn slot<const SLOTS: usize>(number: u32) -> usize {
    const { assert!(SLOTS.is_power_of_two()) };
    let number = if number < SLOTS as u32 { number } else { SLOTS as u32 - 1 };
    // SAFETY: a local variable.
    unsafe { core::ptr::read_volatile(&raw const number) as usize & (SLOTS - 1) }
}

/// Whether somebody wants every transition.
pub(crate) fn watched() -> bool {
    WATCHERS.get(0).is_some_and(|watchers| *watchers != 0)
}
