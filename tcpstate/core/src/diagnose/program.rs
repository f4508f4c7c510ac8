//! Which program a process runs: the executable, and what it interprets, in a unit or a container. Workers, children and
//! jobs that come and go are one program, and a finding is about a program.

use foldhash::{HashMap, HashMapExt, HashSet};

use super::evidence::{Evidence, Process};
use crate::track::{self, Comm, Holder};

/// Processes that are remembered.
const MAX_PROCESSES: usize = 16_384;
/// A process that was not looked at for so long is forgotten, ns.
const FORGET_NS: u64 = 600_000_000_000;
/// Forks of forks are followed over this many generations.
const MAX_GENERATIONS: usize = 8;
/// By how much two readings of one process's start may differ, ns: /proc counts ticks, the file iterator ns.
const START_SLACK_NS: u64 = 20_000_000;

/// Names a program: the same after a restart of the program or of the daemon. 0 where nobody is known.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct ProgramId(u64);

impl ProgramId {
    /// Nobody is known.
    pub(super) const NONE: Self = Self(0);

    fn of(parts: &[&str]) -> Self {
        Self(hash(parts.join("\0").bytes()).max(1))
    }
}

impl std::fmt::LowerHex for ProgramId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// FNV-1a (RFC draft-eastlake-fnv): a hash that will not change with the compiler.
pub(super) fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A process that takes part in something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Member {
    pub(super) process: track::Process,
    /// When it started, ns since boot; 0 when not known.
    pub(super) start_boottime_ns: u64,
    /// Its sockets or events among those in question.
    pub(super) count: u64,
}

impl From<&Holder> for Member {
    fn from(holder: &Holder) -> Self {
        let process = track::Process { pid: holder.pid, comm: holder.comm };
        Self { process, start_boottime_ns: holder.start_boottime_ns, count: 1 }
    }
}

impl From<track::Process> for Member {
    fn from(process: track::Process) -> Self {
        Self { process, start_boottime_ns: 0, count: 1 }
    }
}

/// Several processes, each once: the one with most first, of equal ones the one that started first.
pub(super) fn members(all: impl Iterator<Item = Member>) -> Vec<Member> {
    let mut places = HashMap::<u32, usize>::default();
    let mut members: Vec<Member> = Vec::new();
    for member in all {
        let place = *places.entry(member.process.pid).or_insert(members.len());
        match members.get_mut(place) {
            Some(known) => known.count = known.count.saturating_add(member.count),
            None => members.push(member),
        }
    }
    members.sort_by_key(|member| {
        (std::cmp::Reverse(member.count), member.start_boottime_ns, member.process.pid)
    });
    members
}

#[derive(Clone, Copy, Debug)]
struct Known {
    start_boottime_ns: u64,
    comm: Comm,
    id: ProgramId,
    seen_ns: u64,
    ended: bool,
}

/// The processes that were looked at, and what they run.
#[derive(Debug, Default)]
pub(super) struct Programs {
    processes: HashMap<u32, Known>,
    /// What is known of the programs of those: of a process that ended before it was looked at, its program's.
    described: HashMap<ProgramId, Process>,
    /// The program whose processes have this name; `None` for several.
    by_comm: HashMap<Comm, Option<ProgramId>>,
}

impl Programs {
    /// Takes in the processes of a pass.
    pub(super) fn observe(&mut self, evidence: &Evidence) {
        let at_ns = evidence.at_ns;
        for (pid, process) in &evidence.processes {
            if process.exited {
                if let Some(known) = self.processes.get_mut(pid) {
                    known.ended = true;
                }
                continue;
            }
            // Of one that is ending no executable is seen any more.
            let Some(comm) = process.comm.filter(|_| process.exe.is_some()) else { continue };
            if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(pid) {
                continue;
            }
            let start_boottime_ns = process.start_boottime_ns.unwrap_or(0);
            let eldest = eldest(evidence, comm, process);
            // Its parent may not have been looked at this time.
            let before = self.known(*pid, comm, start_boottime_ns).filter(|_| eldest == comm);
            let id = before.map_or_else(|| id(eldest, process), |known| known.id);
            self.described.entry(id).or_insert_with(|| described(process));
            let known = Known { start_boottime_ns, comm, id, seen_ns: at_ns, ended: false };
            self.processes.insert(*pid, known);
        }
        self.processes.retain(|_, known| at_ns.saturating_sub(known.seen_ns) < FORGET_NS);
        if self.described.len() > self.processes.len() {
            let ids: HashSet<_> = self.processes.values().map(|known| known.id).collect();
            self.described.retain(|id, _| ids.contains(id));
        }
        self.by_comm = HashMap::with_capacity(self.by_comm.len());
        for known in self.processes.values() {
            let of_name = self.by_comm.entry(known.comm).or_insert(Some(known.id));
            *of_name = of_name.filter(|id| *id == known.id);
        }
    }

