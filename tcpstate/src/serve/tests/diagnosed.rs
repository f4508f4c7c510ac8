//! What a diagnosis of the made-up host has found.

use std::sync::Arc;

use tcpstate_common::{TcpState, state::STATE_SLOTS};

use super::scene::{NETNS, NOW_NS, process};
use crate::{
    diagnose::{
        Class, Finding, Severity, Status,
        evidence::{self, Destination, Listener, Namespace, Sysctls},
        finding::{AgeIs, HarmDone, Limit, Resource, Sample, Subject, SubjectProcess},
        harm::Kind,
    },
    serve::ask::{Diagnosed, Parking},
    track::{Comm, Family, Holder, Holders, Key, Since, Socket, Timer, Tuple},
};

const S: u64 = 1_000_000_000;

/// A leak, a harmless pool, and one that is over.
fn findings() -> Vec<Finding> {
    let leak = leak();
    let pool = Finding {
        id: "close-wait-idle-pool-00000000000000aa".into(),
        class: Class::CloseWaitIdlePool,
        severity: Severity::Info,
        subject: Subject { pid: Some(99), comm: Some("java".into()), ..Subject::default() },
        count: 10,
        trend_per_minute: None,
        limit: None,
        verdict: "10 stale pooled connections to 10.0.0.9:6379; no harm seen.".into(),
        remedy: "Evict idle connections below the server's timeout.".into(),
        evidence: Vec::new(),
        cannot_see: Vec::new(),
        sockets: Vec::new(),
        explanation: "/api/v1/explain/close-wait-idle-pool".into(),
        ..leak.clone()
    };
    let over = Finding {
        id: "half-open-00000000000000bb".into(),
        class: Class::HalfOpen,
        severity: Severity::Warning,
        status: Status::Resolved,
        resolved_at: Some(NOW_NS - S),
        subject: Subject { pid: Some(7), unit: Some("ssh.service".into()), ..Subject::default() },
        limit: None,
        ..leak.clone()
    };
    vec![leak, pool, over]
}

fn leak() -> Finding {
    Finding {
        id: "close-wait-leak-1f3a9c02b4d5e6f7".into(),
        class: Class::CloseWaitLeak,
        severity: Severity::Critical,
        status: Status::Open,
        subject: Subject {
            pid: Some(4121),
            comm: Some("payments".into()),
            exe: Some("/usr/bin/payments".into()),
            unit: Some("payments.service".into()),
            netns: Some(NETNS),
            peer: Some("10.0.0.7:443".into()),
            process_count: 1,
            processes: vec![SubjectProcess {
                pid: 4121,
                comm: "payments".into(),
                count: 812,
                ended: false,
            }],
            ..Subject::default()
        },
        since: NOW_NS - 90 * S,
        opened_at: NOW_NS - 60 * S,
        updated_at: NOW_NS,
        resolved_at: None,
        count: 812,
        trend_per_minute: Some(4.0),
        limit: Some(Limit {
            of: Resource::FileDescriptors,
            used: 836,
            max: 1024,
            reached_in_seconds: Some(2820),
        }),
        harm: HarmDone {
            kind: Kind::RunsOut,
            text: "836 of 1024 file descriptors are in use, all of them in 47 min; more and more are taken, and none is given back.".into(),
        },
        verdict:
            "payments[4121] in payments.service read EOF from 10.0.0.7:443 on 812 sockets and closed none; \
                  +4/min; its fd limit is reached in 47 min."
                .into(),
        remedy: "Close the socket on every path after read() returns 0.".into(),
        evidence: vec!["812 sockets in CLOSE_WAIT, nothing unread".into()],
        cannot_see: vec!["who opened them".into()],
        sockets: vec![Sample {
            cookie: "1".into(),
            local: "10.0.0.1:8080".into(),
            remote: "10.0.0.7:443".into(),
            state: "CLOSE_WAIT".into(),
            age_ms: 90_000,
            age_is: AgeIs::Exact,
            rqueue: 0,
            wqueue: 0,
            pid: Some(4121),
            fd: Some(17),
        }],
        explanation: "/api/v1/explain/close-wait-leak".into(),
    }
}

pub(super) fn listener(cookie: u64, local: &str, queue: u32, limit: u32) -> Socket {
    Socket {
        cookie,
        netns: NETNS,
        tuple: Tuple {
            family: Family::V4,
            local: local.parse().unwrap(),
            remote: "0.0.0.0:0".parse().unwrap(),
        },
        state: TcpState::Listen,
        since: Since::AtLatest(NOW_NS - S),
        timer: Timer::None,
        retransmits: 0,
        rqueue: queue,
        wqueue: limit,
        uid: Some(0),
        inode: 80,
        actor: None,
        opened: None,
    }
}

pub(super) fn count<const N: usize>(states: [(TcpState, u64); N]) -> [u64; STATE_SLOTS] {
    let mut counts = [0; STATE_SLOTS];
    for (state, count) in states {
        counts[state.index()] = count;
    }
    counts
}

fn destinations() -> Vec<Destination> {
    let towards = |remote: &str, actors| Destination {
        netns: NETNS,
        local: "10.0.0.1".parse().unwrap(),
        remote: remote.parse().unwrap(),
        by_state: count([(TcpState::TimeWait, 90), (TcpState::Established, 10)]),
        actors,
        cookies: vec![2, 3],
        time_waits_between_ns: None,
    };
    vec![towards("10.0.0.5:6379", vec![(process(9, "worker"), 70)]), towards("10.0.0.6:80", vec![])]
}

fn namespace() -> Namespace {
    Namespace {
        counters: evidence::Counters {
            listen_overflows: Some(41),
            listen_drops: Some(42),
            ..Default::default()
        },
        delta: None,
        delta_ms: None,
        sysctls: Sysctls {
            local_ports: Some((50_000, 50_199)),
            reserved_local_ports: Some(0),
            ..Sysctls::default()
        },
    }
}

fn payments() -> evidence::Process {
    evidence::Process {
        comm: Some(Comm::new("payments")),
        exe: Some("/usr/bin/payments".into()),
        unit: Some("payments.service".into()),
        fds: Some(836),
        fd_limit: Some(1024),
        ..Default::default()
    }
}

/// Everything that was found.
pub(crate) fn diagnosed() -> Diagnosed {
    let left = count([(TcpState::FinWait2, 3)]);
    let holder = |pid, fd, name| Holder { pid, fd, comm: Comm::new(name), start_boottime_ns: 1 };
    let holders = [(Key::Cookie(1), holder(4121, 17, "payments")), (Key::Cookie(2), holder(9, 3, "worker"))];
    Diagnosed {
        at_ns: Some(NOW_NS),
        cpu_ns: 1,
        findings: findings(),
        cannot_see: vec!["The kernel tells reset reasons since Linux 6.10.".into()],
        not_looked_at: Vec::new(),
        destinations: destinations(),
        listeners: vec![
            (listener(2, "0.0.0.0:8000", 129, 128), Some(Listener { drops: Some(5) })),
            (listener(8, "0.0.0.0:9000", 0, 0), None),
        ],
        namespaces: [(NETNS, namespace())].into_iter().collect(),
        processes: [(4121, payments())].into_iter().collect(),
        holders: Arc::new(Holders::new(NOW_NS, vec![1, 2, 3], Vec::new(), holders)),
        parking: vec![
            Parking { process: process(4121, "payments"), held: count([(TcpState::CloseWait, 812)]), left },
            Parking { process: process(4121, "other"), held: count([]), left },
        ],
        tracked: 900,
        listen_overflows: Some(7),
    }
}
