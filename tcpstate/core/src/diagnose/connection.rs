//! The facts of one connection: which side this host is on, who spoke last and since when, and who owes the next word.

use tcpstate_common::TcpState;

use super::{NS_PER_MS, history::Heard, socket_view::SocketView, view::View};
use crate::track::Socket;

/// Two times that are so close are one moment, ns: the kernel keeps them in ticks of up to 10 ms.
const MOMENT_NS: u64 = 12_000_000;
/// The EOF counts as one byte in the receive queue until it is read (`tcp_fin` in `net/ipv4/tcp_input.c` advances
/// `rcv_nxt`; `tcp_diag_get_info` reports `rcv_nxt - copied_seq`).
pub(super) const EOF_BYTES: u32 = 1;

/// Which side of a connection a socket is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Side {
    /// The peer opened it: a listener of this host took it.
    Server,
    /// A process of this host opened it.
    Client,
}

impl Side {
    pub(super) fn opposite(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Party {
    Here,
    Peer,
}

/// Who has to speak next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Owed {
    pub(super) by: Party,
    /// Since the other party's last word, or since the connection was opened, monotonic ns.
    pub(super) since_ns: u64,
    /// Nobody has sent anything yet.
    pub(super) is_first: bool,
}

/// Which side a socket is: by the packet that opened the connection where that was seen, else by a listener at its port,
/// else by the port.
pub(super) fn side(view: &View<'_>, socket: &Socket) -> Side {
    if let Some(opened) = socket.opened {
        return if opened.active { Side::Client } else { Side::Server };
    }
    let local = socket.tuple.local;
    if view.listener_at(socket.netns, local).is_some() {
        return Side::Server;
    }
    let (first, last) = view.local_ports(socket.netns);
    if (first..=last).contains(&local.port()) { Side::Client } else { Side::Server }
}

/// Who spoke last, and when; `None` where that is not known, or nobody has spoken.
fn last_word(heard: &Heard) -> Option<(Party, u64)> {
    match (heard.has_sent?, heard.has_received?) {
        (false, false) => None,
        (true, false) => Some((Party::Here, heard.sent_ns)),
        (true, true) if heard.sent_ns > heard.received_ns => Some((Party::Here, heard.sent_ns)),
        (_, true) => Some((Party::Peer, heard.received_ns)),
    }
}

/// Who owes the next word, in a protocol of requests and answers: the server answers, the client asks. Where question and
/// answer are one moment, the question was answered. `None` where `tcp_info` was not read.
pub(super) fn owed(view: &View<'_>, seen: &SocketView<'_>) -> Option<Owed> {
    let (socket, heard) = (seen.socket(), view.heard(seen)?);
    let side = side(view, &socket);
    let client = match side {
        Side::Server => Party::Peer,
        Side::Client => Party::Here,
    };
    let server = if client == Party::Here { Party::Peer } else { Party::Here };
    let (has_sent, has_received) = (heard.has_sent?, heard.has_received?);
    // What a request spent in the accept queue, its server does not owe.
    let accepted_ns = view.history.accepted_ns(socket.cookie).unwrap_or(0);
    if !has_sent && !has_received {
        let since_ns = socket.opened.map_or(heard.moved_ns(), |opened| opened.at_ns);
        return Some(Owed { by: client, since_ns, is_first: true });
    }
    let (last, since_ns) = last_word(heard)?;
    let is_answered = has_sent && has_received && heard.sent_ns.abs_diff(heard.received_ns) <= MOMENT_NS;
    let by = if last == client && !is_answered { server } else { client };
    Some(Owed { by, since_ns: since_ns.max(accepted_ns), is_first: false })
}

/// For how long the party has owed the next word, ms, as of the last look; `None` if it does not.
pub(super) fn owed_ms(view: &View<'_>, seen: &SocketView<'_>, by: Party) -> Option<u64> {
    let owed = owed(view, seen)?;
    let heard = view.heard(seen)?;
    (owed.by == by).then(|| heard.at_ns.saturating_sub(owed.since_ns) / NS_PER_MS)
}

/// Whether all that came in has been read, but for an EOF.
pub(super) fn is_read(socket: &Socket) -> bool {
    let eof = if socket.state == TcpState::Established { 0 } else { EOF_BYTES };
    socket.rqueue <= eof
}
