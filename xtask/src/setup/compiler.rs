//! Chooses the compiler for the eBPF crate: a rustup nightly that can build `core` from source, else the
//! distribution's rustc with a `core` that was built for eBPF beforehand.
//!
//! Input: `Places`. Output: the compiler with the libLLVM that speaks the same LLVM, or why there is none.

use std::{
    env, fmt, fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use super::places::Places;

/// The target triple of eBPF programs for little-endian machines.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// The LLVM majors that our bpf-linker can be built against.
const LLVM_MAJORS: RangeInclusive<u32> = 21..=23;

/// The oldest distribution rustc that compiles the eBPF crate.
pub(super) const OLDEST_MINOR: u32 = 90;

/// The two kinds of compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// rustup's nightly, which builds `core` from rust-src.
    Nightly,
    /// The distribution's rustc, which has `core` for eBPF ready.
    System,
}

/// A compiler that can build the eBPF crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    pub(crate) way: Way,
    pub(crate) rustc: PathBuf,
    /// The cargo that belongs to it; nothing when the cargo that runs us will do.
    pub(crate) cargo: Option<PathBuf>,
    pub(crate) version: String,
    pub(crate) llvm: u32,
    /// The shared library that bpf-linker is to be linked with.
    pub(crate) libllvm: PathBuf,
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.way {
            Way::Nightly => "rustup's nightly with rust-src",
            Way::System => "the system's rustc with its precompiled core for eBPF",
        };
        write!(f, "{kind} (rustc {}, LLVM {}, {})", self.version, self.llvm, self.rustc.display())
    }
}

/// Why neither kind can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) nightly: String,
    pub(crate) system: String,
}

/// Chooses the compiler: nightly when it can be used, else the system's.
///
/// # Errors
/// For each kind, the reason why it cannot be used.
pub(crate) fn choose(places: &Places) -> Result<Compiler, Refused> {
    nightly(places).or_else(|nightly| system(places).map_err(|system| Refused { nightly, system }))
}

fn nightly(places: &Places) -> Result<Compiler, String> {
    let prefix = format!("nightly-{}-", env::consts::ARCH);
    let toolchains = fs::read_dir(&places.toolchains).map_err(|_| "rustup has no toolchains here")?;
    let folder = toolchains
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .ok_or("rustup has no nightly toolchain")?;
    if !folder.join("lib/rustlib/src/rust/library").is_dir() {
        return Err("the nightly toolchain is there, but not its component rust-src".into());
    }
    let rustc = folder.join("bin/rustc");
    let cargo = folder.join("bin/cargo");
    let (version, llvm) = versions(places, &rustc)?;
    let libllvm = libllvm(&[folder.join("lib")], llvm)?;
    Ok(Compiler { way: Way::Nightly, rustc, cargo: Some(cargo), version, llvm, libllvm })
}

fn system(places: &Places) -> Result<Compiler, String> {
    let rustc = places.system_rustc.clone();
    if !rustc.exists() {
        return Err(format!("there is no {}", rustc.display()));
    }
    let (version, llvm) = versions(places, &rustc)?;
    if minor(&version).is_none_or(|minor| minor < OLDEST_MINOR) {
        return Err(format!("{} is {version}, and 1.{OLDEST_MINOR} is needed", rustc.display()));
    }
    let sysroot = (places.ask)(&rustc, &["--print", "sysroot"]);
    let sysroot = sysroot.ok_or_else(|| format!("{} does not tell its sysroot", rustc.display()))?;
    let core = Path::new(sysroot.trim()).join("lib/rustlib").join(BPF_TARGET);
    if !core.is_dir() {
        return Err(format!("{} has no core for {BPF_TARGET}", rustc.display()));
    }
    let libllvm = libllvm(&places.libraries, llvm)?;
    Ok(Compiler { way: Way::System, rustc, cargo: None, version, llvm, libllvm })
}

/// The release and the LLVM major of a rustc.
fn versions(places: &Places, rustc: &Path) -> Result<(String, u32), String> {
    let told = (places.ask)(rustc, &["-vV"]);
    let told = told.ok_or_else(|| format!("{} does not run", rustc.display()))?;
    let value = |key: &str| told.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let release = value("release:").unwrap_or("unknown").to_owned();
    let llvm = value("LLVM version:").and_then(|it| it.split('.').next()?.parse().ok());
    let llvm = llvm.ok_or_else(|| format!("{} does not tell its LLVM version", rustc.display()))?;
    if !LLVM_MAJORS.contains(&llvm) {
        let (first, last) = (LLVM_MAJORS.start(), LLVM_MAJORS.end());
        return Err(format!("rustc {release} uses LLVM {llvm}, and bpf-linker knows {first} to {last}"));
    }
    Ok((release, llvm))
}

/// The middle number of a version such as `1.96.0`, with or without what distributions put around it.
pub(super) fn minor(version: &str) -> Option<u32> {
    let upstream = version.split_once(':').map_or(version, |(_epoch, upstream)| upstream);
    upstream.strip_prefix("1.")?.split('.').next()?.parse().ok()
}

fn libllvm(folders: &[PathBuf], major: u32) -> Result<PathBuf, String> {
    let prefix = format!("libLLVM.so.{major}.");
    let mut entries = folders.iter().filter_map(|it| fs::read_dir(it).ok()).flatten().filter_map(Result::ok);
    entries
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .ok_or_else(|| format!("there is no {prefix}* to link bpf-linker with"))
}

#[cfg(test)]
mod tests {
    use std::env::consts::ARCH;

    use super::{Way, choose, minor};
    use crate::{scratch::Scratch, setup::places::Places};

