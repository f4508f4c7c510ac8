//! What it costs, compared with something else that is measured in the same run, or counted: so that a slow or a busy
//! machine neither hides a change for the worse nor makes one up. `cargo xtask bench` says what it comes to.
#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and counts are exact in f64"
)]

mod support;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use aya::{
    programs::{ProgramInfo, loaded_programs},
    sys::{Stats, enable_stats},
};
use support::{Daemon, alone, example};

/// The kernel keeps 15 characters of a program's name: both programs at `inet_sock_set_state` have this one.
const OURS: &str = "inet_sock_set_s";
const EMPTY: &str = "empty";

/// The program that does nothing, attached until this goes.
struct Empty(Child);

impl Empty {
    fn attach() -> Self {
        let object =
            std::env::var_os("TCPSTATE_EMPTY_OBJECT").expect("`cargo xtask test` builds it and says where");
        let mut child = Command::new(example("empty"))
            .arg(object)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn programs(name: &str) -> Vec<ProgramInfo> {
    let programs = loaded_programs().map(|program| program.expect("a program"));
    programs.filter(|program| program.name_as_str() == Some(name)).collect()
}

/// Nanoseconds a run, of all programs with this name together, for one event.
fn ns_per_event(name: &str) -> f64 {
    let each = programs(name);
    assert!(!each.is_empty(), "{name} is not loaded");
    #[expect(clippy::cast_precision_loss, reason = "ratios are enough")]
    each.iter().map(|program| program.run_time().as_nanos() as f64 / program.run_count().max(1) as f64).sum()
}

/// The kernel measures both programs at the same events. What it takes to measure is in both.
#[test]
fn transition_costs_little_more_than_a_program_that_does_nothing() {
    alone("transition_costs_little_more_than_a_program_that_does_nothing", || {
        let _daemon = Daemon::start(&[]);
        let _empty = Empty::attach();
        let _stats = enable_stats(Stats::RunTime).expect("statistics");
        let load = example("load");
        let script = format!("ip link set lo up && exec {} churn client 2 1", load.display());
        let output = Command::new("unshare").args(["--net", "sh", "-c", &script]).output().expect("a load");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (ours, empty) = (ns_per_event(OURS), ns_per_event(EMPTY));
        // Both programs at the tracepoint together: 3.2 times as much when this was written.
        assert!(ours / empty < 4.5, "{ours:.0} ns an event, and {empty:.0} ns for nothing");
    });
}

/// Instructions are nearly the same on every machine; a tenth more than when this was written is allowed.
#[test]
fn programs_stay_small() {
    alone("programs_stay_small", || {
        let _daemon = Daemon::start(&[]);
        for (name, most) in [(OURS, 3250), ("tcp_send_reset", 1500), ("tcp_receive_res", 360)] {
            for program in programs(name) {
                let instructions = program.size_translated().expect("a size") / 8;
                assert!(instructions <= most, "{name} has {instructions} instructions, more than {most}");
            }
        }
    });
}
