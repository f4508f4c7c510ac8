//! Programs whose packets get lost, and programs that shut down without closing.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    kit::{Part, Told, aside, is_errno, option, say, stands, tcp_info, to_blame, wait_until},
    talk,
};

/// A server that asks idle connections whether they are there: after 2 s, four times, 3 s apart. So hasty is nobody
/// else; but no connection is gone before it has been looked up who holds it.
pub(crate) fn keepalive_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let quiet = part.has("quiet");
    for stream in listener.incoming() {
        let mut stream = stream?;
        option(&stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &1_i32)?;
        for (name, value) in [
            (libc::TCP_KEEPIDLE, 2_i32),
            (libc::TCP_KEEPINTVL, if quiet { 1 } else { 3 }),
            (libc::TCP_KEEPCNT, if quiet { 9 } else { 4 }),
        ] {
            option(&stream, libc::IPPROTO_TCP, name, &value)?;
        }
        aside(move || {
            talk::serve_one(&stream)?;
            if stream.read(&mut [0]).is_err() && !quiet {
                stands();
            }
            Ok(())
        });
    }
    Ok(())
}

/// A client that connects to where no answer comes from, with `size=N` connections, and goes on trying: it gives up
/// one after `patience=MS`. The signature stands when a SYN was sent three times, or (`unreachable=N`) when the kernel
/// has said so often that there is no way.
pub(crate) fn connector(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let patience = part.time("patience", 60_000);
    let unreachable = part.count("unreachable", 0);
    let (said, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..part.number("size", 2) {
        let (said, failed) = (Arc::clone(&said), Arc::clone(&failed));
        let mut dice = part.dice.split();
        thread::spawn(move || {
            loop {
                let Ok(socket) = begin(to) else {
                    dice.pause(200, 500);
                    continue;
                };
                let told = Told::of(TcpStream::from(socket));
                let begun = std::time::Instant::now();
                let alive = || tcp_info(told.0.as_raw_fd()).is_ok_and(|info| info.tcpi_state == SYN_SENT);
                while alive() && begun.elapsed() < patience {
                    thread::sleep(Duration::from_millis(100));
                    let tries = tcp_info(told.0.as_raw_fd()).map_or(0, |info| info.tcpi_retransmits);
                    if tries >= 2 && said.fetch_add(1, Ordering::Relaxed) == 0 {
                        stands();
                    }
                }
                let error = told.0.take_error().ok().flatten();
                if error.is_some_and(|error| is_errno(&error, libc::EHOSTUNREACH))
                    && failed.fetch_add(1, Ordering::Relaxed) + 1 == unreachable
                {
                    stands();
                }
                drop(told);
                dice.pause(200, 900);
            }
        });
    }
    part.stay()
}

/// Number of `SYN_SENT` in `tcpi_state`.
const SYN_SENT: u8 = 2;

/// Connects to one address after the other without waiting, and looks who answered after `patience=MS`.
pub(crate) fn scanner(part: &mut Part) -> io::Result<()> {
    let SocketAddr::V4(to) = part.server()? else { return Err(io::Error::other("only IPv4")) };
    let patience = part.time("patience", 2_000);
    let network = u32::from(*to.ip()) & 0xffff_ff00;
    stands();
    loop {
        let probes: Vec<_> = (10..250_u32)
            .filter_map(|host| {
                thread::sleep(Duration::from_millis(5));
                begin((Ipv4Addr::from(network + host), to.port()).into()).ok()
            })
            .collect();
        thread::sleep(patience);
        drop(probes);
    }
}

/// Starts to connect.
fn begin(to: SocketAddr) -> io::Result<OwnedFd> {
    let SocketAddr::V4(to) = to else { return Err(io::Error::other("only IPv4")) };
    // SAFETY: plain system calls on a descriptor that is ours; the address lives through the call.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = OwnedFd::from_raw_fd(fd);
        let address = libc::sockaddr_in {
            sin_family: 2,
            sin_port: to.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
            sin_zero: [0; 8],
        };
        let size = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
        if libc::connect(fd.as_raw_fd(), (&raw const address).cast(), size) != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINPROGRESS) {
                return Err(error);
            }
        }
        Ok(fd)
    }
}

