//! The tapes on which the kernel side writes every transition while somebody watches, one for each CPU, mapped into
//! this process: nobody waits for a lock there, and reading takes no system call.

use std::{
    os::fd::BorrowedFd,
    sync::atomic::{Ordering, fence},
};

use tcpstate_common::{Brief, TapeEnd, wire::brief::IPV6};

use super::mapping::Mapping;

/// Places that are given back together: each time the kernel side has to fetch anew how far it may write.
const PORTION: u64 = 4096;

/// The tapes.
#[derive(Debug)]
pub struct Tapes {
    tape: Mapping<Brief>,
    ends: Mapping<TapeEnd>,
    /// Places on each tape: a power of two.
    places: usize,
}

/// What is still to be read of a tape.
#[derive(Clone, Copy, Debug)]
struct Rest {
    /// The time of its first event.
    time_ns: u64,
    cpu: usize,
    read: u64,
    /// Up to where the kernel side may write again.
    given_back: u64,
    written: u64,
}

impl Tapes {
    /// Maps the tapes of `cpus` CPUs, of `places` events each (a power of two), behind the descriptors of their maps.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn map(
        tape: BorrowedFd<'_>,
        ends: BorrowedFd<'_>,
        cpus: usize,
        places: usize,
    ) -> std::io::Result<Self> {
        let tape = Mapping::to_read(tape, cpus * places)?;
        Ok(Self { tape, ends: Mapping::to_write(ends, cpus)?, places })
    }

    /// Calls `each` with every event that happened until then, monotonic ns, in the order of time; the flag says that
    /// it is the second part of the one before.
    // By itself its loop stays in registers.
    #[inline(never)]
    pub fn read(&mut self, until_ns: u64, mut each: impl FnMut(&Brief, bool)) {
        let rests = (0..self.ends.len()).filter_map(|cpu| self.rest(cpu));
        let mut rests: Vec<_> = rests.filter(|rest| rest.time_ns <= until_ns).collect();
        rests.sort_unstable_by_key(|rest| rest.time_ns);
        let mut first = 0;
        while let Some((rest, others)) = rests.get_mut(first..).and_then(<[_]>::split_first_mut) {
            // This tape goes on until another one has something older.
            let turn_ns = others.first().map_or(until_ns, |next| next.time_ns);
            self.read_one(rest, turn_ns, &mut each);
            let goes_on = rest.read < rest.written && rest.time_ns <= until_ns;
            if !goes_on || rest.read - rest.given_back >= PORTION {
                self.give_back(rest);
            }
            if goes_on {
                let earlier = others.partition_point(|other| other.time_ns < rest.time_ns);
                rests[first..=first + earlier].rotate_left(1);
            } else {
                first += 1;
            }
        }
    }

    /// Forgets what has not been read.
    pub fn skip(&mut self) {
        self.read(u64::MAX, |_, _| ());
    }

    /// What there is to read of a tape now.
    fn rest(&self, cpu: usize) -> Option<Rest> {
        let end = self.ends.at(cpu);
        // SAFETY: within the mapping. The kernel side writes `written` after what it counts.
        let (written, read) = unsafe { ((&raw const (*end).written).read_volatile(), (*end).read) };
        fence(Ordering::Acquire);
        (read != written).then(|| Rest {
            time_ns: self.at(cpu, read).time_ns,
            cpu,
            read,
            given_back: read,
            written,
        })
    }

    /// Reads a tape until then.
    fn read_one(&self, rest: &mut Rest, until_ns: u64, each: &mut impl FnMut(&Brief, bool)) {
        while rest.read < rest.written {
            let event = self.at(rest.cpu, rest.read);
            rest.time_ns = event.time_ns;
            if event.time_ns > until_ns {
                break;
            }
            each(event, false);
            rest.read += 1;
            if event.flags & IPV6 != 0 {
                each(self.at(rest.cpu, rest.read), true);
                rest.read += 1;
            }
        }
    }

    /// What has been read of a tape may be written again.
    fn give_back(&self, rest: &mut Rest) {
        rest.given_back = rest.read;
        fence(Ordering::Release);
        // SAFETY: within the mapping, and nobody else writes it.
        unsafe { (&raw mut (*self.ends.at(rest.cpu)).read).write_volatile(rest.read) };
    }

    fn at(&self, cpu: usize, number: u64) -> &Brief {
        let place = usize::try_from(number).unwrap_or(usize::MAX) & (self.places - 1);
        // SAFETY: within the mapping; the kernel side writes no place again before it has been read.
        unsafe { &*self.tape.at(cpu * self.places + place) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::fd::AsFd;

    use super::{super::mapping::file_of, *};

    impl Tapes {
        /// One tape, on which events of these times have been written.
        pub(crate) fn of(times_ns: &[u64]) -> Self {
            let mut tape: Vec<_> = times_ns.iter().map(|time_ns| event(*time_ns, 0)).collect();
            tape.resize(16, event(0, 0));
            let (tape, ends) = (file_of(&tape), file_of(&[end(0, times_ns.len() as u64)]));
            Self::map(tape.as_fd(), ends.as_fd(), 1, 16).expect("mapped")
        }
    }

    fn event(time_ns: u64, flags: u8) -> Brief {
        Brief {
            time_ns,
            cookie: 0,
            entered_ns: 0,
            netns: 0,
            pid: 0,
            comm: [0; 16],
            addresses: [[0; 4]; 2],
            sport: 0,
            dport: 0,
            kind: 0,
            states: 0,
            flags,
            code: 0,
        }
    }

    fn end(read: u64, written: u64) -> TapeEnd {
        TapeEnd { written, pad: [0; 7], read, pad_after: [0; 7] }
    }

    fn read(tapes: &mut Tapes, until_ns: u64) -> Vec<(u64, bool)> {
        let mut all = Vec::new();
        tapes.read(until_ns, |event, second| all.push((event.time_ns, second)));
        all
    }

    #[test]
    fn tapes_are_read_in_the_order_of_time_and_round_their_ends() {
        // The first tape has gone round; the second has an event of two parts.
        let tape = [
            event(30, 0),
            event(90, 0),
            event(5, 0),
            event(20, 0),
            event(10, 0),
            event(25, IPV6),
            event(0, 0),
            event(40, 0),
        ];
        let ends = [end(2, 6), end(0, 4)];
        let (tape, ends) = (file_of(&tape), file_of(&ends));
        let mut tapes = Tapes::map(tape.as_fd(), ends.as_fd(), 2, 4).expect("mapped");
        assert_eq!(
            read(&mut tapes, 30),
            [(5, false), (10, false), (20, false), (25, false), (0, true), (30, false)]
        );
        assert_eq!(read(&mut tapes, 89), [(40, false)]);
        assert_eq!(read(&mut tapes, 90), [(90, false)]);
        assert_eq!(read(&mut tapes, u64::MAX), []);
        // SAFETY: within the mapping, which nobody else has.
        let given_back = [0, 1].map(|cpu| unsafe { (*tapes.ends.at(cpu)).read });
        assert_eq!(given_back, [6, 4], "all may be written again");
    }
}
