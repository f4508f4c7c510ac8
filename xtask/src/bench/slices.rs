//! What is left of throughput, finely: a load goes on while programs are attached for a tenth of a second and detached
//! again, so that the machine has no time to become a slower or a faster one. What the daemon's threads take beside is
//! counted, not compared: it is a share of all cores.

use std::{
    io::{BufReader, Write},
    process::{ChildStdout, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    bpf::Program,
    numbers::{Estimate, as_f64},
    process,
    stage::{Closer, Stage, leashed, threads},
    subjects::{Subjects, settle},
    table::{or_dash, table},
};
use crate::{
    running::{Running, line},
    say::say,
};

const SLICE: Duration = Duration::from_millis(100);
/// How long the cores may take to get used to a program that comes or goes.
const PAUSE: Duration = Duration::from_millis(60);
/// How often each program is loaded: where the kernel puts it makes up to a tenth of its time.
const COPIES: usize = 5;
/// How long a load goes on before it is measured, and after.
const AROUND: Duration = Duration::from_secs(4);

/// What is left with the programs of one subject.
struct Row {
    subject: &'static str,
    program: &'static str,
    /// Connections a second in a slice with the program to those in the slices before and after it.
    ratios: Vec<f64>,
    /// What the subject's own threads took of all cores.
    share: Option<f64>,
}

pub(super) struct Slices {
    rows: [Row; 2],
    /// Time for which the threads were watched, s.
    watched_s: u64,
}

/// # Errors
/// When the load or a subject fails.
pub(super) fn measure(subjects: &Subjects, rounds: u32, quick: bool) -> Result<Slices> {
    let row = |subject, program| Row { subject, program, ratios: Vec::new(), share: None };
    let mut rows = [row("empty program", "empty"), row("tcpstate", "inet_sock_set_state")];
    let stage = subjects.stage()?;
    let time = Duration::from_secs(if quick { 10 } else { 40 }) * rounds;
    compare(subjects, &stage, time, &mut rows)?;
    let watched_s = if quick { 10 } else { 60 };
    let [_, tcpstate] = &mut rows;
    tcpstate.share = Some(share_of_daemon(subjects, &stage, watched_s)?);
    Ok(Slices { rows, watched_s })
}

/// Compares slices for that long.
fn compare(subjects: &Subjects, stage: &Stage, time: Duration, rows: &mut [Row]) -> Result<()> {
    subjects.bpftool.wait_until_nothing_traces()?;
    let mut switch = Switch::hold_programs(subjects, rows)?;
    say(format!("slices: {} s", time.as_secs()));
    let mut load = stage.start_churn(Closer::Client, (time + 2 * AROUND).as_secs())?;
    thread::sleep(AROUND);
    let begun = Instant::now();
    let mut before = switch.slice(stage, None)?;
    'all: for copy in (0..COPIES).cycle() {
        for (place, row) in rows.iter_mut().enumerate() {
            if begun.elapsed() >= time {
                break 'all;
            }
            let with = switch.slice(stage, Some(place * COPIES + copy))?;
            let after = switch.slice(stage, None)?;
            row.ratios.push(with / f64::midpoint(before, after));
            before = after;
        }
    }
    load.first_line().context("the load failed")?;
    load.finish(Duration::from_secs(10))
}

/// What the daemon's threads take of all cores under the same load, with all that is done only now and then.
fn share_of_daemon(subjects: &Subjects, stage: &Stage, seconds: u64) -> Result<f64> {
    subjects.bpftool.wait_until_nothing_traces()?;
    let daemon = subjects.start_daemon()?;
    settle(&mut daemon.connect()?)?;
    say(format!("slices: the daemon for {seconds} s"));
    let (begun, before) = (Instant::now(), process::activity(daemon.pid())?);
    stage.churn(Closer::Client, seconds)?;
    let done = process::activity(daemon.pid())?.since(&before);
    Ok(as_f64(done.running_ns) / 1e9 / begun.elapsed().as_secs_f64() / as_f64(threads()))
}

/// Holds programs that are loaded, and attaches them one at a time.
struct Switch {
    running: Running,
    answers: BufReader<ChildStdout>,
}

