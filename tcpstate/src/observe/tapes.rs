//! The tapes on which the kernel side writes every transition while somebody watches, one for each CPU, mapped into
//! this process: nobody waits for a lock there, and reading takes no system call.

use std::{
    os::fd::BorrowedFd,
    sync::atomic::{Ordering, fence},
};

use tcpstate_common::{Event, TapeEnd};

use super::mapping::Mapping;

/// The tapes.
#[derive(Debug)]
pub struct Tapes {
    events: Mapping<Event>,
    ends: Mapping<TapeEnd>,
    /// Places on each tape: a power of two.
    places: usize,
}

impl Tapes {
    /// Maps the tapes of `cpus` CPUs, of `places` events each (a power of two), behind the descriptors of their maps.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn map(
        events: BorrowedFd<'_>,
        ends: BorrowedFd<'_>,
        cpus: usize,
        places: usize,
    ) -> std::io::Result<Self> {
        let events = Mapping::to_read(events, cpus * places)?;
        Ok(Self { events, ends: Mapping::to_write(ends, cpus)?, places })
    }

    /// Calls `each` with what has been written and not been read yet, tape after tape. Returns how many there were.
    pub fn read(&mut self, mut each: impl FnMut(&Event)) -> u64 {
        let mut all = 0;
        for cpu in 0..self.ends.len() {
            let end = self.ends.at(cpu);
            // SAFETY: within the mapping. The kernel side writes `written` after the events that it counts, and
            // writes no place again before `read` says that it has been read.
            unsafe {
                let written = (&raw const (*end).written).read_volatile();
                fence(Ordering::Acquire);
                let read = (*end).read;
                for number in read..written {
                    each(&*self.events.at(cpu * self.places + self.place(number)));
                }
                fence(Ordering::Release);
                (&raw mut (*end).read).write_volatile(written);
                all += written.wrapping_sub(read);
            }
        }
        all
    }

    fn place(&self, number: u64) -> usize {
        usize::try_from(number).unwrap_or(usize::MAX) & (self.places - 1)
    }
}
