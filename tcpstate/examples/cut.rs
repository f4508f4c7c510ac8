//! Cuts what belongs to some network namespaces, and happened until some time, out of a recording, so that a case that was
//! played among others becomes a recording of its own:
//!
//! ```text
//! cargo run --example cut -- ALL.tcpstate ONE.tcpstate 4026532240,4026532318 1767323045000 [/where/it/ran=/srv]
//! ```
//!
//! The time is in ms since 1970. The last argument replaces the beginnings of paths, which would be those of one machine.

use std::{
    collections::HashSet,
    env,
    fs::File,
    io::{BufReader, BufWriter},
    sync::Arc,
};

use anyhow::{Context, Result};
use tcpstate::{
    recording::{Header, Input, Reader, Writer},
    track::{Event, Holders, Key, Row},
};

const USAGE: &str = "usage: cut FROM TO NETNS[,NETNS…] UNTIL_MS [PATH=PATH]";

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [from, to, namespaces, until, paths @ ..] = arguments.as_slice() else { anyhow::bail!(USAGE) };
    let namespaces = namespaces.split(',').map(str::parse).collect::<Result<_, _>>();
    let namespaces = namespaces.context("namespaces are named by their inode numbers")?;
    let until_unix_ms: u64 = until.parse().context(USAGE)?;
    let paths = paths.first().and_then(|paths| paths.split_once('='));
    let mut part = Part { namespaces, ..Part::default() };
    let read = || -> Result<_> { Ok(Reader::new(BufReader::new(File::open(from)?))?) };
    let mut reader = read()?;
    let until_ns = monotonic(reader.header(), until_unix_ms);
    // From the first input that is of the part, to the last pass in time.
    let (mut first, mut last, mut number, mut begun_ns, mut look_ns) = (None, 0, 0_u64, 0, 0);
    let mut dump = None;
    while let Some(input) = reader.input()? {
        number += 1;
        match &input {
            Input::Look(moment) => look_ns = moment.at_ns,
            Input::DumpBegins { .. } => dump = Some(number),
            Input::DumpEnds { .. } => dump = None,
            Input::Pass(_) => last = number,
            _ => {}
        }
        if look_ns > until_ns {
            break;
        }
        if part.see(&input) && first.is_none() {
            (first, begun_ns) = (Some(dump.unwrap_or(number)), look_ns);
        }
    }
    let first = first.context("nothing in it belongs to these namespaces")?;
    let mut reader = read()?;
    let header = reader.header().clone();
    let wall_ns = header.wall_ns + begun_ns.saturating_sub(header.at_ns);
    let header = Header { at_ns: header.at_ns.max(begun_ns), wall_ns, ..header };
    let mut writer = Writer::new(BufWriter::new(File::create(to)?), &header)?;
    let mut number = 0;
    while let Some(input) = reader.input()?.filter(|_| number < last) {
        number += 1;
        let wanted = (number >= first).then(|| part.of(input, paths)).flatten();
        if let Some(input) = wanted {
            writer.put(input)?;
        }
    }
    writer.finish()?.into_inner()?;
    Ok(())
}

/// The monotonic time, ns, of one in ms since 1970.
fn monotonic(header: &Header, unix_ms: u64) -> u64 {
    let after_ns = unix_ms.saturating_mul(1_000_000).saturating_sub(header.wall_ns);
    header.at_ns.saturating_add(after_ns)
}

/// What belongs to the namespaces.
#[derive(Default)]
struct Part {
    namespaces: HashSet<u32>,
    cookies: HashSet<u64>,
    inodes: HashSet<u32>,
    pids: HashSet<u32>,
}

