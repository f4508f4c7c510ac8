//! Events as the kernel side tells them: for tests of whoever reads that.

use tcpstate_common::{
    Event as Wire, EventKind,
    wire::{AF_INET, AF_INET6, flags},
};

use crate::track::{Event, Family, ResetSent, octets};

/// The kernel side's record of an event.
pub(crate) fn wire_of(told: &Event) -> Wire {
    let (kind, at_ns, cookie, netns, tuple) = match told {
        Event::Transition(event) => {
            (EventKind::Transition, event.at_ns, event.cookie, event.netns, event.tuple)
        }
        Event::ResetSent(event) => {
            (EventKind::ResetSent, event.at_ns, event.cookie, event.netns, event.tuple)
        }
        Event::ResetReceived(event) => {
            (EventKind::ResetReceived, event.at_ns, event.cookie, event.netns, event.tuple)
        }
    };
    let (old_state, new_state, error, reason) = match told {
        Event::Transition(event) => (Some(event.from), Some(event.to), event.error, None),
        Event::ResetSent(event) => (event.state, None, 0, event.reason),
        Event::ResetReceived(event) => (Some(event.state), None, 0, None),
    };
    let mut wire = Wire {
        time_ns: at_ns,
        cookie: cookie.unwrap_or(0),
        entered_ns: 0,
        netns,
        pid: 0,
        comm: [0; 16],
        saddr: octets(tuple.local.ip()),
        daddr: octets(tuple.remote.ip()),
        sport: tuple.local.port(),
        dport: tuple.remote.port(),
        kind: kind as u8,
        family: if tuple.family == Family::V4 { AF_INET } else { AF_INET6 },
        old_state: old_state.map_or(0, |state| state as u8),
        new_state: new_state.map_or(0, |state| state as u8),
        reason: reason.unwrap_or(0),
        error,
        flags: if reason.is_some() { flags::HAS_REASON } else { 0 },
        pad: 0,
    };
    if let Event::Transition(event) = told {
        wire.entered_ns = event.entered_ns.unwrap_or(0);
        wire.flags |= if event.inferred { flags::INFERRED } else { 0 };
        if let Some(actor) = event.actor {
            (wire.pid, wire.comm) = (actor.process.pid, actor.process.comm.0);
            wire.flags |= if actor.carried { flags::PID_CARRIED } else { 0 };
        }
    }
    if let Event::ResetSent(ResetSent { process: Some(process), .. }) = told {
        (wire.pid, wire.comm) = (process.pid, process.comm.0);
    }
    wire
}
