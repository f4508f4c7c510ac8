//! No file names a folder of the machine that it was written on.

use std::path::Path;

use super::{Finding, tree::Tree};

const HOMES: [&str; 3] = ["root", "work", "home"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_lock = |name: &str| Path::new(name).extension().is_some_and(|it| it == "lock");
    for (name, text) in tree.all().filter(|(name, _)| !is_lock(name)) {
        for (index, line) in text.lines().enumerate() {
            if let Some(found) = machine_path(line) {
                let what = format!("{found}… is a folder of one machine; name it relative to the project");
                findings.push(Finding::new(name, index + 1, what));
            }
        }
    }
    findings
}

/// The start of the first path of a machine in `line`: one of the folders, and a small letter in it.
fn machine_path(line: &str) -> Option<String> {
    HOMES.iter().map(|home| format!("/{home}/")).find(|folder| {
        line.match_indices(folder).any(|(start, _)| {
            // Inside a longer path it is another folder.
            let is_inside = line[..start].ends_with(|c: char| c.is_alphanumeric() || "_-.})".contains(c));
            !is_inside && line[start + folder.len()..].starts_with(|c: char| c.is_ascii_lowercase())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{HOMES, Tree, check};

    fn count(name: &str, text: &str) -> usize {
        check(&Tree::of(&[(name, text)])).len()
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for home in HOMES {
            let found = check(&Tree::of(&[("a.md", &format!("one\nsee /{home}/me/x\n"))]));
            assert_eq!(found.len(), 1);
            assert!(found[0].to_string().starts_with(&format!("a.md:2: /{home}/…")), "{}", found[0]);
        }
    }

    #[test]
    fn lock_files_and_other_folders_are_left_alone() {
        let [root, work, home] = HOMES;
        assert_eq!(count("Cargo.lock", &format!("/{root}/x")), 0);
        assert_eq!(count("a.md", &format!("tests/{work}/a and $HOME/x and /{home}/USER")), 0);
    }
}
