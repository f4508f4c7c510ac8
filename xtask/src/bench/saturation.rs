//! A minute at full load: whether the daemon counts every change of state, and loses nothing.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    numbers::difference,
    process::{self, Cpu},
    stage::{Closer, transitions},
    subjects::{Subjects, counted_at_rest},
    table::table,
    witness::Witness,
};
use crate::say::{say, warn};

pub(super) struct Saturation {
    seconds: u64,
    transitions: u64,
    off_by: i64,
    /// Of the changes that are missing, those for which the kernel ran no program; `None` where it does not say.
    kept_back: Option<u64>,
    /// What the daemon took, censuses and passes of the diagnosis included.
    cpu: Cpu,
    lost: Vec<(String, u64)>,
}

/// # Errors
/// When the load or the daemon fails.
pub(super) fn measure(subjects: &Subjects, quick: bool) -> Result<Saturation> {
    subjects.bpftool.wait_until_nothing_traces()?;
    let seconds = if quick { 10 } else { 60 };
    let stage = subjects.stage()?;
    let daemon = subjects.start_daemon()?;
    let mut connection = daemon.connect()?;
    let witness = Witness::call().inspect_err(|error| warn(format!("{error:#}"))).ok();
    let before = counted_at_rest(&mut connection)?;
    let idle = process::cpu(daemon.pid())?;
    say(format!("saturation: connections for {seconds} s"));
    let churned = stage.churn(Closer::Client, seconds)?;
    let after = counted_at_rest(&mut connection)?;
    let cpu = process::cpu(daemon.pid())? - idle;
    let made = transitions(churned);
    let lost =
        after.lost.iter().map(|(kind, events)| (kind.clone(), events - before.lost.get(kind).unwrap_or(&0)));
    Ok(Saturation {
        seconds,
        transitions: made,
        off_by: difference(after.transitions - before.transitions, made),
        kept_back: witness.map(Witness::count).transpose()?,
        cpu,
        lost: lost.collect(),
    })
}

impl Saturation {
    pub(super) fn markdown(&self) -> String {
        const HEADS: [&str; 2] = ["lost", "count"];
        let Self { seconds, transitions, off_by, .. } = self;
        let kept_back = match self.kept_back {
            Some(count) => format!(
                "{count} happened while process 1 was on the CPU, and the kernel handed them to no program"
            ),
            None => "nobody can say how many the kernel handed to no program".to_owned(),
        };
        let lost: Vec<_> =
            self.lost.iter().map(|(kind, count)| vec![kind.clone(), count.to_string()]).collect();
        let Cpu { user_s, system_s } = self.cpu.per_million(self.transitions);
        format!(
            "## At saturation\n\n{transitions} changes of state in {seconds} s, of which the counters are off by \
            {off_by}; {kept_back}.\nWith all that is done only now and then, the daemon took {user_s:.3} s of user and \
            {system_s:.3} s of system time for each million of them.\n\n{}",
            table(&HEADS, &lost)
        )
    }

    pub(super) fn json(&self) -> Value {
        let Cpu { user_s, system_s } = self.cpu.per_million(self.transitions);
        let lost: serde_json::Map<_, _> =
            self.lost.iter().map(|(kind, count)| (kind.clone(), (*count).into())).collect();
        json!({
            "seconds": self.seconds,
            "transitions": self.transitions,
            "off_by": self.off_by,
            "kept_back": self.kept_back,
            "user_s_per_million": user_s,
            "system_s_per_million": system_s,
            "lost": lost,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_beside_what_the_kernel_kept_back() {
        let mut saturation = Saturation {
            seconds: 60,
            transitions: 2_000_000,
            off_by: -2,
            kept_back: Some(2),
            cpu: Cpu { user_s: 0.1, system_s: 0.03 },
            lost: vec![("note".to_owned(), 7)],
        };
        let text = saturation.markdown();
        assert!(
            text.contains(
                "2000000 changes of state in 60 s, of which the counters are off by -2; 2 happened"
            ),
            "{text}"
        );
        assert!(text.contains("the daemon took 0.050 s of user and 0.015 s of system time"), "{text}");
        assert!(text.contains("| note | 7 |"), "{text}");
        saturation.kept_back = None;
        assert!(saturation.markdown().contains("nobody can say"));
    }
}
