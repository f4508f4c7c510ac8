//! The store of findings: opens them, keeps them under the same id, and resolves them when the trouble has been gone
//! for a while, so that what comes and goes at every pass does not flicker. Adds what only time tells: the trend, and
//! when a limit will be reached.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    Changes, NS_PER_MS,
    class::Class,
    finding::{Finding, HarmDone, Limit, MAX_SAMPLES, Resource, Severity, Status},
    format,
    harm::Harm,
    history::History,
    suspicion::{Key, Suspicion},
    thresholds::Thresholds,
};

/// Lines of evidence that a finding shows at most, and of what could not be seen.
const MAX_LINES: usize = 12;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FindingStore {
    entries: BTreeMap<Key, Entry>,
    shown: Vec<Finding>,
    refused: u64,
}

#[derive(Debug)]
struct Entry {
    finding: Finding,
    /// When it was last seen to be as bad as it says, monotonic ns.
    as_bad_ns: u64,
    is_of_events: bool,
}

impl FindingStore {
    /// Takes in what a pass has found.
    pub(super) fn update(
        &mut self,
        suspicions: Vec<Suspicion>,
        history: &History,
        at_ns: u64,
        thresholds: &Thresholds,
    ) -> Changes {
        let mut changes = Changes::default();
        for suspicion in suspicions {
            let (key, is_of_events) = (suspicion.key, suspicion.is_of_events);
            if suspicion.is_told_inside {
                self.close(&key, &mut changes, at_ns);
                continue;
            }
            let Some(harm) = suspicion.harm.clone() else { continue };
            let mut finding = write(suspicion, &harm, history, at_ns, thresholds);
            if !self.entries.contains_key(&key) && !self.make_room(thresholds.max_findings, finding.severity)
            {
                self.refused += 1;
                continue;
            }
            if let Some(entry) = self.entries.get_mut(&key) {
                let before = &entry.finding;
                let reopened = before.status == Status::Resolved;
                if !reopened {
                    finding.opened_at = before.opened_at;
                    finding.since = finding.since.min(before.since);
                    let lasts = at_ns.saturating_sub(entry.as_bad_ns) < thresholds.resolve_ms * NS_PER_MS;
                    if finding.severity >= before.severity {
                        entry.as_bad_ns = at_ns;
                    } else if lasts {
                        finding.severity = before.severity;
                    }
                }
                entry.finding = finding;
                if reopened {
                    entry.as_bad_ns = at_ns;
                    changes.opened.push(entry.finding.clone());
                }
            } else {
                changes.opened.push(finding.clone());
                self.entries.insert(key, Entry { finding, as_bad_ns: at_ns, is_of_events });
            }
        }
        self.resolve(&mut changes, at_ns, thresholds);
        self.show();
        changes
    }

    /// Resolves a finding whose cause has been found: it is a part of that one from now on.
    fn close(&mut self, key: &Key, changes: &mut Changes, at_ns: u64) {
        if let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.finding.status == Status::Open) {
            entry.finding.status = Status::Resolved;
            entry.finding.resolved_at = Some(at_ns);
            changes.resolved.push(entry.finding.clone());
        }
    }

    /// Returns whether there is room for one more of this severity: what has been resolved for longest goes first, then the
    /// mildest that is milder.
    fn make_room(&mut self, max: usize, severity: Severity) -> bool {
        if self.entries.len() < max {
            return true;
        }
        let resolved = self.entries.iter().filter(|(_, entry)| entry.finding.status == Status::Resolved);
        let oldest = resolved.min_by_key(|(_, entry)| entry.finding.resolved_at).map(|(key, _)| *key);
        if let Some(key) = oldest {
            return self.entries.remove(&key).is_some();
        }
        let milder = self.entries.iter().filter(|(_, entry)| entry.finding.severity < severity);
        let mildest = milder.min_by_key(|(_, entry)| (entry.finding.severity, entry.finding.count));
        let Some(key) = mildest.map(|(key, _)| *key) else { return false };
        self.refused += 1;
        self.entries.remove(&key).is_some()
    }

    fn resolve(&mut self, changes: &mut Changes, at_ns: u64, thresholds: &Thresholds) {
        for entry in self.entries.values_mut() {
            let after_ms =
                if entry.is_of_events { thresholds.resolve_events_ms } else { thresholds.resolve_ms };
            let gone_ns = at_ns.saturating_sub(entry.finding.updated_at);
            if entry.finding.status == Status::Open && gone_ns > 0 && gone_ns >= after_ms * NS_PER_MS {
                entry.finding.status = Status::Resolved;
                entry.finding.resolved_at = Some(at_ns);
                changes.resolved.push(entry.finding.clone());
            }
        }
        self.entries.retain(|_, entry| {
            let resolved_ns = entry.finding.resolved_at;
            resolved_ns.is_none_or(|ns| at_ns.saturating_sub(ns) < thresholds.forget_ms * NS_PER_MS)
        });
    }

    fn show(&mut self) {
        self.shown = self.entries.values().map(|entry| entry.finding.clone()).collect();
        self.shown.sort_by_key(|finding| {
            let open = finding.status == Status::Open;
            (Reverse((open, finding.severity, finding.count)), finding.since)
        });
    }

    /// See [`super::Diagnosis::findings`].
    pub(super) fn findings(&self) -> &[Finding] {
        &self.shown
    }

    /// Findings for which there was no room, so far.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

