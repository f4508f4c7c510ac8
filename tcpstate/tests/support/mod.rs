//! What the tests on the real kernel share: a daemon, actors, what `ss` says, and waiting on conditions.
#![expect(dead_code, reason = "each test uses a part of it")]

mod handed;
mod ss;
mod witness;

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Lines, Write},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) use self::ss::Reach;

/// How long a condition may take. Nothing is measured by it: it only ends a test that would never end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The kernel's counters are the whole host's, so the tests that look at them run one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Events that the kernel reported and handed to no program, while the daemons of a failing test ran: a lower bound.
static WITHHELD: AtomicI64 = AtomicI64::new(0);

/// Events that were handed to programs, and of which these daemons neither counted nor missed one: a lower bound.
static OVERLOOKED: AtomicI64 = AtomicI64::new(0);

/// How often a test is tried on a machine on which the kernel does not hand over every event.
const ATTEMPTS: u32 = 10;

/// Runs a test that needs root, while no other such test of this program runs. Without root the test says that
/// it was skipped.
///
/// A failure while the kernel kept events back from all eBPF programs (see [`witness`] and [`handed`]) says nothing, so
/// then the test is tried again; any other failure is one, above all where another program was handed events that the
/// daemon's was not.
pub(crate) fn alone(test: &str, scenario: impl Fn()) {
    // SAFETY: takes nothing, returns a number.
    if unsafe { libc::geteuid() } != 0 {
        skip(&format!("{test} needs root"));
        return;
    }
    // A test that failed has nothing to hide from the next one.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for attempt in 1.. {
        WITHHELD.store(0, Ordering::Relaxed);
        OVERLOOKED.store(0, Ordering::Relaxed);
        let Err(failure) = panic::catch_unwind(AssertUnwindSafe(&scenario)) else { return };
        let (withheld, overlooked) = (WITHHELD.load(Ordering::Relaxed), OVERLOOKED.load(Ordering::Relaxed));
        if overlooked > 0 {
            writeln!(
                io::stderr(),
                "{test}: the daemon overlooked {overlooked} events that another program was handed"
            )
            .expect("stderr");
        }
        if withheld <= 0 || overlooked > 0 || attempt == ATTEMPTS {
            panic::resume_unwind(failure);
        }
        writeln!(
            io::stderr(),
            "REPEATED: {test}, during which the kernel kept {withheld} events back from all eBPF programs"
        )
        .expect("stderr");
    }
}

/// Says that a test cannot do its work here, past what libtest hides of tests that pass. `cargo xtask test` lists these,
/// and fails in CI unless the reason is one that it accepts.
pub(crate) fn skip(why: &str) {
    writeln!(io::stderr(), "SKIPPED: {why}").expect("stderr");
}

/// Tries until there is a result.
///
/// # Panics
/// If that takes too long: with what was seen last.
pub(crate) fn eventually<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(result) => return result,
            Err(seen) => assert!(Instant::now() < deadline, "this never came true; last seen: {seen}"),
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// Tries until something is true.
pub(crate) fn eventually_true(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(|| if condition() { Ok(()) } else { Err(what.to_owned()) });
}

/// The program under test.
pub(crate) fn tcpstate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tcpstate"))
}

/// An example program, which cargo builds next to the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_BIN_EXE_tcpstate"));
    path.pop();
    path.join("examples").join(name)
}

/// A running daemon on a port of its own; killed at the end.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) agent: ureq::Agent,
    log: Arc<Mutex<Vec<String>>>,
    /// What the three who count events had, when the daemon was ready.
    events: Option<Seen>,
}

/// How many events there were at `inet_sock_set_state` by the daemon, by a program that was handed the same, and by the
/// kernel's own tracing. Events come in while it is read: the order of reading is such that too few are called withheld
/// or overlooked, and never too many.
struct Seen {
    told: i64,
    handed: i64,
    reported: i64,
}

impl Seen {
    fn at_the_beginning(daemon: &Daemon) -> Option<Self> {
        let told = daemon.told()?;
        let handed = handed()?;
        Some(Self { told, handed, reported: i64::try_from(witness::reported()?).ok()? })
    }

    fn at_the_end(daemon: &Daemon) -> Option<Self> {
        let reported = i64::try_from(witness::reported()?).ok()?;
        let handed = handed()?;
        Some(Self { told: daemon.told()?, handed, reported })
    }

    fn withheld(&self) -> i64 {
        self.reported - self.handed
    }

    fn overlooked(&self) -> i64 {
        self.handed - self.told
    }
}

/// Events that were handed to eBPF programs so far; `None` where that cannot be counted.
pub(crate) fn handed() -> Option<i64> {
    i64::try_from(handed::handed()?).ok()
}

