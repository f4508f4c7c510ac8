//! Clients and their ephemeral ports: all used up, many waiting, and one that connects to itself.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    kit::{Part, is_errno, netstat, stands, to_blame},
    talk,
};

/// A client that makes a connection for each job until there is no port left, and goes on trying. It closes them
/// again, or (`keeps`) does not.
pub(crate) fn exhauster(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let mut kept = Vec::new();
    let mut failures = 0;
    loop {
        match TcpStream::connect(to) {
            Ok(stream) if part.has("keeps") => {
                talk::ask(&stream, 50)?;
                to_blame(&stream);
                kept.push(stream);
            }
            Ok(stream) => talk::ask(&stream, 50)?,
            Err(error) if is_errno(&error, libc::EADDRNOTAVAIL) => {
                failures += 1;
                if failures == 2 {
                    stands();
                }
                part.dice.pause(100, 400);
            }
            Err(error) => return Err(error),
        }
        part.dice.pause(1, 8);
    }
}

/// A client with more connections than there are ports, to many servers: none of them takes a large part.
pub(crate) fn many_destinations(part: &mut Part) -> io::Result<()> {
    let SocketAddr::V4(to) = part.server()? else { return Err(io::Error::other("only IPv4")) };
    let share = part.dice.between(20, 30);
    let mut kept = Vec::new();
    for number in 1..=part.dice.between(12, 16) {
        let ip = Ipv4Addr::new(127, 3, 0, u8::try_from(number).unwrap_or(1));
        for _ in 0..share {
            let stream = TcpStream::connect((ip, to.port()))?;
            talk::ask(&stream, 50)?;
            kept.push(stream);
        }
    }
    stands();
    part.stay()
}

/// A client without a session: a connection for each request, which it closes first. `burst=N` at once, then
/// `every=MS`.
pub(crate) fn churner(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let every = part.number("every", 40);
    let burst = part.number("burst", 0);
    let mut made = 0;
    loop {
        talk::ask(&TcpStream::connect(to)?, 120)?;
        made += 1;
        if made == burst {
            stands();
        }
        if made < burst {
            part.dice.pause(2, 12);
        } else {
            part.dice.pause(every / 2, every * 3 / 2);
        }
    }
}

/// The same, which says that the signature stands when the kernel has thrown away waiting sockets.
pub(crate) fn overflowing_churner(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let before = netstat("TCPTimeWaitOverflow");
    let mut said = false;
    loop {
        talk::ask(&TcpStream::connect(to)?, 120)?;
        if !said && netstat("TCPTimeWaitOverflow") > before + 10 {
            said = true;
            stands();
        }
        part.dice.pause(20, 150);
    }
}

/// A client whose server is down and has a port that the kernel gives to clients: it tries until it meets itself.
pub(crate) fn self_connector(part: &mut Part) -> io::Result<()> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut range = range.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
    let (low, high) = (range.next().unwrap_or(32_768), range.next().unwrap_or(60_999));
    // The kernel tries ports of one parity first.
    let chosen = low + 2 * part.dice.between(0, (high - low) / 2);
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(chosen).unwrap_or(0)));
    loop {
        match TcpStream::connect(to) {
            Ok(stream) if stream.local_addr()? == stream.peer_addr()? => {
                to_blame(&stream);
                stands();
                part.stay()
            }
            _ => thread::sleep(Duration::from_micros(part.dice.between(200, 1_500))),
        }
    }
}
