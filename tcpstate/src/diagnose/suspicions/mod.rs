//! The rules, one file a family. Each socket is sorted into at most one group, so that one cause gives one finding;
//! then each group is judged as a whole. Groups are made once, for all rules together.

mod accept;
mod close_wait;
mod connect;
pub(super) mod events;
mod fin_wait;
mod idle;
mod pairs;
mod path;
mod ports;
mod reset;

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{
    class::Class,
    finding::{Resource, Severity, Subject},
    suspicion::{Key, Suspicion},
    view::{Holding, SocketView, View},
};
use crate::track::Holder;
use pairs::Pairs;
pub(super) use ports::MAX_TOLD;

/// Applies every rule.
pub(super) fn judge(view: &View<'_>, events: &events::Events) -> Vec<Suspicion> {
    let mut suspicions = Vec::new();
    for (key, members) in sort(view) {
        let mut members: Vec<_> =
            members.into_iter().filter_map(|index| view.seen.get(index as usize)).collect();
        members.sort_unstable_by_key(|seen| (seen.since_ns(), seen.socket().cookie));
        match key.class {
            Class::AcceptStall => suspicions.push(accept::stall(view, key, &members)),
            Class::SynFlood => suspicions.extend(accept::flood(view, key, &members)),
            Class::FinWait2Owned | Class::FinWait2Orphan | Class::OrphanStuck => {
                suspicions.push(fin_wait::judge(view, key, &members));
            }
            Class::SelfConnect => suspicions.push(ports::self_connect(view, key, &members)),
            Class::HalfOpen => suspicions.push(path::half_open(view, key, &members)),
            Class::SynBlackhole => suspicions.push(path::syn_blackhole(view, key, &members)),
            _ => suspicions.extend(close_wait::judge(view, key, &members)),
        }
    }
    suspicions.extend(accept::overflows(view));
    suspicions.extend(ports::judge(view));
    suspicions.extend(events::judge(view, events));
    suspicions
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
    if seen.socket().tuple.local == seen.socket().tuple.remote {
        return ports::sort_self_connect(view, seen);
    }
    match seen.held() {
        Holding::NoFile => accept::sort_queued(view, seen),
        Holding::Nobody => close_wait::sort_ghost(view, seen),
        Holding::NotAsked | Holding::Unseen => None,
        Holding::By { holder, .. } => {
            let quiet = view.quiet_ms(seen) >= view.thresholds.frozen_ms;
            if seen.socket().rqueue > 0 && quiet && view.paused(&holder).is_some() {
                return Some(View::key_of(Class::OwnerStopped, seen.socket().netns, &holder, None));
            }
            path::sort_half_open(view, seen).or_else(|| close_wait::sort_unread_body(view, seen))
        }
    }
}

/// How bad it is that sockets park, by how many do so for how long, and whether there are more and more: nothing
/// before [`Thresholds::notice_ms`](super::Thresholds::notice_ms), a warning when several are old, or one is
/// ancient, or when they grow in number and the old ones stay.
fn grade(view: &View<'_>, key: &Key, members: &[&SocketView<'_>]) -> Option<Severity> {
    let thresholds = view.thresholds;
    let older = |ms: u64| members.iter().filter(move |seen| seen.age_ms() >= ms).count() as u64;
    let noticed = older(thresholds.notice_ms);
    if noticed == 0 {
        return None;
    }
    let grows = noticed >= thresholds.several && view.grows(key, members.len() as u64, since(members));
    let is_old = older(thresholds.old_ms) >= thresholds.several || older(thresholds.ancient_ms) > 0;
    Some(if grows || is_old { Severity::Warning } else { Severity::Info })
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
        key,
        severity: None,
        subject: Subject { netns: (key.netns != 0).then_some(key.netns), ..Subject::default() },
        since_ns: since(members),
        count: members.len() as u64,
        limit: None,
        verdict: String::new(),
        remedy: String::new(),
        evidence: Vec::new(),
        cannot_see: Vec::new(),
        sockets: View::samples(members),
        cookies: members.iter().map(|seen| seen.socket().cookie).collect(),
        is_of_events: false,
        tells_trend: false,
    }
}

/// The holder that these sockets have in common, since they were sorted by it.
fn holder(members: &[&SocketView<'_>]) -> Option<Holder> {
    members.iter().find_map(|seen| match seen.held() {
        Holding::By { holder, .. } => Some(holder),
        _ => None,
    })
}

/// Names the holder in the suspicion, and returns its name for a sentence. Without one the suspicion says why.
fn blame_holder(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) -> String {
    let Some(holder) = holder(members) else {
        let why = view.unseen(super::evidence::What::Holders, None);
        let why = why.unwrap_or_else(|| "not every process's descriptors could be looked at".to_owned());
        suspicion.cannot_see.push(format!("who holds these sockets: {why}"));
        let user = members.iter().find_map(|seen| seen.socket().uid);
        return user.map_or_else(
            || "A process that could not be seen".to_owned(),
            |user| format!("A process that could not be seen, of user {user},"),
        );
    };
    suspicion.subject = view.subject(&holder, suspicion.key.netns);
    suspicion.cannot_see.extend(view.unseen_of(holder.pid));
    let shared = members
        .iter()
        .filter(|seen| matches!(seen.held(), Holding::By { processes, .. } if processes > 1))
        .count();
    if shared > 0 {
        suspicion.evidence.push(format!("{shared} of them are open in other processes too"));
    }
    view.who(&holder)
}

/// The holder's descriptors, as a limit that these sockets use up.
fn descriptors(view: &View<'_>, members: &[&SocketView<'_>]) -> Option<(Resource, u64, u64)> {
    let holder = holder(members)?;
    let process = view.process(holder.pid, holder.start_boottime_ns)?;
    Some((Resource::FileDescriptors, process.fds?, process.fd_limit?))
}
