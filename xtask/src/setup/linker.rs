//! bpf-linker: built against the libLLVM that the chosen compiler itself uses, and kept in the cache.
//!
//! A linker with another LLVM cannot read the compiler's bitcode, so the cache has one per libLLVM file.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context, Result, ensure};

use super::{
    cache::{self, Lock},
    compiler::{Compiler, Way},
    places::Places,
};
use crate::{host, say::say};

/// The version that the eBPF object is linked with.
pub(super) const VERSION: &str = "0.13.0";

fn name(compiler: &Compiler) -> Result<String> {
    let library = cache::fingerprint(&compiler.libllvm)?;
    Ok(format!("bpf-linker-{VERSION}-llvm-{}-{library}", compiler.llvm))
}

/// The folder that holds a working bpf-linker for `compiler`, if there is one.
pub(super) fn find(places: &Places, compiler: &Compiler) -> Option<PathBuf> {
    let folder = places.cache.join(name(compiler).ok()?).join("bin");
    works(places, &folder).then_some(folder)
}

fn works(places: &Places, folder: &std::path::Path) -> bool {
    let program = folder.join("bpf-linker");
    host::is_executable(&program) && (places.ask)(&program, &["--version"]).is_some()
}

/// Builds bpf-linker for `compiler`.
///
/// # Errors
/// When it cannot be built, or does not run when built.
pub(super) fn install(lock: &Lock, places: &Places, compiler: &Compiler) -> Result<()> {
    say(format!("building bpf-linker {VERSION} for LLVM {}: one or two minutes, once", compiler.llvm));
    let name = name(compiler)?;
    let workshop = cache::workshop(&places.cache, &name)?;
    // bpf-linker's build looks for PREFIX/lib/libLLVM.so; a link of that name saves LLVM's development files.
    let prefix = workshop.join("prefix");
    cache::remove(&prefix)?;
    fs::create_dir_all(prefix.join("lib")).context("cannot prepare the LLVM prefix")?;
    symlink(&compiler.libllvm, prefix.join("lib/libLLVM.so")).context("cannot prepare the LLVM prefix")?;

    let feature = format!("llvm-{}", compiler.llvm);
    let arguments =
        ["bpf-linker", "--version", VERSION, "--no-default-features", "--features", feature.as_str()];
    let mut environment = vec![("LLVM_PREFIX", prefix.display().to_string())];
    if compiler.way == Way::Nightly {
        // The library lies inside the toolchain, where the dynamic loader does not look by itself.
        let folder = compiler.libllvm.parent().context("libLLVM has no folder")?;
        let flags = ["-C", &format!("link-arg=-Wl,-rpath,{}", folder.display())].join("\u{1f}");
        environment.push(("CARGO_ENCODED_RUSTFLAGS", flags));
    }
    let root = cache::cargo_install(lock, &workshop, &arguments, &environment, "building bpf-linker")?;
    ensure!(works(places, &root.join("bin")), "bpf-linker was built, but does not run");
    cache::publish(&places.cache, &name, &root)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{find, name};
    use crate::{
        scratch::Scratch,
        setup::{
            compiler::{Compiler, Way},
            places::{Ask, Places},
        },
    };

    fn compiler(scratch: &Scratch) -> Compiler {
        Compiler {
            way: Way::System,
            rustc: "rustc".into(),
            cargo: None,
            version: "1.96.0".into(),
            llvm: 22,
            libllvm: scratch.file("libLLVM.so.22.1", "llvm"),
        }
    }

    fn places(scratch: &Scratch, ask: Ask) -> Places {
        let cache = scratch.path().join("cache");
        let nowhere = scratch.path().to_owned();
        Places {
            path: vec![],
            toolchains: nowhere.clone(),
            system_rustc: nowhere,
            libraries: vec![],
            cache,
            ask,
        }
    }

    #[test]
    fn a_linker_that_does_not_run_is_not_found() {
        let scratch = Scratch::new();
        let compiler = compiler(&scratch);
        let broken = places(&scratch, Box::new(|_, _| None));
        let whole = places(&scratch, Box::new(|_, _| Some("bpf-linker 0.13.0".into())));
        assert_eq!(find(&whole, &compiler), None, "nothing is there yet");
        scratch.program(&format!("cache/{}/bin/bpf-linker", name(&compiler).unwrap()));
        assert_eq!(find(&broken, &compiler), None);
        assert!(find(&whole, &compiler).is_some());
    }

    #[test]
    fn a_linker_for_another_libllvm_is_not_found() {
        let scratch = Scratch::new();
        let compiler = compiler(&scratch);
        let places = places(&scratch, Box::new(|_, _| Some(String::new())));
        scratch.program(&format!("cache/{}/bin/bpf-linker", name(&compiler).unwrap()));
        scratch.file("libLLVM.so.22.1", "llvm, upgraded");
        assert_eq!(find(&places, &compiler), None);
    }
}
