//! `trace_inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, since 4.16.
//! Fires before the new state is stored.
//!
//! Two programs, because the kernel does not run a program that is already running on the same CPU: while one
//! handles what a process does to its socket, packets may come in and change the state of others. Processes
//! act with the socket's lock held (`sk_lock.owned`) and can be interrupted; packets are handled with softirqs
//! off and cannot. So only an event of a packet can be missed, only while the first program handles one of a
//! process, and then the second program, which comes next for the same event, finds no note that it was
//! handled, and does it.

use aya_ebpf::{
    helpers::generated::bpf_get_socket_cookie, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use aya_log_ebpf::warn;
use tcpstate_common::{
    Counters, Event, EventKind, Parked, TcpState,
    state::STATE_SLOTS,
    wire::{AF_INET6, COMM_LEN, DWELL_BOUNDS_NS, ERRNO_SLOTS, flags},
};

use crate::{
    emit, globals,
    maps::{self, Handled},
    sock::Sock,
    task::{self, Process},
};

const CLOSE: u8 = TcpState::Close as u8;
const CLOSING: u8 = TcpState::Closing as u8;
const FIN_WAIT2: u8 = TcpState::FinWait2 as u8;
const SYN_SENT: u8 = TcpState::SynSent as u8;
const SYN_RECV: u8 = TcpState::SynRecv as u8;
const TIME_WAIT: u8 = TcpState::TimeWait as u8;
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
    match try_inet_sock_set_state_nested(&ctx) {
        Ok(()) | Err(()) => 0,
    }
}

/// What a program is told.
#[derive(Clone, Copy)]
struct Told {
    raw: *const u8,
    sk: Sock,
    old: u8,
    new: u8,
}

impl Told {
    fn of(ctx: &BtfTracePointContext) -> Result<Self, ()> {
        let raw: *const u8 = ctx.arg(0);
        Ok(Self {
            raw,
            sk: Sock::new(raw).ok_or(())?,
            old: ctx.arg::<u64>(1) as u8,
            new: ctx.arg::<u64>(2) as u8,
        })
    }

    /// What tells this event from every other that this CPU may be handling.
    fn note(self) -> Handled {
        Handled { sk: self.raw as u64, states: u64::from(self.old) << 8 | u64::from(self.new) }
    }
}

fn try_inet_sock_set_state(ctx: &BtfTracePointContext) -> Result<(), ()> {
    let told = Told::of(ctx)?;
    let handled = maps::handled().ok_or(())?;
    let by_process = told.sk.owned();
    if by_process {
        // SAFETY: this CPU's note. No packet is being handled here now, so whatever stands there is old.
        unsafe { (&raw mut (*handled).sk).write_volatile(0) };
    }
    handle(ctx, told, by_process, maps::counters().ok_or(())?);
    if !by_process {
        // SAFETY: this CPU's note; a packet's event is not interrupted by another's.
        unsafe { handled.write_volatile(told.note()) };
    }
    Ok(())
}

fn try_inet_sock_set_state_nested(ctx: &BtfTracePointContext) -> Result<(), ()> {
    let told = Told::of(ctx)?;
    if told.sk.owned() {
        return Ok(());
    }
    let handled = maps::handled().ok_or(())?;
    // SAFETY: this CPU's note, as above.
    unsafe {
        if handled.read_volatile() == told.note() {
            (&raw mut (*handled).sk).write_volatile(0);
            return Ok(());
        }
    }
    let counters = maps::nested_counters().ok_or(())?;
    // SAFETY: this CPU's counters.
    unsafe { maps::bump(&raw mut (*counters).rescued) };
    handle(ctx, told, false, counters);
    Ok(())
}

fn parks(state: u8) -> bool {
    PARKS & (1 << (state & 15)) != 0
}

