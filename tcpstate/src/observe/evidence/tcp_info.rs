//! What the kernel tells of single sockets: `struct tcp_info`. It costs the kernel one to two microseconds a socket, so
//! that only the sockets in question are asked about.

use std::io;

use crate::{
    observe::sock_diag::{self, Attribute},
    track::{Row, Tuple},
};

/// One socket, looked at now.
#[derive(Clone, Debug)]
pub struct Detail {
    pub row: Row,
    /// `None` for a mini-socket, and where the kernel says less than [`TcpInfo`] needs.
    pub info: Option<TcpInfo>,
}

/// Of `struct tcp_info` (`include/uapi/linux/tcp.h`; filled in by `tcp_get_info` in `net/ipv4/tcp.c`) what tells how a
/// connection fares. What came with later kernels is absent on earlier ones.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpInfo {
    /// Probes of a closed window, or of a silent peer, that were not answered.
    pub probes: u8,
    /// How often the timer was doubled.
    pub backoff: u8,
    pub rto_us: u32,
    /// Time since data was sent, or else since the connection was made, ms.
    pub last_data_sent_ms: u32,
    /// Time since data was received, or else since the connection was made, ms.
    pub last_data_recv_ms: u32,
    /// Time since an acknowledgement was received, ms.
    pub last_ack_recv_ms: u32,
    pub rtt_us: u32,
    /// Retransmissions in the connection's life.
    pub total_retrans: u32,
    /// Bytes that the peer has acknowledged; a FIN counts as one.
    pub bytes_acked: Option<u64>,
    /// Bytes that were received; a FIN counts as one.
    pub bytes_received: Option<u64>,
    /// Bytes that wait to be sent for the first time.
    pub notsent_bytes: Option<u32>,
    /// Bytes that were sent, with what was sent again. Since 4.19.
    pub bytes_sent: Option<u64>,
    /// The peer's window, bytes. Since 5.4.
    pub snd_wnd: Option<u32>,
}

impl TcpInfo {
    /// Reads what the kernel has written, which is longer on later kernels. `None` if it is shorter than on any kernel
    /// since 2.6.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        let u64_at = |at: usize| bytes.get(at..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
        Some(Self {
            probes: *bytes.get(3)?,
            backoff: *bytes.get(4)?,
            rto_us: u32_at(8)?,
            last_data_sent_ms: u32_at(44)?,
            last_data_recv_ms: u32_at(52)?,
            last_ack_recv_ms: u32_at(56)?,
            rtt_us: u32_at(68)?,
            total_retrans: u32_at(100)?,
            bytes_acked: u64_at(120),
            bytes_received: u64_at(128),
            notsent_bytes: u32_at(144),
            bytes_sent: u64_at(200),
            snd_wnd: u32_at(228),
        })
    }
}

/// Looks at these sockets of the calling thread's network namespace, which is this one, and calls `each` with those
/// that are still there.
///
/// # Errors
/// What the kernel said.
pub fn look<'a>(
    netns: u32,
    sockets: impl IntoIterator<Item = (u64, &'a Tuple)>,
    mut each: impl FnMut(Detail),
) -> io::Result<()> {
    sock_diag::ask(sockets, Attribute::Info, |payload| {
        if let Some(detail) = detail(payload, netns) {
            each(detail);
        }
    })
}

fn detail(payload: &[u8], netns: u32) -> Option<Detail> {
    let row = sock_diag::row(payload, netns)?;
    Some(Detail { row, info: Attribute::Info.of(payload).and_then(TcpInfo::read) })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Shutdown, SocketAddr, TcpListener, TcpStream},
        os::fd::{AsFd, BorrowedFd},
    };

    use proptest::prelude::*;
    use rustix::net::sockopt::socket_cookie;
    use tcpstate_common::TcpState;

    use super::{Detail, TcpInfo, detail, look};
    use crate::{
        observe::netns,
        track::{Family, Tuple},
    };

    fn tuple(local: SocketAddr, remote: SocketAddr) -> Tuple {
        let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
        Tuple { family, local, remote }
    }

    fn cookie(fd: BorrowedFd<'_>) -> u64 {
        socket_cookie(fd).expect("a cookie")
    }

    fn details(sockets: &[(u64, Tuple)]) -> Vec<Detail> {
        let mut found = Vec::new();
        let sockets = sockets.iter().map(|(cookie, tuple)| (*cookie, tuple));
        look(netns::own().expect("/proc"), sockets, |detail| found.push(detail)).expect("sock_diag");
        found
    }

    /// A connection of which the client has sent a request and shut its side, and the server has read it all.
    fn half_closed(address: &str) -> Option<(TcpListener, TcpStream, TcpStream)> {
        let listener = TcpListener::bind(address).ok()?;
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
        let (mut server, _) = listener.accept().expect("a connection");
        client.write_all(b"request").expect("written");
        client.shutdown(Shutdown::Write).expect("shut");
        let mut request = String::new();
        server.read_to_string(&mut request).expect("read");
        Some((listener, client, server))
    }

    #[test]
    fn sockets_are_found_by_what_they_are() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Some((_listener, _client, server)) = half_closed(address) else { continue };
            let tuple = tuple(server.local_addr().expect("bound"), server.peer_addr().expect("connected"));
            let cookie = cookie(server.as_fd());
            // More than are asked for at a time.
            let found = details(&vec![(cookie, tuple); 100]);
            assert_eq!(found.len(), 100);
            let Detail { row, info } = &found[99];
            assert_eq!((row.cookie, row.state, row.tuple), (cookie, TcpState::CloseWait, tuple));
            let info = info.expect("known");
            assert_eq!(info.bytes_received, Some(8), "the request, and the FIN");
            assert_eq!((info.bytes_sent, info.total_retrans), (Some(0), 0));
        }
    }

    #[test]
    fn socket_that_is_another_by_now_is_not_there() {
        let (_listener, client, server) = half_closed("127.0.0.1:0").expect("IPv4");
        let tuple = tuple(server.local_addr().expect("bound"), server.peer_addr().expect("connected"));
        let own = cookie(server.as_fd());
        let nobodys = u64::MAX - 1;
        let gone = Tuple { remote: SocketAddr::from(([127, 0, 0, 1], 1)), ..tuple };
        let found = details(&[(nobodys, tuple), (own, gone), (own, tuple)]);
        assert_eq!(found.iter().map(|detail| detail.row.cookie).collect::<Vec<_>>(), [own]);
        drop(client);
    }

    #[test]
    fn what_earlier_kernels_do_not_say_is_absent() {
        let bytes: Vec<u8> = (0..248).map(|at| u8::try_from(at).expect("small")).collect();
        let whole = TcpInfo::read(&bytes).expect("long enough");
        assert_eq!(whole.snd_wnd, Some(u32::from_ne_bytes([228, 229, 230, 231])));
        assert_eq!(whole.last_ack_recv_ms, u32::from_ne_bytes([56, 57, 58, 59]));
        // Linux 4.9 ends after delivery_rate, 3.10 after total_retrans.
        let old = TcpInfo::read(&bytes[..168]).expect("long enough");
        assert_eq!((old.bytes_sent, old.snd_wnd), (None, None));
        assert_eq!(old.bytes_acked, whole.bytes_acked);
        let oldest = TcpInfo::read(&bytes[..104]).expect("long enough");
        assert_eq!((oldest.bytes_acked, oldest.notsent_bytes), (None, None));
        assert_eq!(TcpInfo::read(&bytes[..103]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = TcpInfo::read(&bytes);
            let _ = detail(&bytes, 0);
        }
    }
}
