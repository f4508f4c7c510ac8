//! Other kernels for `cargo xtask vm`: Debian's, taken out of their packages and kept in the cache with checksums.
//!
//! Layout of an entry: `vmlinuz`, the modules of `MODULES`, and `SHA256SUMS` of them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{
    cache::{self, Lock},
    mirror::{Apt, Suite},
    places::Places,
};
use crate::{child, vm::kernels::Kernel};

/// What the daemon needs and a kernel of Debian has as modules.
const MODULES: [&str; 2] = ["inet_diag", "tcp_diag"];
const IMAGE: &str = "vmlinuz";
const SUMS: &str = "SHA256SUMS";
/// The folder of our own apt in the cache.
const APT: &str = "kernels-apt";

/// One kernel on this machine.
pub(crate) struct KernelFiles {
    pub(crate) image: PathBuf,
    pub(crate) modules: Vec<PathBuf>,
}

impl KernelFiles {
    fn in_folder(folder: &Path) -> Self {
        let modules = MODULES.map(|name| folder.join(format!("{name}.ko"))).into();
        Self { image: folder.join(IMAGE), modules }
    }
}

/// Takes a kernel from the cache, or fetches it. `suites` are all that any kernel comes from.
///
/// # Errors
/// When the mirrors do not have it any more, or it cannot be fetched.
pub(crate) fn kernel(kernel: &Kernel, suites: &[Suite]) -> Result<KernelFiles> {
    let places = Places::of_this_machine()?;
    let name = format!("linux-{}", kernel.release());
    if !is_whole(&places.cache.join(&name)) {
        let _lock = Lock::take(&places.cache)?;
        if !is_whole(&places.cache.join(&name)) {
            fetch(&places, &name, kernel, suites)?;
        }
    }
    Ok(KernelFiles::in_folder(&places.cache.join(&name)))
}

/// Says whether the files of an entry are as they were when it was made.
fn is_whole(folder: &Path) -> bool {
    let mut check = Command::new("sha256sum");
    folder.join(SUMS).exists()
        && child::succeeds(check.args(["--check", "--strict", SUMS]).current_dir(folder))
}

fn fetch(places: &Places, name: &str, kernel: &Kernel, suites: &[Suite]) -> Result<()> {
    let apt = Apt::with(&places.cache.join(APT), suites)?;
    let packages = kernel.packages();
    let are_known = || packages.iter().all(|package| apt.knows(package));
    let mut fresh = false;
    if !are_known() {
        apt.update()?;
        fresh = true;
    }
    ensure!(
        are_known(),
        "Debian's {} no longer has the kernel {}: put the version that it has now into xtask/src/vm/kernels.rs",
        kernel.suite,
        kernel.version
    );
    cache::remove(&cache::workshop(&places.cache, name)?)?;
    let workshop = cache::workshop(&places.cache, name)?;
    let unpacked = workshop.join("unpacked");
    for package in &packages {
        if apt.download(package, &workshop).is_err() && !fresh {
            // The lists may name files that the mirror has replaced since.
            apt.update()?;
            fresh = true;
            apt.download(package, &workshop)?;
        }
        unpack(&workshop, package, &unpacked)?;
    }
    let root = workshop.join("root");
    fs::create_dir(&root)?;
    collect(&unpacked, &kernel.release(), &root)?;
    cache::publish(&places.cache, name, &root)?;
    Ok(())
}

/// Unpacks the file of a package in `workshop`.
fn unpack(workshop: &Path, package: &str, into: &Path) -> Result<()> {
    let mut files = fs::read_dir(workshop)?.filter_map(Result::ok).map(|entry| entry.path());
    let is_it = |file: &PathBuf| {
        let name = file.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with(&format!("{package}_"))
    };
    let file = files.find(is_it).with_context(|| format!("apt-get left no file of {package}"))?;
    let mut command = Command::new("dpkg-deb");
    command.arg("--extract").arg(&file).arg(into);
    child::run(&mut command, &format!("unpacking the package {package}"))?;
    fs::remove_file(file)?;
    Ok(())
}

/// Puts what is needed of the unpacked packages into `root`, with its checksums.
fn collect(unpacked: &Path, release: &str, root: &Path) -> Result<()> {
    let modules = [format!("lib/modules/{release}"), format!("usr/lib/modules/{release}")];
    let images = [format!("boot/{IMAGE}-{release}"), format!("usr/lib/modules/{release}/{IMAGE}")];
    let image = images.iter().map(|it| unpacked.join(it)).find(|it| it.is_file());
    fs::copy(image.context("the packages have no kernel image")?, root.join(IMAGE))?;
    for module in MODULES {
        let file = modules.iter().flat_map(|folder| {
            ["", ".xz"].map(|end| unpacked.join(folder).join(format!("kernel/net/ipv4/{module}.ko{end}")))
        });
        let file = file.into_iter().find(|it| it.is_file());
        let file = file.with_context(|| format!("the packages have no module {module}"))?;
        let to = root.join(format!("{module}.ko"));
        if file.extension().is_some_and(|it| it == "xz") {
            let mut command = Command::new("xz");
            command.args(["--decompress", "--stdout"]).arg(&file).stdout(File::create(&to)?);
            child::run(&mut command, "unpacking a module")?;
        } else {
            fs::copy(&file, &to)?;
        }
    }
    let mut command = Command::new("sha256sum");
    command.arg(IMAGE).args(MODULES.map(|name| format!("{name}.ko"))).current_dir(root);
    command.stdin(Stdio::null()).stdout(File::create(root.join(SUMS))?);
    child::run(&mut command, "adding up the kernel")
}

#[cfg(test)]
mod tests {
    use super::{collect, is_whole};
    use crate::scratch::Scratch;

    #[test]
    fn a_kernel_is_found_where_old_and_new_packages_have_it() {
        for (image, modules) in [
            ("boot/vmlinuz-1-x", "lib/modules/1-x/kernel/net/ipv4"),
            ("usr/lib/modules/1-x/vmlinuz", "usr/lib/modules/1-x/kernel/net/ipv4"),
        ] {
            let scratch = Scratch::new();
            scratch.file(&format!("unpacked/{image}"), "image");
            for module in ["inet_diag", "tcp_diag"] {
                scratch.file(&format!("unpacked/{modules}/{module}.ko"), module);
            }
            scratch.file("root/old", "");
            let root = scratch.path().join("root");
            collect(&scratch.path().join("unpacked"), "1-x", &root).unwrap();
            assert!(is_whole(&root));
        }
    }

    #[test]
    fn a_kernel_that_was_changed_is_not_used() {
        let scratch = Scratch::new();
        assert!(!is_whole(scratch.path()), "there is none");
        // The checksum of an empty file.
        let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        scratch.file("SHA256SUMS", &format!("{sum}  vmlinuz\n"));
        scratch.file("vmlinuz", "");
        assert!(is_whole(scratch.path()));
        scratch.file("vmlinuz", "half");
        assert!(!is_whole(scratch.path()));
    }
}
