//! A made-up host: what its engine would answer.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tcpstate_common::{Counters, TcpState};

use crate::{
    serve::ask::{CensusReading, Limits, Need, Probe, Readings},
    track::{
        Actor, Comm, Event, Family, Gauges, GivenUp, Holder, Note, Owner, ParkedGroup, Process, Reset,
        ResetReceived, ResetSent, Resets, Row, Scope, Tally, Tier, Timer, Tracker, Transition, Tuple,
        parked::Blamed,
    },
};

/// Monotonic ns at which everything here is told: 1000 s.
pub(crate) const NOW_NS: u64 = 1_000_000_000_000;
/// The namespace of everything here.
pub(crate) const NETNS: u32 = 4_026_531_840;
const S: u64 = 1_000_000_000;

/// A connection from 10.0.0.1:8080 to a port of 10.0.0.7.
pub(crate) fn tuple(remote_port: u16) -> Tuple {
    Tuple {
        family: Family::V4,
        local: "10.0.0.1:8080".parse().unwrap(),
        remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)), remote_port),
    }
}

pub(crate) fn process(pid: u32, name: &str) -> Process {
    Process { pid, comm: Comm::new(name) }
}

/// A socket in `CLOSE_WAIT` since 90 s, held by nobody yet.
pub(crate) fn row(cookie: u64) -> Row {
    Row {
        cookie,
        netns: NETNS,
        tuple: tuple(50_000),
        state: TcpState::CloseWait,
        timer: Timer::None,
        expires_ms: 0,
        retransmits: 0,
        rqueue: 1,
        wqueue: 0,
        uid: Some(1000),
        inode: 77,
    }
}

/// What the kernel side remembers of these sockets.
fn notes() -> Vec<Note> {
    let note = |cookie, state, age_s, actor| {
        let entered_ns = NOW_NS - age_s * S;
        let mini = state == TcpState::TimeWait;
        Note { cookie, state, mini, entered_ns, written_ns: entered_ns, actor, opened: None }
    };
    vec![
        note(1, TcpState::CloseWait, 90, None),
        note(3, TcpState::TimeWait, 30, Some(process(99, "curl"))),
        note(4, TcpState::FinWait1, 90, Some(process(12, "nginx"))),
        note(5, TcpState::CloseWait, 90, None),
    ]
}

/// One socket of each kind that differs in how it is shown.
pub(crate) fn rows() -> Vec<Row> {
    let listener = Row {
        state: TcpState::Listen,
        tuple: Tuple {
            family: Family::V6,
            local: "[::]:443".parse().unwrap(),
            remote: "[::]:0".parse().unwrap(),
        },
        uid: Some(0),
        inode: 78,
        ..row(2)
    };
    let time_wait = Row {
        state: TcpState::TimeWait,
        timer: Timer::TimeWait,
        expires_ms: 30_000,
        uid: None,
        inode: 0,
        rqueue: 0,
        ..row(3)
    };
    let orphan = Row {
        state: TcpState::FinWait1,
        timer: Timer::Persist,
        retransmits: 4,
        inode: 0,
        rqueue: 0,
        wqueue: 5000,
        ..row(4)
    };
    let never_accepted = Row { inode: 0, ..row(5) };
    vec![row(1), listener, time_wait, orphan, never_accepted]
}

/// Takes in a census of these sockets.
pub(crate) fn census(tracker: &mut Tracker, rows: &[Row]) {
    const FINISHED_NS: u64 = NOW_NS - 3 * S;
    tracker.census_begins(Scope::ALL, FINISHED_NS - 5_000_000);
    tracker.census_shows(rows, FINISHED_NS);
    tracker.census_ends(FINISHED_NS, None, None, &[]);
}

/// A tracker that knows these sockets.
pub(crate) fn tracker(rows: &[Row]) -> Tracker {
    let limits = crate::track::Limits { max_sockets: 100_000, max_resets: 10_000 };
    let mut tracker = Tracker::new(limits, true);
    for note in notes() {
        tracker.note(note);
    }
    census(&mut tracker, rows);
    tracker
}

