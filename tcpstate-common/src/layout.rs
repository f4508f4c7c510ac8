//! Where the running kernel keeps what the programs read. rustc emits no CO-RE relocations, so the user
//! side looks the offsets up in the kernel's BTF and hands them over as read-only globals of these names.

/// One global of the eBPF object that holds the byte offset of a kernel struct's field.
#[derive(Clone, Copy, Debug)]
pub struct FieldGlobal {
    /// The global's name in the eBPF object.
    pub global: &'static str,
    /// The kernel struct.
    pub ty: &'static str,
    /// The field's path inside the struct, as C writes it.
    pub path: &'static str,
}

macro_rules! fields {
    ($($global:ident = $ty:literal, $path:literal;)*) => {
        /// Every offset the programs read, with where it comes from.
        pub const FIELDS: &[FieldGlobal] = &[
            $(FieldGlobal { global: stringify!($global), ty: $ty, path: $path },)*
        ];

        /// Calls `$m!` with the names of all the globals, so that the eBPF crate declares exactly these.
        #[macro_export]
        macro_rules! with_field_globals {
            ($m:ident) => { $m! { $($global)* } };
        }
    };
}

fields! {
    SKC_FAMILY = "sock_common", "skc_family";
    SKC_STATE = "sock_common", "skc_state";
    SKC_DADDR = "sock_common", "skc_daddr";
    SKC_RCV_SADDR = "sock_common", "skc_rcv_saddr";
    SKC_DPORT = "sock_common", "skc_dport";
    SKC_NUM = "sock_common", "skc_num";
    SKC_V6_DADDR = "sock_common", "skc_v6_daddr";
    SKC_V6_RCV_SADDR = "sock_common", "skc_v6_rcv_saddr";
    SKC_COOKIE = "sock_common", "skc_cookie";
    SKC_NET = "sock_common", "skc_net";
    NET_COOKIE = "net", "net_cookie";
    NET_INUM = "net", "ns.inum";
    SK_PROTOCOL = "sock", "sk_protocol";
    SK_ERR = "sock", "sk_err";
    SK_FLAGS = "sock", "__sk_common.skc_flags";
    SK_LOCK_OWNED = "sock", "sk_lock.owned";
    INET_SPORT = "inet_sock", "inet_sport";
    ICSK_LRCVTIME = "inet_connection_sock", "icsk_ack.lrcvtime";
    TP_LSNDTIME = "tcp_sock", "lsndtime";
    TP_RCV_TSTAMP = "tcp_sock", "rcv_tstamp";
    TP_RCV_NXT = "tcp_sock", "rcv_nxt";
    TP_COPIED_SEQ = "tcp_sock", "copied_seq";
    TP_BYTES_RECEIVED = "tcp_sock", "bytes_received";
    TP_BYTES_SENT = "tcp_sock", "bytes_sent";
    TP_BYTES_RETRANS = "tcp_sock", "bytes_retrans";
    TASK_FLAGS = "task_struct", "flags";
    TASK_TGID = "task_struct", "tgid";
    TASK_GROUP_LEADER = "task_struct", "group_leader";
    TASK_COMM = "task_struct", "comm";
    TASK_START_BOOTTIME = "task_struct", "start_boottime";
    SKB_HEAD = "sk_buff", "head";
    SKB_NETWORK_HEADER = "sk_buff", "network_header";
    SKB_TRANSPORT_HEADER = "sk_buff", "transport_header";
    SKB_DEV = "sk_buff", "dev";
    DEV_NET = "net_device", "nd_net";
    SOCKET_SK = "socket", "sk";
    FILE_INODE = "file", "f_inode";
    INODE_INO = "inode", "i_ino";
}

/// Globals that are not offsets.
pub mod globals {
    /// Bit number of `SOCK_DONE` in `sk_flags` (`enum sock_flags`).
    pub const SOCK_DONE_BIT: &str = "SOCK_DONE_BIT";
    /// Bit number of `SOCK_DEAD` in `sk_flags` (`enum sock_flags`).
    pub const SOCK_DEAD_BIT: &str = "SOCK_DEAD_BIT";
    /// Whether `tcp_send_reset` carries a reason (kernels from 6.10): 1 or 0.
    pub const HAS_RST_REASON: &str = "HAS_RST_REASON";
    /// The number of `SK_RST_REASON_TCP_ABORT_ON_DATA`; meaningless without reasons.
    pub const RST_ABORT_ON_DATA: &str = "RST_ABORT_ON_DATA";
    /// Length of a kernel tick (jiffy), ns.
    pub const TICK_NS: &str = "TICK_NS";
    /// Bytes in the ring at which the user side is woken before its timer.
    pub const RING_WATERMARK: &str = "RING_WATERMARK";
    /// Places in the table of slots less one: a power of two less one.
    pub const SLOT_MASK: &str = "SLOT_MASK";
    /// Places on each CPU's tape less one: a power of two less one.
    pub const TAPE_MASK: &str = "TAPE_MASK";
}
