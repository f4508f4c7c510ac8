//! Events that no eBPF program took: the kernel counts for which events it did not run the first one at its tracepoint,
//! and the others count which of those they took instead.

/// What is lost so far.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// What the first program had missed at the last reading.
    before: u64,
    lost: u64,
    suspected: bool,
}

impl Missed {
    /// Takes in what the first program has missed, and what others have taken instead, read after that. An event may be in
    /// between: so only what was missed by the last reading and is not taken by now is lost. Returns whether something is
    /// lost that was not before.
    pub(super) fn read(&mut self, missed: u64, rescued: u64) -> bool {
        let lost = self.before.saturating_sub(rescued).max(self.lost);
        let more = lost > self.lost;
        self.before = missed;
        self.lost = lost;
        self.suspected = missed.saturating_sub(rescued) > lost;
        more
    }

    /// Events that are lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether more may be lost than is known yet.
    pub(super) fn is_suspected(&self) -> bool {
        self.suspected
    }
}

#[cfg(test)]
mod tests {
    use super::Missed;

    #[test]
    fn what_is_taken_a_moment_later_is_not_lost() {
        let mut missed = Missed::default();
        assert!(!missed.read(5, 5));
        assert!(!missed.read(6, 5), "one that may be lost");
        assert!(missed.is_suspected());
        assert!(!missed.read(6, 6));
        assert_eq!((missed.lost(), missed.is_suspected()), (0, false));
    }

    #[test]
    fn what_nobody_takes_is_lost_once() {
        let mut missed = Missed::default();
        assert!(!missed.read(3, 0) && missed.is_suspected() && missed.read(3, 0));
        assert_eq!((missed.lost(), missed.is_suspected()), (3, false));
        assert!(!missed.read(3, 0) && !missed.read(4, 1));
        assert_eq!(missed.lost(), 3);
        assert!(!missed.read(5, 1) && missed.read(5, 1));
        assert_eq!(missed.lost(), 4);
    }
}
