//! `cargo xtask scenarios`: every bug class as real processes, beside what is easily mistaken for it, and whether the
//! daemon's verdicts are right.
//!
//! Input: the daemon's `/api/v1/findings`. Each scenario runs in network namespaces of its own, which go with it; a
//! finding belongs to a scenario by namespace or process, never by port or name.

mod cgroup;
mod classes;
mod dice;
mod finding;
mod matrix;
mod needs;
mod place;
mod player;
mod record;
mod report;
mod rows;
mod stage;

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    process::{self, Command, ExitCode, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};

use self::{
    dice::Dice,
    finding::Finding,
    matrix::{Facts, Outcome},
    record::Record,
    report::Line,
    rows::{Kind, Row},
    stage::{Hall, Stage},
};
use crate::{
    build, child,
    daemon::{self, Daemon},
    http::Connection,
    recording::{self, Cut, Recorder},
    running::Running,
    say::{say, warn},
    setup::{self, Needs, Tools},
    workspace::Workspace,
};

/// Scenarios that run at a time: so many processes that two cores are not the reason for a late verdict.
const AT_A_TIME: usize = 16;
/// After so long no scenario is begun any more.
const TIME: Duration = Duration::from_secs(270);
/// How often what came out wrong in a test is run again.
const REPEATS: u32 = 2;
/// How often the daemon is asked.
const POLL: Duration = Duration::from_millis(500);
/// How long a scenario goes on after its verdict, for what else might be said of it.
const AFTERWARDS: Duration = Duration::from_secs(8);
/// For how much longer where it is recorded: the recorder looks at other moments than the daemon.
const LOOK: Duration = Duration::from_secs(6);

/// Runs every bug class as real processes and checks the daemon's verdicts.
///
/// Each runs in network namespaces of its own, among ordinary traffic and beside look-alikes, with counts and times
/// that differ from run to run. Prints the matrix: class, verdict, owner, seconds. Fails on any verdict that is
/// missing, wrong, late, or names an innocent process, and on any alert about a look-alike. Takes about three minutes,
/// and root. What was wrong is explained in the folder `scenarios` of the target folder.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these classes, with their look-alikes
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    only: Vec<String>,
    /// Print the matrix as JSON
    #[arg(long)]
    json: bool,
    /// Print what there is, and run nothing
    #[arg(long)]
    list: bool,
    /// Begin no scenario after so many seconds; those that were not run count as wrong
    #[arg(long, value_name = "S", default_value_t = TIME.as_secs())]
    timeout: u64,
    /// Repeat the run that printed this number
    #[arg(long)]
    seed: Option<u64>,
    /// Record each scenario that comes out right, for the test that judges recordings again
    #[arg(long)]
    record: bool,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let rows = chosen(&args.only)?;
    if args.list {
        report::list(&rows);
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::find()?;
    let tools = setup::ensure(Needs::Build)?;
    let seed = args.seed.unwrap_or_else(seed_of_now);
    if !args.json {
        say(format!("{} scenarios, seed {seed}", rows.len()));
    }
    let time = Duration::from_secs(args.timeout);
    let (lines, cuts) = run(&workspace, &tools, rows, seed, time, args.record)?;
    if args.record {
        keep(&workspace, &cuts)?;
    }
    if args.json {
        report::json(seed, &lines);
    } else {
        report::table(&lines);
    }
    let right = lines.iter().all(|line| line.outcome.is_right());
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all of them, as a test. A class that comes out wrong is run again by itself, and the line REPEATED says so:
/// there are machines on which the kernel hands some events to no eBPF program, and a verdict that hangs on one of
/// them is then missing. Returns how many scenarios were run, and what was wrong in the end.
///
/// # Errors
/// When they cannot be run here.
pub(crate) fn test(workspace: &Workspace, tools: &Tools) -> Result<(usize, Vec<String>)> {
    let seed = seed_of_now();
    let rows = rows::all();
    say(format!("{} scenarios, seed {seed}", rows.len()));
    let (lines, _) = run(workspace, tools, rows, seed, TIME, false)?;
    report::table(&lines);
    let mut again: Vec<_> =
        lines.iter().filter(|line| !line.outcome.is_right()).map(|line| line.class.to_owned()).collect();
    again.dedup();
    if again.is_empty() || lines.iter().any(|line| line.number == 0 && !line.outcome.is_right()) {
        return Ok((lines.len(), again));
    }
    let mut wrong = Vec::new();
    for _ in 0..REPEATS {
        say(format!("REPEATED: {}", again.join(", ")));
        let (repeated, _) = run(workspace, tools, chosen(&again)?, seed_of_now(), TIME, false)?;
        report::table(&repeated);
        let off: Vec<_> = repeated.iter().filter(|line| !line.outcome.is_right()).collect();
        wrong = off.iter().map(|line| format!("{} ({})", line.class, line.what)).collect();
        again = off.iter().filter(|line| line.number != 0).map(|line| line.class.to_owned()).collect();
        again.dedup();
        if again.is_empty() {
            break;
        }
    }
    Ok((lines.len(), wrong))
}

/// Runs these. Returns how they came out, and, if it is recorded, what is to be kept of the recording.
fn run(
    workspace: &Workspace,
    tools: &Tools,
    rows: Vec<Row>,
    seed: u64,
    time: Duration,
    record: bool,
) -> Result<(Vec<Line>, Vec<Cut>)> {
    needs::check()?;
    let daemon = build::everything(workspace, tools, false)?;
    child::run(
        build::cargo(workspace).args(["build", "--quiet", "--package", "tcpstate", "--example", "scenario"]),
        "compiling the scenarios' programs",
    )?;
    let folder = workspace.target.join("scenarios");
    let program = workspace.target.join("debug/examples/scenario");
    let hall = Hall::open(&program, folder.join("programs"))?;
    Run::prepare(rows, &hall, seed, time, folder)?.perform(&daemon, record)
}

/// Keeps what was recorded of the scenarios that came out right.
fn keep(workspace: &Workspace, cuts: &[Cut]) -> Result<()> {
    let folder = workspace.target.join("scenarios");
    let paths = format!("{}=/srv/tcpstate", workspace.target.join("debug").display());
    recording::keep_all(workspace, &folder, &paths, cuts)
}

/// The name of a file: "accept-stall-a-slow-server".
fn name_of(row: &Row) -> String {
    let what = row.what.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let name = format!("{}-{}", row.class, what.collect::<String>());
    name.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

fn chosen(only: &[String]) -> Result<Vec<Row>> {
    for class in only {
        ensure!(classes::ALL.contains(&class.as_str()), "{class} is no class; `--list` shows them");
    }
    let mut rows = rows::all();
    rows.retain(|row| only.is_empty() || only.iter().any(|class| class == row.class));
    Ok(rows)
}

fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_secs() << 20 | u64::from(now.subsec_micros())) ^ u64::from(process::id())
}

