//! What the kernel side remembers of sockets, until a census shows them. Most are gone before that, and then
//! their notes go too: nobody asked.

use std::collections::HashMap;

use tcpstate_common::TcpState;

use super::{census::Row, event::Process};

/// When a socket entered its state, and who acted on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Note {
    pub cookie: u64,
    pub state: TcpState,
    /// It is about the mini-socket that stands for the socket.
    pub mini: bool,
    /// Monotonic ns.
    pub entered_ns: u64,
    /// When the kernel side wrote this, monotonic ns: exact to a few milliseconds.
    pub written_ns: u64,
    /// The process that last connected, shut down or closed it.
    pub actor: Option<Process>,
}

impl Note {
    fn is_about(&self, row: &Row) -> bool {
        self.state == row.state && self.mini == row.is_mini()
    }
}

/// The notes, by cookie.
#[derive(Debug)]
pub(super) struct Notes {
    by_cookie: HashMap<u64, Note>,
    max: usize,
    refused: u64,
}

impl Notes {
    /// Room for at most `max`.
    pub(super) fn new(max: usize) -> Self {
        Self { by_cookie: HashMap::new(), max, refused: 0 }
    }

    /// Notes for which there was no room, so far.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Keeps a note; a newer one about the same socket takes the place of the older one.
    pub(super) fn add(&mut self, note: Note) {
        if self.by_cookie.len() >= self.max && !self.by_cookie.contains_key(&note.cookie) {
            self.refused += 1;
        } else {
            self.by_cookie.insert(note.cookie, note);
        }
    }

    /// Takes the note about a socket that a census shows, if it is about the state in which that one is.
    pub(super) fn take(&mut self, row: &Row) -> Option<Note> {
        if self.by_cookie.get(&row.cookie)?.is_about(row) { self.by_cookie.remove(&row.cookie) } else { None }
    }

    /// Forgets a socket.
    pub(super) fn forget(&mut self, cookie: u64) {
        self.by_cookie.remove(&cookie);
    }

    /// Forgets what was written before a census began, which should have shown those sockets.
    pub(super) fn forget_before(&mut self, started_ns: u64) {
        self.by_cookie.retain(|_, note| note.written_ns >= started_ns);
        if self.by_cookie.capacity() > 4 * self.by_cookie.len() {
            self.by_cookie.shrink_to(2 * self.by_cookie.len());
        }
    }
}
