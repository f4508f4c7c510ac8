//! Which process plays which role. The programs start workers, helpers and jobs of their own, which come and go: the
//! role of a process follows from its parent's, and is remembered.

use std::{collections::BTreeMap, fs};

/// A process of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) comm: String,
}

impl Process {
    /// All there are.
    pub(super) fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        // A process that has ended meanwhile has no file any more.
        pids.filter_map(|pid| Self::of(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect()
    }

    /// From the text of its `stat`: id, name in parentheses, state, parent.
    fn of(pid: u32, stat: &str) -> Option<Self> {
        let (begin, end) = (stat.find('(')?, stat.rfind(')')?);
        let parent = stat[end + 1..].split_whitespace().nth(1)?.parse().ok()?;
        Some(Self { pid, parent, comm: stat[begin + 1..end].to_owned() })
    }
}

/// What the children of a role are called, where they are not the same program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    pub(super) of: &'static str,
    /// The name of its program; `None`: any.
    pub(super) comm: Option<&'static str>,
    pub(super) role: &'static str,
}

/// A process that was seen in a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) role: &'static str,
    pub(super) comm: String,
}

/// The role of a process that was not started by the case itself, nor by one of its programs.
pub(super) const STRANGER: &str = "stranger";

/// All processes that were ever seen in a case, by id.
#[derive(Clone, Debug, Default)]
pub(super) struct Roles {
    /// The processes through which ours are started, outside of the case's namespace.
    starters: BTreeMap<u32, &'static str>,
    /// The first process of the namespace, which inherits orphans.
    first: u32,
    children: Vec<Child>,
    members: BTreeMap<u32, Member>,
}

impl Roles {
    pub(super) fn of(first: u32) -> Self {
        Self { first, ..Self::default() }
    }

    pub(super) fn add_starter(&mut self, pid: u32, role: &'static str) {
        self.starters.insert(pid, role);
    }

    pub(super) fn add_child(&mut self, child: Child) {
        self.children.push(child);
    }

    /// Takes note of the processes that are there now.
    pub(super) fn look(&mut self, all: &[Process]) {
        // A child may have a lower id than its parent, so repeat until nothing is new.
        loop {
            let before = self.members.len();
            for process in all {
                self.place(process);
            }
            if self.members.len() == before {
                return;
            }
        }
    }

    fn place(&mut self, process: &Process) {
        let Process { pid, parent, comm } = process;
        let known = self.members.get(pid);
        if known.is_some_and(|member| member.comm == *comm) {
            return;
        }
        let role = if let Some(role) = self.starters.get(parent) {
            role
        } else if let Some(above) = self.members.get(parent) {
            let is_it =
                |child: &&Child| child.of == above.role && child.comm.is_none_or(|name| *comm == name);
            self.children.iter().find(is_it).map_or(above.role, |child| child.role)
        } else if let Some(member) = known {
            // An orphan that runs another program by now.
            member.role
        } else if *parent == self.first {
            STRANGER
        } else {
            return;
        };
        self.members.insert(*pid, Member { role, comm: comm.clone() });
    }

    pub(super) fn members(&self) -> &BTreeMap<u32, Member> {
        &self.members
    }

    pub(super) fn role(&self, pid: u32) -> Option<&'static str> {
        self.members.get(&pid).map(|member| member.role)
    }

    /// A process of a role.
    pub(super) fn pids<'a>(&'a self, role: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.members.iter().filter(move |(_, member)| member.role == role).map(|(pid, _)| *pid)
    }
}

#[cfg(test)]
mod tests {
    use super::{Child, Process, Roles, STRANGER};

    fn process(pid: u32, parent: u32, comm: &str) -> Process {
        Process { pid, parent, comm: comm.into() }
    }

    #[test]
    fn the_name_of_a_program_may_contain_anything() {
        assert_eq!(Process::of(7, "7 (a) S (b) S 3 7 7 0"), Some(process(7, 3, "a) S (b")));
        assert_eq!(Process::of(7, ""), None);
    }

    #[test]
    fn workers_have_the_role_of_their_parent_and_keep_it_as_orphans() {
        let mut roles = Roles::of(10);
        roles.add_starter(20, "proxy");
        roles.look(&[process(19, 21, "nginx"), process(21, 20, "nginx"), process(40, 1, "other")]);
        assert_eq!(roles.role(19), Some("proxy"));
        assert_eq!(roles.role(40), None, "it is none of ours");
        roles.look(&[process(19, 10, "worker"), process(30, 10, "unseen")]);
        assert_eq!(roles.role(19), Some("proxy"));
        assert_eq!(roles.role(21), Some("proxy"), "what has ended is remembered");
        assert_eq!(roles.role(30), Some(STRANGER));
    }

    #[test]
    fn a_helper_has_a_role_of_its_own_once_it_runs_its_program() {
        let mut roles = Roles::of(10);
        roles.add_starter(20, "server");
        roles.add_child(Child { of: "server", comm: Some("sleep"), role: "helper" });
        roles.look(&[process(21, 20, "server"), process(22, 21, "server")]);
        assert_eq!(roles.role(22), Some("server"));
        roles.look(&[process(21, 20, "server"), process(22, 21, "sleep")]);
        assert_eq!(roles.role(22), Some("helper"));
        assert_eq!(roles.pids("server").collect::<Vec<_>>(), [21]);
    }
}
