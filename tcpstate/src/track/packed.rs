//! A socket as the table keeps it: 104 bytes, of which a host with many sockets has many.

use std::net::SocketAddr;

use tcpstate_common::{TcpState, wire::COMM_LEN};

use super::{
    census::Timer,
    event::{Comm, Family, Process, Tuple, address, octets},
    table::{Since, Socket},
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    cookie: u64,
    since_ns: u64,
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
    netns: u32,
    rqueue: u32,
    wqueue: u32,
    uid: u32,
    inode: u32,
    /// 0: nobody acted.
    actor: u32,
    comm: [u8; COMM_LEN],
    /// Which census has seen it last.
    pub(super) seen: u32,
    state: TcpState,
    timer: Timer,
    retransmits: u8,
    flags: u8,
}

const V6: u8 = 1;
const EXACTLY: u8 = 2;
const HAS_UID: u8 = 4;

const _: () = assert!(size_of::<Packed>() == 104);

impl Packed {
    pub(super) fn new(socket: &Socket, seen: u32) -> Self {
        let (since_ns, exactly) = match socket.since {
            Since::Exactly(ns) => (ns, EXACTLY),
            Since::AtLatest(ns) => (ns, 0),
        };
        let v6 = if socket.tuple.family == Family::V6 { V6 } else { 0 };
        let has_uid = if socket.uid.is_some() { HAS_UID } else { 0 };
        let actor = socket.actor.unwrap_or(Process { pid: 0, comm: Comm([0; COMM_LEN]) });
        Self {
            cookie: socket.cookie,
            since_ns,
            local: octets(socket.tuple.local.ip()),
            remote: octets(socket.tuple.remote.ip()),
            local_port: socket.tuple.local.port(),
            remote_port: socket.tuple.remote.port(),
            netns: socket.netns,
            rqueue: socket.rqueue,
            wqueue: socket.wqueue,
            uid: socket.uid.unwrap_or(0),
            inode: socket.inode,
            actor: actor.pid,
            comm: actor.comm.0,
            seen,
            state: socket.state,
            timer: socket.timer,
            retransmits: socket.retransmits,
            flags: v6 | exactly | has_uid,
        }
    }

    pub(super) fn unpack(&self) -> Socket {
        let is = |flag| self.flags & flag != 0;
        let family = if is(V6) { Family::V6 } else { Family::V4 };
        let process = Process { pid: self.actor, comm: Comm(self.comm) };
        Socket {
            cookie: self.cookie,
            netns: self.netns,
            tuple: Tuple {
                family,
                local: SocketAddr::new(address(family, self.local), self.local_port),
                remote: SocketAddr::new(address(family, self.remote), self.remote_port),
            },
            state: self.state,
            since: if is(EXACTLY) { Since::Exactly(self.since_ns) } else { Since::AtLatest(self.since_ns) },
            timer: self.timer,
            retransmits: self.retransmits,
            rqueue: self.rqueue,
            wqueue: self.wqueue,
            uid: is(HAS_UID).then_some(self.uid),
            inode: self.inode,
            actor: (self.actor != 0).then_some(process),
        }
    }

    pub(super) fn cookie(&self) -> u64 {
        self.cookie
    }

    pub(super) fn state(&self) -> TcpState {
        self.state
    }

    pub(super) fn inode(&self) -> u32 {
        self.inode
    }

    /// See [`Since::ns`].
    pub(super) fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// The name of the process that last acted on it.
    pub(super) fn actor(&self) -> Option<Comm> {
        (self.actor != 0).then_some(Comm(self.comm))
    }
}
