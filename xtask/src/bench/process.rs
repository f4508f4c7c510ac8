//! What /proc says of a process: time on the processors, memory, how often it woke up.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    ops::Sub,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::numbers::as_f64;

/// Ticks a second in /proc/PID/stat: the kernel's `USER_HZ`, which is 100 on x86 and ARM.
const TICKS_PER_S: f64 = 100.0;

/// Time on the processors, s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cpu {
    pub(super) user_s: f64,
    pub(super) system_s: f64,
}

impl Cpu {
    /// What a million events took, of all that so many took.
    pub(super) fn per_million(self, events: u64) -> Self {
        let millions = as_f64(events) / 1e6;
        Self { user_s: self.user_s / millions, system_s: self.system_s / millions }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { user_s: self.user_s - earlier.user_s, system_s: self.system_s - earlier.system_s }
    }
}

/// User and system time of a process until now, to 10 ms.
///
/// # Errors
/// When the process is gone.
pub(super) fn cpu(pid: u32) -> Result<Cpu> {
    parse_cpu(&read(pid, "stat")?, 13).context("/proc/PID/stat looks different here")
}

/// The same of all of our children that have ended.
///
/// # Errors
/// When /proc cannot be read.
pub(super) fn cpu_of_ended_children() -> Result<Cpu> {
    parse_cpu(&read(std::process::id(), "stat")?, 15).context("/proc/PID/stat looks different here")
}

/// `index` is that of the user time, counted from 0; system time comes after it.
fn parse_cpu(stat: &str, index: usize) -> Option<Cpu> {
    // The name is in brackets and may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(index - 2);
    let mut next = || Some(as_f64(fields.next()?.parse().ok()?) / TICKS_PER_S);
    Some(Cpu { user_s: next()?, system_s: next()? })
}

/// Resident memory, kB.
///
/// # Errors
/// When the process is gone.
pub(super) fn resident_kb(pid: u32) -> Result<u64> {
    field(&read(pid, "status")?, "VmRSS:").context("/proc/PID/status looks different here")
}

/// What each thread of a process has done until now, by its number.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity(BTreeMap<OsString, Done>);

/// What threads have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Time on the processors, ns.
    pub(super) running_ns: u64,
    /// How often it waited for something, and so woke up afterwards.
    pub(super) wakeups: u64,
}

impl Activity {
    /// What has been done since then, without what a thread has done that is gone now.
    pub(super) fn since(&self, earlier: &Self) -> Done {
        let mut sum = Done::default();
        for (thread, now) in &self.0 {
            let then = earlier.0.get(thread).copied().unwrap_or_default();
            sum.running_ns += now.running_ns.saturating_sub(then.running_ns);
            sum.wakeups += now.wakeups.saturating_sub(then.wakeups);
        }
        sum
    }
}

/// # Errors
/// When the process is gone.
pub(super) fn activity(pid: u32) -> Result<Activity> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")?;
    let tasks = tasks.filter_map(std::result::Result::ok);
    // A thread may end at any time.
    Ok(Activity(tasks.filter_map(|task| Some((task.file_name(), activity_of_task(&task.path())?))).collect()))
}

fn activity_of_task(task: &Path) -> Option<Done> {
    let text = |name| fs::read_to_string(task.join(name)).ok();
    let running_ns = text("schedstat")?.split(' ').next()?.parse().ok()?;
    Some(Done { running_ns, wakeups: field(&text("status")?, "voluntary_ctxt_switches:")? })
}

fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

fn read(pid: u32, name: &str) -> Result<String> {
    let file = PathBuf::from(format!("/proc/{pid}/{name}"));
    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{Activity, Cpu, Done, activity, field, parse_cpu};

    const STAT: &str = "77 (a) b) (c) S 1 77 77 0 -1 4194560 150 0 0 0 12 34 56 78 20 0 5 0 99 1 2 3";

    #[test]
    fn a_name_with_brackets_moves_no_field() {
        assert_eq!(parse_cpu(STAT, 13), Some(Cpu { user_s: 0.12, system_s: 0.34 }));
        assert_eq!(parse_cpu(STAT, 15), Some(Cpu { user_s: 0.56, system_s: 0.78 }), "of its children");
        assert_eq!(parse_cpu("77 (a) S 1", 13), None);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status =
            "Name:\tx\nVmRSS:\t    4321 kB\nnonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(status, "VmRSS:"), Some(4321));
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(7));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_has_been_active() {
        assert!(activity(std::process::id()).unwrap().since(&Activity::default()).running_ns > 0);
    }

    #[test]
    fn a_thread_that_has_ended_takes_nothing_back() {
        let threads = |list: &[(&str, u64)]| {
            let done = |ns: &u64| Done { running_ns: *ns, wakeups: 1 };
            Activity(list.iter().map(|(thread, ns)| (OsString::from(thread), done(ns))).collect())
        };
        let (before, after) = (threads(&[("1", 10), ("2", 900)]), threads(&[("1", 15), ("3", 7)]));
        assert_eq!(after.since(&before), Done { running_ns: 12, wakeups: 1 });
    }
}
