//! Whole numbers, written with digits alone.

use std::str::FromStr;

/// Reads a number. Unlike `parse` it takes no sign, so that `+5`, which a query string turns into ` 5`, and
/// `-5` are wrong in the same way.
pub(super) fn digits<T: FromStr>(text: &str) -> Option<T> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| all_digits)
}

/// A process number.
pub(in super::super) fn pid(text: &str) -> Result<u32, String> {
    positive(text, "a process number", i32::MAX.unsigned_abs())
}

/// A port.
pub(in super::super) fn port(text: &str) -> Result<u16, String> {
    let port = positive(text, "a port", u32::from(u16::MAX))?;
    Ok(u16::try_from(port).unwrap_or(u16::MAX))
}

/// The inode number of a network namespace.
pub(in super::super) fn netns(text: &str) -> Result<u32, String> {
    positive(text, "the inode number of a network namespace (`lsns -t net` shows them)", u32::MAX)
}

fn positive(text: &str, what: &str, max: u32) -> Result<u32, String> {
    digits(text)
        .filter(|number| (1..=max).contains(number))
        .ok_or_else(|| format!("`{text}` is not {what}; give a whole number from 1 to {max}"))
}

/// Reads a whole number with a unit: so many times what the unit stands for. `None` for what is neither, and for what
/// does not fit.
pub(super) fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits::<u64>(number)?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_within_the_range_make_a_number() {
        assert_eq!(port("65535"), Ok(65535));
        assert_eq!(pid("1"), Ok(1));
        assert_eq!(netns("4026531840"), Ok(4_026_531_840));
        for bad in ["", "0", "-1", "+1", " 1", "1 ", "1.0", "0x1", "65536", "99999999999999999999", "½", "١"]
        {
            assert!(port(bad).is_err(), "{bad}");
        }
        assert!(pid("2147483648").is_err());
        assert!(netns("4294967296").is_err());
    }
}
