//! A hasher for cookies: the kernel gives them out one after the other, nobody else can choose them, and of parked
//! sockets there are many.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// A map by cookie.
pub(super) type ByCookie<T> = HashMap<u64, T, BuildHasherDefault<CookieHasher>>;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CookieHasher(u64);

impl Hasher for CookieHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The map takes its place from the low bits and a tag from the high ones.
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}
