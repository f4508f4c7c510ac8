//! What the kernel itself says of the sockets of this network namespace.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};

/// The kernel's numbers of states, from 1 on (`include/net/tcp_states.h`).
const STATES: [&str; 12] = [
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "SYN_RECV",
];

/// Sockets by state, both families together.
pub(crate) fn sockets() -> Result<BTreeMap<String, i64>> {
    let mut counts = BTreeMap::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        for line in text.lines().skip(1) {
            let state = line.split_whitespace().nth(3).context("a socket without a state")?;
            let state = usize::from_str_radix(state, 16)?;
            let name = state.checked_sub(1).and_then(|it| STATES.get(it)).context("an unknown state")?;
            *counts.entry((*name).to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}
