//! The kernel side's counters, mapped into this process: reading them takes no system call, so that everybody may ask at
//! any time.

use std::{os::fd::BorrowedFd, ptr};

use tcpstate_common::{Counters, PerCpu, state::STATE_SLOTS};

use super::mapping::Mapping;

/// Counters in one copy, each a `u64`.
const WORDS: usize = size_of::<Counters>() / size_of::<u64>();
/// Those of them that count changes of state.
const TRANSITIONS: usize = 2 * STATE_SLOTS * STATE_SLOTS;

/// The counters, a copy for each CPU.
#[derive(Debug)]
pub struct CpuCounters(Mapping<PerCpu>);

impl CpuCounters {
    /// Maps the counters of `cpus` CPUs behind the descriptor of their map.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn map(fd: BorrowedFd<'_>, cpus: usize) -> std::io::Result<Self> {
        Ok(Self(Mapping::to_read(fd, cpus)?))
    }

    /// The counters at this moment, summed over all CPUs.
    #[must_use]
    pub fn read(&self) -> Counters {
        let mut words = [0_u64; WORDS];
        for copy in self.copies() {
            for (place, sum) in words.iter_mut().enumerate() {
                // SAFETY: within the copy. A CPU writes it meanwhile, each counter in one step.
                *sum = sum.wrapping_add(unsafe { copy.cast::<u64>().add(place).read_volatile() });
            }
        }
        // SAFETY: counters are nothing but such words.
        unsafe { ptr::from_ref(&words).cast::<Counters>().read() }
    }

    /// How many changes of state there have been, and reports that were none. Of many CPUs' counters this reads half:
    /// it is for whoever asks all the time.
    #[must_use]
    pub fn reports(&self) -> u64 {
        let changes = |copy: *const Counters| {
            // SAFETY: within the copy.
            let first = unsafe { &raw const (*copy).transitions }.cast::<u64>();
            (0..TRANSITIONS).map(move |place| {
                // SAFETY: as above. A CPU writes it meanwhile, in one step.
                unsafe { first.add(place).read_volatile() }
            })
        };
        // SAFETY: as above.
        let ignored = |copy: *const Counters| unsafe { (&raw const (*copy).ignored).read_volatile() };
        self.copies().map(|copy| changes(copy).sum::<u64>() + ignored(copy)).sum()
    }

    fn copies(&self) -> impl Iterator<Item = *const Counters> {
        (0..self.0.len()).flat_map(|cpu| {
            let cpu = self.0.at(cpu);
            // SAFETY: within the mapping.
            unsafe { [&raw const (*cpu).plain, &raw const (*cpu).nested] }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write, os::fd::AsFd};

    use super::*;

    #[test]
    fn reports_are_all_changes_on_all_cpus_and_what_was_ignored() {
        const CPUS: usize = 3;
        let mut file = File::from(
            rustix::fs::memfd_create("counters", rustix::fs::MemfdFlags::empty()).expect("a file"),
        );
        // Every word is another number, so that one too many or too few shows.
        for word in 0..(CPUS * size_of::<PerCpu>() / size_of::<u64>()) as u64 {
            file.write_all(&(word * word).to_ne_bytes()).expect("room");
        }
        let counters = CpuCounters::map(file.as_fd(), CPUS).expect("a mapping");
        let all = counters.read();
        assert_eq!(counters.reports(), all.transitions_total() + all.ignored);
    }
}
