//! Socket dumps over netlink (`net/ipv4/inet_diag.c`). The framing is the library's; the answer's fixed part is read
//! here, because the library drops the time a `TIME_WAIT` has left and allocates for each socket.

use std::{io, net::SocketAddr};

use netlink_packet_core::{Emitable, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use tcpstate_common::{
    TcpState,
    wire::{AF_INET, AF_INET6},
};

use crate::track::{Family, Row, Timer, Tuple, address, octets};

const NETLINK_SOCK_DIAG: isize = 4;
/// `TCPDIAG_GETSOCK` (`include/uapi/linux/inet_diag.h`).
const TCPDIAG_GETSOCK: u16 = 18;
/// Length of `struct inet_diag_req`: family, two prefix lengths, extensions (1 byte each), the socket's id (48), the
/// states (4) and a flag (4) for what we do not ask.
const INET_DIAG_REQ_LEN: usize = 60;
const INET_DIAG_REQ_STATES: usize = 52;
/// `SOCK_DIAG_BY_FAMILY` (`include/uapi/linux/sock_diag.h`).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const IPPROTO_TCP: u8 = 6;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Length of `struct inet_diag_msg` (`include/uapi/linux/inet_diag.h`).
const INET_DIAG_MSG_LEN: usize = 72;
/// Large enough for whatever the kernel puts into one answer (32 KiB since 5.19).
const BUFFER_LEN: usize = 1 << 17;
/// Single sockets asked for at a time: the answers fit into the default receive buffer
/// (`net.core.rmem_default`, 208 KiB).
const TOGETHER: usize = 32;

/// Asks the kernel for the TCP sockets of the calling thread's network namespace in these states, and calls `each` with
/// every one.
///
/// # Errors
/// What the kernel said.
pub fn dump(
    netns: u32,
    states: impl IntoIterator<Item = TcpState>,
    mut each: impl FnMut(Row),
) -> io::Result<()> {
    walk(states, Attribute::None, |payload| {
        if let Some(row) = row(payload, netns) {
            each(row);
        }
    })
}

/// What is to be told of a socket beside the fixed part (`include/uapi/linux/inet_diag.h`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Attribute {
    None,
    /// `INET_DIAG_INFO`.
    Info = 2,
    /// `INET_DIAG_SKMEMINFO`.
    SocketMemory = 7,
}

impl Attribute {
    /// The bit that asks for it.
    fn wish(self) -> u8 {
        (1 << (self as u8)) >> 1
    }

    /// Its value in an answer.
    pub(super) fn of(self, payload: &[u8]) -> Option<&[u8]> {
        attributes(payload).find_map(|(number, value)| (number == self as u16).then_some(value))
    }
}

/// Asks for all sockets in these states, with an attribute, and calls `each` with every answer.
pub(super) fn walk(
    states: impl IntoIterator<Item = TcpState>,
    attribute: Attribute,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let socket = connect()?;
    let mut buffer = Vec::with_capacity(BUFFER_LEN);
    socket.send(&request_of_all(states, attribute), 0)?;
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        if !messages(&buffer, &mut each)? {
            return Ok(());
        }
    }
}

