//! Redocly's command line, which checks the description of the API: one package from npm, without any other, in the
//! cache. `redocly/package-lock.json` pins it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{
    cache::{self, Lock},
    places::Places,
};
use crate::{child, host, say::say};

const PACKAGE: &str = include_str!("redocly/package.json");
const PACKAGE_LOCK: &str = include_str!("redocly/package-lock.json");
/// Where npm puts the program.
const PROGRAM: &str = "node_modules/.bin/redocly";

/// The program, if it is there.
pub(super) fn find(places: &Places) -> Option<PathBuf> {
    let program = places.cache.join(name()).join(PROGRAM);
    host::is_executable(&program).then_some(program)
}

/// Another pinned version has another folder.
fn name() -> String {
    format!("redocly-{}", cache::hash(PACKAGE_LOCK))
}

/// Fetches it into the cache, on which the caller holds the lock.
///
/// # Errors
/// When there is no npm, or a Node.js that is too old for it, or the package cannot be had.
pub(super) fn install(_lock: &Lock, places: &Places) -> Result<()> {
    let npm = places.program("npm").context("redocly takes npm, and Node.js 20.19 or 22.12 or newer")?;
    say("fetching redocly from npm (3 MB to download, 15 MB on disk)");
    let name = name();
    let root = cache::workshop(&places.cache, &name)?.join("root");
    cache::remove(&root)?;
    fs::create_dir(&root)?;
    fs::write(root.join("package.json"), PACKAGE)?;
    fs::write(root.join("package-lock.json"), PACKAGE_LOCK)?;
    child::run(&mut ci(&npm, &root), "fetching redocly")?;
    let runs = (places.ask)(&root.join(PROGRAM), &["--version"]).is_some();
    ensure!(runs, "redocly does not run here: it takes Node.js 20.19, or 22.12 or newer");
    cache::publish(&places.cache, &name, &root)?;
    Ok(())
}

/// Installs what is pinned, and lets no package run a script.
fn ci(npm: &Path, root: &Path) -> Command {
    let mut command = Command::new(npm);
    command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]).current_dir(root);
    command
}
