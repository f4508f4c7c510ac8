//! Starting other programs: with their output shown, or with their output taken.
//!
//! Input: a prepared `Command` and the name of the step it stands for.

use std::{
    env,
    ffi::OsStr,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Runs `command` with its output going where ours goes.
///
/// # Errors
/// Names `step` when the program cannot be started or does not end with success.
pub(crate) fn run(command: &mut Command, step: &str) -> Result<()> {
    let status = command.status().with_context(|| not_started(step, command.get_program()))?;
    ensure!(status.success(), "{step} failed ({status}); its own messages are above");
    Ok(())
}

/// Runs `command` without input and returns its stdout, or nothing when it cannot be had.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Says whether `command` ends with success; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

pub(crate) fn not_started(step: &str, program: &OsStr) -> String {
    format!("{step}: cannot start {}", program.display())
}

/// The cargo that runs us, without the variables that it has set for our own package only.
pub(crate) fn cargo() -> Command {
    clean(Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())))
}

/// Takes from `command` the variables that cargo sets for our own package.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_our_package) {
            command.env_remove(name);
        }
    }
    command
}

fn belongs_to_our_package(name: &str) -> bool {
    const PREFIXES: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];
    const NAMES: [&str; 4] = ["CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{belongs_to_our_package, output_of, run};

    #[test]
    fn a_failing_step_is_named_in_the_error() {
        let error = run(&mut Command::new("false"), "compiling the moon").unwrap_err();
        assert!(error.to_string().starts_with("compiling the moon failed"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named_in_the_error() {
        let error = run(&mut Command::new("no-such-program"), "asking").unwrap_err();
        assert_eq!(error.to_string(), "asking: cannot start no-such-program");
    }

    #[test]
    fn output_of_a_failing_program_is_nothing() {
        assert_eq!(output_of(Command::new("sh").args(["-c", "echo half; exit 3"])), None);
        assert_eq!(output_of(Command::new("sh").args(["-c", "echo all"])).as_deref(), Some("all\n"));
    }

    #[test]
    fn the_users_own_cargo_settings_are_kept() {
        assert!(belongs_to_our_package("CARGO_PKG_VERSION"));
        assert!(!belongs_to_our_package("CARGO_TARGET_DIR"));
        assert!(!belongs_to_our_package("CARGO_HOME"));
    }
}
