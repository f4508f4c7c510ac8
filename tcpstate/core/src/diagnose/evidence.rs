//! What the rules may know at one pass: plain data, put together by the caller. A value that could
//! not be read is `None`, never 0: the rules then say so, or say nothing.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use foldhash::HashMap;
use serde::{Deserialize, Serialize};
use tcpstate_common::{TcpState, state::STATE_SLOTS};

use crate::track::{self, Comm, Failure, Holders, IdleClose, Opened, Reset, Sockets};

/// A connection that is closed sooner after data came in is not in [`Evidence::closes`], ms.
pub const IDLE_CLOSE_MS: u64 = tcpstate_common::wire::IDLE_CLOSE_NS / 1_000_000;

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Monotonic ns of this pass. Later than at the pass before.
    pub at_ns: u64,
    /// Monotonic ns at which the census ended that shows the sockets that are not `ESTABLISHED`.
    pub census_ns: u64,
    /// Monotonic ns at which the census ended that shows the `ESTABLISHED` ones, which are counted less often.
    pub established_ns: u64,
    /// `CLOCK_BOOTTIME` minus `CLOCK_MONOTONIC`, ns: starts of processes are given in the former.
    pub boot_offset_ns: Option<u64>,
    /// The sockets that [`super::Selection`] chose, listeners among them.
    pub sockets: Sockets,
    /// Sockets that it would have chosen, had there been room.
    pub left_out: u64,
    /// `tcp_info` by cookie, of the sockets in [`super::Requirements::info`] that were still there.
    pub info: HashMap<u64, TcpInfo>,
    /// Who has which of the sockets in [`super::Requirements::holders`] open.
    pub holders: Arc<Holders>,
    /// Whether that look-up saw the descriptors of every process. Without it, a socket without holder may be held by
    /// somebody who could not be looked at.
    pub holders_complete: bool,
    /// By pid, of those in [`super::Diagnosis::requires_processes`].
    pub processes: HashMap<u32, Process>,
    /// By inode number, of those in [`super::Requirements::namespaces`].
    pub namespaces: HashMap<u32, Namespace>,
    /// By the cookie of the listener.
    pub listeners: HashMap<u64, Listener>,
    /// Destinations with many connections from here, the largest first, from [`super::Selection`].
    pub destinations: Vec<Destination>,
    /// RSTs since the last pass, the oldest first; at most [`super::Thresholds::max_events`].
    pub resets: Vec<ResetSeen>,
    /// Connects that failed since the last pass, the oldest first, likewise.
    pub failures: Vec<Failure>,
    /// Connections that a process of this host closed first after a pause, since the last pass, likewise: those of
    /// servers, and those of clients. Empty where that cannot be seen, and then it is in `cannot_see`.
    pub closes: Vec<IdleClose>,
    /// RSTs, failures and closes since the last pass for which there was no room.
    pub events_left_out: u64,
    /// What could not be seen this time.
    pub cannot_see: Vec<Unseen>,
    pub hidden: Hidden,
}

impl Evidence {
    /// When sockets in this state were counted last, monotonic ns. What comes after that nobody knows: one may have
    /// ended, and where there are many sockets the `ESTABLISHED` ones are counted less often.
    #[must_use]
    pub fn counted_ns(&self, state: TcpState) -> u64 {
        let counted_ns = if state == TcpState::Established { self.established_ns } else { self.census_ns };
        counted_ns.min(self.at_ns)
    }
}

/// What a pass has not looked at: that it finds nothing does not mean that nothing is wrong.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Hidden {
    /// Network namespaces that could not be entered or dumped.
    pub namespaces: u64,
    /// Processes whose network namespace may not be read.
    pub processes: u64,
    /// Sockets for which the table has no room.
    pub sockets: u64,
    /// Whether sockets are read from /proc/net, which has less of them.
    pub without_netlink: bool,
    /// Whether the eBPF programs that see RSTs, sent and received, could not be attached while others were.
    #[serde(default)]
    pub without_resets_sent: bool,
    #[serde(default)]
    pub without_resets_received: bool,
}

/// Something that could not be seen.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unseen {
    pub what: What,
    /// The process or namespace that it is about; `None` for all.
    pub of: Option<u32>,
    /// Why not, as a sentence without full stop: "/proc/4121/fd may not be read (EACCES)".
    pub why: String,
}

