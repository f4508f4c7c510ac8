//! Process 1 of the VMs of `cargo xtask vm`: makes a bare kernel usable, starts the daemon, plays the checks that the
//! kernel's command line names (`tcpstate.checks=source,churn tcpstate.connections=20000`), and powers off.
//!
//! Output: one line of JSON for each check on the second serial port, with what was seen. What should have been seen is
//! the host's matter. Everything else goes to the console.

mod boot;
mod checks;
mod churn;
mod closers;
mod daemon;
mod kernel;
mod traffic;

use std::{
    fs::{self, File},
    io::Write,
};

use anyhow::{Context, Result};
use serde_json::json;

use self::{boot::Parameters, daemon::Daemon};

fn main() {
    if let Err(error) = run() {
        eprintln!("vm-guest: {error:#}");
    }
    if let Ok(log) = fs::read_to_string(daemon::LOG) {
        eprintln!("the daemon's log:\n{log}");
    }
    let error = boot::power_off();
    // Where process 1 ends the kernel panics, which ends the VM as well.
    eprintln!("vm-guest: cannot power off: {error:#}");
}

fn run() -> Result<()> {
    boot::make_usable()?;
    let parameters = Parameters::read()?;
    let mut answers = File::options().write(true).open("/dev/ttyS1").context("no second serial port")?;
    let mut daemon = Daemon::start()?;
    for check in &parameters.checks {
        let answer = match checks::play(check, &mut daemon, &parameters) {
            Ok(facts) => json!({ "check": check, "facts": facts }),
            Err(error) => json!({ "check": check, "error": format!("{error:#}") }),
        };
        eprintln!("vm-guest: {answer}");
        writeln!(answers, "{answer}")?;
    }
    Ok(())
}
