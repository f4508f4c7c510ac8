//! A program that does with TCP what its standard input says, one command a line, and answers each with one
//! line: the tests' real processes. `actor` alone runs where it is started; `actor netns` makes a network
//! namespace of its own first.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::Duration,
};

type Answer = Result<String, String>;

#[derive(Default)]
struct Actor {
    listeners: BTreeMap<String, TcpListener>,
    streams: BTreeMap<String, TcpStream>,
    raw: BTreeMap<String, OwnedFd>,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("netns") {
        enter_new_namespace();
    }
    let mut actor = Actor::default();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match actor.obey(&words) {
            Ok(text) => format!("ok {text}"),
            Err(text) => format!("error {text}"),
        };
        let mut out = io::stdout().lock();
        if writeln!(out, "{}", answer.trim_end()).and_then(|()| out.flush()).is_err() {
            break;
        }
    }
}

impl Actor {
    fn obey(&mut self, words: &[&str]) -> Answer {
        match words {
            // Only says that it is there, and where it belongs.
            ["hello"] => Ok(String::new()),
            ["listen", name, address] => {
                let listener = TcpListener::bind(address).map_err(text)?;
                let address = listener.local_addr().map_err(text)?;
                self.listeners.insert((*name).to_owned(), listener);
                Ok(address.to_string())
            }
            ["connect", name, address] => {
                let stream = TcpStream::connect(address).map_err(text)?;
                let local = stream.local_addr().map_err(text)?;
                self.streams.insert((*name).to_owned(), stream);
                Ok(local.to_string())
            }
            // Starts to connect and does not wait for the answer.
            ["begin", name, address] => {
                let (fd, local) = begin(address.parse().map_err(text)?)?;
                self.raw.insert((*name).to_owned(), fd);
                Ok(local)
            }
            ["accept", name, listener] => {
                let listener = self.listeners.get(*listener).ok_or("no such listener")?;
                let (stream, peer) = listener.accept().map_err(text)?;
                self.streams.insert((*name).to_owned(), stream);
                Ok(peer.to_string())
            }
            ["send", name, bytes] => {
                let bytes = vec![b'x'; bytes.parse().map_err(text)?];
                self.stream(name)?.write_all(&bytes).map_err(text)?;
                Ok(String::new())
            }
            ["recv", name, bytes] => {
                let mut buffer = vec![0; bytes.parse().map_err(text)?];
                let got = self.stream(name)?.read(&mut buffer).map_err(text)?;
                Ok(got.to_string())
            }
            ["shutdown", name, "both"] => {
                self.stream(name)?.shutdown(Shutdown::Both).map_err(text)?;
                Ok(String::new())
            }
            ["shutdown", name] => {
                self.stream(name)?.shutdown(Shutdown::Write).map_err(text)?;
                Ok(String::new())
            }
            ["linger0", name] => {
                let fd = self.stream(name)?.as_raw_fd();
                option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 })?;
                Ok(String::new())
            }
            // TCP_LINGER2: how long an orphan may stay in FIN_WAIT2; negative: not at all.
            ["linger2", name, seconds] => {
                let seconds: i32 = seconds.parse().map_err(text)?;
                option(self.stream(name)?.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_LINGER2, &seconds)?;
                Ok(String::new())
            }
            // An MPTCP listener: one socket of its own, and one subflow that is a TCP socket.
            ["mptcp"] => mptcp(),
            ["local", name] => Ok(self.stream(name)?.local_addr().map_err(text)?.to_string()),
            ["fd", name] => Ok(self.stream(name)?.as_raw_fd().to_string()),
            ["close", name] => {
                let had = self.streams.remove(*name).is_some()
                    | self.listeners.remove(*name).is_some()
                    | self.raw.remove(*name).is_some();
                if had { Ok(String::new()) } else { Err("nothing of that name".to_owned()) }
            }
            // A child that holds all descriptors and does nothing; ends with its parent.
            ["fork"] => fork(),
            ["sysctl", path, value] => {
                // Several values are written with a dash between them.
                std::fs::write(format!("/proc/sys/{path}"), value.replace('-', " ")).map_err(text)?;
                Ok(String::new())
            }
            // So many network namespaces, one after the other, each with a connection that outlives its use.
            ["namespaces", count] => {
                for _ in 0..count.parse().map_err(text)? {
                    enter_new_namespace();
                    let listener = TcpListener::bind("127.0.0.1:0").map_err(text)?;
                    let client = TcpStream::connect(listener.local_addr().map_err(text)?).map_err(text)?;
                    drop(listener.accept().map_err(text)?);
                    drop(client);
                }
                Ok(String::new())
            }
            ["serve", address] => serve(address),
            // Answers whatever comes, and closes what has been idle for so many milliseconds.
            ["serve", address, "idle", ms] => serve_until_idle(address, ms.parse().map_err(text)?),
            ["drive", address, seed, count] => {
                drive(address, seed.parse().map_err(text)?, count.parse().map_err(text)?)
            }
            // A number of connections of one sort, one after the other.
            ["make", address, order, count] => make(address, order, count.parse().map_err(text)?),
            // A number of connections at a time; the server closes first, and this end some milliseconds later.
            ["late", address, count, ms] => {
                late(address, count.parse().map_err(text)?, ms.parse().map_err(text)?)
            }
            _ => Err(format!("unknown command: {}", words.join(" "))),
        }
    }

    fn stream(&mut self, name: &str) -> Result<&mut TcpStream, String> {
        self.streams.get_mut(name).ok_or_else(|| "no such stream".to_owned())
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Serves in the background. The first byte of each connection says what to do with it.
fn serve(address: &str) -> Answer {
    let listener = TcpListener::bind(address).map_err(text)?;
    let address = listener.local_addr().map_err(text)?;
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming().flatten() {
            handle(stream, &mut kept);
        }
    });
    Ok(address.to_string())
}

