//! What a pass begins with, and what is looked up for it: put together to the evidence in the same way live and from a
//! recording.

use std::{collections::BTreeMap, sync::Arc};

use foldhash::HashMap;
use serde::{Deserialize, Serialize};
use tcpstate_common::TcpState;

use super::{
    Evidence, Selected,
    evidence::{Hidden, Listener, Namespace, Process, Reason, ResetSeen, TcpInfo, Unseen, What},
};
use crate::track::{
    self, Circumstances, Direction, Failure, Holders, IdleClose, Reset, Row, Sockets, Tier, Tracker,
};

/// What the tracker knows at the begin of a pass.
#[derive(Debug)]
pub struct Material {
    pub moment: Moment,
    pub selected: Selected,
    /// Sockets in the table.
    pub tracked: usize,
    /// What has happened since the last pass, the oldest first.
    pub resets: Vec<(Reset, Circumstances)>,
    pub failures: Vec<Failure>,
    pub closes: Vec<IdleClose>,
    /// How much more has happened since.
    pub left_out: u64,
    /// What is known now.
    pub seen: Seen,
    /// The kernel's names of reasons (`enum sk_rst_reason`), by number; empty where it gives none.
    pub reset_reasons: Arc<BTreeMap<u32, String>>,
}

/// When a pass is, and how old what it looks at is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Moment {
    /// Monotonic ns.
    pub at_ns: u64,
    /// Monotonic ns of the census that shows the sockets that are not `ESTABLISHED`, and of the one that shows all;
    /// `None` before the first.
    pub census_ns: Option<u64>,
    pub established_ns: Option<u64>,
    /// See [`Evidence::boot_offset_ns`].
    pub boot_offset_ns: u64,
    pub tier: Tier,
    #[serde(default)]
    pub hidden: Hidden,
}

/// How far the lists of events have been read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// The id of the last reset.
    pub resets: u64,
    /// The number of failed connects.
    pub failures: u64,
    /// The number of closes of idle connections.
    pub closes: u64,
}

/// What was looked up for a pass beyond what the tracker knows.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// `tcp_info`, each with the socket as it was then.
    pub info: Vec<(Row, TcpInfo)>,
    /// Listeners, each with its row.
    pub listeners: Vec<(Row, Listener)>,
    /// By inode number.
    pub namespaces: HashMap<u32, Namespace>,
    /// By pid.
    pub processes: HashMap<u32, Process>,
    pub cannot_see: Vec<Unseen>,
}

impl Material {
    /// What `tracker` knows of these sockets, and of events after `seen`, of each kind `most` at most.
    #[must_use]
    pub fn of(
        tracker: &Tracker,
        moment: Moment,
        selected: Selected,
        seen: Seen,
        most: usize,
        reset_reasons: &Arc<BTreeMap<u32, String>>,
    ) -> Self {
        let (resets, resets_left_out) = tracker.resets().since(seen.resets, most);
        let (failures, failures_left_out) = tracker.failures().since(seen.failures, most);
        let (closes, closes_left_out) = tracker.closes().since(seen.closes, most);
        Self {
            moment,
            selected,
            tracked: tracker.tracked(),
            resets: resets.cloned().collect(),
            failures: failures.copied().collect(),
            closes: closes.copied().collect(),
            left_out: resets_left_out + failures_left_out + closes_left_out,
            seen: Seen {
                resets: tracker.resets().seen(),
                failures: tracker.failures().pushed(),
                closes: tracker.closes().pushed(),
            },
            reset_reasons: Arc::clone(reset_reasons),
        }
    }
}

impl Evidence {
    /// Begins with what the tracker knows. Sockets that have ended were held by those whom `before`, the look-up of
    /// holders before this pass, found.
    #[must_use]
    pub fn of(material: Material, before: &Holders) -> Self {
        let Material { moment, selected, resets, failures, closes, left_out, reset_reasons, .. } = material;
        let resets = resets.into_iter();
        let resets = resets.map(|(reset, about)| reset_seen(reset, about, &reset_reasons, before)).collect();
        Self {
            at_ns: moment.at_ns,
            census_ns: moment.census_ns.unwrap_or(0),
            established_ns: moment.established_ns.unwrap_or(0),
            boot_offset_ns: Some(moment.boot_offset_ns),
            sockets: selected.sockets,
            left_out: selected.left_out,
            destinations: selected.destinations,
            resets,
            failures,
            closes,
            events_left_out: left_out,
            cannot_see: unseen_events(moment.tier, &reset_reasons),
            hidden: moment.hidden,
            ..Self::default()
        }
    }

