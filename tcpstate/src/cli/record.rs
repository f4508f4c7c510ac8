//! `tcpstate record`: writes down what a diagnosis looks at, so that somebody else can judge it again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::alone;
use crate::{app, diagnose::Thresholds};

const EXAMPLES: &str = "\
Examples:
  tcpstate record trouble.tcpstate             the next minute
  tcpstate record trouble.tcpstate --for 5m    longer, for what comes seldom
  tcpstate diagnose --replay trouble.tcpstate  what is said of it

A recording has addresses, ports, users, and names of programs, scripts, units and containers; nothing of what the connections carry. `zcat` shows it.";

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file to write; it must not exist yet
    file: PathBuf,
    /// How long to record: 60s, 5m. Ctrl-C ends it earlier
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = alone::time)]
    time: Duration,
}

/// Records.
///
/// # Errors
/// If the file exists, or cannot be written, or nothing can be seen here.
pub fn run(args: &Args) -> Result<ExitCode> {
    let Args { file, time } = args;
    let out = create(file)?;
    let begun = || {
        let seconds = time.as_secs();
        // Nobody is left to tell if this fails.
        let _ = writeln!(io::stderr(), "recording for {seconds} s; Ctrl-C ends it earlier");
    };
    let written = app::alone::record(&alone::config(&Thresholds::default())?, *time, out, begun);
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            // An empty file would be in the way of the next try.
            if fs::metadata(file).is_ok_and(|file| file.len() == 0) {
                let _ = fs::remove_file(file);
            }
            return Err(error);
        }
    };
    let bytes = fs::metadata(file)?.len();
    let name = file.display();
    let mut out = io::stdout().lock();
    writeln!(out, "{name}: {} inputs, {} kB", written.inputs, bytes.div_ceil(1000))?;
    if written.lost > 0 {
        writeln!(
            out,
            "{} more inputs are missing: they came faster than they could be written",
            written.lost
        )?;
    }
    writeln!(out, "To see what is said of it: tcpstate diagnose --replay {name}")?;
    Ok(ExitCode::SUCCESS)
}

fn create(file: &Path) -> Result<File> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} exists; give the name of a file that does not", file.display())
        }
        created => created.with_context(|| format!("{} cannot be written", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_exists_is_not_written_over() {
        let file = std::env::temp_dir().join(format!("tcpstate-record-{}", std::process::id()));
        let name = file.display().to_string();
        create(&file).expect("it does not exist").write_all(b"old").expect("written");
        let error = create(&file).expect_err("it exists").to_string();
        assert_eq!(error, format!("{name} exists; give the name of a file that does not"));
        assert_eq!(fs::read(&file).expect("there"), b"old");
        fs::remove_file(&file).expect("there");
    }
}
