//! What is used where it may be: capabilities, and files of the kernel. Each may be missing by itself; then what it is
//! needed for is not seen, and this list says it to `tcpstate check`, the log, the API, the metrics and the findings.

use std::{fs, io, path::Path};

use super::{
    evidence::freezer::Freezers,
    netns,
    privilege::{Capability, Privileges},
};

/// A capability, or a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Need {
    pub what: String,
    /// What it is needed for: "to …".
    pub purpose: &'static str,
    /// Why it cannot be had, as what follows its name; `None` if it can.
    pub refused: Option<String>,
}

impl Need {
    /// Why something is not seen, as a sentence without full stop; `None` if this one can be had.
    #[must_use]
    pub fn loss(&self) -> Option<String> {
        let refused = self.refused.as_ref()?;
        Some(format!("{} {refused}: it is needed {}", self.what, self.purpose))
    }

    fn of_file(what: &str, purpose: &'static str, read: io::Result<()>) -> Self {
        let refused = read.err().map(|error| format!("cannot be read ({error})"));
        Self { what: what.to_owned(), purpose, refused }
    }
}

/// Tries all of them, as this thread.
#[must_use]
pub fn all() -> Vec<Need> {
    let privileges = Privileges::current();
    let capability = |capability: Capability| Need {
        what: capability.to_string(),
        purpose: capability.purpose(),
        refused: privileges.refused(capability).map(str::to_owned),
    };
    Capability::ALL.map(capability).into_iter().chain(files()).collect()
}

fn files() -> [Need; 6] {
    let read = |path: &str| fs::read(path).map(drop);
    let [snmp, netstat, sockstat] = ["snmp", "netstat", "sockstat"].map(netns::path_of);
    [
        Need::of_file("/proc/net/snmp", "to see how many connections come, fail and are reset", read(&snmp)),
        Need::of_file(
            "/proc/net/netstat",
            "to see how many connections find an accept queue full, and why the kernel gave others up",
            read(&netstat),
        ),
        Need::of_file(
            "/proc/net/sockstat",
            "to see how many TIME_WAIT and how many sockets without process the kernel counts",
            read(&sockstat),
        ),
        Need::of_file(
            "/proc/sys/net/ipv4",
            "to see the settings of TCP, such as the range of local ports",
            read("/proc/sys/net/ipv4/ip_local_port_range"),
        ),
        // There is always a first process; that it is not shown is hidepid (proc(5)).
        Need::of_file(
            "/proc/PID",
            "to see which processes there are, what they hold, and in which network namespaces they are",
            fs::metadata("/proc/1").map(drop),
        ),
        Need::of_file("/sys/fs/cgroup", "to see whether a process is frozen", freezer()),
    ]
}

/// Whether the cgroups of processes can be looked at, if this kernel has such.
fn freezer() -> io::Result<()> {
    if !Path::new("/proc/thread-self/cgroup").exists() {
        return Ok(());
    }
    Freezers::find()?.reachable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_said_with_its_reason_and_what_it_is_for() {
        let none = io::Error::from(io::ErrorKind::PermissionDenied);
        let refused = Need::of_file("/proc/x", "to see y", Err(none));
        assert_eq!(
            refused.loss().as_deref(),
            Some("/proc/x cannot be read (permission denied): it is needed to see y")
        );
        assert_eq!(Need::of_file("/proc/x", "to see y", Ok(())).loss(), None);
    }

    #[test]
    fn every_file_is_there_where_the_tests_run() {
        let lost: Vec<_> =
            files().iter().filter(|need| need.what.starts_with('/')).filter_map(Need::loss).collect();
        assert_eq!(lost, Vec::<String>::new());
    }
}
