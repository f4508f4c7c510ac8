//! What is remembered from pass to pass: how long queues have stood still, what `tcp_info` said last, how many
//! there were. Bounded: sockets that are gone are forgotten, and so are groups and events after a while.

use std::collections::VecDeque;

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{
    NS_PER_MS,
    evidence::{Evidence, TcpInfo},
    suspicion::Key,
    thresholds::Thresholds,
    view::{Holding, SocketView},
};
use crate::track::{Holder, Socket};

/// Groups whose counts are remembered.
const MAX_SERIES: usize = 4_096;
/// Points of one series.
const MAX_POINTS: usize = 32;
/// A trend looks back so far, ns.
const TREND_NS: u64 = 300_000_000_000;
/// A group that was not there for so long is forgotten, ns.
const FORGET_NS: u64 = 120_000_000_000;
/// Sockets whose last holder is remembered.
const MAX_HOLDERS: usize = 8_192;
/// Listeners that are remembered, those that are gone among them.
const MAX_LISTENERS: usize = 4_096;
/// A listener that is gone is remembered for so long, ns.
const LISTENER_GONE_NS: u64 = 600_000_000_000;
/// Holders of a listener that are remembered.
const MAX_LISTENER_HOLDERS: usize = 4;

/// What is remembered of one socket's queues, if there is anything in them.
#[derive(Clone, Copy, Debug)]
struct Queues {
    /// Since when they have been as they are, monotonic ns: the first look that showed them so, or the last data that
    /// came or went.
    quiet_since_ns: u64,
    rqueue: u32,
    wqueue: u32,
}

/// What `tcp_info` said last.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "names end with units")]
pub(super) struct Heard {
    /// When that was, monotonic ns.
    pub(super) at_ns: u64,
    /// When data was last sent, and last came in, monotonic ns; 0 when not known.
    pub(super) sent_ns: u64,
    pub(super) received_ns: u64,
}

impl Heard {
    /// Whether data had moved less than so long before, ms, in any direction.
    pub(super) fn is_lively(&self, within_ms: u64) -> bool {
        self.was_less_than(within_ms, self.sent_ns.max(self.received_ns))
    }

    /// Whether something at that time was less than so long before, ms.
    pub(super) fn was_less_than(&self, within_ms: u64, ns: u64) -> bool {
        self.at_ns.saturating_sub(ns) < within_ms * NS_PER_MS
    }
}

/// Something by cookie, for as long as the socket is there.
#[derive(Debug)]
struct Recent<T>(HashMap<u64, Stamped<T>>);

#[derive(Clone, Copy, Debug)]
struct Stamped<T> {
    what: T,
    /// The pass that has seen the socket last.
    pass: u32,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<T> Recent<T> {
    fn get(&self, cookie: u64) -> Option<&T> {
        self.0.get(&cookie).map(|stamped| &stamped.what)
    }

    /// The same for a socket that is still there.
    fn touch(&mut self, cookie: u64, pass: u32) -> Option<&mut T> {
        let stamped = self.0.get_mut(&cookie)?;
        stamped.pass = pass;
        Some(&mut stamped.what)
    }

    fn insert(&mut self, cookie: u64, what: T, pass: u32) {
        self.0.insert(cookie, Stamped { what, pass });
    }

    /// Forgets the sockets that this pass has not seen.
    fn forget_all_but(&mut self, pass: u32) {
        self.0.retain(|_, stamped| stamped.pass == pass);
        if self.0.capacity() > 4 * self.0.len() {
            self.0.shrink_to(2 * self.0.len());
        }
    }
}

/// How many there were, over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    points: VecDeque<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at_ns: u64,
    count: u64,
    since_ns: u64,
}

impl Series {
    /// Whether there are more than `trend_ms` ago, while the oldest one of then is still there.
    pub(super) fn grows(&self, at_ns: u64, count: u64, since_ns: u64, thresholds: &Thresholds) -> bool {
        // A pass may come a little early.
        let then_ns = at_ns.saturating_sub(thresholds.trend_ms * NS_PER_MS * 9 / 10);
        let then = self.points.iter().rev().find(|point| point.at_ns <= then_ns);
        then.is_some_and(|then| {
            then.count > 0
                && count >= then.count.saturating_add(thresholds.growth)
                && since_ns <= then.since_ns
        })
    }

