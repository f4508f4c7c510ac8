//! Amounts of memory: a whole number and a unit. Without unit they are bytes.

use super::number::with_unit;

const UNITS: [(&str, u64); 4] = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads an amount of memory, bytes.
///
/// # Errors
/// A sentence that says what an amount looks like.
pub fn parse(text: &str) -> Result<u64, String> {
    with_unit(text, &UNITS).ok_or_else(|| {
        format!("`{text}` is no amount of memory; give a whole number with KiB, MiB or GiB, such as 256MiB")
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_unit_is_understood_and_no_unit_means_bytes() {
        for (text, bytes) in
            [("4096", 4096), ("4KiB", 4096), ("256MiB", 256 << 20), ("1GiB", 1 << 30), ("0", 0)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in ["", "MiB", "-1MiB", "1.5GiB", "1 MiB", "256M", "99999999999GiB"] {
            assert!(parse(text).unwrap_err().contains("256MiB"), "{text}");
        }
    }
}
