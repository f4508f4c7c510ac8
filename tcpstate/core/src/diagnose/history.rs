//! What is remembered from pass to pass: how long queues have stood still, what `tcp_info` reported, who held a socket,
//! how long accept queues were, how many sockets a group had. Bounded: sockets that are gone are forgotten, and so are
//! groups and listeners after a while.

use std::collections::VecDeque;

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{
    NS_PER_MS,
    evidence::{Evidence, TcpInfo},
    socket_view::{Holding, SocketView},
    suspicion::Key,
    thresholds::Thresholds,
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
const MAX_LISTENER_HOLDERS: usize = 256;
/// Looks at an accept queue that are remembered.
const MAX_LOOKS: usize = 8;
/// A connection that carries something after it had been idle for so long is used again, ns.
const IDLE_NS: u64 = 1_000_000_000;

/// What is remembered of one socket's queues, if there is anything in them.
#[derive(Clone, Copy, Debug)]
struct Queues {
    /// Since when they have been as they are, monotonic ns: the first look that showed them so, or the last data that
    /// came or went.
    quiet_since_ns: u64,
    rqueue: u32,
    wqueue: u32,
}

/// What `tcp_info` reported last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// When that was, monotonic ns.
    pub(super) at_ns: u64,
    /// When data was last sent, and last came in, monotonic ns; both begin with the connection; 0 when not known.
    pub(super) sent_ns: u64,
    pub(super) received_ns: u64,
    /// Whether data was ever sent, and ever came in.
    pub(super) has_sent: Option<bool>,
    pub(super) has_received: Option<bool>,
    /// It carried data after it had been seen idle.
    pub(super) used_again: bool,
}

impl Heard {
    /// When data last went either way, monotonic ns.
    pub(super) fn moved_ns(&self) -> u64 {
        self.sent_ns.max(self.received_ns)
    }

    /// Whether data had moved less than so long before, ms, in any direction.
    pub(super) fn is_lively(&self, within_ms: u64) -> bool {
        self.was_less_than(within_ms, self.moved_ns())
    }

    /// Whether something at that time was less than so long before, ms.
    pub(super) fn was_less_than(&self, within_ms: u64, ns: u64) -> bool {
        self.at_ns.saturating_sub(ns) < within_ms * NS_PER_MS
    }
}

/// Who held a socket: at the first look, and at the last one.
#[derive(Clone, Debug)]
struct HeldBy {
    /// `None` if that is the last one: nearly always, and there may be a hundred thousand.
    first: Option<Box<Holder>>,
    last: Holder,
}

/// An accept queue at one look.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLook {
    /// Monotonic ns.
    pub(super) at_ns: u64,
    /// For how long the oldest of its connections had been waiting, ms.
    pub(super) oldest_ms: u64,
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

/// A connection that was seen waiting to be accepted: until when, and when it had a file for the first time.
#[derive(Clone, Copy, Debug)]
struct Queued {
    until_ns: u64,
    accepted_ns: Option<u64>,
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
        // What has stopped to rise does not rise.
        let then_ns = at_ns.saturating_sub(thresholds.trend_ms * NS_PER_MS * 9 / 10);
        let then = self.points.iter().rev().find(|point| point.at_ns <= then_ns).unwrap_or(first);
        if count <= then.count && count > first.count {
            return Some(0.0);
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
    /// The last looks at which connections waited to be accepted, the oldest first.
    pub(super) looks: VecDeque<QueueLook>,
}

impl Listening {
    /// The process that is named for a listener: of several the first one, but not process 1, which only made it.
    pub(super) fn main_holder(&self) -> Option<Holder> {
        let order = |holder: &&Holder| (holder.pid == 1, holder.start_boottime_ns, holder.pid);
        self.holders.iter().min_by_key(order).copied()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct History {
    queues: Recent<Queues>,
    heard: Recent<Heard>,
    /// Since when it has been looked up in vain who holds it, monotonic ns.
    ownerless: Recent<u64>,
    series: HashMap<Key, Series>,
    /// What was called a leak, and until when it was there, monotonic ns: it stays one while its sockets are there.
    leaks: HashMap<Key, u64>,
    holders: Recent<HeldBy>,
    /// Connections that were seen waiting to be accepted.
    queued: Recent<Queued>,
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
                _ => self.observe_socket(&socket, seen.holding(), evidence),
            }
        }
        self.queues.forget_all_but(self.pass);
        self.heard.forget_all_but(self.pass);
        self.ownerless.forget_all_but(self.pass);
        self.holders.forget_all_but(self.pass);
        self.queued.forget_all_but(self.pass);
        let at_ns = evidence.at_ns;
        self.listeners.retain(|_, listening| at_ns.saturating_sub(listening.seen_ns) < LISTENER_GONE_NS);
    }

