//! The connection table, keyed by the socket's cookie. A census says what exists; events say since when,
//! and who acted. An event that is told late does not bring a socket back.

use std::collections::{BTreeSet, VecDeque};

use foldhash::{HashMap, HashSet};
use tcpstate_common::{Dwell, TcpState, state::STATE_SLOTS};

use super::{
    census::{Row, Scope, Tally, Timer},
    event::{Actor, Opened, Process, Transition, Tuple},
    notes::{Note, Noted, Notes},
    places::Places,
    sockets::Sockets,
};

/// How long a socket that has ended is remembered at least, so that late events about it are known to be late. Events
/// wait for less than a second in the rings.
const TOMBSTONE_NS: u64 = 5_000_000_000;
/// How long a `TIME_WAIT` lasts, ns (`TCP_TIMEWAIT_LEN`, `include/net/tcp.h`).
pub(super) const TIME_WAIT_NS: u64 = 60_000_000_000;
/// Tombstones kept at most; beyond it the oldest go first.
const MAX_TOMBSTONES: usize = 65_536;

/// How many times as much room as is in use may be kept.
pub(super) const SPARE: usize = 4;

/// Since when a socket has been in its state, monotonic ns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Since {
    /// It entered then.
    Exactly(u64),
    /// It was already there then: it is older than the daemon, or no event told of it.
    AtLatest(u64),
}

impl Since {
    /// The time, whichever it is.
    #[must_use]
    pub fn ns(self) -> u64 {
        match self {
            Self::Exactly(ns) | Self::AtLatest(ns) => ns,
        }
    }
}

/// One socket.
#[derive(Clone, Debug)]
pub struct Socket {
    pub cookie: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    pub tuple: Tuple,
    pub state: TcpState,
    pub since: Since,
    pub timer: Timer,
    pub retransmits: u8,
    /// See [`Row::rqueue`].
    pub rqueue: u32,
    /// See [`Row::wqueue`].
    pub wqueue: u32,
    /// See [`Row::uid`].
    pub uid: Option<u32>,
    /// See [`Row::inode`].
    pub inode: u32,
    /// The process that last acted on it: connected, shut down or closed it; for a listener the one that made it listen.
    pub actor: Option<Process>,
    /// How the connection came to be, if that was seen.
    pub opened: Option<Opened>,
}

impl Socket {
    /// Time in its state, ms; at least that if [`Since::AtLatest`].
    #[must_use]
    pub fn age_ms(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.since.ns()) / 1_000_000
    }
}

/// The table.
#[derive(Debug)]
pub struct Table {
    sockets: Sockets,
    places: Places,
    /// The highest cookie that there ever was here, of those that count up. Cookies are given out in order, so that most
    /// sockets that come and go between two censuses are known to be none of these without a search. A few count down from
    /// 2^64 - 1 (`include/linux/cookie.h`).
    newest: u64,
    counts: [usize; STATE_SLOTS],
    /// The cookies of those that park, by state: so that they are found at once, among however many others.
    parked: [BTreeSet<u64>; STATE_SLOTS],
    /// Where the search for a socket that may go was ended last.
    hand: usize,
    /// The number of the census that is being taken, or was last.
    census: u8,
    /// The namespaces that the last census did not visit.
    unvisited: HashSet<u32>,
    /// Whatever a census has shown in `TIME_WAIT` entered that state until then, monotonic ns: a note of one that did so
    /// later is about none of these, which is known without a search.
    time_waits_until_ns: u64,
    /// When the first census began, monotonic ns.
    begun_ns: Option<u64>,
    /// `TIME_WAIT` shown by this census for the first time, whose note should be there and is not yet.
    without_note: Vec<u64>,
    /// The same, for which none came either.
    unnoted: u64,
    ended: HashMap<u64, u64>,
    ended_order: VecDeque<(u64, u64)>,
    max_sockets: usize,
    refused: u64,
    /// How many sockets of each state had no room, since the last census that shows that state began; and the same as of
    /// the end of a census.
    without_room: [u64; STATE_SLOTS],
    missing: u64,
    late_events: u64,
    dwell: [Dwell; STATE_SLOTS],
}

