//! Reads of `struct sock` and of the structs that begin like it.

use core::marker::PhantomData;

use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_skc_to_tcp_sock};
use tcpstate_common::{Event, TcpState, wire::AF_INET6};

use crate::{
    numbers,
    read::{Read, Typed, Untyped},
};

/// `IPPROTO_TCP`. MPTCP, SCTP and DCCP share the tracepoint.
const IPPROTO_TCP: u16 = 6;

/// A socket. Untyped, it may also be a `struct inet_timewait_sock` or a `struct request_sock`, as far as
/// `struct sock_common` goes.
#[derive(Clone, Copy)]
pub(crate) struct Sock<R>(*const u8, PhantomData<R>);

impl<R: Read> Sock<R> {
    /// `None` for a null address.
    pub(crate) fn new(sk: *const u8) -> Option<Self> {
        if sk.is_null() { None } else { Some(Self(sk, PhantomData)) }
    }

    pub(crate) fn raw(self) -> *const u8 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn is_tcp(self) -> bool {
        R::field::<u16, _>(self.0, numbers::SK_PROTOCOL) == IPPROTO_TCP
    }

    #[inline(always)]
    pub(crate) fn family(self) -> u8 {
        R::field::<u16, _>(self.0, numbers::SKC_FAMILY) as u8
    }

    /// `skc_state`: valid for every kind of socket.
    #[inline(always)]
    pub(crate) fn state(self) -> u8 {
        R::field::<u8, _>(self.0, numbers::SKC_STATE)
    }

    #[inline(always)]
    pub(crate) fn error(self) -> u32 {
        R::field::<u32, _>(self.0, numbers::SK_ERR)
    }

    /// `sk_flags`, a bit for each of `enum sock_flags`.
    #[inline(always)]
    pub(crate) fn flags(self) -> u64 {
        R::field::<u64, _>(self.0, numbers::SK_FLAGS)
    }

    /// Whether a process holds the socket's lock, so that `current` is a process that works on it.
    #[inline(always)]
    pub(crate) fn owned(self) -> bool {
        R::field::<u32, _>(self.0, numbers::SK_LOCK_OWNED) != 0
    }

    /// The cookie if one was ever made; 0 otherwise.
    #[inline(always)]
    pub(crate) fn known_cookie(self) -> u64 {
        R::field::<u64, _>(self.0, numbers::SKC_COOKIE)
    }

    /// `inet_sport` in host order: unlike `skc_num` it outlives the port's release at CLOSE.
    #[inline(always)]
    pub(crate) fn local_port(self) -> u16 {
        match R::field::<u16, _>(self.0, numbers::SKC_NUM) {
            // It lies beyond `struct sock`, which is all that the verifier knows of.
            0 => u16::from_be(Untyped::field::<u16, _>(self.0, numbers::INET_SPORT)),
            port => port,
        }
    }

    #[inline(always)]
    pub(crate) fn remote_port(self) -> u16 {
        u16::from_be(R::field::<u16, _>(self.0, numbers::SKC_DPORT))
    }

    /// Its `struct net`.
    #[inline(always)]
    fn net(self) -> *const u8 {
        R::field::<usize, _>(self.0, numbers::SKC_NET) as *const u8
    }

    /// The cookie of its network namespace: never zero, and never used again.
    #[inline(always)]
    pub(crate) fn netns_cookie(self) -> u64 {
        R::field(self.net(), numbers::NET_COOKIE)
    }

    /// The inode number of its network namespace.
    #[inline(always)]
    pub(crate) fn netns(self) -> u32 {
        netns::<R>(self.net())
    }

    #[inline(always)]
    pub(crate) fn is_ipv6(self) -> bool {
        self.family() == AF_INET6
    }

    /// The local and the remote address of an IPv4 socket.
    #[inline(always)]
    pub(crate) fn addresses4(self) -> [[u8; 4]; 2] {
        [R::field(self.0, numbers::SKC_RCV_SADDR), R::field(self.0, numbers::SKC_DADDR)].map(u32::to_ne_bytes)
    }

    /// The local and the remote address of an IPv6 socket.
    #[inline(always)]
    pub(crate) fn addresses6(self) -> ([u8; 16], [u8; 16]) {
        (ip6(R::field(self.0, numbers::SKC_V6_RCV_SADDR)), ip6(R::field(self.0, numbers::SKC_V6_DADDR)))
    }

    /// Fills in what every kind of socket has: family, namespace, addresses, remote port, `skc_num`.
    pub(crate) fn describe_common(self, event: &mut Event) {
        let family = self.family();
        event.family = family;
        event.netns = self.netns();
        event.sport = R::field::<u16, _>(self.0, numbers::SKC_NUM);
        event.dport = self.remote_port();
        if family == AF_INET6 {
            (event.saddr, event.daddr) = self.addresses6();
        } else {
            let [saddr, daddr] = self.addresses4();
            event.saddr[..4].copy_from_slice(&saddr);
            event.daddr[..4].copy_from_slice(&daddr);
        }
    }

    /// Fills in what a full socket has.
    pub(crate) fn describe(self, event: &mut Event) {
        self.describe_common(event);
        self.describe_rest(event);
    }

    /// Fills in what a full socket has beside [`Self::describe_common`].
    pub(crate) fn describe_rest(self, event: &mut Event) {
        event.sport = self.local_port();
        event.error = self.error();
    }
}

impl Sock<Typed> {
    /// The cookie, made now if there was none.
    #[inline(always)]
    pub(crate) fn cookie(self) -> u64 {
        match self.known_cookie() {
            // SAFETY: a trusted pointer to a socket.
            0 => unsafe { bpf_get_socket_cookie(self.0.cast_mut().cast()) },
            cookie => cookie,
        }
    }

    /// The same socket as a `struct tcp_sock`, of which the verifier knows what lies beyond `struct sock`: for what is read
    /// of every connection, where a read from any address takes longer.
    #[inline(always)]
    pub(crate) fn tcp(self) -> Option<*const u8> {
        // SAFETY: a trusted pointer to a socket; the helper looks for itself at what kind it is.
        let tcp: *const u8 = unsafe { bpf_skc_to_tcp_sock(self.0.cast_mut().cast()) }.cast();
        (!tcp.is_null()).then_some(tcp)
    }
}

/// Whether what is in this state is a full `struct sock`, not a mini-socket or a request.
pub(crate) fn is_full(state: u8) -> bool {
    state != TcpState::TimeWait as u8 && state != TcpState::NewSynRecv as u8
}

fn ip6(words: [u32; 4]) -> [u8; 16] {
    let mut address = [0; 16];
    for (bytes, word) in address.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    address
}

/// The inode number of a `struct net`; 0 for a null address.
#[inline(always)]
pub(crate) fn netns<R: Read>(net: *const u8) -> u32 {
    if net.is_null() { 0 } else { R::field(net, numbers::NET_INUM) }
}
