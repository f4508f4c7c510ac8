//! The structs that cross from the kernel to user space. Padding is explicit, no field is a Rust enum, a
//! bool or an Option: whatever the bytes are, they are a value, and the user side validates them.

use crate::state::STATE_SLOTS;

/// Bytes of a process name, with the terminating zero (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// `AF_INET`.
pub const AF_INET: u8 = 2;
/// `AF_INET6`.
pub const AF_INET6: u8 = 10;

/// How many [`EventKind`]s there are.
pub const EVENT_KINDS: usize = 5;

/// A connection on which nothing has come in for so long counts as idle when it is closed, ns: half of the shortest
/// idle timeout that servers offer, 1 s, since their clocks are coarse. What is closed after an exchange, as most
/// connections are, is closed far sooner.
pub const IDLE_CLOSE_NS: u64 = 500_000_000;

/// What an [`Event`] tells. Also the index of its loss counter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum EventKind {
    /// A socket changed its state.
    Transition = 0,
    /// The kernel sent a RST.
    ResetSent = 1,
    /// The kernel ran `tcp_reset` on a socket: a RST came in, or the kernel made it up itself.
    ResetReceived = 2,
    /// A process acted on a socket without changing its state: it closed what it had shut down before. Told only
    /// where the kernel side does not keep note of the socket itself.
    Acted = 3,
    /// A process closed, or shut down, a connection before its peer did, and nothing had come in for
    /// [`IDLE_CLOSE_NS`]. The transition itself is a [`Self::Transition`], for whoever wants it.
    IdleClose = 4,
}

impl EventKind {
    /// Every kind, in the order of the numbers.
    pub const ALL: [Self; EVENT_KINDS] =
        [Self::Transition, Self::ResetSent, Self::ResetReceived, Self::Acted, Self::IdleClose];

    /// The kind's name in metrics and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transition => "transition",
            Self::ResetSent => "reset_sent",
            Self::ResetReceived => "reset_received",
            Self::Acted => "acted",
            Self::IdleClose => "idle_close",
        }
    }
}

impl TryFrom<u8> for EventKind {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        match number {
            0 => Ok(Self::Transition),
            1 => Ok(Self::ResetSent),
            2 => Ok(Self::ResetReceived),
            3 => Ok(Self::Acted),
            4 => Ok(Self::IdleClose),
            other => Err(other),
        }
    }
}

/// Bits of [`Event::flags`].
pub mod flags {
    /// `new_state` is inferred: the kernel said `CLOSE`, the socket's flags say `TIME_WAIT` or that a
    /// `FIN_WAIT2` mini-socket took over.
    pub const INFERRED: u32 = 1;
    /// `pid` and `comm` are of the process that closed the socket earlier, not of one that acts now.
    pub const PID_CARRIED: u32 = 1 << 1;
    /// `reason` is set.
    pub const HAS_REASON: u32 = 1 << 2;
    /// Told only because somebody watches: the kernel side keeps note of the socket itself, or has no need to.
    pub const FOR_WATCHERS: u32 = 1 << 3;
}

/// One record of the ring.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Event {
    /// `CLOCK_MONOTONIC`, ns.
    pub time_ns: u64,
    /// The socket's cookie; 0 when there is no socket, or none was ever asked for.
    pub cookie: u64,
    /// When `old_state` was entered, `CLOCK_MONOTONIC` ns; 0 when not known.
    pub entered_ns: u64,
    /// Inode number of the network namespace; 0 when not known.
    pub netns: u32,
    /// The process (thread group) that owns the socket and acts on it; 0 when nobody can be named.
    pub pid: u32,
    /// That process's name.
    pub comm: [u8; COMM_LEN],
    /// Local address in network order; IPv4 takes the first four bytes, the rest is zero.
    pub saddr: [u8; 16],
    /// Remote address, likewise.
    pub daddr: [u8; 16],
    /// Local port, host order.
    pub sport: u16,
    /// Remote port, host order.
    pub dport: u16,
    /// An [`EventKind`].
    pub kind: u8,
    /// [`AF_INET`] or [`AF_INET6`]: the socket's family, so a v4-mapped peer is IPv6.
    pub family: u8,
    /// The state before; for resets the state in which the reset met the socket, 0 without socket.
    pub old_state: u8,
    /// The state after; 0 for resets.
    pub new_state: u8,
    /// `enum sk_rst_reason`, if [`flags::HAS_REASON`].
    pub reason: u32,
    /// `sk_err` at that moment: a positive errno, or 0.
    pub error: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Always zero.
    pub pad: u32,
}

