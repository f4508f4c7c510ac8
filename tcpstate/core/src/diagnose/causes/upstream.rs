//! Proxies and applications that cannot answer because somebody behind them does not: the one at the end of the chain is
//! at fault, and what is seen in front of it is a part of its finding.

use std::collections::BTreeMap;

use super::{
    answers,
    waits::{Culprit, Waits},
};
use crate::diagnose::{
    NS_PER_MS,
    class::Class,
    format,
    harm::Harm,
    naming,
    program::{self, Member, ProgramId},
    settings,
    socket_view::SocketView,
    suspicion::{Key, Suspicion},
    suspicions::MAX_TOLD,
    view::View,
};

/// What may have its cause behind it.
fn may_wait(class: Class) -> bool {
    matches!(
        class,
        Class::UnansweredRequests | Class::CloseWaitNeverRead | Class::AcceptStall | Class::AcceptOverflow
    )
}

/// Finds who is waited for, and tells it once.
pub(super) fn explain(view: &View<'_>, suspicions: &mut Vec<Suspicion>) {
    if !suspicions.iter().any(|suspicion| may_wait(suspicion.key.class) && suspicion.is_told()) {
        return;
    }
    let waits = Waits::find(view);
    answers::complete(view, &waits, suspicions);
    let mut causes = BTreeMap::<Key, (Culprit<'_>, Vec<Suspicion>)>::new();
    for suspicion in suspicions.iter_mut() {
        if !may_wait(suspicion.key.class) || !suspicion.is_told() {
            continue;
        }
        let pids: Vec<_> = suspicion.members.iter().map(|member| member.process.pid).collect();
        let Some(culprit) = waits.culprit(view, &pids) else { continue };
        let Some(first) = culprit.requests.first() else { continue };
        let socket = first.seen.socket();
        let key = view.key_of_member(
            Class::UnansweredRequests,
            socket.netns,
            culprit.process.as_ref(),
            Some(place(view, &socket)),
        );
        let effect = suspicion.clone();
        suspicion.tell_inside();
        causes.entry(key).or_insert_with(|| (culprit, Vec::new())).1.push(effect);
    }
    for (key, (culprit, effects)) in causes {
        // Its own accept queue, or what its own clients left behind, is the same trouble.
        let told = suspicions.iter().position(|known| {
            key.program != ProgramId::NONE
                && known.key.program == key.program
                && (known.key == key || culprit.is_queued && known.key.class == Class::AcceptStall)
                && known.is_told()
        });
        match told.and_then(|place| suspicions.get_mut(place)) {
            Some(known) => add_effects(known, &effects),
            None => suspicions.push(tell(view, &waits, key, &culprit, &effects)),
        }
    }
}

/// The listener of a server on this host, else the address to which the requests went.
fn place(view: &View<'_>, socket: &crate::track::Socket) -> std::net::SocketAddr {
    let listening = view.local_server(socket.netns, socket.tuple.remote);
    listening.map_or(socket.tuple.remote, |listening| listening.socket.tuple.local)
}

fn tell(
    view: &View<'_>,
    waits: &Waits<'_>,
    key: Key,
    culprit: &Culprit<'_>,
    effects: &[Suspicion],
) -> Suspicion {
    let sockets: Vec<&SocketView<'_>> = culprit.requests.iter().map(|request| request.seen).collect();
    let oldest_ns = culprit.requests.iter().map(|request| request.since_ns).min().unwrap_or(0);
    let mut count = culprit.requests.len() as u64;
    if let Some(process) = culprit.process {
        // It may owe more answers than those that were passed on.
        count = count.max(waits.owed(process.process.pid).len() as u64);
    }
    let mut suspicion = Suspicion {
        sockets: naming::samples(&sockets),
        cookies: sockets.iter().map(|seen| seen.socket().cookie).collect(),
        tells_trend: true,
        ..Suspicion::new(key, oldest_ns, count)
    };
    let asked = sockets.first().map_or_else(String::new, |seen| format::address(seen.socket().tuple.remote));
    let who = if let Some(process) = culprit.process {
        suspicion.members = vec![process];
        suspicion.subject = naming::subject(view, &suspicion.members, key.netns);
        suspicion.subject.listener = key.place.map(format::address);
        format!("{} at {asked}", naming::who(view, &suspicion.members))
    } else {
        suspicion.subject.peer = Some(asked.clone());
        suspicion.cannot_see.push(format!("what {asked} waits for: it is not on this host"));
        asked
    };
    let longest_ms = view.evidence.at_ns.saturating_sub(oldest_ns) / NS_PER_MS;
    let waiting = program::members(naming::holders(&sockets).into_iter());
    let not = if culprit.is_queued { "not accepted" } else { "not answered" };
    suspicion.verdict = format!(
        "{who} has {not} {}, the oldest for {}; {} {} for it",
        format::count(count, "request"),
        format::duration(longest_ms),
        naming::who(view, &waiting),
        if waiting.len() == 1 { "waits" } else { "wait" },
    );
    suspicion.remedy = remedy(&suspicion, &waiting, view);
    suspicion.harm =
        effects.iter().filter(|effect| effect.is_harmful()).find_map(|effect| effect.harm.clone());
    let why = "nobody in front of it has given up yet";
    suspicion.harm = suspicion.harm.or_else(|| Some(Harm::NoneSeen(why.to_owned())));
    add_effects(&mut suspicion, effects);
    let names: Vec<_> = waiting.iter().take(MAX_TOLD).map(|member| naming::who(view, &[*member])).collect();
    suspicion
        .evidence
        .push(format!("not at fault: {}, whose requests were sent and acknowledged", format::list(&names)));
    suspicion
}

fn remedy(suspicion: &Suspicion, waiting: &[Member], view: &View<'_>) -> String {
    let front = settings::of(&naming::subject(view, waiting, suspicion.key.netns));
    let timeout = front.and_then(|known| known.upstream_timeout);
    let setting = timeout.map_or_else(String::new, |setting| format!(" ({setting})"));
    if suspicion.members.is_empty() {
        format!(
            "Look at {}: its requests are not answered. Until then give the wait for it a timeout{setting}.",
            suspicion.subject.peer.as_deref().unwrap_or("the upstream")
        )
    } else {
        format!(
            "Take a thread dump of it now: it has read the requests and does not answer. Give every call that it waits for a timeout, and the wait for it as well{setting}."
        )
    }
}

/// What follows from it becomes a part of its finding.
fn add_effects(suspicion: &mut Suspicion, effects: &[Suspicion]) {
    for effect in effects {
        suspicion.evidence.push(format!("in front of it: {}", effect.verdict));
        suspicion.since_ns = suspicion.since_ns.min(effect.since_ns);
        suspicion.cookies.extend(&effect.cookies);
        if !suspicion.is_harmful() && effect.is_harmful() {
            suspicion.harm.clone_from(&effect.harm);
        }
    }
}
