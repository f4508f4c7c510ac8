//! Durations: a whole number and a unit. Without unit they are seconds.

use super::number::with_unit;

const UNITS_MS: [(&str, u64); 6] =
    [("", 1000), ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A number of that length fits in every unit, and the description of a duration is a short pattern.
const MAX_DIGITS: usize = 11;

/// Reads a duration, ms.
///
/// # Errors
/// A sentence that says what a duration looks like.
pub fn parse_ms(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    with_unit(text, &UNITS_MS).filter(|_| digits <= MAX_DIGITS).ok_or_else(|| {
        format!("`{text}` is not a duration; give a whole number of up to {MAX_DIGITS} digits with ms, s, m, h or d, such as 90s or 5m")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_understood_and_no_unit_means_seconds() {
        let durations = [
            ("90", 90_000),
            ("90s", 90_000),
            ("1500ms", 1500),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("0", 0),
        ];
        for (text, ms) in durations {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for bad in ["", "s", "-5", "-5s", "+5s", "5 s", " 5", "1.5h", "5w", "5S", "5sec", "1h30m", "∞", "5µs"]
        {
            assert!(parse_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_that_does_not_fit_is_refused() {
        assert_eq!(parse_ms("99999999999d"), Ok(99_999_999_999 * 86_400_000));
        for bad in ["100000000000", "213503982335d", "18446744073709551615", "18446744073709551616ms"] {
            assert!(parse_ms(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_number_of_any_unit_is_that_many_units(number in 0..1_000_000_u64, unit in 0..UNITS_MS.len()) {
            let (name, ms) = UNITS_MS[unit];
            prop_assert_eq!(parse_ms(&format!("{number}{name}")), Ok(number * ms));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse_ms(&text);
        }
    }
}