/// A record of the ring that tells of a reset: the event, and what is known of the connection beside it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Reset {
    pub event: Event,
    pub about: About,
}

/// The connection that met a reset.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct About {
    /// Bytes that had come in, and bytes that had been sent, together; without what was sent again. If
    /// [`about::CONNECTION`].
    pub moved_bytes: u64,
    /// When the socket entered the state in which the reset met it, or the last one before, `CLOCK_MONOTONIC` ns; 0
    /// when not known.
    pub entered_ns: u64,
    /// Bytes that had come in and had not been read. If [`about::CONNECTION`].
    pub unread_bytes: u32,
    /// For how long nothing had come from the peer, ms; for a socket that a process has closed or shut, no data. If
    /// [`about::CONNECTION`].
    pub idle_ms: u32,
    /// For how long no data had been sent, ms; counts from the beginning of the connection if none ever was. If
    /// [`about::CONNECTION`].
    pub spoke_ms: u32,
    /// Bytes that had been written and that the peer had not acknowledged, a FIN among them. If [`about::CONNECTION`].
    pub unsent_bytes: u32,
    /// See [`Slot::opened`]; 0 when not known.
    pub opened: u64,
    /// Bytes of data in the packet that is answered. If [`about::PAYLOAD`].
    pub payload_bytes: u32,
    /// Always zero.
    pub pad: u32,
    /// Bits of [`about`].
    pub known: u32,
    /// The process that had last acted on the socket (connect, shutdown, close); 0 when nobody can be named.
    pub pid: u32,
    /// That process's name.
    pub comm: [u8; COMM_LEN],
}

/// A record of the ring that tells of an [`EventKind::IdleClose`]: the event, whose process closes, and for how long
/// the connection had not been used.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct IdleClose {
    pub event: Event,
    pub idle: Idle,
}

/// How a connection was used before it was closed.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Idle {
    /// Bytes that had come in.
    pub received_bytes: u64,
    /// For how long no data had come in, ms, exact to a kernel tick. Counts from when the connection was made if none
    /// ever came.
    pub heard_ms: u32,
    /// For how long no data had been sent, likewise.
    pub spoke_ms: u32,
}

/// Bits of [`About::known`].
pub mod about {
    /// The kernel still had the connection's numbers.
    pub const CONNECTION: u32 = 1;
    /// The packet that is answered was looked at.
    pub const PACKET: u32 = 1 << 1;
    /// It is a SYN.
    pub const SYN: u32 = 1 << 2;
    /// The peer's FIN had come in (`SOCK_DONE`). If [`CONNECTION`].
    pub const FIN: u32 = 1 << 3;
    /// The process that sent the reset was ending (`PF_EXITING`), so that it chose nothing.
    pub const ENDING: u32 = 1 << 4;
    /// It is known how much data the packet carried that is answered.
    pub const PAYLOAD: u32 = 1 << 5;
}

