//! What `install` puts where, and `uninstall` takes away again: one list for both, so that they cannot drift.
//!
//! Input: the options that both share. Knows files, not systemd's commands, except for `systemctl`.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{child, workspace::Workspace};

/// The systemd unit.
pub(crate) const UNIT: &str = "tcpstate.service";

/// The prefix that the unit file is written for.
const USUAL_PREFIX: &str = "/usr/local";

/// Where to install to.
#[derive(clap::Args)]
pub(crate) struct Destination {
    /// The binary goes to PREFIX/bin
    #[arg(long, default_value = USUAL_PREFIX)]
    pub(crate) prefix: PathBuf,
    /// Put everything below this folder instead of /, and do not touch the running system
    #[arg(long, value_name = "DIR")]
    pub(crate) destdir: Option<PathBuf>,
}

/// One file to install.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) source: PathBuf,
    /// As the installed system sees it, without the staging folder.
    pub(crate) place: PathBuf,
    mode: u32,
}

impl Destination {
    /// Where `place` is for now.
    pub(crate) fn staged(&self, place: &Path) -> PathBuf {
        match &self.destdir {
            Some(folder) => folder.join(place.strip_prefix("/").unwrap_or(place)),
            None => place.to_owned(),
        }
    }

    /// All files, whether or not they are there.
    pub(crate) fn items(&self, workspace: &Workspace) -> Vec<Item> {
        let packaging = workspace.root.join("tcpstate/packaging");
        vec![
            Item { source: workspace.daemon(true), place: self.prefix.join("bin/tcpstate"), mode: 0o755 },
            Item {
                source: packaging.join(UNIT),
                place: Path::new("/etc/systemd/system").join(UNIT),
                mode: 0o644,
            },
            Item {
                source: packaging.join("tcpstate.sysusers"),
                place: "/etc/sysusers.d/tcpstate.conf".into(),
                mode: 0o644,
            },
        ]
    }

    /// Copies one file into its place. A daemon that runs from the old file keeps it.
    ///
    /// # Errors
    /// Names the file that cannot be read or written.
    pub(crate) fn put(&self, item: &Item) -> Result<PathBuf> {
        let source = &item.source;
        let mut bytes = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        if item.place.ends_with(UNIT) {
            bytes = self.for_our_prefix(&String::from_utf8_lossy(&bytes)).into_bytes();
        }
        let place = self.staged(&item.place);
        let cannot = || format!("cannot write {}", place.display());
        fs::create_dir_all(place.parent().context("a file needs a folder")?).with_context(cannot)?;
        let new = place.with_extension("new");
        fs::write(&new, bytes).with_context(cannot)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(item.mode)).with_context(cannot)?;
        fs::rename(&new, &place).with_context(cannot)?;
        Ok(place)
    }

    /// The unit's text, with the binary where we put it.
    fn for_our_prefix(&self, unit: &str) -> String {
        let ours = self.prefix.join("bin/tcpstate").display().to_string();
        unit.replace(&format!("{USUAL_PREFIX}/bin/tcpstate"), &ours)
    }

    /// Removes one file; returns its place when there was one.
    ///
    /// # Errors
    /// When it is there and stays.
    pub(crate) fn take_away(&self, item: &Item) -> Result<Option<PathBuf>> {
        let place = self.staged(&item.place);
        match fs::remove_file(&place) {
            Ok(()) => Ok(Some(place)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", place.display())),
        }
    }

    /// Says whether the system that we change is one that systemd runs.
    pub(crate) fn is_run_by_systemd(&self) -> bool {
        self.destdir.is_none() && Path::new("/run/systemd/system").exists()
    }
}

/// Tells systemd something.
///
/// # Errors
/// When systemctl fails.
pub(crate) fn systemctl(arguments: &[&str]) -> Result<()> {
    let step = format!("systemctl {}", arguments.join(" "));
    child::run(Command::new("systemctl").args(arguments), &step)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

    use super::Destination;
    use crate::{scratch::Scratch, workspace::Workspace};

    fn stage(scratch: &Scratch, prefix: &str) -> (Workspace, Destination) {
        scratch.file("target/release/tcpstate", "ELF");
        scratch.file("tcpstate/packaging/tcpstate.service", "ExecStart=/usr/local/bin/tcpstate daemon\n");
        scratch.file("tcpstate/packaging/tcpstate.sysusers", "u tcpstate -\n");
        let root = scratch.path().to_owned();
        let workspace = Workspace { target: root.join("target"), root: root.clone() };
        let destination = Destination { prefix: prefix.into(), destdir: Some(root.join("stage")) };
        (workspace, destination)
    }

    fn files_below(folder: PathBuf) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files.extend(files_below(path)) } else { files.push(path) }
        }
        files
    }

    #[test]
    fn uninstall_takes_away_exactly_what_install_put() {
        let scratch = Scratch::new();
        let (workspace, destination) = stage(&scratch, "/usr/local");
        let foreign = scratch.file("stage/etc/systemd/system/other.service", "");
        let items = destination.items(&workspace);
        let put: Vec<_> = items.iter().map(|item| destination.put(item).unwrap()).collect();
        assert_eq!(files_below(scratch.path().join("stage")).len(), put.len() + 1);
        let taken: Vec<_> = items.iter().filter_map(|it| destination.take_away(it).unwrap()).collect();
        assert_eq!(taken, put);
        assert_eq!(files_below(scratch.path().join("stage")), [foreign]);
        assert!(items.iter().all(|it| destination.take_away(it).unwrap().is_none()), "twice is harmless");
    }

    #[test]
    fn the_unit_starts_the_binary_of_another_prefix() {
        let scratch = Scratch::new();
        let (workspace, destination) = stage(&scratch, "/opt/tcpstate");
        let items = destination.items(&workspace);
        let binary = destination.put(&items[0]).unwrap();
        assert_eq!(fs::metadata(&binary).unwrap().permissions().mode() & 0o777, 0o755);
        let unit = destination.put(&items[1]).unwrap();
        assert_eq!(fs::read_to_string(unit).unwrap(), "ExecStart=/opt/tcpstate/bin/tcpstate daemon\n");
    }

    #[test]
    fn a_missing_source_is_named() {
        let scratch = Scratch::new();
        let (workspace, destination) = stage(&scratch, "/usr/local");
        fs::remove_file(scratch.path().join("target/release/tcpstate")).unwrap();
        let error = destination.put(&destination.items(&workspace)[0]).unwrap_err();
        assert!(error.to_string().ends_with("target/release/tcpstate"), "{error}");
    }
}
