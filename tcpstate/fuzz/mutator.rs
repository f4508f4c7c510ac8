//! Makes new inputs out of real ones.

use super::random::Random;

/// No input becomes longer, bytes.
const MAX_LEN: usize = 1 << 16;
/// Changes to one input at most.
const CHANGES: usize = 8;
/// Numbers around which code goes wrong: the ends of each size, and one beyond.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];
/// The same as text, and what else a parser of text may meet.
const WORDS: [&str; 18] = [
    "0",
    "-1",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "1e999",
    "null",
    "[]",
    "{}",
    "\n",
    "\0",
    "\u{202e}",
    "é",
    "..",
    "/",
    "\\040",
    "%00",
    "\"",
];

pub(super) struct Mutator {
    seeds: Vec<Vec<u8>>,
    random: Random,
}

impl Mutator {
    pub(super) fn new(seeds: Vec<Vec<u8>>, random: Random) -> Self {
        assert!(!seeds.is_empty(), "a target has real inputs to begin with");
        Self { seeds, random }
    }

    /// A real input with a few changes.
    pub(super) fn next(&mut self) -> Vec<u8> {
        let mut input = self.seed();
        // Few changes leave more of the input valid, so that more code is met.
        let most = 1 + self.random.below(CHANGES);
        for _ in 0..=self.random.below(most) {
            self.change(&mut input);
        }
        input.truncate(MAX_LEN);
        input
    }

    fn seed(&mut self) -> Vec<u8> {
        self.seeds[self.random.below(self.seeds.len())].clone()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let random = &mut self.random;
        let at = random.below(input.len());
        let end = at + random.below((input.len() - at).min(64) + 1);
        match random.below(12) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.byte(),
            2 => {
                let number = EDGES[random.below(EDGES.len())].to_ne_bytes();
                let size = 1 << random.below(4);
                for (byte, new) in input[at..].iter_mut().zip(&number[..size]) {
                    *byte = *new;
                }
            }
            3 => drop(input.drain(at..end)),
            4 => {
                let copy = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                drop(input.splice(to..to, copy));
            }
            5 => {
                let new: Vec<_> = (0..random.below(16)).map(|_| random.byte()).collect();
                drop(input.splice(at..at, new));
            }
            6 => {
                let word = random.one_of(&WORDS).as_bytes().to_vec();
                drop(input.splice(at..end.min(at + random.below(8)), word));
            }
            7 => input.truncate(at),
            8..11 => {
                let start =
                    input[..at].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |it| it + 1);
                let digits = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = EDGES[random.below(EDGES.len())].to_string();
                drop(input.splice(start..start + digits, number.into_bytes()));
            }
            _ => {
                let other = self.seed();
                let from = self.random.below(other.len());
                drop(input.splice(at.., other[from..].iter().copied()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_LEN, Mutator, Random};

    #[test]
    fn inputs_differ_and_stay_short() {
        let mut mutator = Mutator::new(vec![vec![], b"abc".to_vec(), vec![7; MAX_LEN]], Random::new(1));
        let inputs: Vec<_> = (0..2000).map(|_| mutator.next()).collect();
        assert!(inputs.iter().all(|input| input.len() <= MAX_LEN));
        let mut different = inputs.clone();
        different.sort();
        different.dedup();
        assert!(different.len() > 1000, "{}", different.len());
    }
}
