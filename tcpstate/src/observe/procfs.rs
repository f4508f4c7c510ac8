//! What /proc says of a process. Every look-up is checked against the process's start, because a number may
//! belong to another process by the time one looks.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::cgroup;
use crate::track::{Comm, Holder, Key, Owner};

const NS_PER_S: u64 = 1_000_000_000;

/// What more is known of a process, if it is still the one that started then.
#[must_use]
pub fn owner(pid: u32, start_boottime_ns: u64) -> Option<Owner> {
    let root = root(pid);
    let exe = fs::read_link(root.join("exe")).ok().map(|path| path.to_string_lossy().into_owned());
    let place = fs::read(root.join("cgroup")).map(|text| cgroup::parse(&text)).unwrap_or_default();
    stat(&root).ok()?.is_of_start(start_boottime_ns).then_some(Owner {
        exe,
        unit: place.unit,
        container: place.container,
        pod: place.pod,
    })
}

/// Looks through every process's descriptors for the sockets with these inodes. Without the privilege for a
/// process, that process is passed over; also returns how many were.
pub(super) fn holders(wanted: &HashSet<u32>) -> (Vec<(Key, Holder)>, u64) {
    let (mut holders, mut hidden) = (Vec::new(), 0);
    if wanted.is_empty() {
        return (holders, hidden);
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let root = entry.path();
        let Some(start) = start_ticks(&root) else { continue };
        let mut held = Vec::new();
        let files = fs::read_dir(root.join("fd"));
        hidden +=
            u64::from(files.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied));
        for file in files.into_iter().flatten().flatten() {
            let inode =
                fs::read_link(file.path()).ok().and_then(|link| socket_inode(link.as_os_str().as_bytes()));
            let fd = file.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            if let (Some(inode), Some(fd)) = (inode, fd)
                && wanted.contains(&inode)
            {
                held.push((inode, fd));
            }
        }
        let comm = fs::read(root.join("comm")).unwrap_or_default();
        let comm = Comm::of_bytes(comm.strip_suffix(b"\n").unwrap_or(&comm));
        if held.is_empty() || start_ticks(&root) != Some(start) {
            continue;
        }
        let start_boottime_ns = start * (NS_PER_S / ticks_per_second());
        for (inode, fd) in held {
            let holder = Holder { pid, fd, comm, start_boottime_ns };
            holders.push((Key::Inode(inode), holder));
        }
    }
    (holders, hidden)
}

/// Where /proc keeps a process.
pub(super) fn root(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// What is needed of `/proc/PID/stat` (proc(5)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stat {
    /// One letter (`task_state_array` in `fs/proc/array.c`).
    pub(super) state: char,
    pub(super) comm: Comm,
    /// The parent.
    pub(super) ppid: u32,
    /// The start after boot, in clock ticks.
    start_ticks: u64,
}

impl Stat {
    /// When the process started, ns after boot: to one clock tick.
    pub(super) fn start_boottime_ns(self) -> u64 {
        self.start_ticks.saturating_mul(NS_PER_S / ticks_per_second())
    }

    /// Whether the process is the one that started then, ns after boot.
    pub(super) fn is_of_start(self, start_boottime_ns: u64) -> bool {
        self.start_ticks == start_boottime_ns / (NS_PER_S / ticks_per_second())
    }
}

/// Fails with [`io::ErrorKind::NotFound`] if the process has ended.
pub(super) fn stat(root: &Path) -> io::Result<Stat> {
    // One that ends meanwhile is not found either.
    let text = fs::read(root.join("stat")).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::SRCH) => io::ErrorKind::NotFound.into(),
        _ => error,
    })?;
    parse_stat(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is not as proc(5) has it"))
}

/// Fields 2, 3, 4 and 22. The name may hold any byte, spaces and parentheses among them.
pub(crate) fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let begin = stat.iter().position(|byte| *byte == b'(')? + 1;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace();
    Some(Stat {
        comm: Comm::of_bytes(stat.get(begin..end)?),
        state: fields.next()?.chars().next()?,
        ppid: fields.next()?.parse().ok()?,
        start_ticks: fields.nth(17)?.parse().ok()?,
    })
}

fn start_ticks(root: &Path) -> Option<u64> {
    stat(root).ok().map(|stat| stat.start_ticks)
}

/// Whether this process sees every process of the host: those of the first pid namespace, whose inode number never
/// changes (`PROC_PID_INIT_INO` in `include/linux/proc_ns.h`).
pub(super) fn sees_every_process() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str().as_bytes() == b"pid:[4026531836]")
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
    use std::{
        collections::HashSet,
        io::{BufRead, BufReader},
        net::TcpListener,
        os::{fd::OwnedFd, unix::fs::MetadataExt},
        process::{Command, Stdio},
    };

    use proptest::prelude::*;

    use super::{Comm, Holder, Key, Stat, holders, owner, parse_stat, root, socket_inode, start_ticks, stat};
    use crate::printable::printable;

    /// What is found of a process that gives itself this name, as `printf` has it, and holds a socket.
    fn called(name: &str) -> Holder {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let socket = OwnedFd::from(listener);
        let inode =
            std::fs::File::from(socket.try_clone().expect("a descriptor")).metadata().expect("it is open");
        let inode = u32::try_from(inode.ino()).expect("the kernel counts them so");
        let script = format!("printf '{name}' > /proc/$$/comm; echo >&2; read end");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(socket)
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut said = String::new();
        BufReader::new(child.stderr.take().expect("piped")).read_line(&mut said).expect("it has its name");
        let found = holders(&HashSet::from([inode])).0;
        let comm = stat(&root(child.id())).expect("it runs").comm;
        let held = found.iter().find(|(key, holder)| *key == Key::Inode(inode) && holder.pid == child.id());
        let holder = held.expect("a holder").1;
        assert_eq!(comm, holder.comm);
        assert!(owner(child.id(), holder.start_boottime_ns).is_some_and(|owner| owner.exe.is_some()));
        drop(child.stdin.take());
        child.wait().expect("it ends with its input");
        holder
    }

    #[test]
    fn process_with_any_name_is_found_as_the_holder() {
        for (name, shown) in [
            (r"a\377\376z", "a\u{fffd}\u{fffd}z"),
            (r"\033[31mred", "\\u{1b}[31mred"),
            (r"a\342\200\256b", "a\\u{202e}b"),
        ] {
            assert_eq!(printable(&called(name).comm.to_string()), shown);
        }
    }

    #[test]
    fn start_is_found_behind_any_name() {
        let tail = "T 12 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 200";
        for name in ["sh", "a b", "a) b", "((", "", "a) T 1 ("] {
            let stat = Stat { comm: Comm::new(name), state: 'T', ppid: 12, start_ticks: 987_654 };
            assert_eq!(parse_stat(format!("77 ({name}) {tail}").as_bytes()), Some(stat), "{name}");
        }
        assert_eq!(parse_stat(format!("77 ((( {tail}").as_bytes()), None);
        assert_eq!(parse_stat(b"77 (sh) S 1"), None);
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

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "[0-9a-zT() \\-\n\u{e9}]{0,120}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_stat(text.as_bytes());
            let _ = parse_stat(&bytes);
        }
    }
}