#[inline(always)]
fn handle(ctx: &BtfTracePointContext, told: Told, by_process: bool, counters: *mut Counters) {
    let Told { raw, sk, old, new: said } = told;
    if !sk.is_tcp() {
        // SAFETY: this CPU's counters.
        unsafe { maps::bump(&raw mut (*counters).ignored) };
        return;
    }
    if !(1..=12).contains(&old) || !(1..=12).contains(&said) {
        // SAFETY: this CPU's counters.
        unsafe {
            if (*counters).unknown_states == 0 {
                warn!(ctx, "unknown TCP state: {} to {}", old, said);
            }
            maps::bump(&raw mut (*counters).unknown_states);
        }
        return;
    }
    if old == said {
        // SAFETY: this CPU's counters.
        unsafe { maps::bump(&raw mut (*counters).ignored) };
        note_actor(raw, sk, old, by_process);
        return;
    }
    let (new, inferred) = infer(sk, old, said);
    let family = usize::from(sk.family() == AF_INET6);
    // SAFETY: this CPU's counters; every index is masked to its dimension.
    unsafe {
        maps::bump((&raw mut (*counters).transitions).cast::<u64>().add(
            family * STATE_SLOTS * STATE_SLOTS
                + maps::slot::<STATE_SLOTS>(old.into()) * STATE_SLOTS
                + maps::slot::<STATE_SLOTS>(new.into()),
        ));
    }
    let watched = maps::watched();
    if !parks(old) && !parks(new) && !watched {
        return;
    }
    // A child that is being born still carries its listener's cookie up to 6.12; it gets its own later.
    let cookie =
        // SAFETY: a trusted pointer to a socket.
        if said == SYN_RECV { 0 } else { unsafe { bpf_get_socket_cookie(raw.cast_mut().cast()) } };
    let now = emit::now_ns();
    let process = actor(sk, by_process);
    let mut event = None;
    if inferred || watched || (old == SYN_SENT && new == CLOSE) {
        let mut told = emit::blank(EventKind::Transition);
        told.time_ns = now;
        told.cookie = cookie;
        told.old_state = old;
        told.new_state = new;
        sk.describe(&mut told);
        emit::blame(&mut told, process);
        if inferred {
            told.flags |= flags::INFERRED;
        }
        event = Some(told);
    }
    // SAFETY: this CPU's counters.
    unsafe {
        if old == SYN_SENT && new == CLOSE {
            count_connect_failure(sk, counters);
        }
        remember(
            cookie,
            old,
            if inferred { CLOSE } else { new },
            new,
            now,
            process,
            event.as_mut(),
            counters,
        );
        if let Some(event) = &event {
            emit::send(event, counters);
        }
    }
}

/// `close()` after `shutdown()` sets the state that the socket is in already (`tcp_close_state` in
/// `net/ipv4/tcp.c`). That is no transition, but it tells who closed.
fn note_actor(raw: *const u8, sk: Sock, state: u8, by_process: bool) {
    if !parks(state) {
        return;
    }
    // SAFETY: a trusted pointer to a socket.
    let cookie = unsafe { bpf_get_socket_cookie(raw.cast_mut().cast()) };
    if let (Some(process), Some(entry)) = (actor(sk, by_process), maps::PARKED.get_ptr_mut(cookie)) {
        // SAFETY: a map value; one socket changes its state on one CPU at a time, under its lock.
        unsafe {
            (*entry).pid = process.pid;
            (*entry).comm = process.comm;
        }
    }
}

/// The state that the socket really enters. The kernel says CLOSE when a mini-socket takes over, and never
/// says `TIME_WAIT` (`tcp_time_wait` in `net/ipv4/tcp_minisocks.c`): a FIN that came in (`SOCK_DONE`) means
/// `TIME_WAIT`; without one, a socket that its process has closed (`SOCK_DEAD`) goes on in `FIN_WAIT2`.
fn infer(sk: Sock, old: u8, said: u8) -> (u8, bool) {
    if said != CLOSE || (old != FIN_WAIT2 && old != CLOSING) || sk.error() != 0 {
        return (said, false);
    }
    if sk.flag(&globals::SOCK_DONE_BIT) {
        (TIME_WAIT, true)
    } else if old == FIN_WAIT2 && sk.flag(&globals::SOCK_DEAD_BIT) {
        (FIN_WAIT2, true)
    } else {
        (said, false)
    }
}

