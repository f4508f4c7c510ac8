//! The commands that the documentation names exist, and the README names the two that a newcomer needs.

use clap::CommandFactory;

use super::{Finding, tree::Tree};
use crate::Cli;

const README: &str = "README.md";
const REQUIRED: [&str; 2] = ["cargo xtask run", "cargo xtask test"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let commands: Vec<_> = Cli::command().get_subcommands().map(|it| it.get_name().to_owned()).collect();
    let readme = tree.text(README).unwrap_or_default();
    let mut findings: Vec<_> = REQUIRED
        .iter()
        .filter(|command| !readme.contains(*command))
        .map(|command| {
            Finding::new(README, 1, format!("`{command}` is nowhere in it; tell newcomers about it"))
        })
        .collect();
    for (name, text) in tree.ending(".md") {
        for (line, named) in named_tasks(text) {
            if !commands.contains(&named) {
                let known = commands.join(", ");
                let what = format!("`cargo xtask {named}` does not exist; there are {known}");
                findings.push(Finding::new(name, line, what));
            }
        }
    }
    findings
}

/// Each word that follows `cargo xtask`, with its line.
fn named_tasks(text: &str) -> impl Iterator<Item = (usize, String)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        line.split("cargo xtask ").skip(1).filter_map(move |rest| {
            let word: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            // `cargo xtask --help` and `cargo xtask <TASK>` name no task.
            word.starts_with(|c: char| c.is_ascii_lowercase()).then_some((index + 1, word))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{Tree, check, named_tasks};

    const GOOD: &str =
        "# tcpstate\n\n    cargo xtask run\n\nTests: `cargo xtask test`, help: `cargo xtask --help`.\n";

    #[test]
    fn a_readme_with_both_commands_is_fine() {
        assert_eq!(check(&Tree::of(&[("README.md", GOOD)])), []);
    }

    #[test]
    fn a_missing_command_is_told() {
        let found = check(&Tree::of(&[("README.md", "Try `cargo xtask run`.")]));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].what.contains("`cargo xtask test` is nowhere"), "{}", found[0]);
        assert_eq!(check(&Tree::of(&[])).len(), 2, "without a README both are missing");
    }

    #[test]
    fn a_command_that_does_not_exist_is_told_with_its_line() {
        let page = "One.\n`cargo xtask fly --high`\n";
        let found = check(&Tree::of(&[("README.md", GOOD), ("tcpstate/docs/x.md", page)]));
        assert_eq!(found.len(), 1, "{found:#?}");
        let text = found[0].to_string();
        assert!(text.starts_with("tcpstate/docs/x.md:2: `cargo xtask fly` does not exist"), "{text}");
    }

    #[test]
    fn several_commands_of_one_line_are_found() {
        let found: Vec<_> =
            named_tasks("a\n`cargo xtask run`, `cargo xtask test x`, cargo xtask <T>").collect();
        assert_eq!(found, [(2, "run".to_owned()), (2, "test".to_owned())]);
    }
}
