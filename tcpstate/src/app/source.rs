//! The choice of the source: the best tier that this kernel and these privileges allow, or the one that the
//! user wants.

use anyhow::{Result, bail};
use clap::ValueEnum;
use tracing::{info, warn};

use super::memory;
use crate::{
    observe::{
        dump::Dumps,
        kernel::{Kernel, Sizes},
        needs::{self, Need},
    },
    track::Tier,
};

/// Which source the user wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Wanted {
    /// eBPF if it may be loaded, socket dumps otherwise.
    Auto,
    /// eBPF, or nothing.
    Ebpf,
    /// Socket dumps and /proc alone.
    Sockdiag,
}

/// The source in use.
pub struct Source {
    pub tier: Tier,
    /// Why it is not a better one.
    pub reason: Option<String>,
    pub kernel: Option<Kernel>,
    pub dumps: Dumps,
    /// What is needed beside, and whether it can be had.
    pub needs: Vec<Need>,
}

impl Source {
    /// Why something is not seen that would be seen elsewhere, as sentences without full stop.
    #[must_use]
    pub fn losses(&self) -> Vec<String> {
        let mut losses: Vec<_> = self.needs.iter().filter_map(Need::loss).collect();
        if let Some(reason) = self.reason.as_ref().filter(|reason| !losses.contains(reason)) {
            losses.insert(0, format!("no eBPF: {reason}"));
        }
        losses
    }
}

/// Opens the source.
///
/// # Errors
/// If eBPF is wanted and cannot be had: one sentence why.
pub fn open(wanted: Wanted, sizes: Sizes) -> Result<Source> {
    let dumps = Dumps::of_this_kernel();
    let needs = needs::all();
    for loss in needs.iter().filter_map(Need::loss) {
        warn!("{loss}");
    }
    let reason = match (wanted, dumps) {
        // Events carry cookies, which the files do not have.
        (Wanted::Ebpf, Dumps::Procfs) => bail!("{}", Dumps::WITHOUT_NETLINK),
        (_, Dumps::Procfs) => Dumps::WITHOUT_NETLINK.to_owned(),
        (Wanted::Sockdiag, _) => "--source sockdiag asks for it".to_owned(),
        (Wanted::Auto | Wanted::Ebpf, _) => match Kernel::start(sizes) {
            Ok(kernel) => {
                // What parsing the kernel's types took is not needed any more.
                memory::give_back();
                info!("events: eBPF programs attached");
                for lost in kernel.not_seen() {
                    warn!("not seen: {lost}");
                }
                if let Some(error) = kernel.iterator_error() {
                    warn!("holders of sockets are looked up in /proc, which is slower: {error}");
                }
                return Ok(Source { tier: Tier::Events, reason: None, kernel: Some(kernel), dumps, needs });
            }
            Err(error) if wanted == Wanted::Ebpf => bail!("{error}"),
            Err(error) => error.to_string(),
        },
    };
    warn!("dumps only, of sockets and from /proc: {reason}");
    for blind in Tier::DumpsOnly.blind_spots() {
        warn!("not seen: {blind}");
    }
    Ok(Source { tier: Tier::DumpsOnly, reason: Some(reason), kernel: None, dumps, needs })
}
