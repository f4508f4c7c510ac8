//! Slots of the kernel side's table.

use std::mem::offset_of;

use tcpstate_common::{Slot, wire::slot::KEPT_NS};

use crate::{fuzz::fuzz, observe::slots};

/// A slot of each state, new and old.
fn seeds() -> Vec<Vec<u8>> {
    let slots = (0_u64..16).map(|state| {
        let mut slot = vec![0; size_of::<Slot>()];
        slot[offset_of!(Slot, tag)..][..8].copy_from_slice(&(state << 60 | state | 77 << 4).to_ne_bytes());
        slot[offset_of!(Slot, entered_ns)..][..8].copy_from_slice(&(state * KEPT_NS / 8).to_ne_bytes());
        slot
    });
    slots.collect()
}

#[test]
fn slots() {
    fuzz("slots", seeds(), |bytes| {
        let mut whole = [0; size_of::<Slot>()];
        for (to, from) in whole.iter_mut().zip(bytes) {
            *to = *from;
        }
        // SAFETY: the size is right, a slot is Pod so that any bytes are one, and the read needs no alignment.
        let slot = unsafe { whole.as_ptr().cast::<Slot>().read_unaligned() };
        for now_ns in [0, KEPT_NS, u64::MAX] {
            let _ = slots::note(&slot, now_ns);
        }
    });
}
