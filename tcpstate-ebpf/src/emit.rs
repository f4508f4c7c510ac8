//! The way into the ring. Nothing here wakes user space for each record: it drains on a timer, and is
//! woken only when the ring has filled up to a watermark.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use tcpstate_common::{
    Counters, Event, EventKind,
    wire::{About, COMM_LEN, Idle, IdleClose, Reset},
};

use crate::{maps, numbers, task::Process};

/// One in so many records looks how full the ring is.
const LOOK_EVERY: u64 = 16;

/// Names the process that acts.
pub(crate) fn blame(event: &mut Event, process: Option<Process>) {
    if let Some(process) = process {
        event.pid = process.pid;
        event.comm = process.comm();
    }
}

/// An event about which nothing is known yet but its kind and its time.
#[inline(always)]
pub(crate) fn blank(kind: EventKind, time_ns: u64) -> Event {
    Event {
        time_ns,
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

/// What the ring holds: an event, alone or with more.
pub(crate) trait Record {
    fn new(event: Event) -> Self;
}

impl Record for Event {
    #[inline(always)]
    fn new(event: Event) -> Self {
        event
    }
}

impl Record for Reset {
    #[inline(always)]
    fn new(event: Event) -> Self {
        Self { event, about: About::default() }
    }
}

impl Record for IdleClose {
    #[inline(always)]
    fn new(event: Event) -> Self {
        Self { event, idle: Idle::default() }
    }
}

/// Puts a record into the ring, or counts it as lost. `fill` gets an event about which nothing is known yet but
/// its kind and its time, and knows where the ring is what it says to the caller.
///
/// # Safety
/// `counters` is this CPU's copy.
#[inline(always)]
pub(crate) unsafe fn send<T: Record + 'static>(
    kind: EventKind,
    time_ns: u64,
    counters: *mut Counters,
    fill: impl FnOnce(&mut T),
) {
    let index = kind as usize;
    let Some(mut entry) = maps::EVENTS.reserve::<T>(0) else {
        // SAFETY: the caller's promise.
        unsafe { maps::bump((&raw mut (*counters).lost).cast::<u64>().add(index)) };
        return;
    };
    let record = entry.write(T::new(blank(kind, time_ns)));
    fill(record);
    // SAFETY: the caller's promise.
    let emitted = unsafe {
        let counter = (&raw mut (*counters).emitted).cast::<u64>().add(index);
        maps::bump(counter);
        *counter
    };
    let wake = emitted % LOOK_EVERY == 0
        && maps::EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= numbers::RING_WATERMARK.load();
    entry.submit(u64::from(if wake { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
}

/// The same for what is worth less than the rest: only while less than half of the ring is full, so that what comes in
/// great numbers at once takes the place of nothing else.
///
/// # Safety
/// `counters` is this CPU's copy.
#[inline(always)]
pub(crate) unsafe fn send_if_room<T: Record + 'static>(
    kind: EventKind,
    time_ns: u64,
    counters: *mut Counters,
    fill: impl FnOnce(&mut T),
) {
    let half = 2 * numbers::RING_WATERMARK.load();
    // SAFETY: the caller's promise.
    unsafe {
        if maps::EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) < half {
            send(kind, time_ns, counters, fill);
        } else {
            maps::bump((&raw mut (*counters).lost).cast::<u64>().add(kind as usize));
        }
    }
}
