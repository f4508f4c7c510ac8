//! What this process may do on this machine, and where its programs are.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use crate::child;

/// How a program can be started with root's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// We are root.
    Root,
    /// We are not, but `sudo` lets us without a question.
    Sudo,
    /// Neither.
    None,
}

impl Privilege {
    /// Finds out by asking `sudo` when needed.
    pub(crate) fn of_this_process() -> Self {
        if is_root() {
            Self::Root
        } else if child::succeeds(Command::new("sudo").args(["-n", "true"])) {
            Self::Sudo
        } else {
            Self::None
        }
    }
}

/// Says whether the effective user is root: the kernel lets that user own `/proc/self`.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

/// The folders of `PATH`, with the two in which administrators' tools live at the end.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect()
}

/// The first executable file called `program` in `folders`.
pub(crate) fn find_program(folders: &[PathBuf], program: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(program)).find(|file| is_executable(file))
}

/// Says whether `file` is a file that somebody may execute.
pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}
