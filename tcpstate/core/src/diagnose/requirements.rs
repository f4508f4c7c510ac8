//! What the rules ask for, so that nothing is collected that nobody needs.

use std::{cmp::Reverse, collections::BTreeSet, net::SocketAddr};

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{
    class::Class,
    connection::{self, Side},
    ends,
    evidence::Evidence,
    format,
    history::History,
    selection::Selected,
    suspicion::Suspicion,
    thresholds::Thresholds,
    view::{self, View},
};
use crate::track::Socket;

/// Connections that nobody holds that are asked about at a time: of more, some are known to need another look.
const MAX_UNHELD: usize = 64;

/// Connections that are older than their holders, likewise.
const MAX_OLDER: usize = 256;
/// A process that was started later than this after a connection was made, ns, was hardly forked to serve it.
const OLDER_NS: u64 = 100_000_000;

/// Processes that are looked at more closely at a time.
const MAX_POINTED: usize = 256;
/// Open connections of theirs of which `tcp_info` is read at a pass, at 1 to 2 µs each in the kernel.
const MAX_POINTED_INFO: usize = 2_048;
/// Open connections of theirs that are selected at every pass.
const MAX_POINTED_SOCKETS: usize = 16_384;
/// The other ends of connections are followed over this many processes at most.
const HOPS: usize = 4;
/// The next look comes within this time, ms: a process that may be named by then is pointed at now.
const LOOK_MS: u64 = 5_000;
/// From this share of its descriptors on a process is looked at more closely, percent.
const POINTED_FDS_PERCENT: u64 = 50;

/// Of the sockets whose `tcp_info` may be read at a pass, one in this number may be one on which nothing had moved for long by
/// the last time: they may have begun to move again, but seldom have.
const QUIET_SHARE: usize = 8;

/// What is to be found out about the sockets of a pass before it can be judged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Requirements {
    /// The cookies of sockets whose `tcp_info` is wanted; at most [`super::Thresholds::max_info`].
    pub info: Vec<u64>,
    /// The cookies of sockets whose holders are wanted, in their order.
    pub holders: Vec<u64>,
    /// Processes of which every socket is wanted; at most [`MAX_POINTED`].
    pub processes: Vec<u32>,
    /// Namespaces whose counters and sysctls are wanted; at most [`super::Thresholds::max_namespaces`].
    pub namespaces: Vec<u32>,
    /// Listeners whose [`super::evidence::Listener`] is wanted, by cookie.
    pub listeners: Vec<u64>,
}

