//! `cargo xtask demo`: real programs that mistreat their connections, and what the daemon says of them.
//!
//! The programs (`tcpstate/examples`) run in a network namespace of their own, so that the demo looks the same
//! on every machine and leaves nothing. Everything that this starts ends with it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    build, child,
    daemon::{self, Daemon},
    host,
    running::Running,
    say::{say, warn},
    setup::{self, Needs},
    workspace::Workspace,
};

/// Connections that the client makes to each server.
const COUNT: usize = 12;
/// How long the daemon may take to see all of it, and to be sure of what it means.
const PATIENCE: Duration = Duration::from_secs(20);
/// The programs of which the daemon has a verdict then; the client makes too few connections for one.
const JUDGED: [&str; 2] = ["leaky-server", "careless-closer"];

/// Shows what tcpstate says of three programs that mistreat their connections.
///
/// Starts a daemon on a free port and, in a network namespace of their own, a server that never closes, one
/// that closes before it has read everything, and a client that makes a new connection for every request.
/// Prints who holds what, and the verdicts, and ends. Takes about fifteen seconds, and root (or sudo) for the daemon and the
/// namespace; without, it shows what the daemon sees as a plain user.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn main(_: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let tools = setup::ensure(Needs::Build)?;
    let daemon = build::everything(&workspace, &tools, false)?;
    child::run(
        build::cargo(&workspace).args(["build", "--quiet", "--package", "tcpstate", "--examples"]),
        "compiling the demo's programs",
    )?;
    let stage = Stage::set(&workspace)?;
    let leaky = stage.server("leaky-server")?;
    let careless = stage.server("careless-closer")?;
    let good = stage.server("good-server")?;
    let watching = Watching::start(&stage, &daemon)?;
    let mut client = stage.start("churning-client");
    client.arg(COUNT.to_string()).args([&leaky.address, &careless.address, &good.address]);
    let _client = stage.spawn(client.stdin(Stdio::piped()))?;
    say(format!("the client makes {COUNT} connections to each of three servers; the daemon watches"));
    let seen = watching.wait_until_seen(&stage)?;
    report(&seen);
    Ok(ExitCode::SUCCESS)
}

/// Where the programs run: behind which commands, and in which namespace.
struct Stage {
    examples: PathBuf,
    /// Nothing for root, sudo otherwise; `None` without either.
    privilege: Option<Vec<PathBuf>>,
    /// Keeps the namespace; its inode number.
    namespace: Option<(Running, String)>,
}

impl Stage {
    fn set(workspace: &Workspace) -> Result<Self> {
        let path = host::search_path();
        let examples = workspace.target.join("debug/examples");
        let privilege = if host::is_root() {
            Some(Vec::new())
        } else {
            host::find_program(&path, "sudo").map(|sudo| vec![sudo])
        };
        let mut stage = Self { examples, privilege, namespace: None };
        if stage.privilege.is_none() {
            warn(
                "not root, and no sudo here: the programs run in this network namespace, and the daemon sees less",
            );
            return Ok(stage);
        }
        // It says when it is there, and stays as long as its input is open.
        let mut keeper = stage.privileged(Path::new("unshare"));
        keeper.args(["--net", "sh", "-c", "ip link set lo up && echo $$ && exec cat"]);
        let mut keeper = stage.spawn(keeper.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let pid = keeper.first_line().context("cannot make a network namespace")?;
        let link = fs::read_link(format!("/proc/{pid}/ns/net")).context("the namespace cannot be found")?;
        let link = link.to_string_lossy().into_owned();
        let inode = link.trim_start_matches("net:[").trim_end_matches(']').to_owned();
        say(format!("the demo's network namespace is {inode}"));
        stage.namespace = Some((keeper, inode));
        stage.privilege = stage.privilege.map(|mut command| {
            command.extend(["nsenter".into(), "--net".into(), "--target".into(), pid.into()]);
            command
        });
        Ok(stage)
    }

    /// A command that runs a program with the privileges there are, in the host's namespace.
    fn privileged(&self, program: &Path) -> Command {
        let sudo = self.privilege.iter().flatten().take_while(|word| *word != Path::new("nsenter"));
        Self::command(sudo, program)
    }

    /// A command that runs one of the demo's programs where it belongs.
    fn start(&self, program: &str) -> Command {
        Self::command(self.privilege.iter().flatten(), &self.examples.join(program))
    }

    fn command<'a>(words: impl Iterator<Item = &'a PathBuf>, program: &'a Path) -> Command {
        let mut words = words.map(PathBuf::as_path).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words);
        command
    }

    fn spawn(&self, command: &mut Command) -> Result<Running> {
        let sudo = self.privilege.iter().flatten().find(|word| word.ends_with("sudo")).cloned();
        Running::start(command, sudo)
    }

    fn server(&self, program: &str) -> Result<Server> {
        let mut running = self.spawn(self.start(program).stdout(Stdio::piped()))?;
        let address = running.first_line().with_context(|| format!("{program} did not start"))?;
        Ok(Server { address, _running: running })
    }
}

