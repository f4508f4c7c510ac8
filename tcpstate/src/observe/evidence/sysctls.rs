//! The settings of a network namespace that decide how its TCP behaves (`Documentation/networking/ip-sysctl.rst`).
//! `/proc/sys/net` shows the settings of the reading thread's namespace (`net/sysctl_net.c`).

use std::fs;

/// They. Absent is what this kernel does not have in this namespace, or what could not be read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sysctls {
    /// The first and the last port that the kernel gives out by itself.
    pub local_ports: Option<(u16, u16)>,
    /// Ports of that range that the kernel does not give out by itself.
    pub reserved_local_ports: Option<u32>,
    /// 0 off, 1 everywhere, 2 on loopback alone.
    pub tw_reuse: Option<u64>,
    pub max_tw_buckets: Option<u64>,
    pub abort_on_overflow: Option<u64>,
    pub somaxconn: Option<u64>,
    pub fin_timeout_s: Option<u64>,
    pub orphan_retries: Option<u64>,
    /// Of the whole host.
    pub max_orphans: Option<u64>,
    pub max_syn_backlog: Option<u64>,
    pub syncookies: Option<u64>,
    pub syn_retries: Option<u64>,
    pub retries2: Option<u64>,
    pub keepalive_time_s: Option<u64>,
}

impl Sysctls {
    /// Reads them in the calling thread's namespace.
    #[must_use]
    pub fn read() -> Self {
        let ipv4 = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
        let number = |name: &str| self::number(&ipv4(name)?);
        let local_ports = ipv4("ip_local_port_range").as_deref().and_then(port_range);
        let reserved = ipv4("ip_local_reserved_ports");
        Self {
            local_ports,
            reserved_local_ports: local_ports
                .zip(reserved)
                .and_then(|(range, list)| reserved_within(range, &list)),
            tw_reuse: number("tcp_tw_reuse"),
            max_tw_buckets: number("tcp_max_tw_buckets"),
            abort_on_overflow: number("tcp_abort_on_overflow"),
            somaxconn: fs::read_to_string("/proc/sys/net/core/somaxconn")
                .ok()
                .and_then(|text| self::number(&text)),
            fin_timeout_s: number("tcp_fin_timeout"),
            orphan_retries: number("tcp_orphan_retries"),
            max_orphans: number("tcp_max_orphans"),
            max_syn_backlog: number("tcp_max_syn_backlog"),
            syncookies: number("tcp_syncookies"),
            syn_retries: number("tcp_syn_retries"),
            retries2: number("tcp_retries2"),
            keepalive_time_s: number("tcp_keepalive_time"),
        }
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Two numbers with a tabulator between them.
fn port_range(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_ascii_whitespace();
    let range = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(range)
}

/// How many ports of a range are in a list: `8080,9000-9010`, ascending and without overlaps, or empty
/// (`proc_do_large_bitmap` in `kernel/sysctl.c`).
fn reserved_within((first, last): (u16, u16), ports: &str) -> Option<u32> {
    let mut count = 0;
    for part in ports.trim().split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.parse::<u16>().ok()?.max(first), to.parse::<u16>().ok()?.min(last));
        count += (u32::from(to) + 1).saturating_sub(from.into());
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Sysctls, port_range, reserved_within};

    #[test]
    fn reserved_ports_count_where_they_are_in_the_range() {
        let range = port_range("50000\t50009\n").expect("a range");
        for (list, expected) in [
            ("\n", Some(0)),
            ("50000,50005-50006\n", Some(3)),
            ("8080,9000-9010,50009-60000,65535", Some(1)),
            ("1-65535", Some(10)),
            ("8080,70000", None),
            ("8080,x-9", None),
        ] {
            assert_eq!(reserved_within(range, list), expected, "{list}");
        }
    }

    #[test]
    fn what_is_no_range_is_none() {
        assert_eq!(port_range("32768\t60999\n"), Some((32_768, 60_999)));
        for text in ["", "32768", "1 2 3", "-1 5", "1 65536"] {
            assert_eq!(port_range(text), None, "{text}");
        }
    }

    #[test]
    fn settings_of_this_namespace_are_read() {
        let sysctls = Sysctls::read();
        assert!(sysctls.local_ports.is_some_and(|(first, last)| first <= last), "{sysctls:?}");
        assert!(sysctls.reserved_local_ports.is_some() && sysctls.somaxconn.is_some(), "{sysctls:?}");
        assert!(sysctls.tw_reuse.is_some() && sysctls.retries2.is_some(), "{sysctls:?}");
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(range in any::<(u16, u16)>(), text in "\\PC{0,20}", list in "[0-9,-]{0,40}") {
            let _ = port_range(&text);
            let _ = reserved_within(range, &list);
        }
    }
}
