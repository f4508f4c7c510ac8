//! `cargo xtask vm`: boots other kernels in VMs, and checks there what the daemon says.
//!
//! Input: Debian's kernels, the daemon, and `vm-guest` of `tcpstate/examples`, which is process 1 of the VM and plays the
//! checks. It reports what it has seen; what should have been seen is in `judge.rs`.

pub(crate) mod kernels;

mod initramfs;
mod judge;
mod machine;
mod report;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use serde_json::Value;

use self::{
    initramfs::Initramfs,
    judge::{CHECKS, Outcome, applies, judge},
    kernels::{KERNELS, Kernel, suites},
    machine::Machine,
    report::{Cell, Row},
};
use crate::{
    build, child,
    say::{say, warn},
    setup::{self, KernelFiles, Needs},
    workspace::Workspace,
};

const CONNECTIONS: u32 = 20_000;
const QUICK_CONNECTIONS: u32 = 4000;
const CPUS: [u32; 2] = [2, 8];
const QUICK_CPUS: [u32; 1] = [2];
/// No VM takes longer than that, many CPUs on two cores included.
const LIMIT: Duration = Duration::from_mins(15);
/// How often a kernel is booted when the emulator breaks it.
const BOOTS: u32 = 3;

/// Boots other kernels in VMs and checks the daemon there.
///
/// Prints a matrix of kernels and checks, and fails when a check came out otherwise than it should. The kernels are
/// Debian's; they are fetched from the mirrors that this machine uses, once. The VMs are emulated in software, so that
/// this works inside of VMs as well, and each takes some minutes; their consoles are kept in the folder `vm` of the target
/// folder. Needs qemu, which is installed with apt-get, and no root otherwise.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask vm --quick\n  cargo xtask vm --only 6.12.117+deb13 --check churn --cpus 2"
)]
pub(crate) struct Args {
    /// Only these kernels
    #[arg(long, value_name = "KERNEL", value_delimiter = ',')]
    only: Vec<String>,
    /// Only this check; can be given several times
    #[arg(long = "check", value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(CHECKS))]
    checks: Vec<String>,
    /// Only VMs with this number of CPUs [default: 2 and 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: Option<u32>,
    /// Fewer kernels, two CPUs and fewer connections: about ten minutes
    ///
    /// A kernel that cannot be had is left out with a warning, so that a new release of Debian's breaks nothing.
    #[arg(long)]
    quick: bool,
    /// Print the outcome and all that was seen as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let kernels = chosen(&args.only, args.quick)?;
    let checks: Vec<_> = CHECKS
        .into_iter()
        .filter(|check| args.checks.is_empty() || args.checks.iter().any(|it| it == check))
        .collect();
    let cpus = match args.cpus {
        Some(cpus) => vec![cpus],
        None if args.quick => QUICK_CPUS.into(),
        None => CPUS.into(),
    };
    let workspace = Workspace::find()?;
    let stage = Stage {
        qemu: setup::program("qemu-system-x86_64", "qemu-system-x86")?,
        programs: Programs::build(&workspace)?,
        folder: workspace.target.join("vm"),
        connections: if args.quick { QUICK_CONNECTIONS } else { CONNECTIONS },
        checks,
        tells: !args.json,
    };
    setup::program("xz", "xz-utils")?;
    let mut rows = Vec::new();
    for kernel in kernels {
        match setup::kernel(kernel, &suites()) {
            Ok(files) => {
                for cpus in &cpus {
                    rows.push(stage.play(kernel, &files, *cpus)?);
                }
            }
            Err(error) if args.quick => warn(format!("SKIPPED: {error:#}")),
            Err(error) => {
                warn(format!("{error:#}"));
                rows.push(stage.not_there(kernel, &format!("{error:#}")));
            }
        }
    }
    ensure!(!rows.is_empty(), "none of the kernels could be had");
    if args.json {
        report::json(&rows);
    } else {
        report::table(&rows);
    }
    let right = rows.iter().all(Row::is_right);
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(names: &[String], quick: bool) -> Result<Vec<&'static Kernel>> {
    let all: Vec<_> = KERNELS.iter().map(|kernel| kernel.version).collect();
    for name in names {
        ensure!(all.contains(&name.as_str()), "there is no kernel {name} here, but {}", all.join(", "));
    }
    let is_wanted = |kernel: &&Kernel| match names {
        [] => kernel.is_quick || !quick,
        names => names.iter().any(|name| name == kernel.version),
    };
    Ok(KERNELS.iter().filter(is_wanted).collect())
}

