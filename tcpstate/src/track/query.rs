//! Pages of the table.

use std::{collections::BinaryHeap, net::IpAddr, sync::Arc};

use tcpstate_common::TcpState;

use super::{parked::Holders, table::Socket};

/// Which sockets are asked for. `None` everywhere: all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub state: Option<TcpState>,
    /// At least so long in its state, ms.
    pub min_age_ms: Option<u64>,
    /// Held by this process, or closed by it where nobody can hold it any more.
    pub pid: Option<u32>,
    /// Either end has this port.
    pub port: Option<u16>,
    pub peer: Option<IpAddr>,
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// Only sockets whose cookie is larger: where the page before ended.
    pub after: Option<u64>,
    /// Sockets on the page at most.
    pub limit: usize,
    /// Who holds what; needed for `pid`.
    pub holders: Arc<Holders>,
}

impl Filter {
    fn passes(&self, socket: &Socket, now_ns: u64) -> bool {
        self.state.is_none_or(|state| socket.state == state)
            && self.min_age_ms.is_none_or(|age_ms| socket.age_ms(now_ns) >= age_ms)
            && self.port.is_none_or(|port| socket.tuple.has_port(port))
            && self.peer.is_none_or(|peer| socket.tuple.is_peer(peer))
            && self.netns.is_none_or(|netns| socket.netns == netns)
            && self.pid.is_none_or(|pid| self.is_of(socket, pid))
    }

    fn is_of(&self, socket: &Socket, pid: u32) -> bool {
        self.holders.of(socket).iter().any(|holder| holder.pid == pid)
            || (socket.inode == 0 && socket.actor.is_some_and(|process| process.pid == pid))
    }
}

/// Sockets in the order of their cookies, which is the order in which they were first asked about.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub sockets: Vec<Socket>,
    /// All that pass the filter, on every page.
    pub total: u64,
    /// What [`Filter::after`] must be for the next page; `None` on the last one.
    pub next: Option<u64>,
}

pub(super) fn page<'a>(sockets: impl Iterator<Item = &'a Socket>, filter: &Filter, now_ns: u64) -> Page {
    let mut total = 0;
    let mut more = false;
    // The smallest cookies of those after the cursor, the largest of them on top.
    let mut smallest = BinaryHeap::<(u64, ByCookie<'a>)>::new();
    for socket in sockets.filter(|socket| filter.passes(socket, now_ns)) {
        total += 1;
        if filter.after.is_some_and(|after| socket.cookie <= after) {
            continue;
        }
        smallest.push((socket.cookie, ByCookie(socket)));
        if smallest.len() > filter.limit {
            smallest.pop();
            more = true;
        }
    }
    let sockets: Vec<_> =
        smallest.into_sorted_vec().into_iter().map(|(_, ByCookie(socket))| socket.clone()).collect();
    let next = sockets.last().filter(|_| more).map(|socket| socket.cookie);
    Page { sockets, total, next }
}

/// Cookies are unique, so what they belong to never decides the order.
struct ByCookie<'a>(&'a Socket);

impl PartialEq for ByCookie<'_> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ByCookie<'_> {}

impl PartialOrd for ByCookie<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByCookie<'_> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}