    /// By how much the count rises in a minute; `None` before it has been watched for `trend_ms`.
    pub(super) fn per_minute(&self, at_ns: u64, count: u64, thresholds: &Thresholds) -> Option<f64> {
        let from_ns = at_ns.saturating_sub(TREND_NS);
        let first = self.points.iter().find(|point| point.at_ns >= from_ns).or_else(|| self.points.back())?;
        let span_ns = at_ns.saturating_sub(first.at_ns);
        if span_ns < thresholds.trend_ms * NS_PER_MS * 9 / 10 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of sockets and spans of minutes are exact in a double"
        )]
        let slope = (count as f64 - first.count as f64) * 60e9 / span_ns as f64;
        Some((slope * 10.0).round() / 10.0)
    }

    fn add(&mut self, point: Point) {
        if self.points.len() >= MAX_POINTS {
            // The older half needs only every other point.
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index > MAX_POINTS / 2 || index % 2 == 1
            });
        }
        self.points.push_back(point);
    }
}

/// A listener, as it was when it was last seen.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    pub(super) socket: Socket,
    pub(super) holders: Vec<Holder>,
    pub(super) seen_ns: u64,
    /// `sk_drops` at the last look, and what was added to it since the look before.
    drops: Option<u32>,
    pub(super) dropped: Option<u32>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct History {
    queues: Recent<Queues>,
    heard: Recent<Heard>,
    /// Since when it has been looked up in vain who holds it, monotonic ns.
    ownerless: Recent<u64>,
    series: HashMap<Key, Series>,
    holders: Recent<Holder>,
    listeners: HashMap<u64, Listening>,
    pass: u32,
}

