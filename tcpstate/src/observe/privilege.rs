//! What this process may do.

use std::{fmt, fs};

use rustix::thread::{CapabilitySet, capabilities};

/// `PROC_USER_INIT_INO` (`include/linux/proc_ns.h`).
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

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

    fn is_for_bpf(self) -> bool {
        matches!(self, Self::Bpf | Self::Perfmon)
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
pub struct Privileges {
    effective: CapabilitySet,
    /// Whether they hold in the first user namespace. Those of another one do not count for eBPF (`bpf_capable` and
    /// `perfmon_capable` in `include/linux/capability.h`).
    first_user_namespace: bool,
}

impl Privileges {
    /// Those of this thread; none if the kernel does not say.
    #[must_use]
    pub fn current() -> Self {
        let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        // Where it cannot be read, the kernel will refuse what it does not allow.
        let link = fs::read_link("/proc/thread-self/ns/user");
        let first_user_namespace = link.map_or(true, |link| link.as_os_str() == FIRST_USER_NAMESPACE);
        Self { effective, first_user_namespace }
    }

    /// Whether a capability counts for what it is needed for. `CAP_SYS_ADMIN` includes BPF and PERFMON (capabilities(7)).
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        self.holds(capability) && !self.is_in_vain(capability)
    }

    /// Whether a capability is held, and does not count because the user namespace is not the first one.
    #[must_use]
    pub fn is_in_vain(self, capability: Capability) -> bool {
        capability.is_for_bpf() && !self.first_user_namespace && self.holds(capability)
    }

    fn holds(self, capability: Capability) -> bool {
        let implied = capability.is_for_bpf() && self.effective.contains(CapabilitySet::SYS_ADMIN);
        implied || self.effective.contains(capability.bit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_another_user_namespace_do_not_count_for_ebpf() {
        let effective = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE;
        let there = Privileges { effective, first_user_namespace: false };
        let here = Privileges { effective, first_user_namespace: true };
        for capability in [Capability::Bpf, Capability::Perfmon] {
            assert!(here.has(capability) && !here.is_in_vain(capability));
            assert!(!there.has(capability) && there.is_in_vain(capability));
        }
        assert!(there.has(Capability::SysAdmin) && there.has(Capability::SysPtrace));
        assert!(!there.has(Capability::DacReadSearch) && !there.is_in_vain(Capability::DacReadSearch));
    }
}
