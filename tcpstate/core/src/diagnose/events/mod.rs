//! Events: RSTs by their reason (`enum sk_rst_reason` in `include/net/rstreason.h`), connects that failed, and counters
//! that rose. They leave no socket behind that could be looked at later, so they are counted over a while, by the program
//! that they are about.

mod group;
mod sort;

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::SocketAddr,
};

use tcpstate_common::TcpState;

use super::{
    NS_PER_MS, class::Class, counts, ends, evidence::ResetSeen, idle_times::IdleTimes, program::ProgramId,
    suspicion::Key, view::View,
};
use crate::track::Failure;
use group::remember;
use sort::{Context, Sorted, mirrored, sort_failure};

pub(super) use group::Group;
pub(super) use sort::EHOSTUNREACH;

/// Groups of events that are remembered.
const MAX_GROUPS: usize = 4_096;
/// An end is remembered for so long beyond the window, s: what is written after it may come late.
const ENDED_BEFORE_S: u64 = 600;

/// All events of the last while.
#[derive(Debug, Default)]
pub(in crate::diagnose) struct Events {
    groups: HashMap<Key, Group>,
    pub(in crate::diagnose) idle: IdleTimes,
}

impl Events {
    /// Takes in the events of a pass, and forgets what is too old.
    pub(in crate::diagnose) fn observe(&mut self, view: &View<'_>) {
        let window_ns = view.thresholds.event_window_ms * NS_PER_MS;
        let from_ns = view.evidence.at_ns.saturating_sub(window_ns);
        self.idle.observe(view);
        let context = Context::of(view);
        for seen in &view.evidence.resets {
            if let Some(sorted) = self.sort(view, &context, seen) {
                self.add_reset(&sorted, seen, &context);
            }
        }
        for failure in &view.evidence.failures {
            if let Some(key) = sort_failure(view, failure) {
                self.add_failure(key, failure);
            }
        }
        for (netns, namespace) in &view.evidence.namespaces {
            let overflows = namespace.delta.and_then(|delta| delta.time_wait_overflow).unwrap_or(0);
            if overflows > 0 {
                let key = view.key_of_member(Class::TimeWaitOverflow, *netns, None, None);
                if let Some(group) = self.group(key, view.evidence.at_ns) {
                    group.netns = *netns;
                    group.count(view.evidence.at_ns, overflows);
                }
            }
        }
        self.rename(view);
        self.groups.retain(|_, group| {
            group.all.forget_before(from_ns);
            group.harmful.forget_before(from_ns);
            for members in [&mut group.members, &mut group.peers] {
                members.retain(|(_, last_ns)| *last_ns >= from_ns);
            }
            let since_s = (from_ns / 1_000_000_000).saturating_sub(ENDED_BEFORE_S);
            group.ends.retain(|(second, _), _| *second >= since_s);
            group.first_ns = group.all.first_ns().unwrap_or(group.first_ns);
            group.all.first_ns().is_some()
        });
    }

    /// Processes may have ended before it was known what they run, and others of their name tell it later: then what
    /// was counted apart is one.
    fn rename(&mut self, view: &View<'_>) {
        let now = |key: &Key, group: &Group| {
            let (member, _) = group.members.first()?;
            let program = view.programs.of(member);
            (key.program != ProgramId::NONE && key.program != program).then_some(Key { program, ..*key })
        };
        let renamed: Vec<_> =
            self.groups.iter().filter_map(|(key, group)| Some((*key, now(key, group)?))).collect();
        for (before, key) in renamed {
            let Some(group) = self.groups.remove(&before) else { continue };
            match self.groups.entry(key) {
                Entry::Vacant(place) => drop(place.insert(group)),
                Entry::Occupied(mut known) => known.get_mut().merge(group),
            }
        }
    }

    fn group(&mut self, key: Key, at_ns: u64) -> Option<&mut Group> {
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            return None;
        }
        Some(self.groups.entry(key).or_insert_with(|| Group { first_ns: at_ns, ..Group::default() }))
    }

    fn add_reset(&mut self, sorted: &Sorted, seen: &ResetSeen, context: &Context<'_>) {
        let reset = &seen.reset;
        let idle_ms = seen.idle_ms.or(context.close_of(seen).map(|close| close.heard_ms));
        let Some(group) = self.group(sorted.key, reset.at_ns) else { return };
        group.netns = reset.netns;
        if let Some(process) = sorted.process {
            remember(&mut group.members, process.into(), reset.at_ns);
        }
        if let Some(peer) = sorted.peer {
            remember(&mut group.peers, peer, reset.at_ns);
        }
        group.count(reset.at_ns, 1);
        if sorted.is_harmful {
            group.harmful.add(reset.at_ns, 1);
        }
        group.unread = group.unread.max(seen.unread_bytes);
        group.with_data += u64::from(seen.bytes_moved.is_some());
        group.ended += u64::from(seen.ending == Some(true));
        if let Some(late_ms) = sorted.late_ms {
            let (least, most) = group.late_ms.unwrap_or((late_ms, late_ms));
            group.late_ms = Some((least.min(late_ms), most.max(late_ms)));
            let end_ns = reset.at_ns.saturating_sub(late_ms.saturating_mul(NS_PER_MS));
            let end = (end_ns / 1_000_000_000, sorted.ended_with);
            let has_room = group.ends.len() < counts::MAX_TIMES || group.ends.contains_key(&end);
            if sorted.is_harmful && !sorted.is_restart && has_room {
                *group.ends.entry(end).or_default() += 1;
            }
        }
        group.idle_ms = match (group.idle_ms, idle_ms) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        };
        group.restarts += u64::from(sorted.is_restart && sorted.is_harmful);
        group.at_both_ends |= context.vanished.contains(&mirrored(ends::of(&reset.tuple)));
        group.sample(reset.at_ns, reset.cookie, reset.tuple, reset.state);
    }

    fn add_failure(&mut self, key: Key, failure: &Failure) {
        let Some(group) = self.group(key, failure.at_ns) else { return };
        group.netns = failure.netns;
        if let Some(process) = failure.process {
            remember(&mut group.members, process.into(), failure.at_ns);
        }
        group.errno = failure.errno;
        group.count(failure.at_ns, 1);
        group.sample(failure.at_ns, None, failure.tuple, Some(TcpState::SynSent));
    }

    /// The processes that the events are about.
    pub(in crate::diagnose) fn pids(&self) -> impl Iterator<Item = u32> {
        let members = self.groups.values().flat_map(|group| group.members.iter().chain(&group.peers));
        members.map(|(member, _)| member.process.pid)
    }

    /// The groups that are worth judging: of a process that tries many places, its failures tell nothing.
    pub(in crate::diagnose) fn groups(&self, view: &View<'_>) -> impl Iterator<Item = (&Key, &Group)> {
        let mut places = HashMap::<_, HashSet<SocketAddr>>::new();
        for key in self.groups.keys() {
            places.entry((key.class, key.program)).or_default().extend(key.place);
        }
        let scanned = view.thresholds.scanned;
        self.groups.iter().filter(move |(key, _)| {
            let tried = places.get(&(key.class, key.program)).map_or(0, HashSet::len);
            !matches!(key.class, Class::ConnectionRefused | Class::SynBlackhole) || tried <= scanned
        })
    }

    /// How much is remembered.
    #[cfg(test)]
    pub(in crate::diagnose) fn size(&self) -> usize {
        self.groups.len() + self.idle.size()
    }
}
