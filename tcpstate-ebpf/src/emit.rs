//! The way into the ring. Nothing here wakes user space for each record: it drains on a timer, and is
//! woken only when the ring has filled up to a watermark.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::bpf_ktime_get_ns,
};
use tcpstate_common::{Counters, Event, EventKind, wire::COMM_LEN};

use crate::{globals, maps, task::Process};

/// How far beyond the watermark a record still wakes user space: enough that a few CPUs that pass it at
/// once cannot all miss it, little enough that a full ring does not wake at every record.
const WAKE_SPAN: u64 = 64 * size_of::<Event>() as u64;

/// An event about which nothing is known yet but its kind.
pub(crate) fn blank(kind: EventKind) -> Event {
    Event {
        time_ns: now_ns(),
        cookie: 0,
        entered_ns: 0,
        netns: 0,
        pid: 0,
        comm: [0; COMM_LEN],
        saddr: [0; 16],
        daddr: [0; 16],
        sport: 0,
        dport: 0,
        kind: kind as u8,
        family: 0,
        old_state: 0,
        new_state: 0,
        reason: 0,
        error: 0,
        flags: 0,
        pad: 0,
    }
}

/// `CLOCK_MONOTONIC`, ns.
pub(crate) fn now_ns() -> u64 {
    // SAFETY: takes nothing, returns a number.
    unsafe { bpf_ktime_get_ns() }
}

/// Names the process that acts.
pub(crate) fn blame(event: &mut Event, process: Option<Process>) {
    if let Some(process) = process {
        event.pid = process.pid;
        event.comm = process.comm;
    }
}

/// Puts the event into the ring, or counts it as lost.
///
/// # Safety
/// `counters` is this CPU's copy.
pub(crate) unsafe fn send(event: &Event, counters: *mut Counters) {
    let kind = usize::from(event.kind & 3);
    if let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) {
        entry.write(*event);
        let waiting = maps::EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
        let watermark = u64::from(globals::RING_WATERMARK.load());
        let wake = if waiting >= watermark && waiting < watermark + WAKE_SPAN {
            BPF_RB_FORCE_WAKEUP
        } else {
            BPF_RB_NO_WAKEUP
        };
        entry.submit(u64::from(wake));
        // SAFETY: the caller's promise; the index is masked to the array's length.
        unsafe { maps::bump((&raw mut (*counters).emitted).cast::<u64>().add(kind)) };
    } else {
        // SAFETY: as above.
        unsafe { maps::bump((&raw mut (*counters).lost).cast::<u64>().add(kind)) };
    }
}
