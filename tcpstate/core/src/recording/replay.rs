//! Judges a recording, as it was judged when it was made: the same tracker, the same rules, the same moments.

use std::{collections::BTreeMap, sync::Arc};

use foldhash::HashSet;

use super::input::Input;
use crate::{
    diagnose::{Changes, Collected, Diagnosis, Evidence, Material, Moment, Requirements, Seen, Thresholds},
    track::{Holders, Limits, Tracker},
};

/// See the module.
#[derive(Debug)]
pub struct Replay {
    tracker: Tracker,
    diagnosis: Diagnosis,
    reset_reasons: Arc<BTreeMap<u32, String>>,
    max_events: usize,
    seen: Seen,
    holders: Arc<Holders>,
    hidden: Option<String>,
    begun: Option<(Evidence, Requirements)>,
    last: Option<Moment>,
    lost: u64,
}

impl Replay {
    /// Nothing has been looked at yet.
    #[must_use]
    pub fn new(thresholds: &Thresholds, limits: Limits, reset_reasons: BTreeMap<u32, String>) -> Self {
        Self {
            tracker: Tracker::new(limits, false),
            diagnosis: Diagnosis::new(*thresholds),
            reset_reasons: Arc::new(reset_reasons),
            max_events: thresholds.max_events,
            seen: Seen::default(),
            holders: Arc::default(),
            hidden: None,
            begun: None,
            last: None,
            lost: 0,
        }
    }

    /// Takes in what comes next. Returns what a pass has changed, and when that was.
    pub fn take(&mut self, input: Input) -> Option<(Moment, Changes)> {
        match input {
            Input::Event(mut event, about) => self.tracker.ingest_with(&mut event, about),
            Input::Acted { cookie, process } => self.tracker.acted(cookie, process),
            Input::IdleClose(close) => self.tracker.closed_idle(close),
            Input::Note(note) => self.tracker.note(note),
            Input::DumpBegins { started_ns, scope } => self.tracker.census_begins(scope, started_ns),
            Input::DumpShows { now_ns, rows } => self.tracker.census_shows(&rows, now_ns),
            Input::DumpEnds { finished_ns, unvisited } => {
                let _ = self.tracker.census_ends(finished_ns, None, None, &unvisited);
            }
            Input::Look(moment) => self.look(moment),
            Input::Holders { holders, hidden } => (self.holders, self.hidden) = (holders, hidden),
            Input::Pass(collected) => return self.pass(collected),
            Input::Lost(count) => self.lost += count,
        }
        None
    }

    /// The rules, and what they have found.
    #[must_use]
    pub fn diagnosis(&self) -> &Diagnosis {
        &self.diagnosis
    }

    /// When the last pass was.
    #[must_use]
    pub fn last(&self) -> Option<Moment> {
        self.last
    }

    /// Who held what, as of the last look-up.
    #[must_use]
    pub fn holders(&self) -> &Arc<Holders> {
        &self.holders
    }

    /// Sockets in the table.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.tracker.tracked()
    }

    /// Inputs that could not be written down.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn look(&mut self, moment: Moment) {
        let mut selection = self.diagnosis.selection();
        self.tracker.some(0..usize::MAX, |socket| selection.see(socket));
        let reasons = &self.reset_reasons;
        let material =
            Material::of(&self.tracker, moment, selection.finish(), self.seen, self.max_events, reasons);
        let requirements = self.diagnosis.requirements(&material.selected);
        self.seen = material.seen;
        self.last = Some(moment);
        self.begun = Some((Evidence::of(material, &self.holders), requirements));
    }

    /// Judges by what the rules asked for, and by nothing else that was looked up.
    fn pass(&mut self, mut collected: Collected) -> Option<(Moment, Changes)> {
        let (mut evidence, requirements) = self.begun.take()?;
        evidence.add_holders(&self.holders, self.hidden.as_deref());
        let mut info: HashSet<u64> = requirements.info.into_iter().collect();
        info.extend(self.diagnosis.requires_info(&evidence));
        collected.info.retain(|(row, _)| info.contains(&row.cookie));
        let pids: HashSet<u32> = self.diagnosis.requires_processes(&evidence).into_iter().collect();
        collected.processes.retain(|pid, _| pids.contains(pid));
        evidence.add(collected);
        let changes = self.diagnosis.pass(&evidence);
        self.last.map(|moment| (moment, changes))
    }
}
