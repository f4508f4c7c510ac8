//! What is known of a connection that meets a reset.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use tcpstate_common::{
    TcpState,
    wire::{About, about},
};

use crate::{
    globals,
    read::{Read, Untyped},
    slots::Place,
    sock::Sock,
};

const NS_PER_MS: u64 = 1_000_000;

/// Adds when the socket with this cookie entered its state, and who acted on it last.
pub(crate) fn describe_past(cookie: u64, about: &mut About) {
    if cookie != 0
        && let Some(place) = Place::of(cookie)
        && let Some((entered_ns, actor)) = place.last_known(cookie)
    {
        about.entered_ns = entered_ns;
        if let Some(process) = actor {
            about.pid = process.pid;
            about.comm = process.comm;
        }
    }
}

/// Adds the connection's numbers, from a full socket that the reset meets in this state.
pub(crate) fn describe<R: Read>(sk: Sock<R>, state: u8, about: &mut About) {
    // There has been no connection.
    if state == TcpState::SynSent as u8 || state == TcpState::SynRecv as u8 || state == TcpState::Listen as u8
    {
        return;
    }
    let raw = sk.raw();
    let sent = Untyped::field::<u64>(raw, &globals::TP_BYTES_SENT);
    let again = Untyped::field::<u64>(raw, &globals::TP_BYTES_RETRANS);
    let received = Untyped::field::<u64>(raw, &globals::TP_BYTES_RECEIVED);
    // A FIN counts as a byte that came in.
    let fin = sk.flags() >> (globals::SOCK_DONE_BIT.load() & 63) & 1;
    about.moved_bytes = sent.wrapping_sub(again).wrapping_add(received.saturating_sub(fin));
    let next = Untyped::field::<u32>(raw, &globals::TP_RCV_NXT);
    let read = Untyped::field::<u32>(raw, &globals::TP_COPIED_SEQ);
    about.unread_bytes = next.wrapping_sub(read).saturating_sub(fin as u32);
    // SAFETY: takes nothing, returns a number.
    let now = unsafe { bpf_jiffies64() } as u32;
    let mut idle = now.wrapping_sub(Untyped::field::<u32>(raw, &globals::ICSK_LRCVTIME));
    if state == TcpState::Established as u8 {
        // Where this side has closed, the acknowledgement of that says nothing about the peer's intentions.
        let acknowledged = now.wrapping_sub(Untyped::field::<u32>(raw, &globals::TP_RCV_TSTAMP));
        if acknowledged < idle {
            idle = acknowledged;
        }
    }
    about.idle_ms = (u64::from(idle) * u64::from(globals::TICK_NS.load()) / NS_PER_MS) as u32;
    about.known |= about::CONNECTION;
}
