//! What a process is and how it fares: who started it, what it belongs to, whether it runs at all, and how many files
//! it may still open. Whatever is in the way (no privilege, an end in the middle of the look-up) leaves a gap and a
//! sentence, and nothing is guessed.

use std::{fs, io, path::Path};

use super::{freezer::Freezers, script};
use crate::{
    observe::{cgroup, procfs},
    track::{Comm, Owner},
};

/// Whether a process gets to run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Activity {
    /// Nothing keeps it.
    Runs,
    /// A signal has stopped it.
    Stopped,
    /// A debugger has stopped it.
    Traced,
    /// It has ended, and its parent has not taken note of it.
    Ended,
}

impl Activity {
    /// `task_state_array` in `fs/proc/array.c`.
    fn of(state: char) -> Self {
        match state {
            'T' => Self::Stopped,
            't' => Self::Traced,
            'Z' | 'X' => Self::Ended,
            _ => Self::Runs,
        }
    }
}

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    /// With `pid` it names a process for good: its start, ns since boot.
    pub start_boottime_ns: u64,
    pub comm: Comm,
    /// The parent's pid.
    pub ppid: u32,
    pub owner: Owner,
    /// What it runs, if it is an interpreter: a script, a module or a jar.
    pub script: Option<String>,
    pub activity: Activity,
    /// Whether its cgroup is frozen.
    pub frozen: Option<bool>,
    pub open_files: Option<u64>,
    /// The number of the first descriptor that it may not open: the soft limit.
    pub open_files_limit: Option<u64>,
    /// What could not be seen, one sentence each.
    pub cannot_see: Vec<String>,
}

/// Looks at a process: the one that started then, ns since boot, if that is known.
///
/// # Errors
/// If it may not be looked at; [`io::ErrorKind::NotFound`] if it has ended.
pub fn look(pid: u32, start_boottime_ns: Option<u64>, freezers: &Freezers) -> io::Result<Process> {
    let root = procfs::root(pid);
    let start_boottime_ns = match start_boottime_ns {
        Some(start) => start,
        None => procfs::stat(&root)?.start_boottime_ns(),
    };
    let mut cannot_see = Vec::new();
    let mut seen = |what: &str, error: io::Error| {
        cannot_see.push(format!("{what} of process {pid} cannot be seen: {error}"));
    };
    let exe = fs::read_link(root.join("exe")).map(|path| path.to_string_lossy().into_owned());
    let exe = exe.map_err(|error| seen("the program", error)).ok();
    let script = exe.as_deref().and_then(|exe| script::of(exe, &fs::read(root.join("cmdline")).ok()?));
    let cgroup = fs::read(root.join("cgroup")).map_err(|error| seen("the cgroup", error)).ok();
    let open_files = open_files(&root).map_err(|error| seen("the number of open files", error)).ok();
    let limits = fs::read_to_string(root.join("limits")).map_err(|error| seen("the limits", error)).ok();
    let place = cgroup.as_deref().map(cgroup::parse).unwrap_or_default();
    let frozen = cgroup.and_then(|cgroup| freezers.is_frozen(&cgroup));
    // Last, so that all that was seen before was the same process.
    let stat = procfs::stat(&root)?;
    if !stat.is_of_start(start_boottime_ns) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(Process {
        pid,
        start_boottime_ns,
        comm: stat.comm,
        ppid: stat.ppid,
        owner: Owner { exe, unit: place.unit, container: place.container, pod: place.pod },
        script,
        activity: Activity::of(stat.state),
        frozen,
        open_files,
        open_files_limit: limits.as_deref().and_then(parse_open_files_limit),
        cannot_see,
    })
}

/// Since 6.2 the size of the directory says it, and needs no privilege (`proc_fd_getattr` in `fs/proc/fd.c`).
fn open_files(root: &Path) -> io::Result<u64> {
    let directory = root.join("fd");
    match fs::metadata(&directory)?.len() {
        0 => Ok(fs::read_dir(directory)?.count() as u64),
        count => Ok(count),
    }
}

/// `Max open files            1024                 524288               files`
fn parse_open_files_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        process::{Child, Command},
    };

    use proptest::prelude::*;
    use rustix::process::{Pid, Signal, kill_process};

    use super::{Activity, Freezers, Process, look, parse_open_files_limit};
    use crate::observe::procfs;

    fn seen(pid: u32, start: Option<u64>) -> Option<Process> {
        match look(pid, start, &Freezers::default()) {
            Ok(process) => Some(process),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                None
            }
        }
    }

    fn start(pid: u32) -> u64 {
        procfs::stat(&procfs::root(pid)).expect("it runs").start_boottime_ns()
    }

    #[test]
    fn this_process_is_seen() {
        let pid = std::process::id();
        let process = seen(pid, None).expect("it runs");
        assert_eq!(process.start_boottime_ns, start(pid));
        assert_eq!(process.activity, Activity::Runs);
        assert_eq!(
            process.ppid,
            rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned())
        );
        assert!(process.owner.exe.is_some() && process.cannot_see.is_empty(), "{process:?}");
        assert_eq!(process.frozen, None, "no hierarchy is known");
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        assert_eq!(process.open_files_limit, limit);
        // Other tests open files meanwhile.
        let held: Vec<_> = (0..100).map(|_| File::open("/dev/null").expect("opened")).collect();
        let more = seen(pid, Some(start(pid))).expect("it runs");
        assert!(more.open_files.is_some_and(|files| files >= held.len() as u64), "{more:?}");
    }

    #[test]
    fn process_that_started_at_another_time_is_another_process() {
        let pid = std::process::id();
        assert!(seen(pid, Some(start(pid) + 1_000_000_000)).is_none());
    }

    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn stopped_process_is_told_from_one_that_sleeps_and_from_one_that_has_ended() {
        let mut sleeper = Sleeper(Command::new("sleep").arg("60").spawn().expect("started"));
        let (pid, start) = (sleeper.0.id(), start(sleeper.0.id()));
        let activity = || seen(pid, Some(start)).map(|process| process.activity);
        assert_eq!(activity(), Some(Activity::Runs));
        kill_process(Pid::from_child(&sleeper.0), Signal::STOP).expect("signalled");
        let stopped = (0..1000).any(|_| {
            std::thread::yield_now();
            activity() == Some(Activity::Stopped)
        });
        assert!(stopped);
        sleeper.0.kill().expect("signalled");
        let ended = (0..1000).any(|_| {
            std::thread::yield_now();
            activity() == Some(Activity::Ended)
        });
        assert!(ended);
        sleeper.0.wait().expect("ended");
        assert_eq!(activity(), None);
        assert!(seen(pid, None).is_none());
    }

    #[test]
    fn soft_limit_is_the_first_number() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max locked memory         8388608              8388608              bytes     \n\
            Max open files            1024                 524288               files     \n";
        assert_eq!(parse_open_files_limit(limits), Some(1024));
        assert_eq!(parse_open_files_limit("Max open files            unlimited            unlimited"), None);
        assert_eq!(parse_open_files_limit(""), None);
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(Max open files| |[0-9]{1,25}|\n|\\PC){0,40}") {
            let _ = parse_open_files_limit(&text);
        }
    }
}
