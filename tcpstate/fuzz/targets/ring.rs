//! Records of the ring, and of the file iterator.

use std::mem::offset_of;

use tcpstate_common::{
    Event as Wire, Holder,
    wire::{AF_INET, AF_INET6, About, EVENT_KINDS, Idle},
};

use crate::{fuzz::fuzz, observe::decode};

/// A record of each kind, alone and with what may come beside it.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![1; 3 * size_of::<Holder>()]];
    for kind in 0..EVENT_KINDS {
        for family in [AF_INET, AF_INET6] {
            for beside in [0, size_of::<About>(), size_of::<Idle>()] {
                let mut record = vec![0; size_of::<Wire>()];
                record[offset_of!(Wire, kind)] = u8::try_from(kind).expect("a small number");
                record[offset_of!(Wire, family)] = family;
                record[offset_of!(Wire, old_state)] = 1;
                record[offset_of!(Wire, new_state)] = 8;
                record.resize(size_of::<Wire>() + beside, 1);
                seeds.push(record);
            }
        }
    }
    seeds
}

#[test]
fn ring() {
    fuzz("ring", seeds(), |bytes| {
        let (event, beside) = decode::split(bytes);
        if let Ok(mut wire) = decode::wire(event) {
            drop(decode::record(&wire, beside.idle.as_ref()));
            if let Ok(Some(event)) = decode::event(&wire) {
                decode::complete(&mut wire, &event);
            }
        }
        drop(decode::holders(bytes));
    });
}
