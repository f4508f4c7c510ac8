//! Open connections that a client never uses again: it makes a new one for each request, and the old ones lie idle until
//! there is no descriptor left. A pool reuses its connections, and has never more than were once busy at a time.

use std::{cmp::Reverse, net::SocketAddr};

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{Growth, Harm, Suspected, base, blame_holders, descriptors};
use crate::diagnose::{
    NS_PER_MS,
    class::Class,
    connection::{self, Party, Side},
    format,
    socket_view::SocketView,
    suspicion::{Key, Suspicion},
    view::View,
};

/// From this time on without data a connection lies idle, ms.
const IDLE_MS: u64 = 5_000;
/// A limit that is reached within this time is harm, s.
const DAY_S: f64 = 86_400.0;

/// The open connections of one program to one destination.
#[derive(Debug, Default)]
struct Towards<'v> {
    idle: Vec<&'v SocketView<'v>>,
    used_again: u64,
}

/// Whether a socket may be one of those: open, made by a process of this host, with nothing in its queues.
fn is_quiet_client(view: &View<'_>, seen: &SocketView<'_>) -> bool {
    let socket = seen.socket();
    socket.state == TcpState::Established
        && socket.rqueue == 0
        && socket.wqueue == 0
        && connection::side(view, &socket) == Side::Client
}

pub(super) fn judge(view: &View<'_>, suspected: &mut Suspected) {
    let mut towards = HashMap::<Key, Towards<'_>>::default();
    let mut served = HashMap::<u32, u64>::default();
    for seen in view.seen.iter().filter(|seen| seen.socket().state == TcpState::Established) {
        let Some(holder) = seen.holder() else { continue };
        if !is_quiet_client(view, seen) {
            *served.entry(holder.pid).or_default() += 1;
            continue;
        }
        // Only what tcp_info tells is known to be idle.
        let Some(heard) = view.heard(seen) else { continue };
        let socket = seen.socket();
        let key = view.key_of(Class::EstablishedLeak, socket.netns, Some(&holder), Some(socket.tuple.remote));
        // One on which the server owes the answer is in use.
        if connection::owed(view, seen).is_none_or(|owed| owed.by == Party::Peer) {
            continue;
        }
        let of_these = towards.entry(key).or_default();
        if heard.used_again {
            of_these.used_again += 1;
        } else if heard.at_ns.saturating_sub(heard.moved_ns()) / NS_PER_MS >= IDLE_MS {
            of_these.idle.push(seen);
        }
    }
    let mut towards: Vec<_> = towards.into_iter().collect();
    towards.sort_by_key(|(key, of_these)| (Reverse(of_these.idle.len()), *key));
    for (key, Towards { mut idle, used_again }) in towards {
        idle.sort_by_key(|seen| (seen.since_ns(), seen.socket().cookie));
        let count = idle.len() as u64;
        if count < view.thresholds.idle_connections && !view.history.is_leak(&key) {
            continue;
        }
        let since_ns = idle.first().map_or(0, |seen| seen.since_ns());
        // A program that passes its clients on has a connection for each of them.
        let pids = super::naming::holders(&idle);
        let clients: u64 = pids.iter().filter_map(|member| served.get(&member.process.pid)).sum();
        let is_leak = view.history.is_leak(&key)
            || (view.grows(&key, count, since_ns)
                && were_opened_while_idle(view, &idle)
                && used_again * 10 <= count
                && clients * 2 < count);
        if is_leak && count > 0 {
            suspected.leaks.push(key);
            suspected.suspicions.push(leak(view, key, &idle, used_again));
        } else {
            suspected.counts.push((key, count, since_ns));
        }
    }
}

/// Whether several were opened after the oldest one had been idle for long.
fn were_opened_while_idle(view: &View<'_>, idle: &[&SocketView<'_>]) -> bool {
    let oldest =
        idle.iter().filter_map(|seen| view.heard(seen)).map(super::super::history::Heard::moved_ns).min();
    let Some(oldest_ns) = oldest else { return false };
    let from_ns = oldest_ns.saturating_add(IDLE_MS * NS_PER_MS);
    let later = idle
        .iter()
        .filter(|seen| seen.socket().opened.map_or_else(|| seen.since_ns(), |opened| opened.at_ns) > from_ns);
    later.count() as u64 >= view.thresholds.several
}

fn leak(view: &View<'_>, key: Key, idle: &[&SocketView<'_>], used_again: u64) -> Suspicion {
    let mut suspicion = base(key, idle);
    let who = blame_holders(view, &mut suspicion, idle);
    let peer = key.place.map_or_else(String::new, |to: SocketAddr| format::address(to));
    suspicion.subject.peer = Some(peer.clone());
    suspicion.limit = descriptors(view, &suspicion.members);
    suspicion.tells_trend = true;
    let at_ns = view.evidence.at_ns;
    let series = view.history.series(&key);
    let rising = series.and_then(|series| series.per_minute(at_ns, suspicion.count, view.thresholds));
    let rising = rising.filter(|per_minute| *per_minute > 0.0);
    #[expect(clippy::cast_precision_loss, reason = "counts of descriptors are exact in a double")]
    let reaches = suspicion.limit.is_some_and(|(_, used, max)| {
        let left = max.saturating_sub(used) as f64;
        format::percent(used, max) >= view.thresholds.limit_percent
            || rising.is_some_and(|per_minute| left * 60.0 / per_minute <= DAY_S)
    });
    suspicion.harm = Some(if reaches {
        Harm::RunsOut(Growth::Grows)
    } else {
        Harm::NoneSeen("no limit is near".to_owned())
    });
    let oldest_ms = idle
        .iter()
        .filter_map(|seen| view.heard(seen))
        .map(|heard| heard.at_ns.saturating_sub(heard.moved_ns()) / NS_PER_MS);
    let unused = idle.iter().filter(|seen| connection::owed(view, seen).is_some_and(|owed| owed.is_first));
    let (again, each) = if unused.count() * 2 > idle.len() {
        ("has never used", "without need")
    } else {
        ("never uses again", "for each request")
    };
    suspicion.verdict = format!(
        "{who} keeps {} to {peer} open that it {again}, the longest idle for {}; it opens new ones {each}",
        format::count(suspicion.count, "connection"),
        format::duration(oldest_ms.max().unwrap_or(0))
    );
    "Share one client or pool for all requests instead of making one for each, and close what is given up; limit idle connections (MaxIdleConnsPerHost and IdleConnTimeout in Go, a shared HttpClient in Java and .NET, one agent in Node)."
        .clone_into(&mut suspicion.remedy);
    suspicion.evidence.push(format!(
        "{} idle in ESTABLISHED; {} used again",
        format::digits(suspicion.count),
        match used_again {
            0 => format!("no connection to {peer} was"),
            1 => format!("one other connection to {peer} was"),
            many => format!("{} other connections to {peer} were", format::digits(many)),
        }
    ));
    suspicion.evidence.push("the server is not at fault: it may wait for the next request".to_owned());
    suspicion
}
