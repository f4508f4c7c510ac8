//! What is said of RSTs, by their reason (`enum sk_rst_reason` in `include/net/rstreason.h`).

use super::{
    events::{Events, Group, warn_from},
    idle::{Habit, MIN_TIMES},
};
use crate::diagnose::{
    NS_PER_MS,
    evidence::What,
    finding::Severity,
    format,
    suspicion::{Key, Suspicion},
    view::View,
};

/// `close()` with data in the receive queue sends RST instead of FIN (`__tcp_close`; RFC 2525 section 2.17). So
/// does the end of a process that is killed, which is nobody's fault: without the process there is no verdict.
pub(super) fn unread_data(
    view: &View<'_>,
    suspicion: &mut Suspicion,
    group: &Group,
    who: &str,
) -> Option<()> {
    let process = group.process?;
    match view.evidence.processes.get(&process.pid) {
        None => {
            suspicion.severity = Some(Severity::Info);
            suspicion
                .cannot_see
                .push(format!("whether process {} has ended, which would look the same", process.pid));
        }
        Some(facts) => {
            let offset_ns = view.evidence.boot_offset_ns.unwrap_or(0);
            let started_ns = facts.start_boottime_ns.map_or(0, |start| start.saturating_sub(offset_ns));
            if facts.exited || started_ns > group.last_ns {
                return None;
            }
        }
    }
    let unread = group
        .unread
        .map_or_else(|| "unread data".to_owned(), |bytes| format!("up to {} unread", format::bytes(bytes)));
    suspicion.verdict = format!(
        "{who} closed {} with {unread}, so that the peer got a RST and may have lost the answer",
        format::count(suspicion.count, "connection")
    );
    "Read until EOF before close(), or shutdown(SHUT_WR) first and drain what still comes in."
        .clone_into(&mut suspicion.remedy);
    suspicion
        .evidence
        .push("the kernel's reason is TCP_ABORT_ON_CLOSE, and the process goes on running".to_owned());
    Some(())
}

/// `SO_LINGER` with 0: `tcp_disconnect` instead of a FIN, counted as `TCPAbortOnData`.
pub(super) fn linger_zero(suspicion: &mut Suspicion, group: &Group, who: &str) {
    if group.with_data == 0 {
        suspicion.severity = Some(Severity::Info);
        suspicion.cannot_see.push(
            "whether these connections carried data: a check of a load balancer carries none".to_owned(),
        );
    }
    suspicion.verdict = format!(
        "{who} closed {} abortively: the peer got a RST, and what was on its way is lost",
        format::count(suspicion.count, "connection")
    );
    "Remove SO_LINGER with timeout 0 from the socket options, and close normally."
        .clone_into(&mut suspicion.remedy);
    suspicion.evidence.push(
        "the kernel's reason is TCP_STATE, in the process that closed; TCPAbortOnData has risen".to_owned(),
    );
}

/// `inet_csk_listen_stop`: the children that nobody accepted are reset, without their owner's lock.
pub(super) fn listener_closed(view: &View<'_>, suspicion: &mut Suspicion, who: &str) {
    let place = suspicion.key.place.map_or_else(String::new, format::listener);
    warn_from(suspicion, view.thresholds.several);
    suspicion.verdict = format!(
        "{} that nobody had accepted {} reset when the listener {place} of {who} was closed",
        format::count(suspicion.count, "connection"),
        if suspicion.count == 1 { "was" } else { "were" }
    );
    "Accept what is in the queue before closing the listener, or hand the listener over (SO_REUSEPORT, socket activation)."
        .clone_into(&mut suspicion.remedy);
    suspicion.evidence.push("the kernel's reason is TCP_STATE, and no process held these sockets".to_owned());
}

