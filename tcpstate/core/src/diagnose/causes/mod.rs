//! Causes: what another suspicion explains becomes a part of that one, so that one cause gives one finding. They are looked
//! for in this order: a resource that is full, somebody who is waited for, workers that are occupied, what was inherited,
//! a path that is dead, and the two ends of one connection.

mod answers;
mod inherited;
mod peers;
mod ports;
mod upstream;
mod waits;
mod workers;

use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashSet};

use super::{
    class::Class, finding::Resource, format, harm::Harm, program::ProgramId, suspicion::Suspicion, view::View,
};

/// Takes the harm from suspicions that others explain, so that they are remembered but not told.
pub(super) fn explain(view: &View<'_>, suspicions: &mut Vec<Suspicion>) {
    ports::merge_destinations(suspicions);
    ports::merge_failures(suspicions);
    merge_same(suspicions);
    descriptors(suspicions);
    inherited::explain(view, suspicions);
    upstream::explain(view, suspicions);
    workers::explain(view, suspicions);
    peers::explain(view, suspicions);
    stale_pools(suspicions);
    effects(suspicions);
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

/// Descriptors that are used up: what leaks them is the cause, and what cannot be accepted is the effect.
fn descriptors(suspicions: &mut [Suspicion]) {
    let is_leak = |class| {
        matches!(
            class,
            Class::CloseWaitLeak
                | Class::CloseWaitNeverRead
                | Class::EstablishedLeak
                | Class::FdInherited
                | Class::UnreadBody
        )
    };
    let causes: Vec<_> = suspicions
        .iter()
        .filter(|cause| {
            cause.is_told() && (is_leak(cause.key.class) || cause.key.class == Class::FdExhaustion)
        })
        .map(|cause| (cause.key, cause.count))
        .collect();
    let full: Vec<_> = suspicions
        .iter()
        .filter(|effect| effect.key.class == Class::FdExhaustion && effect.is_told())
        .map(|effect| (effect.key.program, effect.limit, effect.harm.clone()))
        .collect();
    // Who has a listener may not have been looked up yet.
    let listeners: HashSet<_> = suspicions
        .iter()
        .filter(|cause| cause.key.class == Class::FdExhaustion && cause.is_told())
        .filter_map(|cause| Some((cause.key.netns, cause.subject.listener.clone()?)))
        .collect();
    for effect in suspicions.iter_mut().filter(|effect| effect.key.program == ProgramId::NONE) {
        let place = effect.key.place.map(format::address).unwrap_or_default();
        let is_full = matches!(effect.key.class, Class::AcceptOverflow | Class::AcceptStall)
            && listeners.contains(&(effect.key.netns, place));
        if is_full {
            effect.tell_inside();
        }
    }
    for effect in suspicions.iter_mut().filter(|effect| effect.key.program != ProgramId::NONE) {
        let half = |count: u64| {
            effect.limit.is_some_and(|(of, used, _)| {
                of == Resource::FileDescriptors && count.saturating_mul(2) >= used
            })
        };
        let of_it = |(key, _): &&(super::suspicion::Key, u64)| key.program == effect.key.program;
        let explained = causes.iter().filter(of_it).any(|(key, count)| match effect.key.class {
            Class::FdExhaustion => is_leak(key.class) && half(*count),
            Class::AcceptOverflow | Class::AcceptStall => key.class == Class::FdExhaustion,
            _ => false,
        });
        if explained {
            effect.tell_inside();
        }
    }
    // What leaks them all is as bad as that there are none left.
    for cause in suspicions.iter_mut().filter(|cause| is_leak(cause.key.class) && cause.is_told()) {
        let taken = full.iter().find(|(program, limit, _)| {
            *program == cause.key.program
                && limit.is_some_and(|(_, used, _)| cause.count.saturating_mul(2) >= used)
        });
        if let Some((_, limit, Some(harm))) = taken {
            cause.limit = *limit;
            cause.harm = Some(harm.clone());
        }
    }
}

/// A pool that writes into what its server has ended is no pool that does no harm.
fn stale_pools(suspicions: &mut [Suspicion]) {
    let mut pools = HashMap::<_, String>::default();
    for pool in suspicions.iter().filter(|pool| pool.key.class == Class::CloseWaitIdlePool && pool.is_told())
    {
        pools.insert((pool.key.netns, pool.key.program), format::count(pool.count, "more connection"));
    }
    let mut told = HashSet::default();
    for writer in suspicions.iter_mut().filter(|writer| {
        writer.key.class == Class::WriteAfterFin
            && writer.is_harmful()
            && writer.key.program != ProgramId::NONE
    }) {
        let of_it = (writer.key.netns, writer.key.program);
        if let Some(more) = pools.get(&of_it) {
            writer.evidence.push(format!("it keeps {more} that the server has ended"));
            told.insert(of_it);
        }
    }
    let is_told = |pool: &&mut Suspicion| {
        pool.key.class == Class::CloseWaitIdlePool && told.contains(&(pool.key.netns, pool.key.program))
    };
    suspicions.iter_mut().filter(is_told).for_each(Suspicion::tell_inside);
}

/// What is seen of the same trouble in other sockets, counters and events.
fn effects(suspicions: &mut [Suspicion]) {
    let by_cookie = suspicions
        .iter()
        .any(|suspicion| matches!(suspicion.key.class, Class::FinWait2Orphan | Class::FinWait2Owned));
    let told = suspicions.iter().filter(|suspicion| suspicion.is_told());
    let causes: Vec<_> = told.map(|suspicion| Cause::of(suspicion, by_cookie)).collect();
    let explained: Vec<_> = suspicions
        .iter()
        .map(|effect| may_be_explained(effect.key.class) && causes.iter().any(|cause| cause.explains(effect)))
        .collect();
    drop(causes);
    for (suspicion, explained) in suspicions.iter_mut().zip(explained) {
        if explained {
            suspicion.tell_inside();
        }
    }
}

/// Whether [`Cause::explains`] knows the class at all: of the others there may be one for every peer.
fn may_be_explained(class: Class) -> bool {
    matches!(
        class,
        Class::AcceptOverflow
            | Class::AcceptOverflowRst
            | Class::AcceptStall
            | Class::FinWait2Orphan
            | Class::FinWait2Owned
            | Class::ProxyPair
            | Class::SynBlackhole
            | Class::SynFlood
            | Class::TimeWaitChurn
    )
}

/// What there is to know of a suspicion for telling what it explains.
struct Cause<'a> {
    suspicion: &'a Suspicion,
    /// Where some other suspicion asks for them.
    cookies: HashSet<u64>,
}

