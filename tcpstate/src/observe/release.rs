//! The kernel's release, for what no other sign tells.

/// The running kernel's release, as `uname -r` says it.
#[must_use]
pub fn running() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Whether a task may be preempted inside a program at a tracepoint. From 7.2 on the kernel protects tracepoints by SRCU
/// instead of by switching preemption off (`__DECLARE_TRACE` in `include/linux/tracepoint.h`). A release that cannot be
/// read is taken for a new one: on an old one, that costs a little time and nothing else.
#[must_use]
pub fn preempts_programs(release: &str) -> bool {
    version(release).is_none_or(|version| version >= (7, 2))
}

/// The first two numbers.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_preempted_from_7_2_on() {
        for old in ["5.10.0-46-cloud-amd64", "6.1.0-56-amd64", "6.18.2", "7.0.0", "7.1.9+deb14-rt-amd64"] {
            assert!(!preempts_programs(old), "{old}");
        }
        for new in ["7.2.0-rc1", "7.2.13+deb14-cloud-amd64", "7.3.4+deb13-rt-amd64", "8.0", "10.1.2"] {
            assert!(preempts_programs(new), "{new}");
        }
        assert!(preempts_programs("unheard of"));
    }

    #[test]
    fn running_kernel_has_a_version() {
        assert!(version(&running()).is_some_and(|version| version > (4, 0)), "{}", running());
    }
}
