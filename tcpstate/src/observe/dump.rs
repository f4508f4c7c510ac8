//! How the sockets of a network namespace are dumped: over netlink, or out of /proc where the kernel cannot do that.

use std::io;

use tcpstate_common::TcpState;

use super::{netns, proc_net, sock_diag};
use crate::track::Row;

/// The way that this kernel offers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dumps {
    Netlink,
    Procfs,
}

impl Dumps {
    /// What is lost where sockets are read from /proc, as a sentence without full stop.
    pub const WITHOUT_NETLINK: &str = "sockets are read from /proc/net/tcp, because this kernel has no tcp_diag and that module cannot be loaded: the limits of accept queues, tcp_info and cookies are not known, and eBPF is not used, whose events carry cookies";

    /// Tries a dump of listeners over netlink, which are few. Any error but that there are no dumps leaves it at that.
    #[must_use]
    pub fn of_this_kernel() -> Self {
        Self::after(&sock_diag::dump(0, [TcpState::Listen], |_| ()))
    }

    fn after(tried: &io::Result<()>) -> Self {
        if tried.as_ref().is_err_and(sock_diag::is_missing) { Self::Procfs } else { Self::Netlink }
    }

    /// Calls `each` with every TCP socket of the calling thread's network namespace in these states.
    ///
    /// # Errors
    /// Why they could not be dumped.
    pub fn dump(self, netns: u32, states: &[TcpState], each: impl FnMut(Row)) -> Result<(), String> {
        match self {
            Self::Netlink => {
                let dumped = sock_diag::dump(netns, states.iter().copied(), each);
                dumped.map_err(|error| format!("the kernel dumps no sockets: {error}"))
            }
            Self::Procfs => proc_net::dump(netns, states, each),
        }
    }

    /// The same for the namespace of the calling thread, whichever it is.
    ///
    /// # Errors
    /// Why they could not be dumped.
    pub fn dump_here(self, states: &[TcpState], each: impl FnMut(Row)) -> Result<(), String> {
        let own = netns::own().map_err(|error| format!("the own network namespace is not known: {error}"))?;
        self.dump(own, states, each)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::TcpListener};

    use super::*;

    #[test]
    fn files_are_read_only_where_the_kernel_has_no_dumps() {
        let failed = |code| Err(io::Error::from_raw_os_error(code));
        assert_eq!(Dumps::after(&Ok(())), Dumps::Netlink);
        assert_eq!(Dumps::after(&failed(libc::EPERM)), Dumps::Netlink);
        assert_eq!(Dumps::after(&failed(libc::ENOENT)), Dumps::Procfs);
        assert_eq!(Dumps::of_this_kernel(), Dumps::Netlink, "the tests need tcp_diag");
    }

    #[test]
    fn both_ways_show_the_same_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shown = [Dumps::Netlink, Dumps::Procfs].map(|dumps| {
            let mut found = None;
            let states = [TcpState::Listen];
            let each = |row: Row| found = (row.tuple.local == address).then_some(row).or(found.take());
            dumps.dump_here(&states, each).expect("dumped");
            found.map(|row| (row.netns, row.uid, row.inode, row.tuple))
        });
        assert!(shown[0].is_some());
        assert_eq!(shown[0], shown[1]);
    }

    #[test]
    fn keys_are_as_many_as_sockets() {
        let (mut keys, mut rows) = (BTreeSet::new(), 0);
        let listeners: Vec<_> = (0..20).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let each = |row: Row| {
            rows += 1;
            keys.insert(row.cookie);
        };
        Dumps::Procfs.dump_here(&[TcpState::Listen], each).expect("dumped");
        assert_eq!(keys.len(), rows);
        drop(listeners);
    }
}
