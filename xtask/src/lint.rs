//! `cargo xtask lint`: formatting, clippy for both sides of the project, and the dependencies' licences.

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    build, child,
    say::{say, warn},
    setup::{self, Needs},
    workspace::Workspace,
};

/// Checks formatting, clippy's lints, and dependencies.
///
/// Of the dependencies, it checks licences and sources. Known security holes are looked up as well, where the network gives the database.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn main(_args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let checks: [(&str, Check); 4] = [
        ("formatting", formatting),
        ("clippy for user space", user_space_clippy),
        ("clippy for the eBPF crate", ebpf_clippy),
        ("licences and sources of dependencies", dependencies),
    ];
    // All checks run, so that one look is enough to see what is to be done.
    let mut failed = Vec::new();
    for (name, check) in checks {
        say(format!("lint: {name}"));
        if let Err(error) = check(&workspace) {
            warn(format!("{error:#}"));
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "lint: failed: {}", failed.join(", "));
    say("lint: nothing to complain about");
    Ok(ExitCode::SUCCESS)
}

type Check = fn(&Workspace) -> Result<()>;

fn formatting(workspace: &Workspace) -> Result<()> {
    child::run(build::cargo(workspace).args(["fmt", "--all", "--check"]), "checking the formatting")
}

fn user_space_clippy(workspace: &Workspace) -> Result<()> {
    // The daemon's build script wants the object.
    build::object(workspace, &setup::ensure(Needs::Build)?)?;
    let mut clippy = build::cargo(workspace);
    clippy.args(["clippy", "--workspace", "--exclude", "tcpstate-ebpf", "--all-targets"]);
    child::run(clippy.args(["--", "-D", "warnings"]), "clippy for user space")
}

/// Clippy for the eBPF crate, checked as if for the host, because clippy comes with the host's compiler, which
/// has no core for eBPF; and alone, because its panic handler must not meet std's.
fn ebpf_clippy(workspace: &Workspace) -> Result<()> {
    let mut clippy = child::cargo();
    clippy.current_dir(&workspace.root).args(["clippy", "--package", "tcpstate-ebpf"]);
    clippy.arg("--target-dir").arg(workspace.target.join("ebpf-clippy")).args(["--", "-D", "warnings"]);
    let arch = env::consts::ARCH;
    clippy.env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg\u{1f}bpf_target_arch=\"{arch}\""));
    // aya-ebpf uses an unstable feature; and without std nothing can unwind.
    clippy.env_remove("RUSTFLAGS").env("RUSTC_BOOTSTRAP", "1").env("CARGO_PROFILE_DEV_PANIC", "abort");
    child::run(&mut clippy, "clippy for the eBPF crate")
}

fn dependencies(workspace: &Workspace) -> Result<()> {
    let deny = setup::cargo_deny::ensure()?;
    let mut check = deny_command(&deny, workspace);
    child::run(check.args(["licenses", "bans", "sources"]), "checking the dependencies")?;
    advisories(&mut deny_command(&deny, workspace))
}

fn deny_command(deny: &Path, workspace: &Workspace) -> Command {
    let mut command = child::clean(Command::new(deny));
    command.current_dir(&workspace.root).arg("check");
    command
}

/// Looks for known security holes; a database that cannot be had is said, and is no failure.
fn advisories(command: &mut Command) -> Result<()> {
    let output = command.arg("advisories").output().context("checking for advisories")?;
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        say("advisories: none");
    } else if told.contains("failed to fetch advisory database") {
        warn("advisories: NOT checked, because the database could not be fetched");
    } else {
        bail!("advisories:\n{told}");
    }
    Ok(())
}
