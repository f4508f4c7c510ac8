//! `trace_tcp_destroy_sock(struct sock *sk)`, since 4.15. The last word about a full socket: whatever is
//! still remembered of it would stay for ever.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::{maps, sock::Sock};

#[btf_tracepoint(function = "tcp_destroy_sock")]
fn tcp_destroy_sock(ctx: BtfTracePointContext) -> i32 {
    match try_tcp_destroy_sock(&ctx) {
        Ok(()) | Err(()) => 0,
    }
}

fn try_tcp_destroy_sock(ctx: &BtfTracePointContext) -> Result<(), ()> {
    let sk = Sock::new(ctx.arg(0)).ok_or(())?;
    let cookie = sk.known_cookie();
    if cookie != 0 {
        // Nothing is remembered of most.
        let _ = maps::PARKED.remove(cookie);
    }
    Ok(())
}
