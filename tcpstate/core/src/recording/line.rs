//! The lines of a recording.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::delta::{Delta, Repeated};
use crate::{
    diagnose::{
        Moment,
        evidence::{Listener, Namespace, Process, TcpInfo, Unseen},
    },
    track::{self, Circumstances, Event, Holder, IdleClose, Note, Row, Scope},
};

/// The version of the format that is written. One that is higher cannot be read.
pub const VERSION: u32 = 1;
/// The kernel tells times in ticks, so that what has not changed may look as much younger or older, ns.
const TICK_NS: u64 = 20_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// What a recording begins with.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Header {
    /// See [`VERSION`].
    pub recording: u32,
    /// The version of tcpstate that wrote it.
    pub tcpstate: String,
    /// The release of the kernel.
    pub kernel: String,
    /// One moment on both clocks: monotonic ns, and ns since 1970.
    pub at_ns: u64,
    pub wall_ns: u64,
    /// See [`crate::diagnose::Material::reset_reasons`].
    pub reset_reasons: BTreeMap<u32, String>,
}

/// All lines but the first.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Event {
        event: Event,
        about: Circumstances,
    },
    Acted {
        cookie: u64,
        process: Option<track::Process>,
    },
    IdleClose(IdleClose),
    Note(Note),
    DumpBegins {
        started_ns: u64,
        scope: Scope,
    },
    /// Sockets that are new, or have changed since a dump showed them last.
    DumpShows {
        now_ns: u64,
        rows: Vec<Row>,
    },
    /// Everything else that such a dump shows is as it was, without these.
    DumpEnds {
        finished_ns: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        gone: Vec<u64>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unvisited: Vec<u32>,
    },
    Look(Moment),
    Holders(HoldersLine),
    Pass(Box<PassLine>),
    Lost(u64),
}

/// Holders, as far as they have changed.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct HoldersLine {
    pub(super) at_ns: u64,
    pub(super) hidden: Option<String>,
    /// By the socket's cookie. Where it was asked and nobody was found, nobody.
    #[serde(default, skip_serializing_if = "Delta::is_empty")]
    pub(super) by_cookie: Delta<Held>,
    /// By the inode of the socket's file.
    #[serde(default, skip_serializing_if = "Delta::is_empty")]
    pub(super) by_inode: Delta<Held>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pids: Vec<u32>,
}

/// Who holds one socket.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Held {
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) asked: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) by: Vec<Holder>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(asked: &bool) -> bool {
    !asked
}

/// What was looked up for a pass, as far as it has changed.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct PassLine {
    pub(super) at_ns: u64,
    #[serde(default, skip_serializing_if = "Delta::is_empty")]
    pub(super) info: Delta<(Row, TcpInfo)>,
    #[serde(default, skip_serializing_if = "Delta::is_empty")]
    pub(super) listeners: Delta<(Row, Listener)>,
    #[serde(default, skip_serializing_if = "Delta::is_empty")]
    pub(super) namespaces: Delta<Namespace>,
    #[serde(default, skip_serializing_if = "Delta::is_empty")]
    pub(super) processes: Delta<Process>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) cannot_see: Vec<Unseen>,
}

impl Repeated for Row {
    fn is_same(&self, later: &Self, _: u64) -> bool {
        let known = |row: &Self| Self { expires_ms: 0, ..row.clone() };
        known(self) == known(later)
    }

    fn later(&self, elapsed_ns: u64) -> Self {
        let more_ms = u32::try_from(elapsed_ns / NS_PER_MS).unwrap_or(u32::MAX);
        Self { expires_ms: self.expires_ms.saturating_sub(more_ms), ..self.clone() }
    }
}

impl Repeated for TcpInfo {
    fn is_same(&self, later: &Self, _: u64) -> bool {
        let shifted = self.later(later.at_ns.saturating_sub(self.at_ns));
        let ages = |info: &Self| [info.last_data_sent_ms, info.last_data_recv_ms, info.last_ack_recv_ms];
        let is_near = |(one, other): (Option<u32>, Option<u32>)| match (one, other) {
            (Some(one), Some(other)) => u64::from(one.abs_diff(other)) * NS_PER_MS <= TICK_NS,
            (one, other) => one == other,
        };
        let rest = |info: &Self| Self {
            at_ns: 0,
            last_data_sent_ms: None,
            last_data_recv_ms: None,
            last_ack_recv_ms: None,
            ..*info
        };
        ages(&shifted).into_iter().zip(ages(later)).all(is_near) && rest(self) == rest(later)
    }

    fn later(&self, elapsed_ns: u64) -> Self {
        let more_ms = u32::try_from(elapsed_ns / NS_PER_MS).unwrap_or(u32::MAX);
        let older = |age_ms: Option<u32>| age_ms.map(|age_ms| age_ms.saturating_add(more_ms));
        Self {
            at_ns: self.at_ns.saturating_add(elapsed_ns),
            last_data_sent_ms: older(self.last_data_sent_ms),
            last_data_recv_ms: older(self.last_data_recv_ms),
            last_ack_recv_ms: older(self.last_ack_recv_ms),
            ..*self
        }
    }
}

impl<A: Repeated, B: Repeated> Repeated for (A, B) {
    fn is_same(&self, later: &Self, elapsed_ns: u64) -> bool {
        self.0.is_same(&later.0, elapsed_ns) && self.1.is_same(&later.1, elapsed_ns)
    }

    fn later(&self, elapsed_ns: u64) -> Self {
        (self.0.later(elapsed_ns), self.1.later(elapsed_ns))
    }
}

/// What stays as it is until it changes.
macro_rules! constant {
    ($($name:ty),*) => {$(
        impl Repeated for $name {
            fn is_same(&self, later: &Self, _: u64) -> bool {
                self == later
            }

            fn later(&self, _: u64) -> Self {
                self.clone()
            }
        }
    )*};
}

constant!(Held, Listener, Namespace, Process);
