//! One process of a scenario, and what it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How long a process may take to say what it is waited for. The slowest are those whose signature takes a kernel's
/// timers.
const PATIENCE: Duration = Duration::from_secs(75);

pub(super) struct Player {
    part: String,
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    said: Mutex<Said>,
    news: Condvar,
}

#[derive(Default)]
struct Said {
    lines: Vec<(Instant, String)>,
    ended: bool,
}

impl Player {
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(part: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {part}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("its output is not ours")?;
        let heard = Arc::new(Heard::default());
        let tell = Arc::clone(&heard);
        // Ends with the process.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                tell.said().lines.push((Instant::now(), line));
                tell.news.notify_all();
            }
            tell.said().ended = true;
            tell.news.notify_all();
        });
        Ok(Self { part: part.to_owned(), child, stdin, heard })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that starts with `word`; when it came, and the rest of it.
    ///
    /// # Errors
    /// When the process ends before, or takes too long.
    pub(super) fn wait_for(&self, word: &str) -> Result<(Instant, String)> {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.heard.said();
        loop {
            let found = said.lines.iter().find_map(|(at, line)| {
                let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
                (first == word).then(|| (*at, rest.to_owned()))
            });
            if let Some(found) = found {
                return Ok(found);
            }
            if said.ended {
                bail!("{} ended before it said `{word}`", self.part);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                bail!("{} did not say `{word}` within {} s", self.part, PATIENCE.as_secs());
            };
            said = self.heard.news.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells it to go on.
    ///
    /// # Errors
    /// When it does not listen any more.
    pub(super) fn go_on(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        writeln!(stdin, "go on").with_context(|| format!("{} does not listen", self.part))
    }

    /// Kills it.
    pub(super) fn end(&mut self) {
        // It may have ended already; either way it is gone then. A stopped one ends too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The children that it has told of (`pid N`).
    pub(super) fn children(&self) -> Vec<u32> {
        let said = self.heard.said();
        said.lines.iter().filter_map(|(_, line)| line.strip_prefix("pid ")?.parse().ok()).collect()
    }

    /// The descriptors that a verdict may name, by process: `fd N`, `no-fd N` and `held PID N`. What was closed stays
    /// in it, because a finding may be older than the close.
    pub(super) fn descriptors(&self) -> BTreeMap<u32, BTreeSet<u64>> {
        let mut descriptors = BTreeMap::<u32, BTreeSet<u64>>::new();
        for (_, line) in &self.heard.said().lines {
            let mut words = line.split(' ');
            let (pid, fd) = match words.next() {
                Some("fd") => (Some(self.pid()), words.next()),
                Some("held") => (words.next().and_then(|pid| pid.parse().ok()), words.next()),
                _ => continue,
            };
            if let (Some(pid), Some(fd)) = (pid, fd.and_then(|fd| fd.parse().ok())) {
                descriptors.entry(pid).or_default().insert(fd);
            }
        }
        descriptors
    }
}

impl Heard {
    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.end();
    }
}