/// Data for a connection that the server has closed just before (`tcp_timewait_state_process`,
/// `tcp_rcv_state_process`): the client could not know (RFC 9112 section 9.5). A server that closes no idle connection
/// closes in the middle of a request, which is something else.
pub(super) fn keepalive_race(
    view: &View<'_>,
    events: &Events,
    suspicion: &mut Suspicion,
    group: &Group,
    who: &str,
) -> Option<()> {
    let listener = suspicion.key.place?;
    let Key { netns, pid, .. } = suspicion.key;
    let habit = events.idle.habit(netns, listener, pid, view.thresholds.idle_spread_percent);
    let unseen = view.unseen(What::IdleTimes, None);
    if habit.is_none() && group.idle_ms.is_none() && unseen.is_none() {
        return None;
    }
    let requests = format::count(suspicion.count, "request");
    let within = group.after_close_ns.map(|ns| format!(" within {} ms of", (ns / NS_PER_MS).max(1)));
    let within = within.as_deref().unwrap_or(" after");
    if let Some(Habit { closes, times, after_ms: Some(after_ms), says_farewell }) = habit {
        let after = tenths(after_ms);
        suspicion.evidence.push(format!(
            "idle times of {}: nine in ten within {}% of {after}",
            format::count(times as u64, "close"),
            view.thresholds.idle_spread_percent
        ));
        // A connection that is closed once may meet several requests.
        let met = if suspicion.count <= closes {
            format!("in {} of {} a request", format::digits(suspicion.count), format::count(closes, "close"))
        } else {
            requests
        };
        if says_farewell {
            suspicion.severity = Some(Severity::Info);
            suspicion.cannot_see.push(format!(
                "whether the connections were idle: {who} sent something just before it closed them, which may be a farewell (TLS, HTTP/2) or an answer"
            ));
            suspicion.verdict = format!(
                "{who} closes connections {after} after data last came in; {met} arrived{within} that and got a RST"
            );
        } else {
            if suspicion.count >= view.thresholds.several {
                suspicion.severity = Some(Severity::Warning);
            }
            suspicion.verdict = format!(
                "{who} closes idle connections after {after}; {met} arrived{within} that and got a RST"
            );
        }
    } else {
        suspicion.severity = Some(Severity::Info);
        let why = unseen.unwrap_or_else(|| match habit {
            Some(Habit { times, .. }) if times >= MIN_TIMES => "it differs from close to close".to_owned(),
            _ => "too few closes were seen with it".to_owned(),
        });
        suspicion.cannot_see.push(format!("for how long the connections had been idle: {why}"));
        suspicion.verdict =
            format!("{requests} arrived{within} the close of an idle connection by {who}, and got a RST");
    }
    "Make the server's idle timeout longer than the client's or the balancer's, and let clients repeat idempotent requests."
        .clone_into(&mut suspicion.remedy);
    Some(())
}

/// A time with one decimal, rounded: "5.0 s".
fn tenths(ms: u64) -> String {
    let tenths = ms.saturating_add(50) / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// The peer's host answered with RST because it has no such connection (RFC 9293 section 3.5.2, group 1).
pub(super) fn peer_lost(view: &View<'_>, suspicion: &mut Suspicion, group: &Group, who: &str) {
    let peer = suspicion.subject.peer.clone().unwrap_or_default();
    warn_from(suspicion, view.thresholds.several);
    let idle =
        group.idle_ms.map_or_else(String::new, |ms| format!(" after {} of silence", format::duration(ms)));
    suspicion.verdict = format!(
        "{who} sent on {} to {peer}{idle} and got a RST: the peer, or a NAT on the way, has forgotten {}",
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
pub(super) fn keepalive_timeout(view: &View<'_>, suspicion: &mut Suspicion, who: &str) {
    let peer = suspicion.subject.peer.clone().unwrap_or_default();
    warn_from(suspicion, view.thresholds.several);
    suspicion.verdict = format!(
        "{peer} did not answer the keepalive probes of {who} on {}, which the kernel has ended",
        format::count(suspicion.count, "connection")
    );
    "Check the peer and the path to it; keepalive has done what it is for.".clone_into(&mut suspicion.remedy);
    suspicion
        .evidence
        .push("the kernel's reason is TCP_KEEPALIVE_TIMEOUT (ETIMEDOUT at the application)".to_owned());
}
