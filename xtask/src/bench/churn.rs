//! What each subject costs where connections are made as fast as the machine makes them: throughput against
//! nothing attached, time on the processors, memory, losses.

use std::{cell::Cell, collections::BTreeMap};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    bpf::came,
    numbers::{Spread, as_f64, difference},
    process::{self, Cpu},
    stage::{Churned, Closer, Stage, TRANSITIONS_OF_A_CONNECTION, transitions},
    subjects::{RECORDS, Subjects, counted_at_rest, settle},
    table::{or_dash, table},
};
use crate::say::{say, warn};

/// Fills the namespace with as many sockets in `TIME_WAIT` as it takes, so that the first run is as any other.
const WARM_UP_S: u64 = 4;

/// What was measured of one subject, a value for each round.
#[derive(Default)]
struct Row {
    subject: &'static str,
    /// Throughput against nothing attached.
    ratios: Vec<f64>,
    /// Seconds for a million changes of state.
    user_s: Vec<f64>,
    system_s: Vec<f64>,
    resident_mb: Vec<f64>,
    /// Lost events by kind, where the subject can lose any.
    lost: Option<BTreeMap<String, u64>>,
    /// Changes of state in all rounds together.
    transitions: u64,
    /// How many changes of state it counted more than there were.
    off_by: Vec<i64>,
}

/// What was measured of all subjects.
pub(super) struct Churn {
    rows: Vec<Row>,
    /// Connections a second with nothing attached.
    bare: Vec<f64>,
    /// Loads during which somebody else began to trace.
    disturbed: u32,
}

/// One run with a subject attached.
struct Run {
    churned: Churned,
    cpu: Cpu,
    resident_kb: u64,
}

/// # Errors
/// When a load or the daemon fails; a peer that fails is left out.
pub(super) fn measure(subjects: &Subjects, rounds: u32, seconds: u64) -> Result<Churn> {
    let stage = subjects.stage()?;
    stage.churn(Closer::Client, WARM_UP_S)?;
    let mut churn = Churn { rows: Vec::new(), bare: Vec::new(), disturbed: 0 };
    let mut left_out = Vec::new();
    for round in 1..=rounds {
        say(format!("churn, round {round} of {rounds}"));
        let bench = Round { subjects, stage: &stage, seconds, disturbed: Cell::new(0) };
        bench.empty(&mut churn)?;
        bench.tcpstate(&mut churn)?;
        for index in 0..subjects.peers.len() {
            if left_out.contains(&index) {
                continue;
            }
            if let Err(error) = bench.peer(index, &mut churn) {
                warn(format!("{} is left out: {error:#}", subjects.peers[index].name));
                left_out.push(index);
            }
        }
        churn.disturbed += bench.disturbed.get();
    }
    Ok(churn)
}

struct Round<'a> {
    subjects: &'a Subjects,
    stage: &'a Stage,
    seconds: u64,
    disturbed: Cell<u32>,
}

