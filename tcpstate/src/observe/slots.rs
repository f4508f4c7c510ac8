//! The kernel side's table of sockets that park, mapped into this process: nothing is copied, and no system call
//! is made, to see what is in it.

use std::{
    os::fd::BorrowedFd,
    sync::atomic::{Ordering, fence},
};

use tcpstate_common::{
    Slot, TcpState,
    wire::slot::{BATCH, BUSY, FREE, GRACE_NS, KEPT_NS, MINI_FIN_WAIT2, cookie, stamp, state},
};

use super::{decode, mapping::Mapping};
use crate::track::{Comm, Note, Process};

/// How much earlier than the last look a place may have been written and still be read again: the kernel side's
/// clock is up to a tick (10 ms at most) behind, and a program can be held up before it writes.
const OVERLAP_NS: u64 = 200_000_000;

/// Places that are looked at together.
const SEGMENT: usize = 2048;

/// Places at least: 6 MiB.
pub const FEWEST: u32 = 1 << 17;
/// Places at most: 48 MiB.
const MOST: u32 = 1 << 20;

/// A stamp that is older than this may look like a new one, ns: half of the time in which stamps go round.
const STAMPS_NS: u64 = 1 << 51;

/// Places for a host with this number of CPUs. Each hands out cookies of a batch of its own, and those that are handed out now
/// must not fall on each other: places for twice as many batches as there are CPUs.
#[must_use]
pub fn places_for(cpus: usize) -> u32 {
    let wanted = u32::try_from(cpus).unwrap_or(u32::MAX).saturating_mul(2 * BATCH);
    wanted.clamp(FEWEST, MOST).next_power_of_two()
}

/// The same for this host.
#[must_use]
pub fn places_here() -> u32 {
    places_for(aya::util::online_cpus().map_or(1, |cpus| cpus.len()))
}

/// What they take of memory beyond what they take on a small host, bytes.
#[must_use]
pub fn extra_bytes(places: u32) -> u64 {
    u64::from(places.saturating_sub(FEWEST)) * size_of::<Slot>() as u64
}

/// The table.
#[derive(Debug)]
pub struct Slots {
    table: Mapping<Slot>,
    /// When each segment was looked at last, monotonic ns; `None` for never.
    looked_ns: Vec<Option<u64>>,
    /// The segment that is looked at next.
    next: usize,
}

impl Slots {
    /// Maps the table of `places` slots behind a descriptor.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn map(fd: BorrowedFd<'_>, places: usize) -> std::io::Result<Self> {
        let looked_ns = vec![None; places.div_ceil(SEGMENT)];
        Ok(Self { table: Mapping::to_read(fd, places)?, looked_ns, next: 0 })
    }

    /// How many sockets it has room for.
    #[must_use]
    pub fn places(&self) -> usize {
        self.table.len()
    }

    /// Calls `each` with what has been written since the last look, and with some of what was written shortly
    /// before.
    pub fn look(&mut self, now_ns: u64, mut each: impl FnMut(Note)) {
        for segment in 0..self.looked_ns.len() {
            self.look_at(segment, now_ns, &mut each);
        }
    }

    /// The same for the part of the table that has not been looked at for longest: as many segments as `places` fill.
    /// Returns how many places those are.
    pub fn look_on(&mut self, now_ns: u64, places: usize, mut each: impl FnMut(Note)) -> usize {
        let segments = (places / SEGMENT).min(self.looked_ns.len());
        for _ in 0..segments {
            self.look_at(self.next, now_ns, &mut each);
            self.next = (self.next + 1) % self.looked_ns.len();
        }
        segments * SEGMENT
    }

    fn look_at(&mut self, segment: usize, now_ns: u64, each: &mut impl FnMut(Note)) {
        let since_ns = self.looked_ns[segment].replace(now_ns).map(|ns| ns.saturating_sub(OVERLAP_NS));
        for place in segment * SEGMENT..((segment + 1) * SEGMENT).min(self.table.len()) {
            if let Some(slot) = self.read(place, since_ns, now_ns)
                && let Some(note) = note(&slot, now_ns)
            {
                each(note);
            }
        }
    }

    /// Reads one place; `None` when nothing is there that was written since then, or when it is being written.
    fn read(&self, place: usize, since_ns: Option<u64>, now_ns: u64) -> Option<Slot> {
        // SAFETY: within the mapping. The kernel side writes it meanwhile, so every word is read once, and the tag
        // before and after all the others. The words are those of a slot.
        unsafe {
            let slot = self.table.at(place);
            let tag = (&raw const (*slot).tag).read_volatile();
            if tag == FREE || tag == BUSY {
                return None;
            }
            fence(Ordering::Acquire);
            // Stamps go round: what looks like the future is the past, as long as nothing is older than half of them.
            let since = since_ns.filter(|since_ns| now_ns.saturating_sub(*since_ns) < STAMPS_NS).map(stamp);
            let written = (&raw const (*slot).stamp).read_volatile();
            if since.is_some_and(|since| written.wrapping_sub(since) > u32::MAX / 2) {
                return None;
            }
            // In words, since volatile bytes are read one by one.
            let words = slot.cast::<[u64; size_of::<Slot>() / 8]>().read_volatile();
            fence(Ordering::Acquire);
            let read: Slot = std::mem::transmute(words);
            // What is kept longer than stamps take to go round has been read before: it is written a little after its time
            // at the latest.
            let written_ns = read.entered_ns.saturating_add(KEPT_NS + GRACE_NS);
            let is_new = since_ns.is_none_or(|since_ns| written_ns >= since_ns);
            (is_new && (&raw const (*slot).tag).read_volatile() == tag && read.tag == tag).then_some(read)
        }
    }
}

