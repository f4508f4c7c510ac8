//! How many mini-sockets there are (`TIME_WAIT`, and `FIN_WAIT2` of closed sockets): those that a census found, with
//! those made since, without those whose time is over. The kernel ends some before their time, and where a namespace
//! has as many as it may have, it makes no new one (`net.ipv4.tcp_max_tw_buckets`). Nobody is told; but the kernel says
//! how many there are.

use std::collections::BTreeMap;

const NS_PER_S: u64 = 1_000_000_000;
/// What became of fewer says nothing about the next ones.
const ENOUGH: u64 = 1000;

/// When mini-sockets end: how many, by monotonic second.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ends(BTreeMap<u64, u64>);

impl Ends {
    /// One ends then, monotonic ns.
    pub fn add(&mut self, at_ns: u64) {
        *self.0.entry(at_ns / NS_PER_S).or_default() += 1;
    }

    /// How many have ended.
    fn over(&self, now_ns: u64) -> u64 {
        let over = self.0.iter().take_while(|(second, _)| **second < now_ns / NS_PER_S);
        over.map(|(_, count)| count).sum()
    }

    fn forget_over(&mut self, now_ns: u64) {
        self.0.retain(|second, _| *second >= now_ns / NS_PER_S);
    }
}

/// Those of one family, in one state.
#[derive(Clone, Debug, Default)]
pub(super) struct Minis {
    count: u64,
    /// How many had been made when there were so many.
    made: u64,
    ends: Ends,
}

impl Minis {
    /// What a census has shown, at the end of which so many had been made.
    pub(super) fn shown(count: u64, made: u64, ends: Ends) -> Self {
        Self { count, made, ends }
    }

    /// There are so many now, though not known which.
    pub(super) fn counted(&mut self, count: u64, made: u64, now_ns: u64) {
        (self.count, self.made) = (count, made);
        self.ends.forget_over(now_ns);
    }

    /// How many there are once so many have been made, of which that share has stayed.
    pub(super) fn now(&self, made: u64, staying: Share, now_ns: u64) -> u64 {
        self.left(now_ns) + staying.of(self.made_since(made))
    }

    /// How many there are of those that there were.
    pub(super) fn left(&self, now_ns: u64) -> u64 {
        self.count.saturating_sub(self.ends.over(now_ns))
    }

    pub(super) fn made_since(&self, made: u64) -> u64 {
        made.saturating_sub(self.made)
    }
}

/// The share of the mini-sockets made of late that were there at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    stayed: u64,
    made: u64,
}

impl Share {
    pub(super) const ALL: Self = Self { stayed: 1, made: 1 };

    /// So many were made; without them there would have been `without`, and there are `found`.
    pub(super) fn new(made: u64, without: u64, found: u64) -> Self {
        if made < ENOUGH {
            return Self::ALL;
        }
        Self { stayed: found.saturating_sub(without).min(made), made }
    }

    fn of(self, made: u64) -> u64 {
        let share = u128::from(made) * u128::from(self.stayed) / u128::from(self.made);
        u64::try_from(share).unwrap_or(made)
    }
}

/// Divides a number as these two are to each other.
pub(super) fn divide(sum: u64, parts: [u64; 2]) -> [u64; 2] {
    let made = parts[0] + parts[1];
    if made == 0 {
        return [0; 2];
    }
    let first = Share { stayed: parts[0], made }.of(sum);
    [first, sum - first]
}
