//! Connections that a process of this host closed first, after a pause.

use serde::{Deserialize, Serialize};

use super::event::{Process, Tuple};

/// A connection that a process closed, or shut down, before its peer did, and after nothing had come in for
/// [`tcpstate_common::wire::IDLE_CLOSE_NS`]. A process that ends does not count.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IdleClose {
    /// Monotonic ns.
    pub at_ns: u64,
    pub netns: u32,
    pub tuple: Tuple,
    /// Who closed. Not somebody who was ending.
    pub process: Option<Process>,
    /// Bytes that had come in.
    pub received_bytes: u64,
    /// For how long no data had come in, ms: at least [`tcpstate_common::wire::IDLE_CLOSE_NS`]. Counts from when the
    /// connection was made if none ever came.
    pub heard_ms: u64,
    /// For how long no data had been sent, ms, likewise; not long for who says farewell before he closes.
    pub spoke_ms: u64,
}
