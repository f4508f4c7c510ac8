//! A listener that only a helper has open, since it was not closed on exec: connections come in, and nobody accepts.

use crate::diagnose::{
    class::Class,
    format,
    history::Listening,
    naming,
    program::Member,
    suspicion::{Key, Suspicion},
    view::View,
};

/// Turns an accept queue that nobody empties into an inherited listener, where those who have it open did not make it.
pub(super) fn explain(view: &View<'_>, suspicions: &mut [Suspicion]) {
    for suspicion in suspicions {
        if !matches!(suspicion.key.class, Class::AcceptStall | Class::AcceptOverflow) || !suspicion.is_told()
        {
            continue;
        }
        let listening = suspicion.key.place.and_then(|place| view.listener_at(suspicion.key.netns, place));
        if let Some(listening) = listening
            && let Some(maker) = maker(view, listening)
        {
            tell(view, suspicion, listening, maker);
        }
    }
}

/// The process that called `listen()`, if it and its like do not have the listener open, and those who have it serve
/// nobody there. Process 1 makes listeners for others.
fn maker(view: &View<'_>, listening: &Listening) -> Option<Member> {
    let maker = listening.socket.actor.filter(|actor| actor.pid != 1)?;
    if listening.holders.is_empty() {
        return None;
    }
    let is_of_it = |pid: u32, comm| pid == maker.pid || comm == maker.comm;
    if listening.holders.iter().any(|holder| is_of_it(holder.pid, holder.comm)) {
        return None;
    }
    let port = listening.socket.tuple.local.port();
    let serves = view.seen.iter().any(|seen| {
        let socket = seen.socket();
        socket.netns == listening.socket.netns
            && socket.tuple.local.port() == port
            && socket.cookie != listening.socket.cookie
            && seen.holder().is_some()
    });
    (!serves).then_some(Member::from(maker))
}

fn tell(view: &View<'_>, suspicion: &mut Suspicion, listening: &Listening, maker: Member) {
    let has_ended = view.evidence.processes.get(&maker.process.pid).is_none_or(|process| process.exited);
    let who = naming::who(view, &suspicion.members);
    let place = format::listener(listening.socket.tuple.local);
    let made = format!("{}[{}]", maker.process.comm, maker.process.pid);
    let key = Key { class: Class::FdInherited, ..suspicion.key };
    (suspicion.key, suspicion.series) = (key, key);
    suspicion.verdict = format!(
        "{who} inherited the listener {place} of {made}, {} and accepts nothing: {} {} there",
        if has_ended { "which has ended," } else { "which has closed it," },
        format::count(suspicion.count, "connection"),
        if suspicion.count == 1 { "waits" } else { "wait" },
    );
    suspicion.remedy = format!(
        "Open the listener with SOCK_CLOEXEC, or close it in the child before exec; end {who} to give the port back."
    );
    suspicion.evidence.push(format!("{made} called listen(), and does not have the listener open any more"));
}
