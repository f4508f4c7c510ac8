//! What is said of RSTs, by their reason (`enum sk_rst_reason` in `include/net/rstreason.h`).

use super::{Harm, main_holder};
use crate::diagnose::{
    class::Class,
    connection::Side,
    events::{Events, Group},
    evidence::What,
    format,
    idle_times::{Habit, MIN_TIMES, Server},
    naming,
    program::{Member, ProgramId},
    settings,
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
        Class::IdleTimeoutReset => idle_timeout(view, events, suspicion, group)?,
        Class::RstListenerClosed => listener_closed(view, suspicion),
        Class::KeepaliveRace => keepalive_race(view, events, suspicion, group)?,
        Class::WriteAfterFin => write_after_fin(view, events, suspicion, group),
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
        suspicion.evidence.push("the kernel's reason is TCP_ABORT_ON_CLOSE".to_owned());
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
    suspicion
        .evidence
        .push("the kernel's reason is TCP_ABORT_ON_CLOSE, and the process goes on running".to_owned());
    Some(())
}

/// The other end, for a sentence: " to postgres[34]", or " to 10.0.0.7:443".
fn tell_peers(view: &View<'_>, group: &Group, side: Side) -> String {
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
    suspicion.evidence.push(
        "the kernel's reason is TCP_STATE, in the process that closed; TCPAbortOnData has risen".to_owned(),
    );
    if harmful == 0 {
        let (of_them, they_were) =
            if suspicion.count == 1 { ("it", "it was") } else { ("any of them", "they were") };
        let why = format!("nothing was unsent, unread or owed on {of_them}");
        suspicion.verdict = format!(
            "{who} ended {}{} by RST (SO_LINGER 0) when {they_were} no longer needed; no harm seen: {why}",
            format::count(suspicion.count, "connection"),
            tell_peers(view, group, Side::Client)
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

/// A server that ends idle connections by RST: its clients learn of it only when they ask the next time.
fn idle_timeout(view: &View<'_>, events: &Events, suspicion: &mut Suspicion, group: &Group) -> Option<()> {
    let server =
        Server { netns: suspicion.key.netns, listener: suspicion.key.place?, program: suspicion.key.program };
    let habit = events.idle.habit(&server, view.thresholds.idle_spread_percent);
    let after = habit.and_then(|habit| habit.after_ms);
    let who = naming::who(view, &suspicion.members);
    let peers = group.peers();
    let clients =
        if peers.is_empty() { format::list(&group.remotes(Side::Server)) } else { naming::who(view, &peers) };
    let count = format::count(suspicion.count, "idle connection");
    let of = if clients.is_empty() { String::new() } else { format!(" of {clients}") };
    let idle = match after {
        Some(after_ms) => format!("each after {} without a request", tenths(after_ms)),
        None => "after different times without a request".to_owned(),
    };
    suspicion.harm = Some(Harm::NoneSeen("nothing was on its way at that moment".to_owned()));
    suspicion.cannot_see.push(
        "whether the client looks before it uses one of them again: if not, its log has errors such as ECONNRESET or \"server has gone away\"".to_owned(),
    );
    suspicion.verdict = format!(
        "{who} ended {count}{of} by RST, {idle}; a client that keeps them longer fails with its next request"
    );
    let timeout = settings::of(&suspicion.subject).and_then(|program| program.idle_timeout);
    suspicion.remedy = format!(
        "Let the client's pool drop idle connections sooner (pool_recycle, maxIdleTime, idleTimeout) or check them before use, or make the server's idle timeout longer{}.",
        timeout.map_or_else(String::new, |setting| format!(" ({setting})"))
    );
    if let Some(habit) = habit.filter(|_| after.is_some()) {
        suspicion.evidence.push(spread(view, habit.times, after));
    }
    suspicion.evidence.push("nothing was unread, unsent or owed on any of them".to_owned());
    Some(())
}

fn spread(view: &View<'_>, times: usize, after_ms: Option<u64>) -> String {
    format!(
        "idle times of {}: nine in ten within {}% of {}",
        format::count(times as u64, "close"),
        view.thresholds.idle_spread_percent,
        tenths(after_ms.unwrap_or(0))
    )
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
    suspicion.evidence.push("the kernel's reason is TCP_STATE, and no process held these sockets".to_owned());
}

/// Data for a connection that the server has closed just before (`tcp_timewait_state_process`,
/// `tcp_rcv_state_process`): the client could not know (RFC 9112 section 9.5). A server that closes no idle connection
/// closes in the middle of a request, which is something else.
fn keepalive_race(view: &View<'_>, events: &Events, suspicion: &mut Suspicion, group: &Group) -> Option<()> {
    let server =
        Server { netns: suspicion.key.netns, listener: suspicion.key.place?, program: suspicion.key.program };
    let habit = events.idle.habit(&server, view.thresholds.idle_spread_percent);
    let unseen = view.unseen(What::IdleTimes, None);
    if habit.is_none() && group.idle_ms.is_none() && unseen.is_none() {
        return None;
    }
    let who = naming::who(view, &suspicion.members);
    let requests = format::count(suspicion.count, "request");
    let within = group.late_ms.map(|(_, most_ms)| format!(" within {} ms of", most_ms.max(1)));
    let within = within.as_deref().unwrap_or(" after");
    let none_seen = |why: &str| Some(Harm::NoneSeen(why.to_owned()));
    if let Some(Habit { closes, times, after_ms: Some(after_ms), says_farewell }) = habit {
        let after = tenths(after_ms);
        suspicion.evidence.push(spread(view, times, Some(after_ms)));
        // A connection that is closed once may meet several requests.
        let met = if suspicion.count <= closes {
            format!("in {} of {} a request", format::digits(suspicion.count), format::count(closes, "close"))
        } else {
            requests
        };
        if says_farewell {
            suspicion.harm = none_seen("what arrived may be a farewell too");
            suspicion.cannot_see.push(format!(
                "whether the connections were idle: {who} sent something just before it closed them, which may be a farewell (TLS, HTTP/2) or an answer"
            ));
            suspicion.verdict = format!(
                "{who} closes connections {after} after data last came in; {met} arrived{within} that and got a RST"
            );
        } else {
            suspicion.harm = Some(Harm::fails("request", suspicion.count));
            suspicion.verdict = format!(
                "{who} closes idle connections after {after}; {met} arrived{within} that and got a RST"
            );
        }
    } else {
        suspicion.harm = none_seen("it is not known whether the connections were idle");
        let why = unseen.unwrap_or_else(|| match habit {
            Some(Habit { times, .. }) if times >= MIN_TIMES => "it differs from close to close".to_owned(),
            _ => "too few closes were seen with it".to_owned(),
        });
        suspicion.cannot_see.push(format!("for how long the connections had been idle: {why}"));
        suspicion.verdict =
            format!("{requests} arrived{within} the close of an idle connection by {who}, and got a RST");
    }
    let timeout = settings::of(&suspicion.subject).and_then(|program| program.idle_timeout);
    suspicion.remedy = format!(
        "Make the server's idle timeout{} longer than the client's or the balancer's, and let clients repeat idempotent requests.",
        timeout.map_or_else(String::new, |setting| format!(" ({setting})"))
    );
    Some(())
}

/// The peer had ended the connection long before, and the writer did not look.
fn write_after_fin(view: &View<'_>, events: &Events, suspicion: &mut Suspicion, group: &Group) {
    let peer = suspicion.subject.peer.clone().unwrap_or_default();
    let harmful = group.harmful();
    let before = match group.late_ms {
        Some((least, most)) if tenths(least) != tenths(most) => {
            format!("{} to {} before", tenths(least), tenths(most))
        }
        Some((_, most)) => format!("{} before", tenths(most)),
        None => "long before".to_owned(),
    };
    let count = if harmful > 0 { harmful } else { suspicion.count };
    let connections = format::count(count, "connection");
    let occasions = group.occasions();
    suspicion.harm = Some(if harmful == 0 {
        Harm::NoneSeen("what it wrote was as short as a farewell".to_owned())
    } else {
        // A server that ended them all at once has not done so again and again.
        Harm::DataLost { count: harmful, occasions }
    });
    let restarts = group.restarts();
    if restarts > 0 {
        let of_them = if restarts == harmful { "all".to_owned() } else { restarts.to_string() };
        suspicion.evidence.push(format!("the server of {of_them} of them has been restarted, or has ended"));
    } else if occasions == 1 && harmful > 1 {
        suspicion.evidence.push("the peer had ended all of them at one time, as at a restart".to_owned());
    }
    let lost = if harmful > 0 {
        "what it wrote was answered by RST and is lost"
    } else {
        "what it wrote was answered by RST, and was as short as a farewell"
    };
    if suspicion.is_of_a_peer() {
        let server = group.peers();
        let whose = if server.is_empty() { "this host".to_owned() } else { naming::who(view, &server) };
        suspicion.verdict =
            format!("{peer} wrote into {connections} that {whose} had ended {before}: {lost}");
        suspicion.evidence.push(format!("{whose} is not at fault: it had sent its FIN"));
    } else {
        let who = naming::who(view, &suspicion.members);
        suspicion.verdict =
            format!("{who} wrote into {connections} to {peer} that the peer had ended {before}: {lost}");
        suspicion
            .evidence
            .push("the peer is not at fault: its FIN had come in, and was not looked for".to_owned());
    }
    let timeout = tell_server(view, events, suspicion);
    suspicion.remedy = format!(
        "Look whether the peer has ended a connection before it is used again (poll for EOF, validate on borrow), or drop idle connections sooner than the peer does{timeout}; repeat what got a RST."
    );
    suspicion.evidence.push(
        "the RST met the connection in CLOSE_WAIT: the application gets ECONNRESET or EPIPE".to_owned(),
    );
}

/// Names the server that had ended the connections, if it is on this host, with the time after which it ends idle ones.
/// Returns the setting of that time, for the remedy.
fn tell_server(view: &View<'_>, events: &Events, suspicion: &mut Suspicion) -> String {
    let netns = suspicion.key.netns;
    let listening = suspicion.key.place.and_then(|place| view.local_server(netns, place));
    let Some((listening, holder)) = listening.and_then(|known| Some((known, main_holder(known)?))) else {
        return String::new();
    };
    let server = Server {
        netns: listening.socket.netns,
        listener: listening.socket.tuple.local,
        program: ProgramId::NONE,
    };
    let habit = events.idle.habit(&server, view.thresholds.idle_spread_percent);
    let after = habit.and_then(|habit| habit.after_ms);
    let who = naming::who_holds(view, &holder);
    suspicion.evidence.push(match after {
        Some(after_ms) => {
            format!("the peer is {who}, which ends connections that are idle for {}", tenths(after_ms))
        }
        None => format!("the peer is {who}"),
    });
    let subject = naming::subject(view, &[Member::from(&holder)], netns);
    let setting = settings::of(&subject).and_then(|known| known.idle_timeout);
    match (setting, after) {
        (Some(setting), Some(after_ms)) => {
            format!(" ({setting} of {}, now {})", naming::who_holds(view, &holder), tenths(after_ms))
        }
        (Some(setting), None) => format!(" ({setting} of {})", naming::who_holds(view, &holder)),
        (None, _) => String::new(),
    }
}

/// A time with one decimal, rounded: "5.0 s".
fn tenths(ms: u64) -> String {
    let tenths = ms.saturating_add(50) / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
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

#[cfg(test)]
mod tests {
    use super::tenths;

    #[test]
    fn tenths_are_rounded() {
        assert_eq!([tenths(9_949), tenths(9_950), tenths(49)], ["9.9 s", "10.0 s", "0.0 s"]);
    }
}
