//! Every number at which a rule begins to speak, with the reason for its default, and the way to another one.

use serde::{Deserialize, Serialize};

/// What is known of one threshold, for setting it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct About {
    /// As the field is called, the unit at its end.
    pub name: &'static str,
    pub default: u64,
    /// The largest value that it may have.
    pub max: u64,
    /// What it is, and why the default is as it is; one paragraph.
    pub text: &'static str,
}

/// No threshold is larger than this: times of 31 years, in ns too, are as good as none.
const MAX: u64 = 1_000_000_000_000;

/// Declares the thresholds once: what is said of each, its name, its type and its default.
macro_rules! thresholds {
    ($($(#[doc = $text:literal])+ $name:ident: $kind:ty = $default:expr,)+) => {
        /// See each field. The defaults are meant to be right without configuration.
        #[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Thresholds {
            $($(#[doc = $text])+ pub $name: $kind,)+
        }

        impl Default for Thresholds {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Thresholds {
            /// All of them, in the order of what they are about.
            pub const ALL: &[About] = &[$(About {
                name: stringify!($name),
                default: $default,
                max: if (<$kind>::MAX as u128) < MAX as u128 { <$kind>::MAX as u64 } else { MAX },
                text: concat!($($text),+),
            },)+];

            /// Sets one.
            ///
            /// # Errors
            /// Why it cannot be, if there is none of this name, or it cannot have this value.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), Refusal> {
                let about = Self::ALL.iter().find(|about| about.name == name).ok_or(Refusal::Unknown)?;
                if value > about.max {
                    return Err(Refusal::TooLarge(about.max));
                }
                match name {
                    $(stringify!($name) => {
                        self.$name = value.try_into().map_err(|_| Refusal::TooLarge(about.max))?;
                    })+
                    _ => return Err(Refusal::Unknown),
                }
                Ok(())
            }
        }
    };
}

/// Why a threshold was not set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// None has this name.
    Unknown,
    /// It may be this large at most.
    TooLarge(u64),
}

thresholds! {
    /// A socket that parks is looked at from this age on, ms. Healthy programs answer a FIN within milliseconds, and
    /// loaded ones within a second or two.
    settle_ms: u64 = 5_000,
    /// From this age on a parked socket is worth a word (info), ms: less than three passes at the default pace.
    notice_ms: u64 = 8_000,
    /// From this age on several of them are a warning even if their number does not grow, ms. Handlers that take
    /// longer than that for a client that has left are rare.
    old_ms: u64 = 120_000,
    /// From this age on a single one is a warning, ms. Nothing that is being worked on takes as long.
    ancient_ms: u64 = 600_000,
    /// Queues count as frozen when two looks this far apart show the same, ms.
    frozen_ms: u64 = 4_000,
    /// How many make "several".
    several: u64 = 3,
    /// Growth is measured over this time, ms; shorter looks mistake a burst for a trend.
    trend_ms: u64 = 20_000,
    /// Who waits for longer than this is harmed, ms: users give up after a few seconds.
    waits_ms: u64 = 5_000,
    /// What has waited for so long at three looks at an accept queue, of eight, is not accepted in time, ms. Healthy
    /// listeners accept within a millisecond.
    queue_ms: u64 = 1_000,
    /// A client that writes this soon after its peer's FIN, or a request that arrives this soon after a close, could
    /// not know, ms: a round trip over the longest paths, and some time to look.
    race_ms: u64 = 500,
    /// Connections to one destination that lie idle, from which on they are looked at for a leak: smaller pools do no
    /// harm.
    idle_connections: u64 = 10,
    /// By how many a group must have grown in that time, while none of its sockets went away.
    growth: u64 = 2,
    /// Unread pooled connections are a leak when there are this many and they still grow: pools have maxima of tens.
    pool_max: u64 = 50,
    /// Up to this number of unread bytes before the FIN are a farewell (TLS `close_notify`, an HTTP/2 GOAWAY, an error
    /// message of a database), not a response, bytes.
    farewell_bytes: u32 = 256,
    /// From this number of unread bytes on a response was left unread, bytes: half of the smallest default receive buffer.
    unread_body_bytes: u32 = 64 << 10,
    /// A deadline (file descriptors, ports) nearer than this is critical, s.
    deadline_s: u64 = 3_600,
    /// A limit used up to this share is critical even without trend, percent.
    limit_percent: u64 = 90,
    /// From this share of the range on, ports that are in use are a warning, percent.
    ports_percent: u64 = 80,
    /// Destinations with fewer sockets than this are not looked at. Below the smallest ranges that anybody sets.
    min_destination: u64 = 8,
    /// From this many `TIME_WAIT`s to one destination on, the churn is worth a word.
    time_wait_churn: u64 = 100,
    /// Clients come and go, and some go without a word: up to this number of dead ones of one service are only worth
    /// knowing. For a connection that this host made, one is a warning.
    lost_clients: u64 = 10,
    /// Retransmits without answer from which on a peer counts as gone: at the smallest timeout the fourth is sent
    /// 3 s after the data, longer than bursts of loss last.
    retransmits: u8 = 4,
    /// Retransmitted SYNs from which on they count as swallowed: the second is sent 3 s after the first SYN.
    syn_retransmits: u8 = 2,
    /// A process that tries more addresses than this at a time is a scanner, and its SYNs say nothing.
    scanned: usize = 16,
    /// Half-open handshakes that had to be answered again, from which on they are worth a word: fewer are clients
    /// with a bad radio link.
    half_handshakes: u64 = 10,
    /// Refused connects of one process to one place within `event_window_ms` that are worth a word: probes
    /// make one or two.
    refused: u64 = 3,
    /// Events of one kind by one process within `event_window_ms` that are a warning: fewer are accidents.
    many_events: u64 = 10,
    /// Events are counted over this time, ms.
    event_window_ms: u64 = 60_000,
    /// Refused connects must go on for so long to be a warning, ms: a program that waits until its server has
    /// started is refused for a few seconds.
    refused_for_ms: u64 = 10_000,
    /// A connection that was silent for so long before it met a RST may have been forgotten by a NAT entry, ms.
    silent_ms: u64 = 60_000,
    /// Idle times of a server's closes are constant if nine in ten lie within this share of their median, percent.
    idle_spread_percent: u64 = 20,
    /// Sockets whose `tcp_info` is asked for at a pass: at 1 to 2 µs each in the kernel.
    max_info: usize = 4_096,
    /// `ESTABLISHED` sockets without anything remarkable that are looked at in a pass; the others have their turn in
    /// the next ones.
    max_established: usize = 4_096,
    /// Sockets that a pass looks at.
    max_sockets: usize = 1 << 18,
    /// Namespaces whose counters are read in a pass; the others have their turn in the next ones.
    max_namespaces: usize = 64,
    /// Processes that are looked at in a pass.
    max_processes: usize = 1_024,
    /// Resets, failures and closes of each kind that are taken into account in a pass.
    max_events: usize = 4_096,
    /// Findings that are kept, the resolved ones among them.
    max_findings: usize = 1_000,
    /// A finding is resolved when its signature has been gone for so long, ms.
    resolve_ms: u64 = 15_000,
    /// A finding about events (resets, refusals, overflows) is resolved when there has been none for so long, ms.
    resolve_events_ms: u64 = 60_000,
    /// A resolved finding is kept for so long, ms.
    forget_ms: u64 = 3_600_000,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_threshold_can_be_set_by_its_name_and_says_what_it_is() {
        for about in Thresholds::ALL {
            let mut thresholds = Thresholds::default();
            thresholds.set(about.name, about.default).unwrap();
            assert_eq!(thresholds, Thresholds::default(), "{}", about.name);
            let other = about.max;
            thresholds.set(about.name, other).unwrap();
            assert_ne!(thresholds, Thresholds::default(), "{}", about.name);
            assert_eq!(thresholds.set(about.name, other + 1), Err(Refusal::TooLarge(other)));
            assert!(about.text.trim().ends_with('.') && about.text.len() > 20, "{about:?}");
            assert!(!about.text.contains('['), "{}: links say nothing on a terminal", about.name);
        }
        assert_eq!(Thresholds::default().set("several_ms", 1), Err(Refusal::Unknown));
    }
}
