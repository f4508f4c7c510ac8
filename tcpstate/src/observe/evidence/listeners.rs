//! The listeners of a network namespace, with how many connections each of them has refused.

use std::io;

use tcpstate_common::TcpState;

use crate::{
    observe::sock_diag::{self, Attribute},
    track::Row,
};

/// The place of `SK_MEMINFO_DROPS` (`include/uapi/linux/sock_diag.h`).
const DROPS: usize = 8;

/// One listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// As of now: its queues are the backlog in use and its limit.
    pub row: Row,
    /// SYNs and final ACKs for which it had no room since it listens, or that it refused for another reason
    /// (`tcp_listendrop` in `include/net/tcp.h` counts them for it and in `ListenDrops`); goes round at 2^32. `None` on
    /// kernels before 4.12.
    pub drops: Option<u32>,
}

/// Asks for the listeners of the calling thread's network namespace, which is this one. The kernel looks only into
/// its table of listeners for that, however many connections there are.
///
/// # Errors
/// What the kernel said.
pub fn dump(netns: u32, mut each: impl FnMut(Listener)) -> io::Result<()> {
    sock_diag::walk([TcpState::Listen], Attribute::SocketMemory, |payload| {
        if let Some(listener) = listener(payload, netns) {
            each(listener);
        }
    })
}

fn listener(payload: &[u8], netns: u32) -> Option<Listener> {
    let row = sock_diag::row(payload, netns).filter(|row| row.state == TcpState::Listen)?;
    let memory = Attribute::SocketMemory.of(payload);
    let drops = memory.and_then(|words| words.as_chunks::<4>().0.get(DROPS).copied());
    Some(Listener { row, drops: drops.map(u32::from_ne_bytes) })
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, os::fd::AsFd, time::Duration};

    use proptest::prelude::*;
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket, sockopt::socket_cookie};

    use super::{Listener, dump, listener};
    use crate::observe::netns;

    fn all() -> Vec<Listener> {
        let mut found = Vec::new();
        dump(netns::own().expect("/proc"), |listener| found.push(listener)).expect("sock_diag");
        found
    }

    #[test]
    fn full_backlog_and_what_it_cost_are_seen() {
        let server = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&server, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
        listen(&server, 1).expect("listening");
        let address = getsockname(&server).expect("bound").try_into().expect("an IP address");
        let cookie = socket_cookie(server.as_fd()).expect("a cookie");
        let this = || all().into_iter().find(|listener| listener.row.cookie == cookie).expect("it listens");
        assert_eq!((this().row.rqueue, this().row.wqueue, this().drops), (0, 1, Some(0)));
        // Two have room in a backlog of one (sk_acceptq_is_full); a third has not.
        let limit = Duration::from_millis(50);
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect_timeout(&address, limit)).collect();
        let full = this();
        assert_eq!(full.row.rqueue, 2);
        assert!(full.drops.is_some_and(|drops| drops > 0), "{full:?}");
        assert!(clients[2].is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = listener(&bytes, 0);
        }
    }
}
