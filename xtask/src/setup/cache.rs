//! Our cache folder: what was built or fetched once, kept so that an interrupted setup never looks complete
//! and two setups at a time do not meet.
//!
//! Layout: `lock`, `building/NAME` while NAME is being made, and `NAME` when it is whole.

use std::{
    env,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{child, say::say};

/// Held while something is added to the cache; given back when dropped, also by a killed process.
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Waits until no other setup works on `cache`.
    ///
    /// # Errors
    /// When the cache folder cannot be created or locked.
    pub(crate) fn take(cache: &Path) -> Result<Self> {
        Self::take_after(cache, || say("another setup is at work; waiting until it is done"))
    }

    /// Calls `before_waiting` if there is something to wait for.
    fn take_after(cache: &Path, before_waiting: impl FnOnce()) -> Result<Self> {
        fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
        let name = cache.join("lock");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&name);
        let file = file.with_context(|| format!("cannot write {}", name.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                before_waiting();
                file.lock().with_context(|| format!("cannot lock {}", name.display()))?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", name.display()));
            }
        }
        Ok(Self { file })
    }
}

/// The folder in which `name` is made. What an interrupted setup left there is used again.
///
/// # Errors
/// When it cannot be created.
pub(crate) fn workshop(cache: &Path, name: &str) -> Result<PathBuf> {
    let folder = cache.join("building").join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Moves the folder `whole` to its place `name` in the cache in one step, over a broken one if need be, and
/// clears the workshop of that name.
///
/// # Errors
/// When a folder cannot be moved or removed.
pub(crate) fn publish(cache: &Path, name: &str, whole: &Path) -> Result<PathBuf> {
    let place = cache.join(name);
    remove(&place)?;
    fs::rename(whole, &place).with_context(|| format!("cannot create {}", place.display()))?;
    remove(&cache.join("building").join(name))?;
    Ok(place)
}

/// Removes a folder with all it holds, if it is there.
///
/// # Errors
/// When it stays.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// A `cargo install` of one crate into the workshop's folder `root`. Takes `arguments` and `environment`
/// beside; the caller publishes `root` when it has seen the program work.
///
/// # Errors
/// When cargo fails; its own messages have been shown then.
pub(crate) fn cargo_install(
    lock: &Lock,
    workshop: &Path,
    arguments: &[&str],
    environment: &[(&str, String)],
    step: &str,
) -> Result<PathBuf> {
    let root = workshop.join("root");
    let mut cargo = child::cargo();
    // Another checkout's or user's wishes for a compiler or its flags are not meant for this program.
    for variable in ["RUSTC", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    cargo.envs(environment.iter().map(|(name, value)| (name, value)));
    // With the program's folder on the path, cargo does not tell the user to put it there.
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([root.join("bin")]);
    cargo.env("PATH", env::join_paths(folders).context("the cache folder's name has a colon")?);
    cargo.arg("install").args(arguments).args(["--locked", "--force", "--root"]).arg(&root);
    cargo.arg("--target-dir").arg(workshop.join("target")).current_dir(workshop);
    // If we are killed, cargo goes on. As its input is the lock's (empty) file, the lock stays taken until it has
    // ended, and the next setup does not meet it in the workshop.
    cargo.stdin(lock.file.try_clone().context("cannot hand on the lock")?);
    child::run(&mut cargo, step)?;
    Ok(root)
}

/// A short name for the state of a file: another path, size or time gives another name.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn fingerprint(file: &Path) -> Result<String> {
    let seen = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = format!("{} {} {} {}", file.display(), seen.len(), seen.mtime(), seen.mtime_nsec());
    Ok(hash(&text))
}

/// A short name for a text.
pub(crate) fn hash(text: &str) -> String {
    // FNV-1a: stable between compilers, which the standard library's hasher does not promise.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Lock, fingerprint, publish, workshop};
    use crate::scratch::Scratch;

    #[test]
    fn a_broken_entry_is_replaced_and_the_workshop_cleared() {
        let scratch = Scratch::new();
        scratch.file("tool/bin/tool", "broken");
        let shop = workshop(scratch.path(), "tool").unwrap();
        scratch.file("building/tool/made/bin/tool", "whole");
        let place = publish(scratch.path(), "tool", &shop.join("made")).unwrap();
        assert_eq!(fs::read_to_string(place.join("bin/tool")).unwrap(), "whole");
        assert!(!shop.exists());
    }

    #[test]
    fn a_workshop_is_not_taken_for_an_entry() {
        let scratch = Scratch::new();
        workshop(scratch.path(), "tool").unwrap();
        assert!(!scratch.path().join("tool").exists());
    }

    #[test]
    fn a_second_setup_waits_for_the_first() {
        let scratch = Scratch::new();
        let mut first = Some(Lock::take(scratch.path()).unwrap());
        let mut waited = false;
        let end_the_first = || {
            waited = true;
            first.take();
        };
        let second = Lock::take_after(scratch.path(), end_the_first).unwrap();
        assert!(waited);
        drop(second);
        Lock::take_after(scratch.path(), || panic!("nobody holds it")).unwrap();
    }

    #[test]
    fn a_changed_file_has_another_fingerprint() {
        let scratch = Scratch::new();
        let file = scratch.file("libLLVM.so.22.1", "one");
        let before = fingerprint(&file).unwrap();
        assert_eq!(fingerprint(&file).unwrap(), before);
        scratch.file("libLLVM.so.22.1", "longer");
        assert_ne!(fingerprint(&file).unwrap(), before);
    }
}
