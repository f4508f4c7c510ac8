//! Whether a process is frozen with its cgroup: cgroup v2's `cgroup.events`
//! (`Documentation/admin-guide/cgroup-v2.rst`) and v1's `freezer.state`
//! (`Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst`). Both tell of the ancestors' doing too.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

/// Where the cgroup hierarchies are mounted, as this process sees them.
#[derive(Clone, Debug, Default)]
pub struct Freezers {
    v2: Option<Mount>,
    v1: Option<Mount>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Mount {
    /// The cgroup that stands at the mount point.
    root: PathBuf,
    point: PathBuf,
}

impl Freezers {
    /// Looks for them.
    ///
    /// # Errors
    /// If the list of mounts cannot be read.
    pub fn find() -> io::Result<Self> {
        fs::read("/proc/thread-self/mountinfo").map(|text| Self::parse(&text))
    }

    /// Whether they can be looked into.
    ///
    /// # Errors
    /// If one cannot, or if there is none.
    pub fn reachable(&self) -> io::Result<()> {
        let mounts = [&self.v2, &self.v1].into_iter().flatten();
        // Every cgroup has this file, the topmost too; another file system over it has not.
        let tried: Vec<_> = mounts.map(|mount| fs::metadata(mount.point.join("cgroup.procs"))).collect();
        if tried.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it is not mounted"));
        }
        tried.into_iter().try_for_each(|one| one.map(drop))
    }

    /// Lines `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG…] - TYPE SOURCE SUPER_OPTIONS` (proc(5)).
    pub(crate) fn parse(mountinfo: &[u8]) -> Self {
        let mut found = Self::default();
        for line in mountinfo.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b' ');
            let mut place = fields.by_ref().take_while(|field| *field != b"-").skip(3);
            let (Some(root), Some(point)) = (place.next(), place.next()) else { continue };
            place.for_each(drop);
            let mount = Mount { root: path(root), point: path(point) };
            match (fields.next(), fields.nth(1)) {
                (Some(b"cgroup2"), _) => found.v2 = found.v2.or(Some(mount)),
                (Some(b"cgroup"), Some(options)) if has_freezer(options) => {
                    found.v1 = found.v1.or(Some(mount));
                }
                _ => {}
            }
        }
        found
    }

    /// Whether the process with this `/proc/PID/cgroup` is frozen; `None` where that cannot be seen.
    #[must_use]
    pub fn is_frozen(&self, cgroup: &[u8]) -> Option<bool> {
        let mut frozen = None;
        for line in cgroup.split(|byte| *byte == b'\n') {
            let mut fields = line.splitn(3, |byte| *byte == b':');
            let (Some(hierarchy), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let seen = if hierarchy == b"0" {
                self.v2.as_ref().and_then(|mount| mount.read(path, "cgroup.events", is_frozen_v2))
            } else if has_freezer(controllers) {
                self.v1.as_ref().and_then(|mount| mount.read(path, "freezer.state", is_frozen_v1))
            } else {
                continue;
            };
            frozen = match (frozen, seen) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (known, None) => known,
                (_, seen) => seen,
            };
        }
        frozen
    }
}

impl Mount {
    fn read(&self, cgroup: &[u8], file: &str, is_frozen: fn(&str) -> bool) -> Option<bool> {
        // The topmost cgroup cannot be frozen, and has no such file.
        if cgroup == b"/" {
            return Some(false);
        }
        // A cgroup outside of this process's cgroup namespace is shown as `/../…`.
        let below = Path::new(OsStr::from_bytes(cgroup)).strip_prefix(&self.root).ok()?;
        if below.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        fs::read_to_string(self.point.join(below).join(file)).ok().map(|text| is_frozen(&text))
    }
}

/// `cpu,freezer`.
fn has_freezer(list: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|name| name == b"freezer")
}

/// A path in which the kernel has written spaces, tabs, line feeds and backslashes as `\040` and so on (`mangle` in
/// `fs/proc_namespace.c`).
fn path(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| *first == b'\\');
        let escaped = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes).into()
}

