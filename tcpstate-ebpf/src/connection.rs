//! What is known of a connection that meets a reset, or is closed.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use tcpstate_common::{
    TcpState,
    wire::{About, IDLE_CLOSE_NS, Idle, about},
};

use crate::{
    numbers::{self, Told},
    read::{Read, Typed, Untyped},
    slots::Place,
    sock::Sock,
};

const NS_PER_MS: u64 = 1_000_000;

/// Adds when the socket with this cookie was opened and entered its state, and who acted on it last.
pub(crate) fn describe_past(cookie: u64, about: &mut About) {
    if cookie != 0
        && let Some(place) = Place::of(cookie)
        && let Some(past) = place.last_known(cookie)
    {
        about.entered_ns = past.entered_ns;
        about.opened = past.opened;
        if let Some(process) = past.actor {
            about.pid = process.pid;
            about.comm = process.comm();
        }
    }
}

/// Adds the connection's numbers, from a full socket that the reset meets in this state, and that is at `tcp` as a
/// `struct tcp_sock`.
#[inline(always)]
pub(crate) fn describe<R: Read>(sk: Sock<R>, tcp: *const u8, state: u8, about: &mut About) {
    // There has been no connection.
    if state == TcpState::SynSent as u8 || state == TcpState::SynRecv as u8 || state == TcpState::Listen as u8
    {
        return;
    }
    let sent = R::field::<u64, _>(tcp, numbers::TP_BYTES_SENT);
    let again = R::field::<u64, _>(tcp, numbers::TP_BYTES_RETRANS);
    let received = R::field::<u64, _>(tcp, numbers::TP_BYTES_RECEIVED);
    // A FIN counts as a byte that came in.
    let fin = sk.flags() >> (numbers::SOCK_DONE_BIT.load() & 63) & 1;
    about.moved_bytes = sent.wrapping_sub(again).wrapping_add(received.saturating_sub(fin));
    let next = R::field::<u32, _>(tcp, numbers::TP_RCV_NXT);
    let read = R::field::<u32, _>(tcp, numbers::TP_COPIED_SEQ);
    about.unread_bytes = next.wrapping_sub(read).saturating_sub(fin as u32);
    let written = R::field::<u32, _>(tcp, numbers::TP_WRITE_SEQ);
    about.unsent_bytes = written.wrapping_sub(R::field::<u32, _>(tcp, numbers::TP_SND_UNA));
    about.spoke_ms = millis(silent::<R, _>(tcp, numbers::TP_LSNDTIME));
    if fin != 0 {
        about.known |= about::FIN;
    }
    let mut idle = silent::<R, _>(tcp, numbers::ICSK_LRCVTIME);
    if state == TcpState::Established as u8 {
        // Where this side has closed, the acknowledgement of that says nothing about the peer's intentions.
        let acknowledged = silent::<R, _>(tcp, numbers::TP_RCV_TSTAMP);
        if acknowledged < idle {
            idle = acknowledged;
        }
    }
    about.idle_ms = millis(idle);
    about.known |= about::CONNECTION;
}

/// Whether nothing has come in for long on a connection that its process closes now: `tcp_event_data_recv` and
/// `tcp_event_data_sent` (`net/ipv4/tcp_input.c`, `tcp_output.c`) keep the times, which begin with the connection. One
/// read tells of nearly every connection that it was used a moment ago.
#[inline(always)]
pub(crate) fn is_idle(sk: Sock<Typed>) -> bool {
    let Some(tcp) = sk.tcp() else { return false };
    u64::from(silent::<Typed, _>(tcp, numbers::ICSK_LRCVTIME)) * numbers::TICK_NS.load() >= IDLE_CLOSE_NS
}

/// How such a connection has been used.
#[inline(always)]
pub(crate) fn idle<R: Read>(sk: Sock<R>) -> Idle {
    Idle {
        received_bytes: Untyped::field(sk.raw(), numbers::TP_BYTES_RECEIVED),
        heard_ms: millis(silent::<Untyped, _>(sk.raw(), numbers::ICSK_LRCVTIME)),
        spoke_ms: millis(silent::<Untyped, _>(sk.raw(), numbers::TP_LSNDTIME)),
    }
}

/// Ticks since the time that a `struct tcp_sock` keeps there.
#[inline(always)]
fn silent<R: Read, const PLACE: i16>(tcp: *const u8, time: Told<PLACE>) -> u32 {
    jiffies().wrapping_sub(R::field::<u32, _>(tcp, time))
}

/// What the kernel calls `tcp_jiffies32`.
#[inline(always)]
fn jiffies() -> u32 {
    // SAFETY: takes nothing, returns a number.
    unsafe { bpf_jiffies64() as u32 }
}

fn millis(ticks: u32) -> u32 {
    (u64::from(ticks) * numbers::TICK_NS.load() / NS_PER_MS) as u32
}
