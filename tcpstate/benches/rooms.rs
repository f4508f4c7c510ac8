//! What each room takes for one thing, and for many: records, events, censuses, questions, and a scrape.
//! `cargo bench -p tcpstate` after `cargo xtask build --release`.

use std::{
    collections::{BTreeMap, HashMap},
    hint::black_box,
    sync::Arc,
};

use axum::{body::Body, http::Request};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tcpstate::{
    diagnose::{Diagnosis, Evidence, Thresholds, evidence},
    observe::{decode, sock_diag},
    pulse::Pulses,
    serve::{
        self,
        ask::{Engine, Limits, Question, Readings},
        http::Bounds,
    },
    track::{
        self, Comm, Event, Family, Filter, Gauges, GivenUp, Grouping, Holder, Holders, Key, Note, Process,
        Row, Scope, Since, Socket, Tier, Timer, Tracker, Transition, Tuple,
    },
};
use tcpstate_common::{Counters, TcpState};
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;

/// Sockets in the table.
const SIZES: [u64; 3] = [1_000, 100_000, 500_000];
/// The beginning of time, monotonic ns.
const BEGIN_NS: u64 = 1_000_000_000;

fn tuple(number: u64) -> Tuple {
    let [.., a, b, c] = number.to_be_bytes();
    Tuple { family: Family::V4, local: ([10, 0, 0, 1], 8080).into(), remote: ([10, a, b, c], 40_000).into() }
}

/// Every fourth socket parks.
fn row(number: u64) -> Row {
    Row {
        cookie: number * 7,
        netns: 1,
        tuple: tuple(number),
        state: if number.is_multiple_of(4) { TcpState::CloseWait } else { TcpState::Established },
        timer: Timer::None,
        expires_ms: 0,
        retransmits: 0,
        rqueue: 0,
        wqueue: 0,
        uid: Some(1000),
        inode: 77,
    }
}

fn rows(count: u64) -> Vec<Row> {
    (1..=count).map(row).collect()
}

fn tracker(rows: &[Row]) -> Tracker {
    let mut tracker = Tracker::new(track::Limits { max_sockets: 1 << 20, max_resets: 10_000 }, true);
    census(&mut tracker, rows, BEGIN_NS);
    tracker
}

fn census(tracker: &mut Tracker, rows: &[Row], at_ns: u64) {
    tracker.census_begins(Scope::ALL, at_ns);
    for rows in rows.chunks(1024) {
        tracker.census_shows(rows, at_ns);
    }
    tracker.census_ends(at_ns, Some((&Counters::ZERO, &Counters::ZERO)), None, &[]);
}

fn transition(number: u64, at_ns: u64, from: TcpState, to: TcpState) -> Event {
    Event::Transition(Transition {
        at_ns,
        cookie: Some(number * 7),
        netns: 1,
        tuple: tuple(number),
        from,
        to,
        entered_ns: None,
        actor: None,
        error: 0,
        inferred: false,
    })
}

fn decoding(c: &mut Criterion) {
    let mut record = [0_u8; size_of::<tcpstate_common::Event>()];
    let family = record.len() - 19;
    record[family..family + 3].copy_from_slice(&[2, 1, 8]);
    c.bench_function("decode/record", |b| {
        b.iter(|| decode::wire(black_box(&record)).and_then(|wire| decode::record(&wire, None)));
    });
    let mut message = [0_u8; 72];
    message[..2].copy_from_slice(&[2, 8]);
    c.bench_function("decode/socket", |b| b.iter(|| sock_diag::row(black_box(&message), 1)));
}

/// A socket closes and another one takes its place: two events.
fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("track/event");
    for size in SIZES {
        let mut tracker = tracker(&rows(size));
        let mut number = 0;
        group.throughput(Throughput::Elements(2));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                number = number % size + 1;
                let at_ns = BEGIN_NS * 100 + number;
                tracker.ingest(&mut transition(number, at_ns, TcpState::CloseWait, TcpState::LastAck));
                tracker.ingest(&mut transition(number, at_ns + 1, TcpState::LastAck, TcpState::CloseWait));
            });
        });
    }
}

