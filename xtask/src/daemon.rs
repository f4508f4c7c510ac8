//! A daemon that xtask starts for itself, on a free port.

use std::{
    io::{BufRead, BufReader},
    thread,
};

use anyhow::{Context, Result, bail};

use crate::{http::Connection, running::Running};

/// The arguments with which it listens on a free port.
pub(crate) const ARGUMENTS: [&str; 3] = ["daemon", "--web.listen-address", "127.0.0.1:0"];

pub(crate) struct Daemon {
    address: String,
    running: Running,
}

impl Daemon {
    /// Waits until it is ready. Its stderr must be piped.
    ///
    /// # Errors
    /// What it said instead.
    pub(crate) fn of(mut running: Running) -> Result<Self> {
        let stderr = running.take_stderr().context("the daemon's output is not ours")?;
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let mut address = None;
        let mut said = Vec::new();
        for line in lines.by_ref() {
            if let Some((_, url)) = line.split_once("listening on http://") {
                address = Some(url.trim().to_owned());
            }
            let ready = line.contains("ready");
            said.push(line);
            if ready {
                break;
            }
        }
        let Some(address) = address else { bail!("the daemon did not start: {}", said.join("\n")) };
        // Its output is read to the end, so that it never waits for us.
        thread::spawn(move || lines.for_each(drop));
        Ok(Self { address, running })
    }

    /// # Errors
    /// When it does not answer.
    pub(crate) fn connect(&self) -> Result<Connection> {
        Connection::open(&self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }
}
