//! cargo-deny, which only `lint` needs: the user's own when there is one, else one in the cache.

use std::path::PathBuf;

use anyhow::Result;

use super::{
    cache::{self, Lock},
    places::Places,
};
use crate::{host, say::say};

const VERSION: &str = "0.20.2";

/// The program cargo-deny, built when it is not there.
///
/// # Errors
/// When it cannot be built.
pub(crate) fn ensure() -> Result<PathBuf> {
    let places = Places::of_this_machine()?;
    let name = format!("cargo-deny-{VERSION}");
    let cached = places.cache.join(&name).join("bin/cargo-deny");
    let find =
        || places.program("cargo-deny").or_else(|| host::is_executable(&cached).then(|| cached.clone()));
    if let Some(program) = find() {
        return Ok(program);
    }
    let lock = Lock::take(&places.cache)?;
    if let Some(program) = find() {
        return Ok(program);
    }
    say(format!("building cargo-deny {VERSION}: several minutes on two cores, once"));
    let workshop = cache::workshop(&places.cache, &name)?;
    let arguments = ["cargo-deny", "--version", VERSION];
    let root = cache::cargo_install(&lock, &workshop, &arguments, &[], "building cargo-deny")?;
    cache::publish(&places.cache, &name, &root)?;
    Ok(cached)
}