/// What may not be seen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// State transitions and resets: no BPF.
    Events,
    /// Who holds the sockets.
    Holders,
    /// A process; `of` is its pid.
    Process,
    /// A namespace's counters or sysctls; `of` is its inode number.
    Namespace,
    /// `tcp_info`.
    Info,
    /// Why RSTs were sent: the kernel does not tell before 6.10.
    ResetReasons,
    /// For how long connections were idle when they were closed: no BPF.
    IdleTimes,
    /// Whatever a capability or a file is needed for that is not to be had here.
    Missing,
}

/// What the rules need of `struct tcp_info` (`include/uapi/linux/tcp.h`). Older kernels give less.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TcpInfo {
    /// Monotonic ns just before it was asked for. The times below count back from it.
    pub at_ns: u64,
    /// `tcpi_last_data_sent`: since data was last sent, ms. Set when the connection is made, too.
    pub last_data_sent_ms: Option<u32>,
    /// `tcpi_last_data_recv`: since data last came in, ms. Set when the connection is made, too.
    pub last_data_recv_ms: Option<u32>,
    /// `tcpi_last_ack_recv`: since an ACK last came in, ms.
    pub last_ack_recv_ms: Option<u32>,
    /// `tcpi_bytes_acked`: bytes that the peer has acknowledged (4.1).
    pub bytes_acked: Option<u64>,
    /// `tcpi_bytes_received`: bytes that came in, and one for a FIN (4.1).
    pub bytes_received: Option<u64>,
    /// `tcpi_bytes_sent`: bytes sent, with repetitions (4.19).
    pub bytes_sent: Option<u64>,
    /// `tcpi_notsent_bytes`: bytes that were never sent (4.6).
    pub notsent_bytes: Option<u32>,
    /// `tcpi_snd_wnd`: the window that the peer offers, bytes (5.4).
    pub snd_wnd: Option<u32>,
    /// `tcpi_rto`, µs.
    pub rto_us: Option<u32>,
    /// `tcpi_rtt`, µs.
    pub rtt_us: Option<u32>,
    /// `tcpi_probes`: window or keepalive probes without answer.
    pub probes: Option<u8>,
    /// `tcpi_backoff`.
    pub backoff: Option<u8>,
    /// `tcpi_total_retrans`.
    pub total_retrans: Option<u32>,
}

/// A process, if it could be looked at.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Process {
    /// When it started, ns since boot (`CLOCK_BOOTTIME`). Tells it from an earlier one of the same number.
    pub start_boottime_ns: Option<u64>,
    /// No process has this number now, or what has is a zombie. Nothing else is known then but what was remembered.
    pub exited: bool,
    /// Stopped by a signal or a tracer (`T` or `t` in /proc/PID/stat), or in a frozen cgroup.
    pub paused: Option<Paused>,
    /// Open descriptors.
    pub fds: Option<u64>,
    /// The soft `RLIMIT_NOFILE`.
    pub fd_limit: Option<u64>,
    pub comm: Option<Comm>,
    pub exe: Option<String>,
    /// What it runs, if it is an interpreter: a script, a module or a jar.
    pub script: Option<String>,
    pub unit: Option<String>,
    pub container: Option<String>,
    pub pod: Option<String>,
    pub ppid: Option<u32>,
}

impl Process {
    /// Descriptors in use, and how many there may be; `None` where that is not known. Those beyond the limit, which were
    /// opened before it was lowered, are not counted.
    #[must_use]
    pub fn descriptors(&self) -> Option<(u64, u64)> {
        let max = self.fd_limit.filter(|max| *max > 0)?;
        Some((self.fds?.min(max), max))
    }
}

/// Whether a process runs at all.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Paused {
    /// It runs, or waits for something.
    No,
    /// A signal stopped it (`T`).
    Stopped,
    /// A tracer holds it (`t`).
    Traced,
    /// Its cgroup is frozen.
    Frozen,
}

/// What is known of one network namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Namespace {
    pub counters: Counters,
    /// What was added to the counters since they were last read, perhaps some passes ago; `None` if they were not
    /// read before, or not this time. For `sockstat` values, which are no counters, `None`.
    pub delta: Option<Counters>,
    /// How long ago they were read for [`Self::delta`], ms.
    pub delta_ms: Option<u64>,
    pub sysctls: Sysctls,
}

