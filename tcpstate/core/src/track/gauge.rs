//! How many sockets are in each state now. The kernel's counters say exactly who entered and left a state
//! since the programs were attached; a census says how many there were before. What neither sees (a
//! mini-socket's end, a request socket) is as of the last census, and the result says so.

use tcpstate_common::{Counters, TcpState, state::STATE_SLOTS};

use super::{
    census::Tally,
    event::Family,
    minis::{Minis, Share, divide},
};

const LISTEN: usize = TcpState::Listen.index();
const SYN_RECV: usize = TcpState::SynRecv.index();
const FIN_WAIT2: usize = TcpState::FinWait2.index();
const TIME_WAIT: usize = TcpState::TimeWait.index();
/// The states in which there are mini-sockets.
const MINIS: [usize; 2] = [FIN_WAIT2, TIME_WAIT];

/// Sockets by family and state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SocketCounts {
    counts: [[u64; STATE_SLOTS]; 2],
    /// Whether every state but `TIME_WAIT`, `SYN_RECV` and mini-sockets in `FIN_WAIT2` is exact.
    pub exact: bool,
}

impl SocketCounts {
    /// The number for one family and state.
    #[must_use]
    pub fn get(&self, family: Family, state: TcpState) -> u64 {
        self.counts[family.index()][state.index()]
    }
}

/// Who entered and left each state, by full sockets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Moves {
    entered: [u64; STATE_SLOTS],
    left: [u64; STATE_SLOTS],
    /// Mini-sockets made, by state.
    minis: [u64; STATE_SLOTS],
}

impl Moves {
    fn of(counters: &Counters, family: usize) -> Self {
        let mut moves = Self::default();
        for (old, row) in counters.transitions[family].iter().enumerate() {
            for (new, count) in row.iter().enumerate() {
                let mini = new == TIME_WAIT || (old == FIN_WAIT2 && new == FIN_WAIT2);
                if mini {
                    moves.minis[new] += count;
                } else {
                    moves.entered[new] += count;
                }
                // LISTEN to SYN_RECV is the birth of a child; the listener stays where it is.
                if (old, new) != (LISTEN, SYN_RECV) {
                    moves.left[old] += count;
                }
            }
        }
        for (minis, none) in moves.minis.iter_mut().zip(&counters.taken_back[family]) {
            *minis = minis.saturating_sub(*none);
        }
        moves
    }

    fn net(&self, state: usize) -> i64 {
        self.entered[state].cast_signed().wrapping_sub(self.left[state].cast_signed())
    }
}

/// One family's state between two censuses.
#[derive(Clone, Debug, Default)]
struct Base {
    /// Full sockets that were there before the counters began.
    full: [i64; STATE_SLOTS],
    /// By how much the last census was outside of what the counters allow, where that was not believed yet.
    doubt: [i64; STATE_SLOTS],
    /// Mini-sockets, by state.
    minis: [Minis; STATE_SLOTS],
    /// Request sockets counted by the last census.
    requests: u64,
}

/// The gauges of both families.
#[derive(Debug)]
pub struct Gauges {
    counted: bool,
    families: [Base; 2],
    /// Whether a census has been taken yet, and whether it left no doubt about what came before.
    known: [Option<bool>; 2],
    /// What became of the mini-sockets that were made between the last two censuses.
    staying: Share,
}

impl Gauges {
    /// `counted`: whether there are counters at all.
    #[must_use]
    pub fn new(counted: bool) -> Self {
        Self {
            counted,
            families: [Base::default(), Base::default()],
            known: [None, None],
            staying: Share::ALL,
        }
    }

    /// Whether there are counters at all.
    pub(super) fn are_counted(&self) -> bool {
        self.counted
    }

    /// Events were missed, so that the counters are off, until a census leaves no doubt again.
    pub fn doubt(&mut self) {
        for known in self.known.iter_mut().flatten() {
            *known = false;
        }
    }