/// What the kernel side remembers of a socket that sits in a state that parks, that has ended in a mini-socket, or that
/// is `ESTABLISHED` (as long as no other socket needs the place): one place of a table in which a socket's place follows from its cookie. Written by one CPU at a
/// time, and read by user space meanwhile: what stands between two equal tags that are not [`slot::BUSY`] belongs
/// together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Slot {
    /// See [`slot::tag`].
    pub tag: u64,
    /// When the socket entered that state, `CLOCK_MONOTONIC` ns: at most one kernel tick too early.
    pub entered_ns: u64,
    /// When the connection was opened, `CLOCK_MONOTONIC` ns, with [`slot::ACTIVE`] as its lowest bit; 0 when not known.
    pub opened: u64,
    /// The process that last acted on the socket (connect, shutdown, close); 0 when nobody can be named.
    pub pid: u32,
    /// When this place was last written: see [`slot::stamp`].
    pub stamp: u32,
    /// The name of `pid`.
    pub comm: [u8; COMM_LEN],
}

/// What a tape holds, and what a stream of records brings: an event in one cache line. One of an IPv6 socket takes two
/// of these; the second is a [`Addresses6`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C, align(64))]
pub struct Brief {
    /// See [`Event::time_ns`].
    pub time_ns: u64,
    /// See [`Event::cookie`].
    pub cookie: u64,
    /// See [`Event::entered_ns`].
    pub entered_ns: u64,
    /// See [`Event::netns`].
    pub netns: u32,
    /// See [`Event::pid`].
    pub pid: u32,
    /// See [`Event::comm`].
    pub comm: [u8; COMM_LEN],
    /// The local and the remote IPv4 address, in network order; zeros for IPv6.
    pub addresses: [[u8; 4]; 2],
    /// See [`Event::sport`].
    pub sport: u16,
    /// See [`Event::dport`].
    pub dport: u16,
    /// An [`EventKind`]; [`brief::LOST`] in a stream.
    pub kind: u8,
    /// See [`brief::states`].
    pub states: u8,
    /// Bits of [`flags`], and [`brief::IPV6`].
    pub flags: u8,
    /// [`Event::error`] of a transition, [`Event::reason`] of a reset; 255 for whatever is beyond.
    pub code: u8,
}

/// The second part of a [`Brief`] of an IPv6 socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C, align(64))]
pub struct Addresses6 {
    /// See [`Event::saddr`].
    pub saddr: [u8; 16],
    /// See [`Event::daddr`].
    pub daddr: [u8; 16],
    /// Always zero.
    pub pad: [u8; 32],
}

/// What stands in a [`Brief`].
pub mod brief {
    /// Bit of [`super::Brief::flags`]: the socket's family is IPv6, and its addresses come next.
    pub const IPV6: u8 = 1 << 7;
    /// A [`super::Brief::kind`] of a stream: so many events are missing here as the cookie says.
    pub const LOST: u8 = 255;

    /// Both states in one byte.
    #[must_use]
    pub const fn states(old: u8, new: u8) -> u8 {
        old << 4 | new & 15
    }
}

/// How far a CPU has written its tape, and how far user space has read it: running numbers of places. The two lie in
/// cache lines of their own, since they are written by different CPUs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C, align(64))]
pub struct TapeEnd {
    /// Places written so far; the kernel side writes it.
    pub written: u64,
    /// Always zero.
    pub pad: [u64; 7],
    /// Places read so far; user space writes it.
    pub read: u64,
    /// Always zero.
    pub pad_after: [u64; 7],
}

/// What stands in [`Slot::tag`].
pub mod slot {
    /// Nothing is here.
    pub const FREE: u64 = 0;
    /// Somebody writes here.
    pub const BUSY: u64 = 15;
    /// Stands for the mini-socket that goes on in `FIN_WAIT2` for a socket that was closed there.
    pub const MINI_FIN_WAIT2: u8 = 13;
    /// Lowest bit of [`super::Slot::opened`]: this host opened the connection (the active opener, RFC 9293 section 3.5).
    /// The times are multiples of nothing, so one ns more or less says nothing.
    pub const ACTIVE: u64 = 1;
    /// How long a place belongs to a socket that parks, ns: user space has taken note of it by then, and of
    /// what comes later the ring tells.
    pub const KEPT_NS: u64 = 20_000_000_000;
    /// How much later another socket may take the place, ns: longer than a program can be held up between
    /// looking at the time and writing.
    pub const GRACE_NS: u64 = 1_000_000_000;
    /// Cookies that a CPU takes at a time (`COOKIE_LOCAL_BATCH`, `include/linux/cookie.h`).
    pub const BATCH: u32 = 4096;