    /// A machine whose programs are files of `scratch`: each rustc answers with the text of its own file.
    fn machine(scratch: &Scratch) -> Places {
        let root = scratch.path().to_owned();
        let sysroot = root.join("usr").display().to_string();
        Places {
            path: vec![root.join("bin")],
            toolchains: root.join("rustup/toolchains"),
            system_rustc: root.join("usr/bin/rustc"),
            libraries: vec![root.join("usr/lib")],
            cache: root.join("cache"),
            ask: Box::new(move |program, arguments| match arguments {
                ["-vV"] => std::fs::read_to_string(program).ok().filter(|it| !it.is_empty()),
                ["--print", "sysroot"] => Some(format!("{sysroot}\n")),
                _ => None,
            }),
        }
    }

    fn told(release: &str, llvm: &str) -> String {
        format!("rustc {release}\nrelease: {release}\nLLVM version: {llvm}\n")
    }

    fn with_nightly(scratch: &Scratch, llvm: &str) {
        let folder = format!("rustup/toolchains/nightly-{ARCH}-unknown-linux-gnu");
        scratch.file(&format!("{folder}/bin/rustc"), &told("1.97.0-nightly", llvm));
        scratch.file(&format!("{folder}/lib/libLLVM.so.22.1-rust-1.97.0-nightly"), "");
    }

    fn with_rust_src(scratch: &Scratch) {
        let folder = format!("rustup/toolchains/nightly-{ARCH}-unknown-linux-gnu");
        scratch.file(&format!("{folder}/lib/rustlib/src/rust/library/core/lib.rs"), "");
    }

    fn with_system(scratch: &Scratch, release: &str) {
        scratch.file("usr/bin/rustc", &told(release, "22.1.8"));
        scratch.file("usr/lib/libLLVM.so.22.1", "");
        scratch.file("usr/lib/rustlib/bpfel-unknown-none/lib/libcore.rlib", "");
    }

    #[test]
    fn nightly_with_rust_src_is_preferred() {
        let scratch = Scratch::new();
        with_nightly(&scratch, "22.1.4");
        with_rust_src(&scratch);
        with_system(&scratch, "1.96.0");
        let chosen = choose(&machine(&scratch)).unwrap();
        assert_eq!((chosen.way, chosen.llvm), (Way::Nightly, 22));
        assert!(chosen.libllvm.ends_with("lib/libLLVM.so.22.1-rust-1.97.0-nightly"));
        assert!(chosen.cargo.unwrap().ends_with("bin/cargo"));
    }

    #[test]
    fn nightly_without_rust_src_gives_way_to_the_system() {
        let scratch = Scratch::new();
        with_nightly(&scratch, "22.1.4");
        with_system(&scratch, "1.96.0");
        let chosen = choose(&machine(&scratch)).unwrap();
        assert_eq!((chosen.way, chosen.version.as_str()), (Way::System, "1.96.0"));
        assert!(chosen.libllvm.ends_with("usr/lib/libLLVM.so.22.1"));
    }

    #[test]
    fn nightly_with_an_llvm_that_the_linker_does_not_know_gives_way_to_the_system() {
        let scratch = Scratch::new();
        with_nightly(&scratch, "24.1.0");
        with_rust_src(&scratch);
        let folder = format!("rustup/toolchains/nightly-{ARCH}-unknown-linux-gnu/lib");
        scratch.file(&format!("{folder}/libLLVM.so.24.1-rust-1.99.0-nightly"), "");
        with_system(&scratch, "1.96.0");
        assert_eq!(choose(&machine(&scratch)).unwrap().way, Way::System);
    }

    #[test]
    fn an_empty_machine_is_refused_with_a_reason_for_each_way() {
        let scratch = Scratch::new();
        let refused = choose(&machine(&scratch)).unwrap_err();
        assert_eq!(refused.nightly, "rustup has no toolchains here");
        assert!(refused.system.starts_with("there is no "), "{}", refused.system);
    }

    #[test]
    fn an_old_system_compiler_is_refused() {
        let scratch = Scratch::new();
        with_system(&scratch, "1.85.0");
        let refused = choose(&machine(&scratch)).unwrap_err();
        assert!(refused.system.ends_with("is 1.85.0, and 1.90 is needed"), "{}", refused.system);
    }

    #[test]
    fn a_system_compiler_without_core_for_ebpf_is_refused() {
        let scratch = Scratch::new();
        with_system(&scratch, "1.96.0");
        std::fs::remove_dir_all(scratch.path().join("usr/lib/rustlib")).unwrap();
        let refused = choose(&machine(&scratch)).unwrap_err();
        assert!(refused.system.ends_with("has no core for bpfel-unknown-none"), "{}", refused.system);
    }

    #[test]
    fn a_missing_libllvm_is_named() {
        let scratch = Scratch::new();
        with_system(&scratch, "1.96.0");
        std::fs::remove_file(scratch.path().join("usr/lib/libLLVM.so.22.1")).unwrap();
        let refused = choose(&machine(&scratch)).unwrap_err();
        assert_eq!(refused.system, "there is no libLLVM.so.22.* to link bpf-linker with");
    }

    #[test]
    fn a_broken_system_compiler_is_refused() {
        let scratch = Scratch::new();
        scratch.file("usr/bin/rustc", "");
        let refused = choose(&machine(&scratch)).unwrap_err();
        assert!(refused.system.ends_with("does not run"), "{}", refused.system);
    }

    #[test]
    fn versions_of_distributions_are_understood() {
        assert_eq!(minor("1.96.0+dfsg1-1~deb12u2"), Some(96));
        assert_eq!(minor("2:1.85.0"), Some(85));
        assert_eq!(minor("(none)"), None);
    }
}
