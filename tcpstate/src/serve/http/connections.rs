//! The open connections, how long each has made no progress, and what it has not taken of its answers. What goes
//! beyond the bounds is taken from the connection that has made no progress for the longest time.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    response::Response,
};
use tokio::sync::Notify;

use super::Bounds;
use crate::clock;

/// The time until a connection is looked for again that may be closed, where there is none.
const SOON: Duration = Duration::from_millis(10);
/// What every connection has to send its request, or to take some of its answer, before it may be closed for another.
const GRACE_NS: u64 = 20_000_000;

/// What part of the connections that there may be are few.
const FEW: usize = 8;

/// Why the daemon closed a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::serve) enum Closed {
    /// There were as many as there may be, and it had made no progress for the longest time.
    Full,
    /// Answers that nobody read took as much memory as they may, and this one's reader was the slowest.
    Unread,
    /// No request came.
    Idle,
    /// Its client took nothing of an answer.
    Stalled,
}

impl Closed {
    pub(in crate::serve) const ALL: [Self; 4] = [Self::Full, Self::Unread, Self::Idle, Self::Stalled];

    /// The name in metrics.
    pub(in crate::serve) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unread => "unread",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
        }
    }
}

/// All open connections.
#[derive(Debug)]
pub(in crate::serve) struct Connections {
    bounds: Bounds,
    open: Mutex<HashMap<u64, Arc<Progress>>>,
    opened: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
    /// Whether one was closed for another since few were left.
    crowded: AtomicBool,
    /// Few are left after a crowd.
    calm: Notify,
}

/// How far a connection is.
#[derive(Debug)]
struct Progress {
    /// When bytes last came in or went out, monotonic ns.
    moved_ns: AtomicU64,
    /// Whether nobody has looked yet what its client sends.
    unread: AtomicBool,
    /// Whether a request is being answered.
    busy: AtomicBool,
    /// Whether its answer is a stream, which waits for events.
    streams: AtomicBool,
    /// Bytes of its answers that it has not taken.
    unsent: AtomicUsize,
    /// It has to end.
    end: Notify,
}

/// One open connection; it is closed when this is dropped.
#[derive(Debug)]
pub(in crate::serve) struct Connection {
    id: u64,
    progress: Arc<Progress>,
    all: Arc<Connections>,
}

/// A request that is being answered.
pub(super) struct Busy<'a>(&'a Connection);

/// An answer that has not been taken yet.
struct Unsent {
    bytes: Bytes,
    progress: Arc<Progress>,
}

