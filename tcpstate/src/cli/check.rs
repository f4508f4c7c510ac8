//! `tcpstate check`: what this kernel and these privileges allow, line by line.

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args as ClapArgs;
use serde::Serialize;
use tcpstate_common::TcpState;

use crate::{
    app::source::Wanted,
    observe::{
        dump::Dumps,
        kernel::{Kernel, Sizes},
        layout::{KERNEL_BTF, Layout},
        lockdown, needs, netns,
        probes::Probe,
    },
    track::Tier,
};

const EXIT_CODE: &str = "\
Exit code: 0 the source of --source can be had, 1 it cannot.";

#[derive(Clone, Copy, Debug, ClapArgs)]
#[command(after_help = EXIT_CODE)]
pub struct Args {
    /// Where sockets are to be learned of, as for `tcpstate daemon`: exit with 1 if that cannot be had
    #[arg(long, value_enum, default_value = "auto")]
    source: Wanted,
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// One line of the answer.
#[derive(Debug, Serialize)]
struct Line {
    what: String,
    ok: bool,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Report {
    kernel: String,
    checks: Vec<Line>,
    tier: &'static str,
    /// Why it is not a better tier.
    tier_reason: Option<String>,
    /// Why the source of `--source` cannot be had, if so.
    source_refused: Option<String>,
    not_seen: &'static [&'static str],
}

/// Tries everything and prints what came of it. Attaches the programs for a moment, and leaves nothing.
///
/// # Errors
/// If the output cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let report = examine(args.source);
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&report, &mut out)?;
    }
    Ok(if report.source_refused.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn examine(wanted: Wanted) -> Report {
    let mut checks = Vec::new();
    let mut line = |what: &str, result: Result<String, String>| {
        let ok = result.is_ok();
        let detail = result.unwrap_or_else(|error| error);
        checks.push(Line { what: what.to_owned(), ok, detail });
    };
    let dumps = Dumps::of_this_kernel();
    let needs = needs::all();
    for need in &needs {
        let purpose = format!("needed {}", need.purpose);
        line(
            &need.what,
            match &need.refused {
                None => Ok(purpose),
                Some(refused) => Err(format!("{refused}: it is {purpose}")),
            },
        );
    }
    line("kernel types (BTF)", layout());
    let kernel = Kernel::start(Sizes { ring_bytes: 4096, slots: 16 });
    match &kernel {
        Ok(kernel) => {
            line("eBPF programs", Ok("loaded, attached, and detached again".to_owned()));
            for hook in kernel.hooks() {
                let Some(probe) = Probe::of(hook.program) else { continue };
                line(
                    &format!("  {}", probe.program),
                    match hook.attached {
                        Ok(()) => Ok(probe.brings.to_owned()),
                        Err(reason) => Err(format!("{reason}; not seen: {}", probe.lost)),
                    },
                );
            }
            line(
                "reset reasons",
                match kernel.layout().reset_reasons.len() {
                    0 => {
                        Err("the kernel gives none before 6.10: RSTs are counted without their reason"
                            .to_owned())
                    }
                    known => Ok(format!("{known} known")),
                },
            );
            line(
                "file iterator",
                match kernel.iterator_error() {
                    None => Ok("holders of sockets are looked up in the kernel".to_owned()),
                    Some(error) => Err(format!("holders are looked up in /proc, which is slower: {error}")),
                },
            );
        }
        Err(error) => line("eBPF programs", Err(error.to_string())),
    }
    line("socket dump", sockets(dumps));
    line("network namespaces", namespaces());
    line(
        "lockdown",
        Ok(lockdown::mode().unwrap_or_else(|| "not known (securityfs is not mounted)".to_owned())),
    );
    line("tracefs, bpffs", Ok("not needed".to_owned()));
    let ebpf = match (&kernel, dumps) {
        (_, Dumps::Procfs) => Err(Dumps::WITHOUT_NETLINK.to_owned()),
        (Ok(_), Dumps::Netlink) => Ok(()),
        (Err(error), Dumps::Netlink) => Err(error.to_string()),
    };
    let dumped = dumps.dump_here(&[TcpState::Listen], |_| ());
    let source_refused = refused(wanted, ebpf.clone(), dumped);
    let (tier, tier_reason) = match (wanted, ebpf) {
        (Wanted::Sockdiag, _) => (Tier::DumpsOnly, Some("--source sockdiag asks for it".to_owned())),
        (_, Ok(())) => (Tier::Events, None),
        (_, Err(reason)) => (Tier::DumpsOnly, Some(reason)),
    };
    Report {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        checks,
        tier: tier.name(),
        tier_reason,
        source_refused,
        not_seen: tier.blind_spots(),
    }
}

/// Why a source cannot be had, by what came of both ways.
fn refused(wanted: Wanted, ebpf: Result<(), String>, dumped: Result<(), String>) -> Option<String> {
    match wanted {
        Wanted::Ebpf => ebpf.and(dumped).err(),
        Wanted::Auto | Wanted::Sockdiag => dumped.err(),
    }
}

fn layout() -> Result<String, String> {
    let layout = Layout::of_running_kernel().map_err(|error| error.to_string())?;
    let (found, all) = (layout.offsets.iter().flatten().count(), layout.offsets.len());
    if found < all {
        return Err(format!(
            "{found} of {all} fields found in {KERNEL_BTF}; the programs below name what they miss"
        ));
    }
    Ok(format!("{found} fields found in {KERNEL_BTF}"))
}

fn sockets(dumps: Dumps) -> Result<String, String> {
    let mut count = 0_u64;
    dumps.dump_here(&TcpState::VISIBLE, |_| count += 1)?;
    match dumps {
        Dumps::Netlink => Ok(format!("{count} TCP sockets in this network namespace")),
        Dumps::Procfs => Err(format!("{}; {count} in this network namespace", Dumps::WITHOUT_NETLINK)),
    }
}

fn namespaces() -> Result<String, String> {
    let found = netns::find();
    let count = found.namespaces.len();
    let own = netns::own().map_err(|error| error.to_string())?;
    let refused = found
        .namespaces
        .iter()
        .filter(|(inum, _)| **inum != own)
        .find_map(|(inum, ways)| netns::inside(*inum, ways, || ()).err());
    if let Some(error) = refused {
        return Err(format!("{count} found, but others than this one cannot be entered: {error}"));
    }
    if found.hidden_processes > 0 {
        let hidden = match found.hidden_processes {
            1 => "that of a process".to_owned(),
            many => format!("those of {many} processes"),
        };
        return Err(format!("{count} found; {hidden} may not be read"));
    }
    Ok(format!("{count} found, all can be visited"))
}

fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "kernel {}", report.kernel)?;
    for line in &report.checks {
        writeln!(out, "  {:3} {:20} {}", if line.ok { "yes" } else { "NO" }, line.what, line.detail)?;
    }
    match &report.tier_reason {
        None => writeln!(out, "tier: {}", report.tier)?,
        Some(reason) => writeln!(out, "tier: {} ({reason})", report.tier)?,
    }
    for blind in report.not_seen {
        writeln!(out, "  not seen: {blind}")?;
    }
    if let Some(reason) = &report.source_refused {
        writeln!(out, "the source of --source cannot be had: {reason}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_source_that_is_wanted_must_be_there() {
        let no = || Err("no".to_owned());
        for (wanted, ebpf, dumped, refuses) in [
            (Wanted::Auto, no(), Ok(()), false),
            (Wanted::Sockdiag, no(), Ok(()), false),
            (Wanted::Ebpf, no(), Ok(()), true),
            (Wanted::Ebpf, Ok(()), Ok(()), false),
            (Wanted::Auto, Ok(()), no(), true),
            (Wanted::Sockdiag, Ok(()), no(), true),
        ] {
            assert_eq!(
                refused(wanted, ebpf.clone(), dumped.clone()).is_some(),
                refuses,
                "{wanted:?} {ebpf:?} {dumped:?}"
            );
        }
    }
}
