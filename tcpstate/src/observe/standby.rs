//! When the second program at `inet_sock_set_state` is needed. It takes the events that come in while the first
//! one runs on the same CPU (see `tcpstate-ebpf/src/probes/inet_sock_set_state.rs`), which some machines have all
//! the time and others never; and being asked about every event costs as much as half of the first one. So it is
//! detached where nothing was missed for a while, and attached again as soon as something was: that event is lost,
//! and counted as missed.

use std::time::Duration;

/// How long nothing must have been missed, at first; twice as long after each time that this was too short.
const CALM: Duration = Duration::from_secs(20);
const MAX_CALM: Duration = Duration::from_hours(24);

/// Decides whether the second program is attached.
#[derive(Debug)]
pub(super) struct Standby {
    missed: u64,
    quiet_since_ns: u64,
    calm: Duration,
}

impl Standby {
    /// Nothing was missed yet.
    pub(super) fn new(now_ns: u64) -> Self {
        Self { missed: 0, quiet_since_ns: now_ns, calm: CALM }
    }

    /// For how long nothing must have been missed before it is detached.
    pub(super) fn calm(&self) -> Duration {
        self.calm
    }

    /// Takes in what the first program has missed so far, and whether the second one is attached. Returns whether it
    /// is to be.
    pub(super) fn judge(&mut self, missed: u64, attached: bool, now_ns: u64) -> bool {
        if missed > self.missed {
            self.missed = missed;
            self.quiet_since_ns = now_ns;
            if !attached {
                self.calm = (self.calm * 2).min(MAX_CALM);
            }
            true
        } else {
            attached && u128::from(now_ns.saturating_sub(self.quiet_since_ns)) < self.calm.as_nanos()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Standby;

    const S: u64 = 1_000_000_000;

    /// One that is obeyed.
    struct Obeyed(Standby, bool);

    impl Obeyed {
        fn new(now_s: u64) -> Self {
            Self(Standby::new(now_s * S), true)
        }

        fn judge(&mut self, missed: u64, now_s: u64) -> bool {
            self.1 = self.0.judge(missed, self.1, now_s * S);
            self.1
        }
    }

    #[test]
    fn it_is_detached_only_after_a_calm_time() {
        let mut standby = Obeyed::new(100);
        assert!(standby.judge(0, 119));
        assert!(standby.judge(1, 119));
        assert!(standby.judge(1, 138));
        assert!(!standby.judge(1, 139));
        assert!(!standby.judge(1, 1000));
    }

    #[test]
    fn after_a_calm_that_was_too_short_it_waits_twice_as_long() {
        let mut standby = Obeyed::new(0);
        assert!(!standby.judge(0, 20));
        assert!(standby.judge(1, 30));
        assert!(standby.judge(1, 69));
        assert!(!standby.judge(1, 70));
        for _ in 0..40 {
            standby.1 = false;
            let missed = standby.0.missed + 1;
            standby.judge(missed, 100);
        }
        assert_eq!(standby.0.calm().as_secs(), 24 * 3600);
    }
}
