//! The figures that follow from the readings, in one place for the metrics and for the API, so that both say
//! the same.

use std::collections::BTreeMap;

use rustix::io::Errno;
use tcpstate_common::{Counters, EventKind, TcpState, names::programs};

use super::{
    ask::{Diagnosed, Readings},
    errno,
    shared::Own,
};
use crate::track::{Phase, tier::KNOWN_TRANSITIONS};

/// The reason that stands for all resets on kernels that record none.
const NOT_RECORDED: &str = "NOT_RECORDED";
/// What stands for `sk_err` 0: the application gave the connect up.
const GIVEN_UP: &str = "NONE";
/// Errors of connects that are shown even at 0.
const KNOWN_ERRORS: [Errno; 6] = [
    Errno::CONNREFUSED,
    Errno::TIMEDOUT,
    Errno::HOSTUNREACH,
    Errno::NETUNREACH,
    Errno::CONNRESET,
    Errno::ADDRNOTAVAIL,
];

/// Transitions of both families by old and new state: the known ones, and whatever else has happened.
pub(super) fn transitions(counters: &Counters) -> Vec<(TcpState, TcpState, u64)> {
    let mut rows = Vec::new();
    for from in TcpState::ALL {
        for to in TcpState::ALL {
            let count = counters.transitions.iter().map(|family| family[from.index()][to.index()]).sum();
            if count > 0 || KNOWN_TRANSITIONS.contains(&(from, to)) {
                rows.push((from, to, count));
            }
        }
    }
    rows
}

/// How many local ports the kernel chooses from in a namespace; `None` if its settings were not read.
pub(super) fn local_ports(netns: u32, diagnosed: &Diagnosed) -> Option<u64> {
    let sysctls = &diagnosed.namespaces.get(&netns)?.sysctls;
    let (first, last) = sysctls.local_ports?;
    let all = u64::from(last.checked_sub(first)?) + 1;
    all.checked_sub(sysctls.reserved_local_ports.unwrap_or(0).into()).filter(|ports| *ports > 0)
}

/// The name of a reset reason, by its number.
pub(super) fn reason(number: u32, names: &BTreeMap<u32, String>) -> String {
    names.get(&number).cloned().unwrap_or_else(|| format!("UNKNOWN_{number}"))
}

/// RSTs sent by reason: those that the kernel knows, and whatever else has happened.
pub(super) fn resets_sent(counters: &Counters, names: &BTreeMap<u32, String>) -> Vec<(String, u64)> {
    let last = counters.resets_sent.len() - 1;
    let mut rows = Vec::new();
    for (slot, number) in counters.resets_sent.iter().zip(0_u32..) {
        if names.is_empty() && number == 0 {
            rows.push((NOT_RECORDED.to_owned(), *slot));
        } else if usize::try_from(number).is_ok_and(|number| number < last) && names.contains_key(&number) {
            rows.push((reason(number, names), *slot));
        } else if *slot > 0 {
            // The last slot takes whatever is beyond it, so that no name of the kernel's fits.
            rows.push((format!("UNKNOWN_{number}"), *slot));
        }
    }
    rows
}

/// RSTs received by the phase in which they met the connection, without those that the kernel made itself.
pub(super) fn resets_received(counters: &Counters, own: &Own) -> Vec<(Phase, u64)> {
    let mut rows = Vec::new();
    for phase in Phase::ALL {
        let states = TcpState::ALL.into_iter().filter(|state| Phase::of(*state) == phase);
        let (mut met, mut self_made) = (0, 0);
        for state in states {
            met += counters.resets_met[state.index()];
            self_made += counters.resets_self_made[state.index()];
        }
        rows.push((phase, own.received(phase).raise(u64::saturating_sub(met, self_made))));
    }
    rows
}

/// Failed connects by the error's name: the known ones, and whatever else has happened.
pub(super) fn connect_failures(counters: &Counters) -> Vec<(String, u64)> {
    let mut rows = Vec::new();
    for (slot, number) in counters.connect_failures.iter().zip(0_u32..) {
        if number == 0 {
            rows.push((GIVEN_UP.to_owned(), *slot));
        } else if *slot > 0 || KNOWN_ERRORS.iter().any(|known| errno::is(*known, number)) {
            rows.push((errno::name(number), *slot));
        }
    }
    rows
}

