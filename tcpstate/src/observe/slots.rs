//! The kernel side's table of sockets that park, mapped into this process: nothing is copied, and no system call
//! is made, to see what is in it.

use std::{
    os::fd::BorrowedFd,
    sync::atomic::{Ordering, fence},
};

use tcpstate_common::{
    Slot, TcpState,
    wire::slot::{BUSY, FREE, KEPT_NS, MINI_FIN_WAIT2, cookie, stamp, state},
};

use super::mapping::Mapping;
use crate::track::{Comm, Note, Process};

/// How much earlier than the last look a place may have been written and still be read again: the kernel side's
/// clock is up to a tick (10 ms at most) behind, and a program can be held up before it writes.
const OVERLAP_NS: u64 = 200_000_000;

/// The table.
#[derive(Debug)]
pub struct Slots {
    table: Mapping<Slot>,
    looked_ns: u64,
}

impl Slots {
    /// Maps the table of `places` slots behind a descriptor.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn map(fd: BorrowedFd<'_>, places: usize) -> std::io::Result<Self> {
        Ok(Self { table: Mapping::to_read(fd, places)?, looked_ns: 0 })
    }

    /// How many sockets it has room for.
    #[must_use]
    pub fn places(&self) -> usize {
        self.table.len()
    }

    /// Calls `each` with what has been written since the last look, and with some of what was written shortly
    /// before.
    pub fn look(&mut self, now_ns: u64, mut each: impl FnMut(Note)) {
        let since = stamp(self.looked_ns.saturating_sub(OVERLAP_NS));
        self.looked_ns = now_ns;
        for place in 0..self.table.len() {
            if let Some(slot) = self.read(place)
                // Stamps go round: what looks like the future is the past.
                && slot.stamp.wrapping_sub(since) <= u32::MAX / 2
                && let Some(note) = note(&slot, now_ns)
            {
                each(note);
            }
        }
    }

    /// Reads one place; `None` when nothing is there, or when it is being written.
    fn read(&self, place: usize) -> Option<Slot> {
        // SAFETY: within the mapping. The kernel side writes it meanwhile, so every word is read once, and the tag
        // before and after all the others.
        unsafe {
            let slot = self.table.at(place);
            let tag = (&raw const (*slot).tag).read_volatile();
            if tag == FREE || tag == BUSY {
                return None;
            }
            fence(Ordering::Acquire);
            let read = slot.read_volatile();
            fence(Ordering::Acquire);
            ((&raw const (*slot).tag).read_volatile() == tag && read.tag == tag).then_some(read)
        }
    }
}

/// What a place says; `None` for a socket that the kernel side does not keep up to date there any more.
fn note(slot: &Slot, now_ns: u64) -> Option<Note> {
    let (state, mini) = match state(slot.tag) {
        MINI_FIN_WAIT2 => (TcpState::FinWait2, true),
        number => {
            let state = TcpState::try_from(number).ok()?;
            (state, state == TcpState::TimeWait)
        }
    };
    if !mini && now_ns.saturating_sub(slot.entered_ns) >= KEPT_NS {
        return None;
    }
    Some(Note {
        cookie: cookie(slot.tag),
        state,
        mini,
        entered_ns: slot.entered_ns,
        written_ns: now_ns.saturating_sub(u64::from(stamp(now_ns).wrapping_sub(slot.stamp)) << 20),
        actor: (slot.pid != 0).then_some(Process { pid: slot.pid, comm: Comm(slot.comm) }),
    })
}

#[cfg(test)]
mod tests {
    use tcpstate_common::wire::slot::tag;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn slot(state: u8, entered_ns: u64) -> Slot {
        Slot { tag: tag(7, state), entered_ns, pid: 0, stamp: stamp(entered_ns), comm: [0; 16] }
    }

    #[test]
    fn what_the_kernel_side_has_handed_over_is_not_read_again() {
        let parked = slot(TcpState::CloseWait as u8, 100 * S);
        assert_eq!(note(&parked, 119 * S).map(|note| (note.cookie, note.mini)), Some((7, false)));
        assert_eq!(note(&parked, 120 * S), None);
        // A mini-socket's place stays true for as long as it is there.
        let mini = note(&slot(MINI_FIN_WAIT2, 100 * S), 140 * S).expect("a note");
        assert_eq!((mini.state, mini.mini, mini.entered_ns), (TcpState::FinWait2, true, 100 * S));
        assert!(note(&slot(TcpState::TimeWait as u8, 100 * S), 140 * S).is_some());
    }

    #[test]
    fn state_that_there_is_not_is_no_note() {
        assert_eq!(note(&slot(14, 100 * S), 101 * S), None);
    }

    #[test]
    fn a_look_reads_what_is_new_and_nothing_twice_for_long() {
        let file = rustix::fs::memfd_create("slots", rustix::fs::MemfdFlags::empty()).expect("a file");
        let file = std::fs::File::from(file);
        let slots = [slot(8, 100 * S), slot(6, 101 * S), Slot { tag: FREE, ..slot(8, 101 * S) }];
        let bytes: Vec<u8> = slots
            .iter()
            .flat_map(|slot| {
                // SAFETY: plain numbers without padding.
                unsafe {
                    std::slice::from_raw_parts(std::ptr::from_ref(slot).cast::<u8>(), size_of::<Slot>())
                }
                .to_vec()
            })
            .collect();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).expect("written");
        let mut table = Slots::map(std::os::fd::AsFd::as_fd(&file), 3).expect("mapped");
        let mut cookies = |now_ns| {
            let mut states = Vec::new();
            table.look(now_ns, |note| states.push(note.state));
            states
        };
        assert_eq!(cookies(102 * S), [TcpState::CloseWait, TcpState::TimeWait]);
        assert!(cookies(103 * S).is_empty());
    }
}
