//! `trace_tcp_receive_reset(struct sock *sk)`, since 4.15. Fires inside `tcp_reset`, before the socket
//! changes its state: for a RST that came in, and for one that the kernel makes up itself when data
//! arrives for a process that has closed (`tcp_rcv_state_process` in `net/ipv4/tcp_input.c`).

use aya_ebpf::{bindings::BPF_ANY, macros::btf_tracepoint, programs::BtfTracePointContext};
use tcpstate_common::{EventKind, TcpState, wire::Reset};

use crate::{clock, connection, emit, maps, read::Typed, sock::Sock};

#[btf_tracepoint(function = "tcp_receive_reset")]
fn tcp_receive_reset(ctx: BtfTracePointContext) -> i32 {
    match try_tcp_receive_reset(&ctx) {
        Ok(()) | Err(()) => 0,
    }
}

fn try_tcp_receive_reset(ctx: &BtfTracePointContext) -> Result<(), ()> {
    let sk = Sock::<Typed>::new(ctx.arg(0)).ok_or(())?;
    if !sk.is_tcp() {
        return Ok(());
    }
    let state = sk.state();
    let cookie = sk.cookie();
    if closing(state) {
        let _ = maps::RESET_MET.insert(cookie, u32::from(state), u64::from(BPF_ANY));
    }
    let cpu = maps::cpu().ok_or(())?;
    // SAFETY: this CPU's counters; the index is masked.
    unsafe {
        let counters = maps::counters::<0>(cpu);
        maps::bump((&raw mut (*counters).resets_met).cast::<u64>().add(maps::state_index(state.into())));
        emit::send(EventKind::ResetReceived, clock::now_ns(), counters, |reset: &mut Reset| {
            reset.event.cookie = cookie;
            reset.event.old_state = state;
            sk.describe(&mut reset.event);
            connection::describe_past(cookie, &mut reset.about);
            if let Some(tcp) = sk.tcp() {
                connection::describe(sk, tcp, state, &mut reset.about);
            }
        });
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
