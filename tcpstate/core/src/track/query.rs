//! Pages of the table.

use std::{
    collections::{BTreeSet, BinaryHeap},
    net::IpAddr,
    ops::Bound,
    sync::Arc,
};

use tcpstate_common::TcpState;

use super::{
    parked::Holders,
    table::{Socket, Table},
};

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
    /// Whether nothing but the state is asked for.
    fn is_state_alone(&self) -> bool {
        self.min_age_ms.is_none()
            && self.pid.is_none()
            && self.port.is_none()
            && self.peer.is_none()
            && self.netns.is_none()
    }

    fn passes(&self, socket: &Socket, now_ns: u64) -> bool {
        self.min_age_ms.is_none_or(|age_ms| socket.age_ms(now_ns) >= age_ms)
            && self.port.is_none_or(|port| socket.tuple.has_port(port))
            && self.peer.is_none_or(|peer| socket.tuple.is_peer(peer))
            && self.netns.is_none_or(|netns| socket.netns == netns)
            && self.pid.is_none_or(|pid| self.is_of(socket, pid))
    }

    fn is_of(&self, socket: &Socket, pid: u32) -> bool {
        self.holders.of(socket).any(|holder| holder.pid == pid)
            || (socket.inode == 0 && socket.actor.is_some_and(|process| process.pid == pid))
    }
}

/// Sockets in the order of their cookies. Each CPU gives out cookies of a range of its own (`gen_cookie_next` in
/// `include/linux/cookie.h`), so that a socket which comes while pages are read may have its place on one that was read
/// already, and then is on none.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub sockets: Vec<Socket>,
    /// All that pass the filter, on every page.
    pub total: u64,
    /// What [`Filter::after`] must be for the next page; `None` on the last one.
    pub next: Option<u64>,
}

pub(super) fn page(table: &Table, filter: &Filter, now_ns: u64) -> Page {
    match filter.state.filter(|_| filter.is_state_alone()).and_then(|state| table.parked(state)) {
        Some(cookies) => indexed(table, cookies, filter),
        None => searched(table, filter, now_ns),
    }
}

/// The page of a state of which the table keeps the cookies in their order.
fn indexed(table: &Table, cookies: &BTreeSet<u64>, filter: &Filter) -> Page {
    let first = filter.after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut following = cookies.range((first, Bound::Unbounded)).copied();
    let sockets: Vec<_> =
        following.by_ref().take(filter.limit).filter_map(|cookie| table.get(cookie)).collect();
    let more = following.next().is_some();
    let next = sockets.last().filter(|_| more).map(|socket| socket.cookie);
    Page { sockets, total: cookies.len() as u64, next }
}

fn searched(table: &Table, filter: &Filter, now_ns: u64) -> Page {
    let mut total = 0;
    let mut more = false;
    // The smallest cookies of those after the cursor, the largest of them on top.
    let mut smallest = BinaryHeap::new();
    let any_of_the_state = filter.is_state_alone();
    for socket in table.sockets().iter() {
        if filter.state.is_some_and(|state| socket.state != state)
            || !(any_of_the_state || filter.passes(&socket, now_ns))
        {
            continue;
        }
        total += 1;
        if filter.after.is_some_and(|after| socket.cookie <= after) {
            continue;
        }
        smallest.push(socket.cookie);
        if smallest.len() > filter.limit {
            smallest.pop();
            more = true;
        }
    }
    let sockets: Vec<_> =
        smallest.into_sorted_vec().into_iter().filter_map(|cookie| table.get(cookie)).collect();
    let next = sockets.last().filter(|_| more).map(|socket| socket.cookie);
    Page { sockets, total, next }
}
