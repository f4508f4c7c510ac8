//! The stream of events.

use std::{
    io::{BufRead, BufReader, Lines},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::{Semaphore, broadcast, watch};

use super::{daemon::Daemon, scene};
use crate::{
    serve::{
        api::feed::{Feed, Told},
        ask::{Batch, Watching},
        shared::Own,
    },
    track::Event,
};

/// The stream as a watcher reads it.
pub(super) struct Stream(Lines<BufReader<ureq::BodyReader<'static>>>);

impl Stream {
    pub(super) fn open(daemon: &Daemon) -> Self {
        let agent = ureq::Agent::config_builder()
            .proxy(None)
            .timeout_per_read(Some(Duration::from_secs(20)))
            .build()
            .new_agent();
        let response = agent.get(format!("{}/api/v1/events", daemon.url())).call().unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self(BufReader::new(response.into_body().into_reader()).lines())
    }

    /// The next event's name and data; `None` at the end of the stream.
    pub(super) fn next(&mut self) -> Option<(String, Value)> {
        let mut name = String::new();
        for line in &mut self.0 {
            let line = line.unwrap();
            if let Some(given) = line.strip_prefix("event: ") {
                given.clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
        None
    }
}

fn transitions(count: usize) -> Vec<Event> {
    vec![Event::Transition(scene::transition(scene::NOW_NS)); count]
}

#[test]
fn every_kind_of_event_is_told() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon);
    daemon.tell(vec![
        Event::Transition(scene::transition(scene::NOW_NS)),
        Event::ResetSent(scene::reset_sent(scene::NOW_NS)),
        Event::ResetReceived(scene::reset_received(scene::NOW_NS)),
    ]);
    let mut told: Vec<_> = (0..3).map(|_| stream.next().unwrap()).collect();
    for (_, data) in &mut told {
        assert!(data["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        data.as_object_mut().unwrap().remove("at");
    }
    let transition = json!({
        "cookie": "18446744073709551615", "family": "ipv4", "local": "10.0.0.1:8080", "remote": "10.0.0.7:50000",
        "netns": scene::NETNS, "from": "FIN_WAIT2", "to": "TIME_WAIT", "inferred": true,
        "in_old_state_ns": 1_500_000, "actor": {"pid": 12, "comm": "nginx", "carried": true}, "errno": null
    });
    let sent = json!({
        "cookie": "7", "family": "ipv4", "local": "10.0.0.1:8080", "remote": "10.0.0.7:50001",
        "netns": scene::NETNS, "state": "ESTABLISHED", "phase": "established", "reason": "TCP_ABORT_ON_CLOSE",
        "process": {"pid": 12, "comm": "nginx"}
    });
    let received = json!({
        "cookie": "8", "family": "ipv4", "local": "10.0.0.1:8080", "remote": "10.0.0.7:50002",
        "netns": scene::NETNS, "state": "SYN_SENT", "phase": "connect"
    });
    assert_eq!(told[0], ("transition".to_owned(), transition));
    assert_eq!(told[1], ("reset_sent".to_owned(), sent));
    assert_eq!(told[2], ("reset_received".to_owned(), received));
}

#[test]
fn a_watcher_that_goes_is_a_watcher_less() {
    let daemon = Daemon::start();
    let stream = Stream::open(&daemon);
    assert_eq!(daemon.watchers(), 1);
    drop(stream);
    let began = Instant::now();
    while daemon.watchers() > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "the watcher is still counted");
        std::thread::yield_now();
    }
}

#[test]
fn the_stream_and_the_server_end_when_the_daemon_does() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon);
    let began = Instant::now();
    assert!(daemon.stop());
    assert!(stream.next().is_none());
    // Far less than the time after which a keep-alive comment would wake the stream.
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn losses_of_watchers_are_told_and_counted() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon);
    // Far more than the channel and both socket buffers hold.
    let (batches, size) = (400, 500);
    for _ in 0..batches {
        daemon.tell(transitions(size));
    }
    let mut expected = batches * size;
    let mut lost = 0;
    while expected > 0 {
        let (name, data) = stream.next().unwrap();
        if name == "lost" {
            let count = usize::try_from(data["count"].as_u64().unwrap()).unwrap();
            lost += count;
            expected -= count;
        } else {
            expected -= 1;
        }
    }
    assert!(lost > 0);
    let status = daemon.get("/api/v1/status").json();
    assert_eq!(status["losses"]["watch"], lost);
}

/// A feed of which the test is the engine.
struct Bench {
    runtime: tokio::runtime::Runtime,
    batches: broadcast::Sender<Arc<Batch<Event>>>,
    stop: watch::Sender<bool>,
    own: Arc<Own>,
    feed: Feed<Event>,
    next: u64,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (batches, receiver) = broadcast::channel(capacity);
        let (stop, stopping) = watch::channel(false);
        let own = Arc::new(Own::default());
        let feed = Feed::new(
            Watching { next: 1000, batches: receiver },
            stopping,
            Arc::clone(&own),
            Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
        );
        Self { runtime, batches, stop, own, feed, next: 1000 }
    }

    fn tell(&mut self, events: usize) {
        let batch = Batch { first: self.next, count: events as u64, events: transitions(events) };
        self.next += events as u64;
        assert!(self.batches.send(Arc::new(batch)).is_ok());
    }

    /// What is told next: `Ok` for a number of events, `Err` for a number of lost ones.
    fn told(&mut self) -> Option<Result<usize, u64>> {
        let next = async { tokio::time::timeout(Duration::from_secs(10), self.feed.next()).await };
        self.runtime.block_on(next).expect("something is told").map(|told| match told {
            Told::Events(batch) => Ok(batch.events.len()),
            Told::Lost(count) => Err(count),
        })
    }
}

#[test]
fn a_lag_counts_the_events_and_not_the_batches() {
    let mut bench = Bench::new(2);
    // The channel holds two batches; the first three, with 5 + 0 + 7 events, fall out.
    for events in [5, 0, 7, 2, 1] {
        bench.tell(events);
    }
    let told: Vec<_> = (0..3).map(|_| bench.told()).collect();
    assert_eq!(told, [Some(Err(12)), Some(Ok(2)), Some(Ok(1))]);
    assert_eq!(bench.own.watch_lost(), 12);
}

#[test]
fn told_and_lost_events_add_up_whatever_the_lag() {
    for capacity in [1, 2, 4] {
        for sent_at_once in 1..12_usize {
            let mut bench = Bench::new(capacity);
            let mut accounted = 0;
            for round in 0..6 {
                for batch in 0..sent_at_once {
                    bench.tell(1 + (batch * 7 + round * 3) % 5);
                }
                while accounted < bench.next - 1000 {
                    accounted += bench.told().unwrap().map_or_else(|lost| lost, |told| told as u64);
                }
                assert_eq!(accounted, bench.next - 1000, "{capacity} {sent_at_once}");
            }
        }
    }
}

#[test]
fn a_feed_ends_at_once_even_with_events_to_tell() {
    let mut bench = Bench::new(4);
    bench.tell(3);
    assert_eq!(bench.told(), Some(Ok(3)));
    bench.tell(1);
    bench.stop.send_replace(true);
    assert_eq!(bench.told(), None);
}

#[test]
fn a_feed_ends_when_nobody_is_left_to_stop_it() {
    let mut bench = Bench::new(4);
    let (stop, _) = watch::channel(false);
    drop(std::mem::replace(&mut bench.stop, stop));
    assert_eq!(bench.told(), None);
}