impl History {
    /// Takes note of what a pass shows.
    pub(super) fn observe(&mut self, evidence: &Evidence, all: &[SocketView<'_>]) {
        self.pass = self.pass.wrapping_add(1);
        for seen in all {
            let socket = seen.socket();
            match socket.state {
                TcpState::Listen => self.observe_listener(&socket, evidence),
                _ => self.observe_socket(&socket, seen.held(), evidence),
            }
        }
        self.queues.forget_all_but(self.pass);
        self.heard.forget_all_but(self.pass);
        self.ownerless.forget_all_but(self.pass);
        self.holders.forget_all_but(self.pass);
        let at_ns = evidence.at_ns;
        self.listeners.retain(|_, listening| at_ns.saturating_sub(listening.seen_ns) < LISTENER_GONE_NS);
    }

    fn observe_socket(&mut self, socket: &Socket, held: Holding, evidence: &Evidence) {
        let (cookie, pass) = (socket.cookie, self.pass);
        self.observe_queues(socket, evidence.counted_ns(socket.state));
        self.heard.touch(cookie, pass);
        if let Some(info) = evidence.info.get(&cookie) {
            self.hear(cookie, info);
        }
        let since_ns = self.ownerless.touch(cookie, pass).copied();
        match held {
            Holding::Nobody if since_ns.is_none() => {
                self.ownerless.insert(cookie, evidence.holders.at_ns, pass)
            }
            Holding::By { holder, .. } => {
                if since_ns.is_some() {
                    self.ownerless.0.remove(&cookie);
                }
                let kept = matches!(socket.state, TcpState::Established | TcpState::CloseWait);
                if kept && (self.holders.0.len() < MAX_HOLDERS || self.holders.get(cookie).is_some()) {
                    self.holders.insert(cookie, holder, pass);
                }
            }
            _ => {}
        }
        self.holders.touch(cookie, pass);
    }

    fn observe_queues(&mut self, socket: &Socket, looked_ns: u64) {
        let Socket { cookie, rqueue, wqueue, .. } = *socket;
        if (rqueue, wqueue) == (0, 0) {
            return;
        }
        let now = Queues { quiet_since_ns: looked_ns, rqueue, wqueue };
        match self.queues.touch(cookie, self.pass) {
            Some(past) if (past.rqueue, past.wqueue) == (rqueue, wqueue) => {}
            Some(past) => *past = now,
            None => self.queues.insert(cookie, now, self.pass),
        }
    }

    fn hear(&mut self, cookie: u64, info: &TcpInfo) {
        let before = self.heard.get(cookie).copied().unwrap_or_default();
        let ago = |ms: Option<u32>| ms.map(|ms| info.at_ns.saturating_sub(u64::from(ms) * NS_PER_MS));
        let sent_ns = ago(info.last_data_sent_ms).unwrap_or(before.sent_ns);
        let received_ns = ago(info.last_data_recv_ms).unwrap_or(before.received_ns);
        self.heard.insert(cookie, Heard { at_ns: info.at_ns, sent_ns, received_ns }, self.pass);
        if let Some(past) = self.queues.touch(cookie, self.pass) {
            // A queue that is filled up again as it is emptied looks the same, and is not frozen.
            past.quiet_since_ns = past.quiet_since_ns.max(sent_ns).max(received_ns);
        }
    }

    fn observe_listener(&mut self, socket: &Socket, evidence: &Evidence) {
        let known = self.listeners.get(&socket.cookie);
        if known.is_none() && self.listeners.len() >= MAX_LISTENERS {
            return;
        }
        let drops = evidence.listeners.get(&socket.cookie).and_then(|listener| listener.drops);
        let before = known.and_then(|known| known.drops);
        let mut holders: Vec<_> = evidence.holders.of(socket).take(MAX_LISTENER_HOLDERS).collect();
        if holders.is_empty()
            && let Some(known) = known
        {
            holders.clone_from(&known.holders);
        }
        let listening = Listening {
            socket: socket.clone(),
            holders,
            seen_ns: evidence.at_ns,
            drops,
            dropped: drops.zip(before).map(|(now, before)| now.wrapping_sub(before)),
        };
        self.listeners.insert(socket.cookie, listening);
    }

    /// Takes note of how many there were, and forgets what has not been there for long.
    pub(super) fn count(&mut self, counted: impl Iterator<Item = (Key, u64, u64)>, at_ns: u64) {
        for (key, count, since_ns) in counted {
            if self.series.len() < MAX_SERIES || self.series.contains_key(&key) {
                self.series.entry(key).or_default().add(Point { at_ns, count, since_ns });
            }
        }
        self.series.retain(|_, series| {
            series.points.back().is_some_and(|point| at_ns.saturating_sub(point.at_ns) < FORGET_NS)
        });
    }

    /// For how long a socket's queues had not moved when it was counted last, monotonic ns, in ms; 0 if they are
    /// empty.
    pub(super) fn quiet_ms(&self, cookie: u64, counted_ns: u64) -> u64 {
        self.queues
            .get(cookie)
            .map_or(0, |queues| counted_ns.saturating_sub(queues.quiet_since_ns) / NS_PER_MS)
    }

    pub(super) fn heard(&self, cookie: u64) -> Option<&Heard> {
        self.heard.get(cookie)
    }

    /// Since when it has been looked up in vain who holds a socket, monotonic ns.
    pub(super) fn ownerless_since_ns(&self, cookie: u64) -> Option<u64> {
        self.ownerless.get(cookie).copied()
    }

    pub(super) fn series(&self, key: &Key) -> Option<&Series> {
        self.series.get(key)
    }

    /// Who held a socket when that was last looked up.
    pub(super) fn holder(&self, cookie: u64) -> Option<&Holder> {
        self.holders.get(cookie)
    }

    /// The listeners that are or were there.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Listening> {
        self.listeners.values()
    }

    /// Sockets for whose holder nobody has been found yet.
    pub(super) fn ownerless(&self) -> impl Iterator<Item = u64> {
        self.ownerless.0.keys().copied()
    }

    /// How much is remembered: sockets, series, holders and listeners.
    #[cfg(test)]
    pub(super) fn size(&self) -> [usize; 4] {
        let sockets = self.queues.0.len().max(self.heard.0.len()).max(self.ownerless.0.len());
        [sockets, self.series.len(), self.holders.0.len(), self.listeners.len()]
    }
}