impl Round<'_> {
    fn bare(&self, churn: &mut Churn) -> Result<f64> {
        self.subjects.bpftool.wait_until_nothing_traces()?;
        let rate = self.load()?.rate;
        churn.bare.push(rate);
        Ok(rate)
    }

    /// Makes connections, and notes when somebody else came in between, as far as one can see afterwards.
    fn load(&self) -> Result<Churned> {
        let before = self.subjects.bpftool.tracing()?;
        let churned = self.stage.churn(Closer::Client, self.seconds)?;
        let came = came(&before, &self.subjects.bpftool.tracing()?);
        if !came.is_empty() {
            warn(format!("somebody else began to trace, so this round is not to be trusted: {came}"));
            self.disturbed.set(self.disturbed.get() + 1);
        }
        Ok(churned)
    }

    /// `catch_up` waits until the subject has done its work for all events.
    fn run<T>(&self, pid: u32, catch_up: impl FnOnce() -> Result<T>) -> Result<(Run, T)> {
        let before = process::cpu(pid)?;
        let churned = self.load()?;
        let caught_up = catch_up()?;
        let run = Run { churned, cpu: process::cpu(pid)? - before, resident_kb: process::resident_kb(pid)? };
        Ok((run, caught_up))
    }

    fn empty(&self, churn: &mut Churn) -> Result<()> {
        let before = self.bare(churn)?;
        let empty = self.subjects.start_empty()?;
        let (run, ()) = self.run(empty.pid(), || Ok(()))?;
        drop(empty);
        let after = self.bare(churn)?;
        churn.row("empty program").add(&run, f64::midpoint(before, after));
        Ok(())
    }

    /// The daemon while somebody watches, and then by itself. It takes so long to settle that the machine has another
    /// speed by then, so what it is compared with comes right after it.
    fn tcpstate(&self, churn: &mut Churn) -> Result<()> {
        let daemon = self.subjects.start_daemon()?;
        // Opened before the first reading and closed after the last: their own changes of state do not count.
        let mut connection = daemon.connect()?;
        let stream = daemon.connect()?;
        settle(&mut connection)?;
        let first = counted_at_rest(&mut connection)?;
        let watching = stream.stream_away("/api/v1/events", RECORDS)?;
        let (watched, second) = self.run(daemon.pid(), || counted_at_rest(&mut connection))?;
        drop(watching);
        let rested = counted_at_rest(&mut connection)?;
        let (alone, third) = self.run(daemon.pid(), || counted_at_rest(&mut connection))?;
        drop((connection, daemon));
        let bare = self.bare(churn)?;
        for (name, run, earlier, later) in
            [("tcpstate", alone, &rested, &third), ("tcpstate, watched", watched, &first, &second)]
        {
            let row = churn.row(name);
            row.add(&run, bare);
            for (kind, events) in &later.lost {
                row.lose(kind, events - earlier.lost.get(kind).unwrap_or(&0));
            }
            let counted = later.transitions - earlier.transitions;
            row.off_by.push(difference(counted, transitions(run.churned)));
        }
        Ok(())
    }

    fn peer(&self, index: usize, churn: &mut Churn) -> Result<()> {
        let peer = &self.subjects.peers[index];
        let before = self.bare(churn)?;
        let attached = peer.start(&self.subjects.bpftool)?;
        let (run, lost) = self.run(attached.pid(), || {
            attached.wait_until_written();
            attached.lost()
        })?;
        drop(attached);
        let after = self.bare(churn)?;
        let row = churn.row(peer.name);
        row.add(&run, f64::midpoint(before, after));
        row.lose("event", lost);
        Ok(())
    }
}

impl Row {
    fn add(&mut self, run: &Run, bare: f64) {
        let transitions = run.churned.connections * TRANSITIONS_OF_A_CONNECTION;
        let cpu = run.cpu.per_million(transitions);
        self.ratios.push(run.churned.rate / bare);
        self.user_s.push(cpu.user_s);
        self.system_s.push(cpu.system_s);
        self.resident_mb.push(as_f64(run.resident_kb) / 1024.0);
        self.transitions += transitions;
    }

    fn lose(&mut self, kind: &str, events: u64) {
        *self.lost.get_or_insert_default().entry(kind.to_owned()).or_default() += events;
    }

    /// `12 event (0.10 %)`.
    fn losses(&self) -> Option<String> {
        let kinds = self.lost.as_ref()?.iter().filter(|(_, events)| **events > 0);
        let kinds: Vec<_> = kinds
            .map(|(kind, events)| {
                let percent = as_f64(*events) * 100.0 / as_f64(self.transitions);
                format!("{events} {kind} ({percent:.3} %)")
            })
            .collect();
        Some(if kinds.is_empty() { "0".to_owned() } else { kinds.join(", ") })
    }

