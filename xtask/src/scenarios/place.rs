//! A network namespace that is there as long as this, and links between two of them.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::child;

/// A network namespace with loopback. A process keeps it whose input is ours: it goes when we go, whatever happens.
pub(super) struct Place {
    keeper: Child,
    /// Its inode number.
    pub(super) inode: u64,
}

impl Place {
    /// # Errors
    /// When it cannot be made.
    pub(super) fn make() -> Result<Self> {
        let mut keeper = Command::new("unshare");
        keeper.args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"]);
        let mut keeper = keeper
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot make a network namespace")?;
        let stdout = keeper.stdout.take().context("the keeper's output is not ours")?;
        let mut place = Self { keeper, inode: 0 };
        let mut said = String::new();
        BufReader::new(stdout).read_line(&mut said)?;
        ensure!(said == "ready\n", "a network namespace cannot be set up; the reason is above");
        let link = fs::read_link(place.file()).context("the namespace cannot be found")?;
        let link = link.to_string_lossy().into_owned();
        let inode = link.trim_start_matches("net:[").trim_end_matches(']');
        place.inode = inode.parse().context("the namespace has no number")?;
        Ok(place)
    }

    fn file(&self) -> String {
        format!("/proc/{}/ns/net", self.keeper.id())
    }

    /// A command that runs a program in here, and dies with the thread that starts it.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]).arg(format!("--net={}", self.file())).arg(program);
        command
    }

    /// Runs a line of shell in here.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn shell(&self, line: &str) -> Result<()> {
        let mut shell = self.command(Path::new("sh"));
        child::run(shell.args(["-ec", line]), line)
    }

    /// Sets a sysctl of this namespace, named as below /proc/sys/net.
    ///
    /// # Errors
    /// When the kernel does not have it.
    pub(super) fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.shell(&format!("echo {value} > /proc/sys/net/{name}"))
    }

    /// The hardware address of its end of a cable.
    ///
    /// # Errors
    /// When there is no cable.
    pub(super) fn address_of_wire(&self) -> Result<String> {
        let told = self.output("ip", &["-brief", "link", "show", "wire"]);
        Ok(told.split_whitespace().nth(2).context("there is no cable here")?.to_owned())
    }

    /// What a program in here prints.
    pub(super) fn output(&self, program: &str, arguments: &[&str]) -> String {
        child::output_of(self.command(Path::new(program)).args(arguments)).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A cable between two namespaces, with the addresses `NETWORK.1` and `NETWORK.2`.
pub(super) struct Link {
    network: String,
}

/// Nobody has this address.
const NOBODY: &str = "02:00:00:00:00:99";

impl Link {
    /// # Errors
    /// When the kernel has no veth.
    pub(super) fn make(network: String, near: &Place, far: &Place) -> Result<Self> {
        near.shell(&format!("ip link add wire type veth peer name wire netns {}", far.keeper.id()))
            .context("two namespaces cannot be joined (is there a veth module?)")?;
        for (place, host) in [(near, 1), (far, 2)] {
            place.shell(&format!("ip address add {network}.{host}/24 dev wire; ip link set wire up"))?;
        }
        Ok(Self { network })
    }

    /// The first three numbers of its addresses.
    pub(super) fn network(&self) -> &str {
        &self.network
    }

    pub(super) fn near(&self) -> String {
        format!("{}.1", self.network)
    }

    pub(super) fn far(&self) -> String {
        format!("{}.2", self.network)
    }

    /// An address of the network that nobody has.
    pub(super) fn nobody(&self) -> String {
        format!("{}.77", self.network)
    }

    /// The shell line by which packets vanish, for either end.
    pub(super) fn cut_line(&self, host: u8) -> String {
        format!("ip neigh replace {}.{host} lladdr {NOBODY} nud permanent dev wire", self.network)
    }

    /// The shell line after which they arrive again.
    pub(super) fn heal_line(&self, host: u8) -> String {
        format!("ip neigh del {}.{host} dev wire", self.network)
    }
}