impl Table {
    /// An empty table for at most `max_sockets`.
    #[must_use]
    pub fn new(max_sockets: usize) -> Self {
        Self {
            sockets: Sockets::default(),
            places: Places::default(),
            newest: 0,
            counts: [0; STATE_SLOTS],
            parked: Default::default(),
            hand: 0,
            census: 0,
            unvisited: HashSet::default(),
            time_waits_until_ns: 0,
            begun_ns: None,
            without_note: Vec::new(),
            unnoted: 0,
            ended: HashMap::default(),
            ended_order: VecDeque::new(),
            max_sockets,
            refused: 0,
            without_room: [0; STATE_SLOTS],
            missing: 0,
            late_events: 0,
            dwell: [Dwell::default(); STATE_SLOTS],
        }
    }

    /// Every socket, in no order.
    pub(super) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// One socket.
    #[must_use]
    pub fn get(&self, cookie: u64) -> Option<Socket> {
        self.place(cookie).map(|place| self.sockets.at(place))
    }

    fn place(&self, cookie: u64) -> Option<usize> {
        let is_newer = cookie > self.newest && counts_up(cookie);
        if is_newer { None } else { self.places.get(cookie, self.sockets.packed()) }
    }

    /// The cookies of the sockets in a state that parks; `None` for another state.
    #[must_use]
    pub fn parked(&self, state: TcpState) -> Option<&BTreeSet<u64>> {
        state.parks().then(|| &self.parked[state.index()])
    }

    /// Sockets in one state.
    #[must_use]
    pub fn count(&self, state: TcpState) -> usize {
        self.counts[state.index()]
    }

    /// Sockets in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Sockets for which there was no room, so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Sockets that exist and are not here for lack of room, as of the last census.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Events about sockets that had already ended, so far.
    #[must_use]
    pub fn late_events(&self) -> u64 {
        self.late_events
    }

    /// Sockets in `TIME_WAIT` that began after the first census, and of which nobody said who closed them.
    #[must_use]
    pub fn unnoted(&self) -> u64 {
        self.unnoted
    }

    /// See [`super::Tracker::dwell`].
    #[must_use]
    pub fn dwell(&self) -> &[Dwell; STATE_SLOTS] {
        &self.dwell
    }

    /// Takes in a change of state, and completes it.
    pub fn transition(&mut self, event: &mut Transition) {
        let Some(cookie) = event.cookie else { return };
        self.forget_tombstones(event.at_ns);
        let known = self.get(cookie);
        if let Some(socket) = &known {
            self.complete(socket, event);
        }
        if event.to == TcpState::Close {
            self.end(cookie, event.at_ns);
            return;
        }
        if self.ended.get(&cookie).is_some_and(|ended_ns| *ended_ns >= event.at_ns) {
            self.late_events += 1;
            return;
        }
        let actor = event.actor.map(|actor| actor.process);
        match known {
            Some(mut socket) if socket.since.ns() > event.at_ns => match socket.since {
                Since::Exactly(_) => self.late_events += 1,
                Since::AtLatest(_) => {
                    catch_up(&mut socket, event, actor);
                    self.put(&socket);
                }
            },
            Some(mut socket) => {
                socket.tuple = event.tuple;
                socket.actor = actor.or(socket.actor);
                if !is_hand_over(event) {
                    socket.state = event.to;
                    socket.since = Since::Exactly(event.at_ns);
                }
                if event.inferred {
                    become_mini(&mut socket);
                }
                self.put(&socket);
            }
            None => {
                let mut socket = Socket {
                    cookie,
                    netns: event.netns,
                    tuple: event.tuple,
                    state: event.to,
                    since: Since::Exactly(entered_ns(event)),
                    timer: Timer::None,
                    retransmits: 0,
                    rqueue: 0,
                    wqueue: 0,
                    uid: None,
                    inode: 0,
                    actor,
                    opened: None,
                };
                if event.inferred {
                    become_mini(&mut socket);
                }
                self.put(&socket);
            }
        }
    }

    /// What the kernel side has handed over it does not know any more: since when a socket was in the state that
    /// it leaves, and who acted on it before.
    fn complete(&mut self, socket: &Socket, event: &mut Transition) {
        if event.entered_ns.is_some() || !event.from.parks() || socket.state != event.from {
            return;
        }
        event.actor = event.actor.or(socket.actor.map(|process| Actor { process, carried: true }));
        if let Since::Exactly(entered_ns) = socket.since
            && entered_ns <= event.at_ns
        {
            event.entered_ns = Some(entered_ns);
            if event.from != event.to {
                self.dwell[event.from.index()].count(event.at_ns - entered_ns);
            }
        }
    }

