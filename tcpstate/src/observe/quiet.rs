//! Network namespaces in which nothing happens. A dump of one namespace walks through the kernel's table of the sockets
//! of all of them, however few are its own (`tcp_diag_dump` in `net/ipv4/tcp_diag.c`). Where there were none but listeners
//! and no segment has come in or gone out since, there are none now: every connection begins with one. Of an open
//! connection that would not hold: it may be closed without a segment, while the peer's window is shut.

use std::{collections::HashMap, time::Duration};

use super::{
    evidence::counters::{Counter, Counters},
    netns,
};
use crate::{clock, track::Scope};

/// After so long a namespace is dumped whatever its counters say, one at each census: another one may have got its number
/// and, by chance, its counters.
const TRUSTED: Duration = Duration::from_mins(1);

/// TCP segments that came in and went out so far (`InSegs` and `OutSegs`), of IPv4 and IPv6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segments {
    received: u64,
    sent: u64,
}

impl Segments {
    /// Those of the calling thread's namespace; `None` if the kernel does not say.
    #[must_use]
    pub fn here() -> Option<Self> {
        let mut counters = Counters::default();
        counters.read(&netns::file("snmp").ok()?);
        Some(Self { received: counters.get(Counter::InSegs)?, sent: counters.get(Counter::OutSegs)? })
    }
}

/// The namespaces that had no sockets but listeners when they were dumped last, by their inode numbers.
#[derive(Debug, Default)]
pub struct Quiet {
    last: HashMap<u32, Last>,
    /// The one that this census dumps all the same.
    doubted: Option<u32>,
}

/// The last dump of a namespace.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// Before it.
    segments: Segments,
    scope: Scope,
    /// Monotonic ns.
    at_ns: u64,
}

impl Quiet {
    /// A census begins: forgets the namespaces that are not there any more, and doubts one of the others.
    pub fn census_begins(&mut self, now_ns: u64, is_there: impl Fn(u32) -> bool) {
        self.last.retain(|inum, _| is_there(*inum));
        let oldest = self.last.iter().min_by_key(|(_, last)| last.at_ns);
        let doubted = oldest.filter(|(_, last)| now_ns.saturating_sub(last.at_ns) >= clock::nanos(TRUSTED));
        self.doubted = doubted.map(|(inum, _)| *inum);
    }

    /// Whether a dump of this scope would still show nothing but listeners, by how many segments there have been.
    #[must_use]
    pub fn has(&self, inum: u32, segments: Option<Segments>, scope: Scope) -> bool {
        self.doubted != Some(inum)
            && self
                .last
                .get(&inum)
                .is_some_and(|last| segments == Some(last.segments) && last.scope.covers(scope))
    }

    /// A namespace has been dumped, in which there had been so many segments before.
    pub fn dumped(
        &mut self,
        inum: u32,
        segments: Option<Segments>,
        scope: Scope,
        now_ns: u64,
        showed_only_listeners: bool,
    ) {
        match segments {
            Some(segments) if showed_only_listeners && scope.established => {
                self.last.insert(inum, Last { segments, scope, at_ns: now_ns });
            }
            _ => drop(self.last.remove(&inum)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const SOME: Option<Segments> = Some(Segments { received: 7, sent: 8 });

    fn quiet(scope: Scope, showed_only_listeners: bool) -> Quiet {
        let mut quiet = Quiet::default();
        quiet.dumped(1, SOME, scope, 100 * S, showed_only_listeners);
        quiet
    }

    #[test]
    fn namespace_is_quiet_as_long_as_no_segment_comes_or_goes() {
        let quiet = quiet(Scope::ALL, true);
        assert!(quiet.has(1, SOME, Scope::ALL));
        for segments in
            [None, Some(Segments { received: 8, sent: 8 }), Some(Segments { received: 7, sent: 9 })]
        {
            assert!(!quiet.has(1, segments, Scope::ALL), "{segments:?}");
        }
        assert!(!quiet.has(2, SOME, Scope::ALL), "another one");
    }

    #[test]
    fn dump_that_left_something_out_says_nothing_of_it() {
        let established = Scope { established: true, ..Scope::FEWEST };
        let no_time_wait = quiet(established, true);
        assert!(no_time_wait.has(1, SOME, established) && no_time_wait.has(1, SOME, Scope::FEWEST));
        assert!(!no_time_wait.has(1, SOME, Scope::ALL));
        // An open connection may be closed without a segment.
        assert!(!quiet(Scope::FEWEST, true).has(1, SOME, Scope::FEWEST));
    }

    #[test]
    fn namespace_with_a_connection_is_not_quiet() {
        assert!(!quiet(Scope::ALL, false).has(1, SOME, Scope::ALL));
        let mut was = quiet(Scope::ALL, true);
        was.dumped(1, SOME, Scope::FEWEST, 101 * S, false);
        assert!(!was.has(1, SOME, Scope::FEWEST));
    }

    #[test]
    fn one_is_dumped_again_at_a_time_the_oldest_first() {
        let mut quiet = quiet(Scope::ALL, true);
        quiet.dumped(2, SOME, Scope::ALL, 90 * S, true);
        for (now_s, doubted) in [(149, None), (150, Some(2)), (200, Some(2))] {
            quiet.census_begins(now_s * S, |_| true);
            let known = [1, 2].into_iter().find(|inum| !quiet.has(*inum, SOME, Scope::ALL));
            assert_eq!(known, doubted, "{now_s}");
        }
        quiet.dumped(2, SOME, Scope::ALL, 200 * S, true);
        quiet.census_begins(205 * S, |_| true);
        assert!(quiet.has(2, SOME, Scope::ALL) && !quiet.has(1, SOME, Scope::ALL));
    }

    #[test]
    fn what_has_gone_is_forgotten() {
        let mut quiet = quiet(Scope::ALL, true);
        quiet.census_begins(101 * S, |inum| inum != 1);
        assert!(!quiet.has(1, SOME, Scope::ALL));
    }

    #[test]
    fn this_kernel_says_it() {
        let before = Segments::here().expect("readable");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let stream = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("listens");
        let after = Segments::here().expect("readable");
        assert!(after.received > before.received && after.sent > before.sent, "{before:?} {after:?}");
        drop(stream);
    }
}