/// Asks for single sockets by what they are, with an attribute, and calls `each` with every answer. A socket that is
/// not there any more has none.
pub(super) fn ask<'a>(
    sockets: impl IntoIterator<Item = (u64, &'a Tuple)>,
    attribute: Attribute,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let socket = connect()?;
    let mut buffer = Vec::with_capacity(BUFFER_LEN);
    let mut wishes = Vec::new();
    let mut sockets = sockets.into_iter().peekable();
    while sockets.peek().is_some() {
        wishes.clear();
        for (cookie, tuple) in sockets.by_ref().take(TOGETHER) {
            wishes.extend(request_of_one(cookie, tuple, attribute));
        }
        socket.send(&wishes, 0)?;
        // The kernel answers before it returns; so when nothing waits, that was all.
        loop {
            buffer.clear();
            match socket.recv(&mut buffer, libc::MSG_DONTWAIT) {
                // An error: it is not there any more, or is another one by now.
                Ok(_) => drop(messages(&buffer, &mut each)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn connect() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

/// The request of the older kind (`struct inet_diag_req`): it is for both families at once
/// (`inet_diag_dump_compat` in `net/ipv4/inet_diag.c`), so that the kernel walks through its table once and not twice.
fn request_of_all(states: impl IntoIterator<Item = TcpState>, attribute: Attribute) -> Vec<u8> {
    let states: u32 = states.into_iter().fold(0, |mask, state| mask | 1 << state.index());
    let mut body = [0; INET_DIAG_REQ_LEN];
    body[3] = attribute.wish();
    body[INET_DIAG_REQ_STATES..][..4].copy_from_slice(&states.to_ne_bytes());
    message(TCPDIAG_GETSOCK, NLM_F_REQUEST | NLM_F_DUMP, &body)
}

/// The request for a single socket (`struct inet_diag_req_v2`; `inet_diag_find_one_icsk`): family, protocol, extensions,
/// padding (1 byte each), states (4), and the socket as in an answer. One that is bound to a device is not found.
fn request_of_one(cookie: u64, tuple: &Tuple, attribute: Attribute) -> Vec<u8> {
    let family = if tuple.family == Family::V4 { AF_INET } else { AF_INET6 };
    let mut body = vec![family, IPPROTO_TCP, attribute.wish(), 0, 0, 0, 0, 0];
    body.extend(tuple.local.port().to_be_bytes());
    body.extend(tuple.remote.port().to_be_bytes());
    body.extend(octets(tuple.local.ip()));
    body.extend(octets(tuple.remote.ip()));
    body.extend([0; 4]);
    // The lower word first (`sock_diag_save_cookie` in `net/core/sock_diag.c`).
    let cookie = cookie.to_le_bytes();
    for word in cookie.as_chunks::<4>().0 {
        body.extend(u32::from_le_bytes(*word).to_ne_bytes());
    }
    message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, &body)
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.message_type = kind;
    header.flags = flags;
    header.length = u32::try_from(header.buffer_len() + body.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![0; header.buffer_len()];
    header.emit(&mut bytes);
    bytes.extend(body);
    bytes
}

/// Calls `each` with the payload of every answer in a datagram. Returns whether more datagrams follow.
pub(crate) fn messages(mut bytes: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<bool> {
    while !bytes.is_empty() {
        let malformed = |_| io::Error::new(io::ErrorKind::InvalidData, "a netlink message ends too early");
        let message = NetlinkBuffer::new_checked(bytes).map_err(malformed)?;
        let kind = message.message_type();
        match kind {
            NLMSG_DONE | NLMSG_ERROR => match failure(message.payload()) {
                Some(error) => return Err(error),
                None if kind == NLMSG_DONE => return Ok(false),
                None => {}
            },
            _ => each(message.payload()),
        }
        let length = usize::try_from(message.length()).unwrap_or(usize::MAX).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(true)
}

/// The error at the begin of a message that ends an answer, negative; 0 is none. Where a dump fails it stands nowhere else
/// (`netlink_dump_done` in `net/netlink/af_netlink.c`).
fn failure(payload: &[u8]) -> Option<io::Error> {
    let code = payload.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code));
    (code < 0).then(|| io::Error::from_raw_os_error(code.saturating_neg()))
}

/// Whether an error says that this kernel dumps no TCP sockets: it has no `tcp_diag`, and that module cannot be loaded
/// (`inet_diag_lock_handler` in `net/ipv4/inet_diag.c`, `sock_diag_rcv_msg` in `net/core/sock_diag.c`).
#[must_use]
pub fn is_missing(error: &io::Error) -> bool {
    let missing = [libc::ENOENT, libc::EOPNOTSUPP, libc::EPROTONOSUPPORT];
    error.raw_os_error().is_some_and(|code| missing.contains(&code))
}

/// Reads `struct inet_diag_msg`. `None` for what is none of the visible states or families, and for
/// what is too short.
///
/// Layout: family, state, timer, retransmits (1 byte each); ports (2 each, network order), source and
/// destination (16 each), interface (4), cookie (8); expires, rqueue, wqueue, uid, inode (4 each).
#[must_use]
pub fn row(payload: &[u8], netns: u32) -> Option<Row> {
    let bytes = payload.first_chunk::<INET_DIAG_MSG_LEN>()?;
    let be16 = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let ne32 = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let ip = |family, at: usize| {
        let mut ip = [0; 16];
        ip.copy_from_slice(&bytes[at..at + 16]);
        address(family, ip)
    };
    let family = match bytes[0] {
        AF_INET => Family::V4,
        AF_INET6 => Family::V6,
        _ => return None,
    };
    let state = TcpState::try_from(bytes[1]).ok().filter(|state| TcpState::VISIBLE.contains(state))?;
    let timer = match bytes[2] {
        1 => Timer::Retransmit,
        2 => Timer::Keepalive,
        3 => Timer::TimeWait,
        4 => Timer::Persist,
        _ => Timer::None,
    };
    let cookie = u64::from(ne32(44)) | u64::from(ne32(48)) << 32;
    Some(Row {
        cookie,
        netns,
        tuple: Tuple {
            family,
            local: SocketAddr::new(ip(family, 8), be16(4)),
            remote: SocketAddr::new(ip(family, 24), be16(6)),
        },
        state,
        timer,
        retransmits: bytes[3],
        expires_ms: ne32(52),
        rqueue: ne32(56),
        wqueue: ne32(60),
        // A mini-socket has no owner; the kernel says 0, which is not root.
        uid: (timer != Timer::TimeWait).then_some(ne32(64)),
        inode: ne32(68),
    })
}

/// The attributes of an answer, by their numbers (`enum` in `include/uapi/linux/inet_diag.h`), as far as they are whole.
fn attributes(payload: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = payload.get(INET_DIAG_MSG_LEN..).unwrap_or_default();
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let number = u16::from_ne_bytes([header[2], header[3]]);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number, value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tcpstate_common::TcpState;

    use super::{NLMSG_DONE, NLMSG_ERROR, attributes, io, is_missing, messages, row};
    use crate::track::Timer;

    /// A recorded answer: a `TIME_WAIT` from 127.0.0.1:48084 to 127.0.0.1:19293, with 59.9 s left.
    fn time_wait() -> Vec<u8> {
        let mut bytes = vec![2, 6, 3, 0];
        bytes.extend(48084_u16.to_be_bytes());
        bytes.extend(19293_u16.to_be_bytes());
        for _ in 0..2 {
            bytes.extend([127, 0, 0, 1]);
            bytes.extend([0; 12]);
        }
        bytes.extend([0; 4]);
        bytes.extend(0x1_0000_0007_u64.to_ne_bytes());
        for number in [59_900_u32, 0, 0, 0, 0] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn mini_socket_has_no_user_and_a_time_left() {
        let row = row(&time_wait(), 9).expect("a row");
        assert_eq!(row.tuple.local.to_string(), "127.0.0.1:48084");
        assert_eq!(row.tuple.remote.to_string(), "127.0.0.1:19293");
        assert_eq!((row.state, row.timer, row.expires_ms), (TcpState::TimeWait, Timer::TimeWait, 59_900));
        assert_eq!((row.cookie, row.netns), (0x1_0000_0007, 9));
        assert_eq!(row.uid, None, "the kernel says 0, which is not root");
        assert!(row.is_mini());
    }

    #[test]
    fn user_of_a_full_socket_is_kept_even_if_it_is_root() {
        let mut bytes = time_wait();
        bytes[1] = 8;
        bytes[2] = 0;
        assert_eq!(row(&bytes, 9).expect("a row").uid, Some(0));
    }

    /// A message of this kind, with a number and nothing else.
    fn message(kind: u16, code: i32) -> Vec<u8> {
        let mut bytes = 36_u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(code.to_ne_bytes());
        bytes.extend([0; 16]);
        bytes
    }

    #[test]
    fn error_of_the_kernel_is_an_error() {
        let error = messages(&message(NLMSG_ERROR, -1), |_| ()).expect_err("EPERM");
        assert_eq!(error.raw_os_error(), Some(1));
        assert!(messages(&message(NLMSG_ERROR, 0), |_| ()).expect("an acknowledgement"));
    }

    #[test]
    fn dump_that_failed_is_no_host_without_sockets() {
        let error = messages(&message(NLMSG_DONE, -2), |_| ()).expect_err("ENOENT");
        assert!(is_missing(&error), "{error}");
        assert!(!messages(&message(NLMSG_DONE, 0), |_| ()).expect("a dump"));
        assert!(messages(&message(NLMSG_DONE, i32::MIN), |_| ()).is_err());
    }

    #[test]
    fn only_a_kernel_without_the_module_is_one_without_dumps() {
        for (code, missing) in [(2, true), (95, true), (93, true), (1, false), (105, false)] {
            assert_eq!(is_missing(&io::Error::from_raw_os_error(code)), missing, "{code}");
        }
    }

    #[test]
    fn attribute_that_is_not_whole_is_none() {
        let mut bytes = time_wait();
        bytes.extend([5, 0, 8, 0, 3, 0, 0, 0]);
        bytes.extend([9, 0, 2, 0, 1, 2]);
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found, [(8, &[3_u8][..])]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = row(&bytes, 0);
            let _ = attributes(&bytes).count();
            let _ = messages(&bytes, |payload| { let _ = row(payload, 0); });
        }
    }
}