    /// Takes in who acted on a socket, which stays in its state.
    pub(super) fn acted(&mut self, cookie: u64, process: Option<Process>) {
        if let Some(mut socket) = self.get(cookie) {
            socket.actor = process.or(socket.actor);
            self.put(&socket);
        }
    }

    /// Takes in what the kernel side remembers of a socket. Returns whether the socket is in the table, in the
    /// state that the note is about, or in the `TIME_WAIT` that a `FIN_WAIT2` mini-socket became.
    pub(super) fn note(&mut self, note: &Note) -> bool {
        if note.state == TcpState::TimeWait && note.written_ns > self.time_waits_until_ns {
            return false;
        }
        let Some(mut socket) = self.get(note.cookie) else { return false };
        let is_mini = socket.timer == Timer::TimeWait;
        let became = (note.state, socket.state) == (TcpState::FinWait2, TcpState::TimeWait);
        if is_mini != note.mini || !(socket.state == note.state || became && is_mini) {
            return false;
        }
        if !became {
            socket.since = Since::Exactly(note.entered_ns);
        }
        socket.actor = note.actor.or(socket.actor);
        socket.opened = socket.opened.or(note.opened);
        self.put(&socket);
        true
    }

    /// Forgets a socket that has ended, and remembers that it has. Returns what was known of it.
    pub fn end(&mut self, cookie: u64, at_ns: u64) -> Option<Socket> {
        self.ended.insert(cookie, at_ns);
        self.ended_order.push_back((at_ns, cookie));
        self.place(cookie).map(|place| self.remove(place))
    }

    /// A census begins.
    pub(super) fn census_begins(&mut self, scope: Scope) {
        self.census = self.census.wrapping_add(1);
        for state in scope.states() {
            self.without_room[state.index()] = 0;
        }
        if scope.time_wait {
            self.time_waits_until_ns = u64::MAX;
        }
    }

    /// Takes in a socket that a census shows, unless an event told of it after the census began.
    pub(super) fn census_shows(&mut self, row: &Row, started_ns: u64, now_ns: u64, notes: &mut Notes) {
        if self.ended.get(&row.cookie).is_some_and(|ended_ns| *ended_ns >= started_ns) {
            return;
        }
        let place = self.place(row.cookie);
        let before = place.map(|place| self.sockets.at(place));
        let note = notes.take(row, before.is_none());
        let begun_ns = *self.begun_ns.get_or_insert(started_ns);
        if note.is_none() && before.is_none() && time_wait_since(row, now_ns).is_some_and(|ns| ns > begun_ns)
        {
            self.without_note.push(row.cookie);
        }
        let socket = merge(row, before, note, started_ns, now_ns);
        let place = match place {
            Some(place) => {
                self.replace(place, &socket);
                Some(place)
            }
            None => self.insert(&socket),
        };
        if let Some(place) = place {
            self.sockets.see(place, self.census);
        }
    }

