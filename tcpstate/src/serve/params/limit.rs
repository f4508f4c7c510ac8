//! How many entries a page may have.

use super::number::digits;

/// Entries on a page that asks for no number.
pub(in super::super) const DEFAULT: usize = 100;
/// Entries on a page at most.
pub(in super::super) const MAX: usize = 1000;

/// Reads a limit.
pub(in super::super) fn parse(text: &str) -> Result<usize, String> {
    digits(text)
        .filter(|limit| (1..=MAX).contains(limit))
        .ok_or_else(|| format!("`{text}` is not a limit; give a whole number from 1 to {MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_between_one_and_the_maximum() {
        assert_eq!(parse("1"), Ok(1));
        assert_eq!(parse("1000"), Ok(1000));
        for bad in ["0", "1001", "-1", "all", "", "10.5"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
