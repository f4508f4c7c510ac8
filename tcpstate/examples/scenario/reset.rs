//! Programs that reset connections, or are reset.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    descriptors,
    kit::{Part, aside, backlog, is_errno, linger_zero, option, say, stands},
    talk,
};

/// `TCP_REPAIR` (`include/uapi/linux/tcp.h`): a socket in repair mode goes without a word.
const TCP_REPAIR: i32 = 19;

/// A server that refuses uploads by their head, and closes with the body unread.
pub(crate) fn impatient_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let enough = part.dice.between(4, 9);
    let mut refused = 0;
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.read_exact(&mut [0; 16])?;
        // What is not read is there by now.
        part.dice.pause(20, 120);
        let _ = stream.write_all(b"413 0\n");
        drop(stream);
        refused += 1;
        if refused == enough {
            stands();
        }
    }
    Ok(())
}

/// Runs a worker that reads nothing of what it is sent, and kills it every few seconds.
pub(crate) fn killer(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    stands();
    loop {
        let seconds = part.dice.between(2, 4);
        let worker = descriptors::fork(|| {
            let kept: Vec<_> = listener.incoming().collect();
            drop(kept);
            Ok(())
        })?;
        say(&format!("pid {worker}"));
        thread::sleep(Duration::from_secs(seconds));
        // SAFETY: takes numbers only; the status is not wanted.
        unsafe {
            libc::kill(worker, libc::SIGKILL);
            libc::waitpid(worker, std::ptr::null_mut(), 0);
        }
    }
}

/// A client that ends each conversation with a RST, to be rid of `TIME_WAIT`. With `mute` it says nothing before,
/// as a load balancer's check.
pub(crate) fn aborter(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let enough = part.dice.between(4, 9);
    let every = part.number("every", 400);
    let mut done = 0;
    loop {
        let stream = TcpStream::connect(to)?;
        linger_zero(&stream)?;
        if !part.has("mute") {
            talk::ask(&stream, 500)?;
        }
        drop(stream);
        done += 1;
        if done == enough {
            stands();
        }
        part.dice.pause(every / 2, every * 3 / 2);
    }
}

/// A server that is restarted again and again, by itself: it closes its listener with connections in the queue.
pub(crate) fn restarting_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen_quietly()?;
    let address = listener.local_addr()?;
    drop(listener);
    let mut rounds = 0;
    loop {
        let listener = TcpListener::bind(address)?;
        backlog(&listener, 64)?;
        if rounds == 0 {
            say(&format!("at {address}"));
        }
        // It serves some, and does not take any more while it writes its state.
        listener.set_nonblocking(true)?;
        let until = Instant::now() + Duration::from_millis(part.dice.between(500, 1_500));
        while Instant::now() < until {
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(false)?;
                let _ = talk::serve_one(&stream);
                // The client closes first, so that the address is free at once.
                let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
                let _ = (&stream).read(&mut [0; 8]);
            }
            part.dice.pause(5, 30);
        }
        part.dice.pause(400, 900);
        drop(listener);
        rounds += 1;
        if rounds == 2 {
            stands();
        }
    }
}

/// A client with the wrong port in its configuration, or whose server is down.
pub(crate) fn refused_client(part: &mut Part) -> io::Result<()> {
    // The port was somebody's a moment ago.
    let listener = part.listen_quietly()?;
    let to = listener.local_addr()?;
    drop(listener);
    let every = part.number("every", 250);
    let enough = part.dice.between(5, 12);
    let mut refused = 0;
    loop {
        if TcpStream::connect(to).is_err_and(|error| is_errno(&error, libc::ECONNREFUSED)) {
            refused += 1;
            if refused == enough {
                stands();
            }
        }
        part.dice.pause(every / 2, every * 3 / 2);
    }
}

/// A client that tries `::1` first, where nobody listens, and then 127.0.0.1, where its server is.
pub(crate) fn fallback_client(part: &mut Part) -> io::Result<()> {
    let server = part.server()?;
    stands();
    loop {
        let places = [
            SocketAddr::from((Ipv6Addr::LOCALHOST, server.port())),
            (Ipv4Addr::LOCALHOST, server.port()).into(),
        ];
        talk::ask(&TcpStream::connect(&places[..])?, 200)?;
        part.dice.pause(300, 900);
    }
}

/// Waits until a service is there, by trying; starts the service after a while, and again with another one.
pub(crate) fn waiting_probe(part: &mut Part) -> io::Result<()> {
    stands();
    loop {
        let listener = part.listen_quietly()?;
        let to = listener.local_addr()?;
        drop(listener);
        for _ in 0..part.dice.between(2, 4) {
            let _ = TcpStream::connect(to);
            part.dice.pause(500, 1_000);
        }
        let listener = TcpListener::bind(to)?;
        let client = TcpStream::connect(to)?;
        drop(listener.accept()?);
        drop(client);
        part.dice.pause(8_000, 12_000);
    }
}

