//! `tcpstate explain`: what a class of findings or a state of TCP is, and what to do about it.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;

use super::{client, threshold};
use crate::{
    diagnose::{Class, explain::Topic},
    serve::api::explain::unknown,
};

/// The exit code for a name that there is not.
const EXIT_UNKNOWN: u8 = 2;

/// What is neither class nor state.
const THRESHOLDS: &str = "thresholds";

const EXAMPLES: &str = "\
Examples:
  tcpstate explain                   every class of findings and every state, with a line each
  tcpstate explain close-wait-leak   what it is, how to confirm it by hand, how to fix it
  tcpstate explain FIN_WAIT2         what a state is, and what can go wrong in it
  tcpstate explain thresholds        the numbers at which findings begin, with their defaults

It asks nobody: no daemon needs to run.";

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A class of findings, such as close-wait-leak, a state of TCP, such as close-wait, or `thresholds`; without it
    /// all classes and states are listed
    #[arg(value_name = "CLASS|STATE|thresholds")]
    name: Option<String>,
}

/// Prints the explanation, or the list.
///
/// # Errors
/// If the output cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    match &args.name {
        None => client::exit(list(&mut out).map_err(Into::into)),
        Some(name) if name == THRESHOLDS => client::exit(threshold::list(&mut out).map_err(Into::into)),
        Some(name) => {
            let Some(topic) = Topic::of(name) else {
                writeln!(io::stderr(), "tcpstate: {}", refusal(name))?;
                return Ok(ExitCode::from(EXIT_UNKNOWN));
            };
            client::exit(write!(out, "{}", topic.text()).map_err(Into::into))
        }
    }
}

fn refusal(name: &str) -> String {
    let unknown = unknown(name);
    if unknown.ends_with('?') { unknown } else { format!("{unknown}; `tcpstate explain` lists them") }
}

fn list(out: &mut impl Write) -> io::Result<()> {
    let width = Topic::all().map(|topic| topic.name().len()).max().unwrap_or(0);
    let line = |out: &mut dyn Write, topic: Topic| {
        // The heading is "# name: title".
        let heading = topic.text().lines().next().unwrap_or_default();
        let title = heading.split_once(": ").map_or("", |(_, title)| title);
        writeln!(out, "  {:<width$}  {title}", topic.name())
    };
    let is_class = |topic: &Topic| matches!(topic, Topic::Class(_));
    debug_assert_eq!(Topic::all().filter(is_class).count(), Class::ALL.len());
    writeln!(out, "Classes of findings:")?;
    Topic::all().filter(is_class).try_for_each(|topic| line(&mut *out, topic))?;
    writeln!(out, "\nStates of TCP:")?;
    Topic::all().filter(|topic| !is_class(topic)).try_for_each(|topic| line(&mut *out, topic))?;
    writeln!(
        out,
        "\n`tcpstate explain {THRESHOLDS}` lists the numbers at which findings begin, and how to set others."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_a_line_for_each() {
        let mut out = Vec::new();
        list(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for topic in Topic::all() {
            let line = text.lines().find(|line| line.trim_start().split(' ').next() == Some(topic.name()));
            let line = line.unwrap_or_else(|| panic!("{} is missing", topic.name()));
            assert!(line.split_whitespace().count() > 1, "{line}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("  ")).count(), Topic::all().count());
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_ones_or_the_way_to_the_list() {
        let text = refusal("close-wait-leek");
        assert!(
            text.starts_with("`close-wait-leek` is neither") && text.contains("`close-wait-leak`"),
            "{text}"
        );
        assert!(refusal("zzzzzz").ends_with("; `tcpstate explain` lists them"));
    }
}