fn reconciling(c: &mut Criterion) {
    let mut group = c.benchmark_group("track/census");
    group.sample_size(10);
    for size in SIZES {
        let rows = rows(size);
        let mut tracker = tracker(&rows);
        let mut at_ns = BEGIN_NS;
        group.throughput(Throughput::Elements(size));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                at_ns += 1;
                census(&mut tracker, &rows, at_ns);
            });
        });
    }
}

fn questions(c: &mut Criterion) {
    let mut group = c.benchmark_group("track/page");
    for size in SIZES {
        let tracker = tracker(&rows(size));
        let parked = Filter { state: Some(TcpState::CloseWait), limit: 100, ..Filter::default() };
        group.bench_function(BenchmarkId::new("state", size), |b| b.iter(|| tracker.page(&parked, BEGIN_NS)));
        let searched = Filter { port: Some(8080), ..parked };
        group
            .bench_function(BenchmarkId::new("port", size), |b| b.iter(|| tracker.page(&searched, BEGIN_NS)));
    }
}

fn blaming(c: &mut Criterion) {
    let mut group = c.benchmark_group("track/attribute");
    group.sample_size(10);
    for size in SIZES {
        let rows = rows(size);
        let parked = rows.iter().filter(|row| row.state == TcpState::CloseWait);
        let held = parked.clone().zip(0..).map(|(row, fd)| {
            let holder = Holder { pid: 1 + fd / 9000, fd, comm: Comm::new("leaky"), start_boottime_ns: 1 };
            (Key::Cookie(row.cookie), holder)
        });
        let holders = Holders::new(BEGIN_NS, Vec::new(), Vec::new(), held);
        let mut tracker = tracker(&rows);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                let mut grouping = Grouping::default();
                tracker.group(&mut grouping, 0..usize::MAX, &holders);
                tracker.attribute(grouping, &HashMap::new(), 20, BEGIN_NS);
            });
        });
    }
}

/// Connections of one process that has closed them all, to three destinations.
fn time_waits() -> Tracker {
    let rows: Vec<_> = (1..=1_u16 << 15)
        .flat_map(|port| (0..3).map(move |to| (port, to)))
        .zip(1..)
        .map(|((port, to), cookie)| Row {
            cookie,
            tuple: Tuple {
                local: ([10, 0, 0, 1], port).into(),
                remote: ([10, 0, 0, 2 + to], 443).into(),
                family: Family::V4,
            },
            state: TcpState::TimeWait,
            timer: Timer::TimeWait,
            inode: 0,
            uid: None,
            ..row(cookie)
        })
        .collect();
    let mut tracker = tracker(&[]);
    for row in &rows {
        tracker.note(Note {
            cookie: row.cookie,
            state: TcpState::TimeWait,
            mini: true,
            entered_ns: BEGIN_NS,
            written_ns: BEGIN_NS,
            actor: Some(Process { pid: 7, comm: Comm::new("proxy") }),
            opened: None,
        });
    }
    census(&mut tracker, &rows, BEGIN_NS + 1);
    tracker
}

/// What a host with many `TIME_WAIT` goes through after every census.
fn walking(c: &mut Criterion) {
    let mut group = c.benchmark_group("track/walk");
    group.sample_size(10);
    let mut tracker = time_waits();
    group.throughput(Throughput::Elements(tracker.tracked() as u64));
    group.bench_function("selection", |b| {
        b.iter(|| {
            let mut selection = Diagnosis::new(Thresholds::default()).selection();
            tracker.some(0..usize::MAX, |socket| selection.see(socket));
            selection.finish()
        });
    });
    group.bench_function("group", |b| {
        b.iter(|| {
            let mut grouping = Grouping::default();
            tracker.group(&mut grouping, 0..usize::MAX, &Holders::default());
            tracker.attribute(grouping, &HashMap::new(), 20, BEGIN_NS);
        });
    });
    group.bench_function("owned", |b| b.iter(|| tracker.has_owned_parked()));
}

