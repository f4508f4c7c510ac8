//! `trace_tcp_send_reset(const struct sock *sk, const struct sk_buff *skb)`, since 4.15; from 6.10 with a
//! third argument, `enum sk_rst_reason reason`, and with `sk` or `skb` null. A raw tracepoint, because
//! 6.10 to early 6.12 do not mark `sk` as nullable and a typed program could oops there.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tcpstate_common::{
    Event, EventKind, TcpState,
    state::STATE_SLOTS,
    wire::{REASON_SLOTS, flags},
};

use crate::{emit, globals, maps, packet, sock::Sock, task};

const CLOSE: u8 = TcpState::Close as u8;
const LISTEN: u8 = TcpState::Listen as u8;

#[raw_tracepoint(tracepoint = "tcp_send_reset")]
fn tcp_send_reset(ctx: RawTracePointContext) -> i32 {
    match try_tcp_send_reset(&ctx) {
        Ok(()) | Err(()) => 0,
    }
}

fn try_tcp_send_reset(ctx: &RawTracePointContext) -> Result<(), ()> {
    let skb: *const u8 = ctx.arg(1);
    let counters = maps::counters().ok_or(())?;
    let mut event = emit::blank(EventKind::ResetSent);
    if globals::HAS_RST_REASON.load() != 0 {
        event.reason = ctx.arg::<u64>(2) as u32;
        event.flags |= flags::HAS_REASON;
    }
    match Sock::new(ctx.arg(0)) {
        Some(sk) => describe(sk, skb, &mut event),
        None => packet::describe(skb, &mut event),
    }
    // SAFETY: this CPU's counters; every index is masked.
    unsafe {
        maps::bump(
            (&raw mut (*counters).resets_sent).cast::<u64>().add(maps::slot::<REASON_SLOTS>(event.reason)),
        );
        if may_be_self_made(&event)
            && let Some(met) = maps::RESET_MET.get(event.cookie).copied()
        {
            let _ = maps::RESET_MET.remove(event.cookie);
            maps::bump(
                (&raw mut (*counters).resets_self_made).cast::<u64>().add(maps::slot::<STATE_SLOTS>(met)),
            );
        }
        emit::send(&event, counters);
    }
    Ok(())
}

fn describe(sk: Sock, skb: *const u8, event: &mut Event) {
    let state = sk.state();
    event.old_state = state;
    sk.describe_common(event);
    if !sk.is_full() {
        // Of a mini-socket only the common part may be read; its cookie is the connection's.
        event.cookie = sk.known_cookie();
    } else if state == LISTEN {
        // The listener's own addresses say nothing about the peer, and its cookie is not the connection's.
        packet::describe(skb, event);
    } else {
        event.cookie = sk.known_cookie();
        sk.describe(event);
        // In CLOSE the sender is whoever closed. In any other state somebody may be aborting a socket
        // that is not his (ss -K).
        if state == CLOSE && sk.owned() {
            emit::blame(event, task::current());
        }
    }
}

/// A RST that follows `tcp_reset` on the same, now closed, socket: the kernel answers data that nobody
/// will read. It says so since 6.10.
fn may_be_self_made(event: &Event) -> bool {
    event.cookie != 0
        && event.old_state == CLOSE
        && (event.flags & flags::HAS_REASON == 0 || event.reason == globals::RST_ABORT_ON_DATA.load())
}
