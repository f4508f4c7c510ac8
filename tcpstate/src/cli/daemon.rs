//! `tcpstate daemon`.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Args as ClapArgs, ValueEnum};

use super::threshold::Choice;
use crate::{
    app::{self, Config, source::Wanted},
    serve::{
        ask::Limits,
        http::Listen,
        params::{bytes, duration},
    },
};

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(args_override_self = true)]
pub struct Args {
    /// Address of metrics and the API, or `unix:` and the path of a Unix socket for the daemon's user and group; may be
    /// given several times. Every local user may read a loopback address, and other hosts any other
    #[arg(long = "web.listen-address", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:19293")]
    listen: Vec<Listen>,
    /// Name by which clients may call a loopback address, beside localhost and the loopback addresses themselves, such as
    /// that of a reverse proxy; may be given several times
    #[arg(long = "web.allow-host", value_name = "NAME")]
    allow_host: Vec<String>,
    /// Where to learn of sockets. `auto` takes eBPF if this kernel and these privileges allow it, and socket
    /// dumps otherwise; `tcpstate check` says which
    #[arg(long, value_enum, default_value = "auto")]
    source: Wanted,
    /// Memory to take at most, as a number of bytes or with KiB, MiB or GiB. What is left beside the daemon itself
    /// is for sockets, 256 bytes each; where they need more, sockets that neither park nor are in `TIME_WAIT` go
    /// first, and what goes is counted
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = bytes::parse)]
    max_memory: u64,
    /// Sockets to keep in memory at most; what finds no room is counted [default: what --max-memory has room for]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    max_sockets: Option<u32>,
    /// Bytes of the ring buffer from the kernel: a power of two from 4096 to 1 GiB
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = ring_bytes)]
    ring_size: u32,
    /// Owners of parked sockets that get metrics of their own, for each state; the rest is one series
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    top_owners: u32,
    /// The time between two censuses of all sockets (like 5s or 500ms). Where a census takes long, tcpstate waits
    /// longer by itself; where a verdict needs another look, or somebody asks, not as long
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval)]
    reconcile_interval: Duration,
    #[command(flatten)]
    thresholds: Choice,
    /// The least important lines to log: error, warn, info, debug or trace
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    log_level: tracing::Level,
    /// How log lines look
    #[arg(long = "log.format", value_enum, default_value = "text")]
    log_format: LogFormat,
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// One sentence: which address, which privilege, or which part of the kernel stands in the way.
pub fn run(args: &Args) -> Result<ExitCode> {
    start_logging(args);
    let room = app::room_for_sockets(args.max_memory, args.ring_size)?;
    app::run(&Config {
        listen: args.listen.clone(),
        allowed_hosts: args.allow_host.clone(),
        source: args.source,
        limits: Limits {
            max_sockets: args.max_sockets.map_or(room, |sockets| room.min(sockets as usize)),
            max_memory: args.max_memory,
            max_resets: 10_000,
            ring_bytes: args.ring_size,
            top_owners: args.top_owners as usize,
        },
        census_interval: args.reconcile_interval,
        thresholds: args.thresholds.thresholds(),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn start_logging(args: &Args) {
    let lines = tracing_subscriber::fmt()
        .with_max_level(args.log_level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    match args.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}

fn ring_bytes(text: &str) -> Result<u32, String> {
    text.parse::<u32>()
        .ok()
        .filter(|bytes| bytes.is_power_of_two() && (4096..=1 << 30).contains(bytes))
        .ok_or_else(|| "not a power of two from 4096 to 1073741824".to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = Duration::from_millis(duration::parse_ms(text)?);
    if interval < Duration::from_millis(100) { Err("less than 100ms".to_owned()) } else { Ok(interval) }
}