    /// Forgets the sockets that a census should have shown and has not. A `FIN_WAIT2` mini-socket may have become a
    /// `TIME_WAIT`, of which there is no event: where the census has not asked about those, it stays known who closed.
    ///
    /// A namespace that was not visited keeps its sockets, and counts as it was; only mini-sockets are over in time. At the
    /// first visit after that a socket is still not forgotten if it is missed: the second says it. Returns how many
    /// mini-sockets were counted that were not shown.
    pub(super) fn census_ends(
        &mut self,
        tally: &mut Tally,
        started_ns: u64,
        finished_ns: u64,
        notes: &mut Notes,
        unvisited: &[u32],
    ) -> u64 {
        let scope = tally.scope;
        self.forget_tombstones(started_ns.min(finished_ns.saturating_sub(TOMBSTONE_NS)));
        if scope.time_wait {
            self.time_waits_until_ns = finished_ns;
        }
        for cookie in std::mem::take(&mut self.without_note) {
            let socket = self.get(cookie).filter(|socket| socket.state == TcpState::TimeWait);
            let nothing_known = |socket: Socket| {
                matches!(socket.since, Since::AtLatest(_))
                    && socket.actor.is_none()
                    && socket.opened.is_none()
            };
            self.unnoted += u64::from(socket.is_some_and(nothing_known));
        }
        let unsettled = std::mem::replace(&mut self.unvisited, unvisited.iter().copied().collect());
        let mut kept_minis = 0;
        for place in (0..self.sockets.len()).rev() {
            let packed = &self.sockets.packed()[place];
            if packed.seen == self.census || !scope.has(packed.state()) || packed.since_ns() >= started_ns {
                continue;
            }
            let is_unvisited = self.unvisited.contains(&packed.netns());
            if is_unvisited || unsettled.contains(&packed.netns()) {
                let socket = self.sockets.at(place);
                let is_mini = socket.timer == Timer::TimeWait;
                let ends_ns = is_mini.then(|| socket.since.ns().saturating_add(TIME_WAIT_NS));
                if ends_ns.is_none_or(|ends_ns| ends_ns > finished_ns) {
                    if is_unvisited {
                        kept_minis += u64::from(is_mini);
                        tally.count(socket.tuple.family, socket.state, ends_ns);
                    }
                    continue;
                }
            }
            let gone = self.remove(place);
            if gone.timer == Timer::TimeWait && gone.state == TcpState::FinWait2 && !scope.time_wait {
                notes.add(&Note {
                    cookie: gone.cookie,
                    state: gone.state,
                    mini: true,
                    entered_ns: gone.since.ns(),
                    written_ns: finished_ns,
                    actor: gone.actor,
                    opened: gone.opened,
                });
            }
        }
        self.missing = self.without_room.iter().sum();
        self.give_back();
        kept_minis
    }

    /// Frees the room of sockets that are gone, where they were most.
    fn give_back(&mut self) {
        self.sockets.give_back();
        self.places.give_back(self.sockets.packed());
        if self.ended.capacity() > SPARE * self.ended.len() {
            self.ended.shrink_to(2 * self.ended.len());
            self.ended_order.shrink_to(2 * self.ended_order.len());
        }
    }

    /// Puts a socket where it was, or makes room for it.
    fn put(&mut self, socket: &Socket) {
        match self.place(socket.cookie) {
            Some(place) => self.replace(place, socket),
            None => drop(self.insert(socket)),
        }
    }

    fn replace(&mut self, place: usize, socket: &Socket) {
        let old = self.sockets.packed()[place].state();
        self.sockets.replace(place, socket);
        if old != socket.state {
            self.count_out(socket.cookie, old);
            self.count_in(socket.cookie, socket.state);
        }
    }

    /// Returns the place, or nothing where there is no room.
    fn insert(&mut self, socket: &Socket) -> Option<usize> {
        if !self.make_room(importance(socket.state)) {
            self.without_room[socket.state.index()] += 1;
            return None;
        }
        if counts_up(socket.cookie) {
            self.newest = self.newest.max(socket.cookie);
        }
        self.sockets.push_seen(socket, self.census.wrapping_sub(1));
        self.places.pushed(self.sockets.packed());
        self.count_in(socket.cookie, socket.state);
        Some(self.sockets.len() - 1)
    }

    fn remove(&mut self, place: usize) -> Socket {
        self.places.swap_removes(place, self.sockets.packed());
        let socket = self.sockets.swap_remove(place);
        self.count_out(socket.cookie, socket.state);
        socket
    }

    fn count_in(&mut self, cookie: u64, state: TcpState) {
        self.counts[state.index()] += 1;
        if state.parks() {
            self.parked[state.index()].insert(cookie);
        }
    }

    fn count_out(&mut self, cookie: u64, state: TcpState) {
        self.counts[state.index()] -= 1;
        if state.parks() {
            self.parked[state.index()].remove(&cookie);
        }
    }

