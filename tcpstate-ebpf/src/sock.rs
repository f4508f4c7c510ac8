//! Reads of `struct sock` and of the structs that begin like it.

use aya_ebpf::{
    Global,
    helpers::{bpf_probe_read_kernel, bpf_probe_read_kernel_buf},
};
use tcpstate_common::{Event, TcpState, wire::AF_INET6};

use crate::globals;

/// `IPPROTO_TCP`. MPTCP, SCTP and DCCP share the tracepoint.
const IPPROTO_TCP: u16 = 6;
/// Also serves `struct inet_timewait_sock` and `struct request_sock`, as far as `struct sock_common` goes.
#[derive(Clone, Copy)]
pub(crate) struct Sock(*const u8);

/// Reads a kernel struct's field; zero where the address is not mapped.
pub(crate) fn field<T: Copy + Default>(base: *const u8, offset: &Global<u32>) -> T {
    let at = base.wrapping_add(offset.load() as usize);
    // SAFETY: the helper checks the address itself; T is an integer or an address, any bytes are a value.
    unsafe { bpf_probe_read_kernel(at.cast::<T>()) }.unwrap_or_default()
}

/// Reads a kernel struct's field that is an address.
pub(crate) fn address(base: *const u8, offset: &Global<u32>) -> *const u8 {
    field::<usize>(base, offset) as *const u8
}

impl Sock {
    /// `None` for a null address.
    pub(crate) fn new(sk: *const u8) -> Option<Self> {
        if sk.is_null() { None } else { Some(Self(sk)) }
    }

    pub(crate) fn is_tcp(self) -> bool {
        field::<u16>(self.0, &globals::SK_PROTOCOL) == IPPROTO_TCP
    }

    pub(crate) fn family(self) -> u8 {
        field::<u16>(self.0, &globals::SKC_FAMILY) as u8
    }

    /// `skc_state`: valid for every kind of socket.
    pub(crate) fn state(self) -> u8 {
        field::<u8>(self.0, &globals::SKC_STATE)
    }

    pub(crate) fn error(self) -> u32 {
        field::<u32>(self.0, &globals::SK_ERR)
    }

    pub(crate) fn flag(self, bit: &Global<u32>) -> bool {
        field::<u64>(self.0, &globals::SK_FLAGS) & (1 << (bit.load() & 63)) != 0
    }

    /// Whether a process holds the socket's lock, so that `current` is a process that works on it.
    pub(crate) fn owned(self) -> bool {
        field::<u32>(self.0, &globals::SK_LOCK_OWNED) != 0
    }

    /// The cookie if one was ever made; 0 otherwise.
    pub(crate) fn known_cookie(self) -> u64 {
        field::<u64>(self.0, &globals::SKC_COOKIE)
    }

    /// `inet_sport` in host order: unlike `skc_num` it outlives the port's release at CLOSE.
    pub(crate) fn local_port(self) -> u16 {
        u16::from_be(field::<u16>(self.0, &globals::INET_SPORT))
    }

    /// Fills in what every kind of socket has: family, namespace, addresses, remote port, `skc_num`.
    pub(crate) fn describe_common(self, event: &mut Event) {
        event.family = self.family();
        event.netns = netns(address(self.0, &globals::SKC_NET));
        event.sport = field::<u16>(self.0, &globals::SKC_NUM);
        event.dport = u16::from_be(field::<u16>(self.0, &globals::SKC_DPORT));
        if event.family == AF_INET6 {
            read_into(self.0, &globals::SKC_V6_RCV_SADDR, &mut event.saddr);
            read_into(self.0, &globals::SKC_V6_DADDR, &mut event.daddr);
        } else {
            read_into(self.0, &globals::SKC_RCV_SADDR, &mut event.saddr[..4]);
            read_into(self.0, &globals::SKC_DADDR, &mut event.daddr[..4]);
        }
    }

    /// Fills in what a full socket has.
    pub(crate) fn describe(self, event: &mut Event) {
        self.describe_common(event);
        let sport = self.local_port();
        if sport != 0 {
            event.sport = sport;
        }
        event.error = self.error();
    }

    /// Whether this is a full `struct sock`, not a mini-socket or a request.
    pub(crate) fn is_full(self) -> bool {
        let state = self.state();
        state != TcpState::TimeWait as u8 && state != TcpState::NewSynRecv as u8
    }
}

/// The inode number of a `struct net`; 0 for a null address.
pub(crate) fn netns(net: *const u8) -> u32 {
    if net.is_null() { 0 } else { field::<u32>(net, &globals::NET_INUM) }
}

fn read_into(base: *const u8, offset: &Global<u32>, bytes: &mut [u8]) {
    let at = base.wrapping_add(offset.load() as usize);
    // SAFETY: the helper checks the address itself. On failure the bytes stay zero.
    let _ = unsafe { bpf_probe_read_kernel_buf(at, bytes) };
}
