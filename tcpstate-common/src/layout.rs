//! What the programs have to be told about the running kernel and by the user. rustc emits no CO-RE relocations, so the
//! user side looks up where fields are, and writes every number into the instructions that load it, before the kernel
//! sees them: the numbers are constants to the verifier and cost the programs nothing.

/// A field of a kernel struct of which the programs are told where it is.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The kernel struct.
    pub ty: &'static str,
    /// The field's path inside the struct, as C writes it.
    pub path: &'static str,
}

/// What an instruction that loads [`Number`] `n` itself loads in the object file: this plus `n`.
pub const MARK: i32 = 0x7c5a_0000;

/// The offset of an instruction that loads a field at [`Number`] `n` in the object file: this plus `n`. Nothing of ours
/// is so large.
pub const OFFSET_MARK: i16 = 0x7f00;

const _: () = assert!(size_of::<crate::PerCpu>() <= OFFSET_MARK as usize);

macro_rules! numbers {
    ($($field:ident = $ty:literal, $path:literal;)* => $($(#[$doc:meta])* $other:ident;)*) => {
        /// A number that the programs are told.
        #[expect(missing_docs, non_camel_case_types, reason = "most are fields of the kernel: see FIELDS")]
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[repr(i16)]
        pub enum Number {
            $($field,)*
            $($(#[$doc])* $other,)*
        }

        impl Number {
            /// All of them, in their order.
            pub const ALL: &[Self] = &[$(Self::$field,)* $(Self::$other,)*];
        }

        /// Every field that the programs read: where each is, the first numbers say, in this order.
        pub const FIELDS: &[Field] = &[
            $(Field { ty: $ty, path: $path },)*
        ];

        /// Calls `$m!` with the names of all numbers, so that the eBPF crate declares exactly these.
        #[macro_export]
        macro_rules! with_numbers {
            ($m:ident) => { $m! { $($field)* $($other)* } };
        }
    };
}

numbers! {
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
    TP_WRITE_SEQ = "tcp_sock", "write_seq";
    TP_SND_UNA = "tcp_sock", "snd_una";
    TASK_FLAGS = "task_struct", "flags";
    TASK_TGID = "task_struct", "tgid";
    TASK_GROUP_LEADER = "task_struct", "group_leader";
    TASK_COMM = "task_struct", "comm";
    TASK_START_BOOTTIME = "task_struct", "start_boottime";
    SKB_HEAD = "sk_buff", "head";
    SKB_NETWORK_HEADER = "sk_buff", "network_header";
    SKB_TRANSPORT_HEADER = "sk_buff", "transport_header";
    SKB_DEV = "sk_buff", "dev";
    SKB_CB = "sk_buff", "cb";
    CB_SEQ = "tcp_skb_cb", "seq";
    CB_END_SEQ = "tcp_skb_cb", "end_seq";
    CB_TCP_FLAGS = "tcp_skb_cb", "tcp_flags";
    DEV_NET = "net_device", "nd_net";
    SOCKET_SK = "socket", "sk";
    FILE_INODE = "file", "f_inode";
    INODE_INO = "inode", "i_ino";
    =>
    /// Bit number of `SOCK_DONE` in `sk_flags` (`enum sock_flags`).
    SOCK_DONE_BIT;
    /// Bit number of `SOCK_DEAD` in `sk_flags` (`enum sock_flags`).
    SOCK_DEAD_BIT;
    /// Whether `tcp_send_reset` carries a reason (kernels from 6.10): 1 or 0.
    HAS_RST_REASON;
    /// The number of `SK_RST_REASON_TCP_ABORT_ON_DATA`; meaningless without reasons.
    RST_ABORT_ON_DATA;
    /// Length of a kernel tick (jiffy), ns.
    TICK_NS;
    /// Bytes in the ring at which the user side is woken before its timer.
    RING_WATERMARK;
    /// Places in the table of slots less one: a power of two less one.
    SLOT_MASK;
    /// Places on each CPU's tape less one: a power of two less one.
    TAPE_MASK;
    /// Whether a task may be preempted inside a program: 1 or 0.
    PREEMPTIBLE;
    /// Places for tasks in which events are handled less one: a power of two less one.
    HANDLED_MASK;
}