    /// The program that a process runs. One that ended before it was looked at runs what others of its name run, if
    /// that is one program.
    pub(super) fn of(&self, member: &Member) -> ProgramId {
        let Member { process, start_boottime_ns, .. } = *member;
        if let Some(known) = self.known(process.pid, process.comm, start_boottime_ns) {
            return known.id;
        }
        let alike = self.by_comm.get(&process.comm).copied().flatten();
        alike.unwrap_or_else(|| ProgramId::of(&["", &process.comm.to_string()]))
    }

    /// What is known of a process's program.
    pub(super) fn description(&self, member: &Member) -> Option<&Process> {
        self.described.get(&self.of(member))
    }

    /// The program that a holder runs.
    pub(super) fn of_holder(&self, holder: &Holder) -> ProgramId {
        self.of(&holder.into())
    }

    /// Whether a process is known to have ended.
    pub(super) fn has_ended(member: &Member, evidence: &Evidence) -> bool {
        match evidence.processes.get(&member.process.pid) {
            Some(process) if process.exited => true,
            Some(process) => process.comm.is_some_and(|comm| comm != member.process.comm),
            None => false,
        }
    }

    fn known(&self, pid: u32, comm: Comm, start_boottime_ns: u64) -> Option<&Known> {
        self.processes.get(&pid).filter(|known| {
            known.comm == comm
                && (start_boottime_ns == 0
                    || known.start_boottime_ns == 0
                    || known.start_boottime_ns.abs_diff(start_boottime_ns) < START_SLACK_NS)
        })
    }

    /// How much is remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.processes.len()
    }
}

/// What all processes of a program have in common.
fn described(process: &Process) -> Process {
    let Process { exe, script, unit, container, pod, .. } = process.clone();
    Process { exe, script, unit, container, pod, ..Process::default() }
}

fn id(comm: Comm, process: &Process) -> ProgramId {
    let comm = comm.to_string();
    let exe = process.exe.as_deref().unwrap_or_default();
    let place = process.unit.as_ref().or(process.container.as_ref()).map_or("", String::as_str);
    let run = process.script.as_deref().unwrap_or_default();
    ProgramId::of(&[exe, &comm, run, place])
}

/// The name of the first process of a program: children that were forked may call themselves otherwise, and one
/// executable may be several programs by several names.
fn eldest(evidence: &Evidence, comm: Comm, process: &Process) -> Comm {
    let (mut name, mut youngest) = (comm, process);
    for _ in 0..MAX_GENERATIONS {
        let parent = youngest.ppid.and_then(|ppid| evidence.processes.get(&ppid));
        let Some(parent) = parent.filter(|parent| parent.exe.is_some() && parent.exe == youngest.exe) else {
            break;
        };
        (name, youngest) = (parent.comm.unwrap_or(name), parent);
    }
    name
}

/// Whether two readings of a start, ns since boot, may be of one process; 0 is any.
pub(super) fn is_same_start(one_ns: u64, other_ns: u64) -> bool {
    one_ns == 0 || other_ns == 0 || one_ns.abs_diff(other_ns) < START_SLACK_NS
}

/// What a process is called in a sentence: its name, and what it runs if it is an interpreter.
pub(super) fn name(comm: &str, process: Option<&Process>) -> String {
    let script = process.and_then(|process| process.script.as_deref());
    let script = script.map(|script| script.rsplit('/').next().unwrap_or(script));
    match script {
        Some(script) if !script.is_empty() && !script.starts_with(comm) => format!("{comm} {script}"),
        _ => comm.to_owned(),
    }
}

