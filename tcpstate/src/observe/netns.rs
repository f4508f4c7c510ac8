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

/// The network namespaces that could be found.
#[derive(Debug, Default)]
pub struct Found {
    /// A way into each, by inode number.
    pub namespaces: BTreeMap<u32, PathBuf>,
    /// Processes whose namespace may not be read.
    pub hidden_processes: u64,
}

/// Looks for namespaces: this thread's, every process's, and the named ones. Nothing is opened, so nothing
/// is kept alive.
#[must_use]
pub fn find() -> Found {
    let mut found = Found::default();
    if let Ok(own) = own() {
        found.namespaces.insert(own, PathBuf::from(OWN));
    }
    for directory in NAMED {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            // A name that is not mounted is a plain file of another file system.
            if let Ok(inode) = inode(&entry.path())
                && is_namespace(&entry.path())
            {
                found.namespaces.entry(inode).or_insert_with(|| entry.path());
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
                    found.namespaces.entry(inode).or_insert(path);
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

/// What a file of the calling thread's network namespace says, such as `sockstat`.
///
/// # Errors
/// If it cannot be read: one sentence why.
pub fn file(name: &str) -> Result<String, String> {
    let path = format!("/proc/thread-self/net/{name}");
    fs::read_to_string(&path).map_err(|error| format!("{path} cannot be read: {error}"))
}

/// Runs `work` inside a namespace, on the calling thread, and comes back. A namespace that has another
/// inode number by now is another namespace: that is an error too.
///
/// # Errors
/// If it cannot be entered (`EPERM` without `CAP_SYS_ADMIN`), has gone, or `work` fails; the
/// thread is then back where it was.
pub fn inside<T>(inum: u32, path: &Path, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if own()? == inum {
        return work();
    }
    let home = File::open(OWN)?;
    let there = File::open(path)?;
    if there.metadata()?.ino() != u64::from(inum) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the namespace has gone"));
    }
    enter(&there)?;
    let result = work();
    enter(&home)?;
    result
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
