//! What all suspicions about events have in common: whom they are about, where, and how many there were in which time.

use tcpstate_common::TcpState;

use super::MAX_TOLD;
use crate::{
    diagnose::{
        NS_PER_MS,
        class::Class,
        events::Group,
        finding::{AgeIs, Sample},
        format, naming, program,
        suspicion::{Key, Suspicion},
        view::View,
    },
    track::Tuple,
};

/// What was so little time ago was just now, ms.
const JUST_NOW_MS: u64 = 1_000;

/// What all suspicions about events begin with: whom they are about, and where.
pub(super) fn begin(view: &View<'_>, key: Key, group: &Group) -> Suspicion {
    let mut suspicion = Suspicion {
        sockets: group.samples.iter().map(|sample| told(view, *sample)).collect(),
        is_of_events: true,
        ..Suspicion::new(key, group.first_ns, group.total())
    };
    suspicion.members = program::members(group.members.iter().map(|(member, _)| *member));
    if suspicion.members.is_empty() {
        say_nobody(view, &mut suspicion, group);
    } else {
        suspicion.subject = naming::subject(view, &suspicion.members, group.netns);
        for member in suspicion.members.iter().take(MAX_TOLD) {
            suspicion.cannot_see.extend(view.unseen_of(member.process.pid));
        }
    }
    locate(&mut suspicion);
    suspicion
}

/// What they end with: how many there were in which time.
pub(super) fn end(view: &View<'_>, suspicion: &mut Suspicion, group: &Group) {
    if suspicion.members.is_empty() {
        suspicion.verdict = format::sentence(&suspicion.verdict);
    }
    let at_ns = view.evidence.at_ns;
    let window_ms = at_ns.saturating_sub(group.first_ns) / NS_PER_MS;
    let last_ms = at_ns.saturating_sub(group.last_ns) / NS_PER_MS;
    let ago = if last_ms < JUST_NOW_MS {
        "just now".to_owned()
    } else {
        format!("{} ago", format::duration(last_ms))
    };
    suspicion.evidence.push(if suspicion.count == 1 {
        format!("it was {ago}")
    } else {
        let window_ms = window_ms.clamp(1_000, view.thresholds.event_window_ms);
        let count = format::digits(suspicion.count);
        format!("{count} in the last {}, the last one {ago}", format::duration(window_ms))
    });
}

/// Says where it is: at a listener, or at a peer.
fn locate(suspicion: &mut Suspicion) {
    let Some(place) = suspicion.key.place else { return };
    let name = if place.port() == 0 { format::ip(place.ip()) } else { format::address(place) };
    match suspicion.key.class {
        Class::RstListenerClosed | Class::KeepaliveRace | Class::IdleTimeoutReset => {
            suspicion.subject.listener = Some(name);
        }
        Class::PeerLostState
        | Class::KeepaliveTimeout
        | Class::ConnectionRefused
        | Class::SynBlackhole
        | Class::WriteAfterFin
        | Class::PortExhaustion => suspicion.subject.peer = Some(name),
        _ => {}
    }
}

fn told(
    view: &View<'_>,
    (at_ns, cookie, tuple, state): (u64, Option<u64>, Tuple, Option<TcpState>),
) -> Sample {
    Sample {
        cookie: cookie.map_or_else(String::new, |cookie| cookie.to_string()),
        local: format::address(tuple.local),
        remote: format::address(tuple.remote),
        state: state.map_or_else(String::new, |state| state.name().to_owned()),
        age_ms: view.evidence.at_ns.saturating_sub(at_ns) / NS_PER_MS,
        age_is: AgeIs::Exact,
        rqueue: 0,
        wqueue: 0,
        pid: None,
        fd: None,
    }
}

/// Says why nobody is named.
fn say_nobody(view: &View<'_>, suspicion: &mut Suspicion, group: &Group) {
    if suspicion.key.class == Class::TimeWaitOverflow || suspicion.is_of_a_peer() {
        return;
    }
    let mut why = "which process it was: no process was recorded with it".to_owned();
    // Whoever listens may hand over what it takes.
    let took = group.samples.back().and_then(|(_, _, tuple, _)| view.listener_at(group.netns, tuple.local));
    if let Some(listening) = took {
        let at = listening.socket.tuple.local;
        suspicion.subject.listener = Some(format::address(at));
        if let Some(holder) = listening.main_holder() {
            let (at, who) = (format::listener(at), naming::who_holds(view, &holder));
            why = format!("{why}; {who} listens at {at}, where these connections came in");
        }
    }
    suspicion.cannot_see.push(why);
}
