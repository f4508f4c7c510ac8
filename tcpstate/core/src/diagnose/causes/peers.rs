//! Several deaths at one peer are one finding about the path or the peer, and those connections that will hang because
//! they never ask are counted in it.

use std::net::IpAddr;

use foldhash::HashMap;

use crate::diagnose::{
    class::Class,
    format, naming,
    program::{self, Member},
    socket_view::SocketView,
    suspicion::Suspicion,
    suspicions::is_silent,
    view::View,
};

/// Joins what is dead at one address, and adds the silent connections to it.
pub(super) fn explain(view: &View<'_>, suspicions: &mut Vec<Suspicion>) {
    let mut by_peer = HashMap::<_, usize>::default();
    let mut joined: Vec<Suspicion> = Vec::with_capacity(suspicions.len());
    for suspicion in suspicions.drain(..) {
        let place = suspicion
            .key
            .place
            .filter(|_| suspicion.key.class == Class::HalfOpen && suspicion.subject.listener.is_none());
        let Some(place) = place else {
            joined.push(suspicion);
            continue;
        };
        let index = *by_peer.entry((suspicion.key.netns, place.ip())).or_insert(joined.len());
        if let Some(first) = joined.get_mut(index) {
            first.evidence.push(format!("the same path: {}", suspicion.verdict));
            first.absorb(suspicion);
        } else {
            joined.push(suspicion);
        }
    }
    if !by_peer.is_empty() {
        let mut silent = HashMap::<_, Vec<&SocketView<'_>>>::default();
        for seen in view.seen.iter().filter(|seen| is_silent(view, seen)) {
            let socket = seen.socket();
            let peer = (socket.netns, socket.tuple.remote.ip());
            if by_peer.contains_key(&peer) {
                silent.entry(peer).or_default().push(seen);
            }
        }
        for (peer, silent) in silent {
            if let Some(suspicion) = by_peer.get(&peer).and_then(|index| joined.get_mut(*index)) {
                add_silent(view, suspicion, peer.1, &silent);
            }
        }
    }
    *suspicions = joined;
}

fn add_silent(view: &View<'_>, suspicion: &mut Suspicion, peer: IpAddr, silent: &[&SocketView<'_>]) {
    let holders = silent.iter().filter_map(|seen| seen.holder());
    let members: Vec<Member> = program::members(holders.map(|holder| Member::from(&holder)));
    let count = silent.len() as u64;
    let whose =
        if members.is_empty() { String::new() } else { format!(" of {}", naming::who(view, &members)) };
    let (have, their) = if count == 1 { ("has", "it waits") } else { ("have", "they wait") };
    suspicion.evidence.push(format!(
        "{}{whose} to {} {have} nothing to send and no keepalive: {their} for ever if the peer is dead",
        format::count(count, "other silent connection"),
        format::ip(peer),
    ));
    let silent = format::count(count, "other silent connection");
    suspicion.verdict = format!("{}; {silent} to it without keepalive will hang", suspicion.verdict);
}