/// A scenario that is to be run.
struct Task {
    row: Row,
    seed: u64,
    number: u8,
    /// What was set up before the daemon started.
    stage: Option<Stage>,
}

struct Run {
    hall: Hall,
    tasks: Mutex<VecDeque<Task>>,
    /// Traffic that nothing may be said of, all the time.
    ordinary: Stage,
    record: Mutex<Record>,
    lines: Mutex<Vec<Line>>,
    cuts: Mutex<Vec<Cut>>,
    deadline: Duration,
    afterwards: Duration,
    folder: PathBuf,
}

impl Run {
    /// Sets up what has to be there before the daemon is.
    fn prepare(rows: Vec<Row>, hall: &Hall, seed: u64, deadline: Duration, folder: PathBuf) -> Result<Self> {
        let mut dice = Dice::of(seed);
        let mut ordinary = Stage::new(hall, dice.next(), 0);
        rows::ordinary(&mut ordinary)?;
        let mut tasks = VecDeque::new();
        for (row, number) in rows.into_iter().zip(1..) {
            let seed = dice.next();
            let mut task = Task { row, seed, number, stage: None };
            if row.early {
                let mut stage = Stage::new(hall, seed, number);
                (row.set)(&mut stage)?;
                task.stage = Some(stage);
            }
            tasks.push_back(task);
        }
        Ok(Self {
            hall: hall.clone(),
            tasks: Mutex::new(tasks),
            ordinary,
            record: Mutex::default(),
            lines: Mutex::default(),
            cuts: Mutex::default(),
            deadline,
            afterwards: AFTERWARDS,
            folder,
        })
    }