fn is_frozen_v2(events: &str) -> bool {
    events.lines().any(|line| line == "frozen 1")
}

fn is_frozen_v1(state: &str) -> bool {
    state.trim() == "FROZEN"
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path};

    use proptest::prelude::*;

    use super::Freezers;

    /// Recorded on hosts with cgroup v2 alone, with both, and with v1 alone.
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn points(mountinfo: &str) -> [Option<String>; 2] {
        let found = Freezers::parse(mountinfo.as_bytes());
        [found.v2, found.v1].map(|mount| mount.map(|mount| mount.point.display().to_string()))
    }

    #[test]
    fn hierarchies_are_found_where_they_are_mounted() {
        let at = |point: &str| Some(point.to_owned());
        assert_eq!(points(UNIFIED), [at("/sys/fs/cgroup"), None]);
        assert_eq!(points(HYBRID), [at("/sys/fs/cgroup/unified"), at("/sys/fs/cgroup/freezer")]);
        assert_eq!(points("31 23 0:28 / /proc rw - proc proc rw\nnonsense\n - \n"), [None, None]);
    }

    #[test]
    fn path_with_escapes_is_the_path_itself() {
        let escaped = r"30 23 0:26 / /mnt/a\040b\134c\1 rw shared:4 master:1 - cgroup2 cgroup2 rw";
        assert_eq!(points(escaped)[0].as_deref(), Some(r"/mnt/a b\c\1"));
    }

    #[test]
    fn cgroup_whose_name_is_no_utf_8_is_looked_at() {
        let root = std::env::temp_dir().join(format!("tcpstate-freezer-bytes-{}", std::process::id()));
        let folder = root.join("v2").join(OsStr::from_bytes(b"\xff.service"));
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("cgroup.events"), "frozen 1\n").expect("written");
        assert_eq!(tree(&root, &[]).is_frozen(b"0::/\xff.service\n"), Some(true));
        fs::remove_dir_all(root).expect("removed");
    }

    /// A tree of cgroups that is made of plain files.
    fn tree(root: &Path, files: &[(&str, &str)]) -> Freezers {
        for (name, text) in files {
            let file = root.join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, text).expect("written");
        }
        let root = root.display();
        let mountinfo = format!(
            "1 0 0:1 / {root}/v2 rw - cgroup2 cgroup2 rw\n2 0 0:2 /outer {root}/v1 rw - cgroup cgroup rw,freezer\n"
        );
        Freezers::parse(mountinfo.as_bytes())
    }

    #[test]
    fn either_hierarchy_may_have_frozen_it() {
        let root = std::env::temp_dir().join(format!("tcpstate-freezer-{}", std::process::id()));
        let freezers = tree(
            &root,
            &[
                ("v2/a.service/cgroup.events", "populated 1\nfrozen 1\n"),
                ("v2/b.service/cgroup.events", "populated 1\nfrozen 0\n"),
                ("v1/box/freezer.state", "FROZEN\n"),
                ("v1/free/freezer.state", "THAWED\n"),
            ],
        );
        for (cgroup, expected) in [
            ("0::/a.service\n", Some(true)),
            ("0::/b.service\n", Some(false)),
            ("0::/\n", Some(false)),
            ("0::/ended.service\n", None),
            ("0::/../a.service\n", None),
            ("7:freezer:/outer/box\n0::/\n", Some(true)),
            ("7:freezer:/outer/free\n0::/a.service\n", Some(true)),
            ("7:freezer:/outer/free\n0::/ended.service\n", Some(false)),
            ("7:freezer:/elsewhere/box\n", None),
            ("7:cpu,memory:/outer/box\n", None),
            ("", None),
            ("0:", None),
        ] {
            assert_eq!(freezers.is_frozen(cgroup.as_bytes()), expected, "{cgroup}");
        }
        fs::remove_dir_all(root).expect("removed");
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(cgroup2?|freezer|0|[0-9:/,. -]|\n|\\PC){0,60}") {
            let _ = Freezers::parse(text.as_bytes()).is_frozen(text.as_bytes());
        }
    }
}
