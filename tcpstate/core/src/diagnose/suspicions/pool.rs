//! Connections of clients that the server has ended, and that their process keeps: a pool's, which are closed when they
//! are needed again, or a leak's. A leak in a client looks like a pool; the difference is what happens meanwhile. A pool
//! opens a new connection when its others are in use; a leak opens a new one while the old ones lie unused.

use std::net::SocketAddr;

use foldhash::HashMap;

use super::{
    Growth, Harm, Suspected, base, blame_holders,
    close_wait::{self, set_place, tell_ages, tell_peers},
    descriptors, growth, since,
};
use crate::diagnose::{
    NS_PER_MS,
    class::Class,
    connection::Side,
    format, naming,
    socket_view::SocketView,
    suspicion::{Key, Suspicion},
    view::View,
};

/// A connection that was opened so much later than another one ended was opened while that one lay unused, ns.
const LATER_NS: u64 = 1_000_000_000;

/// Judges those of one program: all that are a leak are one suspicion, and all that are a pool's are another.
pub(super) fn judge(view: &View<'_>, key: Key, members: &[&SocketView<'_>], suspected: &mut Suspected) {
    let mut by_server = HashMap::<SocketAddr, Vec<&SocketView<'_>>>::default();
    for seen in members {
        by_server.entry(seen.socket().tuple.remote).or_default().push(seen);
    }
    let mut is_leak = HashMap::<SocketAddr, bool>::default();
    for (server, of_server) in &by_server {
        let series = Key { class: Class::CloseWaitIdlePool, place: Some(*server), ..key };
        suspected.counts.push((series, of_server.len() as u64, since(of_server)));
        // A process that has read the EOF of some of them looks at its connections, and does not close them.
        let has_read = of_server.iter().any(|seen| seen.socket().rqueue == 0);
        let leaks = leaks(view, &series, of_server);
        if leaks {
            suspected.leaks.push(series);
        }
        is_leak.insert(*server, leaks || has_read);
    }
    let (leaked, pooled): (Vec<_>, Vec<_>) = members
        .iter()
        .copied()
        .partition(|seen| is_leak.get(&seen.socket().tuple.remote).copied().unwrap_or(false));
    if !leaked.is_empty() {
        let is_proven = suspected.leaks.iter().any(|leak| leak.program == key.program);
        suspected.suspicions.push(leak(view, key, &leaked, is_proven));
    }
    if !pooled.is_empty() {
        let key = Key { class: Class::CloseWaitIdlePool, ..key };
        suspected.suspicions.push(pool(view, key, &pooled));
    }
}

/// Whether the connections to one server are a leak. One that was called so stays one while its sockets are there.
fn leaks(view: &View<'_>, series: &Key, members: &[&SocketView<'_>]) -> bool {
    let thresholds = view.thresholds;
    if view.history.is_leak(series) {
        return true;
    }
    let oldest_ns = since(members);
    let count = members.len() as u64;
    if !view.grows(series, count, oldest_ns) {
        return false;
    }
    let opened: Vec<_> = members.iter().filter_map(|seen| seen.socket().opened).collect();
    if opened.is_empty() {
        // It is not known when they were opened: pools have maxima of tens.
        return count > thresholds.pool_max;
    }
    let later = opened.iter().filter(|opened| opened.at_ns > oldest_ns.saturating_add(LATER_NS)).count();
    later as u64 >= thresholds.several
}

fn leak(view: &View<'_>, key: Key, members: &[&SocketView<'_>], is_proven: bool) -> Suspicion {
    let mut suspicion = base(key, members);
    let unread = members.iter().filter(|seen| seen.socket().rqueue > 0).count() as u64;
    // What was found to be a leak has grown already.
    let grown = growth(view, &key, members).map(|grown| if is_proven { Growth::Grows } else { grown });
    suspicion.harm = grown.map(Harm::RunsOut);
    if unread == 0 {
        close_wait::leak(view, &mut suspicion, members);
        tell_peers(&mut suspicion, members);
        return suspicion;
    }
    let who = blame_holders(view, &mut suspicion, members);
    set_place(view, &mut suspicion, members, Side::Client);
    suspicion.limit = descriptors(view, &suspicion.members);
    suspicion.tells_trend = true;
    let oldest = format::duration(super::oldest_ms(members));
    suspicion.verdict = format!(
        "{who} has {} to {} that the server closed, the oldest {oldest} ago, and that it neither looked at again nor closed",
        format::count(suspicion.count, "connection"),
        naming::say_peers(members, Side::Client)
    );
    "Close every connection that is given up, on error paths too: close the response, the statement or the session that owns it."
        .clone_into(&mut suspicion.remedy);
    tell_ages(&mut suspicion, members);
    tell_peers(&mut suspicion, members);
    let read = suspicion.count - unread;
    if read > 0 {
        suspicion.evidence.push(format!(
            "{} of them {} read to the EOF, and not closed",
            format::digits(read),
            if read == 1 { "was" } else { "were" }
        ));
    }
    if is_proven {
        suspicion.evidence.push(
            "it opened new connections while these lay unused, and used none of them again: a pool would have".to_owned(),
        );
    }
    suspicion
}

fn pool(view: &View<'_>, key: Key, members: &[&SocketView<'_>]) -> Suspicion {
    let mut suspicion = base(key, members);
    let noticed = growth(view, &key, members).is_some();
    let who = blame_holders(view, &mut suspicion, members);
    set_place(view, &mut suspicion, members, Side::Client);
    tell_peers(&mut suspicion, members);
    let count = suspicion.count;
    let stale = format::count(count, "stale connection");
    let peer = naming::say_peers(members, Side::Client);
    let oldest = format::duration(super::oldest_ms(members));
    // What grew a moment ago may go on growing.
    let age_ns = view.evidence.at_ns.saturating_sub(youngest_ns(members));
    let steady = age_ns >= view.thresholds.trend_ms * NS_PER_MS;
    let why = if steady {
        format!("their number has not grown for {}", format::duration(age_ns / NS_PER_MS))
    } else {
        "they were not there for long, and it is not known yet whether they grow in number".to_owned()
    };
    suspicion.harm = noticed.then(|| Harm::NoneSeen(why.clone()));
    suspicion.verdict = format!(
        "{who} keeps {stale} to {peer} that the server closed first, the oldest {oldest} ago; {}",
        view.none_seen(&why)
    );
    "Let the pool drop idle connections earlier than the server does; what is written into one of these is lost."
        .clone_into(&mut suspicion.remedy);
    tell_ages(&mut suspicion, members);
    let most = members.iter().map(|seen| seen.socket().rqueue).max().unwrap_or(0);
    suspicion.evidence.push(format!(
        "at most {} unread: the EOF{}",
        format::bytes(most.into()),
        if most > 1 { " and a farewell of the protocol" } else { "" }
    ));
    suspicion
}

fn youngest_ns(members: &[&SocketView<'_>]) -> u64 {
    members.iter().map(|seen| seen.since_ns()).max().unwrap_or(0)
}