/// The unit or the container, as it stands behind a name.
pub(super) fn place(process: Option<&Process>) -> String {
    let Some(process) = process else { return String::new() };
    if let Some(unit) = &process.unit {
        return format!(" in {unit}");
    }
    let short = |id: &String| format!(" in container {}", id.chars().take(12).collect::<String>());
    process.container.as_ref().map(short).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(comm: &str, exe: &str, script: Option<&str>) -> Process {
        Process {
            comm: Some(Comm::new(comm)),
            exe: Some(exe.to_owned()),
            script: script.map(str::to_owned),
            start_boottime_ns: Some(1_000),
            ..Process::default()
        }
    }

    fn member(pid: u32, comm: &str) -> Member {
        track::Process { pid, comm: Comm::new(comm) }.into()
    }

    fn programs(processes: &[(u32, Process)]) -> Programs {
        let mut programs = Programs::default();
        programs.observe(&Evidence { processes: processes.iter().cloned().collect(), ..Evidence::default() });
        programs
    }

    #[test]
    fn workers_are_one_program_and_scripts_of_one_interpreter_are_not() {
        let programs = programs(&[
            (1, process("php-fpm8.2", "/usr/sbin/php-fpm8.2", None)),
            (2, process("php-fpm8.2", "/usr/sbin/php-fpm8.2", None)),
            (3, process("python3", "/usr/bin/python3.11", Some("/srv/a.py"))),
            (4, process("python3", "/usr/bin/python3.11", Some("/srv/b.py"))),
        ]);
        let of = |pid, comm| programs.of(&member(pid, comm));
        assert_eq!(of(1, "php-fpm8.2"), of(2, "php-fpm8.2"));
        assert_ne!(of(3, "python3"), of(4, "python3"));
        // A worker that ended before it was looked at.
        assert_eq!(of(99, "php-fpm8.2"), of(1, "php-fpm8.2"));
        assert!(![of(3, "python3"), of(4, "python3")].contains(&of(99, "python3")), "nobody knows which");
    }

    #[test]
    fn one_executable_by_two_names_is_two_programs_unless_one_is_the_others_child() {
        let child_of = |ppid, comm| Process { ppid: Some(ppid), ..process(comm, "/bin/busybox", None) };
        let programs =
            programs(&[(1, child_of(9, "httpd")), (2, child_of(9, "nc")), (3, child_of(1, "worker"))]);
        let of = |pid, comm| programs.of(&member(pid, comm));
        assert_ne!(of(1, "httpd"), of(2, "nc"));
        assert_eq!(of(1, "httpd"), of(3, "worker"));
    }

    #[test]
    fn the_same_executable_in_two_units_is_two_programs() {
        let unit = |unit: &str| Process { unit: Some(unit.into()), ..process("app", "/usr/bin/app", None) };
        let programs = programs(&[(1, unit("a.service")), (2, unit("b.service"))]);
        assert_ne!(programs.of(&member(1, "app")), programs.of(&member(2, "app")));
    }

    #[test]
    fn number_that_is_anothers_by_now_says_nothing() {
        let programs = programs(&[(7, process("nginx", "/usr/sbin/nginx", None))]);
        assert_ne!(programs.of(&member(7, "cron")), programs.of(&member(7, "nginx")));
        let later = Member { start_boottime_ns: 90_000_000_000, ..member(7, "nginx") };
        // Still called nginx: most likely another worker.
        assert_eq!(programs.of(&later), programs.of(&member(7, "nginx")));
    }

    #[test]
    fn names_tell_what_an_interpreter_runs() {
        let python = process("python3", "/usr/bin/python3", Some("/srv/app/server.py"));
        assert_eq!(name("python3", Some(&python)), "python3 server.py");
        let gunicorn = process("gunicorn", "/usr/bin/python3", Some("/usr/bin/gunicorn"));
        assert_eq!(name("gunicorn", Some(&gunicorn)), "gunicorn");
        assert_eq!(name("nginx", None), "nginx");
    }

    #[test]
    fn members_are_named_once_the_busiest_first() {
        let all = [member(1, "a"), member(2, "a"), member(2, "a")];
        let named: Vec<_> =
            members(all.into_iter()).iter().map(|member| (member.process.pid, member.count)).collect();
        assert_eq!(named, [(2, 2), (1, 1)]);
    }
}
