//! Events of one kind about one program or place, as they are remembered.

use std::collections::{BTreeMap, VecDeque};

use tcpstate_common::TcpState;

use crate::{
    diagnose::{
        NS_PER_MS,
        connection::Side,
        counts::Counts,
        finding::MAX_SAMPLES,
        format,
        program::{self, Member},
    },
    track::Tuple,
};

/// Processes of a group that are remembered.
const MAX_MEMBERS: usize = 256;

/// Events of one kind about one program or place.
#[derive(Clone, Debug, Default)]
pub(in crate::diagnose) struct Group {
    pub(super) all: Counts,
    /// Those of which it was seen that they did harm.
    pub(super) harmful: Counts,
    pub(in crate::diagnose) first_ns: u64,
    pub(in crate::diagnose) last_ns: u64,
    /// The processes that they are about, and the last event of each, monotonic ns.
    pub(in crate::diagnose) members: Vec<(Member, u64)>,
    /// The processes at the other end, likewise.
    pub(in crate::diagnose) peers: Vec<(Member, u64)>,
    pub(in crate::diagnose) netns: u32,
    /// The largest number of unread bytes, if it was seen.
    pub(in crate::diagnose) unread: Option<u64>,
    /// Events whose connection is known to have carried data.
    pub(in crate::diagnose) with_data: u64,
    /// Events whose process was ending.
    pub(in crate::diagnose) ended: u64,
    /// The shortest and the longest time between an end and the data that came too late, ms.
    pub(in crate::diagnose) late_ms: Option<(u64, u64)>,
    /// When the peer had ended the connections of the harmful ones, by the second and by the process that has ended with
    /// that, if one is known to (0 if not), and how many: a server that ends all at once, as at a restart, is one occasion.
    pub(super) ends: BTreeMap<(u64, u32), u64>,
    /// Of how many of the harmful ones the peer listens anew, or not at all, since it ended them.
    pub(super) restarts: u64,
    /// The shortest silence before the RST, ms.
    pub(in crate::diagnose) idle_ms: Option<u64>,
    /// The number of a connect's error.
    pub(in crate::diagnose) errno: u32,
    /// It was seen at both ends.
    pub(in crate::diagnose) at_both_ends: bool,
    pub(in crate::diagnose) samples: VecDeque<(u64, Option<u64>, Tuple, Option<TcpState>)>,
}

impl Group {
    pub(super) fn count(&mut self, at_ns: u64, more: u64) {
        self.last_ns = self.last_ns.max(at_ns);
        self.first_ns = self.first_ns.min(at_ns);
        self.all.add(at_ns, more);
    }

    pub(super) fn sample(&mut self, at_ns: u64, cookie: Option<u64>, tuple: Tuple, state: Option<TcpState>) {
        if self.samples.len() >= MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((at_ns, cookie, tuple, state));
    }

    /// Takes in another group that is about the same.
    pub(super) fn merge(&mut self, other: Self) {
        self.all.merge(other.all);
        self.harmful.merge(other.harmful);
        for (members, more) in [(&mut self.members, other.members), (&mut self.peers, other.peers)] {
            for (member, last_ns) in more {
                remember(members, member, last_ns);
            }
        }
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.unread = self.unread.max(other.unread);
        self.with_data += other.with_data;
        self.ended += other.ended;
        self.late_ms = match (self.late_ms, other.late_ms) {
            (Some((least, most)), Some((lesser, more))) => Some((least.min(lesser), most.max(more))),
            (one, another) => one.or(another),
        };
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        self.idle_ms = match (self.idle_ms, other.idle_ms) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        self.restarts += other.restarts;
        self.at_both_ends |= other.at_both_ends;
        self.samples.extend(other.samples);
        self.samples.make_contiguous().sort_by_key(|sample| sample.0);
        while self.samples.len() > MAX_SAMPLES {
            self.samples.pop_front();
        }
    }

    pub(in crate::diagnose) fn total(&self) -> u64 {
        self.all.total()
    }

    /// Of how many of them it was seen that they did harm.
    pub(in crate::diagnose) fn harmful(&self) -> u64 {
        self.harmful.total()
    }

    /// On how many occasions peers that go on running had ended the connections of the harmful ones: two seconds next to
    /// each other are one, but not all seconds of a server that ends one after the other.
    pub(in crate::diagnose) fn occasions(&self) -> u64 {
        let mut before = None;
        let mut occasions = 0;
        for (second, pid) in self.ends.keys() {
            let is_new = before.is_none_or(|before: u64| before + 1 < *second);
            if is_new && !self.is_restart(*pid) {
                occasions += 1;
                before = Some(*second);
            }
        }
        occasions
    }

    /// Of how many of the harmful ones the peer was restarted, or had ended with several connections at once.
    pub(in crate::diagnose) fn restarts(&self) -> u64 {
        let ended = self.ends.iter().filter(|((_, pid), _)| self.is_restart(*pid));
        self.restarts + ended.map(|(_, count)| *count).sum::<u64>()
    }

    /// Whether this process ended several connections by ending: one that is there for one connection ends with that.
    fn is_restart(&self, pid: u32) -> bool {
        let by_it = self.ends.iter().filter(|((_, ended_with), _)| *ended_with == pid);
        pid != 0 && by_it.map(|(_, count)| *count).sum::<u64>() > 1
    }

    pub(in crate::diagnose) fn lasted_ms(&self) -> u64 {
        self.last_ns.saturating_sub(self.first_ns) / NS_PER_MS
    }

    /// The processes at the other end that are on this host.
    pub(in crate::diagnose) fn peers(&self) -> Vec<Member> {
        program::members(self.peers.iter().map(|(member, _)| *member))
    }

    /// The addresses at the other end, as far as they were kept: with the port of a server.
    pub(in crate::diagnose) fn remotes(&self, side: Side) -> Vec<String> {
        let mut remotes: Vec<_> = self
            .samples
            .iter()
            .map(|(_, _, tuple, _)| match side {
                Side::Client => format::address(tuple.remote),
                Side::Server => format::ip(tuple.remote.ip()),
            })
            .collect();
        remotes.sort_unstable();
        remotes.dedup();
        remotes
    }
}

pub(super) fn remember(members: &mut Vec<(Member, u64)>, member: Member, at_ns: u64) {
    let is_it = |(known, _): &&mut (Member, u64)| known.process.pid == member.process.pid;
    if let Some((known, last_ns)) = members.iter_mut().find(is_it) {
        known.count = known.count.saturating_add(1);
        *last_ns = (*last_ns).max(at_ns);
    } else if members.len() < MAX_MEMBERS {
        members.push((member, at_ns));
    }
}