/// Who holds socket 1: a worker and the child that inherited it.
pub(crate) fn holders(cookie: u64) -> Vec<(Holder, Owner)> {
    let holder = |pid, fd| Holder { pid, fd, comm: Comm::new("payments"), start_boottime_ns: 1 };
    let owner = Owner {
        exe: Some("/usr/bin/payments".into()),
        unit: Some("payments.service".into()),
        container: None,
        pod: None,
    };
    match cookie {
        1 => vec![(holder(4121, 17), owner), (holder(4122, 17), Owner::default())],
        _ => Vec::new(),
    }
}

/// Takes in this many resets, a second apart, of each kind in turn.
pub(crate) fn add_resets(tracker: &mut Tracker, count: u64) {
    for index in 0..count {
        let at_ns = NOW_NS - (count - index) * S;
        tracker.ingest(&mut match index % 3 {
            0 => Event::ResetSent(reset_sent(at_ns)),
            1 => Event::ResetReceived(reset_received(at_ns)),
            _ => Event::ResetSent(ResetSent {
                cookie: None,
                state: None,
                reason: Some(40),
                process: None,
                ..reset_sent(at_ns)
            }),
        });
    }
}

pub(crate) fn transition(at_ns: u64) -> Transition {
    Transition {
        at_ns,
        cookie: Some(u64::MAX),
        netns: NETNS,
        tuple: tuple(50_000),
        from: TcpState::FinWait2,
        to: TcpState::TimeWait,
        entered_ns: Some(at_ns - 1_500_000),
        actor: Some(Actor { process: process(12, "nginx"), carried: true }),
        error: 0,
        inferred: true,
    }
}

pub(crate) fn reset_sent(at_ns: u64) -> ResetSent {
    ResetSent {
        at_ns,
        cookie: Some(7),
        netns: NETNS,
        tuple: tuple(50_001),
        state: Some(TcpState::Established),
        reason: Some(11),
        process: Some(process(12, "nginx")),
    }
}

pub(crate) fn reset_received(at_ns: u64) -> ResetReceived {
    ResetReceived { at_ns, cookie: Some(8), netns: NETNS, tuple: tuple(50_002), state: TcpState::SynSent }
}

/// Counters in which something of everything has happened.
fn counters() -> Counters {
    let mut counters = Counters::ZERO;
    let at = |state: TcpState| state.index();
    counters.transitions[0][at(TcpState::Established)][at(TcpState::CloseWait)] = 20;
    counters.transitions[1][at(TcpState::Established)][at(TcpState::CloseWait)] = 3;
    counters.transitions[0][at(TcpState::LastAck)][at(TcpState::Established)] = 1;
    counters.resets_sent[0] = 2;
    counters.resets_sent[11] = 5;
    counters.resets_sent[40] = 1;
    counters.resets_met[at(TcpState::SynSent)] = 4;
    counters.resets_met[at(TcpState::FinWait2)] = 3;
    counters.resets_self_made[at(TcpState::FinWait2)] = 2;
    counters.connect_failures[0] = 1;
    counters.connect_failures[111] = 4;
    counters.connect_failures[13] = 1;
    counters.connect_failures[200] = 1;
    counters.emitted = [100, 8, 7, 0, 9];
    counters.lost = [6, 5, 4, 0, 2];
    counters.rescued = 4;
    counters.unknown_states = 1;
    let dwell = &mut counters.dwell[at(TcpState::CloseWait)];
    dwell.buckets[1] = 2;
    dwell.buckets[9] = 1;
    dwell.sum_ns = 90_000_001_000_000;
    counters
}

