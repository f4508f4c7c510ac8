//! Writes a recording.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use flate2::{Compression, write::GzEncoder};
use serde::Serialize;
use serde_json::Value;

use super::{
    delta::Memory,
    input::Input,
    line::{Header, Held, HoldersLine, Line, PassLine},
};
use crate::{
    diagnose::{
        Collected,
        evidence::{Listener, Namespace, Process, TcpInfo},
    },
    track::{Holders, Key, Row, Scope},
};

/// See the module.
pub struct Writer<W: Write> {
    out: GzEncoder<W>,
    rows: Memory<Row>,
    dump: Option<Dump>,
    by_cookie: Memory<Held>,
    by_inode: Memory<Held>,
    pass_ns: u64,
    info: Memory<(Row, TcpInfo)>,
    listeners: Memory<(Row, Listener)>,
    namespaces: Memory<Namespace>,
    processes: Memory<Process>,
}

/// A dump that is being taken.
struct Dump {
    scope: Scope,
    shown: BTreeSet<u64>,
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(out: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self {
            out: GzEncoder::new(out, Compression::best()),
            rows: Memory::default(),
            dump: None,
            by_cookie: Memory::default(),
            by_inode: Memory::default(),
            pass_ns: 0,
            info: Memory::default(),
            listeners: Memory::default(),
            namespaces: Memory::default(),
            processes: Memory::default(),
        };
        writer.line(header)?;
        Ok(writer)
    }

    /// Adds an input.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&mut self, input: Input) -> io::Result<()> {
        let line = match input {
            Input::Event(event, about) => Line::Event { event, about },
            Input::Acted { cookie, process } => Line::Acted { cookie, process },
            Input::IdleClose(close) => Line::IdleClose(close),
            Input::Note(note) => Line::Note(note),
            Input::DumpBegins { started_ns, scope } => {
                self.dump = Some(Dump { scope, shown: BTreeSet::new() });
                Line::DumpBegins { started_ns, scope }
            }
            Input::DumpShows { now_ns, mut rows } => {
                if let Some(dump) = &mut self.dump {
                    dump.shown.extend(rows.iter().map(|row| row.cookie));
                }
                rows.retain(|row| self.rows.put(now_ns, row.cookie, row));
                if rows.is_empty() {
                    return Ok(());
                }
                Line::DumpShows { now_ns, rows }
            }
            Input::DumpEnds { finished_ns, unvisited } => {
                Line::DumpEnds { finished_ns, gone: self.gone(), unvisited }
            }
            Input::Look(moment) => {
                self.pass_ns = moment.at_ns;
                Line::Look(moment)
            }
            Input::Holders { holders, hidden } => Line::Holders(self.holders(&holders, hidden)),
            Input::Pass(collected) => Line::Pass(Box::new(self.pass(collected))),
            Input::Lost(count) => Line::Lost(count),
        };
        self.line(&line)?;
        // If this is the last that is written, it can be read up to here.
        if matches!(line, Line::Pass(_)) { self.out.flush() } else { Ok(()) }
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self) -> io::Result<W> {
        self.out.finish()
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_value(line)?;
        strip(&mut line);
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    /// What the dump would have shown, had it not gone.
    fn gone(&mut self) -> Vec<u64> {
        let Some(Dump { scope, shown }) = self.dump.take() else { return Vec::new() };
        let mut gone = Vec::new();
        self.rows.retain(|cookie, row| {
            let stays = !scope.has(row.state) || shown.contains(&cookie);
            gone.extend((!stays).then_some(cookie));
            stays
        });
        gone
    }

    fn holders(&mut self, holders: &Holders, hidden: Option<String>) -> HoldersLine {
        let mut by_cookie = BTreeMap::<u64, Held>::new();
        let mut by_inode = BTreeMap::<u64, Held>::new();
        for cookie in holders.asked() {
            by_cookie.entry(*cookie).or_default().asked = true;
        }
        for (key, holder) in holders.found() {
            let held = match key {
                Key::Cookie(cookie) => by_cookie.entry(cookie).or_default(),
                Key::Inode(inode) => by_inode.entry(inode.into()).or_default(),
            };
            held.by.push(holder);
        }
        HoldersLine {
            at_ns: holders.at_ns,
            hidden,
            by_cookie: self.by_cookie.delta(holders.at_ns, by_cookie),
            by_inode: self.by_inode.delta(holders.at_ns, by_inode),
            pids: holders.pids().to_vec(),
        }
    }

    fn pass(&mut self, collected: Collected) -> PassLine {
        let Collected { info, listeners, namespaces, processes, cannot_see } = collected;
        let at_ns = self.pass_ns;
        let info = info.into_iter().map(|(row, info)| (row.cookie, (row, info)));
        let listeners = listeners.into_iter().map(|(row, listener)| (row.cookie, (row, listener)));
        let namespaces = namespaces.into_iter().map(|(netns, namespace)| (netns.into(), namespace));
        let processes = processes.into_iter().map(|(pid, process)| (pid.into(), process));
        PassLine {
            at_ns,
            info: self.info.delta(at_ns, info.collect()),
            listeners: self.listeners.delta(at_ns, listeners.collect()),
            namespaces: self.namespaces.delta(at_ns, namespaces.collect()),
            processes: self.processes.delta(at_ns, processes.collect()),
            cannot_see,
        }
    }
}

/// Leaves out what is not known: what is absent is read as that.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
