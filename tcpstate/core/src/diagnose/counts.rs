//! How many of something there were, and when, over the last while.

use std::collections::VecDeque;

use super::NS_PER_MS;

/// Times that are kept apart.
pub(super) const MAX_TIMES: usize = 64;
/// What comes within this time is counted together, ns.
const TOGETHER_NS: u64 = 1_000 * NS_PER_MS;

/// When, monotonic ns, and how many, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(VecDeque<(u64, u64)>);

impl Counts {
    pub(super) fn add(&mut self, at_ns: u64, more: u64) {
        match self.0.back_mut() {
            Some((last_ns, count)) if at_ns.saturating_sub(*last_ns) < TOGETHER_NS => {
                *count = count.saturating_add(more);
            }
            _ => {
                if self.0.len() >= MAX_TIMES {
                    self.0.pop_front();
                }
                self.0.push_back((at_ns, more));
            }
        }
    }

    /// Adds those of another list.
    pub(super) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
        self.0.make_contiguous().sort_unstable();
        while self.0.len() > MAX_TIMES {
            // What is counted together, is counted at the later time.
            let Some((_, count)) = self.0.pop_front() else { break };
            if let Some((_, first)) = self.0.front_mut() {
                *first = first.saturating_add(count);
            }
        }
    }

    /// Forgets what was before this time, monotonic ns.
    pub(super) fn forget_before(&mut self, from_ns: u64) {
        self.0.retain(|(at_ns, _)| *at_ns >= from_ns);
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| *count).fold(0, u64::saturating_add)
    }

    /// When the first of them was, monotonic ns.
    pub(super) fn first_ns(&self) -> Option<u64> {
        self.0.front().map(|(at_ns, _)| *at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_and_forgetting_lose_only_what_is_too_old() {
        let (mut one, mut another) = (Counts::default(), Counts::default());
        for second in 0..MAX_TIMES as u64 {
            one.add(second * 2_000_000_000, 1);
            another.add(second * 2_000_000_000 + 1_000_000_000, 1);
        }
        one.merge(another);
        assert_eq!((one.0.len(), one.total()), (MAX_TIMES, 2 * MAX_TIMES as u64));
        one.forget_before(127_000_000_000);
        assert_eq!((one.first_ns(), one.total()), (Some(127_000_000_000), 1));
    }
}
