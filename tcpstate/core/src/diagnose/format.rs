//! Words for numbers, times and processes, the same in every sentence.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

/// A number with its noun, in the plural where it has to be: "1 socket", "28,230 ports".
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", digits(number))
}

/// A number; from 10,000 on with commas.
pub(super) fn digits(number: u64) -> String {
    let plain = number.to_string();
    if plain.len() < 5 {
        return plain;
    }
    let mut text = String::new();
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in the unit that fits it: "8 s", "47 min", "3 h", "12 days".
pub(super) fn duration(ms: u64) -> String {
    match ms {
        1..100 => format!("{ms} ms"),
        0..10_000 if !ms.is_multiple_of(1000) => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        0..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

/// A rate in a minute, with a decimal where that matters.
pub(super) fn rate(per_minute: f64) -> String {
    if per_minute.abs() < 10.0 && (per_minute - per_minute.round()).abs() > 0.05 {
        format!("{per_minute:.1}")
    } else {
        format!("{per_minute:.0}")
    }
}

/// Bytes in the unit that fits them.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_240 => count(bytes, "byte"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// An address as people write it: a mapped IPv4 address is shown as what it maps.
pub(super) fn address(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

/// A listener: only its port where it listens on every address.
pub(super) fn listener(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!(":{}", address.port()) } else { self::address(address) }
}

/// An address without port.
pub(super) fn ip(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}

/// Several things as a list: "a, b and c".
pub(super) fn list(items: &[String]) -> String {
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        let before = match index {
            0 => "",
            _ if index + 1 == items.len() => " and ",
            _ => ", ",
        };
        // Writing to a string does not fail.
        let _ = write!(text, "{before}{item}");
    }
    text
}

/// The same with a capital letter at the beginning. Not for what begins with a process's name.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The share of one number in another, percent.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!([count(1, "socket"), count(28_230, "port")], ["1 socket", "28,230 ports"]);
        assert_eq!([digits(1234), digits(1_234_567)], ["1234", "1,234,567"]);
        let times = [7, 300, 8_000, 90_000, 2_820_000, 10_800_000, 400_000_000].map(duration);
        assert_eq!(times, ["7 ms", "0.3 s", "8 s", "90 s", "47 min", "3 h", "4 days"]);
        assert_eq!([rate(4.0), rate(0.5), rate(470.3)], ["4", "0.5", "470"]);
        assert_eq!([bytes(1), bytes(65_536), bytes(20 << 20)], ["1 byte", "64 KiB", "20 MiB"]);
        assert_eq!(list(&["a", "b", "c"].map(String::from)), "a, b and c");
        assert_eq!(["an end", "", "10.0.0.1"].map(sentence), ["An end", "", "10.0.0.1"]);
        assert_eq!((percent(99, 100), percent(1, 0)), (99, 0));
    }

    #[test]
    fn addresses_are_written_as_people_do() {
        assert_eq!(address("[::ffff:10.0.0.1]:80".parse().expect("an address")), "10.0.0.1:80");
        assert_eq!(listener("[::]:80".parse().expect("an address")), ":80");
        assert_eq!(listener("10.0.0.1:80".parse().expect("an address")), "10.0.0.1:80");
    }
}
