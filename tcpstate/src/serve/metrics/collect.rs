//! The readings as metric families. Unknown is not zero: what cannot be known is left out.

use prometheus::proto::MetricFamily;
use tcpstate_common::{Counters, EventKind, TcpState};

use super::{
    catalog::{self, Metric},
    diagnosis,
    family::{Family, flag, number, seconds},
};
use crate::{
    pulse::Pulses,
    serve::{
        ask::{Diagnosed, Readings},
        figures,
        http::connections::Closed,
        shared::Own,
    },
    track::{Family as IpFamily, Tier},
};

/// The label of all that are not among the largest.
pub(super) const OTHER: &str = "other";

/// All families that can be told from these readings.
pub(super) fn families(
    readings: &Readings,
    diagnosed: &Diagnosed,
    pulses: &Pulses,
    own: &Own,
) -> Vec<MetricFamily> {
    let mut families = sockets(readings);
    families.extend(diagnosis::families(diagnosed, readings.limits.top_owners));
    families.extend(parked(readings));
    if let Some(counters) = &readings.counters {
        families.extend(kernel(counters, readings, own));
    }
    families.extend(itself(readings, own));
    families.extend(ages(readings, diagnosed, pulses));
    families.into_iter().map(MetricFamily::from).collect()
}

pub(super) fn single(metric: Metric, value: f64) -> Family {
    let mut family = Family::new(metric);
    family.add([], value);
    family
}

fn by_label<'a>(metric: Metric, rows: impl IntoIterator<Item = (&'a str, u64)>) -> Family {
    let mut family = Family::new(metric);
    for (label, count) in rows {
        family.add([label], number(count));
    }
    family
}

fn sockets(readings: &Readings) -> Vec<Family> {
    let mut sockets = Family::new(catalog::SOCKETS);
    if readings.census.is_some() {
        for family in IpFamily::ALL {
            for state in TcpState::VISIBLE {
                let count = readings.sockets.get(family, state);
                sockets.add([family.name(), state.name()], number(count));
            }
        }
    }
    vec![sockets, single(catalog::SOCKETS_EXACT, flag(readings.sockets.exact))]
}

fn parked(readings: &Readings) -> [Family; 2] {
    let mut counts = Family::new(catalog::PARKED_SOCKETS);
    let mut ages = Family::new(catalog::PARKED_OLDEST_AGE);
    for group in &readings.parked {
        let label = |value: &Option<String>| value.clone().unwrap_or_default();
        let (comm, container, unit) = match &group.blamed {
            Some(blamed) => (label(&blamed.comm), label(&blamed.container), label(&blamed.unit)),
            None => (OTHER.to_owned(), OTHER.to_owned(), OTHER.to_owned()),
        };
        let labels = [comm.as_str(), container.as_str(), group.state.name(), unit.as_str()];
        counts.add(labels, number(group.count));
        ages.add(labels, number(group.oldest_age_ms) / 1e3);
    }
    [counts, ages]
}

/// What the kernel side counts.
fn kernel(counters: &Counters, readings: &Readings, own: &Own) -> Vec<Family> {
    let mut transitions = Family::new(catalog::TRANSITIONS);
    for (from, to, count) in figures::transitions(counters) {
        transitions.add([from.name(), to.name()], number(count));
    }
    let mut durations = Family::new(catalog::STATE_DURATION);
    for state in TcpState::ALL.into_iter().filter(|state| state.parks()) {
        durations.add_dwell([state.name()], &counters.dwell[state.index()]);
    }
    let sent = figures::resets_sent(counters, &readings.reset_reasons);
    let received = figures::resets_received(counters, own);
    let failures = figures::connect_failures(counters);
    let emitted = EventKind::ALL.map(|kind| (kind.name(), counters.emitted[kind as usize]));
    vec![
        transitions,
        durations,
        by_label(catalog::RESETS_SENT, sent.iter().map(|(reason, count)| (reason.as_str(), *count))),
        by_label(catalog::RESETS_RECEIVED, received.iter().map(|(phase, count)| (phase.name(), *count))),
        by_label(catalog::CONNECT_FAILURES, failures.iter().map(|(error, count)| (error.as_str(), *count))),
        by_label(catalog::EVENTS, emitted),
        single(catalog::UNKNOWN_STATES, number(counters.unknown_states)),
        single(catalog::IGNORED_EVENTS, number(counters.ignored)),
    ]
}

