//! The project's files, read once for all checks.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::child;

/// Names relative to the workspace, with the files' text.
pub(super) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads all files that git tracks or would track.
    ///
    /// # Errors
    /// When git does not list the files.
    pub(super) fn load(root: &Path) -> Result<Self> {
        let mut git = Command::new("git");
        // A checkout that belongs to somebody else, as under sudo or in a container, is fine for reading.
        git.args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let told = child::output_of(git.current_dir(root));
        let told = told.context("tidy asks git for the project's files, and git did not answer")?;
        let names = told.split('\0').filter(|name| !name.is_empty());
        // A file that git still lists may have been deleted; a picture is of no use to any check.
        let read =
            |name: &str| fs::read(root.join(name)).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let files = names.filter_map(|name| Some((name.to_owned(), read(name)?))).collect();
        Ok(Self { files })
    }

    /// All files whose name ends with `ending`.
    pub(super) fn ending(&self, ending: &str) -> impl Iterator<Item = (&str, &str)> {
        self.all().filter(move |(name, _)| name.ends_with(ending))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }
}

#[cfg(test)]
impl Tree {
    /// A project with just these files.
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let owned = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Self { files: owned.collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use super::Tree;
    use crate::scratch::Scratch;

    fn git(folder: &Path, arguments: &[&str]) {
        assert!(Command::new("git").args(arguments).current_dir(folder).output().unwrap().status.success());
    }

    #[test]
    fn new_files_are_read_and_ignored_ones_are_not() {
        let scratch = Scratch::new();
        git(scratch.path(), &["init"]);
        scratch.file(".gitignore", "/target\n");
        scratch.file("src/new.rs", "//! New.\n");
        scratch.file("target/built.rs", "");
        let tree = Tree::load(scratch.path()).unwrap();
        assert_eq!(tree.ending(".rs").collect::<Vec<_>>(), [("src/new.rs", "//! New.\n")]);
    }

    #[test]
    fn deleted_files_and_pictures_are_left_out() {
        let scratch = Scratch::new();
        git(scratch.path(), &["init"]);
        let gone = scratch.file("gone.rs", "");
        git(scratch.path(), &["add", "gone.rs"]);
        std::fs::remove_file(gone).unwrap();
        std::fs::write(scratch.path().join("picture.png"), [0x89, 0xff, 0xfe]).unwrap();
        assert_eq!(Tree::load(scratch.path()).unwrap().all().count(), 0);
    }
}
