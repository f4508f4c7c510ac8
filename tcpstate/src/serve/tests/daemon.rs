//! The room with a made-up engine behind it, on a real port.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tcpstate_common::Brief;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
};

use super::{diagnosed, scene};
use crate::{
    pulse::Pulses,
    serve::{
        ask::{Batch, Diagnosed, Engine, Question, Readings, SocketAnswer, Watching},
        http::{Bounds, Hosts, Listener},
        server,
    },
    track::{Event, Tracker},
    wire_of::wire_of,
};

/// The ways to those who watch.
#[derive(Clone)]
struct Watchers {
    events: broadcast::Sender<Arc<Batch<Event>>>,
    records: broadcast::Sender<Arc<Batch<Brief>>>,
}

/// What the engine answers from.
pub(crate) struct Fake {
    pub(crate) readings: Readings,
    pub(crate) tracker: Tracker,
    /// The number of the next event.
    next: u64,
}

/// A daemon that serves; it ends when it is dropped.
pub(crate) struct Daemon {
    runtime: Runtime,
    url: String,
    pub(crate) fake: Arc<Mutex<Fake>>,
    watchers: Watchers,
    /// What a diagnosis has found.
    diagnosed: watch::Sender<Arc<Diagnosed>>,
    stop: watch::Sender<bool>,
    engine: Option<JoinHandle<()>>,
    server: JoinHandle<()>,
}

/// An answer that has been read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: String,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Fake {
    fn answer(&mut self, question: Question, watchers: &Watchers) {
        match question {
            Question::Readings(answer) => drop(answer.send(self.readings.clone())),
            Question::Sockets(filter, answer) => {
                let page = self.tracker.page(&filter, scene::NOW_NS);
                let with_holders = |socket: crate::track::Socket| {
                    let holders = scene::holders(socket.cookie);
                    (socket, holders)
                };
                drop(answer.send(SocketAnswer {
                    now_ns: scene::NOW_NS,
                    census_ns: self.readings.census.map(|census| census.finished_ns),
                    holders_ns: self.readings.census.map(|census| census.finished_ns),
                    sockets: page.sockets.into_iter().map(with_holders).collect(),
                    total: page.total,
                    next: page.next,
                }));
            }
            Question::Resets(before, limit, answer) => {
                drop(answer.send(scene::page_of_resets(self.tracker.resets(), before, limit)));
            }
            // This daemon diagnoses nothing.
            Question::Material(..) | Question::Holders(..) | Question::Count(..) => {}
            Question::Watch(answer) => {
                drop(answer.send(Watching { next: self.next, batches: watchers.events.subscribe() }));
            }
            Question::Record(answer) => {
                drop(answer.send(Watching { next: self.next, batches: watchers.records.subscribe() }));
            }
        }
    }
}

impl Daemon {
    /// A daemon on the made-up host.
    pub(crate) fn start() -> Self {
        let daemon = Self::with(scene::readings(), scene::tracker(&scene::rows()));
        daemon.diagnose(diagnosed::diagnosed());
        daemon
    }

    /// A daemon that answers from these.
    pub(crate) fn with(readings: Readings, tracker: Tracker) -> Self {
        Self::on("127.0.0.1:0", Bounds::default(), readings, tracker)
    }

    /// A daemon that answers on a Unix socket.
    pub(crate) fn on_unix_socket() -> Self {
        let path = std::env::temp_dir().join(format!("tcpstate-{}.sock", std::process::id()));
        let there = format!("unix:{}", path.display());
        Self::on(&there, Bounds::default(), scene::readings(), scene::tracker(&scene::rows()))
    }

    /// A daemon in these bounds.
    pub(crate) fn within(bounds: Bounds) -> Self {
        Self::on("127.0.0.1:0", bounds, scene::readings(), scene::tracker(&scene::rows()))
    }

    fn on(listen: &str, bounds: Bounds, readings: Readings, tracker: Tracker) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let fake = Arc::new(Mutex::new(Fake { readings, tracker, next: 100 }));
        let (questions, mut asked) = mpsc::channel(16);
        let watchers = Watchers { events: broadcast::Sender::new(4), records: broadcast::Sender::new(4) };
        let (stop, stopping) = watch::channel(false);
        let engine = runtime.spawn({
            let (fake, watchers) = (Arc::clone(&fake), watchers.clone());
            async move {
                while let Some(question) = asked.recv().await {
                    fake.lock().unwrap().answer(question, &watchers);
                }
            }
        });
        let here = listen.parse().unwrap();
        let listener = runtime.block_on(async { Listener::bind(&here, Arc::new(Hosts::default())) }).unwrap();
        let url = listener.url();
        let (publish, diagnosed) = watch::channel(Arc::default());
        let server = server(Engine::new(questions, diagnosed), Pulses::new(), stopping, bounds);
        let server = runtime.spawn(server.run(listener));
        Self { runtime, url, fake, watchers, diagnosed: publish, stop, engine: Some(engine), server }
    }

    /// A pass of the diagnosis has ended.
    pub(crate) fn diagnose(&self, found: Diagnosed) {
        self.diagnosed.send_replace(Arc::new(found));
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Asks with GET.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path)
    }

    /// Asks with any method.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, ("accept", "*/*"))
    }

    /// Asks with a header.
    pub(crate) fn get_with(&self, path: &str, header: (&str, &str)) -> Answer {
        self.ask_with("GET", path, header)
    }

    fn ask_with(&self, method: &str, path: &str, (name, value): (&str, &str)) -> Answer {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .new_agent();
        let request = ureq::http::Request::builder()
            .method(method)
            .header(name, value)
            .uri(format!("{}{path}", self.url()))
            .body(())
            .unwrap();
        let mut response = agent.run(request).unwrap();
        let bytes = response.body_mut().read_to_vec().unwrap();
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: response.status().as_u16(), headers: response.headers().clone(), body, bytes }
    }

    /// Tells all watchers of these events.
    pub(crate) fn tell(&self, events: Vec<Event>) {
        let mut fake = self.fake.lock().unwrap();
        let first = fake.next;
        let count = events.len() as u64;
        fake.next += count;
        let records = events.iter().flat_map(|event| {
            let (first, second) = Brief::of(&wire_of(event));
            [Some(first), second.map(Brief::from)].into_iter().flatten()
        });
        drop(self.watchers.records.send(Arc::new(Batch { first, count, events: records.collect() })));
        drop(self.watchers.events.send(Arc::new(Batch { first, count, events })));
    }

    /// Watchers at this moment.
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.events.receiver_count() + self.watchers.records.receiver_count()
    }

    /// Ends the engine, as when the daemon is shutting down.
    pub(crate) fn end_engine(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.abort();
            drop(self.runtime.block_on(engine));
        }
    }

    /// Ends the daemon and waits until the server has ended too; false if it does not.
    pub(crate) fn stop(mut self) -> bool {
        self.stop.send_replace(true);
        self.runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(10), &mut self.server).await.is_ok() })
    }
}
