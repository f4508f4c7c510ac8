//! What a case works with: files, programs with roles, machines, and ways to wait until a situation stands.

use std::{
    cell::RefCell,
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    processes::{Child, Process, Roles},
    program::Program,
    room::{self, Machine, Namespace, Room},
};
use crate::running::Running;

/// How long a program may take until it is ready. The slowest are databases and message brokers.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(200);

/// Runs a program as another user: `AS_USER name command`.
const AS_USER: [&str; 2] = ["setpriv", "--init-groups"];

pub(super) struct Stage {
    room: Room,
    scratch: PathBuf,
    cache: PathBuf,
    players: Vec<Player>,
    roles: RefCell<Roles>,
}

struct Player {
    role: &'static str,
    /// Enters the namespaces, and waits there for the program.
    starter: Running,
    /// Whether its end belongs to the case.
    may_end: bool,
}

impl Player {
    /// Its role, if it has ended and should not have.
    fn lost(&mut self) -> Option<&'static str> {
        (!self.may_end && self.starter.has_ended()).then_some(self.role)
    }
}

impl Stage {
    /// # Errors
    /// When namespaces cannot be made.
    pub(super) fn open(scratch: &Path, cache: &Path) -> Result<Self> {
        room::empty_folder(scratch)?;
        room::empty_folder(&scratch.join("log"))?;
        let room = Room::open(scratch)?;
        let roles = RefCell::new(Roles::of(room.first_process()));
        Ok(Self { room, scratch: scratch.to_owned(), cache: cache.to_owned(), players: Vec::new(), roles })
    }