impl Switch {
    /// Has the programs of all rows loaded, each so often as there are copies, and holds them when those who loaded them
    /// are gone.
    fn hold_programs(subjects: &Subjects, rows: &[Row]) -> Result<Self> {
        let mut empties = Vec::new();
        let mut daemons = Vec::new();
        for _ in 0..COPIES {
            empties.push(subjects.start_empty()?);
            daemons.push(subjects.start_daemon()?);
        }
        let loaded = subjects.bpftool.tracing()?;
        let ids: Vec<_> = rows.iter().flat_map(|row| ids(&loaded, row.program)).collect();
        ensure!(ids.len() == rows.len() * COPIES, "not all programs were loaded: {ids:?}");
        let mut command = leashed(&subjects.examples.join("switch"));
        command.args(ids.iter().map(u64::to_string)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(&mut command, None)?;
        let answers = running.take_stdout()?;
        let mut switch = Self { running, answers };
        switch.expect("ready")?;
        drop((empties, daemons));
        subjects.bpftool.wait_until_only(&ids)?;
        Ok(switch)
    }

    /// Connections a second while the program at that place is attached, or none.
    fn slice(&mut self, stage: &Stage, place: Option<usize>) -> Result<f64> {
        let wish = place.map_or_else(|| "-".to_owned(), |place| place.to_string());
        writeln!(self.running.input()?, "{wish}")?;
        self.expect("done")?;
        thread::sleep(PAUSE);
        let (begun, before) = (Instant::now(), stage.accepted()?);
        thread::sleep(SLICE);
        let (took, after) = (begun.elapsed(), stage.accepted()?);
        Ok(as_f64(after.saturating_sub(before)) / took.as_secs_f64())
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        let answer = line(&mut self.answers).context("the programs cannot be held or attached")?;
        ensure!(answer == word, "the switch says {answer}");
        Ok(())
    }
}

/// The numbers of all programs with that name.
fn ids(loaded: &[Program], name: &str) -> Vec<u64> {
    loaded.iter().filter(|program| program.name == name).map(|program| program.id).collect()
}

impl Row {
    /// What is left of throughput with everything, if it can be said.
    fn left(&self) -> Option<f64> {
        Some(Estimate::of(&self.ratios)?.median * (1.0 - self.share.unwrap_or_default()))
    }
}

impl Slices {
    pub(super) fn markdown(&self) -> String {
        const HEADS: [&str; 5] = [
            "subject",
            "throughput ratio with its programs",
            "CPU of its threads, % of all cores",
            "throughput ratio with both",
            "to that of the empty program",
        ];
        let [empty, _] = &self.rows;
        let empty = empty.left();
        let show = |number: Option<f64>| or_dash(number.map(|number| format!("{number:.3}")));
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let left = row.left();
                vec![
                    row.subject.to_owned(),
                    or_dash(Estimate::of(&row.ratios).map(|estimate| format!("{estimate:.3}"))),
                    or_dash(row.share.map(|share| format!("{:.2}", share * 100.0))),
                    show(left),
                    show(left.zip(empty).map(|(left, empty)| left / empty)),
                ]
            })
            .collect();
        let slices = self.rows.iter().map(|row| row.ratios.len()).max().unwrap_or_default();
        format!(
            "## Under full load, in slices\n\n\
            A load goes on while a program at `inet_sock_set_state` is attached for {} ms and detached again, {slices} times.\n\
            Each is loaded {COPIES} times, since it matters where the kernel puts it. A ratio is that of a slice to the mean of \
            those before\nand after it, with nothing attached: the median, and its standard error. What the daemon's threads \
            take beside\nis counted in {} s of the same load with everything on. Both together are what is left of throughput.\n\n{}",
            SLICE.as_millis(),
            self.watched_s,
            table(&HEADS, &rows)
        )
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "subject": row.subject,
                "slices": row.ratios.len(),
                "throughput_ratio_of_programs": Estimate::of(&row.ratios).map(Estimate::json),
                "cpu_share": row.share,
                "throughput_ratio": row.left(),
            })
        });
        json!({ "watched_s": self.watched_s, "subjects": rows.collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::{Program, Row, Slices, ids};

    fn row(subject: &'static str, ratios: &[f64], share: Option<f64>) -> Row {
        Row { subject, program: "p", ratios: ratios.to_vec(), share }
    }

    #[test]
    fn what_is_left_is_what_programs_and_threads_leave_together() {
        let rows = [row("empty", &[0.97, 0.98, 0.99], None), row("x", &[0.94, 0.95, 0.96], Some(0.01))];
        let text = Slices { rows, watched_s: 60 }.markdown();
        assert!(text.contains("| empty | 0.980 ± 0.005 | - | 0.980 | 1.000 |\n"), "{text}");
        assert!(text.contains("| x | 0.950 ± 0.005 | 1.00 | 0.941 | 0.960 |\n"), "{text}");
    }

    #[test]
    fn a_subject_without_slices_says_nothing() {
        let text = Slices { rows: [row("empty", &[], None), row("x", &[], None)], watched_s: 10 }.markdown();
        assert!(text.contains("| empty | - | - | - | - |\n"), "{text}");
    }

    #[test]
    fn programs_are_found_by_their_whole_name() {
        let program = |id, name: &str| Program { id, name: name.to_owned(), run_time_ns: 0, runs: 0 };
        let loaded = [program(1, "a"), program(2, "a_nested"), program(3, "a")];
        assert_eq!(ids(&loaded, "a"), [1, 3]);
    }
}