    /// A `CLOCK_MONOTONIC` time in units of about a millisecond (2^20 ns), as far as 32 bits go: 52 days.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "stamps go round")]
    pub const fn stamp(now_ns: u64) -> u32 {
        (now_ns >> 20) as u32
    }

    /// A socket's cookie and the number of the state that it is in.
    #[must_use]
    pub const fn tag(cookie: u64, state: u8) -> u64 {
        cookie << 4 | state as u64
    }

    /// The cookie in a tag. Those that are made while another one is being made count down from 2^64 - 1
    /// (`include/linux/cookie.h`), so that the bits which a tag has no room for are all as the highest one that it has.
    #[must_use]
    pub const fn cookie(tag: u64) -> u64 {
        (tag.cast_signed() >> 4).cast_unsigned()
    }

    /// The state's number in a tag.
    #[must_use]
    pub const fn state(tag: u64) -> u8 {
        (tag & 15) as u8
    }
}

/// Upper bounds of the dwell-time buckets, ns. The last bucket, above all of them, has no bound.
/// They begin where a kernel tick ends, since the times are taken from it.
pub const DWELL_BOUNDS_NS: [u64; 9] = [
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    60_000_000_000,
    300_000_000_000,
    900_000_000_000,
    3_600_000_000_000,
    86_400_000_000_000,
];

/// Time spent in one state, counted when it is left.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Dwell {
    /// One count a bucket, each not containing the ones below; see [`DWELL_BOUNDS_NS`].
    pub buckets: [u64; DWELL_BOUNDS_NS.len() + 1],
    /// Sum of all the times, ns.
    pub sum_ns: u64,
}

impl Dwell {
    /// Counts one time, ns.
    pub fn count(&mut self, spent_ns: u64) {
        self.buckets[DWELL_BOUNDS_NS.partition_point(|bound_ns| *bound_ns < spent_ns)] += 1;
        self.sum_ns = self.sum_ns.wrapping_add(spent_ns);
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket = bucket.wrapping_add(more);
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }
}

/// Slots for reset reasons. 6.12 to 7.2 know 25; the last slot takes whatever is beyond.
pub const REASON_SLOTS: usize = 64;
/// Slots for errno values. Linux's highest is 133; the last slot takes whatever is beyond.
pub const ERRNO_SLOTS: usize = 256;

/// All counters, one copy for each CPU. Lossless, whatever happens to the ring.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Counters {
    /// Transitions by family (0 = IPv4, 1 = IPv6), old state and new state. `FIN_WAIT2` to `TIME_WAIT`
    /// and `CLOSING` to `TIME_WAIT` are inferred; `FIN_WAIT2` to `FIN_WAIT2` is the inferred hand-over
    /// of a closed socket to a mini-socket in the same state.
    pub transitions: [[[u64; STATE_SLOTS]; STATE_SLOTS]; 2],
    /// Mini-sockets that were inferred, and were none: by family and by the state that they were said to be in.
    pub taken_back: [[u64; STATE_SLOTS]; 2],
    /// RSTs sent, by reason; slot 0 when the kernel gives none.
    pub resets_sent: [u64; REASON_SLOTS],
    /// Runs of `tcp_reset`, by the state it met.
    pub resets_met: [u64; STATE_SLOTS],
    /// Those of them that the kernel made itself because data came in after the application had closed.
    pub resets_self_made: [u64; STATE_SLOTS],
    /// `SYN_SENT` to `CLOSE`, by `sk_err`. Slot 0: the application gave up. `EADDRNOTAVAIL` is inferred
    /// from a connect that never got a local port.
    pub connect_failures: [u64; ERRNO_SLOTS],
    /// Records put into the ring, by [`EventKind`].
    pub emitted: [u64; EVENT_KINDS],
    /// Records for which the ring had no room, by [`EventKind`].
    pub lost: [u64; EVENT_KINDS],
    /// States outside the known range, which were not counted anywhere else.
    pub unknown_states: u64,
    /// Reports of `inet_sock_set_state` that are no change of a TCP socket's state: of another protocol, or
    /// of the state that the socket was in already.
    pub ignored: u64,
    /// Events that the program at `inet_sock_set_state` missed and the nested one took.
    pub rescued: u64,
    /// Dwell times by state.
    pub dwell: [Dwell; STATE_SLOTS],
}

