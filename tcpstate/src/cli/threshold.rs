//! `--threshold NAME=VALUE`, for every command that judges, and the list of the names.

use std::io::{self, Write};

use crate::diagnose::{Thresholds, thresholds::Refusal};

/// Columns of the list.
const WIDTH: usize = 96;

/// What the command line says of thresholds.
#[derive(Clone, Debug, clap::Args)]
pub struct Choice {
    /// Set a number at which a finding begins or gets worse, such as `old_ms=60000`; may be given several times.
    /// `tcpstate explain thresholds` lists their names with their defaults
    #[arg(long = "threshold", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<Setting>,
}

/// One threshold with a value that it may have.
#[derive(Clone, Debug)]
struct Setting {
    name: String,
    value: u64,
}

impl Choice {
    /// Whether anything was chosen.
    #[must_use]
    pub fn is_given(&self) -> bool {
        !self.settings.is_empty()
    }

    /// The defaults with what was chosen; of several values for one threshold the last.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        let mut thresholds = Thresholds::default();
        for Setting { name, value } in &self.settings {
            // It was tried when it was read.
            let _ = thresholds.set(name, *value);
        }
        thresholds
    }
}

fn setting(text: &str) -> Result<Setting, String> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let Some(about) = Thresholds::ALL.iter().find(|about| about.name == name) else {
        let names: Vec<_> = Thresholds::ALL.iter().map(|about| about.name).collect();
        return Err(format!("there is no threshold `{name}`; there are {}", names.join(", ")));
    };
    let range =
        || format!("{name} takes a whole number from 0 to {}, as in {name}={}", about.max, about.default);
    let value: u64 = value.and_then(|value| value.parse().ok()).ok_or_else(range)?;
    match Thresholds::default().set(name, value) {
        Ok(()) => Ok(Setting { name: name.to_owned(), value }),
        Err(Refusal::Unknown | Refusal::TooLarge(_)) => Err(range()),
    }
}

/// Writes all of them with their defaults.
///
/// # Errors
/// If that cannot be written.
pub fn list(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "Thresholds, with their defaults: `tcpstate daemon --threshold NAME=VALUE` sets others, and so does"
    )?;
    writeln!(out, "`tcpstate diagnose` where no daemon runs. Times end with their unit.")?;
    for about in Thresholds::ALL {
        writeln!(out, "\n{}={}", about.name, about.default)?;
        let mut line = String::new();
        for word in about.text.split_ascii_whitespace() {
            if line.len() + word.len() > WIDTH {
                writeln!(out, "   {line}")?;
                line.clear();
            }
            line.push(' ');
            line.push_str(word);
        }
        writeln!(out, "   {line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        choice: Choice,
    }

    fn parse(settings: &[&str]) -> Result<Thresholds, String> {
        let words = settings.iter().flat_map(|setting| ["--threshold", setting]);
        let command = Command::try_parse_from(["command"].into_iter().chain(words));
        command.map(|command| command.choice.thresholds()).map_err(|error| error.to_string())
    }

    #[test]
    fn thresholds_are_set_by_name_and_the_last_value_counts() {
        assert_eq!(parse(&[]).unwrap(), Thresholds::default());
        let expected = Thresholds { old_ms: 60_000, retransmits: 9, ..Thresholds::default() };
        assert_eq!(parse(&["old_ms=1", "retransmits=9", "old_ms=60000"]).unwrap(), expected);
    }

    #[test]
    fn an_unknown_name_is_answered_with_all_that_there_are() {
        for wrong in ["old=60000", "=1", "", "OLD_MS=1", "old_ms =1"] {
            let error = parse(&[wrong]).unwrap_err();
            for about in Thresholds::ALL {
                assert!(error.contains(about.name), "{wrong}: {error}");
            }
        }
    }

    #[test]
    fn a_bad_value_is_answered_with_those_that_are_good() {
        for wrong in ["retransmits=256", "retransmits", "retransmits=", "retransmits=-1", "retransmits=4s"] {
            let error = parse(&[wrong]).unwrap_err();
            let expected = "retransmits takes a whole number from 0 to 255, as in retransmits=4";
            assert!(error.contains(expected), "{wrong}: {error}");
        }
        assert!(parse(&["trend_ms=18446744073709551615"]).is_err(), "ns would not have room");
    }

    #[test]
    fn the_list_has_every_name_with_its_default() {
        let mut out = Vec::new();
        list(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for about in Thresholds::ALL {
            let line = format!("{}={}", about.name, about.default);
            assert!(text.lines().any(|it| it == line), "{line}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}