    /// Adds who holds the sockets; `hidden` is why there may be more holders than those.
    pub fn add_holders(&mut self, holders: &Arc<Holders>, hidden: Option<&str>) {
        self.holders = Arc::clone(holders);
        self.holders_complete = hidden.is_none();
        self.cannot_see.extend(hidden.map(|why| Unseen::of_all(What::Holders, why)));
    }

    /// Adds what was looked up. What was seen of a socket that has moved on since it was selected belongs to another
    /// state, and is left out.
    pub fn add(&mut self, collected: Collected) {
        let Collected { info, listeners, namespaces, processes, cannot_see } = collected;
        let rows = info.iter().map(|(row, _)| row).chain(listeners.iter().map(|(row, _)| row));
        let mut wanted: HashMap<u64, usize> = rows.map(|row| (row.cookie, usize::MAX)).collect();
        for (place, cookie) in self.sockets.iter().map(|socket| socket.cookie).enumerate() {
            if let Some(wanted) = wanted.get_mut(&cookie) {
                *wanted = place;
            }
        }
        wanted.retain(|_, place| *place != usize::MAX);
        for (row, info) in info {
            if wanted.get(&row.cookie).is_some_and(|place| refresh(&mut self.sockets, *place, &row)) {
                self.info.insert(row.cookie, info);
            }
        }
        for (row, listener) in listeners {
            if wanted.get(&row.cookie).is_some_and(|place| refresh(&mut self.sockets, *place, &row)) {
                self.listeners.insert(row.cookie, listener);
            }
        }
        self.namespaces.extend(namespaces);
        self.processes.extend(processes);
        self.cannot_see.extend(cannot_see);
    }
}

impl Unseen {
    /// Something that could not be seen of all.
    #[must_use]
    pub fn of_all(what: What, why: impl Into<String>) -> Self {
        Self { what, of: None, why: why.into() }
    }
}

fn unseen_events(tier: Tier, reset_reasons: &BTreeMap<u32, String>) -> Vec<Unseen> {
    if tier == Tier::DumpsOnly {
        let events = "state transitions and RSTs: they take eBPF, without which tcpstate runs here";
        let idle = "for how long connections were idle when they were closed: that takes eBPF, too";
        return vec![Unseen::of_all(What::Events, events), Unseen::of_all(What::IdleTimes, idle)];
    }
    if reset_reasons.is_empty() {
        let why = "why the kernel sends RSTs: this one gives no reason (Linux does since 6.10). RSTs that a process causes by closing a connection are recognised by the data that it left unread; those of closed ports, of TIME_WAIT sockets and after keepalive probes are not";
        return vec![Unseen::of_all(What::ResetReasons, why)];
    }
    Vec::new()
}

/// Takes in what a look at a single socket has shown. Returns false for one that has moved on.
fn refresh(sockets: &mut Sockets, place: usize, row: &Row) -> bool {
    let mut socket = sockets.at(place);
    if row.state != socket.state || row.is_mini() {
        return false;
    }
    socket.timer = row.timer;
    socket.retransmits = row.retransmits;
    socket.rqueue = row.rqueue;
    socket.wqueue = row.wqueue;
    sockets.replace(place, &socket);
    true
}

/// Why a RST was sent, where the kernel gives no reason, by what is known of the socket. Only a socket in `CLOSE` tells:
/// there a process has closed it (`__tcp_close` and `tcp_disconnect`, `net/ipv4/tcp.c`), or its listener
/// (`inet_csk_listen_stop`), or data came for what a process had closed before (`tcp_rcv_state_process`).
fn infer_reason(reset: &Reset, about: &Circumstances) -> Option<Reason> {
    if reset.state != Some(TcpState::Close) {
        return None;
    }
    match (reset.process, about.unread_bytes) {
        (Some(_), Some(0)) => Some(Reason::TcpState),
        (Some(_), Some(_)) => Some(Reason::AbortOnClose),
        (Some(_), None) => None,
        (None, _) if about.actor.is_some() => Some(Reason::AbortOnData),
        (None, _) => Some(Reason::TcpState),
    }
}

