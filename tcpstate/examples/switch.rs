//! Attaches programs that somebody else has loaded, one at a time, for `cargo xtask bench`.
//!
//! `switch ID...` takes hold of the programs at `inet_sock_set_state` with these numbers, and prints `ready`: from then on
//! they stay loaded until it ends, and they are attached only as it is told. For each line of its input, which is a place
//! in that list, counted from 0, or `-` for none, it detaches what it had attached, attaches that, and prints `done`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use aya::programs::{BtfTracePoint, loaded_programs};

fn main() -> Result<()> {
    let ids = std::env::args().skip(1).map(|id| id.parse().context("usage: switch ID..."));
    let mut programs = ids.map(|id| hold(id?)).collect::<Result<Vec<_>>>()?;
    say("ready")?;
    let mut attached = None;
    for wish in io::stdin().lines() {
        let wish = wish?;
        drop(attached.take());
        if wish != "-" {
            let place: usize = wish.parse().context("neither a place nor -")?;
            let program = programs.get_mut(place).context("there is no such place")?;
            let link = program.attach().context("the program cannot be attached")?;
            attached = Some(program.take_link(link)?);
        }
        say("done")?;
    }
    Ok(())
}

fn say(word: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{word}")?;
    out.flush()
}

fn hold(id: u32) -> Result<BtfTracePoint> {
    let mut loaded = loaded_programs().filter_map(Result::ok);
    let found = loaded.find(|program| program.id() == id);
    let found = found.with_context(|| format!("no program has the number {id}"))?;
    // SAFETY: what it is attached to is part of the program.
    unsafe { BtfTracePoint::from_program_info(found, "held".into()) }.context("the program cannot be held")
}
