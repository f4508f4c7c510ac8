//! `cargo xtask setup`: installs what building and testing need, and nothing else.
//!
//! Input: this machine. Output: `Tools`, the places of what was chosen. The other subcommands call `ensure`,
//! which on a machine that has everything only looks at files.

mod advice;
mod apt;
mod cache;
mod compiler;
mod field;
mod kernels;
mod linker;
mod mirror;
mod places;
mod promtool;
mod redocly;
mod schemathesis;
mod survey;

pub(crate) mod cargo_deny;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, anyhow, bail, ensure};

use self::{
    advice::Obstacle,
    cache::Lock,
    places::Places,
    survey::{Line, Survey},
};
pub(crate) use self::{
    compiler::{BPF_TARGET, Compiler, Way},
    field::ensure as field,
    kernels::{KernelFiles, kernel},
    mirror::Suite,
};
use crate::{
    host::Privilege,
    say::{say, warn},
};

/// Installs what building and testing need.
///
/// That is a compiler for eBPF, bpf-linker, and the programs that tests start. The other commands do this by themselves. On Debian, packages are installed with apt-get (as root, or with
/// sudo where it asks no question); what is not a package there (bpf-linker, promtool, schemathesis, redocly) goes to a cache folder in your home. Where that is
/// not possible, the exact commands to run by hand are printed. Running it again costs nothing.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only print what is there and what is missing; exit with 1 when something is missing
    #[arg(long)]
    check: bool,
}

/// How much a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// What compiling takes.
    Build,
    /// That, and the programs that tests start.
    Test,
}

/// What the other commands build with.
pub(crate) struct Tools {
    pub(crate) compiler: Compiler,
    /// The folder of bpf-linker.
    pub(crate) linker: PathBuf,
    /// For tests, where it could be had.
    pub(crate) promtool: Option<PathBuf>,
    /// What tests the daemon's API and its description, for tests, where they could be had.
    pub(crate) schemathesis: Option<PathBuf>,
    pub(crate) redocly: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let places = Places::of_this_machine()?;
    if args.check {
        return Ok(report(&Survey::take(&places, Needs::Test)));
    }
    ensure(Needs::Test)?;
    Ok(report(&Survey::take(&places, Needs::Test)))
}

fn report(survey: &Survey) -> ExitCode {
    for Line { there, text } in survey.lines() {
        say(format!("{}  {text}", if there { "have   " } else { "MISSING" }));
    }
    if survey.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes sure that what `needs` asks for is there. Missing test programs are only warned about, because tests
/// skip what they cannot do.
///
/// # Errors
/// When something that building needs is missing and cannot be installed from here; the text says what to do.
pub(crate) fn ensure(needs: Needs) -> Result<Tools> {
    let places = Places::of_this_machine()?;
    let mut survey = Survey::take(&places, needs);
    if !survey.is_complete() {
        // Two setups at a time would build the same thing twice, so look again with the lock held.
        let lock = Lock::take(&places.cache)?;
        let privilege = Privilege::of_this_process();
        install_build_needs(&lock, &places, privilege)?;
        if needs == Needs::Test {
            install_test_needs(&lock, &places, privilege);
        }
        survey = Survey::take(&places, needs);
    }
    let compiler =
        survey.compiler.map_err(|it| anyhow!("no eBPF compiler: {}; {}", it.nightly, it.system))?;
    let Some(linker) = survey.linker else { bail!("bpf-linker is missing after it was built") };
    let Survey { promtool, schemathesis, redocly, .. } = survey;
    Ok(Tools { compiler, linker, promtool, schemathesis, redocly })
}

/// Makes sure that `program`, which one command needs, is there; installs its `package` otherwise.
///
/// # Errors
/// When it is missing and cannot be installed from here.
pub(crate) fn program(program: &str, package: &str) -> Result<PathBuf> {
    let places = Places::of_this_machine()?;
    if places.program(program).is_none() {
        ensure!(places.program("apt-get").is_some(), "this machine has no apt-get to install {package} with");
        let privilege = Privilege::of_this_process();
        ensure!(privilege != Privilege::None, "installing {package} takes root");
        say(advice::about_to_install(&[package]));
        apt::install(&[package], privilege)?;
    }
    places.program(program).ok_or_else(|| anyhow!("the package {package} brings no {program}"))
}

fn install_build_needs(lock: &Lock, places: &Places, privilege: Privilege) -> Result<()> {
    let mut survey = Survey::take(places, Needs::Build);
    let packages = survey.packages_to_build();
    if !packages.is_empty() {
        let refused = survey.compiler.as_ref().err();
        let stop = |obstacle| anyhow!("{}", advice::by_hand(&packages, refused, &obstacle));
        if places.program("apt-get").is_none() {
            return Err(stop(Obstacle::NoAptGet));
        }
        if privilege == Privilege::None {
            return Err(stop(Obstacle::NotRoot));
        }
        say(advice::about_to_install(&packages));
        apt::install(&packages, privilege)
            .map_err(|error| stop(Obstacle::AptFailed(format!("{error:#}"))))?;
        survey = Survey::take(places, Needs::Build);
    }
    let compiler = survey.compiler.map_err(|refused| {
        let why = "the packages are installed, but do not give a compiler";
        anyhow!("{}", advice::by_hand(&packages, Some(&refused), &Obstacle::AptFailed(why.into())))
    })?;
    say(format!("eBPF compiler: {compiler}"));
    if survey.linker.is_none() {
        linker::install(lock, places, &compiler)?;
    }
    Ok(())
}

fn install_test_needs(lock: &Lock, places: &Places, privilege: Privilege) {
    let survey = Survey::take(places, Needs::Test);
    let packages = survey.packages_to_test();
    if !packages.is_empty() {
        if places.program("apt-get").is_none() || privilege == Privilege::None {
            warn(advice::tests_by_hand(&packages));
        } else {
            say(advice::about_to_install(&packages));
            // One by one: a distribution that lacks one of them still gives the others.
            for package in packages {
                if let Err(error) = apt::install(&[package], privilege) {
                    warn(format!("{error:#}; {}", advice::tests_by_hand(&[package])));
                }
            }
        }
    }
    if survey.promtool.is_none() {
        let fetched = match places.program("apt-get") {
            Some(_) => promtool::install(lock, places, privilege),
            None => Err(anyhow!("this machine has no apt-get to fetch promtool with")),
        };
        if let Err(error) = fetched {
            warn(format!("{error:#}; tests that need promtool will say SKIPPED"));
        }
    }
    if survey.schemathesis.is_none()
        && let Err(error) = schemathesis::install(lock, places, privilege)
    {
        warn(format!("{error:#}; the test of the API will say SKIPPED"));
    }
    if survey.redocly.is_none()
        && let Err(error) = redocly::install(lock, places)
    {
        warn(format!("{error:#}; the check of the API's description will say SKIPPED"));
    }
}
