//! A packet that came in and is answered by a reset: its addresses where there is no socket, and how much it carried.

use tcpstate_common::{
    Event,
    wire::{AF_INET, AF_INET6, about},
};

use crate::{
    numbers,
    read::{Read, Untyped, address, at},
    sock::netns,
};

/// The SYN bit among the flags of a TCP header (RFC 9293 section 3.1), and where these are.
const SYN: u8 = 1 << 1;
const FLAGS: usize = 13;
/// Where the length of a TCP header stands, in the upper four bits, in words of four bytes.
const DATA_OFFSET: usize = 12;

/// Where the headers of a received `struct sk_buff` begin: IP, and TCP.
fn headers(skb: *const u8) -> (*const u8, *const u8) {
    let head = address::<Untyped, _>(skb, numbers::SKB_HEAD);
    let ip = head.wrapping_add(usize::from(Untyped::field::<u16, _>(skb, numbers::SKB_NETWORK_HEADER)));
    let tcp = head.wrapping_add(usize::from(Untyped::field::<u16, _>(skb, numbers::SKB_TRANSPORT_HEADER)));
    (ip, tcp)
}

/// Bytes of data in a received `struct sk_buff`: what the length of the packet (RFC 791 section 3.1, RFC 8200 section 3)
/// leaves beside the headers.
pub(crate) fn payload(skb: *const u8) -> u32 {
    let (ip, tcp) = headers(skb);
    let of_tcp = u32::from(at::<u8>(tcp.wrapping_add(DATA_OFFSET)) >> 4) * 4;
    let first = at::<u8>(ip);
    let rest = if first >> 4 == 6 {
        u32::from(u16::from_be(at(ip.wrapping_add(4))))
    } else {
        u32::from(u16::from_be(at(ip.wrapping_add(2)))).saturating_sub(u32::from(first & 15) * 4)
    };
    rest.saturating_sub(of_tcp)
}

/// Fills in the addresses from a received `struct sk_buff`: its destination is the local end. Returns what is known
/// of the packet, in bits of [`about`].
pub(crate) fn describe(skb: *const u8, event: &mut Event) -> u32 {
    if skb.is_null() {
        return 0;
    }
    let (ip, tcp) = headers(skb);
    // RFC 791 and RFC 8200: the version is the first four bits.
    if at::<u8>(ip) >> 4 == 6 {
        event.family = AF_INET6;
        event.daddr = at(ip.wrapping_add(8));
        event.saddr = at(ip.wrapping_add(24));
    } else {
        event.family = AF_INET;
        event.daddr[..4].copy_from_slice(&at::<[u8; 4]>(ip.wrapping_add(12)));
        event.saddr[..4].copy_from_slice(&at::<[u8; 4]>(ip.wrapping_add(16)));
    }
    event.dport = u16::from_be(at(tcp));
    event.sport = u16::from_be(at(tcp.wrapping_add(2)));
    if event.netns == 0 {
        let dev = address::<Untyped, _>(skb, numbers::SKB_DEV);
        if !dev.is_null() {
            event.netns = netns::<Untyped>(address::<Untyped, _>(dev, numbers::DEV_NET));
        }
    }
    if at::<u8>(tcp.wrapping_add(FLAGS)) & SYN == 0 { about::PACKET } else { about::PACKET | about::SYN }
}
