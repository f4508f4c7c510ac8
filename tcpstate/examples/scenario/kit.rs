//! What all parts of a scenario share: their arguments, what they say to the director, and small system calls.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, RawFd},
    process,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

/// Numbers that differ from run to run, and are the same for the same seed: Steele and Vigna's `SplitMix64`.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// True in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.between(0, 99) < percent
    }

    pub(crate) fn size(&mut self, low: u64, high: u64) -> usize {
        usize::try_from(self.between(low, high)).unwrap_or(usize::MAX)
    }

    pub(crate) fn pause(&mut self, low_ms: u64, high_ms: u64) {
        thread::sleep(Duration::from_millis(self.between(low_ms, high_ms)));
    }

    /// For another thread.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.next())
    }
}

/// One process of a scenario: what it was told.
pub(crate) struct Part {
    pub(crate) dice: Dice,
    words: BTreeMap<String, String>,
    orders: Receiver<()>,
}

impl Part {
    /// From `SEED KEY=VALUE…`. The process ends when its input does.
    pub(crate) fn of(mut arguments: impl Iterator<Item = String>) -> Self {
        let seed = arguments.next().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        let words = arguments.filter_map(|word| {
            let (key, value) = word.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        });
        let (give, orders) = mpsc::channel();
        let part = Self { dice: Dice::of(seed), words: words.collect(), orders };
        thread::spawn(move || {
            for _ in io::stdin().lines().map_while(Result::ok) {
                let _ = give.send(());
            }
            process::exit(0);
        });
        part
    }

    pub(crate) fn number(&self, key: &str, otherwise: u64) -> u64 {
        self.words.get(key).and_then(|value| value.parse().ok()).unwrap_or(otherwise)
    }

    pub(crate) fn count(&self, key: &str, otherwise: usize) -> usize {
        self.words.get(key).and_then(|value| value.parse().ok()).unwrap_or(otherwise)
    }

    pub(crate) fn time(&self, key: &str, otherwise_ms: u64) -> Duration {
        Duration::from_millis(self.number(key, otherwise_ms))
    }

    pub(crate) fn word(&self, key: &str) -> Option<&str> {
        self.words.get(key).map(String::as_str)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.words.contains_key(key)
    }

    /// Where the server is that this part is a client of.
    pub(crate) fn server(&self) -> io::Result<SocketAddr> {
        let address = self.words.get("to").and_then(|address| address.parse().ok());
        address.ok_or_else(|| io::Error::other("to=ADDRESS is missing"))
    }

    /// Listens where it was told (`on=IP`) or on a loopback address, on any port, and says where.
    pub(crate) fn listen(&mut self) -> io::Result<TcpListener> {
        let listener = self.listen_quietly()?;
        say(&format!("at {}", listener.local_addr()?));
        Ok(listener)
    }

    pub(crate) fn listen_quietly(&mut self) -> io::Result<TcpListener> {
        let told = self.words.get("on").and_then(|ip| ip.parse().ok());
        let v6 = told.is_none() && self.dice.chance(30);
        let ip = told.unwrap_or(if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() });
        // Services have ports of their own as often as the kernel picks one.
        if self.dice.chance(60) {
            for _ in 0..16 {
                let port = self.dice.between(1024, 30_000);
                let address = SocketAddr::new(ip, u16::try_from(port).unwrap_or(0));
                if let Ok(listener) = TcpListener::bind(address) {
                    return Ok(listener);
                }
            }
        }
        TcpListener::bind((ip, 0)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Waits until it is told to go on.
    pub(crate) fn wait_for_order(&self) {
        let _ = self.orders.recv();
    }

    /// Stays until the input ends.
    pub(crate) fn stay(&self) -> ! {
        while self.orders.recv().is_ok() {}
        process::exit(0)
    }
}

/// Tells the director one line.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Without a director nobody wants to know.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The signature is there from now on.
pub(crate) fn stands() {
    say("stands");
}

/// One more descriptor that the verdict may name.
pub(crate) fn to_blame(fd: &impl AsRawFd) {
    say(&format!("fd {}", fd.as_raw_fd()));
}

/// A connection that the verdict may name as long as it is open.
pub(crate) struct Told(pub(crate) TcpStream);

impl Told {
    pub(crate) fn of(stream: TcpStream) -> Self {
        to_blame(&stream);
        Self(stream)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        say(&format!("no-fd {}", self.0.as_raw_fd()));
    }
}

/// Sets a socket option.
pub(crate) fn option<T>(socket: &impl AsRawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the value lives through the call, and the size is its own.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes `close()` send a RST.
pub(crate) fn linger_zero(stream: &TcpStream) -> io::Result<()> {
    option(stream, libc::SOL_SOCKET, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 })
}

/// Changes the backlog of a listener.
pub(crate) fn backlog(listener: &TcpListener, length: u64) -> io::Result<()> {
    let length = i32::try_from(length).unwrap_or(1);
    // SAFETY: plain system call on a descriptor that is ours.
    if unsafe { libc::listen(listener.as_raw_fd(), length) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets the limit of descriptors. Those that the shell around the director has left open would count, and are closed:
/// the process must have opened none yet.
pub(crate) fn descriptor_limit(most: u64) -> io::Result<()> {
    // SAFETY: takes numbers only, and nobody has one of these yet.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the limit lives through the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `TCP_INFO` of a socket.
pub(crate) fn tcp_info(fd: RawFd) -> io::Result<libc::tcp_info> {
    // SAFETY: the struct is plain numbers; the kernel writes no more than the size it is given.
    unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let mut size = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or(0);
        let result =
            libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut size);
        if result == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
    }
}

/// Number of `CLOSE_WAIT` in `tcpi_state` (`include/net/tcp_states.h`).
pub(crate) const CLOSE_WAIT: u8 = 8;

/// Says whether the peer has sent its end.
pub(crate) fn in_close_wait(stream: &impl AsRawFd) -> bool {
    tcp_info(stream.as_raw_fd()).is_ok_and(|info| info.tcpi_state == CLOSE_WAIT)
}

/// Bytes in the receive queue (`FIONREAD`) or in the send queue (`TIOCOUTQ`).
pub(crate) fn queued(stream: &impl AsRawFd, which: libc::Ioctl) -> i32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    unsafe { libc::ioctl(stream.as_raw_fd(), which, &raw mut bytes) };
    bytes
}

/// A counter of `/proc/net/netstat` of this network namespace.
pub(crate) fn netstat(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let mut both = names.split(' ').zip(values.split(' '));
        if let Some((_, value)) = both.find(|(key, _)| *key == name) {
            return value.parse().unwrap_or(0);
        }
    }
    0
}

/// Waits until something is true, as programs of a scenario have time.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a socket call failed with.
pub(crate) fn is_errno(error: &io::Error, errno: i32) -> bool {
    error.raw_os_error() == Some(errno)
}

/// Runs a thread that is not waited for.
pub(crate) fn aside(work: impl FnOnce() -> io::Result<()> + Send + 'static) {
    // A connection that fails is what many scenarios are about.
    thread::spawn(move || drop(work()));
}
