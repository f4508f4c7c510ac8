//! All scenarios, by family. Each sets up its processes, waits until its signature stands, and says what the verdict
//! must be; a look-alike says nothing, and may then not be alerted about.

mod accept;
mod close_wait;
mod ended;
mod fin_wait;
mod holders;
mod kept;
mod path;
mod ports;
mod reset;
mod several;
mod unanswered;

use anyhow::Result;

use super::stage::Stage;

/// What a scenario is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bug,
    /// Something that is easily mistaken for the bug.
    LookAlike,
    /// More than one bug at once.
    Several,
}

/// One scenario.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// The class that it is about; the first one, where there are several.
    pub(super) class: &'static str,
    /// What tells it from the others of the class.
    pub(super) what: &'static str,
    pub(super) kind: Kind,
    /// Whether it has to be over before the daemon starts.
    pub(super) early: bool,
    pub(super) set: fn(&mut Stage) -> Result<()>,
}

const fn bug(class: &'static str, what: &'static str, set: fn(&mut Stage) -> Result<()>) -> Row {
    Row { class, what, kind: Kind::Bug, early: false, set }
}

const fn look_alike(class: &'static str, what: &'static str, set: fn(&mut Stage) -> Result<()>) -> Row {
    Row { class, what, kind: Kind::LookAlike, early: false, set }
}

const fn several(class: &'static str, what: &'static str, set: fn(&mut Stage) -> Result<()>) -> Row {
    Row { class, what, kind: Kind::Several, early: false, set }
}

/// All of them; those that take longest come first.
pub(super) fn all() -> Vec<Row> {
    [
        path::ROWS,
        kept::ROWS,
        unanswered::ROWS,
        ended::ROWS,
        reset::ROWS,
        accept::ROWS,
        close_wait::ROWS,
        holders::ROWS,
        ports::ROWS,
        fin_wait::ROWS,
        several::ROWS,
    ]
    .concat()
}

/// Traffic about which nothing is to be said: short connections, kept ones, idle ones, a feed that is taken.
///
/// # Errors
/// When it cannot be started.
pub(super) fn ordinary(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    let (server, _) = stage.pair_in(here, here, ("server", &["think=20"]), ("visitor", &["every=300"]))?;
    stage.client(here, server, ("keeper", &["size=12", "every=700"]))?;
    stage.client(here, server, ("sleeper", &["size=5"]))?;
    // A long poll.
    stage.pair_in(here, here, ("server", &["think=20000"]), ("keeper", &["size=3", "every=100"]))?;
    stage.pair_in(here, here, ("feed", &[]), ("paused-consumer", &[]))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Kind, all};
    use crate::scenarios::classes;

    #[test]
    fn every_class_is_reproduced_and_no_other() {
        let reproduced: BTreeSet<_> =
            all().into_iter().filter(|row| row.kind == Kind::Bug).map(|row| row.class).collect();
        assert_eq!(reproduced, BTreeSet::from(classes::ALL));
        assert!(all().iter().all(|row| classes::ALL.contains(&row.class)));
    }

    #[test]
    fn no_two_scenarios_have_the_same_name() {
        let names: BTreeSet<_> = all().into_iter().map(|row| (row.class, row.what)).collect();
        assert_eq!(names.len(), all().len());
    }
}