fn serve_until_idle(address: &str, idle_ms: u64) -> Answer {
    let listener = TcpListener::bind(address).map_err(text)?;
    let address = listener.local_addr().map_err(text)?;
    let idle = Duration::from_millis(idle_ms);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(idle));
                let mut request = [0; 64];
                while let Ok(bytes @ 1..) = stream.read(&mut request) {
                    let _ = stream.write_all(&request[..bytes]);
                }
            });
        }
    });
    Ok(address.to_string())
}

fn handle(mut stream: TcpStream, kept: &mut Vec<TcpStream>) {
    let mut order = [0];
    if stream.read_exact(&mut order).is_err() {
        return;
    }
    match order[0] {
        // The client closes first.
        b'c' => drop(stream.read(&mut [0])),
        // The server closes first, and knows that it is done when the client has closed too.
        b's' => {
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut [0]);
        }
        // RST.
        b'r' => {
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            let _ = option(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &linger);
        }
        // The client half-closes, the server answers and closes.
        b'h' => {
            let _ = stream.read(&mut [0]);
            let _ = stream.write_all(b"answer");
        }
        // Stays open.
        b'k' => kept.push(stream),
        // The client closes, the server reads that and forgets to close.
        b'w' => {
            let _ = stream.read(&mut [0]);
            kept.push(stream);
        }
        // Closes with unread data.
        b'u' => {
            let mut two = [0; 2];
            let _ = stream.peek(&mut two);
        }
        _ => {}
    }
}

/// Makes connections of every sort to a server as above, and to a port where nobody listens. Answers how
/// many of each. What stays open lives as long as the process.
fn drive(address: &str, seed: u64, count: u32) -> Answer {
    let address: SocketAddr = address.parse().map_err(text)?;
    let mut done = BTreeMap::<char, u32>::new();
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    for _ in 0..count {
        // Steele and Vigna's SplitMix64 step: enough to mix the orders.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let order = match (mixed >> 33) % 20 {
            0..6 => 'c',
            6..12 => 's',
            12..14 => 'r',
            14..16 => 'h',
            16 => 'k',
            17 => 'w',
            18 => 'u',
            _ => 'x',
        };
        *done.entry(order).or_default() += 1;
        one(address, order)?;
    }
    Ok(done.iter().map(|(order, count)| format!("{order}={count}")).collect::<Vec<_>>().join(" "))
}

