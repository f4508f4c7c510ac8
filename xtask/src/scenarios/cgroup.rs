//! A process that is frozen by its cgroup, as by `docker pause`, until this goes.

use std::{
    fs,
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use anyhow::{Context, Result};

/// How long an empty cgroup may refuse to be removed: its process is still being taken apart.
const GOING: Duration = Duration::from_secs(2);

/// What its cgroups are called, before our process id.
const PREFIX: &str = "tcpstate-scenario-";

pub(super) struct Frozen(PathBuf);

impl Frozen {
    /// # Errors
    /// When there is no cgroup2 hierarchy that may be written.
    pub(super) fn freeze(pid: u32) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("the mounts cannot be read")?;
        let root = cgroup2(&mounts).context("this machine has no cgroup2 to freeze a process with")?;
        clear(Path::new(root));
        let folder = Path::new(root).join(format!("{PREFIX}{}-{pid}", process::id()));
        fs::create_dir_all(&folder).context("a cgroup cannot be made")?;
        let frozen = Self(folder);
        fs::write(frozen.0.join("cgroup.procs"), pid.to_string()).context("a process cannot be moved")?;
        fs::write(frozen.0.join("cgroup.freeze"), "1").context("a cgroup cannot be frozen")?;
        Ok(frozen)
    }
}

/// Removes what a run left that was killed. Those that are in use stay: the kernel removes no cgroup with a process.
fn clear(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn cgroup2(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let folder = words.next()?;
        (words.next()? == "cgroup2").then_some(folder)
    })
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.freeze"), "0");
        for _ in 0..20 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(GOING / 20);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cgroup2;

    #[test]
    fn the_second_hierarchy_is_found_alone_and_beside_the_first() {
        let hybrid =
            "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup2(hybrid), Some("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup2("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"), Some("/sys/fs/cgroup"));
        assert_eq!(cgroup2("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"), None);
    }
}
