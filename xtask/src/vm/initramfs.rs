//! The first root file system of a VM: our programs, the shared libraries that they are linked with, and the kernel's
//! modules, as an archive in the form that the kernel unpacks (`newc` of cpio, `usr/gen_init_cpio.c`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::child;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive in the making.
#[derive(Default)]
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    /// What is in it, by path without the first slash.
    there: BTreeSet<String>,
}

impl Initramfs {
    /// Adds a program of this machine with its libraries, which keep their places.
    ///
    /// # Errors
    /// When one of these files cannot be read.
    pub(super) fn add_program(&mut self, program: &Path, to: &str) -> Result<()> {
        self.add_file(program, to)?;
        let told = child::output_of(Command::new("ldd").arg(program));
        let told =
            told.with_context(|| format!("ldd does not tell the libraries of {}", program.display()))?;
        for library in libraries(&told) {
            let to = library.to_str().context("the name of a library is not UTF-8")?;
            self.add_file(&library, to)?;
        }
        Ok(())
    }

    /// Adds a file of this machine, and the folders above it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn add_file(&mut self, file: &Path, to: &str) -> Result<()> {
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let to = to.trim_start_matches('/');
        for (slash, _) in to.match_indices('/') {
            self.add(&to[..slash], FOLDER, &[]);
        }
        self.add(to, PROGRAM, &content);
        Ok(())
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        if !self.there.insert(name.to_owned()) {
            return;
        }
        let inode = self.there.len();
        // Inode, mode, user, group, links, time, size, four numbers of devices, length of the name, checksum.
        let header = format!(
            "070701{inode:08x}{mode:08x}{z}{z}{one}{z}{size:08x}{z}{z}{z}{z}{length:08x}{z}",
            z = "00000000",
            one = "00000001",
            size = content.len(),
            length = name.len() + 1,
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The files in what `ldd` prints: of each line the path, if it has one.
fn libraries(told: &str) -> impl Iterator<Item = PathBuf> {
    told.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Initramfs, libraries};
    use crate::scratch::Scratch;

    #[test]
    fn libraries_are_found_in_what_ldd_prints() {
        let told =
            "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\t/lib64/ld.so (0x7)\n";
        let found: Vec<_> = libraries(told).collect();
        assert_eq!(found, [PathBuf::from("/lib/libc.so.6"), PathBuf::from("/lib64/ld.so")]);
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_once() {
        let scratch = Scratch::new();
        let file = scratch.file("file", "hello");
        let mut archive = Initramfs::default();
        archive.add_file(&file, "/bin/one").unwrap();
        archive.add_file(&file, "/bin/two").unwrap();
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let place = |name: &str| text.match_indices(&format!("{name}\0")).map(|it| it.0).collect::<Vec<_>>();
        assert_eq!(place("bin").len(), 1, "{text}");
        assert!(place("bin")[0] < place("bin/one")[0], "{text}");
        assert!(place("bin/two")[0] < place("TRAILER!!!")[0], "{text}");
        assert_eq!(text.matches("070701").count(), 4);
    }
}
