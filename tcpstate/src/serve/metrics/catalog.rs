//! Every metric's name, type, labels and meaning. The names are a promise: dashboards and alerts stand on
//! them. `docs/metrics.md` is made from this list.

use prometheus::proto::MetricType;

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    /// In alphabetical order.
    pub(super) labels: &'static [&'static str],
    /// What it means, with its unit, and what is not exact about it.
    pub(super) help: &'static str,
}

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            pub(super) const $id: Metric = Metric {
                name: $name,
                kind: MetricType::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// Every metric.
        pub(in crate::serve) const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    SOCKETS = GAUGE "tcpstate_sockets" ["family", "state"]
        "TCP sockets by state and family, over all network namespaces that can be visited; absent before the \
         first census. TIME_WAIT, SYN_RECV and the mini-sockets of FIN_WAIT2 are as of the last census with \
         what was seen since; the others are exact when tcpstate_sockets_exact is 1.";
    SOCKETS_EXACT = GAUGE "tcpstate_sockets_exact" []
        "1 when tcpstate_sockets is exact for every state but TIME_WAIT, SYN_RECV and the mini-sockets of \
         FIN_WAIT2; 0 when all of it is an estimate (before a census in which nothing moved, and where there are dumps only).";
    TRANSITIONS = COUNTER "tcpstate_transitions_total" ["from", "to"]
        "Changes of state of TCP sockets, both families together. FIN_WAIT2 to TIME_WAIT and CLOSING to \
         TIME_WAIT are inferred from the closing socket's flags; FIN_WAIT2 to FIN_WAIT2 is the hand-over of \
         a closed socket to the kernel's mini-socket. Absent where there are dumps only.";
    STATE_DURATION = HISTOGRAM "tcpstate_state_duration_seconds" ["state"]
        "Time that sockets spent in a state in which they park, in seconds, counted when they leave it; a \
         socket that is still there is not in it. Exact to one kernel tick (1 to 10 ms). Absent where there are dumps only.";
    PARKED_SOCKETS = GAUGE "tcpstate_parked_sockets" ["comm", "container", "state", "unit"]
        "Sockets in a state in which they park, or in TIME_WAIT, as of the last census that showed them, by who holds them or \
         closed them. The largest groups of each state are named; the rest is \"other\" in comm, unit and \
         container. An empty label: not known, or none.";
    PARKED_OLDEST_AGE = GAUGE "tcpstate_parked_oldest_age_seconds" ["comm", "container", "state", "unit"]
        "Age of the oldest socket of the group, in seconds, as of the last census; a lower bound for sockets \
         older than the daemon.";
    RESETS_SENT = COUNTER "tcpstate_resets_sent_total" ["reason"]
        "RSTs that the kernel sent, by its own reason; NOT_RECORDED on kernels before 6.10, which give none \
         and do not report those sent for a closed port. RSTs of netfilter, raw sockets and XDP are not in \
         it. Absent where there are dumps only.";
    RESETS_RECEIVED = COUNTER "tcpstate_resets_received_total" ["phase"]
        "RSTs received, by the part of its life in which they met the connection, without those that the \
         kernel made itself. RSTs that met a listener, a TIME_WAIT socket, a request socket or a closed \
         port are not in it. Absent where there are dumps only.";
    CONNECT_FAILURES = COUNTER "tcpstate_connect_failures_total" ["errno"]
        "Connects that failed, by the error; NONE: the application gave up. EADDRNOTAVAIL is inferred from a \
         connect that never got a local port. Absent where there are dumps only.";
    FINDINGS = GAUGE "tcpstate_findings" ["class", "severity"]
        "Open findings by class and severity. critical: something runs out within the hour, or fails now. warning: \
         somebody waits, or requests fail or data is lost again and again. info: no harm was seen. The program, the cause \
         and the remedy are in /api/v1/findings. Absent before the first pass.";
    PORTS_USED = GAUGE "tcpstate_ephemeral_ports_used_ratio" ["destination"]
        "Local ports in use towards one destination, as a share of those that the kernel chooses from, 0 to 1: \
         sockets in any state, TIME_WAIT among them, also where the kernel may use their ports again. The fullest \
         destinations are named, from 0.01 on; \"other\" is the fullest of the rest.";
    LISTEN_QUEUE_LENGTH = GAUGE "tcpstate_listen_queue_length" ["comm", "container", "listener", "unit"]
        "Connections that wait to be accepted, by the listener's address and who holds it; of several listeners with \
         the same labels the fullest. The fullest are named; \"other\" is the fullest of the rest. An empty label: \
         not known, or none.";
    LISTEN_QUEUE_LIMIT = GAUGE "tcpstate_listen_queue_limit" ["comm", "container", "listener", "unit"]
        "How many connections may wait to be accepted, for the same listeners. The queue is full when it is longer.";
    LISTEN_OVERFLOWS = COUNTER "tcpstate_listen_overflows_total" []
        "Connections that found an accept queue full (ListenOverflows of all network namespaces that can be visited), \
         since the daemon began to look. /api/v1/listeners says which listener is full.";
    BUILD_INFO = GAUGE "tcpstate_build_info" ["version"]
        "Always 1; the version of this daemon.";
    TIER = GAUGE "tcpstate_tier" ["tier"]
        "1 for the tier in force: events, which eBPF programs tell, or dumps only, of sockets and from /proc.";
    MISSING = GAUGE "tcpstate_missing" ["what"]
        "1 for each capability and each file of the kernel that cannot be had, so that something is not seen, which \
         /api/v1/status names; 0 for the others that are needed.";
    PROBE_ATTACHED = GAUGE "tcpstate_probe_attached" ["probe"]
        "1 when the eBPF program is attached. inet_sock_set_state_nested is attached only where events would be \
         missed without it, and inet_sock_set_state_third exists only on Linux 7.2 and later.";
    PROBE_RUNS = COUNTER "tcpstate_probe_runs_total" ["probe"]
        "Runs of the eBPF program, while the kernel counts them (sysctl kernel.bpf_stats_enabled=1).";
    PROBE_RUN_SECONDS = COUNTER "tcpstate_probe_run_seconds_total" ["probe"]
        "Time spent in the eBPF program, in seconds, with about 30 ns of the measurement itself in each run, \
         while the kernel measures it (sysctl kernel.bpf_stats_enabled=1).";
    EVENTS = COUNTER "tcpstate_events_total" ["kind"]
        "Events that the kernel side put into the ring or on a tape for watchers. Absent where there are dumps only.";
    EVENTS_LOST = COUNTER "tcpstate_events_lost_total" ["kind"]
        "What was lost. For lack of room: events in the ring or on a tape (transition, reset_sent, reset_received, acted, \
         idle_close), \
         what the kernel side remembered of sockets until a census showed them (note), sockets in the table (socket), \
         events for watchers that read too slowly (watch). Records that made no sense (malformed). No other counter \
         is touched by these. Events that the kernel ran no program for (missed): those are in no counter, and gauges are off by them until the next census. Only socket and \
         watch exist where there are dumps only.";
    LATE_EVENTS = COUNTER "tcpstate_late_events_total" []
        "Events about sockets that had already ended, which the table left out.";
    UNKNOWN_STATES = COUNTER "tcpstate_unknown_states_total" []
        "States that the eBPF programs do not know, counted nowhere else. Absent where there are dumps only.";
    IGNORED_EVENTS = COUNTER "tcpstate_ignored_events_total" []
        "What inet_sock_set_state reported and is no change of a TCP socket's state: of another protocol, or of \
         the state that the socket was in already. Absent where there are dumps only.";
    RECONCILE_DRIFT = GAUGE "tcpstate_reconcile_drift_sockets" []
        "By how many sockets the gauges differed from the last census. Absent before the first census and \
         where there are dumps only.";
    RECONCILE_DURATION = GAUGE "tcpstate_reconcile_duration_seconds" []
        "How long the last census took, in seconds. Absent before the first.";
    RECONCILE_AGE = GAUGE "tcpstate_reconcile_age_seconds" []
        "How long ago the last census ended, in seconds. Absent before the first.";
    NAMESPACES = GAUGE "tcpstate_namespaces" ["reached"]
        "Network namespaces at the last census, by whether it could visit them; the sockets of the others are \
         in no gauge. Namespaces of processes that may not be looked at are in neither number. Absent before \
         the first census.";
    HIDDEN_PROCESSES = GAUGE "tcpstate_hidden_processes" []
        "Processes at the last census whose network namespace may not be read, so that there may be sockets that are in \
         no gauge. Absent before the first census.";
    TRACKED_SOCKETS = GAUGE "tcpstate_tracked_sockets" []
        "Sockets in the daemon's table.";
    UNATTRIBUTED_SOCKETS = GAUGE "tcpstate_unattributed_sockets" []
        "Parked sockets that a process must have open and for which none was found, as of the last census.";
    WORKER_AGE = GAUGE "tcpstate_worker_age_seconds" ["worker"]
        "How long ago this part of the daemon (engine, census, diagnosis) last said that it works, in seconds: each does \
         every 3 seconds. One that hangs is given up after 30 seconds, and the daemon with it.";
    DIAGNOSIS_AGE = GAUGE "tcpstate_diagnosis_age_seconds" []
        "How long ago sockets were last judged, in seconds. Absent before the first time.";
    EVENT_AGE = GAUGE "tcpstate_event_age_seconds" []
        "How long ago a change of state was last counted, in seconds, as of the last time that the daemon looked: on a \
         host with traffic, a large one says that events do not come. Absent before the first and where there are dumps only.";
    HTTP_CONNECTIONS = GAUGE "tcpstate_http_connections" []
        "Connections that clients have open to the daemon, that of this scrape among them.";
    HTTP_CLOSED = COUNTER "tcpstate_http_connections_closed_total" ["reason"]
        "Connections that the daemon closed. For want of room, the one without progress for the longest time: there were \
         as many connections as there may be (full), or answers that nobody read took as much memory as they may \
         (unread). No request came for 30 s (idle). The client took nothing of its answer for 30 s (stalled).";
    HTTP_REFUSED = COUNTER "tcpstate_http_requests_refused_total" ["reason"]
        "Requests that the daemon refused. Too many like it were being answered (busy), there were as many watchers of \
         events as there may be (watchers), an answer was not to be had within 5 s (late), or the Host header was missing \
         or named another host (host).";
    SCRAPE_DURATION = GAUGE "tcpstate_scrape_duration_seconds" []
        "How long the scrape before this one took inside the daemon, in seconds. Absent at the first.";
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fmt::Write};

    use super::*;
    use crate::serve::tests::snapshot;

    #[test]
    fn names_follow_the_conventions() {
        let names: HashSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let counter = metric.kind == MetricType::COUNTER;
            assert!(metric.name.starts_with("tcpstate_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), counter, "{}", metric.name);
            assert!(metric.labels.is_sorted(), "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains("  "), "{}", metric.help);
            assert!(!metric.name.contains("seconds") || metric.help.contains("seconds"), "{}", metric.name);
        }
    }

    #[test]
    fn the_documentation_lists_every_metric_as_it_is() {
        let mut page = String::from(
            "# Metrics\n\n\
             What `/metrics` exports. The names, types and labels are a promise; a metric that cannot be known \
             is absent and not 0, and every other series is there from the start. No label carries a pid or a \
             descriptor, and an address only those of which a bounded number is named: the rest belongs to the API.\n\n\
             This page is made from the list in the source: `UPDATE_SNAPSHOTS=1 cargo test` writes it anew.\n\n\
             | metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
        );
        for metric in ALL {
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
            writeln!(page, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help).unwrap();
        }
        snapshot::check("docs/metrics.md", &page);
    }
}