    fn observe_socket(&mut self, socket: &Socket, held: Holding, evidence: &Evidence) {
        let (cookie, pass) = (socket.cookie, self.pass);
        self.observe_queues(socket, evidence.counted_ns(socket.state));
        self.heard.touch(cookie, pass);
        if let Some(info) = evidence.info.get(&cookie) {
            self.hear(socket, info);
        }
        if !self.queued.0.is_empty()
            && let Some(queued) = self.queued.touch(cookie, pass)
            && !matches!(held, Holding::NoFile)
        {
            queued.accepted_ns.get_or_insert(evidence.counted_ns(socket.state));
        }
        let since_ns = self.ownerless.touch(cookie, pass).copied();
        match held {
            Holding::Nobody if since_ns.is_none() => {
                self.ownerless.insert(cookie, evidence.holders.at_ns, pass);
            }
            Holding::By { holder, .. } => {
                if since_ns.is_some() {
                    self.ownerless.0.remove(&cookie);
                }
                let kept = matches!(socket.state, TcpState::Established | TcpState::CloseWait);
                if kept {
                    self.remember_holder(cookie, holder);
                }
            }
            Holding::NoFile if matches!(socket.state, TcpState::Established | TcpState::CloseWait) => {
                let until_ns = evidence.counted_ns(socket.state);
                self.queued.insert(cookie, Queued { until_ns, accepted_ns: None }, pass);
            }
            _ => {}
        }
        self.holders.touch(cookie, pass);
    }

    fn remember_holder(&mut self, cookie: u64, holder: Holder) {
        if let Some(known) = self.holders.touch(cookie, self.pass) {
            let before = std::mem::replace(&mut known.last, holder);
            if before != holder && known.first.is_none() {
                known.first = Some(Box::new(before));
            }
        } else if self.holders.0.len() < MAX_HOLDERS {
            self.holders.insert(cookie, HeldBy { first: None, last: holder }, self.pass);
        }
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

    fn hear(&mut self, socket: &Socket, info: &TcpInfo) {
        let cookie = socket.cookie;
        let before = self.heard.get(cookie).copied();
        let past = before.unwrap_or_default();
        let ago = |ms: Option<u32>| ms.map(|ms| info.at_ns.saturating_sub(u64::from(ms) * NS_PER_MS));
        let sent_ns = ago(info.last_data_sent_ms).unwrap_or(past.sent_ns);
        let received_ns = ago(info.last_data_recv_ms).unwrap_or(past.received_ns);
        // The peer's FIN counts as a byte (tcp_fin in net/ipv4/tcp_input.c).
        let fin = u64::from(socket.state != TcpState::Established);
        let moved_ns = sent_ns.max(received_ns);
        let was_idle = before.is_some_and(|before| before.at_ns.saturating_sub(before.moved_ns()) >= IDLE_NS);
        let heard = Heard {
            at_ns: info.at_ns,
            sent_ns,
            received_ns,
            has_sent: info.bytes_sent.map(|bytes| bytes > 0),
            has_received: info.bytes_received.map(|bytes| bytes > fin),
            used_again: past.used_again || was_idle && moved_ns > past.at_ns,
        };
        self.heard.insert(cookie, heard, self.pass);
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
        let looks = known.map(|known| known.looks.clone()).unwrap_or_default();
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
            looks,
        };
        self.listeners.insert(socket.cookie, listening);
    }

    /// Takes note of how long the connections have waited that wait at a listener now.
    pub(super) fn remember_queue(&mut self, listener: u64, look: QueueLook) {
        let Some(listening) = self.listeners.get_mut(&listener) else { return };
        if listening.looks.len() >= MAX_LOOKS {
            listening.looks.pop_front();
        }
        listening.looks.push_back(look);
    }

    /// Takes note that a group is a leak, which it stays while it is there.
    pub(super) fn remember_leak(&mut self, key: Key, at_ns: u64) {
        if self.leaks.len() < MAX_SERIES || self.leaks.contains_key(&key) {
            self.leaks.insert(key, at_ns);
        }
    }

    /// Whether a group was called a leak before.
    pub(super) fn is_leak(&self, key: &Key) -> bool {
        self.leaks.contains_key(key)
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
        self.leaks.retain(|_, seen_ns| at_ns.saturating_sub(*seen_ns) < FORGET_NS);
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
        self.holders.get(cookie).map(|held| &held.last)
    }

    /// Who held a socket when that was looked up for the first time.
    pub(super) fn first_holder(&self, cookie: u64) -> Option<&Holder> {
        self.holders.get(cookie).map(|held| held.first.as_deref().unwrap_or(&held.last))
    }

    /// Until when a connection was seen waiting to be accepted, monotonic ns.
    pub(super) fn queued_until_ns(&self, cookie: u64) -> Option<u64> {
        self.queued.get(cookie).map(|queued| queued.until_ns)
    }

    /// When a connection that had waited was seen accepted for the first time, monotonic ns: it was at the latest.
    pub(super) fn accepted_ns(&self, cookie: u64) -> Option<u64> {
        self.queued.get(cookie)?.accepted_ns
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
