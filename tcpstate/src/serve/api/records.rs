//! Events as the kernel side tells them: for whoever watches a server that makes a hundred thousand connections a
//! second, and decodes them elsewhere or later. Nothing is formatted or copied here.
//!
//! The stream begins with a line of JSON, a [`Head`]. Then come records of [`Head::record_bytes`] bytes each, laid out
//! as `tcpstate_common::Brief`, in the order in which they happened; that of an IPv6 socket takes two.

use std::{collections::BTreeMap, sync::Arc};

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use tcpstate_common::{Brief, wire::brief::LOST};

use super::feed::Told;
use crate::{
    clock,
    serve::{ask::Batch, stamp::Stamps},
};

/// What to ask for with `Accept:`.
pub const MEDIA_TYPE: &str = "application/vnd.tcpstate.records";
/// The version of the stream.
pub const VERSION: u32 = 1;

/// What a reader has to know.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Head {
    /// [`VERSION`].
    pub version: u32,
    pub record_bytes: usize,
    /// `little` or `big`.
    pub byte_order: String,
    /// The monotonic clock of the records, ns, at one moment.
    pub monotonic_ns: u64,
    /// The wall clock at that moment, ns since 1970.
    pub wall_ns: u64,
    /// The kernel's names of the reasons of resets.
    pub reset_reasons: BTreeMap<u32, String>,
}

impl Head {
    /// As the clocks stand to each other now.
    pub(super) fn new(reset_reasons: BTreeMap<u32, String>) -> Self {
        let monotonic_ns = clock::monotonic_ns();
        Self {
            version: VERSION,
            record_bytes: size_of::<Brief>(),
            byte_order: BYTE_ORDER.to_owned(),
            monotonic_ns,
            wall_ns: Stamps::now().wall_ns(monotonic_ns),
            reset_reasons,
        }
    }

    /// Whether this program understands the records.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        let theirs = (self.version, self.record_bytes, self.byte_order.as_str());
        let ours = (VERSION, size_of::<Brief>(), BYTE_ORDER);
        if theirs == ours {
            Ok(())
        } else {
            Err(format!("its records are {theirs:?}, and {ours:?} is known"))
        }
    }

    /// The clocks' comparison.
    #[must_use]
    pub fn stamps(&self) -> Stamps {
        Stamps::at(self.monotonic_ns, self.wall_ns)
    }

    pub(super) fn line(&self) -> Bytes {
        // Numbers and strings can always be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line.into()
    }
}

/// The byte order of this machine.
pub const BYTE_ORDER: &str = if cfg!(target_endian = "little") { "little" } else { "big" };

/// What is told together, as it is sent.
pub(super) fn bytes(told: Told<Brief>) -> Bytes {
    match told {
        Told::Events(batch) => Bytes::from_owner(Sent(batch)),
        Told::Lost(count) => {
            // SAFETY: a struct of numbers without padding; zeros are a value.
            let blank: Brief = unsafe { std::mem::zeroed() };
            Bytes::copy_from_slice(as_bytes(&[Brief { kind: LOST, cookie: count, ..blank }]))
        }
    }
}

/// A batch that is sent without being copied.
struct Sent(Arc<Batch<Brief>>);

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        as_bytes(&self.0.events)
    }
}

fn as_bytes(records: &[Brief]) -> &[u8] {
    // SAFETY: numbers without padding, which the wire's own checks hold them to.
    unsafe { std::slice::from_raw_parts(records.as_ptr().cast(), size_of_val(records)) }
}