    fn cells(&self) -> Vec<String> {
        let show = |values: &[f64], digits: usize| {
            or_dash(Spread::of(values).map(|spread| format!("{spread:.digits$}")))
        };
        let off_by: Vec<_> = self.off_by.iter().map(i64::to_string).collect();
        vec![
            self.subject.to_owned(),
            show(&self.ratios, 3),
            show(&self.user_s, 3),
            show(&self.system_s, 3),
            or_dash(Spread::of(&self.resident_mb).map(|spread| format!("{:.0}", spread.median))),
            or_dash(self.losses()),
            or_dash((!off_by.is_empty()).then(|| off_by.join(", "))),
        ]
    }
}

impl Churn {
    fn row(&mut self, subject: &'static str) -> &mut Row {
        let index = self.rows.iter().position(|row| row.subject == subject).unwrap_or_else(|| {
            self.rows.push(Row { subject, ..Row::default() });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    pub(super) fn markdown(&self) -> String {
        const HEADS: [&str; 7] = [
            "subject",
            "throughput ratio",
            "user CPU, s per 1M transitions",
            "system CPU, s per 1M",
            "RSS, MB",
            "events lost",
            "transitions counted too many, each round",
        ];
        let rows: Vec<_> = self.rows.iter().map(Row::cells).collect();
        let bare = or_dash(Spread::of(&self.bare).map(|spread| format!("{spread:.0}")));
        let disturbed = match self.disturbed {
            0 => String::new(),
            count => format!(" Somebody else traced in {count} of the loads: these numbers are spoiled."),
        };
        let text = table(&HEADS, &rows);
        format!(
            "## Under full load\n\nWith nothing attached: {bare} connections a second.{disturbed}\n\n{text}"
        )
    }

    pub(super) fn json(&self) -> Value {
        let spread = |values: &[f64]| Spread::of(values).map(Spread::json);
        let rows = self.rows.iter().map(|row| {
            json!({
                "subject": row.subject,
                "throughput_ratio": spread(&row.ratios),
                "throughput_ratios": row.ratios,
                "user_s_per_million": spread(&row.user_s),
                "system_s_per_million": spread(&row.system_s),
                "resident_mb": spread(&row.resident_mb),
                "transitions": row.transitions,
                "lost": row.lost,
                "off_by": row.off_by,
            })
        });
        json!({
            "bare_connections_per_second": self.bare,
            "disturbed_loads": self.disturbed,
            "subjects": rows.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Churn, Churned, Cpu, Row, Run};

    fn run(rate: f64) -> Run {
        Run {
            churned: Churned { rate, connections: 100_000 },
            cpu: Cpu { user_s: 0.05, system_s: 0.25 },
            resident_kb: 20 * 1024,
        }
    }

    #[test]
    fn a_row_shows_ratios_and_costs_of_a_million_transitions() {
        let mut row = Row { subject: "x", ..Row::default() };
        row.add(&run(90.0), 100.0);
        row.add(&run(100.0), 100.0);
        row.lose("missed", 0);
        row.lose("watch", 5000);
        row.off_by = vec![0, -2];
        let expected = [
            "x",
            "0.950 (0.900–1.000)",
            "0.050 (0.050–0.050)",
            "0.250 (0.250–0.250)",
            "20",
            "5000 watch (0.250 %)",
            "0, -2",
        ];
        assert_eq!(row.cells(), expected);
    }

    #[test]
    fn a_subject_that_cannot_lose_says_nothing_of_it() {
        let mut churn = Churn { rows: Vec::new(), bare: vec![100.0], disturbed: 0 };
        churn.row("empty program").add(&run(99.0), 100.0);
        churn.row("empty program").add(&run(97.0), 100.0);
        assert_eq!(churn.rows.len(), 1, "both rounds are in one row");
        let text = churn.markdown();
        assert!(text.contains("100 (100–100) connections a second.\n"), "{text}");
        assert!(text.ends_with("| 20 | - | - |\n"), "{text}");
        churn.disturbed = 2;
        assert!(churn.markdown().contains("Somebody else traced in 2 of the loads"));
    }
}
