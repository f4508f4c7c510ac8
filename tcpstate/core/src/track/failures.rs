//! Connects that failed.

use tcpstate_common::TcpState;

use super::event::{Process, Transition, Tuple};

/// The kernel returns it from `connect()` without leaving it in `sk_err` when it has no local port to give
/// (`EADDRNOTAVAIL`; `inet_hash_connect` in `net/ipv4/inet_hashtables.c`).
const NO_PORT: u32 = 99;

/// A connect that failed: `SYN_SENT` to `CLOSE`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Failure {
    /// Monotonic ns.
    pub at_ns: u64,
    pub netns: u32,
    /// The local port is 0 if there was none to be had.
    pub tuple: Tuple,
    /// A positive errno; 99 (`EADDRNOTAVAIL`) where the kernel found no local port; 0: the application gave up.
    pub errno: u32,
    /// Who connected, or gave up.
    pub process: Option<Process>,
    /// How long it took, ns.
    pub lasted_ns: Option<u64>,
}

impl Failure {
    /// If that is what the transition is.
    #[must_use]
    pub fn of(transition: &Transition) -> Option<Self> {
        if (transition.from, transition.to) != (TcpState::SynSent, TcpState::Close) {
            return None;
        }
        let no_port = transition.error == 0 && transition.tuple.local.port() == 0;
        Some(Self {
            at_ns: transition.at_ns,
            netns: transition.netns,
            tuple: transition.tuple,
            errno: if no_port { NO_PORT } else { transition.error },
            process: transition.actor.map(|actor| actor.process),
            lasted_ns: transition.entered_ns.map(|entered_ns| transition.at_ns.saturating_sub(entered_ns)),
        })
    }
}
