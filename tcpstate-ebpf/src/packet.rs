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

/// The SYN and the FIN bit among the flags of a TCP header (RFC 9293 section 3.1), and where these are.
const SYN: u8 = 1 << 1;
const FIN: u8 = 1;
const FLAGS: usize = 13;

/// Bytes of data in a received `struct sk_buff`: what TCP's own block in it says (`tcp_v4_fill_cb`, `net/ipv4/tcp_ipv4.c`),
/// where SYN and FIN take a sequence number each (RFC 9293 section 3.4).
pub(crate) fn payload(skb: *const u8) -> u32 {
    let block = skb.wrapping_add(numbers::SKB_CB.load() as usize);
    let first = Untyped::field::<u32, _>(block, numbers::CB_SEQ);
    let end = Untyped::field::<u32, _>(block, numbers::CB_END_SEQ);
    let flags = Untyped::field::<u8, _>(block, numbers::CB_TCP_FLAGS);
    end.wrapping_sub(first).wrapping_sub((flags & (SYN | FIN)).count_ones())
}

/// Fills in the addresses from a received `struct sk_buff`: its destination is the local end. Returns what is known
/// of the packet, in bits of [`about`].
pub(crate) fn describe(skb: *const u8, event: &mut Event) -> u32 {
    if skb.is_null() {
        return 0;
    }
    let head = address::<Untyped, _>(skb, numbers::SKB_HEAD);
    let ip = head.wrapping_add(usize::from(Untyped::field::<u16, _>(skb, numbers::SKB_NETWORK_HEADER)));
    let tcp = head.wrapping_add(usize::from(Untyped::field::<u16, _>(skb, numbers::SKB_TRANSPORT_HEADER)));
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
