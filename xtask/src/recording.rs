//! Records what a diagnosis looks at while real processes are played, and cuts it into one recording for each case, which
//! `tcpstate/core/tests/replays.rs` judges again ever after.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    build, child,
    running::Running,
    say::{say, warn},
    workspace::Workspace,
};

/// The file with the recording of everything.
const ALL: &str = "all.tcpstate";
/// Longer than any run takes.
const LONGEST: &str = "3h";
/// How long it may take to write the rest.
const PATIENCE: Duration = Duration::from_mins(1);
/// The largest recording that is kept, bytes.
const MOST: u64 = 200_000;

/// Warnings: the severity, and the class.
pub(crate) type Warned = BTreeSet<(String, String)>;

/// A recording that is being made.
pub(crate) struct Recorder {
    running: Running,
}

/// What is to be cut out of it.
pub(crate) struct Cut {
    /// The folder in `tcpstate/recordings`, and the name of the file there.
    pub(crate) family: &'static str,
    pub(crate) name: String,
    pub(crate) namespaces: BTreeSet<u64>,
    /// Until when it was judged.
    pub(crate) until: SystemTime,
    /// What was warned of meanwhile.
    pub(crate) warned: Warned,
}

impl Recorder {
    /// Begins. The file is in `folder`.
    ///
    /// # Errors
    /// What it said instead.
    pub(crate) fn start(tcpstate: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let file = folder.join(ALL);
        if file.exists() {
            fs::remove_file(&file)?;
        }
        // Also where we are killed, it goes.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(tcpstate).arg("record").arg(&file);
        command.args(["--for", LONGEST]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut running = Running::start(&mut command, None)?;
        let stderr = running.take_stderr().context("its output is not ours")?;
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let mut said = Vec::new();
        for line in lines.by_ref() {
            if line.starts_with("recording ") {
                thread::spawn(move || lines.for_each(drop));
                return Ok(Self { running });
            }
            said.push(line);
        }
        bail!("nothing is recorded: {}", said.join("\n"))
    }

    /// Ends.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = self.running.pid().to_string();
        child::run(Command::new("kill").args(["-INT", &pid]), "ending the recording")?;
        self.running.finish(PATIENCE)
    }
}

/// Keeps what was cut out of the recording of everything that is in `folder`, with other `paths`, and says what differs
/// in its replay.
///
/// # Errors
/// If something cannot be cut, replayed, or written.
pub(crate) fn keep_all(workspace: &Workspace, folder: &Path, paths: &str, cuts: &[Cut]) -> Result<()> {
    let mut build = build::cargo(workspace);
    build.args(["build", "--quiet", "--package", "tcpstate", "--bin", "tcpstate", "--example", "cut"]);
    child::run(&mut build, "compiling what cuts recordings")?;
    let mut kept = 0;
    for cut in cuts {
        match keep(workspace, &folder.join(ALL), paths, cut) {
            Ok(()) => kept += 1,
            Err(error) => warn(format!("{} is not kept: {error:#}", cut.name)),
        }
    }
    let mut replays = build::cargo(workspace);
    replays.args(["test", "--quiet", "--package", "tcpstate-core", "--test", "replays"]);
    child::run(replays.env("UPDATE_SNAPSHOTS", "1"), "replaying the recordings")?;
    say(format!("{kept} of {} recordings are kept in tcpstate/recordings", cuts.len()));
    Ok(())
}

/// Cuts one case out of the recording of everything, and keeps it if a replay warns of nothing else.
fn keep(workspace: &Workspace, all: &Path, paths: &str, cut: &Cut) -> Result<()> {
    let folder = workspace.root.join("tcpstate/recordings").join(cut.family);
    fs::create_dir_all(&folder)?;
    let part = all.with_file_name(format!("{}.tcpstate", cut.name));
    let namespaces: Vec<_> = cut.namespaces.iter().map(u64::to_string).collect();
    let until = cut.until.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
    let program = workspace.target.join("debug/examples/cut");
    let mut command = Command::new(program);
    command.arg(all).arg(&part).args([&namespaces.join(","), &until, paths]);
    child::run(&mut command, "cutting a recording")?;
    let warned = warned(&workspace.target.join("debug/tcpstate"), &part)?;
    // It was recorded at other moments than those at which the daemon looked: it may end a look before a warning.
    ensure!(warned.is_subset(&cut.warned), "the daemon warned of {:?}, a replay of {warned:?}", cut.warned);
    let bytes = fs::metadata(&part)?.len();
    ensure!(bytes <= MOST, "it takes {} kB, more than {} kB", bytes / 1000, MOST / 1000);
    fs::copy(&part, folder.join(format!("{}.tcpstate", cut.name)))?;
    Ok(())
}

/// What a replay warns of.
fn warned(tcpstate: &Path, recording: &Path) -> Result<Warned> {
    let mut command = Command::new(tcpstate);
    command.args(["diagnose", "--json", "--replay"]).arg(recording);
    let output = command.output().context("tcpstate cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let replayed: Value = serde_json::from_slice(&output.stdout).with_context(|| said.into_owned())?;
    let timeline = replayed["timeline"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = timeline.map(|change| (text(&change["severity"]), text(&change["class"])));
    Ok(worst(all))
}

/// Of several warnings of a class the worst.
pub(crate) fn worst(all: impl Iterator<Item = (String, String)>) -> Warned {
    let all: Warned = all.filter(|(severity, _)| severity != "info").collect();
    let is_less = |(severity, class): &(String, String)| {
        severity == "warning" && all.contains(&("critical".to_owned(), class.clone()))
    };
    all.iter().filter(|one| !is_less(one)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::worst;

    #[test]
    fn of_a_class_the_worst_warning_counts_and_no_info() {
        let all = [("info", "a"), ("warning", "a"), ("critical", "a"), ("warning", "b"), ("info", "c")];
        let all = all.map(|(severity, class)| (severity.to_owned(), class.to_owned()));
        let kept: Vec<_> =
            worst(all.into_iter()).into_iter().map(|(severity, class)| severity + &class).collect();
        assert_eq!(kept, ["criticala", "warningb"]);
    }
}
