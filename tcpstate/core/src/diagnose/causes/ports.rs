//! A program that uses up local ports is one finding: with the destination that has the fewest left.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::diagnose::{
    class::Class,
    format,
    program::ProgramId,
    suspicion::{Key, Suspicion},
    suspicions::MAX_TOLD,
};

/// The ports that are in use, and the connects that found none, are one finding.
pub(super) fn merge_failures(suspicions: &mut Vec<Suspicion>) {
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

/// A program that uses up the ports to several destinations has one fault: the finding names the destination that has
/// the fewest left, and with its connects that found none; the other destinations stand in the evidence.
pub(super) fn merge_destinations(suspicions: &mut Vec<Suspicion>) {
    let mut by_program = BTreeMap::<(u32, ProgramId), Vec<Suspicion>>::new();
    suspicions.retain(|suspicion| {
        let Key { class, netns, program, .. } = suspicion.key;
        let merges = class == Class::PortExhaustion && program != ProgramId::NONE;
        if merges {
            by_program.entry((netns, program)).or_default().push(suspicion.clone());
        }
        !merges
    });
    for mut all in by_program.into_values() {
        all.sort_by_key(|suspicion| {
            let used = suspicion.limit.map(|(_, used, max)| format::percent(used, max));
            (Reverse((used, suspicion.is_told(), suspicion.count)), suspicion.key)
        });
        let others: Vec<_> = all.drain(1..).collect();
        let Some(mut worst) = all.pop() else { continue };
        worst.key.place = None;
        worst.series = worst.key;
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
