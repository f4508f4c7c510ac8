//! All cases, by family.

mod by_design;
mod inherited;
mod proxies;
mod servers;
mod workers;

use super::case::Case;

pub(super) fn all() -> Vec<Case> {
    [proxies::CASES, workers::CASES, by_design::CASES, inherited::CASES].concat()
}
