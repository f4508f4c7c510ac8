//! What the commands that look by themselves have in common.

use std::time::Duration;

use anyhow::Result;

use crate::{
    app::{self, Config, source::Wanted},
    diagnose::Thresholds,
    serve::{ask::Limits, params::duration},
    track,
};

/// What it takes by itself at most; the same as a daemon that was given no other limit.
const MAX_MEMORY: u64 = 256 << 20;
const RING_BYTES: u32 = 4 << 20;
const MAX_RESETS: usize = 10_000;
/// The shortest time from one census to the next, by itself.
const CENSUS_INTERVAL: Duration = Duration::from_secs(1);

/// How it looks.
pub(super) fn config(thresholds: &Thresholds) -> Result<Config> {
    let limits = Limits {
        max_memory: MAX_MEMORY,
        max_sockets: max_sockets()?,
        max_resets: MAX_RESETS,
        ring_bytes: RING_BYTES,
        top_owners: 1,
    };
    Ok(Config {
        listen: Vec::new(),
        allowed_hosts: Vec::new(),
        source: Wanted::Auto,
        limits,
        census_interval: CENSUS_INTERVAL,
        thresholds: *thresholds,
    })
}

/// How much is remembered then.
pub(super) fn limits() -> Result<track::Limits> {
    Ok(track::Limits { max_sockets: max_sockets()?, max_resets: MAX_RESETS })
}

fn max_sockets() -> Result<usize> {
    app::room_for_sockets(MAX_MEMORY, RING_BYTES)
}

/// For how long.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time = Duration::from_millis(duration::parse_ms(text)?);
    if time < Duration::from_secs(1) { Err("less than 1s".to_owned()) } else { Ok(time) }
}
