//! All cases, by family.

mod by_design;
mod descriptors;
mod inherited;
mod jobs;
mod leaks;
mod path;
mod proxies;
mod reloads;
mod servers;
mod silent;
mod stack;
mod stale;
mod unclosed;
mod workers;

use super::case::Case;

pub(super) fn all() -> Vec<Case> {
    [
        proxies::CASES,
        workers::CASES,
        by_design::CASES,
        inherited::CASES,
        stale::CASES,
        leaks::CASES,
        descriptors::CASES,
        unclosed::CASES,
        jobs::CASES,
        path::CASES,
        silent::CASES,
        reloads::CASES,
    ]
    .concat()
}

/// The stack of healthy programs, which is no case of `all`: it takes long.
pub(super) fn stack() -> Case {
    stack::STACK
}