impl Part {
    /// Finds out what belongs to them, since not every input names its namespace. Returns whether this one does.
    fn see(&mut self, input: &Input) -> bool {
        match input {
            Input::Event(event, about) if self.has(event) => {
                let (cookie, process) = match event {
                    Event::Transition(event) => (event.cookie, event.actor.map(|actor| actor.process)),
                    Event::ResetSent(event) => (event.cookie, event.process),
                    Event::ResetReceived(event) => (event.cookie, None),
                };
                self.cookies.extend(cookie);
                self.pids.extend(process.into_iter().chain(about.actor).map(|process| process.pid));
                true
            }
            Input::Acted { cookie, process } if self.cookies.contains(cookie) => {
                self.pids.extend(process.map(|process| process.pid));
                true
            }
            Input::IdleClose(close) if self.namespaces.contains(&close.netns) => {
                self.pids.extend(close.process.map(|process| process.pid));
                true
            }
            Input::DumpShows { rows, .. } => {
                let rows = rows.iter().filter(|row| self.namespaces.contains(&row.netns));
                let mut any = false;
                for row in rows {
                    any = true;
                    self.cookies.insert(row.cookie);
                    self.inodes.insert(row.inode);
                }
                any
            }
            Input::Holders { holders, .. } => {
                let found = holders.found().filter(|(key, _)| self.has_key(*key));
                let pids: Vec<_> = found.map(|(_, holder)| holder.pid).collect();
                self.pids.extend(&pids);
                !pids.is_empty()
            }
            Input::Pass(collected) => {
                let parents = collected.processes.iter().filter(|(pid, _)| self.pids.contains(pid));
                let parents: Vec<_> = parents.filter_map(|(_, process)| process.ppid).collect();
                self.pids.extend(parents.into_iter().filter(|pid| *pid > 1));
                false
            }
            _ => false,
        }
    }

    fn has(&self, event: &Event) -> bool {
        let netns = match event {
            Event::Transition(event) => event.netns,
            Event::ResetSent(event) => event.netns,
            Event::ResetReceived(event) => event.netns,
        };
        self.namespaces.contains(&netns)
    }

    fn has_key(&self, key: Key) -> bool {
        match key {
            Key::Cookie(cookie) => self.cookies.contains(&cookie),
            Key::Inode(inode) => self.inodes.contains(&inode),
        }
    }

    /// What of an input belongs to them, with other paths.
    fn of(&self, input: Input, paths: Option<(&str, &str)>) -> Option<Input> {
        let has_row = |row: &Row| self.namespaces.contains(&row.netns);
        match input {
            Input::Event(ref event, _) => self.has(event).then_some(input),
            Input::Acted { cookie, .. } => self.cookies.contains(&cookie).then_some(input),
            Input::IdleClose(close) => self.namespaces.contains(&close.netns).then_some(input),
            Input::Note(note) => self.cookies.contains(&note.cookie).then_some(input),
            Input::DumpShows { now_ns, mut rows } => {
                rows.retain(has_row);
                Some(Input::DumpShows { now_ns, rows })
            }
            Input::Holders { holders, hidden } => {
                let asked = holders.asked().iter().filter(|cookie| self.cookies.contains(cookie));
                let pids = holders.pids().iter().filter(|pid| self.pids.contains(pid));
                let found = holders.found().filter(|(key, _)| self.has_key(*key));
                let (asked, pids) = (asked.copied().collect(), pids.copied().collect());
                let holders = Arc::new(Holders::new(holders.at_ns, asked, pids, found));
                Some(Input::Holders { holders, hidden })
            }
            Input::Pass(mut collected) => {
                collected.info.retain(|(row, _)| has_row(row));
                collected.listeners.retain(|(row, _)| has_row(row));
                collected.namespaces.retain(|netns, _| self.namespaces.contains(netns));
                collected.processes.retain(|pid, _| self.pids.contains(pid));
                for process in collected.processes.values_mut() {
                    for path in [&mut process.exe, &mut process.script].into_iter().flatten() {
                        if let Some((from, to)) = paths
                            && let Some(rest) = path.strip_prefix(from)
                        {
                            *path = format!("{to}{rest}");
                        }
                    }
                }
                collected.cannot_see.retain(|unseen| {
                    unseen.of.is_none_or(|of| self.pids.contains(&of) || self.namespaces.contains(&of))
                });
                Some(Input::Pass(collected))
            }
            Input::DumpBegins { .. } | Input::DumpEnds { .. } | Input::Look(_) | Input::Lost(_) => {
                Some(input)
            }
        }
    }
}
