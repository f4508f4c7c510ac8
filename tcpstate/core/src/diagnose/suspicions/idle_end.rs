//! Idle connections that one side has ended while the other may still use them: ended by RST, met by a request, or
//! written to long after.

use super::Harm;
use crate::diagnose::{
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

/// A server that ends idle connections by RST: its clients learn of it only when they ask the next time.
pub(super) fn timeout(
    view: &View<'_>,
    events: &Events,
    suspicion: &mut Suspicion,
    group: &Group,
) -> Option<()> {
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

/// Data for a connection that the server has closed just before (`tcp_timewait_state_process`,
/// `tcp_rcv_state_process`): the client could not know (RFC 9112 section 9.5). A server that closes no idle connection
/// closes in the middle of a request, which is something else.
pub(super) fn race(view: &View<'_>, events: &Events, suspicion: &mut Suspicion, group: &Group) -> Option<()> {
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
pub(super) fn written_after(view: &View<'_>, events: &Events, suspicion: &mut Suspicion, group: &Group) {
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
    let Some((listening, holder)) = listening.and_then(|known| Some((known, known.main_holder()?))) else {
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

#[cfg(test)]
mod tests {
    use super::tenths;

    #[test]
    fn tenths_are_rounded() {
        assert_eq!([tenths(9_949), tenths(9_950), tenths(49)], ["9.9 s", "10.0 s", "0.0 s"]);
    }
}