impl Connections {
    pub(in crate::serve) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            open: Mutex::default(),
            opened: AtomicU64::new(0),
            closed: Default::default(),
            crowded: AtomicBool::new(false),
            calm: Notify::new(),
        })
    }

    /// Connections at this moment.
    pub(in crate::serve) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Connections that the daemon closed for this reason.
    pub(in crate::serve) fn closed(&self, why: Closed) -> u64 {
        self.closed[why as usize].load(Ordering::Relaxed)
    }

    /// Waits until few connections are left after there were too many.
    pub(super) async fn calmed(&self) {
        self.calm.notified().await;
    }

    /// Takes in a connection. Where there are as many as there may be, another one goes for it.
    pub(super) async fn open(self: &Arc<Self>) -> Arc<Connection> {
        loop {
            if let Some(connection) = self.try_open() {
                return Arc::new(connection);
            }
            tokio::time::sleep(SOON).await;
        }
    }

    fn try_open(self: &Arc<Self>) -> Option<Connection> {
        let mut open = self.lock();
        if open.len() >= self.bounds.connections {
            let (id, progress) = slowest(&open, |_| true)?;
            let waited_ns = clock::monotonic_ns().saturating_sub(progress.moved_ns.load(Ordering::Relaxed));
            if waited_ns < GRACE_NS {
                return None;
            }
            self.close(&mut open, id, Closed::Full);
        }
        let id = self.opened.fetch_add(1, Ordering::Relaxed);
        let progress = Arc::new(Progress {
            moved_ns: AtomicU64::new(clock::monotonic_ns()),
            unread: AtomicBool::new(true),
            busy: AtomicBool::new(false),
            streams: AtomicBool::new(false),
            unsent: AtomicUsize::new(0),
            end: Notify::new(),
        });
        open.insert(id, Arc::clone(&progress));
        Some(Connection { id, progress, all: Arc::clone(self) })
    }

    /// Makes room for as many bytes of an answer to one connection.
    fn make_room(&self, bytes: usize, to: u64) {
        let mut open = self.lock();
        let unsent = |progress: &Progress| progress.unsent.load(Ordering::Relaxed);
        let mut over = open.values().map(|progress| unsent(progress)).sum::<usize>() + bytes;
        while over > self.bounds.unsent_bytes {
            let Some((id, held)) = slowest(&open, |id| id != to && unsent(&open[&id]) > 0)
                .map(|(id, progress)| (id, unsent(progress)))
            else {
                return;
            };
            self.close(&mut open, id, Closed::Unread);
            over = over.saturating_sub(held);
        }
    }

    fn close(&self, open: &mut HashMap<u64, Arc<Progress>>, id: u64, why: Closed) {
        if let Some(progress) = open.remove(&id) {
            progress.end.notify_one();
            self.crowded.store(true, Ordering::Relaxed);
            self.closed[why as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Progress>>> {
        // Each change of the map is one call, so a panic leaves it whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection that has made no progress for the longest time, of those that pass and wait for their client.
fn slowest(
    open: &HashMap<u64, Arc<Progress>>,
    passes: impl Fn(u64) -> bool,
) -> Option<(u64, &Arc<Progress>)> {
    let waiting = open.iter().filter(|(id, progress)| progress.waits_for_client() && passes(**id));
    let slowest = waiting.min_by_key(|(id, progress)| (progress.moved_ns.load(Ordering::Relaxed), **id));
    slowest.map(|(id, progress)| (*id, progress))
}

impl Progress {
    fn waits_for_client(&self) -> bool {
        [&self.unread, &self.busy, &self.streams].into_iter().all(|other| !other.load(Ordering::Relaxed))
    }
}

impl Connection {
    pub(super) fn bounds(&self) -> &Bounds {
        &self.all.bounds
    }

    /// Somebody looks what its client sends.
    pub(super) fn read(&self) {
        self.progress.unread.store(false, Ordering::Relaxed);
    }

    /// Bytes came in or went out.
    pub(super) fn moved(&self) {
        self.progress.moved_ns.store(clock::monotonic_ns(), Ordering::Relaxed);
    }

    /// Waits until the connection has to end.
    pub(super) async fn ended(&self) {
        self.progress.end.notified().await;
    }

    /// It ends now, for this reason.
    pub(super) fn count(&self, why: Closed) {
        self.all.closed[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A request is answered until this is dropped: the connection waits for the daemon, and not for its client.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.progress.busy.store(true, Ordering::Relaxed);
        Busy(self)
    }

    /// Counts the bytes of an answer until its client has taken them. A stream has a portion at a time, and there are
    /// few of them.
    pub(super) async fn keep(&self, response: Response) -> Response {
        let (head, body) = response.into_parts();
        let Some(bytes) = body.size_hint().exact() else {
            self.progress.streams.store(true, Ordering::Relaxed);
            return Response::from_parts(head, body);
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        // It is in memory already, so nothing is waited for and nothing fails.
        let bytes = to_bytes(body, bytes).await.unwrap_or_default();
        self.all.make_room(bytes.len(), self.id);
        self.progress.unsent.fetch_add(bytes.len(), Ordering::Relaxed);
        let unsent = Unsent { bytes, progress: Arc::clone(&self.progress) };
        Response::from_parts(head, Body::from(Bytes::from_owner(unsent)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        open.remove(&self.id);
        if open.len() <= self.all.bounds.connections / FEW && self.all.crowded.swap(false, Ordering::Relaxed)
        {
            self.all.calm.notify_one();
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.progress.busy.store(false, Ordering::Relaxed);
        self.0.moved();
    }
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.progress.unsent.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Connections {
        /// Somebody has looked at each what its client sends.
        fn look(&self) {
            self.lock().values().for_each(|progress| progress.unread.store(false, Ordering::Relaxed));
        }
    }

    /// An answer of as many bytes.
    async fn answer(connection: &Connection, bytes: usize) -> Bytes {
        let response = connection.keep(Response::new(Body::from(vec![b' '; bytes]))).await;
        to_bytes(response.into_body(), bytes).await.unwrap()
    }

    /// Whether the connection has been told to end.
    fn is_ended(connection: &Connection) -> bool {
        let ended = std::pin::pin!(connection.ended());
        ended.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn answers_that_nobody_takes_go_when_another_needs_the_room() {
        let all = Connections::new(Bounds { unsent_bytes: 100, ..Bounds::default() });
        let connections = [all.open().await, all.open().await, all.open().await];
        all.look();
        let first = answer(&connections[0], 40).await;
        let second = answer(&connections[1], 40).await;
        connections[0].moved();
        let third = answer(&connections[2], 60).await;
        assert_eq!(connections.each_ref().map(|connection| is_ended(connection)), [false, true, false]);
        drop((first, third));
        let fourth = answer(&connections[2], 100).await;
        assert!(!is_ended(&connections[0]), "it has taken all of its answer");
        drop((second, fourth));
        assert_eq!((all.closed(Closed::Unread), all.closed(Closed::Full)), (1, 0));
    }

    #[tokio::test]
    async fn one_answer_may_be_larger_than_all_may_be_together() {
        let all = Connections::new(Bounds { unsent_bytes: 100, ..Bounds::default() });
        let connection = all.open().await;
        connection.read();
        let bytes = answer(&connection, 1000).await;
        assert_eq!(bytes.len(), 1000);
        assert!(!is_ended(&connection));
    }

    #[tokio::test]
    async fn connection_that_waits_for_the_daemon_is_not_closed_for_another() {
        let all = Connections::new(Bounds { connections: 2, ..Bounds::default() });
        let connections = [all.open().await, all.open().await];
        all.look();
        let busy = connections[0].busy();
        let third = all.open().await;
        assert_eq!(connections.each_ref().map(|connection| is_ended(connection)), [false, true]);
        drop((busy, third));
        assert_eq!(all.closed(Closed::Full), 1);
    }

    #[tokio::test]
    async fn connection_that_has_waited_longest_goes_for_another() {
        let all = Connections::new(Bounds { connections: 3, ..Bounds::default() });
        let connections = [all.open().await, all.open().await, all.open().await];
        all.look();
        connections[0].moved();
        let fourth = all.open().await;
        assert_eq!(connections.each_ref().map(|connection| is_ended(connection)), [false, true, false]);
        fourth.read();
        let fifth = all.open().await;
        assert_eq!(connections.each_ref().map(|connection| is_ended(connection)), [false, false, true]);
        drop((fourth, fifth));
        assert_eq!(all.closed(Closed::Full), 2);
    }

    #[tokio::test]
    async fn calm_comes_once_after_a_crowd() {
        let all = Connections::new(Bounds { connections: 8, ..Bounds::default() });
        let mut connections = Vec::new();
        for _ in 0..9 {
            connections.push(all.open().await);
            all.look();
        }
        let mut calm = std::pin::pin!(all.calmed());
        assert!(
            calm.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
        );
        connections.truncate(1);
        calm.await;
        assert_eq!(all.count(), 0);
    }
}
