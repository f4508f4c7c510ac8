//! Every number at which a rule begins to speak, with the reason for its default.

use serde::{Deserialize, Serialize};

/// See each field. The defaults are meant to be right without configuration.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// A socket that parks is looked at from this age on, ms. Healthy programs answer a FIN within milliseconds, and
    /// loaded ones within a second or two.
    pub settle_ms: u64,
    /// From this age on a parked socket is worth a word (info), ms: less than three passes at the default pace.
    pub notice_ms: u64,
    /// From this age on several of them are a warning even if their number does not grow, ms. Handlers that take
    /// longer than that for a client that has left are rare.
    pub old_ms: u64,
    /// From this age on a single one is a warning, ms. Nothing that is being worked on takes as long.
    pub ancient_ms: u64,
    /// Queues count as frozen when two looks this far apart show the same, ms.
    pub frozen_ms: u64,
    /// How many make "several".
    pub several: u64,
    /// Growth is measured over this time, ms; shorter looks mistake a burst for a trend.
    pub trend_ms: u64,
    /// By how many a group must have grown in that time, while none of its sockets went away.
    pub growth: u64,
    /// Unread pooled connections are a leak when there are this many and they still grow: pools have maxima of tens.
    pub pool_max: u64,
    /// Up to so many unread bytes before the FIN are a farewell (TLS `close_notify`, an HTTP/2 GOAWAY, an error
    /// message of a database), not a response, bytes.
    pub farewell_bytes: u32,
    /// From so many unread bytes on a response was left unread, bytes: half of the smallest default receive buffer.
    pub unread_body_bytes: u32,
    /// A deadline (file descriptors, ports) nearer than this is critical, s.
    pub deadline_s: u64,
    /// A limit used up to this share is critical even without trend, percent.
    pub limit_percent: u64,
    /// From this share of the range on, ports that are in use are a warning, percent.
    pub ports_percent: u64,
    /// Destinations with fewer sockets than this are not looked at. Below the smallest ranges that anybody sets.
    pub min_destination: u64,
    /// From this many `TIME_WAIT`s to one destination on, the churn is worth a word.
    pub time_wait_churn: u64,
    /// Clients come and go, and some go without a word: up to so many dead ones of one service are only worth
    /// knowing. For a connection that this host made, one is a warning.
    pub lost_clients: u64,
    /// Retransmits without answer from which on a peer counts as gone: at the smallest timeout the fourth is sent
    /// 3 s after the data, longer than bursts of loss last.
    pub retransmits: u8,
    /// Retransmitted SYNs from which on they count as swallowed: the second is sent 3 s after the first SYN.
    pub syn_retransmits: u8,
    /// A process that tries more addresses than this at a time is a scanner, and its SYNs say nothing.
    pub scanned: usize,
    /// Half-open handshakes that had to be answered again, from which on they are worth a word: fewer are clients
    /// with a bad radio link.
    pub half_handshakes: u64,
    /// Refused connects of one process to one place within [`Self::event_window_ms`] that are worth a word: probes
    /// make one or two.
    pub refused: u64,
    /// Events of one kind by one process within [`Self::event_window_ms`] that are a warning: fewer are accidents.
    pub many_events: u64,
    /// Events are counted over this time, ms.
    pub event_window_ms: u64,
    /// Refused connects must go on for so long to be a warning, ms: a program that waits until its server has
    /// started is refused for a few seconds.
    pub refused_for_ms: u64,
    /// A connection that was silent for so long before it met a RST may have been forgotten by a NAT entry, ms.
    pub silent_ms: u64,
    /// Idle times of a server's closes are constant if nine in ten lie within this share of their median, percent.
    pub idle_spread_percent: u64,
    /// Sockets whose `tcp_info` is asked for at a pass: at 1 to 2 µs each in the kernel.
    pub max_info: usize,
    /// `ESTABLISHED` sockets without anything remarkable that are looked at in a pass; the others have their turn in
    /// the next ones.
    pub max_established: usize,
    /// Sockets that a pass looks at.
    pub max_sockets: usize,
    /// Namespaces whose counters are read in a pass; the others have their turn in the next ones.
    pub max_namespaces: usize,
    /// Processes that are looked at in a pass.
    pub max_processes: usize,
    /// Resets, failures and closes of each kind that are taken into account in a pass.
    pub max_events: usize,
    /// Findings that are kept, the resolved ones among them.
    pub max_findings: usize,
    /// A finding is resolved when its signature has been gone for so long, ms.
    pub resolve_ms: u64,
    /// A finding about events (resets, refusals, overflows) is resolved when there has been none for so long, ms.
    pub resolve_events_ms: u64,
    /// A resolved finding is kept for so long, ms.
    pub forget_ms: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            settle_ms: 5_000,
            notice_ms: 8_000,
            old_ms: 120_000,
            ancient_ms: 600_000,
            frozen_ms: 4_000,
            several: 3,
            trend_ms: 20_000,
            growth: 2,
            pool_max: 50,
            farewell_bytes: 256,
            unread_body_bytes: 64 << 10,
            deadline_s: 3_600,
            limit_percent: 90,
            ports_percent: 80,
            min_destination: 8,
            time_wait_churn: 100,
            lost_clients: 10,
            retransmits: 4,
            syn_retransmits: 2,
            scanned: 16,
            half_handshakes: 10,
            refused: 3,
            many_events: 10,
            event_window_ms: 60_000,
            refused_for_ms: 10_000,
            silent_ms: 60_000,
            idle_spread_percent: 20,
            max_info: 4_096,
            max_established: 4_096,
            max_sockets: 1 << 18,
            max_namespaces: 64,
            max_processes: 1_024,
            max_events: 4_096,
            max_findings: 1_000,
            resolve_ms: 15_000,
            resolve_events_ms: 60_000,
            forget_ms: 3_600_000,
        }
    }
}
