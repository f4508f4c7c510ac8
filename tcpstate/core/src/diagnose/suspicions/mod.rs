//! The rules, one file a family. Each socket is sorted into at most one group, so that one cause gives one suspicion;
//! then each group is judged as a whole. Groups are made once, for all rules together.

mod accept;
mod close_wait;
mod connect;
mod descriptors;
mod established;
mod event;
mod fin_wait;
mod ghost;
mod idle_end;
mod inherited;
mod pairs;
mod path;
mod pool;
mod ports;
mod reset;
mod unread_body;

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{
    class::Class,
    connection::{self, Side},
    events::Events,
    evidence::What,
    finding::Resource,
    harm::{Growth, Harm},
    naming,
    program::{self, Member},
    socket_view::{Holding, SocketView},
    suspicion::{Key, Suspicion},
    view::View,
};
use pairs::Pairs;

pub(super) use close_wait::is_carrying;
pub(super) use path::is_silent;

/// Things of a kind that one line of evidence names.
pub(super) const MAX_TOLD: usize = 5;

/// What the rules suspect, and what is remembered of groups that are no suspicion by themselves.
#[derive(Debug, Default)]
pub(super) struct Suspected {
    pub(super) suspicions: Vec<Suspicion>,
    /// Counts of groups that are no suspicion, for their trends: the key, how many, and since when the oldest, monotonic
    /// ns.
    pub(super) counts: Vec<(Key, u64, u64)>,
    /// Groups that are leaks, and stay leaks.
    pub(super) leaks: Vec<Key>,
}

/// Applies every rule.
pub(super) fn judge(view: &View<'_>, events: &Events) -> Suspected {
    let mut suspected = Suspected::default();
    for (key, members) in sort(view) {
        let mut members: Vec<_> =
            members.into_iter().filter_map(|index| view.seen.get(index as usize)).collect();
        members.sort_unstable_by_key(|seen| (seen.since_ns(), seen.socket().cookie));
        match key.class {
            Class::AcceptStall => suspected.suspicions.push(accept::stall(view, key, &members)),
            Class::SynFlood => suspected.suspicions.extend(accept::flood(view, key, &members)),
            Class::FinWait2Owned | Class::FinWait2Orphan | Class::OrphanStuck => {
                suspected.suspicions.push(fin_wait::judge(view, key, &members));
            }
            Class::SelfConnect => suspected.suspicions.push(ports::self_connect(view, key, &members)),
            Class::HalfOpen => suspected.suspicions.push(path::half_open(view, key, &members)),
            Class::SynBlackhole => suspected.suspicions.push(path::syn_blackhole(view, key, &members)),
            _ => close_wait::judge(view, key, &members, &mut suspected),
        }
    }
    established::judge(view, &mut suspected);
    suspected.suspicions.extend(descriptors::judge(view));
    suspected.suspicions.extend(accept::overflows(view));
    suspected.suspicions.extend(ports::judge(view));
    suspected.suspicions.extend(judge_events(view, events));
    suspected
}

/// The sockets by what may be wrong with them, as indexes, in the order of the keys.
fn sort(view: &View<'_>) -> Vec<(Key, Vec<u32>)> {
    let pairs = Pairs::find(view);
    let scanners = path::scanners(view);
    let mut groups = HashMap::<Key, Vec<u32>>::default();
    for (index, seen) in (0..).zip(&view.seen) {
        let key = match seen.socket().state {
            TcpState::CloseWait => close_wait::sort(view, &pairs, seen),
            TcpState::Established => sort_established(view, seen),
            TcpState::FinWait1 | TcpState::FinWait2 | TcpState::LastAck | TcpState::Closing => {
                fin_wait::sort(view, &pairs, seen)
            }
            TcpState::SynSent => path::sort_syn_sent(view, &scanners, seen),
            TcpState::SynRecv | TcpState::NewSynRecv => accept::sort_syn_recv(view, seen),
            TcpState::Listen | TcpState::TimeWait | TcpState::Close => None,
        };
        if let Some(key) = key {
            groups.entry(key).or_default().push(index);
        }
    }
    fin_wait::join_unknown(view, &mut groups);
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_unstable_by_key(|(key, _)| *key);
    groups
}

fn sort_established(view: &View<'_>, seen: &SocketView<'_>) -> Option<Key> {
    let socket = seen.socket();
    if socket.tuple.local == socket.tuple.remote {
        return ports::sort_self_connect(view, seen);
    }
    match seen.holding() {
        Holding::NoFile => accept::sort_queued(view, seen),
        Holding::Nobody => ghost::sort(view, seen),
        Holding::NotAsked | Holding::Unseen => None,
        Holding::By { holder, .. } => {
            let quiet = view.quiet_ms(seen) >= view.thresholds.frozen_ms;
            if socket.rqueue > 0 && quiet && view.paused(&holder).is_some() {
                return Some(view.key_of(Class::OwnerStopped, socket.netns, Some(&holder), None));
            }
            path::sort_half_open(view, seen)
                .or_else(|| unread_body::sort(view, seen))
                .or_else(|| inherited::sort(view, seen, &holder))
        }
    }
}

