//! How long it is from one look into the ring, and at the slots, to the next. Each wakes the daemon, and what it finds
//! loses nothing by waiting there for a while.

use std::time::Duration;

use crate::observe::slots;

/// The first time, and as long as somebody watches, since what comes in meanwhile must have room on the tapes; never
/// is it less.
pub(super) const OFTEN: Duration = Duration::from_millis(10);
/// While something happens, and at most while nothing does.
const BUSY: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_millis(800);
/// Half of the table on a small host: the sockets there are taken note of in a millisecond or two, and more keep questions
/// waiting.
const MANY_SLOTS: usize = slots::FEWEST as usize / 2;

/// What a look has found.
#[derive(Clone, Copy)]
pub(super) struct Looked {
    pub(super) watched: bool,
    /// Whether there was a record in the ring.
    pub(super) records: bool,
    /// At how many slots it was worth looking.
    pub(super) slots: usize,
}

/// The time until the next look, where it was `last` until this one.
pub(super) fn rest(last: Duration, looked: Looked) -> Duration {
    match looked {
        Looked { watched: true, .. } => OFTEN,
        Looked { slots, .. } if slots > MANY_SLOTS => (last / 2).max(OFTEN),
        Looked { records: false, slots: 0, .. } => (last * 2).min(IDLE),
        Looked { .. } => (last * 2).min(BUSY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Looked = Looked { watched: false, records: false, slots: 0 };

    /// Looks as often as it takes to come to rest, and returns at what.
    fn settled(from: Duration, looked: impl Fn(Duration) -> Looked) -> Duration {
        (0..100).fold(from, |last, _| rest(last, looked(last)))
    }

    #[test]
    fn looks_come_rarely_when_nothing_happens_and_soon_again_when_something_does() {
        let idle = settled(OFTEN, |_| NOTHING);
        assert_eq!(idle, IDLE);
        assert_eq!(rest(BUSY, NOTHING), 2 * BUSY, "a lull may be a short one");
        assert_eq!(rest(idle, Looked { records: true, ..NOTHING }), BUSY);
        assert_eq!(rest(idle, Looked { slots: 2048, ..NOTHING }), BUSY);
        assert_eq!(settled(OFTEN, |_| Looked { records: true, ..NOTHING }), BUSY);
    }

    #[test]
    fn a_watcher_is_looked_for_at_once_and_always() {
        assert_eq!(rest(IDLE, Looked { watched: true, ..NOTHING }), OFTEN);
        assert_eq!(settled(IDLE, |_| Looked { watched: true, slots: 1 << 20, ..NOTHING }), OFTEN);
    }

    #[test]
    fn a_look_never_keeps_questions_waiting_for_long() {
        assert_eq!(rest(BUSY, Looked { slots: MANY_SLOTS + 1, ..NOTHING }), BUSY / 2, "step by step");
        // Sockets a second, at any of which looks are as far apart as there are slots to look at meanwhile.
        for rate in (0..20).map(|power| 1_000_u128 << power) {
            let slots = |last: Duration| usize::try_from(last.as_millis() * rate / 1000).expect("few enough");
            let last = settled(IDLE, |last| Looked { slots: slots(last), ..NOTHING });
            assert!(last == OFTEN || slots(last) <= 2 * MANY_SLOTS, "{rate} a second: {last:?}");
            // As rarely as that allows.
            assert!(last == BUSY || slots(last * 4) > MANY_SLOTS, "{rate} a second: {last:?}");
        }
    }
}