    /// Makes a folder that every user may write into.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn folder(&self, name: &str) -> Result<()> {
        room::empty_folder(&self.scratch.join(name))
    }

    /// Installs one of our programs. Returns the words that run it.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub(super) fn install(&self, program: Program) -> Result<String> {
        program.install(&self.scratch, &self.cache)
    }

    /// Starts one of our programs.
    ///
    /// # Errors
    /// When it cannot be compiled or started.
    pub(super) fn play(&mut self, role: &'static str, program: Program, arguments: &str) -> Result<()> {
        let words = self.install(program)?;
        self.start(role, &format!("{words} {arguments}"))
    }

    /// Starts a program on the first machine. Spaces separate its words.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(&mut self, role: &'static str, line: &str) -> Result<()> {
        self.start_on(Machine::Near, role, line)
    }

    /// Starts a program as one of the users of this machine.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start_as(&mut self, user: &str, role: &'static str, line: &str) -> Result<()> {
        let [setpriv, groups] = AS_USER;
        self.start(role, &format!("{setpriv} --reuid={user} --regid={user} {groups} {line}"))
    }

    /// # Errors
    /// When it cannot be started.
    pub(super) fn start_on(&mut self, machine: Machine, role: &'static str, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let log = OpenOptions::new().create(true).append(true).open(self.log(role))?;
        let mut command = self.room.command(machine, &words);
        command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
        let starter = Running::start(&mut command, None)?;
        self.roles.borrow_mut().add_starter(starter.pid(), role);
        self.players.push(Player { role, starter, may_end: false });
        Ok(())
    }

    /// Runs a line of shell to its end.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn shell(&self, line: &str) -> Result<()> {
        self.run(&["sh", "-ec", line])
    }

    /// The same as one of the users of this machine.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn shell_as(&self, user: &str, line: &str) -> Result<()> {
        let [setpriv, groups] = AS_USER;
        let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
        self.run(&[setpriv, &user, &group, groups, "sh", "-ec", line])
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log("shell"))?;
        let mut command = self.room.command(Machine::Near, words);
        let status = command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log)).status()?;
        let line = words.last().copied().unwrap_or_default();
        ensure!(status.success(), "`{line}` failed: {}", self.last_line("shell"));
        Ok(())
    }

    /// The end of a role's programs belongs to the case.
    pub(super) fn may_end(&mut self, role: &str) {
        for player in self.players.iter_mut().filter(|player| player.role == role) {
            player.may_end = true;
        }
    }

    /// Gives children of a role that run the program `comm` (`None`: all) a role of their own.
    pub(super) fn child(&self, of: &'static str, comm: Option<&'static str>, role: &'static str) {
        self.roles.borrow_mut().add_child(Child { of, comm, role });
    }

    /// # Errors
    /// When the kernel has no veth.
    pub(super) fn add_machine(&mut self) -> Result<()> {
        self.room.add_machine()
    }

    /// # Errors
    /// When there is no second machine.
    pub(super) fn lose_packets(&self, machine: Machine, address: &str) -> Result<()> {
        self.room.lose_packets(machine, address)
    }

    /// Waits until something listens on the first machine.
    ///
    /// # Errors
    /// When it does not, or a program has ended meanwhile.
    pub(super) fn until_listening(&mut self, port: u16) -> Result<()> {
        self.until_listening_on(Machine::Near, port)
    }

    /// # Errors
    /// When it does not, or a program has ended meanwhile.
    pub(super) fn until_listening_on(&mut self, machine: Machine, port: u16) -> Result<()> {
        let filter = format!("sport = :{port}");
        self.until(&format!("port {port} listens"), |stage| {
            let told = stage.room.output(machine, "ss", &["-Hltn", &filter]);
            Ok(!told.is_empty())
        })
    }

    /// Waits until at least `count` sockets of the first machine pass a filter of `ss`.
    ///
    /// # Errors
    /// When there are fewer for long, or a program has ended.
    pub(super) fn until_sockets(&mut self, filter: &str, count: usize) -> Result<()> {
        self.until(&format!("{count} sockets are {filter}"), |stage| Ok(stage.sockets(filter) >= count))
    }

    /// Waits until a program has printed a line with `text` in it.
    ///
    /// # Errors
    /// When it does not, or a program has ended.
    pub(super) fn until_said(&mut self, role: &str, text: &str) -> Result<()> {
        let log = self.log(role);
        let has = || Ok(fs::read_to_string(&log).is_ok_and(|log| log.contains(text)));
        self.until(&format!("the {role} says \"{text}\""), |_| has())
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self)? {
            self.look();
            let mut players = self.players.iter_mut();
            if let Some(role) = players.find_map(Player::lost) {
                bail!("the {role} ended: {}", self.last_line(role));
            }
            ensure!(Instant::now() < deadline, "after {} s it is not so that {what}", PATIENCE.as_secs());
            thread::sleep(LOOK);
        }
        self.look();
        Ok(())
    }

    /// How many sockets of the first machine pass a filter of `ss`.
    pub(super) fn sockets(&self, filter: &str) -> usize {
        let mut arguments = vec!["-Htn"];
        arguments.extend(filter.split_whitespace());
        self.room.output(Machine::Near, "ss", &arguments).lines().count()
    }

    /// # Errors
    /// When fewer than `count` sockets pass a filter of `ss`.
    pub(super) fn ensure_sockets(&self, filter: &str, count: usize) -> Result<()> {
        let there = self.sockets(filter);
        ensure!(there >= count, "{there} sockets, not {count}, are {filter}");
        Ok(())
    }

    /// The last number behind `word` in what a program has printed.
    pub(super) fn number(&self, role: &str, word: &str) -> Option<u64> {
        let log = fs::read_to_string(self.log(role)).ok()?;
        let words: Vec<&str> = log.split_whitespace().collect();
        let pair = words.windows(2).rev().find(|pair| pair[0] == word)?;
        pair[1].parse().ok()
    }

    /// Checks what a client counts: at least `served` requests were answered, and at most `failed` were not.
    ///
    /// # Errors
    /// When it is not so.
    pub(super) fn ensure_served(&self, role: &str, served: u64, failed: u64) -> Result<()> {
        let count =
            |word| self.number(role, word).with_context(|| format!("the {role} counts nothing {word}"));
        let (well, badly) = (count("served")?, count("failed")?);
        ensure!(well >= served, "only {well} requests of the {role} were answered");
        ensure!(badly <= failed, "{badly} requests of the {role} failed: {}", self.last_line(role));
        Ok(())
    }

    /// A counter of the first machine's kernel, by the name that `nstat` gives it.
    pub(super) fn kernel_count(&self, name: &str) -> u64 {
        let told = self.room.output(Machine::Near, "nstat", &["-asz", name]);
        let line = told.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
    }

    /// Takes note of the processes that are there now.
    pub(super) fn look(&self) {
        self.roles.borrow_mut().look(&Process::all());
    }

    pub(super) fn roles(&self) -> Roles {
        self.roles.borrow().clone()
    }

    /// The inode numbers of its network namespaces.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn namespaces(&self) -> Result<Vec<u64>> {
        self.room.namespaces().iter().map(Namespace::inode).collect()
    }

    /// All sockets, machine by machine.
    pub(super) fn evidence(&self) -> String {
        let of = |machine| format!("{machine:?}\n{}", self.room.output(machine, "ss", &["-tanpoemi"]));
        self.room.machines().map(of).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn log_folder(&self) -> PathBuf {
        self.scratch.join("log")
    }

    fn log(&self, role: &str) -> PathBuf {
        self.log_folder().join(format!("{role}.log"))
    }

    fn last_line(&self, role: &str) -> String {
        let log = fs::read_to_string(self.log(role)).unwrap_or_default();
        log.lines().next_back().unwrap_or("it printed nothing").to_owned()
    }

    /// Ends all programs. What is left are the numbers of the namespaces.
    pub(super) fn close(self) -> Vec<Namespace> {
        self.room.close()
    }
}
