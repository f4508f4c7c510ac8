//! A SYN, byte by byte (RFC 791, RFC 9293), for a raw socket.

use std::{io, net::Ipv4Addr, os::fd::RawFd};

const LENGTH: u16 = 40;

/// # Errors
/// When the kernel refuses it.
pub(crate) fn send_syn(
    raw: RawFd,
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    sequence: u32,
) -> io::Result<()> {
    let packet = syn(from, to, sequence);
    let address = libc::sockaddr_in {
        sin_family: 2,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.0.octets()) },
        sin_zero: [0; 8],
    };
    let size = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
    // SAFETY: packet and address live through the call, and the sizes are their own.
    let sent = unsafe {
        libc::sendto(raw, packet.as_ptr().cast(), packet.len(), 0, (&raw const address).cast(), size)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn syn(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), sequence: u32) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(from.1.to_be_bytes());
    tcp.extend(to.1.to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    // No acknowledgement; five words long; SYN; a window; no checksum yet; nothing urgent.
    tcp.extend([0, 0, 0, 0, 0x50, 0x02, 0xfa, 0xf0, 0, 0, 0, 0]);
    let mut pseudo = Vec::new();
    pseudo.extend(from.0.octets());
    pseudo.extend(to.0.octets());
    pseudo.extend([0, 6, 0, 20]);
    pseudo.extend(&tcp);
    tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let mut packet = vec![0x45, 0];
    packet.extend(LENGTH.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    // The kernel fills in the header's checksum.
    packet.extend(tcp);
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
