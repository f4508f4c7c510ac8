//! What each subject costs inside the kernel, by the kernel's own statistics of BPF programs. Taking them costs
//! something by itself in each run of a program, so throughput is measured apart.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    bpf::{Program, Statistics, between},
    numbers::{Spread, as_f64},
    stage::{Closer, Stage},
    subjects::{RECORDS, Subjects, settle},
    table::{or_dash, table},
};
use crate::say::{say, warn};

/// One subject under one load.
struct Row {
    subject: &'static str,
    closer: Closer,
    /// ns for each connection, a value for each round.
    connection_ns: Vec<f64>,
    programs: Vec<Cost>,
}

/// What one program costs.
struct Cost {
    name: String,
    /// ns for each run of it, a value for each round.
    run_ns: Vec<f64>,
}

pub(super) struct Kernel(Vec<Row>);

/// # Errors
/// When a load or the daemon fails, or the kernel has no statistics; a peer that fails is left out.
pub(super) fn measure(subjects: &Subjects, rounds: u32, seconds: u64) -> Result<Kernel> {
    let statistics = Statistics::on()?;
    let stage = subjects.stage()?;
    let load = Load { subjects, stage: &stage, rounds, seconds };
    let mut rows = Vec::new();
    subjects.bpftool.wait_until_nothing_traces()?;
    say("in the kernel: empty program");
    let empty = subjects.start_empty()?;
    rows.push(load.row("empty program", Closer::Client, &load.own()?)?);
    drop(empty);
    subjects.bpftool.wait_until_nothing_traces()?;
    say("in the kernel: tcpstate");
    let daemon = subjects.start_daemon()?;
    let own = load.own()?;
    let mut connection = daemon.connect()?;
    settle(&mut connection)?;
    for closer in [Closer::Client, Closer::Server, Closer::Reset] {
        rows.push(load.row("tcpstate", closer, &own)?);
    }
    let watching = connection.stream_away("/api/v1/events", RECORDS)?;
    rows.push(load.row("tcpstate, watched", Closer::Client, &own)?);
    drop((watching, daemon));
    for peer in &subjects.peers {
        subjects.bpftool.wait_until_nothing_traces()?;
        say(format!("in the kernel: {}", peer.name));
        let measured =
            peer.start(&subjects.bpftool).and_then(|_peer| load.row(peer.name, Closer::Client, &load.own()?));
        match measured {
            Ok(row) => rows.push(row),
            Err(error) => warn(format!("{} is left out: {error:#}", peer.name)),
        }
    }
    drop(statistics);
    Ok(Kernel(rows))
}

struct Load<'a> {
    subjects: &'a Subjects,
    stage: &'a Stage,
    rounds: u32,
    seconds: u64,
}

impl Load<'_> {
    /// The programs of a subject, right after it was started: those that come later are somebody else's.
    fn own(&self) -> Result<Vec<u64>> {
        Ok(self.subjects.bpftool.tracing()?.iter().map(|program| program.id).collect())
    }

    fn row(&self, subject: &'static str, closer: Closer, own: &[u64]) -> Result<Row> {
        let mut row = Row { subject, closer, connection_ns: Vec::new(), programs: Vec::new() };
        for _ in 0..self.rounds {
            let mut before = self.subjects.bpftool.tracing()?;
            before.retain(|program| own.contains(&program.id));
            let connections = self.stage.churn(closer, self.seconds)?.connections;
            row.add(&between(&before, self.subjects.bpftool.tracing()?), connections);
        }
        Ok(row)
    }
}

impl Row {
    fn add(&mut self, programs: &[Program], connections: u64) {
        let time_ns: u64 = programs.iter().map(|program| program.run_time_ns).sum();
        self.connection_ns.push(as_f64(time_ns) / as_f64(connections.max(1)));
        for program in programs {
            let run_ns = as_f64(program.run_time_ns) / as_f64(program.runs);
            match self.programs.iter_mut().find(|cost| cost.name == program.name) {
                Some(cost) => cost.run_ns.push(run_ns),
                None => self.programs.push(Cost { name: program.name.clone(), run_ns: vec![run_ns] }),
            }
        }
    }

    fn cells(&self) -> Vec<String> {
        let show = |values: &[f64]| Spread::of(values).map(|spread| format!("{spread:.0}"));
        let programs: Vec<_> = self
            .programs
            .iter()
            .map(|cost| format!("`{}` {}", cost.name, or_dash(show(&cost.run_ns))))
            .collect();
        let closer = self.closer.name().to_owned();
        vec![self.subject.to_owned(), closer, or_dash(show(&self.connection_ns)), programs.join(", ")]
    }
}

impl Kernel {
    pub(super) fn markdown(&self) -> String {
        const HEADS: [&str; 4] = ["subject", "closed by", "ns per connection", "ns per run of each program"];
        let rows: Vec<_> = self.0.iter().map(Row::cells).collect();
        let text = table(&HEADS, &rows);
        format!(
            "## In the kernel\n\nBy the kernel's own statistics (`kernel.bpf_stats_enabled`), which the empty \
            program shows the cost of.\n\n{text}"
        )
    }

    pub(super) fn json(&self) -> Value {
        let spread = |values: &[f64]| Spread::of(values).map(Spread::json);
        let rows = self.0.iter().map(|row| {
            let programs = row.programs.iter();
            let programs =
                programs.map(|cost| json!({ "program": cost.name, "run_ns": spread(&cost.run_ns) }));
            json!({
                "subject": row.subject,
                "closer": row.closer.name(),
                "connection_ns": spread(&row.connection_ns),
                "programs": programs.collect::<Vec<_>>(),
            })
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Closer, Program, Row};

    fn program(name: &str, run_time_ns: u64, runs: u64) -> Program {
        Program { id: 1, name: name.to_owned(), run_time_ns, runs }
    }

    #[test]
    fn a_row_adds_up_a_connections_programs_and_shows_each_by_itself() {
        let closer = Closer::Reset;
        let mut row = Row { subject: "x", closer, connection_ns: Vec::new(), programs: Vec::new() };
        row.add(&[program("one", 1000, 10), program("two", 500, 50)], 10);
        row.add(&[program("one", 2000, 10)], 10);
        let expected = ["x", "rst", "175 (150–200)", "`one` 150 (100–200), `two` 10 (10–10)"];
        assert_eq!(row.cells(), expected);
    }
}
