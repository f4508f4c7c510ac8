//! Where to look on a machine. All of setup's looking goes through here, so that a test can describe a machine.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{child, host};

/// Starts a program with arguments and returns its stdout, or nothing when it fails.
pub(crate) type Ask = Box<dyn Fn(&Path, &[&str]) -> Option<String>>;

/// The places that setup looks at.
pub(crate) struct Places {
    /// The folders in which programs are looked for.
    pub(crate) path: Vec<PathBuf>,
    /// The folder in which rustup keeps its toolchains.
    pub(crate) toolchains: PathBuf,
    /// The compiler of the distribution, as opposed to rustup's.
    pub(crate) system_rustc: PathBuf,
    /// The folders in which the distribution keeps shared libraries.
    pub(crate) libraries: Vec<PathBuf>,
    /// Our own folder for what was built or fetched once.
    pub(crate) cache: PathBuf,
    pub(crate) ask: Ask,
}

impl Places {
    /// The places of the machine we run on.
    ///
    /// # Errors
    /// When the environment names no home folder.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let home = env::var_os("HOME").filter(|it| !it.is_empty()).map(PathBuf::from);
        let home = home.context("HOME is not set: tell me where your home folder is")?;
        let folder = |variable: &str, default: &str| {
            let named = env::var_os(variable).map(PathBuf::from).filter(|it| it.is_absolute());
            named.unwrap_or_else(|| home.join(default))
        };
        let triplet = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
        Ok(Self {
            path: host::search_path(),
            toolchains: folder("RUSTUP_HOME", ".rustup").join("toolchains"),
            system_rustc: "/usr/bin/rustc".into(),
            libraries: [&triplet, "/usr/lib64", "/usr/lib"].map(PathBuf::from).into(),
            cache: folder("XDG_CACHE_HOME", ".cache").join("tcpstate"),
            ask: Box::new(|program, arguments| child::output_of(Command::new(program).args(arguments))),
        })
    }

    /// The first program of that name.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        host::find_program(&self.path, name)
    }
}
