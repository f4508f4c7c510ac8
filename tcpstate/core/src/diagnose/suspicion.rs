//! What the rules suspect: a finding without those parts that only time and the other suspicions tell.

use std::net::SocketAddr;

use super::{
    class::Class,
    finding::{Resource, Sample, Subject},
    harm::Harm,
    program::{self, Member, ProgramId},
};

/// What makes trouble the same trouble at the next pass.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    pub(super) class: Class,
    pub(super) netns: u32,
    pub(super) program: ProgramId,
    /// The listener, or the peer: whichever the class is about.
    pub(super) place: Option<SocketAddr>,
}

impl Key {
    /// The finding's id: the same whenever it is the same trouble, after a restart of the daemon or the program too.
    pub(super) fn id(&self) -> String {
        let text = format!("{} {:x} {:?}", self.netns, self.program, self.place);
        format!("{}-{:016x}", self.class.name(), program::hash(text.bytes()))
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    pub(super) key: Key,
    /// The key under which its count is remembered, for its trend.
    pub(super) series: Key,
    /// `None`: not worth a word. Its count is remembered all the same.
    pub(super) harm: Option<Harm>,
    /// Another suspicion is its cause, and tells it.
    pub(super) is_told_inside: bool,
    pub(super) subject: Subject,
    /// The processes that it is about, the one with most first.
    pub(super) members: Vec<Member>,
    pub(super) since_ns: u64,
    pub(super) count: u64,
    /// How many of these were added when its effects were known: its trend is measured without them.
    pub(super) added: u64,
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
    /// One about which nothing is known yet but what makes it the same at the next pass.
    pub(super) fn new(key: Key, since_ns: u64, count: u64) -> Self {
        Self {
            key,
            series: key,
            harm: None,
            is_told_inside: false,
            subject: Subject { netns: (key.netns != 0).then_some(key.netns), ..Subject::default() },
            members: Vec::new(),
            since_ns,
            count,
            added: 0,
            limit: None,
            verdict: String::new(),
            remedy: String::new(),
            evidence: Vec::new(),
            cannot_see: Vec::new(),
            sockets: Vec::new(),
            cookies: Vec::new(),
            is_of_events: false,
            tells_trend: false,
        }
    }

    /// Whether it is about somebody at another host, known by the address alone.
    pub(super) fn is_of_a_peer(&self) -> bool {
        self.key.class == Class::WriteAfterFin && self.key.place.is_some_and(|place| place.port() == 0)
    }

    /// Whether it would be told.
    pub(super) fn is_told(&self) -> bool {
        self.harm.is_some()
    }

    /// The count that its trend is measured by.
    pub(super) fn trend_count(&self) -> u64 {
        self.count.saturating_sub(self.added)
    }

    /// Its cause has been found, and tells it.
    pub(super) fn tell_inside(&mut self) {
        self.harm = None;
        self.is_told_inside = true;
    }

    /// Whether it would be more than an info: somebody is harmed.
    pub(super) fn is_harmful(&self) -> bool {
        self.harm.as_ref().is_some_and(|harm| !matches!(harm, Harm::NoneSeen(_)))
    }

    /// Takes in another one that is the same trouble, and is not told by itself then.
    pub(super) fn absorb(&mut self, other: Self) {
        if !self.is_harmful() && other.is_harmful() {
            self.harm = other.harm;
        }
        self.since_ns = self.since_ns.min(other.since_ns);
        self.evidence.extend(other.evidence);
        self.cookies.extend(other.cookies);
        self.members = program::members(self.members.drain(..).chain(other.members));
    }
}
