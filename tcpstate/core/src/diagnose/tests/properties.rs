//! What holds whatever the evidence is.

use foldhash::{HashMap, HashSet};

use proptest::prelude::*;
use tcpstate_common::TcpState;

use super::{NETNS, SECOND, World, process};
use crate::{
    diagnose::{
        Diagnosis, Evidence, Severity,
        evidence::{Counters, Namespace, Paused, Process, Reason, ResetSeen, TcpInfo},
        finding::MAX_SAMPLES,
        harm::Kind,
    },
    track::{
        Comm, Direction, Failure, Family, Holder, Holders, IdleClose, Key, Opened, Reset, Since, Socket,
        Timer, Tuple,
    },
};

fn address() -> impl Strategy<Value = std::net::SocketAddr> {
    let port = prop::sample::select(vec![0_u16, 80, 8000, 40_000, 40_001, 50_000]);
    (1..4_u8, port).prop_map(|(host, port)| ([10, 0, 0, host], port).into())
}

fn timer() -> impl Strategy<Value = Timer> {
    prop::sample::select(vec![
        Timer::None,
        Timer::Retransmit,
        Timer::Keepalive,
        Timer::TimeWait,
        Timer::Persist,
    ])
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), Just(30), Just(100_000), any::<u32>()]
}

fn actor() -> impl Strategy<Value = Option<crate::track::Process>> {
    prop::option::of((1..6_u32).prop_map(|pid| process(pid, "acted")))
}

fn tuple() -> impl Strategy<Value = Tuple> {
    (address(), address()).prop_map(|(local, remote)| Tuple { family: Family::V4, local, remote })
}

fn socket() -> impl Strategy<Value = Socket> {
    let state = prop::sample::select(TcpState::VISIBLE.to_vec());
    let queues = (number(), number(), any::<u8>());
    (1..60_u64, state, tuple(), any::<u64>(), timer(), queues, any::<bool>(), actor()).prop_map(
        |(cookie, state, tuple, since_ns, timer, (rqueue, wqueue, retransmits), has_file, actor)| Socket {
            cookie,
            netns: NETNS,
            tuple,
            state,
            since: if since_ns % 2 == 0 {
                Since::Exactly(since_ns)
            } else {
                Since::AtLatest(since_ns % SECOND)
            },
            timer,
            retransmits,
            rqueue,
            wqueue,
            uid: None,
            inode: if has_file { 5 } else { 0 },
            actor,
            opened: None,
        },
    )
}

fn info() -> impl Strategy<Value = TcpInfo> {
    (any::<u64>(), any::<Option<u32>>(), any::<Option<u32>>(), any::<Option<u64>>()).prop_map(
        |(at_ns, sent, received, acked)| TcpInfo {
            at_ns,
            last_data_sent_ms: sent,
            last_data_recv_ms: received,
            last_ack_recv_ms: sent,
            bytes_acked: acked.map(|acked| acked >> 8),
            ..TcpInfo::default()
        },
    )
}

fn facts() -> impl Strategy<Value = Process> {
    (any::<bool>(), any::<Option<u64>>(), any::<Option<u64>>(), 0..4_usize).prop_map(
        |(exited, fds, fd_limit, paused)| Process {
            exited,
            fds,
            fd_limit,
            paused: [None, Some(Paused::No), Some(Paused::Stopped), Some(Paused::Frozen)][paused],
            ..Process::default()
        },
    )
}

fn reset() -> impl Strategy<Value = ResetSeen> {
    let reason = prop::option::of(prop::sample::select(vec![
        Reason::NoSocket,
        Reason::AbortOnData,
        Reason::TimeWaitSocket,
        Reason::InvalidSyn,
        Reason::AbortOnClose,
        Reason::TcpState,
        Reason::KeepaliveTimeout,
        Reason::Other,
    ]));
    let state = prop::option::of(prop::sample::select(TcpState::ALL.to_vec()));
    (any::<bool>(), reason, state, tuple(), actor(), actor(), any::<Option<u64>>()).prop_map(
        |(sent, reason, state, tuple, process, owner, known)| ResetSeen {
            reset: Reset {
                id: 1,
                at_ns: known.unwrap_or(0),
                direction: if sent { Direction::Sent } else { Direction::Received },
                cookie: known.map(|known| known % 60),
                netns: NETNS,
                tuple,
                state,
                reason: None,
                process,
            },
            reason,
            answered_syn: known.map(|known| known % 2 == 0),
            unread_bytes: known,
            bytes_moved: known,
            idle_ms: known,
            spoke_ms: known,
            unsent_bytes: known,
            peer_ended: known.map(|known| known % 3 == 0),
            ending: known.map(|known| known % 5 == 0),
            opened: known.map(|at_ns| Opened { at_ns, active: at_ns % 2 == 0 }),
            payload_bytes: known,
            after_close_ns: known,
            owner,
        },
    )
}

fn failure() -> impl Strategy<Value = Failure> {
    (any::<u64>(), tuple(), prop::sample::select(vec![0, 99, 110, 111, 113]), actor()).prop_map(
        |(at_ns, tuple, errno, process)| Failure {
            at_ns,
            netns: NETNS,
            tuple,
            errno,
            process,
            lasted_ns: None,
        },
    )
}

