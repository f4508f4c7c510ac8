//! Visits to network namespaces: what is wanted of one is read while the thread is inside. The way into a namespace is
//! remembered, since finding one takes a look at every process.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
};

use super::{
    counters::Counters,
    listeners::{self, Listener},
    sockstat::Sockstat,
    sysctls::Sysctls,
    tcp_info::{self, Detail},
};
use crate::{observe::netns, track::Tuple};

/// A namespace that could not be entered is looked for again after this long.
const TRY_AGAIN_NS: u64 = 30_000_000_000;

/// What is wanted of one namespace.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub counters: bool,
    pub sysctls: bool,
    pub listeners: bool,
    /// These sockets, by cookie.
    pub details: Vec<(u64, Tuple)>,
}

/// What was seen in one namespace. Absent is what was not wanted or could not be seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub counters: Option<Counters>,
    pub sockstat: Option<Sockstat>,
    pub sysctls: Option<Sysctls>,
    pub listeners: Option<Vec<Listener>>,
    pub details: Vec<Detail>,
    /// What could not be seen, one sentence each.
    pub cannot_see: Vec<String>,
}

/// The ways into the namespaces.
#[derive(Debug, Default)]
pub struct Ways {
    by_inum: BTreeMap<u32, Vec<PathBuf>>,
    /// Those that could not be entered: when, monotonic ns, and why.
    closed: HashMap<u32, (u64, String)>,
}

impl Ways {
    /// Visits a namespace. Moves the calling thread, which must be one that may be moved, and brings it back.
    pub fn visit(&mut self, inum: u32, wanted: &Wanted, now_ns: u64) -> Seen {
        if let Some((closed_ns, reason)) = self.closed.get(&inum)
            && now_ns < closed_ns + TRY_AGAIN_NS
        {
            return unseen(reason.clone());
        }
        let mut result = self.enter(inum, wanted);
        // The process through which it was entered may have ended; there may be others in it.
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            self.by_inum = netns::find().namespaces;
            self.closed.retain(|_, (closed_ns, _)| now_ns < *closed_ns + TRY_AGAIN_NS);
            result = self.enter(inum, wanted);
        }
        match result {
            Ok(seen) => {
                self.closed.remove(&inum);
                seen
            }
            Err(error) => {
                let reason = format!("network namespace {inum} cannot be entered: {error}");
                self.closed.insert(inum, (now_ns, reason.clone()));
                unseen(reason)
            }
        }
    }

    fn enter(&self, inum: u32, wanted: &Wanted) -> io::Result<Seen> {
        if netns::own()? == inum {
            return Ok(read(inum, wanted));
        }
        let not_found = || io::Error::new(io::ErrorKind::NotFound, "no process is in it");
        let ways = self.by_inum.get(&inum).ok_or_else(not_found)?;
        netns::inside(inum, ways, || read(inum, wanted))
    }
}

fn unseen(reason: String) -> Seen {
    Seen { cannot_see: vec![reason], ..Seen::default() }
}

/// Reads what is wanted of the calling thread's namespace, which is this one.
fn read(inum: u32, wanted: &Wanted) -> Seen {
    let mut seen = Seen::default();
    let mut cannot_see = Vec::new();
    if wanted.counters {
        let mut counters = Counters::default();
        for file in ["snmp", "netstat"] {
            match netns::file(file) {
                Ok(text) => counters.read(&text),
                Err(error) => cannot_see.push(error),
            }
        }
        match netns::file("sockstat") {
            Ok(text) => seen.sockstat = Some(Sockstat::parse(&text)),
            Err(error) => cannot_see.push(error),
        }
        seen.counters = Some(counters);
    }
    if wanted.sysctls {
        seen.sysctls = Some(Sysctls::read());
    }
    if wanted.listeners {
        let mut found = Vec::new();
        match listeners::dump(inum, |listener| found.push(listener)) {
            Ok(()) => seen.listeners = Some(found),
            Err(error) => cannot_see.push(format!("the listeners cannot be dumped: {error}")),
        }
    }
    if !wanted.details.is_empty() {
        let sockets = wanted.details.iter().map(|(cookie, tuple)| (*cookie, tuple));
        if let Err(error) = tcp_info::look(inum, sockets, |detail| seen.details.push(detail)) {
            cannot_see.push(format!("single sockets cannot be looked at: {error}"));
        }
    }
    seen.cannot_see = cannot_see;
    seen
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::thread::{UnshareFlags, unshare_unsafe};

    use super::{Wanted, Ways};
    use crate::observe::{evidence::counters::Counter, netns};

    const S: u64 = 1_000_000_000;

    fn everything() -> Wanted {
        Wanted { counters: true, sysctls: true, listeners: true, details: Vec::new() }
    }

    #[test]
    fn own_namespace_needs_no_way() {
        let own = netns::own().expect("/proc");
        let mut ways = Ways::default();
        let seen = ways.visit(own, &everything(), 0);
        assert!(seen.counters.is_some_and(|counters| counters.get(Counter::OutRsts).is_some()));
        assert!(seen.sysctls.is_some() && seen.sockstat.is_some() && seen.listeners.is_some());
        assert!(seen.cannot_see.is_empty() && ways.by_inum.is_empty(), "{seen:?}");
        let nothing = ways.visit(own, &Wanted::default(), 0);
        assert!(nothing.counters.is_none() && nothing.sysctls.is_none() && nothing.listeners.is_none());
    }

    #[test]
    fn namespace_that_has_gone_is_said_and_not_looked_for_all_the_time() {
        let mut ways = Ways::default();
        let seen = ways.visit(1, &everything(), S);
        assert_eq!(seen.cannot_see, ["network namespace 1 cannot be entered: no process is in it"]);
        assert!(seen.counters.is_none() && seen.sysctls.is_none());
        ways.by_inum.clear();
        assert_eq!(ways.visit(1, &everything(), 20 * S).cannot_see.len(), 1);
        assert!(ways.by_inum.is_empty(), "it looked again too early");
        ways.visit(1, &everything(), 40 * S);
        assert!(!ways.by_inum.is_empty());
    }

    /// A thread in a namespace of its own has other settings and counters than the thread that comes to see them.
    #[test]
    fn settings_and_counters_are_those_of_the_namespace() {
        let (tell, told) = std::sync::mpsc::channel();
        let (leave, left) = std::sync::mpsc::channel::<()>();
        let resident = thread::spawn(move || {
            // SAFETY: the network namespace concerns no memory and no descriptors of other threads.
            if unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_err() {
                return;
            }
            std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50000 50009").expect("may be written");
            let own = netns::own().expect("/proc");
            let way = std::fs::canonicalize("/proc/thread-self").expect("/proc").join("ns/net");
            tell.send((own, way)).expect("somebody waits");
            let _ = left.recv();
        });
        // Without the privilege for a namespace there is nothing to be seen.
        let Ok((inum, way)) = told.recv() else { return };
        let home = netns::own().expect("/proc");
        assert_ne!(inum, home);
        let mut ways = Ways::default();
        ways.by_inum.insert(inum, vec![way]);
        let seen = ways.visit(inum, &everything(), 0);
        assert_eq!(seen.sysctls.and_then(|sysctls| sysctls.local_ports), Some((50_000, 50_009)));
        assert_eq!(seen.counters.and_then(|counters| counters.get(Counter::ActiveOpens)), Some(0));
        assert_eq!(seen.listeners.map(|listeners| listeners.len()), Some(0));
        assert_eq!(netns::own().expect("/proc"), home, "the thread came back");
        drop(leave);
        resident.join().expect("no panic");
    }
}
