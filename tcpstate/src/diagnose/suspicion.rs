//! What a rule hands to the store: a finding without those parts that only time tells.

use std::net::SocketAddr;

use super::{
    class::Class,
    finding::{Resource, Sample, Severity, Subject},
};

/// What makes trouble the same trouble at the next pass.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    pub(super) class: Class,
    pub(super) netns: u32,
    /// 0 where nobody can be named.
    pub(super) pid: u32,
    /// With the pid it names a process for good; 0 where that is not known.
    pub(super) start_boottime_ns: u64,
    /// The listener, or the peer: whichever the class is about.
    pub(super) place: Option<SocketAddr>,
}

impl Key {
    /// The finding's id: the same whenever it is the same trouble, after a restart of the daemon too.
    pub(super) fn id(&self) -> String {
        // FNV-1a (RFC draft-eastlake-fnv): a hash that will not change with the compiler.
        let text = format!("{} {} {} {:?}", self.netns, self.pid, self.start_boottime_ns, self.place);
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{}-{hash:016x}", self.class.name())
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    pub(super) key: Key,
    /// `None`: not worth a word yet, but its count is remembered, so that a trend is known when it is.
    pub(super) severity: Option<Severity>,
    pub(super) subject: Subject,
    pub(super) since_ns: u64,
    pub(super) count: u64,
    /// What is being used up: how much of it, and how much there is.
    pub(super) limit: Option<(Resource, u64, u64)>,
    /// The sentence, without full stop; the store adds trend and deadline.
    pub(super) verdict: String,
    /// The sentence, with full stop.
    pub(super) remedy: String,
    pub(super) evidence: Vec<String>,
    pub(super) cannot_see: Vec<String>,
    pub(super) sockets: Vec<Sample>,
    /// The cookies of all its sockets, or of many, for telling what has the same cause.
    pub(super) cookies: Vec<u64>,
    /// It is about events, which leave nothing behind: it stays open for longer after the last one.
    pub(super) is_of_events: bool,
    /// Whether the trend belongs into the sentence.
    pub(super) tells_trend: bool,
}

impl Suspicion {
    /// Takes in another one that is the same trouble, and is not told by itself then.
    pub(super) fn absorb(&mut self, other: Self) {
        self.severity = self.severity.max(other.severity);
        self.since_ns = self.since_ns.min(other.since_ns);
        self.evidence.extend(other.evidence);
        self.cookies.extend(other.cookies);
    }
}
