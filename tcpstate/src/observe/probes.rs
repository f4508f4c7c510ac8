//! What each eBPF program needs of the kernel, and what is lost where it cannot be had: each may be missing by itself, but
//! for the one that sees the changes of state, without which there are no events at all.

use tcpstate_common::{
    layout::{FIELDS, Field, Number},
    names::programs,
};

use super::layout::Layout;

/// One program.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub program: &'static str,
    /// The kernel's fields that it reads beside those that all programs read.
    needs: &'static [&'static [Number]],
    /// What it brings, for a list.
    pub brings: &'static str,
    /// What is not seen without it, one sentence.
    pub lost: &'static str,
}

use Number as N;

/// What is read of a socket, its namespace and the running process.
const SOCKET: &[Number] = &[
    N::SKC_FAMILY,
    N::SKC_STATE,
    N::SKC_DADDR,
    N::SKC_RCV_SADDR,
    N::SKC_DPORT,
    N::SKC_NUM,
    N::SKC_V6_DADDR,
    N::SKC_V6_RCV_SADDR,
    N::SKC_COOKIE,
    N::SKC_NET,
    N::NET_COOKIE,
    N::NET_INUM,
    N::SK_PROTOCOL,
    N::SK_ERR,
    N::SK_FLAGS,
    N::SK_LOCK_OWNED,
    N::INET_SPORT,
    N::TASK_FLAGS,
    N::TASK_TGID,
    N::TASK_GROUP_LEADER,
    N::TASK_COMM,
];
/// How a connection that is closed was used.
const IDLE: &[Number] = &[N::ICSK_LRCVTIME, N::TP_LSNDTIME, N::TP_BYTES_RECEIVED];
/// What a connection had carried when it met a RST.
const CARRIED: &[Number] = &[
    N::TP_RCV_TSTAMP,
    N::TP_RCV_NXT,
    N::TP_COPIED_SEQ,
    N::TP_BYTES_SENT,
    N::TP_BYTES_RETRANS,
    N::TP_WRITE_SEQ,
    N::TP_SND_UNA,
];
/// The packet that is answered by a RST.
const PACKET: &[Number] = &[
    N::SKB_HEAD,
    N::SKB_NETWORK_HEADER,
    N::SKB_TRANSPORT_HEADER,
    N::SKB_DEV,
    N::SKB_CB,
    N::CB_SEQ,
    N::CB_END_SEQ,
    N::CB_TCP_FLAGS,
    N::DEV_NET,
];
/// Open files.
const FILES: &[Number] = &[N::SOCKET_SK, N::FILE_INODE, N::INODE_INO, N::TASK_START_BOOTTIME];

/// All of them.
pub const PROBES: [Probe; 6] = [
    Probe {
        program: programs::INET_SOCK_SET_STATE,
        needs: &[SOCKET, IDLE],
        brings: "changes of state, since when sockets are in theirs, who closed them, failed connects",
        lost: "changes of state, and with them everything that only events tell",
    },
    Probe {
        program: programs::INET_SOCK_SET_STATE_NESTED,
        needs: &[SOCKET, IDLE],
        brings: "changes of state that come in while another one is handled on the same CPU",
        lost: "changes of state that come in while another one is handled on the same CPU: they are counted as missed",
    },
    Probe {
        program: programs::INET_SOCK_SET_STATE_THIRD,
        needs: &[SOCKET, IDLE],
        brings: "changes of state that come in while two others are handled on the same CPU",
        lost: "changes of state that come in while two others are handled on the same CPU: they are counted as missed",
    },
    Probe {
        program: programs::TCP_RECEIVE_RESET,
        needs: &[SOCKET, IDLE, CARRIED],
        brings: "RSTs that were received",
        lost: "RSTs that were received, and which of the sent ones the kernel made up itself",
    },
    Probe {
        program: programs::TCP_SEND_RESET,
        needs: &[SOCKET, IDLE, CARRIED, PACKET],
        brings: "RSTs that were sent, who sent them and why",
        lost: "RSTs that were sent, who sent them and why",
    },
    Probe {
        program: programs::TASK_FILE,
        needs: &[SOCKET, FILES],
        brings: "who holds which sockets, looked up in the kernel",
        lost: "nothing, but holders of sockets are looked up in /proc, which is slower",
    },
];

impl Probe {
    /// The one for a program.
    #[must_use]
    pub fn of(program: &str) -> Option<&'static Self> {
        PROBES.iter().find(|probe| probe.program == program)
    }

    /// The first field that it needs and that this kernel does not have where it is looked for.
    #[must_use]
    pub fn lacks(&self, layout: &Layout) -> Option<&'static Field> {
        let needed = self.needs.iter().copied().flatten();
        let missing = |number: &&Number| layout.offset(**number).is_none();
        needed.filter(|number| (**number as usize) < FIELDS.len()).find(missing).map(|n| &FIELDS[*n as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_is_read_is_needed_by_some_program() {
        for (place, field) in FIELDS.iter().enumerate() {
            let is_needed = PROBES
                .iter()
                .any(|probe| probe.needs.iter().copied().flatten().any(|n| *n as usize == place));
            assert!(is_needed, "{}.{}", field.ty, field.path);
        }
    }

    #[test]
    fn every_program_has_a_line() {
        for hook in programs::HOOKS {
            assert!(Probe::of(hook.program).is_some(), "{}", hook.program);
        }
        assert!(Probe::of(programs::TASK_FILE).is_some());
    }

    #[test]
    fn program_lacks_only_what_it_needs() {
        let mut layout = Layout::with_offsets(vec![Some(8); FIELDS.len()]);
        assert!(PROBES.iter().all(|probe| probe.lacks(&layout).is_none()));
        layout.offsets[Number::SKB_DEV as usize] = None;
        let lacking: Vec<_> = PROBES.iter().filter(|probe| probe.lacks(&layout).is_some()).collect();
        assert_eq!(lacking.iter().map(|probe| probe.program).collect::<Vec<_>>(), [programs::TCP_SEND_RESET]);
        assert_eq!(lacking[0].lacks(&layout).map(|field| field.path), Some("dev"));
        layout.offsets[Number::SKC_COOKIE as usize] = None;
        assert!(PROBES.iter().all(|probe| probe.lacks(&layout).is_some()));
    }
}
