//! The tapes: what goes to watchers only, which is every transition. Each CPU writes its own, so that nobody waits
//! for a lock, and user space reads them out of mapped memory; the ring is for what has to be told anyway.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use tcpstate_common::{Counters, Event, EventKind};

use crate::{emit, globals, maps, publish::publish};

/// Writes a transition on this CPU's tape, or counts it as lost. `fill` gets an event of which the kind and the time
/// are known.
///
/// # Safety
/// `counters` is this CPU's copy, and of the programs that run on a CPU only one, which never interrupts itself,
/// writes tapes.
#[inline(always)]
pub(crate) unsafe fn write(time_ns: u64, counters: *mut Counters, fill: impl FnOnce(&mut Event)) {
    // SAFETY: takes nothing, returns a number; a program stays on its CPU.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let mask = globals::TAPE_MASK.load();
    let kind = EventKind::Transition;
    let end = maps::TAPE_ENDS.get_ptr_mut(cpu);
    // SAFETY: the end is this CPU's. Only user space writes `read`.
    let (written, read) = match end {
        Some(end) => unsafe { ((*end).written, core::ptr::read_volatile(&raw const (*end).read)) },
        None => return,
    };
    let room = written.wrapping_sub(read) <= u64::from(mask);
    let place = if room { maps::TAPE.get_ptr_mut(cpu * (mask + 1) + (written as u32 & mask)) } else { None };
    let (Some(end), Some(place)) = (end, place) else {
        // SAFETY: the caller's promise.
        unsafe { maps::bump((&raw mut (*counters).lost).cast::<u64>().add(kind as usize)) };
        return;
    };
    // SAFETY: user space does not read this place before it is told to, and has read what was there before.
    unsafe {
        *place = emit::blank(kind, time_ns);
        fill(&mut *place);
        publish(&raw mut (*end).written, written + 1);
        maps::bump((&raw mut (*counters).emitted).cast::<u64>().add(kind as usize));
    }
}
