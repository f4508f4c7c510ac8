//! The kernel's TCP counters in a network namespace: `/proc/net/snmp` and `/proc/net/netstat`. TCP over IPv6 counts in
//! the same ones: `/proc/net/snmp6` has none for TCP (`net/ipv6/proc.c`).

/// Declares the counters once: the variant, and the name in /proc, which `nstat` shows with the group's before it.
macro_rules! counters {
    ($($variant:ident = $name:literal,)*) => {
        /// One of the kernel's counters (`net/ipv4/proc.c`).
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Counter {
            $($variant,)*
        }

        impl Counter {
            /// All of them.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant,)*];

            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

counters! {
    ActiveOpens = "ActiveOpens",
    PassiveOpens = "PassiveOpens",
    AttemptFails = "AttemptFails",
    EstabResets = "EstabResets",
    InSegs = "InSegs",
    OutSegs = "OutSegs",
    OutRsts = "OutRsts",
    ListenOverflows = "ListenOverflows",
    ListenDrops = "ListenDrops",
    EmbryonicRsts = "EmbryonicRsts",
    SyncookiesSent = "SyncookiesSent",
    SyncookiesRecv = "SyncookiesRecv",
    ReqQFullDoCookies = "TCPReqQFullDoCookies",
    ReqQFullDrop = "TCPReqQFullDrop",
    AbortOnClose = "TCPAbortOnClose",
    AbortOnData = "TCPAbortOnData",
    AbortOnTimeout = "TCPAbortOnTimeout",
    TimeWaitOverflow = "TCPTimeWaitOverflow",
    SynRetrans = "TCPSynRetrans",
    TimeWaitEnded = "TW",
    TimeWaitReused = "TWRecycled",
}

/// The counters of one network namespace at one time. One that this kernel does not have, or that could not be read,
/// is not 0 but absent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters([Option<u64>; Counter::ALL.len()]);

impl Counters {
    /// One counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> Option<u64> {
        self.0[counter as usize]
    }

    /// Takes in a file: pairs of lines of which the first has the names and the second the numbers, each with the
    /// group's name before them.
    pub fn read(&mut self, text: &str) {
        let mut lines = text.lines();
        while let (Some(names), Some(numbers)) = (lines.next(), lines.next()) {
            let (Some((group, names)), Some((same, numbers))) =
                (names.split_once(':'), numbers.split_once(':'))
            else {
                return;
            };
            if group != same || !matches!(group, "Tcp" | "TcpExt") {
                continue;
            }
            for (name, number) in names.split_ascii_whitespace().zip(numbers.split_ascii_whitespace()) {
                if let Some(counter) = Counter::ALL.iter().position(|counter| counter.name() == name) {
                    self.0[counter] = number.parse().ok();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Counter, Counters};

    /// Recorded on 6.18, without most of the columns.
    const SNMP: &str = "\
Ip: Forwarding DefaultTTL InReceives OutRequests
Ip: 2 64 811565 744848
IcmpMsg: InType3
IcmpMsg: 3
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 17664 17498 109 99 0 811359 803725 474 0 214 0
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
Udp: 207 0 0 210 0 0 0 0 0
";
    const NETSTAT: &str = "\
TcpExt: SyncookiesSent TW ListenOverflows ListenDrops TCPAbortOnClose TCPSynRetrans
TcpExt: 4 17456 7 18446744073709551615 473 6
IpExt: InNoRoutes InOctets OutOctets
IpExt: 0 14394434909 13939418778
MPTcpExt: MPCapableSYNRX MPCapableSYNTX ListenDrops
MPTcpExt: 0 0 99
";

    fn both() -> Counters {
        let mut counters = Counters::default();
        counters.read(SNMP);
        counters.read(NETSTAT);
        counters
    }

    #[test]
    fn counters_are_found_by_their_names() {
        let counters = both();
        for (counter, expected) in [
            (Counter::ActiveOpens, 17_664),
            (Counter::OutRsts, 214),
            (Counter::SyncookiesSent, 4),
            (Counter::ListenOverflows, 7),
            (Counter::ListenDrops, u64::MAX),
            (Counter::SynRetrans, 6),
        ] {
            assert_eq!(counters.get(counter), Some(expected), "{}", counter.name());
        }
    }

    #[test]
    fn counter_that_is_not_there_is_not_zero() {
        assert_eq!(both().get(Counter::TimeWaitOverflow), None);
        assert_eq!(Counters::default().get(Counter::OutRsts), None);
    }

    #[test]
    fn this_kernel_has_them_all() {
        let mut counters = Counters::default();
        for file in ["snmp", "netstat"] {
            counters
                .read(&std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect("readable"));
        }
        for counter in Counter::ALL {
            assert!(counters.get(counter).is_some(), "{}", counter.name());
        }
    }

    #[test]
    fn text_that_ends_early_gives_what_it_has() {
        for end in (0..NETSTAT.len()).filter(|end| NETSTAT.is_char_boundary(*end)) {
            let mut counters = Counters::default();
            counters.read(&NETSTAT[..end]);
            let overflows = counters.get(Counter::ListenOverflows);
            assert!(matches!(overflows, None | Some(7)), "{overflows:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(TcpExt|Tcp|:| |\n|TW|OutRsts|-|[0-9]{1,25}|\\PC){0,60}") {
            Counters::default().read(&text);
        }
    }
}
