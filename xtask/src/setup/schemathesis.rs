//! Schemathesis, which sends a daemon the requests that the description of its API allows, and those that it does not:
//! from `PyPI`, into a Python environment of its own in the cache. `schemathesis.txt` pins it and all that it needs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

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

/// The packages, with the checksums of their files.
const PACKAGES: &str = include_str!("schemathesis.txt");
/// The package with which Debian's Python makes environments.
const VENV: &str = "python3-venv";

/// The program, if it is there.
pub(super) fn find(places: &Places) -> Option<PathBuf> {
    let program = places.cache.join(name()).join("bin/schemathesis");
    host::is_executable(&program).then_some(program)
}

/// Other pinned packages make another environment.
fn name() -> String {
    format!("schemathesis-{}", cache::hash(PACKAGES))
}

/// Fetches it into the cache, on which the caller holds the lock.
///
/// # Errors
/// When there is no Python that makes environments, or the packages cannot be had.
pub(super) fn install(_lock: &Lock, places: &Places, privilege: Privilege) -> Result<()> {
    let python = python(places, privilege)?;
    say("fetching schemathesis from PyPI (30 MB to download, 100 MB on disk)");
    let (name, cache) = (name(), &places.cache);
    let workshop = cache::workshop(cache, &name)?;
    let list = workshop.join("packages.txt");
    fs::write(&list, PACKAGES).with_context(|| format!("cannot write {}", list.display()))?;
    // The programs of an environment name its place, so it is made where it stays; the program is there only when all
    // is: pip writes it last, from the folder in which the packages wait.
    let wheels = workshop.join("wheels");
    let place = cache.join(&name);
    cache::remove(&place)?;
    let made = (|| {
        child::run(Command::new(&python).args(["-m", "venv"]).arg(&place), "making a Python environment")?;
        let pip = |command: &str| {
            let mut pip = Command::new(place.join("bin/python"));
            pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", command, "--require-hashes"]);
            pip.args(["--only-binary", ":all:", "--requirement"]).arg(&list);
            pip
        };
        child::run(pip("download").arg("--dest").arg(&wheels), "fetching schemathesis")?;
        let mut install = pip("install");
        install.args(["--no-index", "--find-links"]).arg(&wheels);
        child::run(&mut install, "installing schemathesis")?;
        let program = place.join("bin/schemathesis");
        ensure!((places.ask)(&program, &["--version"]).is_some(), "schemathesis does not run here");
        cache::remove(&workshop)
    })();
    if made.is_err() {
        cache::remove(&place)?;
    }
    made
}

/// A Python that makes environments with pip in them.
fn python(places: &Places, privilege: Privilege) -> Result<PathBuf> {
    let find = || places.program("python3").filter(|python| makes_environments(places, python));
    if find().is_none() && places.program("apt-get").is_some() && privilege != Privilege::None {
        apt::install(&[VENV], privilege)?;
    }
    find().with_context(|| {
        format!("schemathesis takes a python3 with venv: sudo apt-get install --no-install-recommends {VENV}")
    })
}

fn makes_environments(places: &Places, python: &Path) -> bool {
    (places.ask)(python, &["-c", "import ensurepip, venv"]).is_some()
}