/// Clients that ask at an interval that is the server's idle timeout, give or take a moment, and do not look whether
/// the connection is still there: `every=MS`, `size=N`.
pub(crate) fn metronome(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let every = part.number("every", 2_000);
    let lost = Arc::new(AtomicUsize::new(0));
    let enough = part.dice.size(3, 6);
    for _ in 0..part.number("size", 6) {
        let mut dice = part.dice.split();
        let lost = Arc::clone(&lost);
        thread::spawn(move || {
            loop {
                let Ok(stream) = TcpStream::connect(to) else { return };
                while talk::ask(&stream, 200).is_ok() {
                    let early = dice.between(0, 2_500);
                    // A server's poll() may be late by half a percent (`select_estimate_accuracy` in fs/select.c).
                    let late = dice.between(0, 4_000 + every * 6);
                    thread::sleep(Duration::from_micros(every * 1_000 + late - early));
                }
                if lost.fetch_add(1, Ordering::Relaxed) + 1 == enough {
                    stands();
                }
            }
        });
    }
    part.stay()
}

/// Clients that connect, and whose machine is gone one day: nobody hears of it.
pub(crate) fn vanishing_clients(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let size = part.dice.between(3, 6);
    let clients: io::Result<Vec<_>> = (0..size).map(|_| TcpStream::connect(to)).collect();
    let clients = clients?;
    for client in &clients {
        talk::ask(client, 100)?;
    }
    part.dice.pause(500, 1_500);
    for client in clients {
        option(&client, libc::IPPROTO_TCP, TCP_REPAIR, &1_i32)?;
    }
    say("gone");
    part.stay()
}

/// A server whose machine is gone when its clients have sent their end: it never closes, and nobody hears of it.
pub(crate) fn vanishing_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        aside(move || {
            talk::serve_one(&stream)?;
            while stream.read(&mut [0; 64])? > 0 {}
            // A delayed ACK is sent by then.
            thread::sleep(Duration::from_millis(300));
            option(&stream, libc::IPPROTO_TCP, TCP_REPAIR, &1_i32)
        });
    }
    Ok(())
}

/// A server that has something to tell its clients after a long silence: `idle=MS`, then one after the other.
pub(crate) fn rare_speaker(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let idle = part.time("idle", 18_000);
    let mut steps = 0;
    for stream in listener.incoming() {
        let mut stream = stream?;
        steps += 1;
        let more = Duration::from_millis(part.dice.between(300, 1_500) * steps);
        let first = steps == 1;
        aside(move || {
            talk::serve_one(&stream)?;
            thread::sleep(idle + more);
            stream.write_all(b"news\n")?;
            if first {
                stands();
            }
            let _ = stream.read(&mut [0])?;
            Ok(())
        });
    }
    Ok(())
}

/// Runs a server that is killed and started again on the same port, `every=MS`.
pub(crate) fn crashing_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let every = part.number("every", 8_000);
    stands();
    loop {
        // The one that listens stays, so that clients find somebody at once.
        let worker = Worker::start(&listener)?;
        say(&format!("pid {}", worker.0.id()));
        part.dice.pause(every / 2, every * 3 / 2);
    }
}

/// Runs a server that is killed at the order to go on, and started again at once.
pub(crate) fn restarted_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let worker = Worker::start(&listener)?;
    say(&format!("pid {}", worker.0.id()));
    part.wait_for_order();
    drop(worker);
    let worker = Worker::start(&listener)?;
    say(&format!("pid {}", worker.0.id()));
    stands();
    part.stay()
}

/// A child that serves; killed when this goes.
struct Worker(Child);

impl Worker {
    fn start(listener: &TcpListener) -> io::Result<Self> {
        use std::os::{fd::AsRawFd, unix::process::CommandExt};
        descriptors::keep_on_exec(listener)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["activated", "0", &format!("fd={}", listener.as_raw_fd())]).stdin(Stdio::inherit());
        // SAFETY: prctl is safe between fork and exec.
        unsafe { command.pre_exec(descriptors::die_with_parent) };
        command.spawn().map(Self)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Clients with connections that they keep, which connect again when one is lost: `size=N`.
pub(crate) fn stubborn_clients(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    for _ in 0..part.number("size", 4) {
        let mut dice = part.dice.split();
        thread::spawn(move || {
            loop {
                if let Ok(stream) = TcpStream::connect(to) {
                    while talk::ask(&stream, 100).is_ok() {
                        dice.pause(500, 2_000);
                    }
                }
                dice.pause(200, 600);
            }
        });
    }
    part.stay()
}

/// Clients that upload without being asked how much: `every=MS`.
pub(crate) fn poster(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let every = part.number("every", 500);
    loop {
        let body = vec![b'p'; part.dice.size(500, 9_000)];
        let post = || {
            let mut stream = TcpStream::connect(to)?;
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
            stream.write_all(format!("POST {}\n", body.len()).as_bytes())?;
            stream.write_all(&body)?;
            talk::hear(&stream)
        };
        // It is refused.
        let _ = post();
        part.dice.pause(every / 2, every * 3 / 2);
    }
}
