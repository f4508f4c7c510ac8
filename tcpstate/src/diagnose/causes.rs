//! One cause gives one finding: what another suspicion explains is not told apart from it. Most sockets have been
//! sorted into one group already; this is about causes that show in different sockets, counters and events.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, hash_map::Entry},
};

use foldhash::{HashMap, HashSet};

use super::{
    class::Class,
    finding::{Resource, Severity},
    format,
    suspicion::{Key, Suspicion},
    suspicions::MAX_TOLD,
};

/// Takes the severity from suspicions that others explain, so that they are remembered but not told.
pub(super) fn explain(suspicions: &mut Vec<Suspicion>) {
    merge_destinations(suspicions);
    merge_port_exhaustion(suspicions);
    merge_same(suspicions);
    let by_cookie = suspicions.iter().any(|suspicion| suspicion.key.class == Class::FinWait2Orphan);
    let told = suspicions.iter().filter(|suspicion| suspicion.severity.is_some());
    let causes: Vec<_> = told.map(|suspicion| Cause::of(suspicion, by_cookie)).collect();
    let explained: Vec<_> = suspicions
        .iter()
        .map(|effect| may_be_explained(effect.key.class) && causes.iter().any(|cause| cause.explains(effect)))
        .collect();
    drop(causes);
    for (suspicion, explained) in suspicions.iter_mut().zip(explained) {
        if explained {
            suspicion.severity = None;
        }
    }
}

/// The ports that are in use, and the connects that found none, are told together.
fn merge_port_exhaustion(suspicions: &mut Vec<Suspicion>) {
    let mut failures = Vec::new();
    suspicions.retain(|suspicion| {
        let failed = suspicion.key.class == Class::PortExhaustion && suspicion.is_of_events;
        if failed {
            failures.push(suspicion.clone());
        }
        !failed
    });
    for failed in failures {
        let used = suspicions.iter_mut().find(|used| {
            used.key.class == Class::PortExhaustion
                && (used.key.netns, &used.subject.peer) == (failed.key.netns, &failed.subject.peer)
        });
        match used {
            Some(used) => used.absorb(failed),
            None => suspicions.push(failed),
        }
    }
}

/// A process that uses up the ports to several destinations has one fault: it is told with the destination that has
/// the fewest left, and with its connects that found none; the other destinations stand in the evidence.
fn merge_destinations(suspicions: &mut Vec<Suspicion>) {
    let mut by_process = BTreeMap::<(u32, u32), Vec<Suspicion>>::new();
    suspicions.retain(|suspicion| {
        let Key { class, netns, pid, .. } = suspicion.key;
        let merges = class == Class::PortExhaustion && pid != 0;
        if merges {
            by_process.entry((netns, pid)).or_default().push(suspicion.clone());
        }
        !merges
    });
    for mut all in by_process.into_values() {
        all.sort_by_key(|suspicion| {
            let used = suspicion.limit.map(|(_, used, max)| format::percent(used, max));
            (Reverse((used, suspicion.severity, suspicion.count)), suspicion.key)
        });
        let others: Vec<_> = all.drain(1..).collect();
        let Some(mut worst) = all.pop() else { continue };
        worst.key.place = None;
        let peer = worst.subject.peer.clone();
        let mut names: Vec<_> = Vec::new();
        for other in others.iter().filter_map(|other| other.subject.peer.as_ref()) {
            if Some(other) != peer.as_ref() && !names.contains(other) {
                names.push(other.clone());
            }
        }
        for mut other in others {
            if !other.is_of_events {
                // It is as good as its name.
                other.evidence.clear();
            }
            worst.absorb(other);
        }
        if !names.is_empty() {
            let also = format::count(names.len() as u64, "other destination");
            let more = names.len().saturating_sub(MAX_TOLD);
            names.truncate(MAX_TOLD);
            names.extend((more > 0).then(|| format!("{more} more")));
            worst.evidence.insert(0, format!("the same to {also}: {}", format::list(&names)));
        }
        suspicions.push(worst);
    }
}

/// Sockets that wait and events of those that have waited are the same trouble.
fn merge_same(suspicions: &mut Vec<Suspicion>) {
    let mut merged: Vec<Suspicion> = Vec::with_capacity(suspicions.len());
    let mut places = HashMap::default();
    for suspicion in suspicions.drain(..) {
        match places.entry(suspicion.key) {
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(suspicion);
            }
            Entry::Occupied(place) => merged[*place.get()].absorb(suspicion),
        }
    }
    *suspicions = merged;
}

/// Whether [`Cause::explains`] knows the class at all: of the others there may be one for every peer.
fn may_be_explained(class: Class) -> bool {
    matches!(
        class,
        Class::AcceptOverflow
            | Class::AcceptOverflowRst
            | Class::AcceptStall
            | Class::FinWait2Orphan
            | Class::SynBlackhole
            | Class::SynFlood
            | Class::TimeWaitChurn
    )
}

/// What there is to know of a suspicion for telling what it explains.
struct Cause<'a> {
    suspicion: &'a Suspicion,
    /// Where some other finding asks for them.
    cookies: HashSet<u64>,
}

impl<'a> Cause<'a> {
    fn of(suspicion: &'a Suspicion, by_cookie: bool) -> Self {
        let asks = by_cookie && suspicion.severity >= Some(Severity::Warning);
        let cookies = if asks { suspicion.cookies.iter().copied().collect() } else { HashSet::default() };
        Self { suspicion, cookies }
    }

    fn explains(&self, other: &Suspicion) -> bool {
        let (cause, effect) = (&self.suspicion.key, &other.key);
        let same_place = cause.netns == effect.netns && cause.place.is_some() && cause.place == effect.place;
        let same_process = cause.pid != 0 && cause.pid == effect.pid;
        match (cause.class, effect.class) {
            // A full queue is what an accept stall comes to; ports that run out are what churn comes to.
            (Class::AcceptOverflow | Class::AcceptOverflowRst, Class::AcceptStall | Class::SynFlood) => {
                same_place
            }
            (Class::PortExhaustion, Class::TimeWaitChurn) => same_process && cause.netns == effect.netns,
            (Class::OwnerStopped, Class::AcceptOverflow | Class::AcceptOverflowRst | Class::AcceptStall) => {
                same_process
            }
            // Accept fails because the descriptors have been leaked.
            (
                Class::CloseWaitLeak | Class::FdInherited | Class::CloseWaitNeverRead,
                Class::AcceptOverflow | Class::AcceptStall,
            ) => {
                let half = other.limit.is_some_and(|(of, used, _)| {
                    of == Resource::FileDescriptors && self.suspicion.count.saturating_mul(2) >= used
                });
                same_process && half
            }
            // Connects that failed, and others that still try.
            (Class::SynBlackhole, Class::SynBlackhole) => {
                other.is_of_events && same_place && cause.pid == effect.pid && !self.suspicion.is_of_events
            }
            // The same sockets, seen from their other end.
            (_, Class::FinWait2Orphan) => {
                cause != effect
                    && !other.cookies.is_empty()
                    && other.cookies.iter().all(|cookie| self.cookies.contains(cookie))
            }
            _ => false,
        }
    }
}