    /// Where room is short, listeners come first, then sockets that park, then `TIME_WAIT`, then the rest: one of those that
    /// come last has to go. Returns whether there is room for a socket of this importance.
    fn make_room(&mut self, class: usize) -> bool {
        if self.sockets.len() < self.max_sockets {
            return true;
        }
        self.refused += 1;
        let Some(last) = (class + 1..CLASSES).rev().find(|class| self.has_class(*class)) else {
            return false;
        };
        loop {
            self.hand = (self.hand + 1) % self.sockets.len();
            let state = self.sockets.packed()[self.hand].state();
            if importance(state) == last {
                self.without_room[state.index()] += 1;
                self.remove(self.hand);
                return true;
            }
        }
    }

    fn has_class(&self, class: usize) -> bool {
        TcpState::ALL.iter().any(|state| importance(*state) == class && self.count(*state) > 0)
    }

    /// Forgets the sockets that ended before this time. The next census begins later, and shows none of them.
    fn forget_tombstones(&mut self, before_ns: u64) {
        while let Some((at_ns, cookie)) = self.ended_order.front().copied() {
            if self.ended_order.len() <= MAX_TOMBSTONES && at_ns >= before_ns {
                break;
            }
            self.ended_order.pop_front();
            if self.ended.get(&cookie) == Some(&at_ns) {
                self.ended.remove(&cookie);
            }
        }
    }
}

/// Whether a cookie is one of those that count up: those that count down have their highest bit set.
fn counts_up(cookie: u64) -> bool {
    cookie.leading_zeros() > 0
}

/// Takes in an event that a census has overtaken: the census saw where the socket came to, and the event, told
/// only afterwards, says when and who. An earlier step only says who.
fn catch_up(socket: &mut Socket, event: &Transition, actor: Option<Process>) {
    socket.actor = socket.actor.or(actor);
    if event.to == socket.state {
        socket.since = Since::Exactly(entered_ns(event));
    }
}

/// A mini-socket in `FIN_WAIT2` goes on in the state that its socket was in.
fn is_hand_over(event: &Transition) -> bool {
    event.inferred && event.from == event.to
}

/// When the socket entered the state in which the event leaves it, monotonic ns.
fn entered_ns(event: &Transition) -> u64 {
    event.entered_ns.filter(|_| is_hand_over(event)).unwrap_or(event.at_ns)
}

fn become_mini(socket: &mut Socket) {
    socket.timer = Timer::TimeWait;
    socket.uid = None;
    socket.inode = 0;
    socket.rqueue = 0;
    socket.wqueue = 0;
}

/// How many classes [`importance`] knows.
const CLASSES: usize = 4;

/// 0 goes last.
fn importance(state: TcpState) -> usize {
    if state == TcpState::Listen {
        0
    } else if state.parks() {
        1
    } else if state == TcpState::TimeWait {
        2
    } else {
        3
    }
}

/// When a `TIME_WAIT` began, by its timer: it may have been set again since, by a packet that came late.
fn time_wait_since(row: &Row, now_ns: u64) -> Option<u64> {
    let left_ns = u64::from(row.expires_ms) * 1_000_000;
    let is_known = row.state == TcpState::TimeWait && row.is_mini() && left_ns > 0;
    is_known.then(|| now_ns.saturating_sub(TIME_WAIT_NS.saturating_sub(left_ns)))
}

fn merge(row: &Row, before: Option<Socket>, note: Option<Noted>, started_ns: u64, now_ns: u64) -> Socket {
    // An event after the census began is newer than the census.
    let before = match before {
        Some(known) if known.state != row.state && known.since.ns() >= started_ns => return known,
        before => before,
    };
    let same = before.as_ref().filter(|known| known.state == row.state);
    let since = match (note.and_then(|note| note.entered_ns), same) {
        (Some(entered_ns), _) => Since::Exactly(entered_ns),
        (None, Some(known)) => known.since,
        (None, None) => {
            Since::AtLatest(time_wait_since(row, now_ns).map_or(started_ns, |ns| ns.min(started_ns)))
        }
    };
    let opened = before.as_ref().and_then(|known| known.opened);
    Socket {
        cookie: row.cookie,
        netns: row.netns,
        tuple: row.tuple,
        state: row.state,
        since,
        timer: row.timer,
        retransmits: row.retransmits,
        rqueue: row.rqueue,
        wqueue: row.wqueue,
        uid: row.uid,
        inode: row.inode,
        actor: note.and_then(|note| note.actor).or(before.and_then(|known| known.actor)),
        opened: opened.or(note.and_then(|note| note.opened)),
    }
}