fn make(address: &str, order: &str, count: u32) -> Answer {
    let (address, order) = (address.parse().map_err(text)?, order.parse().map_err(text)?);
    for _ in 0..count {
        one(address, order)?;
    }
    Ok(String::new())
}

fn late(address: &str, count: u32, ms: u64) -> Answer {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).map_err(text)?;
        // An order that the server does not know: it closes.
        stream.write_all(b"f").map_err(text)?;
        streams.push(stream);
    }
    for stream in &mut streams {
        let _ = stream.read(&mut [0]).map_err(text)?;
    }
    thread::sleep(Duration::from_millis(ms));
    Ok(String::new())
}

fn one(address: SocketAddr, order: char) -> Result<(), String> {
    if order == 'x' {
        // Port 1: nobody listens there.
        return match TcpStream::connect(SocketAddr::new(address.ip(), 1)) {
            Ok(_) => Err("somebody listens on port 1".to_owned()),
            Err(_) => Ok(()),
        };
    }
    let mut stream = TcpStream::connect(address).map_err(text)?;
    let byte = u8::try_from(order).map_err(text)?;
    match order {
        'u' => {
            stream.write_all(&[byte, b'!', b'!']).map_err(text)?;
            // Either the end or the reset.
            let _ = stream.read(&mut [0]);
        }
        'h' => {
            stream.write_all(&[byte]).map_err(text)?;
            stream.shutdown(Shutdown::Write).map_err(text)?;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
        }
        's' | 'r' => {
            stream.write_all(&[byte]).map_err(text)?;
            let _ = stream.read(&mut [0]);
        }
        'k' => {
            stream.write_all(&[byte]).map_err(text)?;
            std::mem::forget(stream);
        }
        _ => stream.write_all(&[byte]).map_err(text)?,
    }
    Ok(())
}

fn begin(address: SocketAddr) -> Result<(OwnedFd, String), String> {
    let SocketAddr::V4(to) = address else { return Err("only IPv4".to_owned()) };
    // SAFETY: plain system calls on a descriptor that is ours; the address lives through the call.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(text(io::Error::last_os_error()));
        }
        let fd = OwnedFd::from_raw_fd(fd);
        let raw = libc::sockaddr_in {
            sin_family: 2,
            sin_port: to.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
            sin_zero: [0; 8],
        };
        let size = u32::try_from(size_of_val(&raw)).map_err(text)?;
        if libc::connect(fd.as_raw_fd(), (&raw const raw).cast(), size) != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINPROGRESS) {
                return Err(text(error));
            }
        }
        Ok((fd, String::new()))
    }
}

fn mptcp() -> Answer {
    // SAFETY: plain system calls; the descriptor stays open until the process ends.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_MPTCP);
        if fd < 0 || libc::listen(fd, 8) != 0 {
            return Err(text(io::Error::last_os_error()));
        }
    }
    Ok(String::new())
}

fn option<T>(fd: i32, level: i32, name: i32, value: &T) -> Result<(), String> {
    let size = u32::try_from(size_of::<T>()).map_err(text)?;
    // SAFETY: the value lives through the call, and the size is its own.
    let result = unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(text(io::Error::last_os_error())) }
}

fn fork() -> Answer {
    // SAFETY: the child only calls functions that are safe after a fork, and never returns.
    unsafe {
        match libc::fork() {
            -1 => Err(text(io::Error::last_os_error())),
            0 => {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                loop {
                    libc::pause();
                }
            }
            pid => Ok(pid.to_string()),
        }
    }
}

/// A network namespace with a loopback interface that is up.
fn enter_new_namespace() {
    // SAFETY: plain system calls before there are threads; the request lives through the call.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNET), 0, "unshare: {}", io::Error::last_os_error());
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "socket: {}", io::Error::last_os_error());
        let fd = OwnedFd::from_raw_fd(fd);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = 'l' as libc::c_char;
        request.ifr_name[1] = 'o' as libc::c_char;
        #[expect(clippy::cast_possible_truncation, reason = "flags fit in 16 bits")]
        let up = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        request.ifr_ifru.ifru_flags = up;
        let result = libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request);
        assert_eq!(result, 0, "lo up: {}", io::Error::last_os_error());
    }
}
