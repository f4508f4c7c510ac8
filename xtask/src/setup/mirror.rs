//! The Debian mirrors that this machine uses, and an apt of our own that looks at other releases there: the machine's
//! own lists and settings stay as they are.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::apt;
use crate::child;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SOURCES: &str = "/etc/apt";

/// A suite of Debian, such as `trixie` or `bookworm-security`.
pub(crate) type Suite = &'static str;

/// Apt with lists of its own, in a folder of our cache.
pub(super) struct Apt {
    config: PathBuf,
}

impl Apt {
    /// Prepares the folder, for these suites on the machine's mirrors.
    ///
    /// # Errors
    /// When the machine's sources name no mirror of Debian.
    pub(super) fn with(folder: &Path, suites: &[Suite]) -> Result<Self> {
        let mirrors = Mirrors::in_sources(&sources(Path::new(SOURCES)));
        for place in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(place))
                .context("cannot create the folders of the kernels' apt")?;
        }
        fs::write(folder.join("sources.list"), mirrors.list(suites)?)?;
        let config = folder.join("apt.conf");
        fs::write(&config, settings(folder))?;
        Ok(Self { config })
    }

    /// Fetches the package lists.
    ///
    /// # Errors
    /// When apt-get fails.
    pub(super) fn update(&self) -> Result<()> {
        child::run(self.apt_get().arg("update"), "fetching the package lists of the kernels' suites")
    }

    /// Says whether the lists have a package.
    pub(super) fn knows(&self, package: &str) -> bool {
        let mut command = Command::new("apt-cache");
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        child::output_of(command.args(["policy", package])).is_some_and(|it| apt::candidate_in(&it).is_some())
    }

    /// Fetches a package into `folder`; apt compares its checksum with the one in the signed lists.
    ///
    /// # Errors
    /// When apt-get fails.
    pub(super) fn download(&self, package: &str, folder: &Path) -> Result<()> {
        let mut command = self.apt_get();
        command.args(["download", package]).current_dir(folder);
        child::run(&mut command, &format!("fetching the package {package}"))
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        // What is on stdout may be JSON.
        command.arg("--quiet").env("APT_CONFIG", &self.config).stdout(io::stderr());
        command
    }
}

fn settings(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "Dir::Etc::sourcelist \"{folder}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
         Dir::State::lists \"{folder}/lists\";\nDir::Cache \"{folder}/cache\";\n\
         Acquire::Languages \"none\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         // Root's apt-get fetches as another user, who may not write into our folder.\n\
         APT::Sandbox::User \"root\";\n"
    )
}

/// The text of all files that name sources, in either of apt's two forms.
fn sources(folder: &Path) -> String {
    let parts = fs::read_dir(folder.join("sources.list.d")).into_iter().flatten().flatten();
    let files = parts.map(|entry| entry.path()).chain([folder.join("sources.list")]);
    files.filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>().join("\n")
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Mirrors {
    main: Option<String>,
    security: Option<String>,
}

impl Mirrors {
    fn in_sources(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words = lines.flat_map(str::split_whitespace).map(|word| word.trim_end_matches('/'));
        let uris: Vec<_> =
            words.filter(|it| it.starts_with("http://") || it.starts_with("https://")).collect();
        let ending = |end: &str| uris.iter().find(|uri| uri.ends_with(end)).map(|uri| (*uri).to_owned());
        Self { main: ending("/debian"), security: ending("/debian-security") }
    }

    /// The lines of a `sources.list`.
    fn list(&self, suites: &[Suite]) -> Result<String> {
        let line = |suite: &Suite| {
            let (mirror, end) = if suite.ends_with("-security") {
                (&self.security, "/debian-security")
            } else {
                (&self.main, "/debian")
            };
            let mirror = mirror.as_ref().with_context(|| {
                format!(
                    "{suite} has the kernels, and no source of this machine's apt ends in {end}: add a mirror of Debian"
                )
            })?;
            Ok(format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
        };
        suites.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Mirrors, sources};
    use crate::scratch::Scratch;

    #[test]
    fn mirrors_are_found_in_both_forms_of_sources() {
        let scratch = Scratch::new();
        scratch.file("sources.list", "deb [arch=amd64] https://mirror.test/debian/ bookworm main\n");
        scratch.file(
            "sources.list.d/debian.sources",
            "Types: deb\n# http://old.test/debian-security\nURIs: http://mirror.test/debian-security\n",
        );
        let mirrors = Mirrors::in_sources(&sources(scratch.path()));
        assert_eq!(mirrors.main.as_deref(), Some("https://mirror.test/debian"));
        assert_eq!(mirrors.security.as_deref(), Some("http://mirror.test/debian-security"));
        let list = mirrors.list(&["sid", "bullseye-security"]).unwrap();
        let ends: Vec<_> =
            list.lines().filter_map(|line| line.split_once("] ").map(|(_, end)| end)).collect();
        let expected = [
            "https://mirror.test/debian sid main",
            "http://mirror.test/debian-security bullseye-security main",
        ];
        assert_eq!(ends, expected);
    }

    #[test]
    fn a_machine_without_a_mirror_of_debian_is_told_what_it_lacks() {
        let mirrors = Mirrors::in_sources("deb http://archive.test/ubuntu noble main\n");
        let error = mirrors.list(&["trixie"]).unwrap_err().to_string();
        assert!(error.contains("no source of this machine's apt ends in /debian"), "{error}");
    }
}
