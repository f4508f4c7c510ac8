//! How processes, programs, peers and sockets stand in a finding.

use std::{
    cmp::Reverse,
    net::{IpAddr, SocketAddr},
};

use foldhash::HashMap;

use super::{
    connection::Side,
    finding::{AgeIs, MAX_SAMPLES, MAX_SUBJECT_PROCESSES, Sample, Subject, SubjectProcess},
    format,
    program::{self, Member, Programs},
    socket_view::SocketView,
    view::View,
};
use crate::track::{Holder, Since};

/// "payments[4121] in app.service", or "apache2[77] (6 processes)".
pub(super) fn who(view: &View<'_>, members: &[Member]) -> String {
    let Some(main) = members.first() else { return "an unknown process".to_owned() };
    let process = view.about(main);
    let name = program::name(&main.process.comm.to_string(), process);
    let ended = members.iter().filter(|member| Programs::has_ended(member, view.evidence)).count();
    let how_many = match (members.len(), ended) {
        (1, 0) => String::new(),
        (1, _) => " (which has ended)".to_owned(),
        (all, 0) => format!(" ({all} processes)"),
        (all, ended) if all == ended => format!(" ({all} processes, which have ended)"),
        (all, 1) => format!(" ({all} processes, one of which has ended)"),
        (all, ended) => format!(" ({all} processes, {ended} of which have ended)"),
    };
    format!("{name}[{}]{how_many}{}", main.process.pid, program::place(process))
}

/// The same without saying that processes have ended, for sentences that say so themselves.
pub(super) fn plainly(view: &View<'_>, members: &[Member]) -> String {
    let Some(main) = members.first() else { return "an unknown process".to_owned() };
    let process = view.about(main);
    let name = program::name(&main.process.comm.to_string(), process);
    let how_many = if members.len() > 1 { format!(" ({} processes)", members.len()) } else { String::new() };
    format!("{name}[{}]{how_many}{}", main.process.pid, program::place(process))
}

/// The name of one holder.
pub(super) fn who_holds(view: &View<'_>, holder: &Holder) -> String {
    who(view, &[holder.into()])
}

/// Whom a finding is about.
pub(super) fn subject(view: &View<'_>, members: &[Member], netns: u32) -> Subject {
    let main = members.first();
    let process = main.and_then(|main| view.about(main)).cloned().unwrap_or_default();
    let processes = members.iter().take(MAX_SUBJECT_PROCESSES).map(|member| SubjectProcess {
        pid: member.process.pid,
        comm: member.process.comm.to_string(),
        count: member.count,
        ended: Programs::has_ended(member, view.evidence),
    });
    Subject {
        pid: main.map(|main| main.process.pid),
        comm: main.map(|main| main.process.comm.to_string()),
        exe: process.exe,
        script: process.script,
        unit: process.unit,
        container: process.container,
        pod: process.pod,
        netns: (netns != 0).then_some(netns),
        listener: None,
        peer: None,
        process_count: members.len() as u64,
        processes: processes.collect(),
    }
}

/// The processes that hold these sockets.
pub(super) fn holders(sockets: &[&SocketView<'_>]) -> Vec<Member> {
    program::members(sockets.iter().filter_map(|seen| seen.holder()).map(|holder| Member::from(&holder)))
}

/// The oldest of these sockets, which are in the order of their ages.
pub(super) fn samples(sockets: &[&SocketView<'_>]) -> Vec<Sample> {
    sockets.iter().take(MAX_SAMPLES).map(|seen| sample(seen)).collect()
}

fn sample(seen: &SocketView<'_>) -> Sample {
    let (socket, holder) = (seen.socket(), seen.holder());
    Sample {
        cookie: socket.cookie.to_string(),
        local: format::address(socket.tuple.local),
        remote: format::address(socket.tuple.remote),
        state: socket.state.name().to_owned(),
        age_ms: seen.age_ms(),
        age_is: match socket.since {
            Since::Exactly(_) => AgeIs::Exact,
            Since::AtLatest(_) => AgeIs::AtLeast,
        },
        rqueue: socket.rqueue,
        wqueue: socket.wqueue,
        pid: holder.map(|holder| holder.pid),
        fd: holder.map(|holder| holder.fd),
    }
}

/// The peers of some sockets: the one that most of them have, how many of them have it, and how many peers there
/// are. Ports of clients say nothing, so only those of servers are named.
pub(super) fn peers(sockets: &[&SocketView<'_>], side: Side) -> Option<(String, u64, usize)> {
    let mut counts = HashMap::<(IpAddr, u16), u64>::default();
    for seen in sockets {
        let remote = seen.socket().tuple.remote;
        *counts.entry((remote.ip(), if side == Side::Server { 0 } else { remote.port() })).or_default() += 1;
    }
    let ((ip, port), most) = counts.iter().max_by_key(|(peer, count)| (**count, Reverse(**peer)))?;
    let text =
        if side == Side::Server { format::ip(*ip) } else { format::address(SocketAddr::new(*ip, *port)) };
    Some((text, *most, counts.len()))
}

/// The peer that all of them have in common.
pub(super) fn common_peer(sockets: &[&SocketView<'_>], side: Side) -> Option<String> {
    peers(sockets, side).filter(|(.., all)| *all == 1).map(|(peer, ..)| peer)
}

/// "10.0.0.7:443", or "12 peers, most often 10.0.0.7:443".
pub(super) fn say_peers(sockets: &[&SocketView<'_>], side: Side) -> String {
    match peers(sockets, side) {
        None => "no peer".to_owned(),
        Some((peer, _, 1)) => peer,
        Some((peer, 1, many)) => format!("{many} peers such as {peer}"),
        Some((peer, _, many)) => format!("{many} peers, most often {peer}"),
    }
}