impl Daemon {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = tcpstate();
        command.args(["daemon", "--reconcile-interval", "200ms"]).args(arguments);
        Self::start_command(&mut command)
    }

    /// Starts one from a command that ends in `tcpstate daemon …`, and waits until it is ready.
    pub(crate) fn start_command(command: &mut Command) -> Self {
        let mut child = command
            .args(["--web.listen-address", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let (lines, log) = follow(child.stderr.take().expect("stderr"));
        let mut url = None;
        loop {
            let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                panic!("the daemon was not ready ({error}): {:#?}", log.lock().expect("log"))
            });
            if let Some((_, address)) = line.split_once("listening on ") {
                url = Some(address.trim().to_owned());
            }
            if line.contains("ready") {
                break;
            }
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let mut daemon = Self { child, url: url.expect("it listens"), agent, log, events: None };
        daemon.events = Seen::at_the_beginning(&daemon);
        daemon
    }

    /// Events at `inet_sock_set_state` that the daemon has counted, or reports as missed. `None` where there are
    /// dumps only, and no events.
    pub(crate) fn told(&self) -> Option<i64> {
        let page =
            self.agent.get(format!("{}/metrics", self.url)).call().ok()?.body_mut().read_to_string().ok()?;
        let metrics = samples(&page);
        metrics.get("tcpstate_ignored_events_total")?;
        let told: f64 = metrics
            .iter()
            .filter(|(name, _)| {
                name.starts_with("tcpstate_transitions_total")
                    || name.starts_with("tcpstate_ignored_events_total")
                    || name.starts_with("tcpstate_unknown_states_total")
                    || name.starts_with("tcpstate_events_lost_total{kind=\"missed\"}")
            })
            .map(|(_, count)| count)
            .sum();
        #[expect(clippy::cast_possible_truncation, reason = "counts of a test")]
        Some(told as i64)
    }

    /// Adds to the numbers of a failing test what was withheld from this daemon, and what it overlooked.
    fn account(&self) {
        let Some(before) = &self.events else { return };
        let Some(now) = Seen::at_the_end(self) else { return };
        WITHHELD.fetch_add((now.withheld() - before.withheld()).max(0), Ordering::Relaxed);
        OVERLOOKED.fetch_add((now.overlooked() - before.overlooked()).max(0), Ordering::Relaxed);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("log").join("\n")
    }

    /// What its metrics say of events, for whoever looks into a failure.
    fn events_counted(&self) -> String {
        let request = self.agent.get(format!("{}/metrics", self.url)).config();
        let answer = request.timeout_global(Some(Duration::from_secs(5))).build().call();
        match answer.and_then(|mut answer| answer.body_mut().read_to_string()) {
            Ok(metrics) => {
                let about =
                    |line: &&str| line.starts_with("tcpstate_events") || line.starts_with("tcpstate_trans");
                let counted = metrics.lines().filter(about).filter(|line| !line.ends_with(" 0"));
                counted.collect::<Vec<_>>().join("\n")
            }
            Err(error) => format!("it does not answer: {error}"),
        }
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut response = self.agent.get(format!("{}{path}", self.url)).call().expect("an answer");
        (response.status().as_u16(), response.body_mut().read_to_string().expect("a body"))
    }

    /// The JSON of a GET that must succeed.
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// All samples of /metrics, by name with labels as they are written.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        samples(&body)
    }

    /// Every socket of the API that passes a query, on all pages.
    pub(crate) fn sockets(&self, query: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.json(&format!("/api/v1/sockets?limit=1000&{query}{cursor}"));
            all.extend(page["sockets"].as_array().expect("sockets").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(&mut self, signal: i32) -> ExitStatus {
        send_signal(self.pid(), signal);
        self.child.wait().expect("it ends")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            self.account();
            eprintln!("the daemon's log:\n{}\nits events:\n{}", self.log(), self.events_counted());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn send_signal(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).expect("a pid");
    // SAFETY: plain system call.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "kill {pid}");
}

fn follow(stderr: ChildStderr) -> (mpsc::Receiver<String>, Arc<Mutex<Vec<String>>>) {
    let (tell, lines) = mpsc::channel();
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&log);
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            kept.lock().expect("log").push(line.clone());
            let _ = tell.send(line);
        }
    });
    (lines, log)
}

