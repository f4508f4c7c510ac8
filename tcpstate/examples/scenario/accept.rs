//! Listeners: their owners do not accept, accept too slowly, cannot accept, or are flooded.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    kit::{Part, aside, backlog, descriptor_limit, is_errno, netstat, option, say, stands, to_blame},
    packet,
    talk::{self, Manners},
};

/// A server whose accepting thread starts to wait for something that never comes.
pub(crate) fn stalled_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    backlog(&listener, part.dice.between(40, 400))?;
    let healthy = part.dice.between(2, 8);
    // The queue to the next stage is bounded, and its reader has ended up in a loop.
    let (queue, jobs) = mpsc::sync_channel::<TcpStream>(1);
    thread::spawn(move || {
        for job in jobs.iter().take(usize::try_from(healthy).unwrap_or(0)) {
            aside(move || talk::serve(&job, Manners::default()).map(drop));
        }
        thread::park();
    });
    for stream in listener.incoming() {
        let _ = queue.send(stream?);
    }
    Ok(())
}

/// A server that accepts what has come together every now and then: its queue is never empty for long, and moves.
pub(crate) fn leisurely_acceptor(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    backlog(&listener, 256)?;
    stands();
    for stream in listener.incoming() {
        let stream = stream?;
        aside(move || talk::serve(&stream, Manners::default()).map(drop));
        part.dice.pause(50, 250);
    }
    Ok(())
}

/// A server with a short backlog that does the whole work between two accepts: `every=MS` on average.
pub(crate) fn slow_acceptor(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    backlog(&listener, part.number("backlog", 1))?;
    say_when_overflowing();
    let every = part.number("every", 1_500);
    for stream in listener.incoming() {
        let stream = stream?;
        part.dice.pause(every / 2, every * 3 / 2);
        // A client may have given up.
        let _ = talk::serve_one(&stream);
    }
    Ok(())
}

/// A server that may have `limit=N` descriptors: where none is left it logs the error of `accept()`, and tries again.
pub(crate) fn crowded_server(part: &mut Part) -> io::Result<()> {
    descriptor_limit(part.number("limit", 32))?;
    let listener = part.listen()?;
    backlog(&listener, part.dice.between(4, 16))?;
    to_blame(&listener);
    let mut failed = 0;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                to_blame(&stream);
                aside(move || talk::serve(&stream, Manners::default()).map(drop));
            }
            Err(error) if is_errno(&error, libc::EMFILE) => {
                failed += 1;
                if failed == 2 {
                    stands();
                }
                part.dice.pause(50, 200);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Says that the signature stands when connections have been dropped for want of room twice.
fn say_when_overflowing() {
    let before = netstat("ListenOverflows");
    aside(move || {
        while netstat("ListenOverflows") < before + 2 {
            thread::sleep(Duration::from_millis(100));
        }
        stands();
        Ok(())
    });
}

/// A server that wants to be woken for data only (`TCP_DEFER_ACCEPT`), with a short backlog.
pub(crate) fn deferring_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    option(&listener, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &60_i32)?;
    backlog(&listener, part.number("backlog", 64))?;
    let every = part.number("every", 0);
    let before = netstat("EmbryonicRsts");
    let mut said = false;
    for stream in listener.incoming() {
        let stream = stream?;
        part.dice.pause(every / 2, every * 3 / 2);
        let _ = talk::serve_one(&stream);
        if !said && netstat("EmbryonicRsts") > before + 3 {
            said = true;
            stands();
        }
    }
    Ok(())
}

/// So many clients at a time (`size=N`) that ask for one thing each, again and again; `patience=MS` for the answer.
pub(crate) fn crowd(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let patience = part.time("patience", 8_000);
    for _ in 0..part.number("size", 10) {
        let mut dice = part.dice.split();
        thread::spawn(move || {
            loop {
                dice.pause(50, 400);
                let ask = || {
                    let stream = TcpStream::connect_timeout(&to, patience)?;
                    stream.set_read_timeout(Some(patience))?;
                    talk::ask(&stream, 100)?;
                    // It would ask again in a while.
                    thread::sleep(Duration::from_millis(200));
                    Ok::<(), io::Error>(())
                };
                let _ = ask();
            }
        });
    }
    part.stay()
}

/// Clients that come together (`size=N`), connect, think, and ask all at once; every few seconds.
pub(crate) fn bursts(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let size = part.number("size", 10);
    loop {
        let think = Duration::from_millis(part.dice.between(200, 500));
        for _ in 0..size {
            aside(move || {
                let stream = TcpStream::connect_timeout(&to, Duration::from_millis(800))?;
                stream.set_read_timeout(Some(Duration::from_secs(2)))?;
                thread::sleep(think);
                talk::ask(&stream, 100)
            });
        }
        part.dice.pause(2_000, 3_500);
    }
}

/// Clients that connect and say nothing for a long time; `size=N`, or a few. They come within about `within=MS`.
pub(crate) fn silent_clients(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let few = part.dice.between(5, 12);
    let size = part.number("size", few);
    let apart = part.number("within", 0) / size;
    let mut clients = Vec::new();
    for _ in 0..size {
        part.dice.pause(0, 2 * apart);
        clients.push(TcpStream::connect(to)?);
    }
    stands();
    part.stay()
}

/// Sends SYNs with the addresses of others (`from=IP` and its neighbours), `every=MS`: nobody answers the SYN+ACKs.
/// With `broadcast=IP` they are addressed to that.
pub(crate) fn syn_sender(part: &mut Part) -> io::Result<()> {
    let SocketAddr::V4(to) = part.server()? else { return Err(io::Error::other("only IPv4")) };
    let from: Ipv4Addr = part.word("from").and_then(|ip| ip.parse().ok()).unwrap_or(Ipv4Addr::LOCALHOST);
    let target = part.word("broadcast").and_then(|ip| ip.parse().ok()).unwrap_or(*to.ip());
    let every = part.number("every", 25);
    // SAFETY: plain system call; the descriptor is ours alone.
    let raw = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    option(&raw, libc::SOL_SOCKET, libc::SO_BROADCAST, &1_i32)?;
    say("ready");
    let neighbours = u32::try_from(part.dice.between(1, 4)).unwrap_or(1);
    loop {
        let source = Ipv4Addr::from(
            u32::from(from) + u32::try_from(part.dice.between(0, neighbours.into())).unwrap_or(0),
        );
        let source_port = u16::try_from(part.dice.between(1024, 65_535)).unwrap_or(1024);
        let sequence = u32::try_from(part.dice.between(0, u32::MAX.into())).unwrap_or(0);
        packet::send_syn(raw.as_raw_fd(), (source, source_port), (target, to.port()), sequence)?;
        part.dice.pause(every / 2, every * 3 / 2);
    }
}

/// Says that the signature stands when requests wait for their last ACK and cookies are sent instead of more.
pub(crate) fn flooded_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    backlog(&listener, 16)?;
    aside(|| {
        while netstat("TCPReqQFullDoCookies") < 3 {
            thread::sleep(Duration::from_millis(100));
        }
        stands();
        Ok(())
    });
    for stream in listener.incoming() {
        let stream = stream?;
        aside(move || talk::serve(&stream, Manners::default()).map(drop));
    }
    Ok(())
}
