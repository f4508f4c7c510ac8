//! The kernels that are booted, and what the daemon must be able to do on each.

use crate::setup::Suite;

/// One kernel of Debian.
pub(crate) struct Kernel {
    /// As Debian names it.
    pub(crate) version: &'static str,
    /// The suite that offers it.
    pub(crate) suite: Suite,
    flavour: &'static str,
    packaging: Packaging,
    pub(super) source: Source,
    /// Whether it gives a reason for each RST that it sends (from 6.10 on).
    pub(super) has_reset_reasons: bool,
    /// Whether `--quick` boots it.
    pub(super) is_quick: bool,
}

/// How Debian packs a kernel.
#[derive(Clone, Copy)]
enum Packaging {
    /// Everything in one package.
    One,
    /// The image and the modules apart (from 7.0 on).
    Two,
}

/// Where the daemon's knowledge comes from on a kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Events, with socket dumps beside.
    Events,
    /// Socket dumps alone: the kernel lacks something that the eBPF programs need.
    DumpsOnly,
}

const CLOUD: &str = "cloud-amd64";

/// From the oldest to the newest.
pub(super) const KERNELS: [Kernel; 7] = [
    Kernel {
        version: "5.10.0-46",
        suite: "bullseye-security",
        flavour: CLOUD,
        packaging: Packaging::One,
        source: Source::DumpsOnly,
        has_reset_reasons: false,
        is_quick: true,
    },
    Kernel {
        version: "6.1.0-56",
        suite: "bookworm-security",
        flavour: CLOUD,
        packaging: Packaging::One,
        source: Source::Events,
        has_reset_reasons: false,
        is_quick: true,
    },
    Kernel {
        version: "6.12.117+deb13",
        suite: "trixie",
        flavour: CLOUD,
        packaging: Packaging::One,
        source: Source::Events,
        has_reset_reasons: true,
        is_quick: true,
    },
    Kernel {
        version: "6.16.12+deb13",
        suite: "trixie-backports",
        flavour: CLOUD,
        packaging: Packaging::One,
        source: Source::Events,
        has_reset_reasons: true,
        is_quick: false,
    },
    Kernel {
        version: "7.2.13+deb14",
        suite: "sid",
        flavour: CLOUD,
        packaging: Packaging::Two,
        source: Source::Events,
        has_reset_reasons: true,
        is_quick: false,
    },
    Kernel {
        version: "7.3.4+deb13",
        suite: "trixie-backports",
        flavour: CLOUD,
        packaging: Packaging::Two,
        source: Source::Events,
        has_reset_reasons: true,
        is_quick: true,
    },
    Kernel {
        version: "7.3.4+deb13-rt",
        suite: "trixie-backports",
        flavour: "amd64",
        packaging: Packaging::Two,
        source: Source::Events,
        has_reset_reasons: true,
        is_quick: false,
    },
];

impl Kernel {
    /// What `uname -r` says.
    pub(crate) fn release(&self) -> String {
        format!("{}-{}", self.version, self.flavour)
    }

    /// The packages that hold its image and its modules.
    pub(crate) fn packages(&self) -> Vec<String> {
        let parts: &[&str] = match self.packaging {
            Packaging::One => &["image"],
            Packaging::Two => &["binary", "modules"],
        };
        parts.iter().map(|part| format!("linux-{part}-{}", self.release())).collect()
    }
}

/// The suites of all kernels, each once.
pub(super) fn suites() -> Vec<Suite> {
    let mut suites: Vec<_> = KERNELS.iter().map(|kernel| kernel.suite).collect();
    suites.sort_unstable();
    suites.dedup();
    suites
}

#[cfg(test)]
mod tests {
    use super::{KERNELS, suites};

    #[test]
    fn packages_are_named_as_debian_does() {
        let of = |version: &str| KERNELS.iter().find(|it| it.version == version).unwrap().packages();
        assert_eq!(of("6.1.0-56"), ["linux-image-6.1.0-56-cloud-amd64"]);
        let rt = ["linux-binary-7.3.4+deb13-rt-amd64", "linux-modules-7.3.4+deb13-rt-amd64"];
        assert_eq!(of("7.3.4+deb13-rt"), rt);
    }

    #[test]
    fn each_suite_is_asked_once() {
        let suites = suites();
        assert_eq!(suites.len(), 5, "{suites:?}");
    }
}
