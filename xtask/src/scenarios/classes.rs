//! The classes, and how long a verdict may take.

use std::time::Duration;

/// All, in the order in which they are documented.
pub(super) const ALL: [&str; 35] = [
    "close-wait-leak",
    "close-wait-never-read",
    "close-wait-idle-pool",
    "unanswered-requests",
    "established-leak",
    "fd-exhaustion",
    "accept-stall",
    "owner-stopped",
    "fd-inherited",
    "half-close",
    "close-wait-send-blocked",
    "proxy-pair",
    "unread-body",
    "ghost-reference",
    "port-exhaustion",
    "time-wait-churn",
    "time-wait-overflow",
    "self-connect",
    "rst-unread-data",
    "rst-linger-zero",
    "idle-timeout-reset",
    "write-after-fin",
    "rst-listener-closed",
    "connection-refused",
    "keepalive-race",
    "peer-lost-state",
    "accept-overflow-rst",
    "keepalive-timeout",
    "accept-overflow",
    "syn-blackhole",
    "syn-flood",
    "fin-wait2-owned",
    "fin-wait2-orphan",
    "orphan-stuck",
    "half-open",
];

/// Those that show in how something grows, or in many closes.
const NEED_A_TREND: [&str; 7] = [
    "close-wait-leak",
    "close-wait-idle-pool",
    "unanswered-requests",
    "established-leak",
    "time-wait-churn",
    "write-after-fin",
    "keepalive-race",
];

/// The longest of all deadlines: look-alikes are watched for as long.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// How long after the signature stands the verdict may come.
pub(super) fn deadline(class: &str) -> Duration {
    if NEED_A_TREND.contains(&class) { LONGEST } else { Duration::from_secs(15) }
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn the_daemon_knows_the_same_classes_in_the_same_order() {
        let source = include_str!("../../../tcpstate/core/src/diagnose/class.rs");
        let declared = source.lines().filter_map(|line| line.trim().strip_suffix("\",")?.split_once(" = \""));
        assert_eq!(declared.map(|(_, id)| id).collect::<Vec<_>>(), ALL);
    }
}