impl<'a> Cause<'a> {
    fn of(suspicion: &'a Suspicion, by_cookie: bool) -> Self {
        let cookies =
            if by_cookie { suspicion.cookies.iter().copied().collect() } else { HashSet::default() };
        Self { suspicion, cookies }
    }

    fn explains(&self, other: &Suspicion) -> bool {
        let (cause, effect) = (&self.suspicion.key, &other.key);
        let same_place = cause.netns == effect.netns && cause.place.is_some() && cause.place == effect.place;
        let same_program = cause.program != ProgramId::NONE && cause.program == effect.program;
        match (cause.class, effect.class) {
            // A full queue is what an accept stall comes to; ports that run out are what churn comes to.
            (Class::AcceptOverflow | Class::AcceptOverflowRst, Class::AcceptStall | Class::SynFlood) => {
                same_place
            }
            (Class::FdInherited, Class::AcceptOverflow | Class::AcceptStall) => same_place,
            (Class::PortExhaustion, Class::TimeWaitChurn) => same_program && cause.netns == effect.netns,
            (Class::OwnerStopped, Class::AcceptOverflow | Class::AcceptOverflowRst | Class::AcceptStall) => {
                same_program
            }
            // Connects that failed, and others that still try.
            (Class::SynBlackhole, Class::SynBlackhole) => {
                other.is_of_events
                    && same_place
                    && cause.program == effect.program
                    && !self.suspicion.is_of_events
            }
            // The same sockets, seen from their other end: the end in CLOSE_WAIT has to close.
            (Class::FinWait2Orphan, _) => false,
            (_, Class::FinWait2Orphan | Class::FinWait2Owned) => {
                let told = other.cookies.iter().filter(|cookie| self.cookies.contains(cookie)).count();
                // Of those that have come since, the cause will tell as well.
                cause != effect
                    && matches!(other.harm, Some(Harm::NoneSeen(_)))
                    && !other.cookies.is_empty()
                    && told * 10 >= other.cookies.len() * 9
            }
            _ => false,
        }
    }
}