/// The counters of /proc/net/snmp, netstat and sockstat by the names that stand there.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counters {
    /// `Tcp: ActiveOpens`.
    pub active_opens: Option<u64>,
    /// `Tcp: PassiveOpens`.
    pub passive_opens: Option<u64>,
    /// `Tcp: AttemptFails`.
    pub attempt_fails: Option<u64>,
    /// `Tcp: EstabResets`.
    pub estab_resets: Option<u64>,
    /// `Tcp: OutRsts`.
    pub out_rsts: Option<u64>,
    /// `TcpExt: ListenOverflows`.
    pub listen_overflows: Option<u64>,
    /// `TcpExt: ListenDrops`.
    pub listen_drops: Option<u64>,
    /// `TcpExt: EmbryonicRsts`.
    pub embryonic_rsts: Option<u64>,
    /// `TcpExt: SyncookiesSent`.
    pub syncookies_sent: Option<u64>,
    /// `TcpExt: SyncookiesRecv`: connections that were made with a cookie.
    pub syncookies_recv: Option<u64>,
    /// `TcpExt: TCPReqQFullDoCookies`.
    pub req_q_full_do_cookies: Option<u64>,
    /// `TcpExt: TCPReqQFullDrop`.
    pub req_q_full_drop: Option<u64>,
    /// `TcpExt: TCPAbortOnClose`.
    pub abort_on_close: Option<u64>,
    /// `TcpExt: TCPAbortOnData`.
    pub abort_on_data: Option<u64>,
    /// `TcpExt: TCPAbortOnTimeout`.
    pub abort_on_timeout: Option<u64>,
    /// `TcpExt: TCPTimeWaitOverflow`.
    pub time_wait_overflow: Option<u64>,
    /// `TcpExt: TCPSynRetrans`.
    pub syn_retrans: Option<u64>,
    /// `TcpExt: TW`: `TIME_WAIT`s that came to their end.
    pub time_wait_ended: Option<u64>,
    /// `TcpExt: TWRecycled`: `TIME_WAIT`s whose ports were used again.
    pub time_wait_reused: Option<u64>,
    /// `sockstat: TCP: orphan`; of the whole host.
    pub orphans: Option<u64>,
    /// `sockstat: TCP: tw`; `FIN_WAIT2` mini-sockets among them.
    pub time_waits: Option<u64>,
}

/// Settings under /proc/sys/net of one namespace.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sysctls {
    /// `ipv4/ip_local_port_range`: the first and the last port.
    pub local_ports: Option<(u16, u16)>,
    /// How many ports within that range `ipv4/ip_local_reserved_ports` takes away.
    pub reserved_local_ports: Option<u32>,
    /// `ipv4/tcp_tw_reuse`: 0 no, 1 yes, 2 on loopback.
    pub tw_reuse: Option<u8>,
    /// `ipv4/tcp_max_tw_buckets`.
    pub max_tw_buckets: Option<u64>,
    /// `ipv4/tcp_abort_on_overflow`.
    pub abort_on_overflow: Option<bool>,
    /// `core/somaxconn`.
    pub somaxconn: Option<u32>,
    /// `ipv4/tcp_max_syn_backlog`.
    pub max_syn_backlog: Option<u32>,
    /// `ipv4/tcp_syncookies`: 0 no, 1 when the queue is full, 2 always.
    pub syncookies: Option<u8>,
    /// `ipv4/tcp_max_orphans`.
    pub max_orphans: Option<u64>,
    /// `ipv4/tcp_orphan_retries`.
    pub orphan_retries: Option<u8>,
    /// `ipv4/tcp_fin_timeout`, s.
    pub fin_timeout_s: Option<u32>,
    /// `ipv4/tcp_keepalive_time`, s.
    pub keepalive_time_s: Option<u32>,
    /// `ipv4/tcp_retries2`.
    pub retries2: Option<u8>,
    /// `ipv4/tcp_syn_retries`.
    pub syn_retries: Option<u8>,
}

/// What is known of a listener beyond its row: its queue is the row's `rqueue`, the limit `wqueue`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Listener {
    /// `sk_drops` (`INET_DIAG_SKMEMINFO`, `SK_MEMINFO_DROPS`): SYNs and final ACKs that it dropped, modulo 2^32.
    pub drops: Option<u32>,
}

