//! The latest of something, numbered, so that whoever comes again gets what is new and knows how much of it he missed.

use std::collections::VecDeque;

/// At most so many, the newest last.
#[derive(Debug)]
pub struct Latest<T> {
    items: VecDeque<T>,
    max: usize,
    pushed: u64,
}

impl<T> Latest<T> {
    /// An empty list of at most `max`.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { items: VecDeque::new(), max, pushed: 0 }
    }

    /// How many there have been: what [`Self::since`] wants next time.
    #[must_use]
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Those that came after the first `seen`, the newest `most` of them, the oldest first; and how many are left out.
    pub fn since(&self, seen: u64, most: usize) -> (impl Iterator<Item = &T>, u64) {
        let new = self.pushed.saturating_sub(seen);
        let given = usize::try_from(new).unwrap_or(usize::MAX).min(most).min(self.items.len());
        (self.items.iter().skip(self.items.len() - given), new - given as u64)
    }

    pub(super) fn push(&mut self, item: T) {
        self.pushed += 1;
        if self.items.len() >= self.max {
            self.items.pop_front();
        }
        self.items.push_back(item);
    }
}

#[cfg(test)]
mod tests {
    use super::Latest;

    #[test]
    fn whoever_comes_again_gets_what_is_new_and_knows_what_he_missed() {
        let mut latest = Latest::new(4);
        let since = |latest: &Latest<u32>, seen, most| {
            let (items, left_out) = latest.since(seen, most);
            (items.copied().collect::<Vec<_>>(), left_out)
        };
        assert_eq!(since(&latest, 0, 9), (vec![], 0));
        for item in 1..=3 {
            latest.push(item);
        }
        assert_eq!(since(&latest, 1, 9), (vec![2, 3], 0));
        assert_eq!(since(&latest, 0, 2), (vec![2, 3], 1));
        assert_eq!(since(&latest, latest.pushed(), 9), (vec![], 0));
        for item in 4..=9 {
            latest.push(item);
        }
        assert_eq!(since(&latest, 3, 9), (vec![6, 7, 8, 9], 2));
        assert_eq!(since(&latest, 99, 9), (vec![], 0));
    }
}
