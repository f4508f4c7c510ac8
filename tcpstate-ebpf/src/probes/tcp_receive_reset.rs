//! `trace_tcp_receive_reset(struct sock *sk)`, since 4.15. Fires inside `tcp_reset`, before the socket
//! changes its state: for a RST that came in, and for one that the kernel makes up itself when data
//! arrives for a process that has closed (`tcp_rcv_state_process` in `net/ipv4/tcp_input.c`).

use aya_ebpf::{
    bindings::BPF_ANY, helpers::generated::bpf_get_socket_cookie, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tcpstate_common::{EventKind, TcpState, state::STATE_SLOTS};

use crate::{emit, maps, sock::Sock};

#[btf_tracepoint(function = "tcp_receive_reset")]
fn tcp_receive_reset(ctx: BtfTracePointContext) -> i32 {
    match try_tcp_receive_reset(&ctx) {
        Ok(()) | Err(()) => 0,
    }
}

fn try_tcp_receive_reset(ctx: &BtfTracePointContext) -> Result<(), ()> {
    let raw: *const u8 = ctx.arg(0);
    let sk = Sock::new(raw).ok_or(())?;
    if !sk.is_tcp() {
        return Ok(());
    }
    let counters = maps::counters().ok_or(())?;
    let state = sk.state();
    let mut event = emit::blank(EventKind::ResetReceived);
    // SAFETY: a trusted pointer to a socket.
    event.cookie = unsafe { bpf_get_socket_cookie(raw.cast_mut().cast()) };
    event.old_state = state;
    sk.describe(&mut event);
    if closing(state) {
        let _ = maps::RESET_MET.insert(event.cookie, u32::from(state), u64::from(BPF_ANY));
    }
    // SAFETY: this CPU's counters; the index is masked.
    unsafe {
        maps::bump(
            (&raw mut (*counters).resets_met).cast::<u64>().add(maps::slot::<STATE_SLOTS>(state.into())),
        );
        emit::send(&event, counters);
    }
    Ok(())
}

/// The states in which the kernel may run `tcp_reset` for data that nobody will read.
fn closing(state: u8) -> bool {
    state == TcpState::FinWait1 as u8
        || state == TcpState::FinWait2 as u8
        || state == TcpState::Closing as u8
        || state == TcpState::CloseWait as u8
        || state == TcpState::LastAck as u8
}