/// What was lost, by kind. What the kernel side would have lost is not there without it.
pub(super) fn losses(readings: &Readings, own: &Own) -> Vec<(&'static str, u64)> {
    let mut rows = Vec::new();
    if let Some(counters) = &readings.counters {
        rows.extend(EventKind::ALL.map(|kind| (kind.name(), counters.lost[kind as usize])));
        rows.push(("malformed", readings.malformed));
        rows.push(("missed", missed(readings)));
        rows.push(("note", readings.given_up.notes));
    }
    rows.push(("socket", readings.given_up.sockets));
    rows.push(("watch", own.watch_lost()));
    rows
}

/// Events that no program saw: changes of state, and what the only program at another tracepoint was not
/// run for.
fn missed(readings: &Readings) -> u64 {
    let others = readings.probes.iter().filter(|probe| !programs::takes_transitions(probe.name));
    readings.missed + others.filter_map(|probe| probe.missed).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::{ask, tests::scene};

    #[test]
    fn transitions_that_tcp_does_not_make_show_up_when_they_happen() {
        let mut counters = Counters::ZERO;
        assert_eq!(transitions(&counters).len(), KNOWN_TRANSITIONS.len());
        counters.transitions[1][TcpState::LastAck.index()][TcpState::Listen.index()] = 2;
        counters.transitions[0][TcpState::LastAck.index()][TcpState::Listen.index()] = 1;
        let rows = transitions(&counters);
        assert_eq!(rows.len(), KNOWN_TRANSITIONS.len() + 1);
        assert!(rows.contains(&(TcpState::LastAck, TcpState::Listen, 3)));
    }

    #[test]
    fn a_reason_without_name_keeps_its_number() {
        let names = BTreeMap::from([(0, "NOT_SPECIFIED".to_owned()), (63, "BEYOND".to_owned())]);
        let mut counters = Counters::ZERO;
        assert_eq!(resets_sent(&counters, &names), [("NOT_SPECIFIED".to_owned(), 0)]);
        counters.resets_sent[7] = 1;
        counters.resets_sent[63] = 2;
        let rows = resets_sent(&counters, &names);
        assert_eq!(rows[1..], [("UNKNOWN_7".to_owned(), 1), ("UNKNOWN_63".to_owned(), 2)]);
    }

    #[test]
    fn without_reasons_all_resets_are_not_recorded() {
        let mut counters = Counters::ZERO;
        counters.resets_sent[0] = 9;
        assert_eq!(resets_sent(&counters, &BTreeMap::new()), [("NOT_RECORDED".to_owned(), 9)]);
    }

    #[test]
    fn a_reset_that_the_kernel_made_itself_was_not_received() {
        let mut counters = Counters::ZERO;
        counters.resets_met[TcpState::FinWait2.index()] = 5;
        counters.resets_met[TcpState::FinWait1.index()] = 1;
        counters.resets_self_made[TcpState::FinWait2.index()] = 4;
        let received = resets_received(&counters, &Own::default());
        assert_eq!(received.iter().find(|(phase, _)| *phase == Phase::Closing), Some(&(Phase::Closing, 2)));
    }

    #[test]
    fn only_what_no_program_took_was_missed() {
        let mut readings = scene::readings();
        let probe = |name, missed| ask::Probe { name, attached: Ok(()), runs: None, missed: Some(missed) };
        readings.probes = vec![
            probe(programs::INET_SOCK_SET_STATE, 10),
            probe(programs::INET_SOCK_SET_STATE_NESTED, 100),
            probe(programs::TCP_SEND_RESET, 3),
        ];
        readings.missed = 1;
        assert_eq!(missed(&readings), 4);
    }

    #[test]
    fn an_error_that_connects_do_not_meet_keeps_its_number() {
        let mut counters = Counters::ZERO;
        assert_eq!(connect_failures(&counters).len(), KNOWN_ERRORS.len() + 1);
        counters.connect_failures[200] = 1;
        assert!(connect_failures(&counters).contains(&("ERRNO_200".to_owned(), 1)));
    }
}
