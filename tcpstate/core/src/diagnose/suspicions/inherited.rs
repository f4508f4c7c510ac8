//! Connections that a process has only because its parent had them: their close in the parent sends no FIN, and nobody
//! reads what the client says (`fork(2)`: a child has copies of all descriptors).

use tcpstate_common::TcpState;

use super::{
    Harm, blame_holders,
    close_wait::{set_place, tell_ages},
    descriptors, side_of,
};
use crate::{
    diagnose::{
        NS_PER_MS,
        class::Class,
        connection::{self, Party, Side},
        format,
        naming::{self, say_peers},
        socket_view::{Holding, SocketView},
        suspicion::{Key, Suspicion},
        view::{START_SLACK_NS, View},
    },
    track::Holder,
};

/// A process that is forked to serve a connection starts within this time of it, ns.
const FORK_FOR_IT_NS: u64 = 1_000_000_000;
/// Super-servers (inetd, systemd with `Accept=yes`) pass a connection on as one of the first descriptors.
const PASSED_ON_FDS: std::ops::RangeInclusive<u32> = 0..=3;

/// An open connection that only a child has, and that it does not serve: what came in is unread, or its parent had it
/// before.
pub(super) fn sort(view: &View<'_>, seen: &SocketView<'_>, holder: &Holder) -> Option<Key> {
    let is_suspect = is_unread(view, seen)
        || parent_before(view, seen, holder).is_some()
        || copied(view, seen, holder).is_some()
        || is_left_alone(view, seen, holder);
    (is_suspect && is_inherited(view, seen, holder))
        .then(|| view.key_of(Class::FdInherited, seen.socket().netns, Some(holder), None))
}

/// Whether something has come in that nobody reads.
fn is_unread(view: &View<'_>, seen: &SocketView<'_>) -> bool {
    seen.socket().rqueue > 0 && view.quiet_ms(seen) >= view.thresholds.frozen_ms
}

/// Where this end had spoken before its holder was started, and nothing has moved since then: another process served the
/// connection, and this one does not. Then whether it is known to be a copy: with `fork(2)` descriptors keep their
/// numbers; a connection that is passed on to another process gets a new one.
fn copied(view: &View<'_>, seen: &SocketView<'_>, holder: &Holder) -> Option<bool> {
    let (heard, started_ns) = view.heard(seen).zip(view.started_ns(holder))?;
    if heard.has_sent != Some(true) || heard.moved_ns().saturating_add(FORK_FOR_IT_NS) >= started_ns {
        return None;
    }
    match view.history.first_holder(seen.socket().cookie) {
        Some(first) if first.pid != holder.pid => (first.fd == holder.fd).then_some(true),
        _ => Some(false),
    }
}

/// Whether the peer waits for an answer on one of several connections that the parent had served before its child was
/// started, and the child has not said a word since.
fn is_left_alone(view: &View<'_>, seen: &SocketView<'_>, holder: &Holder) -> bool {
    let Some((heard, started_ns)) = view.heard(seen).zip(view.started_ns(holder)) else { return false };
    // The parent may have spoken a last time right after the start.
    heard.sent_ns <= started_ns.saturating_add(FORK_FOR_IT_NS)
        && connection::owed_ms(view, seen, Party::Here).is_some_and(|ms| ms >= view.thresholds.settle_ms)
        && view.is_left_with_served(holder.pid)
}

/// The parent, if that held the socket before and does not now. A parent may also have passed a connection on to a
/// worker, which then serves it: a child with copies of others of its parent's connections has inherited them all.
fn parent_before(view: &View<'_>, seen: &SocketView<'_>, holder: &Holder) -> Option<Holder> {
    let first = *view.history.first_holder(seen.socket().cookie)?;
    let parent = view.process(holder.pid, holder.start_boottime_ns)?.ppid?;
    let is_copy = || is_unread(view, seen) || view.shares_with_parent(holder.pid);
    (first.pid != holder.pid && first.pid == parent && is_copy()).then_some(first)
}

/// Whether the only holder started when the connection was there already, and was not made for it.
pub(super) fn is_inherited(view: &View<'_>, seen: &SocketView<'_>, holder: &Holder) -> bool {
    let Holding::By { processes: 1, .. } = seen.holding() else { return false };
    if parent_before(view, seen, holder).is_some() || is_left_alone(view, seen, holder) {
        return true;
    }
    let Some(started_ns) = view.started_ns(holder) else { return false };
    let socket = seen.socket();
    let born_ns = socket.opened.map_or_else(|| born_at_latest(view, seen), |opened| opened.at_ns);
    if started_ns <= born_ns.saturating_add(START_SLACK_NS) || PASSED_ON_FDS.contains(&holder.fd) {
        return false;
    }
    if connection::side(view, &socket) == Side::Client || copied(view, seen, holder).is_some() {
        return true;
    }
    // A child that was forked for the connection, or a new worker that accepted one that had been waiting, looks the
    // same, unless it does not read.
    let has_listener = view.listener_at(socket.netns, socket.tuple.local).is_some_and(|listening| {
        view.evidence.holders.of(&listening.socket).any(|one| one.pid == holder.pid)
    });
    match (started_ns > born_ns.saturating_add(FORK_FOR_IT_NS), has_listener) {
        (true, false) => true,
        (_, true) => socket.rqueue > 0,
        (false, false) => false,
    }
}

