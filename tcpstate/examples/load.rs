//! A load for benchmarks: connections over loopback, as many as the machine makes, or many that stay. Bounded in
//! time and number, and only between addresses of 127.0.0.0/8; run it in a network namespace of its own.
//!
//! `load churn CLOSER THREADS SECONDS` makes connections with so many threads, closed by the `client`, by the
//! `server`, or with a `rst`, and prints how many there were, in how many ns, and how many in all: each thread
//! still ends the connection that it is at.
//!
//! `load park STATE COUNT` holds so many connections of which one end is in that state (`established`,
//! `close-wait` or `time-wait`), prints `ready`, and ends when its input does.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit, setrlimit};

/// No run takes longer, whatever it was told.
const MAX_SECONDS: u64 = 600;
/// No run holds more connections, whatever it was told.
const MAX_PARKED: u32 = 1_000_000;
/// Connections that one process holds: both ends are its own, and descriptors are limited, often to 20,000.
const PARKED_PER_PROCESS: u32 = 9_000;
/// Destination addresses: so many times the ephemeral ports.
const DESTINATIONS: u32 = 250;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["churn", closer, count, seconds] => churn(closer, count, seconds),
        ["park", state, count] => park(state, count),
        ["hold", state, first, count] => hold(state, first, count),
        _ => Err("usage: load churn client|server|rst THREADS SECONDS | load park STATE COUNT".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn say(line: &str) -> Result<(), String> {
    let mut out = io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(text)
}

/// 127.1.0.1 and on.
fn destination(number: u32, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x7f01_0001 + number % DESTINATIONS), port)
}

fn churn(closer: &str, count: &str, seconds: &str) -> Result<(), String> {
    let closer = Closer::of(closer)?;
    let count: u32 = count.parse().map_err(text)?;
    let seconds: u64 = seconds.parse().map_err(text)?;
    let stop = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    for _ in 0..count {
        let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(text)?;
        threads.push(thread::spawn(move || {
            let port = listener.local_addr()?.port();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                closer.connect(&listener, destination(number, port))?;
                made.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, io::Error>(())
        }));
    }
    let begun = Instant::now();
    thread::sleep(Duration::from_secs(seconds.min(MAX_SECONDS)));
    let (connections, took) = (made.load(Ordering::Relaxed), begun.elapsed());
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")?.map_err(text)?;
    }
    say(&format!("{connections} {} {}", took.as_nanos(), made.load(Ordering::Relaxed)))
}

/// Who ends a connection, and how.
#[derive(Clone, Copy)]
enum Closer {
    Client,
    Server,
    Reset,
}

impl Closer {
    fn of(name: &str) -> Result<Self, String> {
        match name {
            "client" => Ok(Self::Client),
            "server" => Ok(Self::Server),
            "rst" => Ok(Self::Reset),
            other => Err(format!("{other} closes nothing here: client, server or rst does")),
        }
    }

    /// One connection from beginning to end. One thread has both ends, so that it never waits for another: what
    /// takes time is the kernel's TCP.
    fn connect(self, listener: &TcpListener, to: SocketAddrV4) -> io::Result<()> {
        let client = TcpStream::connect(to)?;
        let (server, _) = listener.accept()?;
        let (first, mut second) = match self {
            Self::Client => (client, server),
            Self::Server => (server, client),
            Self::Reset => {
                linger_zero(&client)?;
                (client, server)
            }
        };
        drop(first);
        // The end of the stream, or the reset.
        let _ = second.read(&mut [0]);
        Ok(())
    }
}

fn linger_zero(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the value lives through the call, and the size is its own.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            libc::socklen_t::try_from(size_of_val(&linger)).unwrap_or(0),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Shares the connections among as many processes as it takes.
fn park(state: &str, count: &str) -> Result<(), String> {
    let count: u32 = count.parse().map_err(text)?;
    let count = count.min(MAX_PARKED);
    let program = std::env::current_exe().map_err(text)?;
    let mut holders = Vec::new();
    let mut first = 0;
    while first < count {
        let share = PARKED_PER_PROCESS.min(count - first);
        let child = Command::new(&program)
            .args(["hold", state, &first.to_string(), &share.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(text)?;
        holders.push(Holder(child));
        first += share;
    }
    for holder in &mut holders {
        let mut line = [0; 6];
        let stdout = holder.0.stdout.as_mut().ok_or("no output")?;
        stdout.read_exact(&mut line).map_err(|_| "a process could not hold its connections")?;
    }
    say("ready")?;
    io::copy(&mut io::stdin(), &mut io::sink()).map_err(text)?;
    Ok(())
}

/// A process that holds connections until this goes.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Takes as many descriptors as this process may have: most systems give a thousand to those who do not ask.
fn allow_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where they are too few, opening a socket says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn hold(state: &str, first: &str, count: &str) -> Result<(), String> {
    let first: u32 = first.parse().map_err(text)?;
    let count: u32 = count.parse().map_err(text)?;
    allow_descriptors();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(text)?;
    let port = listener.local_addr().map_err(text)?.port();
    let mut kept = Vec::new();
    for number in first..first + count {
        let client = TcpStream::connect(destination(number, port)).map_err(text)?;
        let (mut server, _) = listener.accept().map_err(text)?;
        match state {
            "established" => kept.extend([client, server]),
            // The client stays too, so that nothing of this ends by itself.
            "close-wait" => {
                client.shutdown(Shutdown::Write).map_err(text)?;
                let _ = server.read(&mut [0]).map_err(text)?;
                kept.extend([client, server]);
            }
            "time-wait" => {
                drop(client);
                let _ = server.read(&mut [0]).map_err(text)?;
            }
            other => return Err(format!("{other} cannot be held")),
        }
    }
    say("ready")?;
    io::copy(&mut io::stdin(), &mut io::sink()).map_err(text)?;
    drop(kept);
    Ok(())
}
