//! `cargo xtask build`: the eBPF object first, then the daemon that embeds it.
//!
//! Input: the workspace and setup's tools. Output: `TARGET/bpf/tcpstate.bpf.o` and the daemon; for the bench also
//! `TARGET/bpf/empty.bpf.o`, and for tests `TARGET/bpf/witness.bpf.o`.

use std::{
    env, fs, iter,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::{
    child,
    say::say,
    setup::{self, BPF_TARGET, Compiler, Needs, Tools, Way},
    workspace::{OBJECT_VARIABLE, Workspace, write_if_changed},
};

/// Builds the eBPF object and the daemon.
///
/// The eBPF object is always built with optimisation: the kernel's verifier would refuse it otherwise.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build the daemon with optimisation, as `install` does
    #[arg(long)]
    release: bool,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let tools = setup::ensure(Needs::Build)?;
    let daemon = everything(&workspace, &tools, args.release)?;
    say(format!("built {}", daemon.display()));
    Ok(ExitCode::SUCCESS)
}

/// Builds the object and the daemon; returns the daemon's file.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn everything(workspace: &Workspace, tools: &Tools, release: bool) -> Result<PathBuf> {
    object(workspace, tools)?;
    let mut cargo = cargo(workspace);
    cargo.args(["build", "--package", "tcpstate"]);
    if release {
        cargo.arg("--release");
    }
    child::run(&mut cargo, "compiling the daemon")?;
    Ok(workspace.daemon(release))
}

/// The cargo for the user-space crates, told where the eBPF object is.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = child::cargo();
    cargo.current_dir(&workspace.root).env(OBJECT_VARIABLE, workspace.object());
    cargo
}

/// Builds the eBPF object and puts it where the daemon's build script takes it from.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn object(workspace: &Workspace, tools: &Tools) -> Result<()> {
    ebpf_binary(workspace, tools, "tcpstate-ebpf", &workspace.object())
}

/// Builds the program that does nothing, against which the bench measures; returns its file.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn empty_object(workspace: &Workspace, tools: &Tools) -> Result<PathBuf> {
    let file = workspace.empty_object();
    ebpf_binary(workspace, tools, "empty", &file)?;
    Ok(file)
}

/// Builds the program that counts for tests what the kernel hands to programs.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn witness_object(workspace: &Workspace, tools: &Tools) -> Result<()> {
    ebpf_binary(workspace, tools, "witness", &workspace.witness_object())
}

/// Builds one binary of the eBPF crate and copies it to `file`.
fn ebpf_binary(workspace: &Workspace, tools: &Tools, binary: &str, file: &Path) -> Result<()> {
    // The same folder for both ways would make cargo compile everything anew after a change of way.
    let target = workspace.target.join(match tools.compiler.way {
        Way::Nightly => "ebpf-nightly",
        Way::System => "ebpf",
    });
    let mut cargo = object_command(&tools.compiler, &tools.linker, &target)?;
    cargo.args(["--bin", binary]);
    cargo.current_dir(&workspace.root);
    child::run(&mut cargo, "compiling the eBPF object")?;
    let built = target.join(BPF_TARGET).join("release").join(binary);
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    write_if_changed(file, &bytes)?;
    Ok(())
}

fn object_command(compiler: &Compiler, linker: &Path, target: &Path) -> Result<Command> {
    let mut cargo = match &compiler.cargo {
        Some(cargo) => child::clean(Command::new(cargo)),
        None => child::cargo(),
    };
    // rustup's choice of a toolchain for us is not the one for the eBPF crate.
    cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTFLAGS");
    cargo.args(["build", "--release", "--package", "tcpstate-ebpf", "--target", BPF_TARGET]);
    // The oldest rustc of the workspace is about the host's compiler.
    cargo.arg("--ignore-rust-version").arg("--target-dir").arg(target);
    cargo.env("RUSTC", &compiler.rustc).env("CARGO_ENCODED_RUSTFLAGS", object_flags(env::consts::ARCH));
    match compiler.way {
        Way::Nightly => cargo.args(["-Z", "build-std=core"]),
        // aya-ebpf uses an unstable feature, and this compiler is a stable one.
        Way::System => cargo.env("RUSTC_BOOTSTRAP", "1"),
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = iter::once(linker.to_owned()).chain(env::split_paths(&path));
    cargo.env("PATH", env::join_paths(folders).context("the cache folder's name has a colon")?);
    Ok(cargo)
}

/// The compiler flags of the eBPF crate, separated the way `CARGO_ENCODED_RUSTFLAGS` wants it.
fn object_flags(arch: &str) -> String {
    let arch = format!("bpf_target_arch=\"{arch}\"");
    ["-C", "debuginfo=2", "-C", "link-arg=--btf", "--cfg", &arch].join("\u{1f}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Command, Compiler, Way, object_command, object_flags};

    fn command(way: Way) -> Command {
        let compiler = Compiler {
            way,
            rustc: "/toolchain/bin/rustc".into(),
            cargo: (way == Way::Nightly).then(|| "/toolchain/bin/cargo".into()),
            version: "1.96.0".into(),
            llvm: 22,
            libllvm: "/toolchain/lib/libLLVM.so.22.1".into(),
        };
        object_command(&compiler, Path::new("/cache/bin"), Path::new("/target/ebpf")).unwrap()
    }

    fn variable(command: &Command, name: &str) -> Option<String> {
        let (_, value) = command.get_envs().find(|(key, _)| *key == name)?;
        value.map(|it| it.to_string_lossy().into_owned())
    }

    fn arguments(command: &Command) -> String {
        command.get_args().map(|it| it.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_system_compiler_uses_its_precompiled_core() {
        let command = command(Way::System);
        assert!(!arguments(&command).contains("build-std"));
        assert_eq!(variable(&command, "RUSTC_BOOTSTRAP").as_deref(), Some("1"));
        assert_eq!(variable(&command, "RUSTC").as_deref(), Some("/toolchain/bin/rustc"));
    }

    #[test]
    fn nightly_builds_core_with_its_own_cargo() {
        let command = command(Way::Nightly);
        assert_eq!(command.get_program(), "/toolchain/bin/cargo");
        assert!(arguments(&command).ends_with("-Z build-std=core"));
        assert_eq!(variable(&command, "RUSTC_BOOTSTRAP"), None);
    }

    #[test]
    fn our_bpf_linker_comes_before_any_other() {
        let path = variable(&command(Way::System), "PATH").unwrap();
        assert!(path.starts_with("/cache/bin:"), "{path}");
    }

    #[test]
    fn the_architecture_keeps_its_quotes() {
        assert!(object_flags("aarch64").ends_with("--cfg\u{1f}bpf_target_arch=\"aarch64\""));
    }
}
