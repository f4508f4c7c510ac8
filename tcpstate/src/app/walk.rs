//! Walks through the table of all sockets, of which there may be half a million. They are taken a portion at a time,
//! with events and questions in between. What is moved to another place in the table meanwhile may be passed over;
//! the next walk sees it.

use std::{ops::Range, sync::Arc};

use tokio::sync::oneshot;

use crate::{
    clock,
    diagnose::{Material, Seen, Selected, Selection},
    observe::holders::Found,
    track::{Grouping, Tracker},
};

/// Sockets of a portion: some hundred microseconds.
const PORTION: usize = 4096;

/// The way back for what was chosen, with the CPU time that it took, ns.
type Answer = oneshot::Sender<(Box<Material>, u64)>;

/// What a walk is for.
pub(super) enum Task {
    /// To choose what a diagnosis looks at.
    Selection { selection: Box<Selection>, seen: Seen, most: usize, answer: Answer },
    /// To group the sockets that park by those who hold them.
    Group { grouping: Grouping, found: Arc<Found> },
}

/// What a walk has come to.
pub(super) enum Done {
    Selected {
        selected: Selected,
        seen: Seen,
        most: usize,
        answer: Answer,
        /// CPU time of the walk, ns.
        cpu_ns: u64,
    },
    Grouped {
        grouping: Grouping,
        found: Arc<Found>,
    },
}

/// A walk that has begun.
pub(super) struct Walk {
    task: Task,
    place: usize,
    cpu_ns: u64,
}

impl Walk {
    pub(super) fn new(task: Task) -> Self {
        Self { task, place: 0, cpu_ns: 0 }
    }

    /// Whether it is for the same as another one would be.
    pub(super) fn is_to_group(&self) -> bool {
        matches!(self.task, Task::Group { .. })
    }

    /// Goes on by a portion. Returns whether there is more.
    pub(super) fn go_on(&mut self, tracker: &Tracker) -> bool {
        let begun_ns = clock::thread_cpu_ns();
        let places: Range<usize> = self.place..self.place + PORTION;
        self.place = places.end;
        let more = match &mut self.task {
            Task::Selection { selection, .. } => tracker.some(places, |socket| selection.see(socket)),
            Task::Group { grouping, found } => tracker.group(grouping, places, &found.holders),
        };
        self.cpu_ns += clock::thread_cpu_ns().saturating_sub(begun_ns);
        more
    }

    pub(super) fn done(self) -> Done {
        let begun_ns = clock::thread_cpu_ns();
        match self.task {
            Task::Selection { selection, seen, most, answer } => {
                let selected = selection.finish();
                let cpu_ns = self.cpu_ns + clock::thread_cpu_ns().saturating_sub(begun_ns);
                Done::Selected { selected, seen, most, answer, cpu_ns }
            }
            Task::Group { grouping, found } => Done::Grouped { grouping, found },
        }
    }
}
