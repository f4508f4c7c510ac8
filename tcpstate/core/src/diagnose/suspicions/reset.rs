//! What is said of RSTs, by their reason (`enum sk_rst_reason` in `include/net/rstreason.h`).

use super::{Harm, idle_end};
use crate::diagnose::{
    class::Class,
    connection::Side,
    events::{Events, Group},
    evidence::What,
    format, naming,
    suspicion::Suspicion,
    view::View,
};

/// Judges a group of RSTs. `None`: it is not worth a word.
pub(super) fn judge(
    view: &View<'_>,
    events: &Events,
    suspicion: &mut Suspicion,
    group: &Group,
) -> Option<()> {
    match suspicion.key.class {
        Class::RstUnreadData => unread_data(view, suspicion, group)?,
        Class::RstLingerZero => linger_zero(view, suspicion, group),
        Class::IdleTimeoutReset => idle_end::timeout(view, events, suspicion, group)?,
        Class::RstListenerClosed => listener_closed(view, suspicion),
        Class::KeepaliveRace => idle_end::race(view, events, suspicion, group)?,
        Class::WriteAfterFin => idle_end::written_after(view, events, suspicion, group),
        Class::PeerLostState => peer_lost(view, suspicion, group),
        Class::KeepaliveTimeout => keepalive_timeout(view, suspicion),
        _ => return None,
    }
    Some(())
}

/// `close()` with data in the receive queue sends RST instead of FIN (`__tcp_close`; RFC 2525 section 2.17). So does the
/// end of a process that had not read all.
fn unread_data(view: &View<'_>, suspicion: &mut Suspicion, group: &Group) -> Option<()> {
    let main = *suspicion.members.first()?;
    let who = naming::who(view, &suspicion.members);
    let unread = group
        .unread
        .map_or_else(|| "unread data".to_owned(), |bytes| format!("up to {} unread", format::bytes(bytes)));
    let harmful = group.harmful();
    let peers = tell_peers(view, group, Side::Client);
    if harmful == 0 {
        let count = format::count(suspicion.count, "connection");
        let all_ended = group.ended >= suspicion.count;
        let why = if all_ended {
            "the answers were for processes that have ended"
        } else {
            "it is the client that did not want the rest of the answer"
        };
        suspicion.harm = Some(Harm::NoneSeen(why.to_owned()));
        suspicion.verdict = if all_ended {
            let who = naming::plainly(view, &suspicion.members);
            format!(
                "{who} ended with {unread} on {count}{peers}; the server got a RST and may log a lost client"
            )
        } else {
            format!(
                "{who} closed {count}{peers} before it had read the answer, with {unread}; the server got a RST"
            )
        };
        "Read the answer to its end, or cancel the request, before the connection is closed or the process exits."
            .clone_into(&mut suspicion.remedy);
        suspicion.evidence.push(reason(view, "TCP_ABORT_ON_CLOSE"));
        suspicion.evidence.push("the server is not at fault".to_owned());
        return Some(());
    }
    match view.evidence.processes.get(&main.process.pid) {
        None => {
            suspicion.harm =
                Some(Harm::NoneSeen("the process may have ended, which looks the same".to_owned()));
            suspicion
                .cannot_see
                .push(format!("whether process {} has ended, which would look the same", main.process.pid));
        }
        Some(facts) => {
            let offset_ns = view.evidence.boot_offset_ns.unwrap_or(0);
            let started_ns = facts.start_boottime_ns.map_or(0, |start| start.saturating_sub(offset_ns));
            let is_alone = suspicion.members.len() == 1;
            if is_alone && group.ended == 0 && (facts.exited || started_ns > group.last_ns) {
                return None;
            }
            suspicion.harm = Some(Harm::fails("answer", harmful));
        }
    }
    suspicion.verdict = format!(
        "{who} closed {} with {unread}, so that the peer got a RST and may have lost the answer",
        format::count(harmful, "connection")
    );
    "Read until EOF before close(), or shutdown(SHUT_WR) first and drain what still comes in."
        .clone_into(&mut suspicion.remedy);
    let reason = reason(view, "TCP_ABORT_ON_CLOSE");
    suspicion.evidence.push(format!("{reason}, and the process goes on running"));
    Some(())
}

/// Why the RSTs were sent, and how that is known.
fn reason(view: &View<'_>, name: &str) -> String {
    if view.unseen(What::ResetReasons, None).is_none() {
        return format!("the kernel's reason is {name}");
    }
    format!("this kernel gives no reason; by the socket's state and what was unread it is {name}")
}

/// The other end, for a sentence: " to postgres[34]", or " to 10.0.0.7:443".
pub(super) fn tell_peers(view: &View<'_>, group: &Group, side: Side) -> String {
    let mut remotes = group.remotes(side);
    let more = remotes.len().saturating_sub(super::MAX_TOLD);
    remotes.truncate(super::MAX_TOLD);
    remotes.extend((more > 0).then(|| format!("{more} more")));
    let at = format::list(&remotes);
    let peers = group.peers();
    let who = if peers.is_empty() { String::new() } else { format!(" ({})", naming::who(view, &peers)) };
    if at.is_empty() { String::new() } else { format!(" to {at}{who}") }
}