/// What the daemon tells of itself.
fn itself(readings: &Readings, own: &Own) -> Vec<Family> {
    let mut build = Family::new(catalog::BUILD_INFO);
    build.add([env!("CARGO_PKG_VERSION")], 1.0);
    let mut tiers = Family::new(catalog::TIER);
    for tier in Tier::ALL {
        tiers.add([tier.name()], flag(tier == readings.tier));
    }
    let missing = readings.needs.iter().map(|need| (need.what.as_str(), u64::from(need.loss.is_some())));
    let mut families = vec![
        build,
        tiers,
        by_label(catalog::MISSING, missing),
        by_label(catalog::EVENTS_LOST, figures::losses(readings, own)),
        single(catalog::LATE_EVENTS, number(readings.given_up.late_events)),
        single(catalog::TRACKED_SOCKETS, number(readings.tracked as u64)),
        single(catalog::UNATTRIBUTED_SOCKETS, number(readings.unattributed)),
    ];
    families.extend(http(own));
    families.extend(probes(readings));
    families.extend(census(readings));
    families.extend(own.last_scrape().map(|took| single(catalog::SCRAPE_DURATION, took.as_secs_f64())));
    families
}

/// How long ago each part of the daemon did its work.
fn ages(readings: &Readings, diagnosed: &Diagnosed, pulses: &Pulses) -> Vec<Family> {
    let mut workers = Family::new(catalog::WORKER_AGE);
    for (worker, age) in pulses.ages() {
        workers.add([worker.name()], number(age.as_secs()));
    }
    let age = |at_ns: u64| seconds(readings.now_ns.saturating_sub(at_ns));
    let diagnosis = diagnosed.at_ns.map(|at_ns| single(catalog::DIAGNOSIS_AGE, age(at_ns)));
    let event = readings.last_event_ns.map(|at_ns| single(catalog::EVENT_AGE, age(at_ns)));
    std::iter::once(workers).chain(diagnosis).chain(event).collect()
}

fn http(own: &Own) -> [Family; 3] {
    let connections = own.connections();
    [
        single(catalog::HTTP_CONNECTIONS, number(connections.count() as u64)),
        by_label(catalog::HTTP_CLOSED, Closed::ALL.map(|why| (why.name(), connections.closed(why)))),
        by_label(catalog::HTTP_REFUSED, own.refusals()),
    ]
}

fn probes(readings: &Readings) -> [Family; 3] {
    let mut attached = Family::new(catalog::PROBE_ATTACHED);
    let mut runs = Family::new(catalog::PROBE_RUNS);
    let mut run_seconds = Family::new(catalog::PROBE_RUN_SECONDS);
    for probe in &readings.probes {
        attached.add([probe.name], flag(probe.attached.is_ok()));
        if let Some((count, run_time_ns)) = probe.runs {
            runs.add([probe.name], number(count));
            run_seconds.add([probe.name], seconds(run_time_ns));
        }
    }
    [attached, runs, run_seconds]
}

fn census(readings: &Readings) -> Vec<Family> {
    let Some(census) = readings.census else { return Vec::new() };
    let age_ns = readings.now_ns.saturating_sub(census.finished_ns);
    let namespaces = [("true", census.namespaces_visited), ("false", census.namespaces_unreachable)];
    let mut families = vec![
        single(catalog::RECONCILE_DURATION, seconds(census.took_ns)),
        single(catalog::RECONCILE_AGE, seconds(age_ns)),
        by_label(catalog::NAMESPACES, namespaces),
        single(catalog::HIDDEN_PROCESSES, number(census.processes_hidden)),
    ];
    if readings.tier.counts() {
        families.push(single(catalog::RECONCILE_DRIFT, number(census.drift)));
    }
    families
}