/// How many local ports are in use towards one destination from one address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// Inode number of the network namespace.
    pub netns: u32,
    pub local: IpAddr,
    pub remote: SocketAddr,
    /// Local ports by the index of the state of the socket that has them.
    pub by_state: [u64; STATE_SLOTS],
    /// By who last acted on the socket (connected or closed it), the largest first; at most
    /// [`Self::MAX_ACTORS`]. Sockets of which nobody knows are in none.
    pub actors: Vec<(track::Process, u64)>,
    /// The cookies of some, to look up who holds them; at most [`Self::MAX_COOKIES`].
    pub cookies: Vec<u64>,
    /// When the first and the last of those in `TIME_WAIT` entered it, monotonic ns.
    pub time_waits_between_ns: Option<(u64, u64)>,
}

impl Destination {
    /// Processes named for one destination.
    pub const MAX_ACTORS: usize = 16;
    /// Sockets kept of one destination.
    pub const MAX_COOKIES: usize = 16;

    /// Local ports in use, whatever the state.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.by_state.iter().sum()
    }
}

/// Why a RST was sent: `enum sk_rst_reason` (`include/net/rstreason.h`, 6.10), by its name, since the numbers
/// have changed. `Other` is a reason that no rule uses.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    NoSocket,
    AbortOnData,
    TimeWaitSocket,
    InvalidSyn,
    AbortOnClose,
    AbortOnLinger,
    AbortOnMemory,
    TcpState,
    KeepaliveTimeout,
    DisconnectWithData,
    Other,
}

impl Reason {
    /// The reason by the kernel's name for it, without `SK_RST_REASON_` and with or without `TCP_`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name.strip_prefix("TCP_").unwrap_or(name) {
            "NO_SOCKET" => Self::NoSocket,
            "ABORT_ON_DATA" => Self::AbortOnData,
            "TIMEWAIT_SOCKET" => Self::TimeWaitSocket,
            "INVALID_SYN" => Self::InvalidSyn,
            "ABORT_ON_CLOSE" => Self::AbortOnClose,
            "ABORT_ON_LINGER" => Self::AbortOnLinger,
            "ABORT_ON_MEMORY" => Self::AbortOnMemory,
            "STATE" => Self::TcpState,
            "KEEPALIVE_TIMEOUT" => Self::KeepaliveTimeout,
            "DISCONNECT_WITH_DATA" => Self::DisconnectWithData,
            _ => Self::Other,
        }
    }
}

/// A RST, with what is known of the socket that it ended.
#[derive(Clone, Debug)]
pub struct ResetSeen {
    /// As the tracker has it. `process` is set only for who held the socket's lock.
    pub reset: Reset,
    /// `None` for a received one, and where the kernel does not tell.
    pub reason: Option<Reason>,
    /// For a sent one without socket: whether it answered a SYN. `None` when the packet was not looked at.
    pub answered_syn: Option<bool>,
    /// Bytes that had come in and not been read. `None` when not known.
    pub unread_bytes: Option<u64>,
    /// Bytes that the connection had carried in both directions. `None` when not known.
    pub bytes_moved: Option<u64>,
    /// For how long nothing had come from the peer before what led to this RST, ms. `None` when not known.
    pub idle_ms: Option<u64>,
    /// For how long nothing had been sent to the peer, ms; counts from the beginning of the connection. `None` when not
    /// known, as below.
    pub spoke_ms: Option<u64>,
    /// Bytes that had been written and that the peer had not acknowledged.
    pub unsent_bytes: Option<u64>,
    /// The peer had sent its FIN.
    pub peer_ended: Option<bool>,
    /// The process that sent it was ending, and chose nothing.
    pub ending: Option<bool>,
    /// How the connection had come to be.
    pub opened: Option<Opened>,
    /// For a sent one that answers a packet: bytes of data in that.
    pub payload_bytes: Option<u64>,
    /// How long the socket had been in the state in which the RST met it, ns, where that is one after a FIN: what its
    /// process closed before, or its peer.
    pub after_close_ns: Option<u64>,
    /// Who had closed the socket by then, or had it open when it was last looked at. Not to be confused with
    /// `reset.process`, who acted at that moment.
    pub owner: Option<track::Process>,
}