/// Programs at `inet_sock_set_state`: how many of its events one CPU may be handling at once.
pub const COPIES: usize = 3;

/// What one CPU keeps for itself, in cache lines of its own.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct PerCpu {
    /// The packet's event that `inet_sock_set_state` handled last: the socket's address, 0 for none.
    pub handled_sk: u64,
    /// Its old and new state.
    pub handled_states: u64,
    /// The kernel tick (jiffies) in which `tick_ns` was taken.
    pub tick: u64,
    /// A time within that tick, `CLOCK_MONOTONIC` ns.
    pub tick_ns: u64,
    /// The cookie of the network namespace (`net_cookie`) that the last event on the tape was from.
    pub netns_cookie: u64,
    /// That namespace's inode number.
    pub netns: u64,
    /// Always zero.
    pub pad: [u64; 2],
    /// One set for each program at `inet_sock_set_state`, in the order in which they run, since each may be held up by the
    /// next: together they are the whole. What other programs count is in the first.
    pub sets: [Counters; COPIES],
}

/// One open file that is a TCP socket, as the file iterator writes it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Holder {
    /// The socket's cookie; 0 when none was ever asked for.
    pub cookie: u64,
    /// The socket file's inode number.
    pub inode: u64,
    /// The holding process started this long after boot, ns (`CLOCK_BOOTTIME`).
    pub start_boottime_ns: u64,
    /// The holding process (thread group).
    pub pid: u32,
    /// The descriptor's number.
    pub fd: u32,
    /// The process's name.
    pub comm: [u8; COMM_LEN],
}

const _: () = {
    assert!(size_of::<Event>() == 104);
    assert!(size_of::<About>() == 72);
    assert!(size_of::<Reset>() == size_of::<Event>() + size_of::<About>());
    assert!(size_of::<IdleClose>() == size_of::<Event>() + 16);
    assert!(size_of::<Slot>() == 48);
    assert!(size_of::<Brief>() == 64);
    assert!(size_of::<Addresses6>() == 64);
    assert!(size_of::<TapeEnd>() == 128);
    assert!(size_of::<Holder>() == 48);
    assert!(size_of::<Dwell>() == 11 * 8);
    // Whole cache lines, so that each CPU has its own, and nothing but counters in a copy of them.
    assert!(size_of::<PerCpu>().is_multiple_of(64));
    assert!(size_of::<Counters>().is_multiple_of(8));
};

impl Brief {
    /// An event in short, with its addresses if it is of an IPv6 socket.
    #[must_use]
    pub fn of(event: &Event) -> (Self, Option<Addresses6>) {
        let small = |number: u32| if number < 255 { number.to_le_bytes()[0] } else { 255 };
        let ipv6 = event.family == AF_INET6;
        let ipv4 = |address: [u8; 16]| {
            let [a, b, c, d, ..] = if ipv6 { [0; 16] } else { address };
            [a, b, c, d]
        };
        let brief = Self {
            time_ns: event.time_ns,
            cookie: event.cookie,
            entered_ns: event.entered_ns,
            netns: event.netns,
            pid: event.pid,
            comm: event.comm,
            addresses: [ipv4(event.saddr), ipv4(event.daddr)],
            sport: event.sport,
            dport: event.dport,
            kind: event.kind,
            states: brief::states(event.old_state, event.new_state),
            flags: event.flags.to_le_bytes()[0] & !brief::IPV6 | if ipv6 { brief::IPV6 } else { 0 },
            code: small(if event.kind == EventKind::Transition as u8 { event.error } else { event.reason }),
        };
        let addresses = Addresses6 { saddr: event.saddr, daddr: event.daddr, pad: [0; 32] };
        (brief, ipv6.then_some(addresses))
    }

