//! A socket as a list keeps it: 64 bytes, of which a host with many sockets has many. What many of them have in common,
//! and what few of them have, is kept aside.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tcpstate_common::TcpState;

use super::{
    aside::Aside,
    census::Timer,
    event::{Family, Opened, Tuple},
    table::{Since, Socket},
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    cookie: u64,
    since_ns: u64,
    ends: Ends,
    local_port: u16,
    remote_port: u16,
    netns: u32,
    rqueue: u32,
    wqueue: u32,
    uid: u32,
    inode: u32,
    /// The number aside of the process that acted; 0: nobody did.
    actor: u32,
    /// See [`Opened::pack`].
    opened: u32,
    state: TcpState,
    retransmits: u8,
    /// The timer and flags.
    bits: u8,
    /// The number of the census that has seen it last, which goes round.
    pub(super) seen: u8,
}

/// The addresses of both ends, its own first.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// IPv4, or IPv6 addresses that map it.
    Narrow(Ipv4Addr, Ipv4Addr),
    /// Any other pair has this number aside.
    Wide(u32),
}

const V6: u8 = 1;
const EXACTLY: u8 = 2;
const HAS_UID: u8 = 4;
/// From this bit on the timer's number stands.
const TIMER_SHIFT: u32 = 3;

const _: () = assert!(size_of::<Packed>() == 64);

impl Packed {
    /// Packs a socket. What is put aside stays there until [`Self::leave`].
    pub(super) fn new(socket: &Socket, seen: u8, aside: &mut Aside) -> Self {
        let (since_ns, exactly) = match socket.since {
            Since::Exactly(ns) => (ns, EXACTLY),
            Since::AtLatest(ns) => (ns, 0),
        };
        let v6 = if socket.tuple.family == Family::V6 { V6 } else { 0 };
        let has_uid = if socket.uid.is_some() { HAS_UID } else { 0 };
        Self {
            cookie: socket.cookie,
            since_ns,
            ends: ends(&socket.tuple, aside),
            local_port: socket.tuple.local.port(),
            remote_port: socket.tuple.remote.port(),
            netns: socket.netns,
            rqueue: socket.rqueue,
            wqueue: socket.wqueue,
            uid: socket.uid.unwrap_or(0),
            inode: socket.inode,
            actor: socket.actor.map_or(0, |actor| aside.add_actor(actor)),
            opened: Opened::pack(socket.opened, since_ns),
            state: socket.state,
            retransmits: socket.retransmits,
            bits: v6 | exactly | has_uid | socket.timer.number() << TIMER_SHIFT,
            seen,
        }
    }

    /// Gives back what stands aside.
    pub(super) fn leave(&self, aside: &mut Aside) {
        if self.actor != 0 {
            aside.remove_actor(self.actor);
        }
        if let Ends::Wide(number) = self.ends {
            aside.remove_pair(number);
        }
    }

    /// Where little of it is asked for, the rest is not unpacked: the compiler sees to that.
    #[expect(clippy::inline_always, reason = "whoever asks for little of it has little of it unpacked")]
    #[inline(always)]
    pub(super) fn unpack(&self, aside: &Aside) -> Socket {
        let is = |flag| self.bits & flag != 0;
        let family = if is(V6) { Family::V6 } else { Family::V4 };
        let (local, remote) = match self.ends {
            Ends::Narrow(local, remote) if is(V6) => {
                (local.to_ipv6_mapped().into(), remote.to_ipv6_mapped().into())
            }
            Ends::Narrow(local, remote) => (IpAddr::V4(local), IpAddr::V4(remote)),
            Ends::Wide(number) => {
                let [local, remote] = aside.pair(number);
                (local.into(), remote.into())
            }
        };
        Socket {
            cookie: self.cookie,
            netns: self.netns,
            tuple: Tuple {
                family,
                local: SocketAddr::new(local, self.local_port),
                remote: SocketAddr::new(remote, self.remote_port),
            },
            state: self.state,
            since: if is(EXACTLY) { Since::Exactly(self.since_ns) } else { Since::AtLatest(self.since_ns) },
            timer: Timer::of(self.bits >> TIMER_SHIFT),
            retransmits: self.retransmits,
            rqueue: self.rqueue,
            wqueue: self.wqueue,
            uid: is(HAS_UID).then_some(self.uid),
            inode: self.inode,
            actor: aside.actor(self.actor),
            opened: Opened::unpack(self.opened, self.since_ns),
        }
    }

    pub(super) fn cookie(&self) -> u64 {
        self.cookie
    }

    pub(super) fn netns(&self) -> u32 {
        self.netns
    }

    pub(super) fn state(&self) -> TcpState {
        self.state
    }

    /// See [`Since::ns`].
    pub(super) fn since_ns(&self) -> u64 {
        self.since_ns
    }
}

fn ends(tuple: &Tuple, aside: &mut Aside) -> Ends {
    let narrow = |address: IpAddr| match address {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(ip) => ip.to_ipv4_mapped(),
    };
    let wide = |address: IpAddr| match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let (local, remote): (IpAddr, IpAddr) = (tuple.local.ip(), tuple.remote.ip());
    match (narrow(local), narrow(remote)) {
        (Some(local), Some(remote)) => Ends::Narrow(local, remote),
        _ => Ends::Wide(aside.add_pair([wide(local), wide(remote)])),
    }
}
