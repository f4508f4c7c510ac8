//! Where the workspace and its build results are.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Tells the daemon's build script which eBPF object to embed.
pub(crate) const OBJECT_VARIABLE: &str = "TCPSTATE_EBPF_OBJECT";

/// The folders of one checkout.
pub(crate) struct Workspace {
    /// The folder of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds the checkout that this program was built from.
    ///
    /// # Errors
    /// When this program's own place cannot be read.
    pub(crate) fn find() -> Result<Self> {
        // Cargo sets the variable when it runs us; without cargo, the place we were compiled in has to do.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().context("the workspace has no folder")?.to_owned();
        // We are TARGET/debug/xtask, wherever the user told cargo to put its target folder.
        let exe = env::current_exe().context("cannot tell where this program is")?;
        let target = exe.ancestors().nth(2).context("this program is outside a target folder")?.to_owned();
        Ok(Self { root, target })
    }

    /// The eBPF object that the daemon embeds.
    pub(crate) fn object(&self) -> PathBuf {
        self.target.join("bpf").join("tcpstate.bpf.o")
    }

    /// The eBPF program that does nothing, against which others are measured.
    pub(crate) fn empty_object(&self) -> PathBuf {
        self.object().with_file_name("empty.bpf.o")
    }

    /// The eBPF program that counts for tests what the kernel hands to programs. Tests look for it beside the object.
    pub(crate) fn witness_object(&self) -> PathBuf {
        self.object().with_file_name("witness.bpf.o")
    }

    /// The daemon of one profile.
    pub(crate) fn daemon(&self, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" }).join("tcpstate")
    }
}

/// Writes `bytes` to `file` unless it holds them already, so that cargo sees no change where there is none.
/// Returns whether it wrote. The file is never seen half written.
///
/// # Errors
/// When the folder or the file cannot be written.
pub(crate) fn write_if_changed(file: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(file).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let folder = file.parent().context("a file needs a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let half = file.with_extension("new");
    fs::write(&half, bytes).with_context(|| format!("cannot write {}", half.display()))?;
    fs::rename(&half, file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::write_if_changed;
    use crate::scratch::Scratch;

    #[test]
    fn equal_bytes_are_not_written_again() {
        let scratch = Scratch::new();
        let file = scratch.path().join("sub/object.o");
        assert!(write_if_changed(&file, b"one").unwrap());
        let first = fs::metadata(&file).unwrap().modified().unwrap();
        assert!(!write_if_changed(&file, b"one").unwrap());
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), first);
        assert!(write_if_changed(&file, b"two").unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no half written file stays");
    }
}