/// `SO_LINGER` with 0: `tcp_disconnect` instead of a FIN, counted as `TCPAbortOnData`.
fn linger_zero(view: &View<'_>, suspicion: &mut Suspicion, group: &Group) {
    let who = naming::who(view, &suspicion.members);
    let harmful = group.harmful();
    let reason = reason(view, "TCP_STATE");
    suspicion.evidence.push(format!("{reason}, in the process that closed; TCPAbortOnData has risen"));
    if harmful == 0 {
        let (of_them, they_were) =
            if suspicion.count == 1 { ("it", "it was") } else { ("any of them", "they were") };
        let why = format!("nothing was unsent, unread or owed on {of_them}");
        suspicion.verdict = format!(
            "{who} ended {}{} by RST (SO_LINGER 0) when {they_were} no longer needed; {}",
            format::count(suspicion.count, "connection"),
            tell_peers(view, group, Side::Client),
            view.none_seen(&why)
        );
        suspicion.harm = Some(Harm::NoneSeen(why));
        "Nothing has to be changed: proxies end idle connections so by design, to leave no TIME_WAIT behind."
            .clone_into(&mut suspicion.remedy);
        return;
    }
    suspicion.harm = Some(if group.with_data == 0 {
        suspicion.cannot_see.push(
            "whether these connections carried data: a check of a load balancer carries none".to_owned(),
        );
        Harm::NoneSeen("it is not known whether they carried data".to_owned())
    } else {
        Harm::DataLost { count: harmful, occasions: harmful }
    });
    suspicion.verdict = format!(
        "{who} closed {} abortively: the peer got a RST, and what was on its way is lost",
        format::count(harmful, "connection")
    );
    "Remove SO_LINGER with timeout 0 from the socket options, and close normally."
        .clone_into(&mut suspicion.remedy);
}

/// `inet_csk_listen_stop`: the children that nobody accepted are reset, without their owner's lock.
fn listener_closed(view: &View<'_>, suspicion: &mut Suspicion) {
    let who = naming::who(view, &suspicion.members);
    let place = suspicion.key.place.map_or_else(String::new, format::listener);
    suspicion.harm = Some(Harm::fails("connection", suspicion.count));
    suspicion.verdict = format!(
        "{} that nobody had accepted {} reset when the listener {place} of {who} was closed",
        format::count(suspicion.count, "connection"),
        if suspicion.count == 1 { "was" } else { "were" }
    );
    "Accept what is in the queue before closing the listener, or hand the listener over (SO_REUSEPORT, socket activation)."
        .clone_into(&mut suspicion.remedy);
    suspicion.evidence.push(format!("{}, and no process held these sockets", reason(view, "TCP_STATE")));
}

/// The peer's host answered with RST because it has no such connection (RFC 9293 section 3.5.2, group 1).
fn peer_lost(view: &View<'_>, suspicion: &mut Suspicion, group: &Group) {
    let who = naming::who(view, &suspicion.members);
    let peer = suspicion.subject.peer.clone().unwrap_or_default();
    suspicion.harm = Some(Harm::fails("request", suspicion.count));
    let silent_ms = group.idle_ms.filter(|ms| *ms >= 1_000);
    let idle = silent_ms.map_or_else(String::new, |ms| format!(" after {} of silence", format::duration(ms)));
    // Within a host nothing but the peer itself can forget a connection.
    let is_local = suspicion.key.place.is_some_and(|place| place.ip().to_canonical().is_loopback());
    let forgetful = if is_local { "the peer" } else { "the peer, or a NAT on the way," };
    suspicion.verdict = format!(
        "{who} sent on {} to {peer}{idle} and got a RST: {forgetful} has forgotten {}",
        format::count(suspicion.count, "open connection"),
        if suspicion.count == 1 { "it" } else { "them" }
    );
    "Turn on keepalive with an interval below the NAT's or firewall's idle timeout (net.ipv4.tcp_keepalive_time is 2 hours)."
        .clone_into(&mut suspicion.remedy);
    if group.at_both_ends {
        suspicion
            .evidence
            .push("the peer is on this host and answered NO_SOCKET to a segment that was no SYN".to_owned());
    }
}

/// Probes without answer (`tcp_keepalive_timer`): the kernel gave the connection up with `ETIMEDOUT`.
fn keepalive_timeout(view: &View<'_>, suspicion: &mut Suspicion) {
    let who = naming::who(view, &suspicion.members);
    let peer = suspicion.subject.peer.clone().unwrap_or_default();
    suspicion.harm = Some(Harm::fails("connection", suspicion.count));
    suspicion.verdict = format!(
        "{peer} did not answer the keepalive probes of {who} on {}, which the kernel has ended",
        format::count(suspicion.count, "connection")
    );
    "Check the peer and the path to it; keepalive has done what it is for.".clone_into(&mut suspicion.remedy);
    suspicion
        .evidence
        .push("the kernel's reason is TCP_KEEPALIVE_TIMEOUT (ETIMEDOUT at the application)".to_owned());
}