/// `tcpi_last_data_*` begin with the connection (`tcp_create_openreq_child`, `tcp_finish_connect`), so it is at least
/// that old.
fn born_at_latest(view: &View<'_>, seen: &SocketView<'_>) -> u64 {
    let known = view.heard(seen).map_or([0; 2], |heard| [heard.sent_ns, heard.received_ns]);
    known.into_iter().filter(|ns| *ns != 0).fold(seen.since_ns(), u64::min)
}

pub(super) fn judge(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let open: Vec<_> =
        members.iter().filter(|seen| seen.socket().state == TcpState::Established).copied().collect();
    if !open.is_empty() {
        let longest_ms = open.iter().map(|seen| waits_ms(view, seen)).max().unwrap_or(0);
        let is_known = |seen: &&SocketView<'_>| {
            let Some(holder) = seen.holder() else { return false };
            is_unread(view, seen)
                || copied(view, seen, &holder) != Some(false)
                || is_left_alone(view, seen, &holder)
        };
        suspicion.harm = Some(if open.iter().any(is_known) {
            Harm::Waits { count: open.len() as u64, longest_ms, too_long: false }
        } else {
            suspicion.cannot_see.push(
                "whether they were inherited or passed on: who had them before was not seen (close-on-exec in the flags of /proc/PID/fdinfo/FD would tell)".to_owned(),
            );
            Harm::NoneSeen("they may have been passed on to be served later".to_owned())
        });
    }
    let who = blame_holders(view, suspicion, members);
    let side = side_of(view, members);
    set_place(view, suspicion, members, side);
    suspicion.limit = descriptors(view, &suspicion.members);
    suspicion.tells_trend = true;
    let (they_were, them) = if suspicion.count == 1 { ("it was", "it") } else { ("they were", "them") };
    let former = former_holder(view, members);
    let from =
        former.map_or_else(String::new, |former| format!(" from {}", naming::who_holds(view, &former)));
    suspicion.verdict = format!(
        "{who} is the only holder of {} {} {}, but it was started after {they_were} made: it has inherited {them}{from} and does not use {them}",
        format::count(suspicion.count, "connection"),
        if side == Side::Server { "from" } else { "to" },
        say_peers(members, side),
    );
    "Open sockets with SOCK_CLOEXEC (accept4, socket), or close them in the child after fork()."
        .clone_into(&mut suspicion.remedy);
    tell_ages(suspicion, members);
    if former.is_none()
        && let Some(holder) = members.iter().find_map(|seen| seen.holder())
        && let Some(parent) = view.process(holder.pid, holder.start_boottime_ns).and_then(|known| known.ppid)
    {
        suspicion
            .evidence
            .push(format!("its parent is process {parent}, which does not hold {them} any more"));
    }
    suspicion
        .evidence
        .push("the close by the process that made them sent no FIN, because this copy is open".to_owned());
    let unread: u64 = open.iter().map(|seen| u64::from(seen.socket().rqueue)).sum();
    if unread > 0 {
        suspicion.evidence.push(format!("{} from the peer are unread, and stay so", format::bytes(unread)));
    }
    let waiting = open.iter().find_map(|seen| view.other_end(seen)?.holder());
    if let Some(waiting) = waiting {
        suspicion.evidence.push(format!("{} waits at the other end", naming::who_holds(view, &waiting)));
    }
}

/// Who had them before: the parent, if that was seen to, or else the process whose listener took them.
fn former_holder(view: &View<'_>, members: &[&SocketView<'_>]) -> Option<Holder> {
    let former = |seen: &&SocketView<'_>| {
        let (socket, holder) = (seen.socket(), seen.holder()?);
        let server = || {
            let listening = view.listener_at(socket.netns, socket.tuple.local)?;
            listening.main_holder().filter(|server| server.pid != holder.pid)
        };
        parent_before(view, seen, &holder).or_else(server)
    };
    members.iter().find_map(former)
}

/// For how long the other end has been waiting, ms: since it last said something, or since data last went at all.
fn waits_ms(view: &View<'_>, seen: &SocketView<'_>) -> u64 {
    let heard_ms = view.heard(seen).map(|heard| heard.at_ns.saturating_sub(heard.moved_ns()) / NS_PER_MS);
    view.quiet_ms(seen).max(heard_ms.unwrap_or(0))
}
