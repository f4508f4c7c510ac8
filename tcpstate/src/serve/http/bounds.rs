//! What all clients together may take.

use std::time::Duration;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Open connections.
    pub connections: usize,
    /// Bytes of answers that clients have not taken yet. One answer may be larger, if it is the only one.
    pub unsent_bytes: usize,
    /// Watchers of events.
    pub watchers: usize,
    /// Time from one answer to the end of the next request's head.
    pub head: Duration,
    /// Time in which a client takes nothing of its answer.
    pub stall: Duration,
}

impl Bounds {
    /// Bounds for a process that may have this many descriptors: it needs most of them for its own work.
    #[must_use]
    pub fn within(descriptors: u64) -> Self {
        let quarter = usize::try_from(descriptors / 4).unwrap_or(usize::MAX);
        let most = Self::default();
        Self { connections: most.connections.min(quarter.max(1)), ..most }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 256,
            unsent_bytes: 4 << 20,
            watchers: 16,
            head: Duration::from_secs(30),
            stall: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bounds;

    #[test]
    fn most_descriptors_are_kept_for_the_daemon_itself() {
        assert_eq!(Bounds::within(1024).connections, 256);
        assert_eq!(Bounds::within(256).connections, 64);
        assert_eq!(Bounds::within(u64::MAX).connections, 256);
    }
}
