//! Where one case is played: namespaces of its own for network, mounts and processes.
//!
//! Its scratch folder is `/srv/field` inside, so that the paths of its programs are the same on every machine. The
//! first process of the process namespace reads a pipe of ours: when we end, the kernel ends all others with it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::processes::Process;
use crate::{child, running::Running};

/// The scratch folder as the programs see it.
pub(super) const FOLDER: &str = "/srv/field";

/// What the first process does. It ignores SIGCHLD, so that the kernel reaps the orphans that it inherits.
const FIRST: &str = "trap '' CHLD
ip link set lo up
mount -t tmpfs none /srv
mkdir /srv/field
mount --bind \"$1\" /srv/field
mount -t tmpfs -o mode=1777 none /tmp
mount -t tmpfs -o mode=755 none /run
echo ready
exec cat";

/// What keeps a second network namespace.
const SECOND: &str = "ip link set lo up; echo ready; exec cat";

/// Programs find others there, and nothing of the user's.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The address of the first machine on the wire between the two.
pub(super) const NEAR: &str = "10.77.3.1";
/// The address of the second machine.
pub(super) const FAR: &str = "10.77.3.2";
/// An address of the same network that no machine has.
pub(super) const NOBODY: &str = "10.77.3.99";
/// A hardware address that no machine has: packets for it vanish without an error.
const NO_HARDWARE: &str = "02:00:00:00:00:99";

/// One of the machines of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    Near,
    Far,
}

pub(super) struct Room {
    /// Ends the process namespace when it goes.
    keeper: Running,
    /// The first process, by its id outside.
    first: u32,
    far: Option<Running>,
    namespaces: Vec<Namespace>,
}

/// A network namespace. As long as the file is open, its number is not given to another.
pub(super) struct Namespace {
    file: File,
}

impl Namespace {
    fn of(pid: u32) -> Result<Self> {
        let file = File::open(format!("/proc/{pid}/ns/net")).context("the namespace cannot be found")?;
        Ok(Self { file })
    }

    pub(super) fn inode(&self) -> Result<u64> {
        Ok(self.file.metadata()?.ino())
    }
}

impl Room {
    /// # Errors
    /// When a namespace cannot be made.
    pub(super) fn open(scratch: &Path) -> Result<Self> {
        let mut keeper = Command::new("unshare");
        keeper.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        keeper.args(["sh", "-ec", FIRST, "sh"]).arg(scratch);
        let keeper = ready(&mut keeper)?;
        let first = Process::all().into_iter().find(|process| process.parent == keeper.pid());
        let first = first.context("the first process of the namespace is gone")?.pid;
        let namespaces = vec![Namespace::of(first)?];
        Ok(Self { keeper, first, far: None, namespaces })
    }

    /// Adds a second machine, with a wire to the first.
    ///
    /// # Errors
    /// When the kernel has no veth.
    pub(super) fn add_machine(&mut self) -> Result<()> {
        let mut keeper = Command::new("unshare");
        keeper.args(["--net", "sh", "-ec", SECOND]);
        let keeper = ready(&mut keeper)?;
        self.namespaces.push(Namespace::of(keeper.pid())?);
        let wire = format!("ip link add wire type veth peer name wire netns {}", keeper.pid());
        self.far = Some(keeper);
        self.outside(Machine::Near, &wire).context("is there a veth module?")?;
        for (machine, address) in [(Machine::Near, NEAR), (Machine::Far, FAR)] {
            self.outside(machine, &format!("ip address add {address}/24 dev wire; ip link set wire up"))?;
        }
        Ok(())
    }

    /// Lets packets from `machine` to `address` vanish.
    ///
    /// # Errors
    /// When there is no wire.
    pub(super) fn lose_packets(&self, machine: Machine, address: &str) -> Result<()> {
        let line = format!("ip neigh replace {address} lladdr {NO_HARDWARE} nud permanent dev wire");
        self.outside(machine, &line)
    }

    /// A command that runs `words` inside.
    pub(super) fn command(&self, machine: Machine, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.first)).args(["--mount", "--pid"]);
        command.arg(self.network(machine)).args(["sh", "-c", "cd /srv/field && exec \"$@\"", "sh"]);
        command.args(words).stdin(Stdio::null()).env_clear();
        command.env("PATH", PATH).env("HOME", FOLDER).env("LANG", "C.UTF-8");
        command
    }

    /// What a program prints in a machine's network. It runs outside otherwise, so that the process ids of `ss` are
    /// those of the findings.
    pub(super) fn output(&self, machine: Machine, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.arg(self.network(machine)).arg(program).args(arguments);
        child::output_of(&mut command).unwrap_or_default()
    }

    /// The id of the process that inherits orphans.
    pub(super) fn first_process(&self) -> u32 {
        self.first
    }

    pub(super) fn machines(&self) -> impl Iterator<Item = Machine> {
        [Machine::Near, Machine::Far].into_iter().take(self.namespaces.len())
    }

    pub(super) fn namespaces(&self) -> &[Namespace] {
        &self.namespaces
    }

    /// Ends everything inside. What is left are the numbers of its network namespaces.
    pub(super) fn close(self) -> Vec<Namespace> {
        drop(self.far);
        drop(self.keeper);
        self.namespaces
    }

    /// Runs a line of shell in a machine's network, but with our files and processes.
    fn outside(&self, machine: Machine, line: &str) -> Result<()> {
        let mut command = Command::new("nsenter");
        child::run(command.arg(self.network(machine)).args(["sh", "-ec", line]), line)
    }

    fn network(&self, machine: Machine) -> String {
        let pid = match (machine, &self.far) {
            (Machine::Far, Some(far)) => far.pid(),
            _ => self.first,
        };
        format!("--net=/proc/{pid}/ns/net")
    }
}

/// Starts a process that ends with our end of its input, and waits until it is ready.
fn ready(command: &mut Command) -> Result<Running> {
    let mut keeper = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()), None)?;
    let mut said = String::new();
    // The pipe may close then: nothing more comes through it.
    BufReader::new(keeper.take_stdout()?).read_line(&mut said)?;
    ensure!(said == "ready\n", "namespaces cannot be made; the reason is above");
    Ok(keeper)
}

/// Makes an empty folder that every user may write into.
///
/// # Errors
/// When what is there cannot be removed.
pub(super) fn empty_folder(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
    Ok(())
}
