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
    attached: bool,
    missed: u64,
    quiet_since_ns: u64,
    calm: Duration,
}

impl Standby {
    /// Attached, to begin with.
    pub(super) fn new(now_ns: u64) -> Self {
        Self { attached: true, missed: 0, quiet_since_ns: now_ns, calm: CALM }
    }

    /// Whether it is attached.
    pub(super) fn attached(&self) -> bool {
        self.attached
    }

    /// For how long nothing must have been missed before it is detached.
    pub(super) fn calm(&self) -> Duration {
        self.calm
    }

    /// Takes in what the first program has missed so far. Returns whether the second one is to be attached.
    pub(super) fn judge(&mut self, missed: u64, now_ns: u64) -> bool {
        if missed > self.missed {
            self.missed = missed;
            self.quiet_since_ns = now_ns;
            if !self.attached {
                self.calm = (self.calm * 2).min(MAX_CALM);
            }
            true
        } else {
            self.attached && u128::from(now_ns.saturating_sub(self.quiet_since_ns)) < self.calm.as_nanos()
        }
    }

    /// It was attached or detached.
    pub(super) fn is_now(&mut self, attached: bool) {
        self.attached = attached;
    }
}

#[cfg(test)]
mod tests {
    use super::Standby;

    const S: u64 = 1_000_000_000;

    /// Judges, and obeys.
    fn judge(standby: &mut Standby, missed: u64, now_s: u64) -> bool {
        let attached = standby.judge(missed, now_s * S);
        standby.is_now(attached);
        attached
    }

    #[test]
    fn it_is_detached_only_after_a_calm_time() {
        let mut standby = Standby::new(100 * S);
        assert!(judge(&mut standby, 0, 119));
        assert!(judge(&mut standby, 1, 119));
        assert!(judge(&mut standby, 1, 138));
        assert!(!judge(&mut standby, 1, 139));
        assert!(!judge(&mut standby, 1, 1000));
    }

    #[test]
    fn after_a_calm_that_was_too_short_it_waits_twice_as_long() {
        let mut standby = Standby::new(0);
        assert!(!judge(&mut standby, 0, 20));
        assert!(judge(&mut standby, 1, 30));
        assert!(judge(&mut standby, 1, 69));
        assert!(!judge(&mut standby, 1, 70));
        for _ in 0..40 {
            standby.is_now(false);
            let missed = standby.missed + 1;
            judge(&mut standby, missed, 100);
        }
        assert_eq!(standby.calm().as_secs(), 24 * 3600);
    }
}
