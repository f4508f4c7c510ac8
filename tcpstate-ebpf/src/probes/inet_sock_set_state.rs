//! `trace_inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, since 4.16.
//! Fires before the new state is stored.
//!
//! Several programs, because the kernel does not run a program that is already running on the same CPU, and while one
//! handles an event there may be another there. Each finds out whether one that came before it has handled the event, and
//! handles it if none has.
//!
//! Up to 7.1 nothing preempts a program, so only packets that come in interrupt it: processes act with the socket's lock
//! held (`sk_lock.owned`), and packets are handled with softirqs off. So only an event of a packet can be missed, and only
//! while the first program handles one of a process, and one more program takes them all. A note of the CPU's says what
//! has been handled.
//!
//! From 7.2 on a task may be preempted inside a program (`__DECLARE_TRACE` in `include/linux/tracepoint.h`), and moved to
//! another CPU between two programs. So events of processes are missed as well, and notes belong to the task: what it does
//! itself comes one after the other, and so do the packets that are handled in it. Each program more makes it that much
//! rarer that all are taken at once; what nobody takes is counted by the kernel.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::warn;
use tcpstate_common::{
    Counters, Event, EventKind, PerCpu, TcpState,
    state::STATE_SLOTS,
    wire::{AF_INET6, DWELL_BOUNDS_NS, ERRNO_SLOTS, IdleClose, brief, flags, slot::MINI_FIN_WAIT2},
};

use crate::{
    clock, connection, emit, maps, numbers,
    read::Typed,
    slots::Place,
    sock::Sock,
    tape::{self, Told},
    task::{self, Process},
};

const CLOSE: u64 = TcpState::Close as u64;
const CLOSING: u64 = TcpState::Closing as u64;
const ESTABLISHED: u64 = TcpState::Established as u64;
const FIN_WAIT1: u64 = TcpState::FinWait1 as u64;
const FIN_WAIT2: u64 = TcpState::FinWait2 as u64;
const SYN_SENT: u64 = TcpState::SynSent as u64;
const SYN_RECV: u64 = TcpState::SynRecv as u64;
const LAST_ACK: u64 = TcpState::LastAck as u64;
const LISTEN: u64 = TcpState::Listen as u64;
const TIME_WAIT: u64 = TcpState::TimeWait as u64;
/// The states in which a socket parks, as a bit set.
const PARKS: u32 = {
    let mut set = 0;
    let mut i = 0;
    while i < TcpState::ALL.len() {
        if TcpState::ALL[i].parks() {
            set |= 1 << TcpState::ALL[i].index();
        }
        i += 1;
    }
    set
};
/// The states of which something is to be remembered, or told, when they are entered: those that park, `ESTABLISHED` for
/// when it began, and `LISTEN` for who listens.
const NOTABLE: u32 = PARKS | 1 << ESTABLISHED | 1 << LISTEN;
/// The states to which only a process takes a socket: by close, shutdown, connect, listen and disconnect. All others are
/// the network's doing, also where a process works off the packets that came in while it held the lock
/// (`release_sock`, `net/core/sock.c`).
const BY_PROCESS: u32 = 1 << FIN_WAIT1 | 1 << LAST_ACK | 1 << SYN_SENT | 1 << LISTEN | 1 << CLOSE;
/// `ECONNABORTED`: what `tcp_abort` (ss -K) leaves in `sk_err`; whoever runs it does not own the socket.
const ECONNABORTED: u32 = 103;
/// `EADDRNOTAVAIL`: the kernel returns it from `connect()` without storing it in `sk_err`.
const EADDRNOTAVAIL: u32 = 99;