/// The process that acts, if it is one that owns the socket: it holds the socket's lock, and is not
/// somebody who aborts other people's sockets.
fn actor(sk: Sock, by_process: bool) -> Option<Process> {
    if by_process && sk.error() != ECONNABORTED { task::current() } else { None }
}

/// # Safety
/// `counters` is this CPU's copy.
unsafe fn count_connect_failure(sk: Sock, counters: *mut Counters) {
    let mut errno = sk.error();
    if errno == 0 && sk.local_port() == 0 {
        errno = EADDRNOTAVAIL;
    }
    let slot = maps::slot::<ERRNO_SLOTS>(errno);
    // SAFETY: the caller's promise; the slot is in bounds.
    unsafe { maps::bump((&raw mut (*counters).connect_failures).cast::<u64>().add(slot)) };
}

/// Keeps, moves or drops what is remembered of a parked socket, and counts the time it spent in `old`.
///
/// # Safety
/// `counters` is this CPU's copy.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one call; a struct would only live on the 512-byte stack")]
unsafe fn remember(
    cookie: u64,
    old: u8,
    new: u8,
    shown: u8,
    now: u64,
    process: Option<Process>,
    event: Option<&mut Event>,
    counters: *mut Counters,
) {
    if !parks(old) && !parks(new) {
        return;
    }
    let known = maps::PARKED.get_ptr_mut(cookie);
    if let Some(entry) = known {
        // SAFETY: a map value; one socket changes its state on one CPU at a time, under its lock.
        unsafe {
            if (*entry).state == old {
                // A mini-socket goes on in FIN_WAIT2, so that time is not over.
                if shown != old {
                    count_dwell(old, now.saturating_sub((*entry).entered_ns), counters);
                }
                if let Some(event) = event {
                    event.entered_ns = (*entry).entered_ns;
                    if event.pid == 0 && (*entry).pid != 0 {
                        event.pid = (*entry).pid;
                        event.comm = (*entry).comm;
                        event.flags |= flags::PID_CARRIED;
                    }
                }
            }
            if parks(new) {
                (*entry).entered_ns = now;
                (*entry).state = new;
                if let Some(process) = process {
                    (*entry).pid = process.pid;
                    (*entry).comm = process.comm;
                }
                return;
            }
        }
        let _ = maps::PARKED.remove(cookie);
    } else if parks(new) {
        let (pid, comm) = match process {
            Some(process) => (process.pid, process.comm),
            None => (0, [0; COMM_LEN]),
        };
        let entry = Parked { entered_ns: now, pid, state: new, pad: [0; 3], comm };
        if maps::PARKED.insert(cookie, entry, 0).is_err() {
            // SAFETY: the caller's promise.
            unsafe { maps::bump(&raw mut (*counters).parked_lost) };
        }
    }
}

/// # Safety
/// `counters` is this CPU's copy.
#[inline(always)]
unsafe fn count_dwell(state: u8, spent_ns: u64, counters: *mut Counters) {
    let mut bucket = 0;
    while bucket < DWELL_BOUNDS_NS.len() && spent_ns > DWELL_BOUNDS_NS[bucket] {
        bucket += 1;
    }
    // SAFETY: the caller's promise; the state is masked, and the bucket ends at the last one.
    unsafe {
        let dwell = (&raw mut (*counters).dwell)
            .cast::<tcpstate_common::Dwell>()
            .add(maps::slot::<STATE_SLOTS>(state.into()));
        maps::bump((&raw mut (*dwell).buckets).cast::<u64>().add(bucket));
        (*dwell).sum_ns += spent_ns;
    }
}