/// What a place says; `None` for a socket that the kernel side does not keep up to date there any more.
pub(crate) fn note(slot: &Slot, now_ns: u64) -> Option<Note> {
    let (state, mini) = match state(slot.tag) {
        MINI_FIN_WAIT2 => (TcpState::FinWait2, true),
        number => {
            let state = TcpState::try_from(number).ok()?;
            (state, state == TcpState::TimeWait)
        }
    };
    // Who is open stays so without having to be kept up to date.
    if !mini && state != TcpState::Established && now_ns.saturating_sub(slot.entered_ns) >= KEPT_NS {
        return None;
    }
    Some(Note {
        cookie: cookie(slot.tag),
        state,
        mini,
        entered_ns: slot.entered_ns,
        written_ns: now_ns.saturating_sub(u64::from(stamp(now_ns).wrapping_sub(slot.stamp)) << 20),
        actor: (slot.pid != 0).then_some(Process { pid: slot.pid, comm: Comm(slot.comm) }),
        opened: decode::opened(slot.opened),
    })
}

#[cfg(test)]
mod tests {
    use tcpstate_common::wire::slot::tag;

    use super::{super::mapping::file_of, *};

    const S: u64 = 1_000_000_000;

    fn slot(state: u8, entered_ns: u64) -> Slot {
        Slot { tag: tag(7, state), entered_ns, opened: 0, pid: 0, stamp: stamp(entered_ns), comm: [0; 16] }
    }

    fn table(slots: &[Slot]) -> Slots {
        let file = file_of(slots);
        Slots::map(std::os::fd::AsFd::as_fd(&file), slots.len()).expect("mapped")
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
        let mut table = table(&[slot(8, 100 * S), slot(6, 101 * S), Slot { tag: FREE, ..slot(8, 101 * S) }]);
        let mut cookies = |now_ns| {
            let mut states = Vec::new();
            table.look(now_ns, |note| states.push(note.state));
            states
        };
        assert_eq!(cookies(102 * S), [TcpState::CloseWait, TcpState::TimeWait]);
        assert!(cookies(103 * S).is_empty());
    }

    /// Days since the host was booted, ns.
    const DAY: u64 = 86_400 * S;

    #[test]
    fn the_first_look_reads_everything_at_any_uptime() {
        for days in [0, 1, 25, 27, 40, 51, 53, 80, 400] {
            let now_ns = days * DAY + 100 * S;
            let mut table = table(&[slot(8, now_ns - S)]);
            let mut notes = 0;
            table.look(now_ns, |_| notes += 1);
            assert_eq!(notes, 1, "{days} days");
        }
    }

    #[test]
    fn a_look_after_a_long_rest_reads_what_is_new() {
        let rested = 40 * DAY;
        let mut table = table(&[slot(8, rested + 9 * S)]);
        table.look(8 * S, |_| {});
        let mut notes = 0;
        table.look(rested + 10 * S, |_| notes += 1);
        assert_eq!(notes, 1);
    }

    #[test]
    fn time_wait_that_is_long_over_does_not_become_new_when_stamps_have_gone_round() {
        let mut table = table(&[slot(TcpState::TimeWait as u8, 100 * S)]);
        let mut now_ns = 101 * S;
        for _ in 0..120 {
            let mut notes = 0;
            table.look(now_ns, |_| notes += 1);
            assert_eq!(notes, usize::from(now_ns == 101 * S), "after {} days", now_ns / DAY);
            now_ns += DAY;
        }
    }

    #[test]
    fn cookie_that_was_made_while_another_was_made_is_read_whole() {
        for cookie in [1, 4096, 1 << 50, u64::MAX, u64::MAX - 12_345] {
            let slot = Slot { tag: tag(cookie, 8), ..slot(8, 100 * S) };
            assert_eq!(note(&slot, 101 * S).map(|note| note.cookie), Some(cookie));
        }
    }

    #[test]
    fn there_are_places_for_what_all_cpus_hand_out() {
        let places = [1, 16, 17, 32, 64, 4096].map(places_for);
        assert_eq!(places, [1 << 17, 1 << 17, 1 << 18, 1 << 18, 1 << 19, 1 << 20]);
    }

    #[test]
    fn a_look_goes_on_where_the_last_one_ended() {
        // One slot in each of three segments.
        let slots: Vec<_> = (0..3 * SEGMENT)
            .map(|place| Slot {
                tag: if place % SEGMENT == 5 { tag(place as u64, 8) } else { FREE },
                ..slot(8, 100 * S)
            })
            .collect();
        let mut table = table(&slots);
        let mut look_on = |places| {
            let mut cookies = Vec::new();
            let looked = table.look_on(101 * S, places, |note| cookies.push(note.cookie));
            (looked, cookies)
        };
        let cookie = |segment: usize| (segment * SEGMENT + 5) as u64;
        assert_eq!(look_on(SEGMENT - 1), (0, vec![]), "too little to look at");
        assert_eq!(look_on(2 * SEGMENT + 7), (2 * SEGMENT, vec![cookie(0), cookie(1)]));
        assert_eq!(look_on(100 * SEGMENT), (3 * SEGMENT, vec![cookie(2)]), "the others have been read");
    }
}
