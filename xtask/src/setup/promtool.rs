//! promtool, which tests check rules and metrics with: the system's when there is one, else taken out of
//! Debian's package `prometheus` without installing that package, which would start a server.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use super::{
    apt,
    cache::{self, Lock},
    places::Places,
};
use crate::{
    child,
    host::{self, Privilege},
    say::say,
};

const NAME: &str = "promtool";

/// The program promtool, if it is there.
pub(super) fn find(places: &Places) -> Option<PathBuf> {
    let cached = places.cache.join(NAME).join(NAME);
    places.program(NAME).or_else(|| host::is_executable(&cached).then_some(cached))
}

/// Fetches promtool into the cache, on which the caller holds the lock.
///
/// # Errors
/// When the package cannot be had, or holds no promtool that runs.
pub(super) fn install(_lock: &Lock, places: &Places, privilege: Privilege) -> Result<()> {
    say("fetching promtool out of Debian's package prometheus (19 MB, nothing of it is installed)");
    let workshop = cache::workshop(&places.cache, NAME)?;
    cache::remove(&workshop)?;
    let workshop = cache::workshop(&places.cache, NAME)?;
    if apt::candidate("prometheus").is_none() && privilege != Privilege::None {
        apt::update(privilege)?;
    }
    apt::download("prometheus", &workshop)?;
    let mut files = fs::read_dir(&workshop)?.filter_map(Result::ok).map(|entry| entry.path());
    let package = files.find(|file| file.extension().is_some_and(|it| it == "deb"));
    let package = package.context("apt-get left no package file")?;
    let unpacked = workshop.join("unpacked");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--extract").arg(&package).arg(&unpacked);
    child::run(&mut unpack, "unpacking the package prometheus")?;
    let root = workshop.join("root");
    fs::create_dir(&root)?;
    fs::rename(unpacked.join("usr/bin").join(NAME), root.join(NAME))
        .context("the package has no promtool")?;
    ensure!((places.ask)(&root.join(NAME), &["--version"]).is_some(), "promtool does not run here");
    cache::publish(&places.cache, NAME, &root)?;
    Ok(())
}
