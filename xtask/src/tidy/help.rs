//! The snapshots of `tcpstate --help` and of its subcommands' help, so that a change of the command line is
//! seen in review.

use std::{collections::BTreeMap, env, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use super::{Finding, tree::Tree};
use crate::{child, say::say, workspace::Workspace};

const SNAPSHOTS: &str = "tcpstate/tests/snapshots";

/// Compares; nothing when the daemon is not built.
///
/// # Errors
/// When the daemon is there, but does not print its help.
pub(super) fn check(workspace: &Workspace, tree: &Tree) -> Result<Option<Vec<Finding>>> {
    let daemon = workspace.daemon(false);
    if !daemon.exists() {
        return Ok(None);
    }
    Ok(Some(compare(&texts(&daemon)?, tree)))
}

/// Writes the snapshots anew, and removes those of subcommands that are gone.
///
/// # Errors
/// When the daemon is not built, or the snapshots cannot be written.
pub(super) fn bless(workspace: &Workspace) -> Result<()> {
    let daemon = workspace.daemon(false);
    if !daemon.exists() {
        bail!("the daemon is not built; run `cargo xtask build` first");
    }
    let texts = texts(&daemon)?;
    let folder = workspace.root.join(SNAPSHOTS);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {SNAPSHOTS}"))?;
    for entry in fs::read_dir(&folder)?.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_snapshot(&name) && !texts.contains_key(&name) {
            fs::remove_file(entry.path()).with_context(|| format!("cannot remove {SNAPSHOTS}/{name}"))?;
            say(format!("removed {SNAPSHOTS}/{name}"));
        }
    }
    for (name, text) in texts {
        fs::write(folder.join(&name), text).with_context(|| format!("cannot write {SNAPSHOTS}/{name}"))?;
        say(format!("wrote {SNAPSHOTS}/{name}"));
    }
    Ok(())
}

fn is_snapshot(name: &str) -> bool {
    name.starts_with("help-") && Path::new(name).extension().is_some_and(|it| it == "txt")
}

/// The snapshots' names with the texts they should hold.
fn texts(daemon: &Path) -> Result<BTreeMap<String, String>> {
    let all = help_of(daemon, None)?;
    let mut texts = BTreeMap::new();
    for command in subcommands(&all) {
        texts.insert(format!("help-{command}.txt"), help_of(daemon, Some(command))?);
    }
    texts.insert("help-tcpstate.txt".into(), all);
    Ok(texts)
}

fn help_of(daemon: &Path, subcommand: Option<&str>) -> Result<String> {
    let mut command = Command::new(daemon);
    // The caller's environment may set options, which the help would show.
    command.args(subcommand).arg("--help").env_clear().env("COLUMNS", "100").env("NO_COLOR", "1");
    command.envs(env::var_os("PATH").map(|path| ("PATH", path)));
    let text = child::output_of(&mut command);
    text.with_context(|| format!("`tcpstate {} --help` fails", subcommand.unwrap_or_default()))
}

/// The names below `Commands:`, without clap's own `help`.
fn subcommands(help: &str) -> Vec<&str> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let list = list.take_while(|line| !line.is_empty());
    // A name stands two columns in; a description that was wrapped stands further in.
    let names = list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").collect()
}

fn compare(texts: &BTreeMap<String, String>, tree: &Tree) -> Vec<Finding> {
    const REMEDY: &str = "look at it, then run `cargo xtask tidy --bless`";
    let mut findings = Vec::new();
    for (name, text) in texts {
        let path = format!("{SNAPSHOTS}/{name}");
        match tree.text(&path) {
            None => findings.push(Finding::new(&path, 1, format!("this snapshot is missing; {REMEDY}"))),
            Some(snapshot) if snapshot != text => {
                let same = snapshot.lines().zip(text.lines()).take_while(|(old, new)| old == new).count();
                let now = text.lines().nth(same).unwrap_or("nothing more").trim();
                let what = format!("the help now says \"{now}\" here; {REMEDY}");
                findings.push(Finding::new(&path, same + 1, what));
            }
            Some(_) => {}
        }
    }
    let snapshots = tree.all().filter_map(|(path, _)| {
        let name = path.strip_prefix(SNAPSHOTS)?.strip_prefix('/')?;
        is_snapshot(name).then_some((path, name))
    });
    for (path, name) in snapshots.filter(|(_, name)| !texts.contains_key(*name)) {
        let what = format!("no subcommand has the help of {name} any more; {REMEDY}");
        findings.push(Finding::new(path, 1, what));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Tree, compare, subcommands};

    const HELP: &str = "Tells.\n\nUsage: tcpstate <COMMAND>\n\nCommands:\n  daemon   Runs\n           on\n  \
                        sockets  Lists\n  help     Print\n\nOptions:\n  -h, --help\n";

    #[test]
    fn subcommands_are_read_from_the_help() {
        assert_eq!(subcommands(HELP), ["daemon", "sockets"]);
        assert!(subcommands("Usage: tcpstate\n").is_empty());
    }

    #[track_caller]
    fn assert_found(snapshots: &[(&str, &str)], expected: &[&str]) {
        let texts = BTreeMap::from([("help-top.txt".to_owned(), "one\ntwo\n".to_owned())]);
        let found = compare(&texts, &Tree::of(snapshots));
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (finding, expected) in found.iter().zip(expected) {
            assert!(finding.to_string().starts_with(expected), "{finding}");
        }
    }

    #[test]
    fn equal_snapshots_are_fine() {
        assert_found(&[("tcpstate/tests/snapshots/help-top.txt", "one\ntwo\n")], &[]);
    }

    #[test]
    fn the_first_line_that_differs_is_told() {
        let snapshot = ("tcpstate/tests/snapshots/help-top.txt", "one\n2\n");
        assert_found(
            &[snapshot],
            &["tcpstate/tests/snapshots/help-top.txt:2: the help now says \"two\" here"],
        );
    }

    #[test]
    fn missing_and_left_over_snapshots_are_told() {
        assert_found(
            &[("tcpstate/tests/snapshots/help-old.txt", "x"), ("tcpstate/tests/snapshots/api.json", "{}")],
            &[
                "tcpstate/tests/snapshots/help-top.txt:1: this snapshot is missing",
                "tcpstate/tests/snapshots/help-old.txt:1: no subcommand has the help of help-old.txt",
            ],
        );
    }
}
