//! What /proc says of a process. Every look-up is checked against the process's start, because a number may
//! belong to another process by the time one looks.

use std::{collections::HashSet, fs, os::unix::ffi::OsStrExt, path::Path};

use super::cgroup;
use crate::track::{Comm, Holder, Key, Owner};

const NS_PER_S: u64 = 1_000_000_000;

/// What more is known of a process, if it is still the one that started then.
#[must_use]
pub fn owner(pid: u32, start_boottime_ns: u64) -> Option<Owner> {
    let root = Path::new("/proc").join(pid.to_string());
    let exe = fs::read_link(root.join("exe")).ok().map(|path| path.to_string_lossy().into_owned());
    let place = fs::read_to_string(root.join("cgroup")).map(|text| cgroup::parse(&text)).unwrap_or_default();
    let same = start_ticks(&root)? == start_boottime_ns / (NS_PER_S / ticks_per_second());
    same.then_some(Owner { exe, unit: place.unit, container: place.container })
}

/// Looks through every process's descriptors for the sockets with these inodes. Without the privilege for a
/// process, that process is passed over.
pub(super) fn holders(wanted: &HashSet<u32>) -> Vec<(Key, Holder)> {
    let mut holders = Vec::new();
    if wanted.is_empty() {
        return holders;
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let root = entry.path();
        let Some(start) = start_ticks(&root) else { continue };
        let mut held = Vec::new();
        for file in fs::read_dir(root.join("fd")).into_iter().flatten().flatten() {
            let inode =
                fs::read_link(file.path()).ok().and_then(|link| socket_inode(link.as_os_str().as_bytes()));
            let fd = file.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            if let (Some(inode), Some(fd)) = (inode, fd)
                && wanted.contains(&inode)
            {
                held.push((inode, fd));
            }
        }
        let comm = fs::read_to_string(root.join("comm")).unwrap_or_default();
        if held.is_empty() || start_ticks(&root) != Some(start) {
            continue;
        }
        let start_boottime_ns = start * (NS_PER_S / ticks_per_second());
        for (inode, fd) in held {
            let holder = Holder { pid, fd, comm: Comm::new(comm.trim_end_matches('\n')), start_boottime_ns };
            holders.push((Key::Inode(inode), holder));
        }
    }
    holders
}

/// Field 22 of `/proc/PID/stat` (proc(5)): the start after boot, in clock ticks. The name before it may hold
/// spaces and parentheses.
fn start_ticks(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("stat")).ok()?;
    parse_start(&text)
}

fn parse_start(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// `socket:[12345]`.
fn socket_inode(link: &[u8]) -> Option<u32> {
    std::str::from_utf8(link).ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

#[cfg(test)]
mod tests {
    use super::{owner, parse_start, socket_inode, start_ticks};

    #[test]
    fn start_is_found_behind_any_name() {
        let tail = "S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 200";
        for name in ["(sh)", "(a b)", "(a) b)", "(((", "()"] {
            assert_eq!(
                parse_start(&format!("77 {name} {tail}")),
                name.contains(')').then_some(987_654),
                "{name}"
            );
        }
        assert_eq!(parse_start("77 (sh) S 1"), None);
    }

    #[test]
    fn only_a_socket_link_is_a_socket() {
        assert_eq!(socket_inode(b"socket:[4711]"), Some(4711));
        for link in [&b"pipe:[4711]"[..], b"socket:[]", b"socket:[99999999999]", b"/tmp/socket:[1]", b"\xff"]
        {
            assert_eq!(socket_inode(link), None);
        }
    }

    #[test]
    fn process_that_started_at_another_time_is_another_process() {
        let pid = std::process::id();
        let ticks = start_ticks(std::path::Path::new("/proc/self")).expect("this process");
        let start_ns = ticks * 10_000_000;
        assert!(owner(pid, start_ns).is_some_and(|owner| owner.exe.is_some()));
        assert_eq!(owner(pid, start_ns + 1_000_000_000), None);
    }
}
