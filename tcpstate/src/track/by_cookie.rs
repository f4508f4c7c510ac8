//! Hashing of cookies. The kernel gives them out one after the other (`sock_gen_cookie` in `net/core/sock_diag.c`),
//! so nobody can choose them so that they meet, and a hash that cannot be foreseen would cost more than all else that
//! a look-up does.

use std::hash::{BuildHasher, Hasher};

/// Makes [`CookieHasher`]s.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ByCookie;

impl BuildHasher for ByCookie {
    type Hasher = CookieHasher;

    fn build_hasher(&self) -> CookieHasher {
        CookieHasher(0)
    }
}

/// Spreads one 64-bit number over all bits.
#[derive(Debug)]
pub(super) struct CookieHasher(u64);

impl Hasher for CookieHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The odd number nearest to 2^64 divided by the golden ratio; the upper half, which depends on every bit,
        // reaches the lower one.
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn cookies_in_a_row_are_spread_over_both_ends_of_the_hash() {
        for step in [1_u64, 2, 512, 4096, 1 << 17] {
            let hashes: Vec<u64> = (0..1024).map(|number| ByCookie.hash_one(number * step)).collect();
            let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0xfff).collect();
            let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
            assert!(low.len() > 600, "{step}: {} of 1024 low ends", low.len());
            assert!(high.len() > 100, "{step}: {} of 128 high ends", high.len());
        }
    }
}
