//! What a program has not answered: beside the requests whose clients have left those whose clients still wait, and who
//! these are.

use tcpstate_common::TcpState;

use super::waits::{Request, Waits};
use crate::diagnose::{
    NS_PER_MS,
    class::Class,
    format,
    harm::Harm,
    naming,
    program::{self, Member},
    suspicion::Suspicion,
    suspicions::MAX_TOLD,
    view::View,
};

/// Counts them in, wherever clients have left.
pub(super) fn complete<'v>(view: &'v View<'_>, waits: &Waits<'v>, suspicions: &mut [Suspicion]) {
    let unanswered = |suspicion: &&mut Suspicion| {
        suspicion.key.class == Class::UnansweredRequests && suspicion.is_harmful()
    };
    for suspicion in suspicions.iter_mut().filter(unanswered) {
        let pids: Vec<_> = suspicion.members.iter().map(|member| member.process.pid).collect();
        let port = suspicion.key.place.map(|place| place.port());
        let is_of_it = |request: &&Request<'v>| {
            let socket = request.seen.socket();
            let age_ms = view.evidence.at_ns.saturating_sub(request.since_ns) / NS_PER_MS;
            socket.state == TcpState::Established
                && port.is_none_or(|port| socket.tuple.local.port() == port)
                && age_ms >= view.thresholds.waits_ms
        };
        let waiting: Vec<_> =
            pids.iter().flat_map(|pid| waits.owed(*pid)).filter(is_of_it).copied().collect();
        if !waiting.is_empty() {
            tell(view, suspicion, &waiting);
        }
    }
}

fn tell(view: &View<'_>, suspicion: &mut Suspicion, waiting: &[Request<'_>]) {
    let left = suspicion.count;
    suspicion.count += waiting.len() as u64;
    suspicion.added += waiting.len() as u64;
    suspicion.cookies.extend(waiting.iter().map(|request| request.seen.socket().cookie));
    let oldest_ns = waiting.iter().map(|request| request.since_ns).min().unwrap_or(u64::MAX);
    let mut longest_ms = view.evidence.at_ns.saturating_sub(oldest_ns) / NS_PER_MS;
    if let Some(Harm::Hangs { longest_ms: of_left_ms, .. }) = suspicion.harm {
        longest_ms = longest_ms.max(of_left_ms);
    }
    suspicion.harm = Some(Harm::Hangs { count: suspicion.count, longest_ms });
    let who = naming::who(view, &suspicion.members);
    let place = suspicion.key.place.map_or_else(String::new, |at| format!(" on {}", format::listener(at)));
    suspicion.verdict = format!(
        "{who} has read {}{place} and not answered them, the oldest for {}; {} and {} still {}",
        format::count(suspicion.count, "request"),
        format::duration(longest_ms),
        if left == 1 { "one client has left".to_owned() } else { format!("{left} clients have left") },
        waiting.len(),
        if waiting.len() == 1 { "waits" } else { "wait" },
    );
    let holders = waiting.iter().filter_map(|request| view.other_end(request.seen)?.holder());
    let clients = program::members(holders.map(|holder| Member::from(&holder)));
    if !clients.is_empty() {
        let names: Vec<_> =
            clients.iter().take(MAX_TOLD).map(|client| naming::who(view, &[*client])).collect();
        let wait = if clients.len() == 1 { "waits" } else { "wait" };
        suspicion.evidence.push(format!("not at fault: {}, which {wait} for it", format::list(&names)));
    }
}