#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    match try_inet_sock_set_state(&ctx) {
        Ok(()) | Err(()) => 0,
    }
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state_nested(ctx: BtfTracePointContext) -> i32 {
    match try_nested::<1>(&ctx) {
        Ok(()) | Err(()) => 0,
    }
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state_third(ctx: BtfTracePointContext) -> i32 {
    match try_nested::<2>(&ctx) {
        Ok(()) | Err(()) => 0,
    }
}

/// What a program is told.
#[derive(Clone, Copy)]
struct Report {
    sk: Sock<Typed>,
    old: u64,
    new: u64,
}

impl Report {
    #[inline(always)]
    fn of(ctx: &BtfTracePointContext) -> Result<Self, ()> {
        Ok(Self { sk: Sock::new(ctx.arg(0)).ok_or(())?, old: ctx.arg(1), new: ctx.arg(2) })
    }

    /// Together with the socket this tells the event from every other that this CPU may be handling.
    #[inline(always)]
    fn states(self) -> u64 {
        self.old << 32 | self.new
    }

    /// Tells the event from the one before it in the same task: a cookie is given once, and a socket does not enter the
    /// same state twice in a row.
    #[inline(always)]
    fn name(self) -> u64 {
        self.sk.cookie().rotate_left(8) ^ ((self.old << 4 | self.new) & 0xff)
    }
}

#[inline(always)]
fn try_inet_sock_set_state(ctx: &BtfTracePointContext) -> Result<(), ()> {
    let report = Report::of(ctx)?;
    let cpu = maps::cpu().ok_or(())?;
    let by_process = report.sk.owned();
    // SAFETY: this CPU's notes and counters.
    unsafe {
        if by_process {
            // No packet is being handled here now, so whatever stands there is old.
            (&raw mut (*cpu).handled_sk).write_volatile(0);
        }
        let by_process = as_told(by_process);
        handle::<0>(ctx, report, by_process, cpu);
        note_handled(report, by_process, cpu);
    }
    Ok(())
}

#[inline(always)]
fn try_nested<const COPY: usize>(ctx: &BtfTracePointContext) -> Result<(), ()> {
    let report = Report::of(ctx)?;
    let by_process = report.sk.owned();
    if by_process && numbers::PREEMPTIBLE.load() == 0 {
        return Ok(());
    }
    let cpu = maps::cpu().ok_or(())?;
    // SAFETY: this CPU's notes and counters, as above.
    unsafe {
        if is_handled(report, by_process, cpu) {
            return Ok(());
        }
        maps::bump(&raw mut (*maps::counters::<COPY>(cpu)).rescued);
        handle::<COPY>(ctx, report, by_process, cpu);
        if numbers::PREEMPTIBLE.load() != 0 {
            note_handled(report, by_process, cpu);
        }
    }
    Ok(())
}

/// Notes that an event has been handled, for the programs that come after this one.
///
/// # Safety
/// `cpu` is this CPU's.
#[inline(always)]
unsafe fn note_handled(report: Report, by_process: bool, cpu: *mut PerCpu) {
    // SAFETY: the caller's promise, and a place in the map.
    unsafe {
        if numbers::PREEMPTIBLE.load() != 0 {
            if let Some(handled) = maps::handled_in_task(by_process, cpu) {
                handled.write_volatile(report.name());
            }
        } else if !by_process {
            // A packet's event is not interrupted by another's.
            (*cpu).handled_states = report.states();
            (&raw mut (*cpu).handled_sk).write_volatile(report.sk.raw() as u64);
        }
    }
}

/// Whether a program that came before has handled this event.
///
/// # Safety
/// `cpu` is this CPU's.
#[inline(always)]
unsafe fn is_handled(report: Report, by_process: bool, cpu: *mut PerCpu) -> bool {
    // SAFETY: the caller's promise, and a place in the map.
    unsafe {
        if numbers::PREEMPTIBLE.load() != 0 {
            let handled = maps::handled_in_task(by_process, cpu);
            return handled.is_some_and(|handled| handled.read_volatile() == report.name());
        }
        let handled = (&raw const (*cpu).handled_sk).read_volatile() == report.sk.raw() as u64
            && (*cpu).handled_states == report.states();
        if handled {
            (&raw mut (*cpu).handled_sk).write_volatile(0);
        }
        handled
    }
}

/// What it is told, which the compiler cannot know: it would make two copies of all that follows, one for each answer,
/// and so twice as much for the processor's cache.
#[inline(always)]
fn as_told(answer: bool) -> bool {
    let mut number = u64::from(answer);
    // SAFETY: one instruction on one register.
    unsafe { core::arch::asm!("{number} &= 1", number = inout(reg) number) };
    number != 0
}

#[inline(always)]
fn parks(state: u64) -> bool {
    PARKS >> (state & 15) & 1 != 0
}

/// `COPY`: which program runs.
///
/// # Safety
/// `cpu` is this CPU's.
#[inline(always)]
unsafe fn handle<const COPY: usize>(
    ctx: &BtfTracePointContext,
    report: Report,
    by_process: bool,
    cpu: *mut PerCpu,
) {
    let Report { sk, old, new: said } = report;
    // SAFETY: the caller's promise, also below; every index is masked to its dimension.
    unsafe {
        let counters = maps::counters::<COPY>(cpu);
        if !sk.is_tcp() {
            maps::bump(&raw mut (*counters).ignored);
            return;
        }
        // Below 1 wraps around.
        if old.wrapping_sub(1) > 11 || said.wrapping_sub(1) > 11 {
            if (*counters).unknown_states == 0 {
                warn_of(ctx, old, said);
            }
            maps::bump(&raw mut (*counters).unknown_states);
            return;
        }
        if old == said {
            maps::bump(&raw mut (*counters).ignored);
            note_actor::<COPY>(sk, old, by_process, cpu);
            return;
        }
        let new = infer(sk, old, said);
        let family = usize::from(sk.family() == AF_INET6);
        maps::bump((&raw mut (*counters).transitions).cast::<u64>().add(
            family * STATE_SLOTS * STATE_SLOTS
                + maps::state_index(old) * STATE_SLOTS
                + maps::state_index(new),
        ));
        let watched = maps::watched();
        if parks(old) || NOTABLE >> (new & 15) & 1 != 0 || watched {
            remember::<COPY>(Change { sk, old, said, new, by_process, watched }, cpu);
        }
    }
}

/// By itself, like [`tell`].
#[inline(never)]
fn warn_of(ctx: &BtfTracePointContext, old: u64, new: u64) {
    warn!(ctx, "unknown TCP state: {} to {}", old, new);
}

/// The state that the socket really enters. The kernel says CLOSE when a mini-socket takes over, and never
/// says `TIME_WAIT` (`tcp_time_wait` in `net/ipv4/tcp_minisocks.c`): a FIN that came in (`SOCK_DONE`) means
/// `TIME_WAIT`; without one, a socket that its process has closed (`SOCK_DEAD`) goes on in `FIN_WAIT2`.
#[inline(always)]
fn infer(sk: Sock<Typed>, old: u64, said: u64) -> u64 {
    if said != CLOSE || (old != FIN_WAIT2 && old != CLOSING) || sk.error() != 0 {
        return said;
    }
    let flags = sk.flags();
    if flags >> (numbers::SOCK_DONE_BIT.load() & 63) & 1 != 0 {
        TIME_WAIT
    } else if old == FIN_WAIT2 && flags >> (numbers::SOCK_DEAD_BIT.load() & 63) & 1 != 0 {
        FIN_WAIT2
    } else {
        said
    }
}

/// A change of state that is more than a count.
#[derive(Clone, Copy)]
struct Change {
    sk: Sock<Typed>,
    old: u64,
    /// What the kernel says.
    said: u64,
    /// What it means; see [`infer`].
    new: u64,
    by_process: bool,
    watched: bool,
}

/// Keeps, moves or drops what is remembered of a socket, counts the time that it spent in `old`, and has user space told
/// if somebody watches, if it is a connect that failed, or if the table cannot say it later.
///
/// # Safety
/// `cpu` is this CPU's.
#[inline(always)]
unsafe fn remember<const COPY: usize>(change: Change, cpu: *mut PerCpu) {
    let Change { sk, old, said, new, by_process, watched } = change;
    // SAFETY: the caller's promise, also below.
    let now_ns = unsafe { if watched { clock::now_ns() } else { clock::this_tick_ns(cpu) } };
    // A child that is being born still carries its listener's cookie up to 6.12; it gets its own later.
    let cookie = if said == SYN_RECV { 0 } else { sk.cookie() };
    let Some(place) = Place::of(cookie) else { return };
    let inferred = new != said;
    let acts =
        by_process && BY_PROCESS >> (said & 15) & 1 != 0 && !ends_by_network(sk, old, said, new) && acts(sk);
    let told =
        |kind| old | new << 8 | kind | if inferred { INFERRED } else { 0 } | if acts { ACTS } else { 0 };
    if parks(old) && place.remembers(cookie, old as u8, now_ns) {
        let entered_ns = place.entered_ns();
        let failed = old == SYN_SENT && new == CLOSE;
        if failed | watched {
            tell::<COPY>(sk, cookie, told(if failed { TOLD | REMEMBERED } else { REMEMBERED }), now_ns);
        }
        if new == old {
            // A mini-socket goes on in FIN_WAIT2, so that time is not over.
            place.stay(cookie, MINI_FIN_WAIT2, now_ns, acts);
            return;
        }
        // SAFETY: as above.
        unsafe { count_dwell(old, now_ns.saturating_sub(entered_ns), maps::counters::<COPY>(cpu)) };
        if inferred || parks(new) {
            place.go_on(cookie, new as u8, now_ns, acts);
        } else if new == ESTABLISHED {
            place.open(cookie, now_ns);
        } else {
            place.free();
        }
        return;
    }
    if old == SYN_RECV && new == ESTABLISHED {
        place.accept(cookie, now_ns);
    }
    // If it parked, it is older than the table remembers, so that user space knows it.
    let mut unknown = parks(old) || new == LISTEN;
    if parks(new) && !unknown || new == TIME_WAIT {
        unknown |= !place.take(cookie, new as u8, now_ns, acts);
    }
    if unknown | watched {
        tell::<COPY>(sk, cookie, told(if unknown { TOLD } else { 0 }), now_ns);
    }
    if acts && old == ESTABLISHED && new == FIN_WAIT1 && connection::is_idle(sk) {
        tell_idle_close::<COPY>(sk, cookie, now_ns);
    }
}

/// Whether a socket comes to `CLOSE` by a packet: its last ACK, a FIN that makes it `TIME_WAIT`, or a RST, which leaves
/// `sk_err` behind.
#[inline(always)]
fn ends_by_network(sk: Sock<Typed>, old: u64, said: u64, new: u64) -> bool {
    said == CLOSE && (old == LAST_ACK || new == TIME_WAIT || sk.error() != 0)
}

/// What [`tell`] is told beside the two states: user space has to know it, not only who watches.
const TOLD: u64 = 1 << 16;
/// The socket's place remembers it in its old state.
const REMEMBERED: u64 = 1 << 17;
/// See [`infer`].
const INFERRED: u64 = 1 << 18;
/// The running process acts on the socket.
const ACTS: u64 = 1 << 19;

/// Tells user space of a transition. By itself, as everything that is not done for most events: what is done for them
/// then lies close together, for the processor's cache.
#[inline(never)]
fn tell<const COPY: usize>(sk: Sock<Typed>, cookie: u64, what: u64, now_ns: u64) {
    let (Some(place), Some(cpu)) = (Place::of(cookie), maps::cpu()) else { return };
    let (old, new) = (what & 0xff, what >> 8 & 0xff);
    let (told, inferred) = (what & TOLD != 0, what & INFERRED != 0);
    let actor = if what & ACTS != 0 { task::current() } else { None };
    let (entered_ns, earlier) =
        if what & REMEMBERED != 0 { (place.entered_ns(), place.actor()) } else { (0, None) };
    // SAFETY: this CPU's.
    unsafe {
        let counters = maps::counters::<COPY>(cpu);
        if old == SYN_SENT && new == CLOSE {
            count_connect_failure(sk, counters);
        }
        // A CPU's tape has one writer.
        if told || COPY != 0 {
            emit::send(EventKind::Transition, now_ns, counters, |event: &mut Event| {
                event.cookie = cookie;
                event.old_state = old as u8;
                event.new_state = new as u8;
                event.entered_ns = entered_ns;
                sk.describe(event);
                if inferred {
                    event.flags |= flags::INFERRED;
                }
                if !told {
                    event.flags |= flags::FOR_WATCHERS;
                }
                blame(event, actor, earlier);
            });
        } else {
            let states = brief::states(old as u8, new as u8);
            let told = Told { time_ns: now_ns, cookie, entered_ns, states, inferred, actor, earlier };
            tape::write(sk, told, cpu);
        }
    }
}

/// Tells of a process that closes a connection before its peer does, after it has been idle.
#[inline(never)]
fn tell_idle_close<const COPY: usize>(sk: Sock<Typed>, cookie: u64, now_ns: u64) {
    let (Some(cpu), actor) = (maps::cpu(), task::current()) else { return };
    // Whatever a process still has open is closed when it ends; that says nothing about idle times.
    if actor.is_none() || task::is_ending() {
        return;
    }
    // SAFETY: this CPU's.
    unsafe {
        let counters = maps::counters::<COPY>(cpu);
        emit::send_if_room(EventKind::IdleClose, now_ns, counters, |close: &mut IdleClose| {
            close.event.cookie = cookie;
            close.event.old_state = ESTABLISHED as u8;
            close.event.new_state = FIN_WAIT1 as u8;
            sk.describe(&mut close.event);
            emit::blame(&mut close.event, actor);
            close.idle = connection::idle(sk);
        });
    }
}

/// Names who acts now, or else who acted earlier.
#[inline(always)]
fn blame(event: &mut Event, actor: Option<Process>, earlier: Option<Process>) {
    if actor.is_some() {
        emit::blame(event, actor);
    } else if earlier.is_some() {
        emit::blame(event, earlier);
        event.flags |= flags::PID_CARRIED;
    }
}

/// `close()` after `shutdown()` sets the state that the socket is in already (`tcp_close_state` in
/// `net/ipv4/tcp.c`). That is no transition, but it tells who closed.
///
/// # Safety
/// `cpu` is this CPU's.
#[inline(always)]
unsafe fn note_actor<const COPY: usize>(sk: Sock<Typed>, state: u64, by_process: bool, cpu: *mut PerCpu) {
    if !parks(state) || !by_process {
        return;
    }
    let cookie = sk.cookie();
    // SAFETY: the caller's promise.
    let now_ns = unsafe { clock::this_tick_ns(cpu) };
    let Some(place) = Place::of(cookie) else { return };
    let acts = acts(sk);
    if place.remembers(cookie, state as u8, now_ns) {
        place.stay(cookie, state as u8, now_ns, acts);
    } else {
        tell_actor::<COPY>(cookie, acts, now_ns);
    }
}

/// Tells who acts on a socket that the table does not remember.
#[inline(never)]
fn tell_actor<const COPY: usize>(cookie: u64, acts: bool, now_ns: u64) {
    let Some(cpu) = maps::cpu() else { return };
    // SAFETY: this CPU's.
    unsafe {
        emit::send(EventKind::Acted, now_ns, maps::counters::<COPY>(cpu), |event: &mut Event| {
            event.cookie = cookie;
            emit::blame(event, if acts { task::current() } else { None });
        });
    }
}

/// Whether the running process, which brings an event about, acts on its own socket: it may also abort somebody else's.
#[inline(always)]
fn acts(sk: Sock<Typed>) -> bool {
    sk.error() != ECONNABORTED
}

/// # Safety
/// `counters` is this CPU's copy.
unsafe fn count_connect_failure(sk: Sock<Typed>, counters: *mut Counters) {
    let mut errno = sk.error();
    if errno == 0 && sk.local_port() == 0 {
        errno = EADDRNOTAVAIL;
    }
    let slot = maps::slot::<ERRNO_SLOTS>(errno);
    // SAFETY: the caller's promise; the slot is in bounds.
    unsafe { maps::bump((&raw mut (*counters).connect_failures).cast::<u64>().add(slot)) };
}

/// # Safety
/// `counters` is this CPU's copy.
#[inline(always)]
unsafe fn count_dwell(state: u64, spent_ns: u64, counters: *mut Counters) {
    let mut bucket = 0;
    while bucket < DWELL_BOUNDS_NS.len() && spent_ns > DWELL_BOUNDS_NS[bucket] {
        bucket += 1;
    }
    // SAFETY: the caller's promise; the state is masked, and the bucket ends at the last one.
    unsafe {
        let dwell =
            (&raw mut (*counters).dwell).cast::<tcpstate_common::Dwell>().add(maps::state_index(state));
        maps::bump((&raw mut (*dwell).buckets).cast::<u64>().add(bucket));
        (*dwell).sum_ns += spent_ns;
    }
}