/// Parses the text format: `name{labels} value`.
pub(crate) fn samples(body: &str) -> BTreeMap<String, f64> {
    body.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// A process that does what it is told; ended at the end.
pub(crate) struct Actor {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Actor {
    /// One in this network namespace.
    pub(crate) fn here() -> Self {
        Self::start(&mut Command::new(example("actor")))
    }

    /// One in a network namespace of its own.
    pub(crate) fn in_new_namespace() -> Self {
        Self::start(Command::new(example("actor")).arg("netns"))
    }

    /// One that may do nothing that any user may not.
    pub(crate) fn without_capabilities() -> Self {
        let mut command = Command::new("setpriv");
        Self::start(command.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(example("actor")))
    }

    /// One in the network namespace of another.
    pub(crate) fn beside(other: &Self) -> Self {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &other.pid().to_string()]).arg(example("actor"));
        Self::start(&mut command)
    }

    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the actor starts");
        let orders = child.stdin.take().expect("stdin");
        let answers = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut actor = Self { child, orders, answers };
        // From now on it is in its namespace.
        actor.told("hello");
        actor
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Inode number of its network namespace.
    pub(crate) fn netns(&self) -> u64 {
        let link = std::fs::read_link(format!("/proc/{}/ns/net", self.pid())).expect("its namespace");
        let text = link.to_string_lossy().into_owned();
        text.trim_start_matches("net:[").trim_end_matches(']').parse().expect("a number")
    }

    /// Gives an order without waiting for the answer.
    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the actor listens");
        self.orders.flush().expect("the actor listens");
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> Result<String, String> {
        let line = self.answers.next().expect("the actor answers").expect("the actor answers");
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ok", rest) => Ok(rest.to_owned()),
            (_, rest) => Err(rest.to_owned()),
        }
    }

    /// Gives an order that may fail.
    pub(crate) fn attempt(&mut self, order: &str) -> Result<String, String> {
        self.order(order);
        self.answer()
    }

    /// Gives an order that must succeed.
    pub(crate) fn told(&mut self, order: &str) -> String {
        self.attempt(order).unwrap_or_else(|error| panic!("{order}: {error}"))
    }

    /// A connected pair inside this actor: `NAMEc` the connecting, `NAMEa` the accepted end. Returns the
    /// address of the listener, which stays open under `NAMEl`.
    pub(crate) fn pair(&mut self, name: &str, address: &str) -> String {
        let listener = self.told(&format!("listen {name}l {address}"));
        self.told(&format!("connect {name}c {listener}"));
        self.told(&format!("accept {name}a {name}l"));
        listener
    }

    /// Ends it.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The stream of all events, collected as it comes.
pub(crate) struct Events {
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Events {
    /// Starts to watch; what happens from now on is seen.
    pub(crate) fn watch(daemon: &Daemon) -> Self {
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        let response = agent.get(format!("{}/api/v1/events", daemon.url)).call().expect("a stream");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        thread::spawn(move || {
            let mut kind = String::new();
            for line in BufReader::new(response.into_body().into_reader()).lines().map_while(Result::ok) {
                if let Some(event) = line.strip_prefix("event:") {
                    event.trim().clone_into(&mut kind);
                } else if let Some(data) = line.strip_prefix("data:") {
                    let mut value: Value = serde_json::from_str(data.trim()).expect("JSON");
                    value["kind"] = kind.clone().into();
                    kept.lock().expect("seen").push(value);
                }
            }
        });
        Self { seen }
    }

    /// All that was seen so far.
    pub(crate) fn all(&self) -> Vec<Value> {
        self.seen.lock().expect("seen").clone()
    }

    /// Waits for an event that passes.
    pub(crate) fn wait_for(&self, what: &str, passes: impl Fn(&Value) -> bool) -> Value {
        eventually(|| {
            let all = self.all();
            all.iter().find(|event| passes(event)).cloned().ok_or_else(|| format!("no {what} in {all:#?}"))
        })
    }

    /// Waits for a transition at a local address.
    pub(crate) fn transition(&self, local: &str, from: &str, to: &str) -> Value {
        self.wait_for(&format!("{local} {from} to {to}"), |event| {
            event["local"] == local && event["from"] == from && event["to"] == to
        })
    }
}

/// Waits until the daemon's gauges and `ss` say the same of what the daemon can reach.
pub(crate) fn agree(daemon: &Daemon, reach: Reach) {
    eventually(|| {
        let metrics = daemon.metrics();
        let counted = ss::count(reach)?;
        for (name, value) in metrics.iter().filter(|(name, _)| name.starts_with("tcpstate_sockets{")) {
            let label = |key: &str| {
                let rest = name.split(&format!("{key}=\"")).nth(1).expect("a label");
                rest.split('"').next().expect("a value").to_owned()
            };
            let (family, state) = (label("family"), label("state"));
            let there = counted.get(&(family, state)).copied().unwrap_or(0);
            #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
            if *value != there as f64 {
                return Err(format!("{name} {value}, ss says {there}"));
            }
        }
        Ok(())
    });
}