/// A server that sends each client something `every=MS`.
pub(crate) fn heartbeat(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let every = part.number("every", 600);
    let said = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let mut stream = stream?;
        let (mut dice, said) = (part.dice.split(), Arc::clone(&said));
        let watched = stream.try_clone()?;
        to_blame(&stream);
        to_blame(&watched);
        aside(move || {
            talk::serve_one(&stream)?;
            loop {
                stream.write_all(b"beat\n")?;
                dice.pause(every / 2, every * 3 / 2);
            }
        });
        aside(move || {
            wait_until(|| tcp_info(watched.as_raw_fd()).is_ok_and(|info| info.tcpi_retransmits >= 3));
            if said.fetch_add(1, Ordering::Relaxed) == 0 {
                stands();
            }
            thread::park();
            Ok(())
        });
    }
    Ok(())
}

/// A client that asks once and listens from then on: `size=N` connections.
pub(crate) fn listener_client(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    for _ in 0..part.number("size", 3) {
        aside(move || {
            let mut stream = TcpStream::connect(to)?;
            talk::ask(&stream, 100)?;
            while stream.read(&mut [0; 4_096])? > 0 {}
            Ok(())
        });
    }
    // All of them have their answer by then.
    part.dice.pause(1_500, 2_000);
    say("ready");
    part.stay()
}

/// A server that closes its connections when it is told to. With `ended` it waits until its clients have sent their
/// end before it says `ready`; with `last=BYTES` it sends so much before it closes, as far as there is room.
pub(crate) fn closer(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let mut open = Vec::new();
    for stream in listener.incoming().take(part.count("size", 4)) {
        let stream = stream?;
        talk::serve_one(&stream)?;
        open.push(stream);
    }
    if part.has("ended") {
        for stream in &mut open {
            while stream.read(&mut [0; 64])? > 0 {}
        }
        // A delayed ACK is sent by then.
        thread::sleep(Duration::from_millis(300));
    }
    say("ready");
    part.wait_for_order();
    let last = part.count("last", 0);
    for mut stream in open {
        // Room comes as long as packets get through.
        stream.set_write_timeout(Some(Duration::from_millis(300)))?;
        let _ = stream.write_all(&vec![b'l'; last]);
    }
    stands();
    part.stay()
}

/// A client that asks, and says that it has nothing more to ask; it never closes. With `closes` it does.
pub(crate) fn asker(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let mut open = Vec::new();
    for _ in 0..part.count("size", 4) {
        let stream = TcpStream::connect(to)?;
        talk::ask(&stream, 100)?;
        open.push(stream);
    }
    if part.has("closes") {
        drop(open);
        stands();
    } else {
        say("ready");
    }
    part.stay()
}

/// A client that shuts its connections down after its last request, and believes that this closes them.
pub(crate) fn shutdown_client(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let mut believed_closed = Vec::new();
    let enough = part.dice.size(4, 9);
    loop {
        let stream = TcpStream::connect(to)?;
        talk::ask(&stream, 300)?;
        stream.shutdown(Shutdown::Write)?;
        to_blame(&stream);
        believed_closed.push(stream);
        if believed_closed.len() == enough {
            stands();
        }
        if believed_closed.len() >= 3 * enough {
            part.stay();
        }
        part.dice.pause(200, 900);
    }
}

/// A server that keeps what its clients have ended for a job that takes long, and closes then: `job=MS`.
pub(crate) fn long_job(part: &mut Part) -> io::Result<()> {
    let listener: TcpListener = part.listen()?;
    let job = part.time("job", 90_000);
    for stream in listener.incoming() {
        let stream = stream?;
        to_blame(&stream);
        aside(move || {
            talk::serve_one(&stream)?;
            let _ = (&stream).read(&mut [0; 8])?;
            thread::sleep(job);
            Ok(())
        });
    }
    Ok(())
}

/// A server that sends much to clients that take it slowly, and closes in the middle: the kernel sends the rest.
pub(crate) fn burst_closer(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    stands();
    for stream in listener.incoming() {
        let mut stream = stream?;
        let rest = vec![b'z'; part.dice.size(200_000, 900_000)];
        aside(move || {
            let _ = stream.read(&mut [0; 64])?;
            stream.set_nonblocking(true)?;
            let _ = stream.write(&rest)?;
            Ok(())
        });
    }
    Ok(())
}

/// Clients that take what they are sent, slowly, to the end: `size=N` at a time.
pub(crate) fn slow_takers(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    for _ in 0..part.number("size", 12) {
        let mut dice = part.dice.split();
        thread::spawn(move || {
            loop {
                let take = || {
                    let mut stream = TcpStream::connect(to)?;
                    stream.write_all(b"GET\n")?;
                    dice.pause(300, 1_200);
                    let mut room = vec![0; 65_536];
                    while stream.read(&mut room)? > 0 {
                        dice.pause(10, 80);
                    }
                    Ok::<(), io::Error>(())
                };
                let mut take = take;
                let _ = take();
            }
        });
    }
    part.stay()
}
