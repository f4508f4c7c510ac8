//! Answers of `sock_diag`, with all their attributes.

use crate::{
    fuzz::fuzz,
    observe::{
        evidence::tcp_info::TcpInfo,
        sock_diag::{messages, row},
    },
};

/// `struct nlmsghdr` (`include/uapi/linux/netlink.h`) and a payload.
fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).expect("a short message");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `struct inet_diag_msg` of a connection, and attributes: shutdown, memory and `tcp_info`.
fn answer(family: u8, state: u8) -> Vec<u8> {
    let mut payload = vec![1; 72];
    (payload[0], payload[1], payload[2]) = (family, state, state % 5);
    for (number, length) in [(8_u16, 1_usize), (7, 36), (2, 248)] {
        payload.extend(u16::try_from(4 + length).expect("short").to_ne_bytes());
        payload.extend(number.to_ne_bytes());
        payload.resize(payload.len() + length.next_multiple_of(4), 3);
    }
    payload
}

fn seeds() -> Vec<Vec<u8>> {
    let answers =
        || (1..12).flat_map(|state| [message(20, &answer(2, state)), message(20, &answer(10, state))]);
    let whole = [
        answers().flatten().collect(),
        message(3, &0_i32.to_ne_bytes()),
        message(2, &(-2_i32).to_ne_bytes()),
    ];
    answers().chain(whole).collect()
}

#[test]
fn netlink() {
    fuzz("netlink", seeds(), |bytes| {
        drop(messages(bytes, |payload| drop(row(payload, 1))));
        drop(row(bytes, 1));
        let _ = TcpInfo::read(bytes);
    });
}
