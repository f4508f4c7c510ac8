//! The maps. Sizes that the user may set are placeholders here; the loader sets them.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id},
    macros::map,
    maps::{Array, LruHashMap, RingBuf},
};
use tcpstate_common::{Brief, Counters, PerCpu, Slot, TapeEnd, wire::COPIES};

use crate::numbers;

#[map]
static CPU: Array<PerCpu> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
#[map]
pub(crate) static SLOTS: Array<Slot> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
pub(crate) static TAPE: Array<Brief> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static TAPE_ENDS: Array<TapeEnd> = Array::with_max_entries(1, BPF_F_MMAPABLE);
// Bridges the microseconds between `tcp_reset` and the RST that the kernel sends for it. Most entries are
// never asked for again (a RST that really came in), so the oldest make room.
#[map]
pub(crate) static RESET_MET: LruHashMap<u64, u32> = LruHashMap::with_max_entries(8192, 0);
#[map]
static HANDLED: Array<u64> = Array::with_max_entries(1, 0);
/// How many want every transition; user space writes it. It is the only variable there, so that the map which the loader
/// makes of them is this number; a map of our own would take ten times the instructions to look at.
#[unsafe(link_section = ".bss")]
static mut WATCHERS: u32 = 0;

/// What this CPU keeps for itself. A program never interrupts itself: the kernel would rather not run it
/// (`__bpf_trace_run` in `kernel/trace/bpf_trace.c`), and does not move it to another CPU. So each counter has one writer
/// at a time.
pub(crate) fn cpu() -> Option<*mut PerCpu> {
    CPU.get_ptr_mut(cpu_number())
}

/// This CPU's number.
#[inline(always)]
pub(crate) fn cpu_number() -> u32 {
    // SAFETY: takes nothing, returns a number; a program stays on its CPU.
    unsafe { bpf_get_smp_processor_id() }
}

/// The place for the last event that was handled in the running task, of those of processes or of those of packets. The
/// idle task is one on each CPU, and leaves it to nobody in the middle of an event.
///
/// # Safety
/// `cpu` is this CPU's.
#[inline(always)]
pub(crate) unsafe fn handled_in_task(by_process: bool, cpu: *mut PerCpu) -> Option<*mut u64> {
    let task = bpf_get_current_pid_tgid() as u32;
    if task == 0 {
        // SAFETY: the caller's promise.
        return Some(unsafe { &raw mut (*cpu).handled_states });
    }
    let place = task << 1 | u32::from(by_process);
    HANDLED.get_ptr_mut(place & numbers::HANDLED_MASK.load() as u32)
}

/// The counters of one of the programs at `inet_sock_set_state`.
///
/// # Safety
/// `cpu` is this CPU's.
#[inline(always)]
pub(crate) unsafe fn counters<const COPY: usize>(cpu: *mut PerCpu) -> *mut Counters {
    const { assert!(COPY < COPIES) };
    // SAFETY: within the array.
    unsafe { (&raw mut (*cpu).sets).cast::<Counters>().add(COPY) }
}

/// Adds one to a counter.
///
/// # Safety
/// `counter` points into this CPU's [`PerCpu`].
#[inline(always)]
pub(crate) unsafe fn bump(counter: *mut u64) {
    // SAFETY: the caller's promise; no other CPU writes this copy.
    unsafe { *counter += 1 };
}

/// The number of a state as an index that the verifier can see to be below 16. The compiler may know that a
/// number is small where the verifier has lost sight of it, and would drop a plain mask; what an instruction of
/// ours has done to it, the compiler does not know.
#[inline(always)]
pub(crate) fn state_index(mut number: u64) -> usize {
    // SAFETY: one instruction on one register.
    unsafe { core::arch::asm!("{number} &= 15", number = inout(reg) number) };
    number as usize
}

/// A number as an index into an array of `SLOTS`, a power of two; numbers beyond it share the last slot.
#[inline(always)]
pub(crate) fn slot<const SLOTS: usize>(number: u32) -> usize {
    const { assert!(SLOTS.is_power_of_two()) };
    let number = if number < SLOTS as u32 { number } else { SLOTS as u32 - 1 };
    // SAFETY: a local variable, read back so that the compiler keeps the mask.
    unsafe { core::ptr::read_volatile(&raw const number) as usize & (SLOTS - 1) }
}

/// Whether somebody wants every transition.
#[inline(always)]
pub(crate) fn watched() -> bool {
    // SAFETY: a number that user space writes in one step.
    unsafe { (&raw const WATCHERS).read_volatile() != 0 }
}
