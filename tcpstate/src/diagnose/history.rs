//! What is remembered from pass to pass: how long queues have stood still, what `tcp_info` said last, how many
//! there were. Bounded: sockets that are gone are forgotten, and so are groups and events after a while.

use std::collections::{HashMap, VecDeque};

use tcpstate_common::TcpState;

use super::{candidate::Key, evidence::Evidence, hash::ByCookie, thresholds::Thresholds, view::Held};
use crate::track::{Holder, Socket};

const NS_PER_MS: u64 = 1_000_000;
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

/// One socket, as it was at the last looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// Since when the queues have been as they are, monotonic ns: the first look that showed them so, or the last data
    /// that came or went.
    quiet_since_ns: u64,
    /// The look before this one.
    looked_ns: u64,
    /// When data was last sent, and last came in, monotonic ns; 0 when not known.
    pub(super) sent_ns: u64,
    pub(super) received_ns: u64,
    /// When `tcp_info` was last seen, monotonic ns; 0 for never.
    pub(super) checked_ns: u64,
    /// Since when it has been looked up in vain who holds it, monotonic ns; 0 for never.
    pub(super) ownerless_since_ns: u64,
    rqueue: u32,
    wqueue: u32,
    seen: u32,
}

impl Past {
    /// For how long the queues have not moved, ms.
    pub(super) fn quiet_ms(&self) -> u64 {
        self.looked_ns.saturating_sub(self.quiet_since_ns) / NS_PER_MS
    }

    /// For how long it has been looked up in vain who holds it, ms, as of the last look-up and as far as the socket has
    /// been seen since: `ESTABLISHED` sockets are counted less often, and one that has ended meanwhile is held by
    /// nobody either.
    pub(super) fn ownerless_ms(&self, looked_up_ns: u64) -> u64 {
        if self.ownerless_since_ns == 0 {
            return 0;
        }
        looked_up_ns.min(self.looked_ns).saturating_sub(self.ownerless_since_ns) / NS_PER_MS
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
    sockets: ByCookie<Past>,
    series: HashMap<Key, Series>,
    holders: ByCookie<Holder>,
    listeners: ByCookie<Listening>,
    pass: u32,
}

impl History {
    /// Takes note of what a pass shows.
    pub(super) fn observe(&mut self, evidence: &Evidence, held: &[Held]) {
        self.pass = self.pass.wrapping_add(1);
        for (socket, held) in evidence.sockets.iter().zip(held) {
            match socket.state {
                TcpState::Listen => self.observe_listener(socket, evidence),
                _ => self.observe_socket(socket, held, evidence),
            }
        }
        let pass = self.pass;
        self.sockets.retain(|_, past| past.seen == pass);
        if self.sockets.capacity() > 4 * self.sockets.len() {
            self.sockets.shrink_to(2 * self.sockets.len());
        }
        let sockets = &self.sockets;
        self.holders.retain(|cookie, _| sockets.contains_key(cookie));
        let at_ns = evidence.at_ns;
        self.listeners.retain(|_, listening| at_ns.saturating_sub(listening.seen_ns) < LISTENER_GONE_NS);
    }

    fn observe_socket(&mut self, socket: &Socket, held: &Held, evidence: &Evidence) {
        let looked_ns = evidence.counted_ns(socket.state);
        let past = self.sockets.entry(socket.cookie).or_insert(Past {
            quiet_since_ns: looked_ns,
            looked_ns,
            sent_ns: 0,
            received_ns: 0,
            checked_ns: 0,
            ownerless_since_ns: 0,
            rqueue: socket.rqueue,
            wqueue: socket.wqueue,
            seen: 0,
        });
        past.seen = self.pass;
        if (past.rqueue, past.wqueue) != (socket.rqueue, socket.wqueue) {
            (past.rqueue, past.wqueue, past.quiet_since_ns) = (socket.rqueue, socket.wqueue, looked_ns);
        }
        past.looked_ns = looked_ns;
        if let Some(info) = evidence.info.get(&socket.cookie) {
            let ago = |ms: Option<u32>| ms.map(|ms| info.at_ns.saturating_sub(u64::from(ms) * NS_PER_MS));
            past.checked_ns = info.at_ns;
            past.sent_ns = ago(info.last_data_sent_ms).unwrap_or(past.sent_ns);
            past.received_ns = ago(info.last_data_recv_ms).unwrap_or(past.received_ns);
            // A queue that is filled up again as it is emptied looks the same, and is not frozen.
            past.quiet_since_ns = past.quiet_since_ns.max(past.sent_ns).max(past.received_ns);
        }
        if *held == Held::Nobody && past.ownerless_since_ns == 0 {
            past.ownerless_since_ns = evidence.holders.at_ns;
        } else if let Held::By { holder, .. } = held {
            past.ownerless_since_ns = 0;
            let kept = matches!(socket.state, TcpState::Established | TcpState::CloseWait);
            if kept && (self.holders.len() < MAX_HOLDERS || self.holders.contains_key(&socket.cookie)) {
                self.holders.insert(socket.cookie, *holder);
            }
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

    pub(super) fn socket(&self, cookie: u64) -> Option<&Past> {
        self.sockets.get(&cookie)
    }

    pub(super) fn series(&self, key: &Key) -> Option<&Series> {
        self.series.get(key)
    }

    /// Who held a socket when that was last looked up.
    pub(super) fn holder(&self, cookie: u64) -> Option<&Holder> {
        self.holders.get(&cookie)
    }

    /// The listeners that are or were there.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Listening> {
        self.listeners.values()
    }

    /// Sockets for whose holder nobody has been found yet.
    pub(super) fn ownerless(&self) -> impl Iterator<Item = u64> {
        self.sockets.iter().filter(|(_, past)| past.ownerless_since_ns != 0).map(|(cookie, _)| *cookie)
    }

    /// How much is remembered: sockets, series, holders and listeners.
    #[cfg(test)]
    pub(super) fn size(&self) -> [usize; 4] {
        [self.sockets.len(), self.series.len(), self.holders.len(), self.listeners.len()]
    }
}
