//! Monotonic times as dates. All stamps of one answer stand on one comparison of the two clocks, so that
//! they agree with each other.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::clock;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Stamps {
    at_ns: u64,
    wall: SystemTime,
}

impl Stamps {
    /// As the clocks stand to each other now.
    #[must_use]
    pub fn now() -> Self {
        let at_ns = clock::monotonic_ns();
        Self { at_ns, wall: clock::wall(at_ns) }
    }

    /// As the clocks stood to each other on another machine, or at another time.
    #[must_use]
    pub fn at(monotonic_ns: u64, wall_ns: u64) -> Self {
        Self { at_ns: monotonic_ns, wall: SystemTime::UNIX_EPOCH + Duration::from_nanos(wall_ns) }
    }

    /// RFC 3339 in UTC, to the millisecond.
    #[must_use]
    pub fn millis(&self, at_ns: u64) -> String {
        format!("{:.3}", self.timestamp(at_ns))
    }

    /// RFC 3339 in UTC, to the microsecond.
    pub(super) fn micros(&self, at_ns: u64) -> String {
        format!("{:.6}", self.timestamp(at_ns))
    }

    /// The wall-clock second, and the microseconds in it.
    pub(super) fn second_and_micros(&self, at_ns: u64) -> (u64, u32) {
        let since_epoch = self.wall(at_ns).and_then(|wall| wall.duration_since(SystemTime::UNIX_EPOCH).ok());
        let since_epoch = since_epoch.unwrap_or_default();
        (since_epoch.as_secs(), since_epoch.subsec_micros())
    }

    /// RFC 3339 in UTC as far as the second, without the `Z`.
    pub(super) fn seconds(&self, at_ns: u64) -> String {
        let mut text = self.micros(at_ns);
        text.truncate(text.find('.').unwrap_or(text.len()));
        text
    }

    /// The wall clock, ns since 1970.
    #[must_use]
    pub fn wall_ns(&self, at_ns: u64) -> u64 {
        let since_epoch = self.wall(at_ns).and_then(|wall| wall.duration_since(SystemTime::UNIX_EPOCH).ok());
        since_epoch.map_or(0, clock::nanos)
    }

    fn wall(&self, at_ns: u64) -> Option<SystemTime> {
        if at_ns <= self.at_ns {
            self.wall.checked_sub(Duration::from_nanos(self.at_ns - at_ns))
        } else {
            self.wall.checked_add(Duration::from_nanos(at_ns - self.at_ns))
        }
    }

    fn timestamp(&self, at_ns: u64) -> Timestamp {
        let wall = self.wall(at_ns);
        wall.and_then(|wall| Timestamp::try_from(wall).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monotonic 10 s was 2026-01-02T03:04:05Z.
    fn stamps() -> Stamps {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        Stamps { at_ns: 10_000_000_000, wall }
    }

    #[test]
    fn a_stamp_is_as_far_from_another_as_the_monotonic_times_are() {
        assert_eq!(stamps().millis(10_000_000_000), "2026-01-02T03:04:05.000Z");
        assert_eq!(stamps().millis(8_500_000_000), "2026-01-02T03:04:03.500Z");
        assert_eq!(stamps().micros(70_000_001_000), "2026-01-02T03:05:05.000001Z");
    }

    #[test]
    fn a_time_beyond_all_dates_does_not_panic() {
        assert_eq!(stamps().millis(u64::MAX).len(), "2610-07-20T00:00:00.000Z".len());
    }
}
