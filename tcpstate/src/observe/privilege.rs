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

    /// The capability that allows the same and more: `CAP_SYS_ADMIN` includes BPF and PERFMON (capabilities(7)), and
    /// `CAP_DAC_OVERRIDE` passes whatever `CAP_DAC_READ_SEARCH` does (`generic_permission` in `fs/namei.c`).
    fn included_in(self) -> Option<CapabilitySet> {
        match self {
            Self::Bpf | Self::Perfmon => Some(CapabilitySet::SYS_ADMIN),
            Self::DacReadSearch => Some(CapabilitySet::DAC_OVERRIDE),
            Self::SysPtrace | Self::SysAdmin => None,
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

    /// Why a capability does not count for what it is needed for, as what follows its name; `None` if it does.
    #[must_use]
    pub fn refused(self, capability: Capability) -> Option<&'static str> {
        if !self.holds(capability) {
            Some("is missing")
        } else if capability.is_for_bpf() && !self.first_user_namespace {
            Some("is held in a user namespace that is not the first one, where it does not count")
        } else {
            None
        }
    }

    fn holds(self, capability: Capability) -> bool {
        self.effective.contains(capability.bit())
            || capability.included_in().is_some_and(|more| self.effective.contains(more))
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
            assert_eq!(here.refused(capability), None);
            let why = there.refused(capability).expect("it does not count");
            assert!(why.contains("user namespace that is not the first one"), "{why}");
        }
        assert_eq!([Capability::SysAdmin, Capability::SysPtrace].map(|held| there.refused(held)), [None; 2]);
        assert_eq!(there.refused(Capability::DacReadSearch), Some("is missing"));
    }

    #[test]
    fn capability_that_includes_another_does_for_it() {
        let effective = CapabilitySet::DAC_OVERRIDE;
        let privileges = Privileges { effective, first_user_namespace: true };
        assert_eq!(privileges.refused(Capability::DacReadSearch), None);
        assert_eq!(privileges.refused(Capability::Bpf), Some("is missing"));
    }
}
