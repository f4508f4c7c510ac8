//! What the kernel side remembers of sockets, until a census shows them. Most are gone before that, and then
//! their notes go too: nobody asked.

use foldhash::HashMap;
use serde::{Deserialize, Serialize};
use tcpstate_common::TcpState;

use super::{
    census::{Row, Scope},
    event::{Opened, Process},
    table,
};

/// How much later than it says a note may have been written, ns: see [`Note::written_ns`].
const LATE_NS: u64 = 200_000_000;
/// Notes that are kept and given up together: those of sockets whose cookies come one after the other, which are
/// about as old as each other.
const SHEET: usize = 512;
/// How long a `TIME_WAIT` lasts, ns, and what a note may be late by.
const TIME_WAIT_NS: u64 = table::TIME_WAIT_NS + LATE_NS;
/// Sheets that are known to have been given up.
const MAX_TORN: usize = 65_536;

/// When a socket entered its state, and who acted on it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Note {
    pub cookie: u64,
    pub state: TcpState,
    /// It is about the mini-socket that stands for the socket.
    pub mini: bool,
    /// Monotonic ns.
    pub entered_ns: u64,
    /// When the kernel side wrote this, monotonic ns: a kernel tick too early at most, and as much more as the
    /// program was held up before it wrote.
    pub written_ns: u64,
    /// The process that last connected, shut down or closed it.
    pub actor: Option<Process>,
    /// How the connection came to be.
    pub opened: Option<Opened>,
}

/// A note, without what its place says. There may be millions, in memory that is new to this process, so every byte
/// counts.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
struct Line {
    entered_ns: u64,
    /// See [`Opened::pack`].
    opened: u32,
    /// Who acted: the index among the sheet's actors, plus one; 0 for nobody who is known.
    actor: u16,
    /// `None` where nothing stands.
    state: Option<TcpState>,
    mini: bool,
}

impl Line {
    const EMPTY: Self = Self { entered_ns: 0, opened: 0, actor: 0, state: None, mini: false };
}

/// What a census learns from a note.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    /// Monotonic ns; `None` for a `TIME_WAIT` whose note is about the `FIN_WAIT2` that it came from.
    pub(super) entered_ns: Option<u64>,
    pub(super) actor: Option<Process>,
    pub(super) opened: Option<Opened>,
}

#[derive(Debug)]
struct Sheet {
    /// When the newest of its notes was written, monotonic ns.
    written_ns: u64,
    lines: Box<[Line]>,
    /// Those who acted; who did first, comes first.
    actors: Vec<Process>,
}

impl Sheet {
    fn blank() -> Self {
        Self { written_ns: 0, lines: vec![Line::EMPTY; SHEET].into_boxed_slice(), actors: Vec::new() }
    }

    fn write(&mut self, line: usize, note: &Note) {
        self.written_ns = self.written_ns.max(note.written_ns);
        let actor = note.actor.map_or(0, |actor| self.number(actor));
        let opened = Opened::pack(note.opened, note.entered_ns);
        self.lines[line] =
            Line { entered_ns: note.entered_ns, opened, actor, state: Some(note.state), mini: note.mini };
    }

    /// Takes what stands there, if it is about the state in which the socket is. A `FIN_WAIT2` mini-socket becomes a
    /// `TIME_WAIT` without any event (`tcp_timewait_state_process`, `net/ipv4/tcp_minisocks.c`): whoever closed the one
    /// has closed the other.
    fn take(&mut self, line: usize, row: &Row) -> Option<Noted> {
        let Line { entered_ns, opened, actor, state, mini } = self.lines[line];
        let same = state == Some(row.state);
        let became = (state, row.state) == (Some(TcpState::FinWait2), TcpState::TimeWait);
        if mini != row.is_mini() || !(same || became && mini) {
            return None;
        }
        self.lines[line] = Line::EMPTY;
        Some(Noted {
            entered_ns: same.then_some(entered_ns),
            actor: self.actor(actor),
            opened: Opened::unpack(opened, entered_ns),
        })
    }

    /// Connections that come one after the other are mostly one process's.
    fn number(&mut self, actor: Process) -> u16 {
        let known = self.actors.iter().rposition(|known| *known == actor);
        let index = known.unwrap_or_else(|| {
            self.actors.push(actor);
            self.actors.len() - 1
        });
        // Where there are more, nobody is known to have acted.
        u16::try_from(index + 1).unwrap_or(0)
    }

