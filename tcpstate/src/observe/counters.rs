//! The kernel side's counters, mapped into this process: reading them takes no system call, so that everybody may ask at
//! any time.

use std::{mem::offset_of, ops::Range, os::fd::BorrowedFd, ptr};

use tcpstate_common::{Counters, PerCpu, state::STATE_SLOTS, wire::COPIES};

use super::mapping::Mapping;

/// Counters in one copy, each a `u64`.
const WORDS: usize = size_of::<Counters>() / size_of::<u64>();
/// The places of those that count changes of state.
const TRANSITIONS: Range<usize> = {
    let first = offset_of!(Counters, transitions) / size_of::<u64>();
    first..first + 2 * STATE_SLOTS * STATE_SLOTS
};
/// The place of what counts reports that were none.
const IGNORED: usize = offset_of!(Counters, ignored) / size_of::<u64>();

/// The place of what counts events that another program had missed.
const RESCUED: usize = offset_of!(Counters, rescued) / size_of::<u64>();

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
                *sum = sum.wrapping_add(copy.word(place));
            }
        }
        // SAFETY: counters are nothing but such words.
        unsafe { ptr::from_ref(&words).cast::<Counters>().read() }
    }

    /// How many changes of state there have been, and reports that were none. Of many CPUs' counters this reads half:
    /// it is for whoever asks all the time.
    #[must_use]
    pub fn reports(&self) -> u64 {
        let places = TRANSITIONS.chain([IGNORED]);
        self.copies().flat_map(|copy| places.clone().map(move |place| copy.word(place))).sum()
    }

    /// How many events programs took that those before them had missed.
    #[must_use]
    pub fn rescued(&self) -> u64 {
        self.copies().map(|copy| copy.word(RESCUED)).sum()
    }

    fn copies(&self) -> impl Iterator<Item = Words> {
        (0..self.0.len()).flat_map(|cpu| {
            let cpu = self.0.at(cpu);
            // SAFETY: within the mapping.
            let sets = unsafe { (&raw const (*cpu).sets).cast::<Counters>() };
            // SAFETY: as above.
            (0..COPIES).map(move |copy| Words(unsafe { sets.add(copy) }.cast()))
        })
    }
}

/// One copy, as its words.
struct Words(*const u64);

impl Words {
    fn word(&self, place: usize) -> u64 {
        assert!(place < WORDS, "counter {place} of {WORDS}");
        // SAFETY: within the copy. A CPU writes it meanwhile, each counter in one step.
        unsafe { self.0.add(place).read_volatile() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::{super::mapping::file_of, *};

    #[test]
    fn reports_are_all_changes_on_all_cpus_and_what_was_ignored() {
        const CPUS: usize = 3;
        // Every word is another number, so that one too many or too few shows.
        let words = CPUS * size_of::<PerCpu>() / size_of::<u64>();
        let file = file_of(&(0..words as u64).map(|word| word * word).collect::<Vec<_>>());
        let counters = CpuCounters::map(file.as_fd(), CPUS).expect("a mapping");
        let all = counters.read();
        assert_eq!(counters.reports(), all.transitions_total() + all.ignored);
        assert_eq!(counters.rescued(), all.rescued);
    }
}
