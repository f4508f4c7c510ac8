//! What `ss` counts, in one network namespace or in all that there are on this machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Where iproute2 and container engines keep namespaces by name.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];
const OWN: &str = "/proc/self/ns/net";

/// Sockets by family and state.
pub(crate) type Counts = BTreeMap<(String, String), u64>;

/// Where to count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    /// In this process's namespace.
    Here,
    /// In every namespace that a process is in, or that has a name: whoever made it.
    Everywhere,
}

/// Counts all sockets, or says which namespace could not be counted: one that ends meanwhile cannot.
pub(crate) fn count(reach: Reach) -> Result<Counts, String> {
    let mut ways = vec![PathBuf::from(OWN)];
    if let Reach::Everywhere = reach {
        ways.extend(others().expect("namespaces"));
    }
    let mut counts = Counts::new();
    for way in ways {
        for (family, flag) in [("ipv4", "-4"), ("ipv6", "-6")] {
            for state in states(&way, flag).map_err(|error| format!("{}: {error}", way.display()))? {
                *counts.entry((family.to_owned(), state.to_owned())).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

/// A way into every namespace but this process's.
fn others() -> io::Result<Vec<PathBuf>> {
    let own = fs::metadata(OWN)?;
    // A namespace is a file of the kernel's own file system; a name that is not mounted is a file of another one.
    let mut known = BTreeSet::from([own.ino()]);
    let mut is_new = |way: &Path| {
        fs::metadata(way).is_ok_and(|there| there.dev() == own.dev() && known.insert(there.ino()))
    };
    let mut ways = Vec::new();
    for process in fs::read_dir("/proc")?.flatten() {
        ways.push(process.path().join("ns/net"));
    }
    for directory in NAMED {
        ways.extend(fs::read_dir(directory).into_iter().flatten().flatten().map(|name| name.path()));
    }
    ways.retain(|way| is_new(way));
    Ok(ways)
}

/// The state of every socket of a family in a namespace.
fn states(way: &Path, family: &str) -> Result<Vec<&'static str>, String> {
    let namespace = format!("--net={}", way.display());
    let ss = [&namespace, "ss", "-H", "-t", "-a", "-n", family];
    let output = Command::new("nsenter").args(ss).output().expect("nsenter");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    Ok(lines.lines().map(|line| kernel_name(line.split_whitespace().next().expect("a state"))).collect())
}

/// The kernel's name of what `ss` calls a state.
fn kernel_name(ss_name: &str) -> &'static str {
    match ss_name {
        "ESTAB" => "ESTABLISHED",
        "SYN-SENT" => "SYN_SENT",
        "SYN-RECV" => "SYN_RECV",
        "FIN-WAIT-1" => "FIN_WAIT1",
        "FIN-WAIT-2" => "FIN_WAIT2",
        "TIME-WAIT" => "TIME_WAIT",
        "CLOSE-WAIT" => "CLOSE_WAIT",
        "LAST-ACK" => "LAST_ACK",
        "LISTEN" => "LISTEN",
        "CLOSING" => "CLOSING",
        other => panic!("ss says {other}"),
    }
}