/// The requirements of the rules for the selected sockets.
pub(super) fn of(selected: &Selected, history: &History, thresholds: &Thresholds, pass: u64) -> Requirements {
    let mut requirements = Requirements::default();
    let (mut new, mut lively, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
    // Where there are only `TIME_WAIT`s, no socket was selected.
    let mut namespaces: BTreeSet<_> =
        selected.destinations.iter().map(|destination| destination.netns).collect();
    for socket in selected.sockets.iter() {
        namespaces.insert(socket.netns);
        if socket.inode != 0 {
            requirements.holders.push(socket.cookie);
        }
        if socket.state == TcpState::Listen {
            requirements.listeners.push(socket.cookie);
        } else if needs_info(&socket) {
            let of_its_kind = match history.heard(socket.cookie) {
                None => &mut new,
                // Where it is open, only what is new tells anything.
                Some(heard)
                    if socket.state == TcpState::Established || heard.is_lively(thresholds.old_ms) =>
                {
                    &mut lively
                }
                Some(_) => &mut quiet,
            };
            of_its_kind.push(socket.cookie);
        }
    }
    requirements.holders.sort_unstable();
    requirements.info = new;
    requirements.info.truncate(thresholds.max_info);
    requirements.info.extend(take_turns(lively, thresholds.max_info - requirements.info.len(), pass));
    let turn = thresholds.max_info.div_ceil(QUIET_SHARE).min(thresholds.max_info - requirements.info.len());
    requirements.info.extend(take_turns(quiet, turn, pass));
    requirements.namespaces = take_turns(namespaces.into_iter().collect(), thresholds.max_namespaces, pass);
    requirements
}

/// Whether a rule asks for the socket's `tcp_info`: where the time of the last data or of the last ACK tells one
/// trouble from another. Mini-sockets have none.
fn needs_info(socket: &Socket) -> bool {
    match socket.state {
        TcpState::CloseWait | TcpState::FinWait2 => socket.inode != 0,
        TcpState::Established => socket.retransmits > 1,
        _ => false,
    }
}

/// Open connections that nobody was found to hold.
pub(super) fn unheld(evidence: &Evidence) -> Vec<u64> {
    let holders = &evidence.holders;
    let unheld = evidence.sockets.iter().filter(|socket| {
        let is_open = socket.state == TcpState::Established && socket.inode != 0;
        is_open && holders.were_asked(socket.cookie) && holders.of(socket).next().is_none()
    });
    unheld.map(|socket| socket.cookie).take(MAX_UNHELD).collect()
}

/// Open connections that were made before their holder was started: it may have inherited them.
pub(super) fn older_than_their_holders(evidence: &Evidence) -> Vec<u64> {
    let holders = &evidence.holders;
    let older = evidence.sockets.iter().filter(|socket| {
        let Some(opened) = socket.opened.filter(|_| socket.state == TcpState::Established) else {
            return false;
        };
        let mut held = holders.of(socket).peekable();
        held.peek().is_some()
            && held.all(|holder| {
                view::started_ns(evidence, &holder)
                    .is_some_and(|started_ns| started_ns > opened.at_ns.saturating_add(OLDER_NS))
            })
    });
    older.map(|socket| socket.cookie).take(MAX_OLDER).collect()
}

/// At most this many, others at each pass.
fn take_turns<T>(mut all: Vec<T>, max: usize, pass: u64) -> Vec<T> {
    if all.len() > max && max > 0 {
        let parts = all.len().div_ceil(max) as u64;
        let begin = usize::try_from(pass % parts).unwrap_or(0) * max;
        let begin = begin.min(all.len());
        all.rotate_left(begin);
    }
    all.truncate(max);
    all
}

/// The processes that hold most of the sockets, and those that the events name; at most `max`.
pub(super) fn processes(evidence: &Evidence, events: impl Iterator<Item = u32>, max: usize) -> Vec<u32> {
    let mut sockets = HashMap::<u32, u64>::default();
    let holders: Vec<_> = evidence.holders.processes().map(|(pid, _)| pid).collect();
    let all = holders.len() <= max / 2;
    if all {
        sockets.extend(holders.into_iter().map(|pid| (pid, 1)));
    }
    for socket in evidence.sockets.iter() {
        if !all {
            for holder in evidence.holders.of(&socket) {
                *sockets.entry(holder.pid).or_default() += 1;
            }
        }
        if let Some(actor) = socket.actor.filter(|_| socket.inode == 0 || socket.state == TcpState::SynSent) {
            *sockets.entry(actor.pid).or_default() += 1;
        }
    }
    let resets = evidence.resets.iter().flat_map(|seen| [seen.reset.process, seen.owner]).flatten();
    let failures = evidence.failures.iter().filter_map(|failure| failure.process);
    let closes = evidence.destinations.iter().flat_map(|to| to.actors.iter().map(|(process, _)| *process));
    let acted = resets.chain(failures).chain(closes).map(|process| process.pid);
    for pid in acted.chain(events) {
        *sockets.entry(pid).or_default() += 1;
    }
    let mut pids: Vec<_> = sockets.into_iter().collect();
    pids.sort_unstable_by_key(|(pid, count)| (Reverse(*count), *pid));
    pids.truncate(max);
    pids.into_iter().map(|(pid, _)| pid).collect()
}

/// The processes that something points at: their connections have to tell who waits for whom, and what lies idle.
pub(super) fn pointed(view: &View<'_>, suspicions: &[Suspicion]) -> BTreeSet<u32> {
    let mut pointed = BTreeSet::new();
    let told = suspicions.iter().filter(|suspicion| suspicion.is_told() || suspicion.is_told_inside);
    let told =
        told.filter(|suspicion| !suspicion.is_of_events || suspicion.key.class == Class::AcceptOverflow);
    pointed.extend(told.flat_map(|suspicion| &suspicion.members).map(|member| member.process.pid));
    let mut clients = HashMap::<(u32, SocketAddr), u64>::default();
    for seen in &view.seen {
        let socket = seen.socket();
        let Some(holder) = seen.holder() else { continue };
        match socket.state {
            // Who keeps what has ended may wait for somebody.
            TcpState::CloseWait if seen.age_ms() + LOOK_MS >= view.thresholds.notice_ms => {
                pointed.insert(holder.pid);
            }
            TcpState::Established if connection::side(view, &socket) == Side::Client => {
                *clients.entry((holder.pid, socket.tuple.remote)).or_default() += 1;
            }
            _ => {}
        }
    }
    let many = clients.into_iter().filter(|(_, count)| *count >= view.thresholds.idle_connections);
    pointed.extend(many.map(|((pid, _), _)| pid));
    let waiting = view.history.listeners().filter(|listening| view.queue(listening).is_some());
    pointed.extend(waiting.flat_map(|listening| listening.holders.iter().map(|holder| holder.pid)));
    let filling = view.evidence.processes.iter().filter(|(_, process)| {
        let share = process.descriptors().map(|(used, max)| format::percent(used, max));
        share.is_some_and(|percent| percent >= POINTED_FDS_PERCENT)
    });
    pointed.extend(filling.map(|(pid, _)| *pid));
    while pointed.len() > MAX_POINTED {
        pointed.pop_last();
    }
    pointed
}

/// The sockets that these processes have open, as far as they were looked up.
pub(super) fn sockets_of(evidence: &Evidence, pids: &BTreeSet<u32>) -> foldhash::HashSet<u64> {
    let of_them = evidence.holders.cookies().filter(|(_, pid)| pids.contains(pid));
    of_them.map(|(cookie, _)| cookie).take(MAX_POINTED_SOCKETS).collect()
}

/// The open connections of these processes, and of those at their other ends: of these as well it has to be known for
/// whom they wait.
pub(super) fn of_pointed(evidence: &Evidence, pointed: &BTreeSet<u32>) -> Vec<u64> {
    if pointed.is_empty() {
        return Vec::new();
    }
    let open =
        evidence.sockets.iter().filter(|socket| socket.state == TcpState::Established && socket.inode != 0);
    let open: Vec<_> = open
        .filter_map(|socket| {
            let holder = evidence.holders.of(&socket).next()?;
            Some((socket.cookie, holder.pid, ends::of(&socket.tuple)))
        })
        .collect();
    let by_ends: HashMap<_, _> = open.iter().map(|(_, pid, ends)| (*ends, *pid)).collect();
    let mut pids = pointed.clone();
    for _ in 0..HOPS {
        let theirs = open.iter().filter(|(_, pid, _)| pids.contains(pid));
        let others: Vec<_> =
            theirs.filter_map(|(_, _, (local, remote))| by_ends.get(&(*remote, *local)).copied()).collect();
        let before = pids.len();
        pids.extend(others);
        if pids.len() == before || pids.len() > MAX_POINTED {
            break;
        }
    }
    let theirs = open.iter().filter(|(_, pid, _)| pids.contains(pid));
    theirs.map(|(cookie, ..)| *cookie).take(MAX_POINTED_INFO).collect()
}
