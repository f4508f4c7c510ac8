//! What harm is done, and how bad that is. Severity follows from the harm and its growth alone, never from a signature.

use serde::{Deserialize, Serialize};

use super::{
    finding::{Limit, Severity},
    format,
    suspicion::Suspicion,
    thresholds::Thresholds,
};

/// Whether what is taken is given back.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Growth {
    /// Nothing has grown so far.
    None,
    /// Several are kept for so long that they will not be given back.
    Lasts,
    /// There are more and more, and the old ones stay.
    Grows,
}

/// What harm is done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Harm {
    /// None was seen: a clause that tells what was looked at.
    NoneSeen(String),
    /// None was seen, but this number of sockets was not looked at, which might show it.
    NotKnown(u64),
    /// Something is taken and not given back: descriptors, memory, ports.
    RunsOut(Growth),
    /// So many connections wait, the longest for so long, ms; `too_long` if that is known to be too long for them.
    Waits { count: u64, longest_ms: u64, too_long: bool },
    /// The same, for what will not come by itself.
    Hangs { count: u64, longest_ms: u64 },
    /// `count` of these failed within the window, on `occasions` occasions.
    Fails { what: &'static str, count: u64, occasions: u64 },
    /// All that come there fail, now.
    FailsForAll,
    /// What was sent on `count` connections within the window is lost, on `occasions` occasions.
    DataLost { count: u64, occasions: u64 },
}

/// The kinds of harm, as the API names them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// None was seen.
    NoneSeen,
    /// None was seen, but not everything could be looked at.
    NotKnown,
    /// A resource is used up.
    RunsOut,
    /// Somebody waits.
    Waits,
    /// Requests or connects fail.
    Fails,
    /// Data is lost.
    DataLost,
}

impl Kind {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoneSeen => "none_seen",
            Self::NotKnown => "not_known",
            Self::RunsOut => "runs_out",
            Self::Waits => "waits",
            Self::Fails => "fails",
            Self::DataLost => "data_lost",
        }
    }
}

impl Harm {
    /// So many of these failed, each on an occasion of its own.
    pub(super) fn fails(what: &'static str, count: u64) -> Self {
        Self::Fails { what, count, occasions: count }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::NoneSeen(_) => Kind::NoneSeen,
            Self::NotKnown(_) => Kind::NotKnown,
            Self::RunsOut(_) => Kind::RunsOut,
            Self::Waits { .. } | Self::Hangs { .. } => Kind::Waits,
            Self::Fails { .. } | Self::FailsForAll => Kind::Fails,
            Self::DataLost { .. } => Kind::DataLost,
        }
    }

    /// How bad it is.
    pub(super) fn severity(&self, limit: Option<&Limit>, thresholds: &Thresholds) -> Severity {
        let repeatedly = |count: u64| {
            if count >= thresholds.several { Severity::Warning } else { Severity::Info }
        };
        match self {
            Self::NoneSeen(_) | Self::NotKnown(_) => Severity::Info,
            Self::RunsOut(growth) => runs_out(*growth, limit, thresholds),
            Self::Waits { longest_ms, too_long: false, .. } if *longest_ms < thresholds.waits_ms => {
                Severity::Info
            }
            Self::Waits { .. } | Self::Hangs { .. } => Severity::Warning,
            Self::Fails { occasions, .. } | Self::DataLost { occasions, .. } => repeatedly(*occasions),
            Self::FailsForAll => Severity::Critical,
        }
    }

    /// The harm as a sentence without full stop.
    pub(super) fn text(&self, limit: Option<&Limit>, thresholds: &Thresholds) -> String {
        let within = format::duration(thresholds.event_window_ms);
        match self {
            Self::NoneSeen(why) => none_seen(why, 0),
            Self::NotKnown(missing) => none_seen("", *missing),
            Self::RunsOut(growth) => {
                let how = match growth {
                    Growth::Grows => "more and more are taken, and none is given back",
                    Growth::Lasts => "they are not given back",
                    Growth::None => "no growth is seen now",
                };
                match limit {
                    Some(Limit { of, used, max, reached_in_seconds }) => {
                        let (used, max) = (format::digits(*used), format::digits(*max));
                        let when = reached_in_seconds.map_or_else(String::new, |seconds| {
                            format!(", all of them in {}", format::duration(seconds.saturating_mul(1_000)))
                        });
                        format!("{used} of {max} {} are in use{when}; {how}", of.name())
                    }
                    None => format!("descriptors and memory: {how}"),
                }
            }
            Self::Waits { count, longest_ms, .. } => format!(
                "{} {}, the longest for {}",
                format::count(*count, "connection"),
                if *count == 1 { "waits" } else { "wait" },
                format::duration(*longest_ms)
            ),
            Self::Hangs { count, longest_ms } => format!(
                "{} {}, the longest for {}, and will not go on by {}",
                format::count(*count, "connection"),
                if *count == 1 { "hangs" } else { "hang" },
                format::duration(*longest_ms),
                if *count == 1 { "itself" } else { "themselves" },
            ),
            Self::Fails { what, count, .. } => {
                format!("{} failed in the last {within}", format::count(*count, what))
            }
            Self::FailsForAll => "every new connection fails".to_owned(),
            Self::DataLost { count, .. } => format!(
                "what was sent on {} in the last {within} is lost",
                format::count(*count, "connection")
            ),
        }
    }
}

/// The clause about a harm that was not seen, and why it does not look like one; of a table in which sockets are missing it
/// is not known.
pub(super) fn none_seen(why: &str, missing: u64) -> String {
    if missing == 0 {
        return format!("no harm seen: {why}");
    }
    format!(
        "not known whether it does harm, since the table has no room for {}",
        format::count(missing, "socket")
    )
}

/// Takes back that something does no harm, or does not grow, where sockets are missing in the table.
pub(super) fn doubt(suspicions: &mut [Suspicion], missing: u64) {
    if missing > 0 {
        let harms = suspicions.iter_mut().filter_map(|suspicion| suspicion.harm.as_mut());
        harms
            .filter(|harm| matches!(harm, Harm::NoneSeen(_) | Harm::RunsOut(Growth::None)))
            .for_each(|harm| *harm = Harm::NotKnown(missing));
    }
}

fn runs_out(growth: Growth, limit: Option<&Limit>, thresholds: &Thresholds) -> Severity {
    let Some(limit) = limit else {
        return if growth > Growth::None { Severity::Warning } else { Severity::Info };
    };
    let nearly = format::percent(limit.used, limit.max) >= thresholds.limit_percent;
    let within = |seconds: u64| limit.reached_in_seconds.is_some_and(|left| left <= seconds);
    match growth {
        Growth::None => Severity::Info,
        _ if nearly || within(thresholds.deadline_s) => Severity::Critical,
        _ => Severity::Warning,
    }
}