/// Judges the groups of events.
fn judge_events(view: &View<'_>, events: &Events) -> Vec<Suspicion> {
    let mut suspicions: Vec<_> = events
        .groups(view)
        .filter_map(|(key, group)| {
            let mut suspicion = event::begin(view, *key, group);
            match key.class {
                Class::ConnectionRefused => connect::refused(view, &mut suspicion, group),
                Class::SynBlackhole => connect::unreachable(view, &mut suspicion, group),
                Class::PortExhaustion => connect::no_port(view, &mut suspicion),
                Class::TimeWaitOverflow => ports::time_wait_overflow(view, &mut suspicion),
                _ => reset::judge(view, events, &mut suspicion, group)?,
            }
            event::end(view, &mut suspicion, group);
            Some(suspicion)
        })
        .collect();
    suspicions.sort_by_key(|suspicion| suspicion.key);
    suspicions
}

/// Whether what parks is kept for good: several are old or one is ancient, or they grow in number and the old ones
/// stay. `None` while none of them is worth a word.
fn growth(view: &View<'_>, key: &Key, members: &[&SocketView<'_>]) -> Option<Growth> {
    let thresholds = view.thresholds;
    let older = |ms: u64| members.iter().filter(move |seen| view.served_ms(seen) >= ms).count() as u64;
    let noticed = older(thresholds.notice_ms);
    if noticed == 0 {
        return None;
    }
    let grows = noticed >= thresholds.several && view.grows(key, members.len() as u64, since(members));
    let lasts = older(thresholds.old_ms) >= thresholds.several || older(thresholds.ancient_ms) > 0;
    Some(if grows {
        Growth::Grows
    } else if lasts {
        Growth::Lasts
    } else {
        Growth::None
    })
}

/// The harm of what parks in a process: descriptors are not given back.
fn keeps(view: &View<'_>, key: &Key, members: &[&SocketView<'_>]) -> Option<Harm> {
    growth(view, key, members).map(Harm::RunsOut)
}

/// When the oldest of them entered its state, monotonic ns.
fn since(members: &[&SocketView<'_>]) -> u64 {
    members.iter().map(|seen| seen.since_ns()).min().unwrap_or(0)
}

/// The age of the oldest, ms.
fn oldest_ms(members: &[&SocketView<'_>]) -> u64 {
    members.iter().map(|seen| seen.age_ms()).max().unwrap_or(0)
}

/// What all suspicions about sockets have in common.
fn base(key: Key, members: &[&SocketView<'_>]) -> Suspicion {
    Suspicion {
        sockets: naming::samples(members),
        cookies: members.iter().map(|seen| seen.socket().cookie).collect(),
        ..Suspicion::new(key, since(members), members.len() as u64)
    }
}

/// Names the holders in the suspicion, and returns their name for a sentence. Without one the suspicion says why.
fn blame_holders(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) -> String {
    suspicion.members = naming::holders(members);
    if suspicion.members.is_empty() {
        let why = view.unseen(What::Holders, None);
        let why = why.unwrap_or_else(|| "not every process's descriptors could be looked at".to_owned());
        suspicion.cannot_see.push(format!("who holds these sockets: {why}"));
        let user = members.iter().find_map(|seen| seen.socket().uid);
        return user.map_or_else(
            || "A process that could not be seen".to_owned(),
            |user| format!("A process that could not be seen, of user {user},"),
        );
    }
    blame_members(view, suspicion);
    let shared = members
        .iter()
        .filter(|seen| matches!(seen.holding(), Holding::By { processes, .. } if processes > 1))
        .count();
    if shared > 0 {
        suspicion.evidence.push(format!("{shared} of them are open in other processes too"));
    }
    naming::who(view, &suspicion.members)
}

/// Makes the suspicion's members its subject. What is known of its place is kept.
fn blame_members(view: &View<'_>, suspicion: &mut Suspicion) {
    let subject = naming::subject(view, &suspicion.members, suspicion.key.netns);
    let before = std::mem::replace(&mut suspicion.subject, subject);
    suspicion.subject.listener = before.listener;
    suspicion.subject.peer = before.peer;
    for member in suspicion.members.iter().take(MAX_TOLD) {
        suspicion.cannot_see.extend(view.unseen_of(member.process.pid));
    }
}

/// The descriptors of the process that has the fewest left, as a limit that these sockets use up.
fn descriptors(view: &View<'_>, members: &[Member]) -> Option<(Resource, u64, u64)> {
    let of = |member: &Member| view.process(member.process.pid, member.start_boottime_ns)?.descriptors();
    let all = members.iter().filter_map(of);
    let (used, max) = all.max_by_key(|(used, max)| super::format::percent(*used, *max))?;
    Some((Resource::FileDescriptors, used, max))
}

fn side_of(view: &View<'_>, members: &[&SocketView<'_>]) -> Side {
    members.first().map_or(Side::Client, |seen| connection::side(view, &seen.socket()))
}

/// The process with most of these sockets, by who holds them, or else by who acted on them.
fn holder_or_actor(seen: &SocketView<'_>) -> Option<Member> {
    let actor = || seen.socket().actor.map(Member::from);
    seen.holder().map(|holder| Member::from(&holder)).or_else(actor)
}

/// Members of several sockets, by [`holder_or_actor`].
fn holders_or_actors(members: &[&SocketView<'_>]) -> Vec<Member> {
    program::members(members.iter().filter_map(|seen| holder_or_actor(seen)))
}