    /// A record of a stream.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; size_of::<Self>()]) -> Self {
        // SAFETY: numbers without padding; any bytes are a value.
        unsafe { core::mem::transmute(bytes) }
    }

    /// The event in full; `addresses` are those of an IPv6 socket.
    #[must_use]
    pub fn event(&self, addresses: Option<&Addresses6>) -> Event {
        let mut ends = [[0; 16]; 2];
        for (end, short) in ends.iter_mut().zip(self.addresses) {
            end[..4].copy_from_slice(&short);
        }
        let [saddr, daddr] = addresses.map_or(ends, |addresses| [addresses.saddr, addresses.daddr]);
        let (error, reason) =
            if self.kind == EventKind::Transition as u8 { (self.code, 0) } else { (0, self.code) };
        Event {
            time_ns: self.time_ns,
            cookie: self.cookie,
            entered_ns: self.entered_ns,
            netns: self.netns,
            pid: self.pid,
            comm: self.comm,
            saddr,
            daddr,
            sport: self.sport,
            dport: self.dport,
            kind: self.kind,
            family: if self.flags & brief::IPV6 == 0 { AF_INET } else { AF_INET6 },
            old_state: self.states >> 4,
            new_state: self.states & 15,
            reason: reason.into(),
            error: error.into(),
            flags: (self.flags & !brief::IPV6).into(),
            pad: 0,
        }
    }
}

impl From<Addresses6> for Brief {
    /// As it lies on a tape.
    fn from(addresses: Addresses6) -> Self {
        // SAFETY: both are 64 bytes of numbers without padding; any bytes are a value.
        unsafe { core::mem::transmute(addresses) }
    }
}

impl From<Brief> for Addresses6 {
    /// What comes after the [`Brief`] of an IPv6 socket.
    fn from(brief: Brief) -> Self {
        // SAFETY: as above.
        unsafe { core::mem::transmute(brief) }
    }
}

impl Counters {
    /// Transitions of both families, together.
    #[must_use]
    pub fn transitions_total(&self) -> u64 {
        self.transitions.as_flattened().as_flattened().iter().sum()
    }

    /// Counters that have counted nothing yet.
    pub const ZERO: Self = Self {
        transitions: [[[0; STATE_SLOTS]; STATE_SLOTS]; 2],
        taken_back: [[0; STATE_SLOTS]; 2],
        resets_sent: [0; REASON_SLOTS],
        resets_met: [0; STATE_SLOTS],
        resets_self_made: [0; STATE_SLOTS],
        connect_failures: [0; ERRNO_SLOTS],
        emitted: [0; EVENT_KINDS],
        lost: [0; EVENT_KINDS],
        unknown_states: 0,
        ignored: 0,
        rescued: 0,
        dwell: [Dwell { buckets: [0; DWELL_BOUNDS_NS.len() + 1], sum_ns: 0 }; STATE_SLOTS],
    };
}

#[cfg(feature = "user")]
mod pod {
    use super::{About, Event, Holder, Idle};

    // SAFETY: repr(C), no padding (every byte belongs to a field, see the asserts above), and every bit
    // pattern is a value.
    unsafe impl aya::Pod for Event {}
    // SAFETY: as above.
    unsafe impl aya::Pod for About {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Idle {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Holder {}
}
