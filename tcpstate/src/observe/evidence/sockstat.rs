//! The kernel's own count of sockets: `/proc/net/sockstat` (`sockstat_seq_show` in `net/ipv4/proc.c`). Those over IPv6
//! are in the numbers that are read here.

/// What it says. Absent is what could not be read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sockstat {
    /// Sockets of the whole host, of all namespaces, that no process can hold any more.
    pub orphans: Option<u64>,
    /// Mini-sockets of the namespace: `TIME_WAIT`, and orphaned `FIN_WAIT2`.
    pub minis: Option<u64>,
}

impl Sockstat {
    /// Reads the file: lines `PROTOCOL: NAME NUMBER NAME NUMBER …`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut words =
            text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or("").split_ascii_whitespace();
        let mut found = Self::default();
        while let (Some(name), Some(number)) = (words.next(), words.next()) {
            match name {
                "orphan" => found.orphans = number.parse().ok(),
                "tw" => found.minis = number.parse().ok(),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Sockstat;

    #[test]
    fn line_of_tcp_is_read() {
        let text = "sockets: used 16\nTCP: inuse 1 orphan 2 tw 3 alloc 4 mem 5\nUDP: inuse 9 mem 8\n";
        assert_eq!(Sockstat::parse(text), Sockstat { orphans: Some(2), minis: Some(3) });
    }

    #[test]
    fn what_is_not_there_is_not_zero() {
        assert_eq!(Sockstat::parse("TCP: inuse 1 orphan"), Sockstat::default());
        assert_eq!(Sockstat::parse("UDP: tw 1"), Sockstat::default());
    }

    #[test]
    fn this_kernel_says_it() {
        let text = std::fs::read_to_string("/proc/thread-self/net/sockstat").expect("readable");
        let found = Sockstat::parse(&text);
        assert!(found.orphans.is_some() && found.minis.is_some(), "{found:?}");
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(TCP6?:| |\n|inuse|tw|-|[0-9]{1,25}|\\PC){0,40}") {
            let _ = Sockstat::parse(&text);
        }
    }
}