struct Server {
    address: String,
    _running: Running,
}

/// What the daemon has seen.
struct Seen {
    tier: String,
    leaked: Vec<Value>,
    waiting: Vec<Value>,
    resets: Vec<Value>,
    /// Findings about the programs.
    verdicts: Vec<Value>,
}

struct Watching(Daemon);

impl Watching {
    fn start(stage: &Stage, daemon: &Path) -> Result<Self> {
        let mut command = stage.privileged(daemon);
        command.args(daemon::ARGUMENTS).args(["--reconcile-interval", "1s"]);
        Ok(Self(Daemon::of(stage.spawn(command.stderr(Stdio::piped()))?)?))
    }

    fn json(&self, path: &str) -> Result<Value> {
        self.0.connect()?.json(path)
    }

    fn list(&self, path: &str, key: &str) -> Result<Vec<Value>> {
        Ok(self.json(path)?[key].as_array().cloned().unwrap_or_default())
    }

    /// Asks until everything that the programs did is there.
    fn wait_until_seen(&self, stage: &Stage) -> Result<Seen> {
        let here = stage.namespace.as_ref().map_or(String::new(), |(_, inode)| format!("&netns={inode}"));
        let sockets =
            |state| self.list(&format!("/api/v1/sockets?limit=1000&state={state}{here}"), "sockets");
        let status = self.json("/api/v1/status")?;
        let tier = status["tier"].as_str().unwrap_or_default().to_owned();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut leaked = sockets("close-wait")?;
            leaked.retain(|socket| is(&socket["holders"][0]["comm"], "leaky-server"));
            let mut waiting = sockets("time-wait")?;
            waiting.retain(|socket| is(&socket["actor"]["comm"], "churning-client"));
            let mut resets = self.list("/api/v1/resets?limit=1000", "resets")?;
            resets.retain(|reset| is(&reset["process"]["comm"], "careless-closer"));
            let mut verdicts = self.list("/api/v1/findings", "findings")?;
            verdicts.retain(|finding| JUDGED.iter().any(|comm| is(&finding["subject"]["comm"], comm)));
            let all = [leaked.len(), waiting.len(), resets.len()].iter().all(|count| *count >= COUNT);
            if (all && verdicts.len() >= JUDGED.len()) || Instant::now() >= deadline {
                return Ok(Seen { tier, leaked, waiting, resets, verdicts });
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

fn is(value: &Value, text: &str) -> bool {
    value.as_str() == Some(text)
}

/// `4-7,9`.
fn ranges(numbers: BTreeSet<u64>) -> String {
    let mut runs = Vec::<(u64, u64)>::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let texts: Vec<_> = runs
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    texts.join(",")
}

fn report(seen: &Seen) {
    println!();
    println!("  {:<12} {:>5}  {:<24} {:<10} {:<10} WHY", "WHAT", "COUNT", "PROGRAM", "FD", "OLDEST");
    let of = |list: &[Value], process: fn(&Value) -> &Value| {
        let process = list.first().map_or(&Value::Null, process);
        match (process["comm"].as_str(), process["pid"].as_u64()) {
            (Some(comm), Some(pid)) => format!("{comm}[{pid}]"),
            _ => "-".to_owned(),
        }
    };
    let oldest = |list: &[Value]| {
        let age_ms = list.iter().filter_map(|socket| socket["age_ms"].as_u64()).max();
        age_ms.map_or("-".to_owned(), |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100))
    };
    let fds = seen.leaked.iter().filter_map(|socket| socket["holders"][0]["fd"].as_u64());
    let fds = ranges(fds.collect());
    let rows = [
        (
            "CLOSE_WAIT",
            &seen.leaked,
            of(&seen.leaked, |socket| &socket["holders"][0]),
            fds.as_str(),
            "it read the end of these connections and did not close them",
        ),
        (
            "RST sent",
            &seen.resets,
            of(&seen.resets, |reset| &reset["process"]),
            "-",
            "it closed before it had read everything (TCP_ABORT_ON_CLOSE)",
        ),
        (
            "TIME_WAIT",
            &seen.waiting,
            of(&seen.waiting, |socket| &socket["actor"]),
            "-",
            "it closes first, and makes a new connection every time",
        ),
    ];
    for (what, list, program, fd, why) in rows {
        println!("  {what:<12} {:>5}  {program:<24} {fd:<10} {:<10} {why}", list.len(), oldest(list));
    }
    println!();
    for finding in &seen.verdicts {
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        println!("  {}: {}", text("severity"), text("verdict"));
        println!("    {}", text("remedy"));
    }
    println!();
    if seen.tier == "events" {
        say("to see it yourself: `cargo xtask run`, and in another terminal `tcpstate diagnose`");
    } else {
        warn(format!("{}: without eBPF there are no resets, and nobody knows who closed", seen.tier));
    }
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn ranges_say_every_number_and_no_other() {
        assert_eq!(ranges([9, 4, 5, 7, 6].into()), "4-7,9");
        assert_eq!(ranges([3].into()), "3");
        assert_eq!(ranges([].into()), "");
    }
}