/// A reset, with what is known of the socket: `holders` are as of the last pass, when it was still there.
fn reset_seen(
    reset: Reset,
    about: Circumstances,
    reasons: &BTreeMap<u32, String>,
    holders: &Holders,
) -> ResetSeen {
    let sent = reset.direction == Direction::Sent;
    let reason = reset.reason.filter(|_| sent).and_then(|number| reasons.get(&number));
    let reason = reason.map(|name| Reason::of(name));
    let reason = reason.or_else(|| infer_reason(&reset, &about).filter(|_| sent && reasons.is_empty()));
    let closed = matches!(
        reset.state,
        Some(TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::TimeWait)
    );
    let holder = reset.cookie.and_then(|cookie| holders.of_cookie(cookie).min());
    let holder = holder.map(|holder| track::Process { pid: holder.pid, comm: holder.comm });
    ResetSeen {
        reason,
        answered_syn: about.answered_syn,
        unread_bytes: about.unread_bytes.map(u64::from),
        bytes_moved: about.moved_bytes,
        idle_ms: about.idle_ms,
        spoke_ms: about.spoke_ms,
        unsent_bytes: about.unsent_bytes.map(u64::from),
        peer_ended: about.peer_ended,
        ending: about.ending,
        opened: about.opened,
        payload_bytes: about.payload_bytes.map(u64::from),
        after_close_ns: about
            .entered_ns
            .filter(|_| closed || reset.state == Some(TcpState::CloseWait))
            .map(|entered_ns| reset.at_ns.saturating_sub(entered_ns)),
        owner: if closed { about.actor.or(holder) } else { holder.or(about.actor) },
        reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnose::tests::World, track::Timer};

    #[test]
    fn reason_that_the_kernel_does_not_give_is_told_by_the_socket() {
        let process = track::Process { pid: 7, comm: track::Comm::new("app") };
        let row = World::new().socket(7, TcpState::CloseWait, "10.0.0.1:8080", "10.0.0.2:40000").clone();
        let mut reset = Reset {
            id: 1,
            at_ns: 1,
            direction: Direction::Sent,
            cookie: Some(7),
            netns: 1,
            tuple: row.tuple,
            state: Some(TcpState::Close),
            reason: None,
            process: Some(process),
        };
        let about = |unread_bytes, actor| Circumstances { unread_bytes, actor, ..Circumstances::default() };
        let unread = about(Some(10), None);
        assert_eq!(infer_reason(&reset, &unread), Some(Reason::AbortOnClose));
        assert_eq!(infer_reason(&reset, &about(Some(0), None)), Some(Reason::TcpState), "SO_LINGER 0");
        assert_eq!(infer_reason(&reset, &about(None, None)), None);
        reset.process = None;
        assert_eq!(infer_reason(&reset, &about(Some(10), Some(process))), Some(Reason::AbortOnData));
        assert_eq!(infer_reason(&reset, &unread), Some(Reason::TcpState), "its listener was closed");
        reset.state = Some(TcpState::Established);
        assert_eq!(infer_reason(&reset, &unread), None);
        reset.state = Some(TcpState::Close);
        reset.process = Some(process);
        let seen = |reasons: &BTreeMap<u32, String>| {
            reset_seen(reset.clone(), unread, reasons, &Holders::default()).reason
        };
        assert_eq!(seen(&BTreeMap::new()), Some(Reason::AbortOnClose));
        assert_eq!(seen(&BTreeMap::from([(99, "A_NEW_ONE".to_owned())])), None, "this kernel gives reasons");
    }

    #[test]
    fn socket_that_has_moved_on_is_not_refreshed() {
        let one = World::new().socket(7, TcpState::CloseWait, "10.0.0.1:8080", "10.0.0.2:40000").clone();
        let mut selected = Sockets::from_iter([one.clone()]);
        let row = |state| Row {
            cookie: 7,
            netns: 1,
            tuple: one.tuple,
            state,
            timer: Timer::Persist,
            expires_ms: 1,
            retransmits: 2,
            rqueue: 3,
            wqueue: 4,
            uid: None,
            inode: 1,
        };
        let (later, same) = (row(TcpState::LastAck), row(TcpState::CloseWait));
        assert!(!refresh(&mut selected, 0, &later));
        assert_eq!(selected.at(0).wqueue, 0);
        assert!(refresh(&mut selected, 0, &same));
        assert_eq!((selected.at(0).timer, selected.at(0).wqueue), (Timer::Persist, 4));
    }
}
