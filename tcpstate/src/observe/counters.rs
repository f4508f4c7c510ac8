//! The kernel side's counters, mapped into this process: reading them takes no system call, so that everybody may ask at
//! any time.

use std::{os::fd::BorrowedFd, ptr};

use tcpstate_common::{Counters, PerCpu};

use super::mapping::Mapping;

/// Counters in one copy, each a `u64`.
const WORDS: usize = size_of::<Counters>() / size_of::<u64>();

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

    fn copies(&self) -> impl Iterator<Item = *const Counters> {
        (0..self.0.len()).flat_map(|cpu| {
            let cpu = self.0.at(cpu);
            // SAFETY: within the mapping.
            unsafe { [&raw const (*cpu).plain, &raw const (*cpu).nested] }
        })
    }
}
