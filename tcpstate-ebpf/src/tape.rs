//! The tapes: what goes to watchers only, which is every transition. Each CPU writes its own, so that nobody waits
//! for a lock, and user space reads them out of mapped memory; the ring is for what has to be told anyway.

use tcpstate_common::{
    Addresses6, Brief, EventKind, PerCpu, TapeEnd,
    wire::{brief, flags},
};

use crate::{
    maps, numbers,
    publish::publish,
    read::Typed,
    sock::Sock,
    task::{self, Process},
};

/// A transition of which only watchers are told.
pub(crate) struct Told {
    pub(crate) time_ns: u64,
    pub(crate) cookie: u64,
    pub(crate) entered_ns: u64,
    /// See [`brief::states`].
    pub(crate) states: u8,
    pub(crate) inferred: bool,
    /// Who acts now.
    pub(crate) actor: Option<Process>,
    /// Who acted earlier.
    pub(crate) earlier: Option<Process>,
}

/// Writes a transition on this CPU's tape, or counts it as lost.
///
/// # Safety
/// `cpu` is this CPU's, and of the programs that run on a CPU only one, which never interrupts itself, writes tapes.
#[inline(always)]
pub(crate) unsafe fn write(sk: Sock<Typed>, told: Told, cpu: *mut PerCpu) {
    let tape = maps::cpu_number();
    let Some(end) = maps::TAPE_ENDS.get_ptr_mut(tape) else { return };
    let ipv6 = sk.is_ipv6();
    // SAFETY: the caller's promise: nobody else writes this tape or these counters.
    unsafe {
        let counters = maps::counters::<0>(cpu);
        let written = (*end).written;
        let parts = if ipv6 { 2 } else { 1 };
        match free_place(tape, end, written + parts - 1) {
            Some(second) => {
                if ipv6 {
                    let (saddr, daddr) = sk.addresses6();
                    *second.cast::<Addresses6>() = Addresses6 { saddr, daddr, pad: [0; 32] };
                }
                if let Some(first) = free_place(tape, end, written) {
                    fill(&mut *first, sk, netns(sk, cpu), ipv6, told);
                }
                publish(&raw mut (*end).written, written + parts);
                maps::bump((&raw mut (*counters).emitted).cast::<u64>().add(EventKind::Transition as usize));
            }
            None => maps::bump((&raw mut (*counters).lost).cast::<u64>().add(EventKind::Transition as usize)),
        }
    }
}

/// The place with this running number on a CPU's tape; `None` while what stands there has not been read.
///
/// # Safety
/// `end` is that CPU's.
#[inline(always)]
unsafe fn free_place(tape: u32, end: *mut TapeEnd, number: u64) -> Option<*mut Brief> {
    let mask = numbers::TAPE_MASK.load() as u32;
    // SAFETY: the caller's promise; only user space writes `read`.
    let read = unsafe { core::ptr::read_volatile(&raw const (*end).read) };
    if number.wrapping_sub(read) > u64::from(mask) {
        return None;
    }
    maps::TAPE.get_ptr_mut(tape * (mask + 1) + (number as u32 & mask))
}

/// The inode number of the socket's network namespace. It lies beside a counter that every CPU writes all the time, so
/// it is looked up only when it is another namespace than last time; the namespace's cookie is never used again.
///
/// # Safety
/// `cpu` is this CPU's, and this is the program that writes tapes.
#[inline(always)]
unsafe fn netns(sk: Sock<Typed>, cpu: *mut PerCpu) -> u32 {
    let cookie = sk.netns_cookie();
    // SAFETY: the caller's promise.
    unsafe {
        if cookie != (*cpu).netns_cookie {
            (*cpu).netns = u64::from(sk.netns());
            (*cpu).netns_cookie = cookie;
        }
        (*cpu).netns as u32
    }
}

#[inline(always)]
fn fill(place: &mut Brief, sk: Sock<Typed>, netns: u32, ipv6: bool, told: Told) {
    let error = sk.error();
    let mut flags = flags::FOR_WATCHERS;
    if told.inferred {
        flags |= flags::INFERRED;
    }
    if told.actor.is_none() && told.earlier.is_some() {
        flags |= flags::PID_CARRIED;
    }
    // Of two numbers: the compiler would clear an array by calling a function.
    let (mut pid, mut comm) = (0, (0, 0));
    if let Some(Process { pid: named, comm: [first, second] }) = told.actor.or(told.earlier) {
        (pid, comm) = (named, (first, second));
    }
    *place = Brief {
        time_ns: told.time_ns,
        cookie: told.cookie,
        entered_ns: told.entered_ns,
        netns,
        pid,
        comm: task::bytes([comm.0, comm.1]),
        addresses: if ipv6 { [[0; 4]; 2] } else { sk.addresses4() },
        sport: sk.local_port(),
        dport: sk.remote_port(),
        kind: EventKind::Transition as u8,
        states: told.states,
        flags: flags as u8 | if ipv6 { brief::IPV6 } else { 0 },
        code: if error < 255 { error as u8 } else { 255 },
    };
}
