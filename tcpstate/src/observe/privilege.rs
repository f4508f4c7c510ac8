//! What this process may do.

use std::fmt;

use rustix::thread::{CapabilitySet, capabilities};

/// A capability that a feature needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Capability {
    Bpf,
    Perfmon,
    SysPtrace,
    DacReadSearch,
    SysAdmin,
}

impl Capability {
    /// All that any feature needs.
    pub const ALL: [Self; 5] =
        [Self::Bpf, Self::Perfmon, Self::SysPtrace, Self::DacReadSearch, Self::SysAdmin];

    /// What it is needed for.
    #[must_use]
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Bpf => "to load eBPF programs and maps",
            Self::Perfmon => "to attach eBPF programs to tracepoints",
            Self::SysPtrace => "to see other users' open files and network namespaces",
            Self::DacReadSearch => "to read other users' /proc/PID/fd",
            Self::SysAdmin => "to dump the sockets of other network namespaces",
        }
    }

    fn bit(self) -> CapabilitySet {
        match self {
            Self::Bpf => CapabilitySet::BPF,
            Self::Perfmon => CapabilitySet::PERFMON,
            Self::SysPtrace => CapabilitySet::SYS_PTRACE,
            Self::DacReadSearch => CapabilitySet::DAC_READ_SEARCH,
            Self::SysAdmin => CapabilitySet::SYS_ADMIN,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::SysAdmin => "CAP_SYS_ADMIN",
        })
    }
}

/// The capabilities in effect.
#[derive(Clone, Copy, Debug)]
pub struct Privileges(CapabilitySet);

impl Privileges {
    /// Those of this thread; none if the kernel does not say.
    #[must_use]
    pub fn current() -> Self {
        Self(capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective))
    }

    /// Whether a capability is in effect. `CAP_SYS_ADMIN` includes BPF and PERFMON (capabilities(7)).
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        let implied = matches!(capability, Capability::Bpf | Capability::Perfmon)
            && self.0.contains(CapabilitySet::SYS_ADMIN);
        implied || self.0.contains(capability.bit())
    }
}
