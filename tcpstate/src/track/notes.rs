//! What the kernel side remembers of sockets, until a census shows them. Most are gone before that, and then
//! their notes go too: nobody asked.

use foldhash::HashMap;
use tcpstate_common::TcpState;

use super::{census::Row, event::Process};

/// How much later than it says a note may have been written, ns: see [`Note::written_ns`].
const LATE_NS: u64 = 200_000_000;
/// Notes that are kept and given up together: those of sockets whose cookies come one after the other, which are
/// about as old as each other.
const SHEET: usize = 512;
/// Sheets that are known to have been given up.
const MAX_TORN: usize = 65_536;

/// When a socket entered its state, and who acted on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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
}

/// A note, without what its place says. There may be millions, in memory that is new to this process, so every byte
/// counts.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
struct Line {
    entered_ns: u64,
    /// Who acted: the index among the sheet's actors, plus one; 0 for nobody who is known.
    actor: u16,
    /// `None` where nothing stands.
    state: Option<TcpState>,
    mini: bool,
}

impl Line {
    const EMPTY: Self = Self { entered_ns: 0, actor: 0, state: None, mini: false };
}

/// What a census learns from a note.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    /// Monotonic ns.
    pub(super) entered_ns: u64,
    pub(super) actor: Option<Process>,
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
        self.lines[line] =
            Line { entered_ns: note.entered_ns, actor, state: Some(note.state), mini: note.mini };
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

/// The notes, by cookie: cookies are given out in a row, so that notes taken together lie together.
#[derive(Debug)]
pub(super) struct Notes {
    sheets: HashMap<u64, Sheet>,
    max_sheets: usize,
    /// The sheets that were given up for want of room, and when the newest of their notes was written.
    torn: HashMap<u64, u64>,
    missed: u64,
}

/// The sheet on which a socket stands, and the line.
fn place(cookie: u64) -> (u64, usize) {
    let line = cookie % SHEET as u64;
    (cookie / SHEET as u64, usize::try_from(line).unwrap_or_default())
}

impl Notes {
    /// Room for the notes of so many sockets that came one after the other, and for those of a few hundred at least.
    pub(super) fn new(max: usize) -> Self {
        Self {
            sheets: HashMap::default(),
            max_sheets: max.div_ceil(SHEET),
            torn: HashMap::default(),
            missed: 0,
        }
    }

    /// Sockets that a census has shown after their notes had been given up for want of room, so far.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    /// Keeps a note; a newer one about the same socket takes the place of the older one. Where there is no room the
    /// oldest sheet goes.
    pub(super) fn add(&mut self, note: &Note) {
        let (number, line) = place(note.cookie);
        if self.sheets.len() >= self.max_sheets && !self.sheets.contains_key(&number) {
            self.tear_oldest();
        }
        self.sheets.entry(number).or_insert_with(Sheet::blank).write(line, note);
    }

    fn tear_oldest(&mut self) {
        let oldest = self.sheets.iter().min_by_key(|(_, sheet)| sheet.written_ns);
        let Some((number, written_ns)) = oldest.map(|(number, sheet)| (*number, sheet.written_ns)) else {
            return;
        };
        self.sheets.remove(&number);
        if self.torn.len() < MAX_TORN {
            self.torn.insert(number, written_ns);
        }
    }

    /// Takes the note about a socket that a census shows, if it is about the state in which that one is. `new`: no
    /// census has shown it before.
    pub(super) fn take(&mut self, row: &Row, new: bool) -> Option<Noted> {
        let (number, line) = place(row.cookie);
        let Some(sheet) = self.sheets.get_mut(&number) else {
            let noted = row.is_mini() || row.state.parks();
            self.missed += u64::from(new && noted && self.torn.contains_key(&number));
            return None;
        };
        let Line { entered_ns, actor, state, mini } = sheet.lines[line];
        if state != Some(row.state) || mini != row.is_mini() {
            return None;
        }
        sheet.lines[line] = Line::EMPTY;
        Some(Noted { entered_ns, actor: sheet.actor(actor) })
    }

    /// Forgets a socket.
    pub(super) fn forget(&mut self, cookie: u64) {
        let (number, line) = place(cookie);
        if let Some(sheet) = self.sheets.get_mut(&number) {
            sheet.lines[line] = Line::EMPTY;
        }
    }

    /// Forgets what was written before a census of all that there are notes of began, which should have shown those
    /// sockets. A note that stays a
    /// little longer does no harm: no socket enters a state twice.
    pub(super) fn forget_before(&mut self, started_ns: u64) {
        let keep_ns = started_ns.saturating_sub(LATE_NS);
        self.sheets.retain(|_, sheet| sheet.written_ns >= keep_ns);
        self.torn.retain(|_, written_ns| *written_ns >= keep_ns);
        self.sheets.shrink_to(2 * self.sheets.len());
        self.torn.shrink_to(2 * self.torn.len());
    }
}