    /// Runs everything, and returns how it came out in the order of the list, and what is to be kept of a recording.
    fn perform(mut self, daemon: &Path, record: bool) -> Result<(Vec<Line>, Vec<Cut>)> {
        if record {
            self.afterwards += LOOK;
        }
        let recorder = record.then(|| Recorder::start(daemon, &self.folder)).transpose()?;
        // Also where we are killed, it goes.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(daemon);
        command.args(daemon::ARGUMENTS).stderr(Stdio::piped());
        let daemon = Daemon::of(Running::start(&mut command, None)?)?;
        let over = AtomicBool::new(false);
        let complaint = thread::scope(|scope| {
            let poller = scope.spawn(|| self.poll(&daemon, &over));
            let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(|| self.work())).collect();
            for worker in workers {
                // A panic in a scenario is shown by its own message.
                let _ = worker.join();
            }
            over.store(true, Ordering::Relaxed);
            poller.join().unwrap_or(None)
        });
        if let Some(recorder) = recorder {
            recorder.stop()?;
        }
        if let Some(complaint) = complaint {
            warn(format!("the findings could not be had: {complaint}"));
        }
        let mut facts = self.ordinary.facts();
        facts.ended = self.now();
        let outcome = matrix::judge(&facts, &lock(&self.record));
        let mut lines = self.lines.into_inner().unwrap_or_else(PoisonError::into_inner);
        lines.push(Line { number: 0, class: "-", what: "ordinary traffic", kind: Kind::LookAlike, outcome });
        lines.sort_by_key(|line| line.number);
        Ok((lines, self.cuts.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    fn now(&self) -> Duration {
        self.hall.begun.elapsed()
    }

    /// Asks for the findings until the run is over. Returns the last complaint, if the last answer was one.
    fn poll(&self, daemon: &Daemon, over: &AtomicBool) -> Option<String> {
        let mut connection: Option<Connection> = None;
        let mut complaint = None;
        while !over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let answer = match connection.take().map_or_else(|| daemon.connect(), Ok) {
                Ok(mut open) => {
                    let answer = open.json("/api/v1/findings");
                    connection = answer.is_ok().then_some(open);
                    answer
                }
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => {
                    let as_of = answer["as_of"].as_str().unwrap_or_default();
                    lock(&self.record).take(self.now(), as_of, Finding::all(&answer));
                    complaint = None;
                }
                Err(error) => complaint = Some(format!("{error:#}")),
            }
            thread::sleep(POLL.saturating_sub(begun.elapsed()));
        }
        complaint
    }

    /// Runs one scenario after the other until there is none left.
    fn work(&self) {
        loop {
            let task = lock(&self.tasks).pop_front();
            let Some(mut task) = task else { return };
            let (row, number) = (task.row, task.number);
            let outcome = if self.now() > self.deadline {
                Outcome { wrong: vec!["not run: the time is over".into()], ..Outcome::default() }
            } else {
                self.one(&mut task).unwrap_or_else(|error| Outcome {
                    wrong: vec![format!("the scenario itself failed: {error:#}")],
                    ..Outcome::default()
                })
            };
            let Row { class, what, kind, .. } = row;
            lock(&self.lines).push(Line { number, class, what, kind, outcome });
        }
    }

    fn one(&self, task: &mut Task) -> Result<Outcome> {
        let begun = self.now();
        let (stage, begun_as_of) = if let Some(stage) = task.stage.take() {
            (stage, String::new())
        } else {
            let begun_as_of = lock(&self.record).as_of().to_owned();
            let mut stage = Stage::new(&self.hall, task.seed, task.number);
            (task.row.set)(&mut stage)?;
            (stage, begun_as_of)
        };
        let facts = || Facts { begun, begun_as_of: begun_as_of.clone(), ended: self.now(), ..stage.facts() };
        let is_bug = task.row.kind != Kind::LookAlike;
        let until = self.now() + classes::LONGEST;
        while self.now() < until && !(is_bug && matrix::is_complete(&facts(), &lock(&self.record))) {
            thread::sleep(POLL);
        }
        if is_bug {
            thread::sleep(self.afterwards);
        }
        let facts = facts();
        let outcome = matrix::judge(&facts, &lock(&self.record));
        if outcome.is_right() {
            let warned = matrix::warned(&facts, &lock(&self.record));
            let (name, until) = (name_of(&task.row), SystemTime::now());
            lock(&self.cuts).push(Cut { family: "scenarios", name, namespaces: facts.netns, until, warned });
        } else {
            self.explain(task, &stage, &facts, &outcome)?;
        }
        Ok(outcome)
    }

    /// Writes down what there was to see, for whoever has to find out why the verdict is wrong.
    fn explain(&self, task: &Task, stage: &Stage, facts: &Facts, outcome: &Outcome) -> Result<()> {
        let file = self.folder.join(format!("{:02}-{}.txt", task.number, task.row.class));
        let evidence = stage.evidence();
        let wrong = outcome.wrong.join("\n");
        let findings = matrix::findings(facts, &lock(&self.record)).join("\n");
        let text = format!(
            "{}: {}\n\n{wrong}\n\n{findings}\n\n{facts:#?}\n\n{evidence}",
            task.row.class, task.row.what
        );
        Ok(fs::write(file, text)?)
    }
}

/// Locks whatever a panic elsewhere has left.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
