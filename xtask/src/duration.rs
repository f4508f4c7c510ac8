//! Times on the command line: `90s`, `20m`.

use std::time::Duration;

/// # Errors
/// What a time looks like, as a text for clap.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let (number, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number: u64 = number.parse().map_err(|_| "a time is a number with s or m, such as 75s".to_owned())?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(|| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse;

    #[test]
    fn times_have_a_unit_or_are_seconds() {
        assert_eq!(parse("75s"), Ok(Duration::from_secs(75)));
        assert_eq!(parse("20m"), Ok(Duration::from_mins(20)));
        assert_eq!(parse("90"), Ok(Duration::from_secs(90)));
        assert!(parse("soon").is_err());
        assert!(parse("9999999999999999999m").is_err());
    }
}