    fn actor(&self, number: u16) -> Option<Process> {
        self.actors.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// The notes: those of mini-sockets, which are or become `TIME_WAIT`, which are many and which not every census asks
/// about, by themselves.
#[derive(Debug)]
pub(super) struct Notes {
    minis: Sheets,
    others: Sheets,
}

impl Notes {
    /// Room for the notes of so many sockets that came one after the other, and for those of a few hundred at least:
    /// of mini-sockets, and of others.
    pub(super) fn new(max: usize) -> Self {
        Self { minis: Sheets::new(max, Some(TIME_WAIT_NS)), others: Sheets::new(max, None) }
    }

    fn of(&mut self, mini: bool) -> &mut Sheets {
        if mini { &mut self.minis } else { &mut self.others }
    }

    /// Sockets that a census has shown after their notes had been given up for want of room, so far.
    pub(super) fn missed(&self) -> u64 {
        self.minis.missed + self.others.missed
    }

    /// Keeps a note; a newer one about the same socket takes the place of the older one.
    pub(super) fn add(&mut self, note: &Note) {
        self.of(note.mini).add(note);
    }

    /// Takes the note about a socket that a census shows, if it is about the state in which that one is. `new`: no
    /// census has shown it before.
    pub(super) fn take(&mut self, row: &Row, new: bool) -> Option<Noted> {
        self.of(row.is_mini()).take(row, new)
    }

    /// Forgets a socket.
    pub(super) fn forget(&mut self, cookie: u64) {
        self.minis.forget(cookie);
        self.others.forget(cookie);
    }

    /// Forgets what was written before a census began, which should have shown those sockets. A note that stays a
    /// little longer does no harm: no socket enters a state twice.
    pub(super) fn forget_before(&mut self, started_ns: u64, scope: Scope) {
        self.others.forget_before(started_ns);
        if scope.time_wait {
            self.minis.forget_before(started_ns);
        }
    }
}

/// Notes by cookie: cookies are given out in a row, so that notes taken together lie together.
#[derive(Debug)]
struct Sheets {
    by_number: HashMap<u64, Sheet>,
    /// Sheets at most.
    max: usize,
    /// How long what they are about lasts at most, ns, if that is known.
    lasting_ns: Option<u64>,
    /// No sheet is given up before, monotonic ns.
    full_until_ns: u64,
    /// The sheets that were given up for want of room, and when the newest of their notes was written.
    torn: HashMap<u64, u64>,
    missed: u64,
}

/// The sheet on which a socket stands, and the line.
fn place(cookie: u64) -> (u64, usize) {
    let line = cookie % SHEET as u64;
    (cookie / SHEET as u64, usize::try_from(line).unwrap_or_default())
}

impl Sheets {
    /// Where there is no more room, the oldest are given up; the newest, as long as what the oldest are about may still
    /// last. A namespace that has as many `TIME_WAIT` as it may have makes no more: those there are, are the oldest.
    fn new(max: usize, lasting_ns: Option<u64>) -> Self {
        Self {
            by_number: HashMap::default(),
            max: max.div_ceil(SHEET),
            lasting_ns,
            full_until_ns: 0,
            torn: HashMap::default(),
            missed: 0,
        }
    }

    fn add(&mut self, note: &Note) {
        let (number, line) = place(note.cookie);
        let full = self.by_number.len() >= self.max && !self.by_number.contains_key(&number);
        if full && !self.make_room(note.written_ns) {
            self.give_up(number, note.written_ns);
            return;
        }
        self.by_number.entry(number).or_insert_with(Sheet::blank).write(line, note);
    }

    /// Gives up the oldest sheet, unless what it is about may still last.
    fn make_room(&mut self, now_ns: u64) -> bool {
        if now_ns < self.full_until_ns {
            return false;
        }
        let oldest = self.by_number.iter().min_by_key(|(_, sheet)| sheet.written_ns);
        let Some((number, written_ns)) = oldest.map(|(number, sheet)| (*number, sheet.written_ns)) else {
            return true;
        };
        self.full_until_ns = self.lasting_ns.map_or(0, |lasting_ns| written_ns.saturating_add(lasting_ns));
        if now_ns < self.full_until_ns {
            return false;
        }
        self.by_number.remove(&number);
        self.give_up(number, written_ns);
        true
    }

    fn give_up(&mut self, number: u64, written_ns: u64) {
        if self.torn.len() < MAX_TORN {
            self.torn.insert(number, written_ns);
        }
    }

    fn take(&mut self, row: &Row, new: bool) -> Option<Noted> {
        let (number, line) = place(row.cookie);
        let noted = self.by_number.get_mut(&number).and_then(|sheet| sheet.take(line, row));
        let notable = row.is_mini() || row.state.parks();
        self.missed += u64::from(noted.is_none() && new && notable && self.torn.contains_key(&number));
        noted
    }

    fn forget(&mut self, cookie: u64) {
        let (number, line) = place(cookie);
        if let Some(sheet) = self.by_number.get_mut(&number) {
            sheet.lines[line] = Line::EMPTY;
        }
    }

    fn forget_before(&mut self, started_ns: u64) {
        let keep_ns = started_ns.saturating_sub(LATE_NS);
        self.by_number.retain(|_, sheet| sheet.written_ns >= keep_ns);
        self.torn.retain(|_, written_ns| *written_ns >= keep_ns);
        self.full_until_ns = 0;
        self.by_number.shrink_to(2 * self.by_number.len());
        self.torn.shrink_to(2 * self.torn.len());
    }
}
