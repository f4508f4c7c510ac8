//! The BPF programs of this kernel, as bpftool tells of them, and the kernel's own figures of what they cost.

use std::{
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::keeper::Keeper;
use crate::{child, running::Running, say::say};

/// The kinds of programs that run in the middle of what the kernel does.
const TRACING: [&str; 6] =
    ["kprobe", "perf_event", "raw_tracepoint", "raw_tracepoint_writable", "tracepoint", "tracing"];
/// How long a program may take to go after its owner did, or after somebody else's measurement.
const PATIENCE: Duration = Duration::from_mins(1);
/// Keeps the kernel's statistics on until its input ends, then puts back what was.
const KEEP_STATISTICS: &str = "file=/proc/sys/kernel/bpf_stats_enabled
    old=$(cat $file) && echo 1 > $file && echo on && cat > /dev/null
    echo \"$old\" > $file";

/// One program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) id: u64,
    pub(super) name: String,
    /// 0 where the kernel's statistics were never on.
    pub(super) run_time_ns: u64,
    pub(super) runs: u64,
}

/// The program that tells of BPF programs.
pub(super) struct Bpftool(PathBuf);

impl Bpftool {
    pub(super) fn new(program: PathBuf) -> Self {
        Self(program)
    }

    /// All programs that trace, by whomever.
    ///
    /// # Errors
    /// When bpftool fails.
    pub(super) fn tracing(&self) -> Result<Vec<Program>> {
        let told = child::output_of(Command::new(&self.0).args(["-j", "prog"]));
        parse(&told.context("bpftool cannot list the BPF programs")?)
    }

    /// # Errors
    /// One sentence that names them, when there are any.
    pub(super) fn ensure_nothing_traces(&self) -> Result<()> {
        ensure_none(&self.tracing()?)
    }

    /// Waits until nothing traces any more: a program goes a moment after its owner.
    ///
    /// # Errors
    /// When some stay.
    pub(super) fn wait_until_nothing_traces(&self) -> Result<()> {
        self.wait_until_only(&[])
    }

    /// Waits until no programs that trace are loaded but these, by their numbers.
    ///
    /// # Errors
    /// When others stay.
    pub(super) fn wait_until_only(&self, ours: &[u64]) -> Result<()> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            let mut there = self.tracing()?;
            there.retain(|program| !ours.contains(&program.id));
            if begun.elapsed() >= PATIENCE {
                return ensure_none(&there);
            }
            if there.is_empty() {
                return Ok(());
            }
            if !told && begun.elapsed() > Duration::from_secs(5) {
                say(format!("waiting for BPF programs to go: {}", names(&there)));
                told = true;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until `subject` has loaded a program.
    ///
    /// # Errors
    /// When it ends instead, or takes too long.
    pub(super) fn wait_until_something_traces(&self, subject: &mut Running) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            ensure!(!subject.has_ended(), "it ended at once");
            if !self.tracing()?.is_empty() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("it loaded no BPF program within {} s", PATIENCE.as_secs())
    }
}

fn ensure_none(foreign: &[Program]) -> Result<()> {
    ensure!(
        foreign.is_empty(),
        "other BPF programs trace this kernel and would spoil every number: {}; end what loaded them, and start again",
        names(foreign)
    );
    Ok(())
}

fn names(programs: &[Program]) -> String {
    let names: Vec<_> =
        programs.iter().map(|program| format!("{} (id {})", program.name, program.id)).collect();
    names.join(", ")
}

fn parse(told: &str) -> Result<Vec<Program>> {
    let told: Value = serde_json::from_str(told).context("what bpftool says is not JSON")?;
    let list = told.as_array().context("what bpftool says is no list")?;
    let tracing = list.iter().filter(|it| it["type"].as_str().is_some_and(|kind| TRACING.contains(&kind)));
    Ok(tracing
        .map(|it| Program {
            id: it["id"].as_u64().unwrap_or_default(),
            name: it["name"].as_str().unwrap_or("without a name").to_owned(),
            run_time_ns: it["run_time_ns"].as_u64().unwrap_or_default(),
            runs: it["run_cnt"].as_u64().unwrap_or_default(),
        })
        .collect())
}

/// The names of the programs that were loaded between two looks; empty for none.
pub(super) fn came(earlier: &[Program], later: &[Program]) -> String {
    let known = |id| earlier.iter().any(|program| program.id == id);
    let new: Vec<_> = later.iter().filter(|program| !known(program.id)).cloned().collect();
    names(&new)
}

/// What each program has done between two looks: those that ran, in the order in which they were loaded. Those
/// that came in between are somebody else's.
pub(super) fn between(earlier: &[Program], later: Vec<Program>) -> Vec<Program> {
    let mut done = Vec::new();
    for now in later {
        let Some(old) = earlier.iter().find(|old| old.id == now.id) else { continue };
        let run_time_ns = now.run_time_ns.saturating_sub(old.run_time_ns);
        let runs = now.runs.saturating_sub(old.runs);
        if runs > 0 {
            done.push(Program { run_time_ns, runs, ..now });
        }
    }
    done.sort_by_key(|program| program.id);
    done
}

/// The kernel's statistics of BPF programs, on until this goes; then they are again as they were.
pub(super) struct Statistics {
    _keeper: Keeper,
}

impl Statistics {
    /// # Errors
    /// When the kernel has none.
    pub(super) fn on() -> Result<Self> {
        let keeper = Keeper::start(KEEP_STATISTICS)
            .context("the kernel's statistics of BPF programs cannot be switched on")?;
        Ok(Self { _keeper: keeper })
    }
}

#[cfg(test)]
mod tests {
    use super::{Program, between, came, parse};

    fn program(id: u64, run_time_ns: u64, runs: u64) -> Program {
        Program { id, name: "p".to_owned(), run_time_ns, runs }
    }

    #[test]
    fn only_programs_that_trace_are_of_interest() {
        let told = r#"[
            {"id":3,"type":"cgroup_device","name":"sd_devices"},
            {"id":7,"type":"tracing","name":"inet_sock_set_state","run_time_ns":500,"run_cnt":10},
            {"id":9,"type":"tracepoint","tag":"0e9a"}]"#;
        let found = parse(told).unwrap();
        let names: Vec<_> = found.iter().map(|it| (it.id, it.name.as_str())).collect();
        assert_eq!(names, [(7, "inet_sock_set_state"), (9, "without a name")]);
        assert_eq!((found[0].run_time_ns, found[0].runs), (500, 10));
        assert_eq!(found[1].runs, 0, "without statistics there are no figures");
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        assert!(parse("{\"error\":\"no\"}").is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn a_program_that_came_meanwhile_is_named() {
        let earlier = [program(1, 0, 0)];
        assert_eq!(came(&earlier, &[program(1, 5, 5), program(2, 0, 0)]), "p (id 2)");
        assert_eq!(came(&earlier, &[]), "", "one that went disturbs less than it did");
    }

    #[test]
    fn only_what_ran_meanwhile_counts() {
        let earlier = [program(1, 100, 10), program(2, 50, 5), program(4, 0, 0)];
        let later = vec![program(4, 9, 1), program(3, 30, 3), program(2, 50, 5), program(1, 160, 12)];
        assert_eq!(between(&earlier, later), [program(1, 60, 2), program(4, 9, 1)]);
    }
}