fn close() -> impl Strategy<Value = IdleClose> {
    let ms = || prop::sample::select(vec![0, 499, 500, 5_000, 5_100, u64::MAX]);
    (any::<u64>(), tuple(), actor(), prop::sample::select(vec![0, 1, 900]), ms(), ms()).prop_map(
        |(at_ns, tuple, process, received_bytes, heard_ms, spoke_ms)| IdleClose {
            at_ns,
            netns: NETNS,
            tuple,
            process,
            received_bytes,
            heard_ms,
            spoke_ms,
        },
    )
}

/// Sockets, and who has them open.
#[derive(Clone, Debug)]
struct Scene {
    sockets: Vec<Socket>,
    held: Vec<(Key, Holder)>,
    info: HashMap<u64, TcpInfo>,
    processes: HashMap<u32, Process>,
    resets: Vec<ResetSeen>,
    failures: Vec<Failure>,
    closes: Vec<IdleClose>,
    number: u64,
    complete: bool,
}

fn scene() -> impl Strategy<Value = Scene> {
    let held = (1..60_u64, 1..6_u32, 0..9_u32).prop_map(|(cookie, pid, fd)| {
        let holder = Holder { pid, fd, comm: Comm::new("held"), start_boottime_ns: u64::from(pid) * SECOND };
        (Key::Cookie(cookie), holder)
    });
    (
        prop::collection::vec(socket(), 0..60),
        prop::collection::vec(held, 0..60),
        prop::collection::hash_map(1..60_u64, info(), 0..30),
        prop::collection::hash_map(1..6_u32, facts(), 0..6),
        prop::collection::vec(reset(), 0..20),
        prop::collection::vec(failure(), 0..20),
        prop::collection::vec(close(), 0..20),
        any::<u64>(),
        any::<bool>(),
    )
        .prop_map(|(mut sockets, held, info, processes, resets, failures, closes, number, complete)| {
            sockets.sort_by_key(|socket| socket.cookie);
            sockets.dedup_by_key(|socket| socket.cookie);
            let (info, processes) = (info.into_iter().collect(), processes.into_iter().collect());
            Scene { sockets, held, info, processes, resets, failures, closes, number, complete }
        })
}

fn evidence(diagnosis: &mut Diagnosis, scene: &Scene, at_ns: u64) -> Evidence {
    let mut selection = diagnosis.selection();
    for socket in &scene.sockets {
        selection.see(socket);
    }
    let selected = selection.finish();
    let requirements = diagnosis.requirements(&selected);
    let some = Some(scene.number % 7);
    let counters = Counters {
        listen_overflows: some,
        embryonic_rsts: some,
        time_wait_overflow: some,
        abort_on_data: some,
        ..Counters::default()
    };
    Evidence {
        at_ns,
        census_ns: at_ns,
        established_ns: at_ns,
        boot_offset_ns: Some(scene.number % SECOND),
        sockets: selected.sockets,
        destinations: selected.destinations,
        info: scene.info.clone(),
        holders: std::sync::Arc::new(Holders::new(
            at_ns,
            requirements.holders,
            Vec::new(),
            scene.held.clone(),
        )),
        holders_complete: scene.complete,
        processes: scene.processes.clone(),
        namespaces: [(NETNS, Namespace { delta: Some(counters), ..Namespace::default() })]
            .into_iter()
            .collect(),
        resets: scene.resets.clone(),
        failures: scene.failures.clone(),
        closes: scene.closes.clone(),
        ..Evidence::default()
    }
}

