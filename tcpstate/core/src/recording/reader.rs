//! Reads a recording.

use std::{
    collections::{HashSet, VecDeque},
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

use flate2::read::GzDecoder;
use thiserror::Error;

use super::{
    delta::Memory,
    input::Input,
    line::{Header, Held, HoldersLine, Line, PassLine, VERSION},
};
use crate::{
    diagnose::{
        Collected,
        evidence::{Listener, Namespace, Process, TcpInfo},
    },
    track::{Holder, Holders, Key, Row, Scope},
};

/// The longest line that is read, bytes: what half a million sockets take.
const MAX_LINE: u64 = 512 << 20;

/// Why a recording cannot be read.
#[derive(Debug, Error)]
pub enum Error {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is no recording of tcpstate: it has to be what `tcpstate record` wrote")]
    NoRecording,
    #[error("it is of version {0}, and this tcpstate reads up to {VERSION}: use a newer one")]
    TooNew(u32),
    #[error("line {line} makes no sense: {why}")]
    Malformed { line: u64, why: serde_json::Error },
}

/// See the module. Gives the inputs one after the other.
pub struct Reader<R: Read> {
    lines: BufReader<GzDecoder<R>>,
    number: u64,
    header: Header,
    cut_off: bool,
    ready: VecDeque<Input>,
    rows: Memory<Row>,
    dump: Option<Dump>,
    by_cookie: Memory<Held>,
    by_inode: Memory<Held>,
    info: Memory<(Row, TcpInfo)>,
    listeners: Memory<(Row, Listener)>,
    namespaces: Memory<Namespace>,
    processes: Memory<Process>,
}

/// A dump that is being read.
struct Dump {
    scope: Scope,
    shown: HashSet<u64>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// If it is no recording, or one that is too new.
    pub fn new(source: R) -> Result<Self, Error> {
        let mut reader = Self {
            lines: BufReader::new(GzDecoder::new(source)),
            number: 0,
            header: Header::default(),
            cut_off: false,
            ready: VecDeque::new(),
            rows: Memory::default(),
            dump: None,
            by_cookie: Memory::default(),
            by_inode: Memory::default(),
            info: Memory::default(),
            listeners: Memory::default(),
            namespaces: Memory::default(),
            processes: Memory::default(),
        };
        let line = match reader.line() {
            Ok(line) => line.ok_or(Error::NoRecording)?,
            // That is how what is not compressed looks.
            Err(Error::Unreadable(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
                ) =>
            {
                return Err(Error::NoRecording);
            }
            Err(error) => return Err(error),
        };
        let version = serde_json::from_slice::<serde_json::Value>(&line).ok();
        let version =
            version.and_then(|header| header.get("recording")?.as_u64()).ok_or(Error::NoRecording)?;
        if version > VERSION.into() {
            return Err(Error::TooNew(version.try_into().unwrap_or(u32::MAX)));
        }
        reader.header = serde_json::from_slice(&line).map_err(|_| Error::NoRecording)?;
        Ok(reader)
    }

    /// What it begins with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether it ended in the midst of something, once everything has been read.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// The next input; `None` at the end.
    ///
    /// # Errors
    /// If it cannot be read, or makes no sense.
    pub fn input(&mut self) -> Result<Option<Input>, Error> {
        loop {
            if let Some(input) = self.ready.pop_front() {
                return Ok(Some(input));
            }
            let Some(line) = self.line()? else { return Ok(None) };
            let line =
                serde_json::from_slice(&line).map_err(|why| Error::Malformed { line: self.number, why })?;
            self.take(line);
        }
    }

    /// The next line; `None` at the end, and where the rest is missing.
    fn line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut line = Vec::new();
        self.number += 1;
        match (&mut self.lines).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => Ok(None),
            Ok(_) if line.last() == Some(&b'\n') => Ok(Some(line)),
            Ok(_) => {
                self.cut_off = true;
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.number > 1 => {
                self.cut_off = true;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self, line: Line) {
        let input = match line {
            Line::Event { event, about } => Input::Event(event, about),
            Line::Acted { cookie, process } => Input::Acted { cookie, process },
            Line::IdleClose(close) => Input::IdleClose(close),
            Line::Note(note) => Input::Note(note),
            Line::DumpBegins { started_ns, scope } => {
                self.dump = Some(Dump { scope, shown: HashSet::new() });
                Input::DumpBegins { started_ns, scope }
            }
            Line::DumpShows { now_ns, rows } => {
                for row in &rows {
                    self.rows.put(now_ns, row.cookie, row);
                }
                if let Some(dump) = &mut self.dump {
                    dump.shown.extend(rows.iter().map(|row| row.cookie));
                }
                Input::DumpShows { now_ns, rows }
            }
            Line::DumpEnds { finished_ns, gone, unvisited } => {
                self.dump_ends(finished_ns, gone);
                Input::DumpEnds { finished_ns, unvisited }
            }
            Line::Look(moment) => Input::Look(moment),
            Line::Holders(line) => self.holders(line),
            Line::Pass(line) => Input::Pass(self.pass(*line)),
            Line::Lost(count) => Input::Lost(count),
        };
        self.ready.push_back(input);
    }

    /// Shows what has not changed.
    fn dump_ends(&mut self, finished_ns: u64, gone: Vec<u64>) {
        for cookie in gone {
            self.rows.remove(cookie);
        }
        let Some(Dump { scope, shown }) = self.dump.take() else { return };
        let rows = self.rows.at(finished_ns).map(|(_, row)| row);
        let rows: Vec<_> = rows.filter(|row| scope.has(row.state) && !shown.contains(&row.cookie)).collect();
        if !rows.is_empty() {
            self.ready.push_back(Input::DumpShows { now_ns: finished_ns, rows });
        }
    }

    fn holders(&mut self, line: HoldersLine) -> Input {
        let HoldersLine { at_ns, hidden, by_cookie, by_inode, pids } = line;
        let (mut asked, mut found) = (Vec::new(), Vec::<(Key, Holder)>::new());
        for (cookie, held) in self.by_cookie.apply(at_ns, by_cookie) {
            asked.extend(held.asked.then_some(cookie));
            found.extend(held.by.into_iter().map(|holder| (Key::Cookie(cookie), holder)));
        }
        for (inode, held) in self.by_inode.apply(at_ns, by_inode) {
            let Ok(inode) = u32::try_from(inode) else { continue };
            found.extend(held.by.into_iter().map(|holder| (Key::Inode(inode), holder)));
        }
        Input::Holders { holders: Arc::new(Holders::new(at_ns, asked, pids, found)), hidden }
    }

    fn pass(&mut self, line: PassLine) -> Collected {
        let PassLine { at_ns, info, listeners, namespaces, processes, cannot_see } = line;
        let number = |(key, value)| Some((u32::try_from(key).ok()?, value));
        Collected {
            info: self.info.apply(at_ns, info).map(|(_, info)| info).collect(),
            listeners: self.listeners.apply(at_ns, listeners).map(|(_, listener)| listener).collect(),
            namespaces: self.namespaces.apply(at_ns, namespaces).filter_map(number).collect(),
            processes: self
                .processes
                .apply(at_ns, processes)
                .filter_map(|(pid, process)| Some((u32::try_from(pid).ok()?, process)))
                .collect(),
            cannot_see,
        }
    }
}
