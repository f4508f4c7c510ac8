//! Who closed: of each connection in `TIME_WAIT`, whether the daemon names the process that closed it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, eventually},
    traffic::Actor,
};

/// The processes that may have closed connections to some servers.
#[derive(Default)]
pub(crate) struct Closers {
    /// The server of each port.
    servers: BTreeMap<String, u64>,
    clients: BTreeSet<u64>,
}

/// What the daemon says of the connections in `TIME_WAIT`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Told {
    /// Connections that it lists.
    pub(crate) listed: u64,
    /// Those whose closer it names rightly.
    known: u64,
    /// Those of which it names another process.
    wrong: u64,
}

impl Closers {
    pub(crate) fn add_server(&mut self, server: &Actor, address: &str) {
        self.servers.insert(port(address).to_owned(), u64::from(server.pid()));
    }

    pub(crate) fn add_client(&mut self, client: &Actor) {
        self.clients.insert(u64::from(client.pid()));
    }

    /// Asks the daemon.
    pub(crate) fn told(&self, daemon: &Daemon) -> Result<Told> {
        let mut told = Told::default();
        for socket in daemon.sockets("state=TIME_WAIT")? {
            let end = |name: &str| socket[name].as_str().map(port).context("a TIME_WAIT without an end");
            let (local, remote) = (end("local")?, end("remote")?);
            let closers = match (self.servers.get(local), self.servers.contains_key(remote)) {
                // This is the server's end.
                (Some(server), _) => BTreeSet::from([*server]),
                (None, true) => self.clients.clone(),
                (None, false) => continue,
            };
            told.listed += 1;
            match socket["actor"]["pid"].as_u64() {
                Some(pid) if closers.contains(&pid) => told.known += 1,
                Some(_) => told.wrong += 1,
                None => {}
            }
        }
        Ok(told)
    }

    /// Asks until `count` connections are listed, or patience ends: their closers have to be known as soon as they are.
    pub(crate) fn eventually(&self, daemon: &Daemon, count: u64) -> Result<Told> {
        let mut last = Told::default();
        eventually(|| {
            last = self.told(daemon)?;
            Ok((last.listed >= count).then_some(()))
        })?;
        Ok(last)
    }
}

impl Told {
    pub(crate) fn facts(self) -> Value {
        json!({ "listed": self.listed, "known": self.known, "wrong": self.wrong })
    }
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or(address)
}