/// The readings with events on this host.
pub(crate) fn readings() -> Readings {
    let mut gauges = Gauges::new(true);
    let mut tally = Tally::new(Scope::ALL);
    for row in rows() {
        tally.add(&row, NOW_NS - 3 * S);
    }
    gauges.reconcile(tally, Some((&Counters::ZERO, &Counters::ZERO)), None, 0);
    let blamed = |comm: &str, unit: Option<&str>, container: Option<&str>| {
        Some(Blamed {
            comm: Some(comm.into()),
            unit: unit.map(Into::into),
            container: container.map(Into::into),
        })
    };
    let group = |state, blamed, count| ParkedGroup { state, blamed, count, oldest_age_ms: count * 1500 };
    Readings {
        now_ns: NOW_NS,
        started_ns: NOW_NS - 100 * S,
        ready: true,
        tier: Tier::Events,
        tier_reason: Some("fentry is not permitted here".into()),
        needs: [Need { what: "CAP_SYS_PTRACE".into(), loss: None }].into(),
        sockets: gauges.read(Some(&Counters::ZERO), NOW_NS),
        counters: Some(Arc::new(counters())),
        reset_reasons: Arc::new(BTreeMap::from([
            (0, "NOT_SPECIFIED".to_owned()),
            (1, "NO_SOCKET".to_owned()),
            (11, "TCP_ABORT_ON_CLOSE".to_owned()),
        ])),
        parked: vec![
            group(TcpState::CloseWait, blamed("payments", Some("payments.service"), None), 812),
            group(TcpState::CloseWait, blamed("odd \"name\"\n", None, Some("3f1c")), 2),
            group(TcpState::CloseWait, None, 7),
            group(TcpState::TimeWait, Some(Blamed::default()), 1),
        ],
        unattributed: 1,
        tracked: 5,
        given_up: GivenUp { sockets: 2, notes: 3, late_events: 9 },
        malformed: 1,
        last_event_ns: Some(NOW_NS - 2_500_000_000),
        missed: 5,
        probes: vec![
            Probe {
                name: "inet_sock_set_state",
                attached: Ok(()),
                runs: Some((1000, 250_000)),
                missed: Some(9),
            },
            Probe {
                name: "tcp_send_reset",
                attached: Err("no such tracepoint".into()),
                runs: None,
                missed: None,
            },
        ],
        census: Some(CensusReading {
            scope: Scope { time_wait: false, ..Scope::ALL },
            finished_ns: NOW_NS - 3 * S,
            took_ns: 5_000_000,
            sockets: 5,
            namespaces_visited: 2,
            namespaces_unreachable: 1,
            processes_hidden: 4,
            drift: 3,
        }),
        holder_lookup: "task_file",
        limits: Limits {
            max_memory: 64 << 20,
            max_sockets: 100_000,
            max_resets: 1000,
            ring_bytes: 1 << 20,
            top_owners: 20,
        },
    }
}

/// The readings of a host where BPF is not permitted, before the first census.
pub(crate) fn blind_readings() -> Readings {
    Readings {
        ready: false,
        tier: Tier::DumpsOnly,
        tier_reason: Some("CAP_BPF is missing".into()),
        needs: [Need { what: "CAP_SYS_PTRACE".into(), loss: Some("CAP_SYS_PTRACE is missing".into()) }]
            .into(),
        sockets: Gauges::new(false).read(None, NOW_NS),
        counters: None,
        reset_reasons: Arc::default(),
        parked: Vec::new(),
        unattributed: 0,
        tracked: 0,
        given_up: GivenUp::default(),
        malformed: 0,
        last_event_ns: None,
        missed: 0,
        probes: Vec::new(),
        census: None,
        holder_lookup: "procfs",
        ..readings()
    }
}

/// A page of these resets, as the engine gives it.
pub(crate) fn page_of_resets(resets: &Resets, before: Option<u64>, limit: usize) -> Vec<Reset> {
    let older = |reset: &&Reset| before.is_none_or(|before| reset.id < before);
    resets.newest_first().filter(older).take(limit).cloned().collect()
}