    /// Compares the census with what the counters say, and corrects what was there before the counters
    /// began by the least that makes both agree. `minis`: how many mini-sockets there are, if the kernel says it.
    /// Returns by how many sockets.
    ///
    /// A dump goes through the kernel's hash table in steps, and in the middle of traffic it can pass a
    /// socket over or show it twice. So a census is believed at once only if nothing moved while it was
    /// taken, and otherwise if the next one says the same.
    pub fn reconcile(
        &mut self,
        tally: Tally,
        counters: Option<(&Counters, &Counters)>,
        minis: Option<u64>,
        now_ns: u64,
    ) -> u64 {
        let scope = tally.scope;
        let moves = [0, 1].map(|f| match counters {
            Some((before, after)) => (Moves::of(before, f), Moves::of(after, f)),
            None => Default::default(),
        });
        let mut drift = 0;
        for (f, (counted, (before, after))) in tally.families.iter().zip(moves).enumerate() {
            let base = &mut self.families[f];
            let first = self.known[f].is_none();
            let quiet = before == after;
            let mut certain = true;
            for state in TcpState::VISIBLE {
                let s = state.index();
                if s == TIME_WAIT || s == SYN_RECV || !scope.has(state) {
                    continue;
                }
                let seen = counted.full[s].cast_signed();
                if !self.counted {
                    base.full[s] = seen;
                    continue;
                }
                let entered = after.entered[s].wrapping_sub(before.entered[s]).cast_signed();
                let left = after.left[s].wrapping_sub(before.left[s]).cast_signed();
                if first {
                    // Where nobody moved during the census this is exact.
                    base.full[s] = seen - after.net(s);
                    certain &= entered == 0 && left == 0;
                    continue;
                }
                // Somewhere between these two the gauge was while the census counted.
                let start = base.full[s] + before.net(s);
                let (low, high) = (start - left, start + entered);
                let off = if seen < low {
                    seen - low
                } else if seen > high {
                    seen - high
                } else {
                    0
                };
                let believed = if quiet { off } else { agreed(off, base.doubt[s]) };
                base.full[s] += believed;
                base.doubt[s] = off - believed;
                drift += believed.unsigned_abs();
                certain &= entered == 0 && left == 0;
            }
            base.requests = counted.full[SYN_RECV];
            // Once a census has left no doubt, the counters keep it so.
            let was = self.known[f].unwrap_or(false);
            self.known[f] = Some(was || (certain && scope.established));
        }
        self.reconcile_minis(tally, moves.map(|(_, after)| after.minis), minis, now_ns);
        if self.counted { drift } else { 0 }
    }

    /// `made`: by family and state, up to the end of the census.
    fn reconcile_minis(
        &mut self,
        tally: Tally,
        made: [[u64; STATE_SLOTS]; 2],
        found: Option<u64>,
        now_ns: u64,
    ) {
        let shows_time_wait = tally.scope.time_wait;
        let fin_wait2s = tally.minis(TcpState::FinWait2);
        let found = found.or_else(|| shows_time_wait.then(|| fin_wait2s + tally.minis(TcpState::TimeWait)));
        if let Some(found) = found {
            let bases = || self.families.iter().zip(&made);
            let minis = || bases().flat_map(|(base, made)| MINIS.map(|s| (&base.minis[s], made[s])));
            let newly_made = minis().map(|(minis, made)| minis.made_since(made)).sum();
            let left = minis().map(|(minis, _)| minis.left(now_ns)).sum();
            self.staying = Share::new(newly_made, left, found);
        }
        let mut time_waits = [0; 2];
        for (f, mut counted) in tally.families.into_iter().enumerate() {
            let (minis, made) = (&mut self.families[f].minis, made[f]);
            let mut shown =
                |s: usize| Minis::shown(counted.mini[s], made[s], std::mem::take(&mut counted.ends[s]));
            minis[FIN_WAIT2] = shown(FIN_WAIT2);
            if shows_time_wait {
                minis[TIME_WAIT] = shown(TIME_WAIT);
            }
            time_waits[f] = minis[TIME_WAIT].now(made[TIME_WAIT], self.staying, now_ns);
        }
        if let Some(found) = found.filter(|_| !shows_time_wait) {
            let time_waits = divide(found.saturating_sub(fin_wait2s), time_waits);
            for (f, count) in time_waits.into_iter().enumerate() {
                self.families[f].minis[TIME_WAIT].counted(count, made[f][TIME_WAIT], now_ns);
            }
        }
    }

    /// The gauges at this moment.
    #[must_use]
    pub fn read(&self, counters: Option<&Counters>, now_ns: u64) -> SocketCounts {
        let mut counts = [[0; STATE_SLOTS]; 2];
        for family in Family::ALL {
            let f = family.index();
            let base = &self.families[f];
            let moves = counters.map_or_else(Moves::default, |counters| Moves::of(counters, f));
            for state in TcpState::VISIBLE {
                let s = state.index();
                let full = if s == SYN_RECV {
                    base.requests
                } else if s == TIME_WAIT {
                    0
                } else {
                    u64::try_from(base.full[s] + moves.net(s)).unwrap_or(0)
                };
                counts[f][s] = full + base.minis[s].now(moves.minis[s], self.staying, now_ns);
            }
        }
        SocketCounts { counts, exact: self.counted && self.known == [Some(true); 2] }
    }
}

/// What two numbers say in common: the smaller one, if both go the same way.
fn agreed(one: i64, other: i64) -> i64 {
    if one.signum() != other.signum() {
        0
    } else if one.abs() < other.abs() {
        one
    } else {
        other
    }
}
