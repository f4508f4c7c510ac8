//! Network namespaces: which there are, and entering one for a moment.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where namespaces are kept by name: iproute2's, and the container engines'.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];
const OWN: &str = "/proc/thread-self/ns/net";
/// Ways into one namespace that are remembered: a process may end before it is entered.
const MAX_WAYS: usize = 8;

/// The network namespaces that could be found.
#[derive(Debug, Default)]
pub struct Found {
    /// Some ways into each, by inode number.
    pub namespaces: BTreeMap<u32, Vec<PathBuf>>,
    /// Processes whose namespace may not be read.
    pub hidden_processes: u64,
}

impl Found {
    fn add(&mut self, inum: u32, way: PathBuf) {
        let ways = self.namespaces.entry(inum).or_default();
        if ways.len() < MAX_WAYS {
            ways.push(way);
        }
    }
}

/// Looks for namespaces: this thread's, every process's, and the named ones. Nothing is opened, so nothing
/// is kept alive.
#[must_use]
pub fn find() -> Found {
    let mut found = Found::default();
    if let Ok(own) = own() {
        found.add(own, PathBuf::from(OWN));
    }
    for directory in NAMED {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            // A name that is not mounted is a plain file of another file system.
            if let Ok(inode) = inode(&entry.path())
                && is_namespace(&entry.path())
            {
                found.add(inode, entry.path());
            }
        }
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let path = entry.path().join("ns/net");
        match fs::read_link(&path) {
            Ok(link) => {
                if let Some(inode) = parse(&link) {
                    found.add(inode, path);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => found.hidden_processes += 1,
            // It has ended meanwhile, or it is a zombie.
            Err(_) => {}
        }
    }
    found
}

/// The calling thread's network namespace.
///
/// # Errors
/// If /proc cannot be read.
pub fn own() -> io::Result<u32> {
    inode(Path::new(OWN))
}

/// Where a file of the calling thread's network namespace is.
pub(super) fn path_of(name: &str) -> String {
    format!("/proc/thread-self/net/{name}")
}

/// What a file of the calling thread's network namespace says, such as `sockstat`.
///
/// # Errors
/// If it cannot be read: one sentence why.
pub fn file(name: &str) -> Result<String, String> {
    let path = path_of(name);
    fs::read_to_string(&path).map_err(|error| format!("{path} cannot be read: {error}"))
}

/// Runs `work` inside a namespace, on the calling thread, and comes back. The ways into it are tried one after the
/// other. A way that leads to another inode number by now leads to another namespace, and is none.
///
/// # Errors
/// Why the last way could not be gone: `EPERM` without `CAP_SYS_ADMIN`, [`io::ErrorKind::NotFound`] if the namespace has
/// gone.
///
/// # Panics
/// If the thread cannot come back: what it read from then on would be taken for its own namespace's.
pub fn inside<T>(inum: u32, ways: &[PathBuf], work: impl FnOnce() -> T) -> io::Result<T> {
    if own()? == inum {
        return Ok(work());
    }
    let home = File::open(OWN)?;
    let mut refused = gone();
    for way in ways {
        match open(inum, way).and_then(|there| enter(&there)) {
            Ok(()) => {
                let result = work();
                be_back(&enter(&home));
                return Ok(result);
            }
            // That one process has ended says less than that another may not be followed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn open(inum: u32, way: &Path) -> io::Result<File> {
    let there = File::open(way)?;
    if there.metadata()?.ino() == u64::from(inum) { Ok(there) } else { Err(gone()) }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the namespace has gone")
}

fn be_back(returned: &io::Result<()>) {
    if let Err(error) = returned {
        panic!("the thread cannot return to its own network namespace: {error}");
    }
}

fn enter(namespace: &File) -> io::Result<()> {
    move_into_link_name_space(std::os::fd::AsFd::as_fd(namespace), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

fn inode(path: &Path) -> io::Result<u32> {
    let inode = fs::metadata(path)?.ino();
    u32::try_from(inode).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a namespace"))
}

/// Whether a path leads to a namespace and not to a plain file (`NSFS_MAGIC`, `include/uapi/linux/magic.h`).
fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == 0x6e73_6673)
}

/// `net:[4026531840]`.
fn parse(link: &Path) -> Option<u32> {
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::thread::{UnshareFlags, unshare_unsafe};

    use super::*;

    /// A network namespace that lasts as long as this does, with a thread in it; `None` without the privilege for one.
    struct Resident {
        inum: u32,
        /// A way into it.
        way: PathBuf,
        leave: Option<std::sync::mpsc::Sender<()>>,
        thread: Option<thread::JoinHandle<()>>,
    }

    impl Resident {
        fn settle() -> Option<Self> {
            let (tell, told) = std::sync::mpsc::channel();
            let (leave, left) = std::sync::mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                // SAFETY: the network namespace concerns no memory and no descriptors of other threads.
                if unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_err() {
                    return;
                }
                let way = fs::canonicalize("/proc/thread-self").expect("/proc").join("ns/net");
                tell.send((own().expect("/proc"), way)).expect("somebody waits");
                let _ = left.recv();
            });
            let (inum, way) = told.recv().ok()?;
            Some(Self { inum, way, leave: Some(leave), thread: Some(thread) })
        }
    }

    impl Drop for Resident {
        fn drop(&mut self) {
            drop(self.leave.take());
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }

    #[test]
    fn another_way_is_gone_where_the_first_leads_nowhere() {
        let Some(there) = Resident::settle() else { return };
        let home = own().expect("/proc");
        let ways = ["/proc/self/ns/none".into(), PathBuf::from(OWN), there.way.clone()];
        let entered = inside(there.inum, &ways, || own().expect("/proc")).expect("a way in");
        assert_eq!((entered, own().expect("/proc")), (there.inum, home));
        let error = inside(there.inum, &ways[..2], || ()).expect_err("no way in");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn way_that_is_refused_counts_for_more_than_one_that_has_gone() {
        let Some(there) = Resident::settle() else { return };
        // A namespace of another kind under the number of this one cannot be had, a directory can be opened.
        let inum = inode(Path::new("/proc")).expect("a directory");
        let ways = ["/proc".into(), "/proc/self/ns/none".into(), there.way.clone()];
        let error = inside(inum, &ways, || ()).expect_err("no namespace");
        assert_ne!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn several_ways_into_this_namespace_are_found() {
        let found = find();
        let ways = &found.namespaces[&own().expect("/proc")];
        assert!((2..=MAX_WAYS).contains(&ways.len()), "{ways:?}");
    }

    #[test]
    fn thread_that_cannot_come_back_ends() {
        let stray = thread::spawn(|| be_back(&Err(io::ErrorKind::PermissionDenied.into())));
        assert!(stray.join().is_err());
    }
}