/// What runs inside the VMs.
struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Builds them with optimisation: an emulated processor is slow enough.
    fn build(workspace: &Workspace) -> Result<Self> {
        build::object(workspace, &setup::ensure(Needs::Build)?)?;
        let mut cargo = build::cargo(workspace);
        cargo.args(["build", "--release", "--package", "tcpstate", "--bin", "tcpstate"]);
        cargo.args(["--example", "vm-guest", "--example", "actor"]);
        child::run(&mut cargo, "compiling the programs of the VMs")?;
        Ok(Self { folder: workspace.target.join("release") })
    }

    fn initramfs(&self, kernel: &KernelFiles) -> Result<Vec<u8>> {
        let mut archive = Initramfs::default();
        archive.add_program(&self.folder.join("examples/vm-guest"), "/init")?;
        archive.add_program(&self.folder.join("examples/actor"), "/bin/actor")?;
        archive.add_program(&self.folder.join("tcpstate"), "/bin/tcpstate")?;
        for module in &kernel.modules {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            archive.add_file(module, &format!("/modules/{name}"))?;
        }
        Ok(archive.finish())
    }
}

/// What is the same for all VMs.
struct Stage {
    qemu: PathBuf,
    programs: Programs,
    folder: PathBuf,
    connections: u32,
    checks: Vec<&'static str>,
    /// Whether it tells how far it is; where JSON is printed there is nothing else.
    tells: bool,
}

impl Stage {
    /// Boots a kernel, and once more if a check came out wrong: beside other work an emulated processor may be so slow that
    /// a check waits in vain. What was wrong is printed, and what is wrong twice stands.
    fn play(&self, kernel: &Kernel, files: &KernelFiles, cpus: u32) -> Result<Row> {
        let row = self.boot(kernel, files, cpus)?;
        if row.is_right() {
            return Ok(row);
        }
        if self.tells {
            report::faults(&row);
        }
        warn(format!("{} with {cpus} CPUs is repeated", kernel.version));
        self.boot(kernel, files, cpus)
    }

    fn boot(&self, kernel: &Kernel, files: &KernelFiles, cpus: u32) -> Result<Row> {
        let checks: Vec<_> = self.checks.iter().copied().filter(|check| applies(kernel, check)).collect();
        if self.tells {
            say(format!("{} with {cpus} CPUs: {}", kernel.version, checks.join(", ")));
        }
        fs::create_dir_all(&self.folder)?;
        let name = format!("{}-{cpus}", kernel.version);
        let initramfs = self.folder.join(format!("{name}.initramfs"));
        fs::write(&initramfs, self.programs.initramfs(files)?)?;
        let connections = self.connections;
        let machine = Machine {
            qemu: &self.qemu,
            kernel: files,
            initramfs: &initramfs,
            cpus,
            parameters: format!("tcpstate.checks={} tcpstate.connections={connections}", checks.join(",")),
            limit: LIMIT,
        };
        let mut left = machine.run(&self.folder, &name)?;
        for _ in 1..BOOTS {
            if !left.was_broken {
                break;
            }
            warn("the kernel met a breakpoint that the emulator should have forgotten; booting it once more");
            left = machine.run(&self.folder, &name)?;
        }
        fs::remove_file(&initramfs)?;
        if left.was_ended {
            warn(format!("the VM was ended after {} s", left.took.as_secs()));
        }
        let cell = |check: &'static str| {
            let answer = left.answers.get(check);
            let facts = answer.map_or(Value::Null, |it| it["facts"].clone());
            Cell { check, outcome: judge(kernel, check, answer), facts }
        };
        let cells = self.checks.iter().copied().map(cell).collect();
        let seconds = left.took.as_secs();
        Ok(Row { kernel: kernel.version, cpus, seconds, log: Some(left.console), cells })
    }

    /// The row of a kernel that cannot be had.
    fn not_there(&self, kernel: &Kernel, why: &str) -> Row {
        let outcome = || Outcome::wrong("no kernel", why);
        let cell = |check| Cell { check, outcome: outcome(), facts: Value::Null };
        let cells = self.checks.iter().copied().map(cell).collect();
        Row { kernel: kernel.version, cpus: 0, seconds: 0, log: None, cells }
    }
}
