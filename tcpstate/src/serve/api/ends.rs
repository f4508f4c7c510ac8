//! What sockets, resets and events have in common: both ends, the namespace, and who acted.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::track;

/// Where a connection is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Ends {
    /// `ipv4` or `ipv6`: the socket's family, so that a v4-mapped peer is on an `ipv6` socket.
    #[schema(example = "ipv4")]
    pub family: String,
    /// Address and port of this host's end; IPv6 in brackets.
    #[schema(example = "10.0.0.1:8080")]
    pub local: String,
    /// Address and port of the other end; null for a listener, or where the kernel does not say.
    #[schema(required, example = "[2001:db8::7]:443")]
    pub remote: Option<String>,
    /// Inode number of the network namespace, as `lsns -t net` shows it; null when not known.
    #[schema(required, format = Int64, example = 4_026_531_840_u32)]
    pub netns: Option<u32>,
}

impl Ends {
    pub(super) fn of(tuple: &track::Tuple, netns: u32) -> Self {
        Self {
            family: tuple.family.name().to_owned(),
            local: tuple.local.to_string(),
            remote: tuple.is_connected().then(|| tuple.remote.to_string()),
            netns: (netns != 0).then_some(netns),
        }
    }
}

/// A process.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = ProcessName)]
pub struct Process {
    /// Its number in the initial pid namespace.
    pub pid: u32,
    /// Its name as the kernel keeps it: at most 15 bytes.
    #[schema(example = "nginx")]
    pub comm: String,
}

impl From<track::Process> for Process {
    fn from(process: track::Process) -> Self {
        Self { pid: process.pid, comm: process.comm.to_string() }
    }
}

/// A 64-bit socket cookie as a string, since JSON's numbers are not exact beyond 2^53.
pub(super) fn cookie(cookie: Option<u64>) -> Option<String> {
    cookie.map(|cookie| cookie.to_string())
}