/// A pass over sockets that all park: half of them leaked by ten processes, the others stuck at their clients.
fn diagnosing(c: &mut Criterion) {
    let mut group = c.benchmark_group("diagnose/pass");
    group.sample_size(10);
    for size in [0, 1_000, 100_000] {
        let sockets: Vec<_> = (1..=size).map(parked).collect();
        let held = sockets.iter().zip(0..).map(|(socket, fd)| {
            let holder = Holder { pid: 100 + fd % 10, fd, comm: Comm::new("leaky"), start_boottime_ns: 1 };
            (Key::Cookie(socket.cookie), holder)
        });
        let cookies = sockets.iter().map(|socket| socket.cookie).collect();
        let holders = Arc::new(Holders::new(BEGIN_NS, cookies, Vec::new(), held));
        let mut diagnosis = Diagnosis::new(Thresholds::default());
        let mut at_ns = BEGIN_NS * 100;
        group.throughput(Throughput::Elements(size));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                at_ns += 5_000_000_000;
                let mut selection = diagnosis.selection();
                for socket in &sockets {
                    selection.see(socket);
                }
                let selected = selection.finish();
                let requirements = diagnosis.requirements(&selected);
                let info = requirements.info.iter().map(|cookie| (*cookie, silent(at_ns))).collect();
                let mut evidence = Evidence {
                    at_ns,
                    census_ns: at_ns,
                    established_ns: at_ns,
                    boot_offset_ns: Some(0),
                    sockets: selected.sockets,
                    destinations: selected.destinations,
                    holders: Arc::clone(&holders),
                    holders_complete: true,
                    info,
                    ..Evidence::default()
                };
                for pid in diagnosis.requires_processes(&evidence) {
                    evidence.processes.insert(pid, evidence::Process::default());
                }
                diagnosis.pass(&evidence)
            });
        });
    }
}

fn parked(number: u64) -> Socket {
    Socket {
        cookie: number * 7,
        netns: 1,
        tuple: tuple(number),
        state: TcpState::CloseWait,
        since: Since::Exactly(BEGIN_NS),
        timer: Timer::None,
        retransmits: 0,
        rqueue: u32::from(number.is_multiple_of(2)),
        wqueue: 0,
        uid: Some(1000),
        inode: 77,
        actor: None,
        opened: None,
    }
}

fn silent(at_ns: u64) -> evidence::TcpInfo {
    evidence::TcpInfo {
        at_ns,
        last_data_sent_ms: Some(90_000),
        last_data_recv_ms: Some(90_000),
        ..evidence::TcpInfo::default()
    }
}

fn readings() -> Readings {
    Readings {
        now_ns: BEGIN_NS,
        started_ns: 0,
        ready: true,
        tier: Tier::Events,
        tier_reason: None,
        needs: Arc::default(),
        sockets: Gauges::new(true).read(Some(&Counters::ZERO), BEGIN_NS),
        counters: Some(Arc::new(Counters::ZERO)),
        reset_reasons: Arc::new(BTreeMap::new()),
        parked: Vec::new(),
        unattributed: 0,
        tracked: 0,
        given_up: GivenUp::default(),
        malformed: 0,
        last_event_ns: None,
        missed: 0,
        probes: Vec::new(),
        census: None,
        holder_lookup: "task_file",
        limits: Limits {
            max_memory: 1 << 28,
            max_sockets: 1 << 20,
            max_resets: 10_000,
            ring_bytes: 1 << 22,
            top_owners: 20,
        },
    }
}

/// A scrape from the request to the last byte, but for the network.
fn scraping(c: &mut Criterion) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let (questions, mut asked) = mpsc::channel(1);
    let (_stop, stopping) = watch::channel(false);
    runtime.spawn(async move {
        while let Some(question) = asked.recv().await {
            if let Question::Readings(answer) = question {
                let _ = answer.send(readings());
            }
        }
    });
    let (_, diagnosed) = watch::channel(std::sync::Arc::default());
    let bounds = Bounds::default();
    let router = serve::server(Engine::new(questions, diagnosed), Pulses::new(), stopping, bounds).router;
    c.bench_function("serve/metrics", |b| {
        b.iter_batched(
            || (router.clone(), Request::get("/metrics").header("host", "localhost").body(Body::empty())),
            |(router, request)| {
                runtime.block_on(async {
                    let Ok(request) = request else { return 0 };
                    let Ok(answer) = router.oneshot(request).await;
                    axum::body::to_bytes(answer.into_body(), 1 << 20).await.map_or(0, |body| body.len())
                })
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(rooms, decoding, events, reconciling, questions, blaming, walking, diagnosing, scraping);
criterion_main!(rooms);
