//! `trace_tcp_send_reset(const struct sock *sk, const struct sk_buff *skb)`, since 4.15; from 6.10 with a
//! third argument, `enum sk_rst_reason reason`, and with `sk` or `skb` null. A raw tracepoint, because
//! 6.10 to early 6.12 do not mark `sk` as nullable and a typed program could oops there.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tcpstate_common::{
    EventKind, TcpState,
    state::STATE_SLOTS,
    wire::{AF_INET6, About, REASON_SLOTS, Reset, about, flags},
};

use crate::{
    clock, connection, emit, maps, numbers, packet,
    read::Untyped,
    slots::Place,
    sock::{Sock, is_full},
    task,
};

const CLOSE: u8 = TcpState::Close as u8;
const LISTEN: u8 = TcpState::Listen as u8;

#[raw_tracepoint(tracepoint = "tcp_send_reset")]
fn tcp_send_reset(ctx: RawTracePointContext) -> i32 {
    match try_tcp_send_reset(&ctx) {
        Ok(()) | Err(()) => 0,
    }
}

fn try_tcp_send_reset(ctx: &RawTracePointContext) -> Result<(), ()> {
    let sk = Sock::<Untyped>::new(ctx.arg(0));
    // Each is read once. Not in one `Option` with the socket: the verifier wants numbers where there is none as well.
    let (state, cookie) = sk.map_or((0, 0), |sk| (sk.state(), sk.known_cookie()));
    let skb: *const u8 = ctx.arg(1);
    let has_reason = numbers::HAS_RST_REASON.load() != 0;
    let reason = if has_reason { ctx.arg::<u64>(2) as u32 } else { 0 };
    let cpu = maps::cpu().ok_or(())?;
    // SAFETY: this CPU's counters; every index is masked.
    unsafe {
        let counters = maps::counters::<0>(cpu);
        maps::bump((&raw mut (*counters).resets_sent).cast::<u64>().add(maps::slot::<REASON_SLOTS>(reason)));
        let mut about = About::default();
        if let Some(sk) = sk {
            if may_be_self_made(state, cookie, reason)
                && let Some(met) = maps::RESET_MET.get(cookie).copied()
            {
                let _ = maps::RESET_MET.remove(cookie);
                maps::bump(
                    (&raw mut (*counters).resets_self_made).cast::<u64>().add(maps::state_index(met.into())),
                );
            }
            // Before the place is free again.
            connection::describe_past(cookie, &mut about);
            if is_closed(state, cookie)
                && let Some(place) = Place::of(cookie)
                && let Some(state) = place.take_back(cookie)
            {
                // The kernel goes to CLOSE and then answers data that nobody will read: what looked like a hand-over
                // to a mini-socket was the end (`tcp_rcv_state_process` in `net/ipv4/tcp_input.c`).
                let family = usize::from(sk.family() == AF_INET6);
                maps::bump(
                    (&raw mut (*counters).taken_back)
                        .cast::<u64>()
                        .add(family * STATE_SLOTS + maps::state_index(state.into())),
                );
            }
        }
        emit::send(EventKind::ResetSent, clock::now_ns(), counters, |reset: &mut Reset| {
            reset.event.reason = reason;
            if has_reason {
                reset.event.flags |= flags::HAS_REASON;
            }
            match sk {
                Some(sk) => describe(sk, state, cookie, skb, about, reset),
                None => reset.about.known |= packet::describe(skb, &mut reset.event),
            }
            // Before 6.10 it may be the reset itself.
            if has_reason && !skb.is_null() {
                reset.about.payload_bytes = packet::payload(skb);
                reset.about.known |= about::PAYLOAD;
            }
        });
    }
    Ok(())
}

/// `past` is what is remembered of the socket.
#[inline(always)]
fn describe(sk: Sock<Untyped>, state: u8, cookie: u64, skb: *const u8, past: About, reset: &mut Reset) {
    let Reset { event, about } = reset;
    event.old_state = state;
    sk.describe_common(event);
    if !is_full(state) {
        // Of a mini-socket only the common part may be read; its cookie is the connection's.
        event.cookie = cookie;
        *about = past;
    } else if state == LISTEN {
        // The listener's own addresses say nothing about the peer, and its cookie is not the connection's.
        about.known |= packet::describe(skb, event);
    } else {
        event.cookie = cookie;
        sk.describe_rest(event);
        *about = past;
        connection::describe(sk, sk.raw(), state, about);
        // In CLOSE the sender is the process that closed. In any other state somebody may be aborting a socket
        // of another process (ss -K).
        if state == CLOSE && sk.owned() {
            emit::blame(event, task::current());
            if task::is_ending() {
                about.known |= about::ENDING;
            }
        }
    }
}

/// A RST that follows `tcp_reset` on the same, now closed, socket: the kernel answers data that nobody
/// will read. The reason tells since 6.10.
fn may_be_self_made(state: u8, cookie: u64, reason: u32) -> bool {
    is_closed(state, cookie)
        && (numbers::HAS_RST_REASON.load() == 0 || u64::from(reason) == numbers::RST_ABORT_ON_DATA.load())
}

/// In `CLOSE`, with a cookie.
fn is_closed(state: u8, cookie: u64) -> bool {
    state == CLOSE && cookie != 0
}