/// Makes a finding of a suspicion.
fn write(
    mut suspicion: Suspicion,
    harm: &Harm,
    history: &History,
    at_ns: u64,
    thresholds: &Thresholds,
) -> Finding {
    let class = suspicion.key.class;
    let series = history.series(&suspicion.series);
    let trend = series.and_then(|series| series.per_minute(at_ns, suspicion.trend_count(), thresholds));
    let rising = trend.filter(|trend| *trend > 0.0);
    // What several processes take, each of them takes a part of.
    #[expect(clippy::cast_precision_loss, reason = "nobody runs 2^52 processes")]
    let share = rising.map(|per_minute| per_minute / suspicion.members.len().max(1) as f64);
    let limit = suspicion.limit.map(|(of, used, max)| {
        let reached_in_seconds = share.and_then(|per_minute| until(max.saturating_sub(used), per_minute));
        Limit { of, used, max, reached_in_seconds }
    });
    // It is what uses the limit up, not a bystander.
    let by_it = limit.as_ref().filter(|limit| suspicion.count.saturating_mul(10) >= limit.used);
    let severity = harm.severity(by_it, thresholds);
    let harm = HarmDone { kind: harm.kind(), text: format::sentence(&harm.text(by_it, thresholds)) + "." };
    let mut verdict = std::mem::take(&mut suspicion.verdict);
    if suspicion.tells_trend
        && let Some(per_minute) = rising
    {
        verdict.extend(["; +", &format::rate(per_minute), "/min"]);
    }
    // A finding about the limit itself names it already.
    if let Some(limit) = limit.as_ref().filter(|_| class != Class::FdExhaustion) {
        verdict.push_str(&deadline(limit, thresholds));
    }
    verdict.push('.');
    let mut first = verdict.chars();
    if let Some(letter) = first.next().filter(char::is_ascii_lowercase)
        && !suspicion.subject.comm.as_ref().is_some_and(|comm| verdict.starts_with(comm.as_str()))
    {
        verdict = format!("{}{}", letter.to_ascii_uppercase(), first.as_str());
    }
    suspicion.evidence.truncate(MAX_LINES);
    suspicion.cannot_see.truncate(MAX_LINES);
    suspicion.sockets.truncate(MAX_SAMPLES);
    Finding {
        id: suspicion.key.id(),
        class,
        severity,
        status: Status::Open,
        subject: suspicion.subject,
        since: suspicion.since_ns.min(at_ns),
        opened_at: at_ns,
        updated_at: at_ns,
        resolved_at: None,
        count: suspicion.count,
        trend_per_minute: trend,
        limit,
        harm,
        verdict,
        remedy: suspicion.remedy,
        evidence: suspicion.evidence,
        cannot_see: suspicion.cannot_see,
        sockets: suspicion.sockets,
        explanation: format!("/api/v1/explain/{}", class.name()),
    }
}

/// Seconds until this number more have come.
fn until(left: u64, per_minute: f64) -> Option<u64> {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and nobody counts seconds beyond 2^52"
    )]
    let seconds = (left as f64 * 60.0 / per_minute) as u64;
    // Beyond a year it is no deadline.
    (seconds < 365 * 86_400).then_some(seconds)
}

/// How the sentence tells a limit that is near, or that comes nearer.
fn deadline(limit: &Limit, thresholds: &Thresholds) -> String {
    let full = format::percent(limit.used, limit.max) >= thresholds.limit_percent;
    match (limit.of, limit.reached_in_seconds) {
        (Resource::FileDescriptors, _) if limit.used >= limit.max => {
            format!("; its fd limit of {} is reached", format::digits(limit.max))
        }
        (Resource::FileDescriptors, Some(seconds)) => {
            format!("; its fd limit is reached in {}", format::duration(seconds.saturating_mul(1_000)))
        }
        (Resource::FileDescriptors, None) if full => {
            format!(
                "; it has {} of {} descriptors open",
                format::digits(limit.used),
                format::digits(limit.max)
            )
        }
        (Resource::EphemeralPorts, Some(seconds)) if limit.used < limit.max => {
            format!("; none is left in {}", format::duration(seconds.saturating_mul(1_000)))
        }
        _ => String::new(),
    }
}