fn ids(diagnosis: &Diagnosis) -> Vec<(String, Severity, u64)> {
    let told = diagnosis.findings().iter();
    let mut ids: Vec<_> = told.map(|finding| (finding.id.clone(), finding.severity, finding.count)).collect();
    ids.sort();
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_evidence_nobody_is_blamed_who_is_not_in_it(scenes in prop::collection::vec(scene(), 1..4)) {
        let mut diagnosis = super::Diagnosis::new(super::Thresholds::default());
        let mut known = HashSet::default();
        for (scene, step) in scenes.iter().zip(1_u64..) {
            known.extend(scene.held.iter().map(|(_, holder)| holder.pid));
            known.extend(scene.sockets.iter().filter_map(|socket| socket.actor).map(|actor| actor.pid));
            let resets = scene.resets.iter().flat_map(|seen| [seen.reset.process, seen.owner]).flatten();
            known.extend(resets.map(|process| process.pid));
            known.extend(scene.failures.iter().filter_map(|failure| failure.process).map(|process| process.pid));
            known.extend(scene.closes.iter().filter_map(|close| close.process).map(|process| process.pid));
            for pass in 0..3 {
                let at_ns = (step * 10 + pass) * 5 * SECOND;
                let evidence = evidence(&mut diagnosis, scene, at_ns);
                diagnosis.pass(&evidence);
            }
            let mut seen = HashSet::default();
            for finding in diagnosis.findings() {
                prop_assert!(seen.insert(&finding.id), "twice: {}", finding.id);
                prop_assert!(finding.harm.kind != Kind::NoneSeen || finding.severity == Severity::Info);
                prop_assert!(finding.sockets.len() <= MAX_SAMPLES);
                prop_assert!(finding.subject.pid.is_none_or(|pid| known.contains(&pid)), "{finding:#?}");
                prop_assert!(finding.verdict.ends_with('.') && !finding.remedy.is_empty(), "{finding:#?}");
                prop_assert!(finding.since <= finding.updated_at && finding.opened_at <= finding.updated_at);
                for sample in &finding.sockets {
                    let held = |pid: u32| scenes.iter().any(|scene| {
                        scene.held.iter().any(|(key, holder)| {
                            holder.pid == pid && *key == Key::Cookie(sample.cookie.parse().unwrap_or(0))
                        })
                    });
                    prop_assert!(sample.pid.is_none_or(held), "{finding:#?}");
                }
            }
        }
    }

    #[test]
    fn order_says_nothing(scene in scene(), keys in prop::collection::vec(any::<u32>(), 60)) {
        let mut shuffled = scene.clone();
        let mut order: Vec<_> = shuffled.sockets.into_iter().zip(&keys).collect();
        order.sort_by_key(|(_, key)| **key);
        shuffled.sockets = order.into_iter().map(|(socket, _)| socket).collect();
        shuffled.held.reverse();
        let mut both = [&scene, &shuffled].map(|scene| {
            let mut diagnosis = super::Diagnosis::new(super::Thresholds::default());
            for pass in 1..4 {
                let evidence = evidence(&mut diagnosis, scene, pass * 5 * SECOND);
                diagnosis.pass(&evidence);
            }
            ids(&diagnosis)
        });
        let [first, second] = &mut both;
        prop_assert_eq!(first, second);
    }
}

#[test]
fn what_is_remembered_is_bounded_and_forgotten() {
    let mut world = World::new();
    for round in 0..5_u64 {
        world.sockets.clear();
        for cookie in 0..3_000 {
            let id = round * 3_000 + cookie + 1;
            let socket = world.socket(id, TcpState::CloseWait, "10.0.0.1:40000", "10.0.0.7:443");
            socket.netns = u32::try_from(id).expect("small");
            socket.inode = 0;
            let listener = world.socket(
                100_000 + id,
                TcpState::Listen,
                &format!("10.0.0.1:{}", id % 60_000),
                "0.0.0.0:0",
            );
            listener.netns = u32::try_from(id).expect("small");
            world.closes.push(IdleClose {
                at_ns: world.at_ns,
                netns: u32::try_from(id).expect("small"),
                tuple: super::tuple(&format!("10.0.0.1:{}", id % 60_000), "10.0.0.9:4000"),
                process: Some(process(1, "a")),
                received_bytes: 1,
                heard_ms: 5_000,
                spoke_ms: 5_000,
            });
            for port in 0..2 {
                let peer = format!("10.0.{}.{}:{port}", id / 250, id % 250);
                world.sent(Reason::KeepaliveTimeout, None, "10.0.0.1:8000", &peer).owner =
                    Some(process(1, "a"));
            }
        }
        world.passes(2);
        let [sockets, series, holders, listeners] = world.diagnosis.history.size();
        assert!(sockets <= 3_000 && series <= 4_096 && holders <= 8_192 && listeners <= 4_096);
        assert!(world.diagnosis.events.size() <= 2 * 4_096);
        assert!(world.diagnosis.programs.size() <= 16_384);
        assert!(world.diagnosis.findings().len() <= world.diagnosis.thresholds.max_findings);
    }
    world.sockets.clear();
    world.passes(200);
    assert_eq!(world.diagnosis.history.size(), [0; 4]);
    assert_eq!((world.diagnosis.events.size(), world.diagnosis.programs.size()), (0, 0));
}

#[test]
fn a_look_at_a_million_sockets_keeps_what_it_may() {
    let mut world = World::new();
    world.diagnosis = Diagnosis::new(super::Thresholds {
        max_sockets: 100,
        max_established: 10,
        ..super::Thresholds::default()
    });
    for cookie in 1..1_001 {
        world.socket(cookie, TcpState::Established, "10.0.0.1:40000", &format!("10.0.0.2:{cookie}"));
        world.socket(10_000 + cookie, TcpState::CloseWait, "10.0.0.1:8000", &format!("10.0.0.2:{cookie}"));
    }
    let mut seen = HashSet::default();
    for _ in 0..200 {
        let mut selection = world.diagnosis.selection();
        for socket in world.sockets.iter().filter(|socket| socket.state == TcpState::Established) {
            selection.see(socket);
        }
        let selected = selection.finish();
        assert!(selected.sockets.len() <= 10);
        seen.extend(selected.sockets.iter().map(|socket| socket.cookie));
        let _ = world.diagnosis.requirements(&selected);
        world.diagnosis.passes += 1;
    }
    assert!(seen.len() > 700, "the others have their turn: {}", seen.len());
    world.pass();
    assert_eq!(world.diagnosis.cannot_see().len(), 1, "{:?}", world.diagnosis.cannot_see());
}
