//! The form of Rust sources: each says first what it is for, leaves nothing for later, and no test is switched
//! off or sleeps.

use super::{Finding, paths::mentions, tree::Tree};

/// Marks of work left undone. Put together from halves, so that this file has none itself.
const UNDONE: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("to", "do!")];
const SWITCHED_OFF: &str = concat!("#[", "ignore");
const SLEEPS: [&str; 2] = ["thread::sleep", "time::sleep"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.ending(".rs").flat_map(|(name, text)| check_file(name, text)).collect()
}

fn check_file(name: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !says_what_it_is_for(text) {
        findings.push(Finding::new(name, 1, "does not start with a //! that says what it is for"));
    }
    for (index, line) in text.lines().enumerate() {
        if let Some(word) = UNDONE.iter().find(|word| has_word(line, word)) {
            let what = format!("{word}: do it, or write it down where work is planned");
            findings.push(Finding::new(name, index + 1, what));
        }
        if line.contains(SWITCHED_OFF) {
            let what = "a test that is switched off; make it run, or print SKIPPED with the reason";
            findings.push(Finding::new(name, index + 1, what));
        }
    }
    // What is not Rust is found by the compiler.
    for mention in mentions(name, text).unwrap_or_default() {
        if mention.in_test && SLEEPS.iter().any(|sleep| mention.ends_with(sleep)) {
            let what = format!("{mention} in a test; wait for what shall happen, with a deadline");
            findings.push(Finding::new(name, mention.line, what));
        }
    }
    findings
}

/// Says whether `//!` is the first thing after a `#!` line and inner attributes.
fn says_what_it_is_for(text: &str) -> bool {
    let mut inside_attribute = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("//!") {
            return true;
        }
        let starts = line.starts_with("#!");
        if !starts && !inside_attribute && !line.is_empty() {
            return false;
        }
        if starts || inside_attribute {
            inside_attribute = line.starts_with("#![") || inside_attribute;
            inside_attribute &= !line.ends_with(']');
        }
    }
    false
}

fn has_word(line: &str, word: &str) -> bool {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        !line[..start].ends_with(is_of_word) && !line[start + word.len()..].starts_with(is_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::{Tree, UNDONE, check};

    #[track_caller]
    fn assert_found(name: &str, text: &str, expected: &[&str]) {
        let found = check(&Tree::of(&[(name, text)]));
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (finding, expected) in found.iter().zip(expected) {
            assert!(finding.to_string().starts_with(expected), "{finding}");
        }
    }

    #[test]
    fn a_file_says_first_what_it_is_for() {
        assert_found("a.rs", "//! Counts.\nfn f() {}", &[]);
        assert_found("a.rs", "#!/usr/bin/env run\n#![no_std]\n\n//! Counts.\n", &[]);
        assert_found("a.rs", "#![expect(\n    missing,\n    reason = \"x\"\n)]\n//! Counts.\n", &[]);
        assert_found("a.rs", "fn f() {}\n//! Late.", &["a.rs:1: does not start with a //!"]);
        assert_found("a.rs", "", &["a.rs:1: does not start with a //!"]);
        assert_found("a.md", "no source", &[]);
    }

    #[test]
    fn nothing_is_left_for_later() {
        for word in UNDONE {
            assert_found("a.rs", &format!("//! A.\n// {word} later\n"), &[&format!("a.rs:2: {word}")]);
        }
        assert_found("a.rs", &format!("//! A.\nconst {}_LIST: u8 = 1;", UNDONE[0]), &[]);
    }

    #[test]
    fn no_test_is_switched_off() {
        let text = format!("//! A.\n#[test]\n{}]\nfn f() {{}}", super::SWITCHED_OFF);
        assert_found("a.rs", &text, &["a.rs:3: a test that is switched off"]);
    }

    #[test]
    fn tests_do_not_sleep() {
        let sleep = "fn f() { std::thread::sleep(x); }";
        assert_found("tcpstate/tests/a.rs", &format!("//! A.\n{sleep}"), &["tcpstate/tests/a.rs:2: "]);
        assert_found(
            "src/a.rs",
            &format!("//! A.\n#[cfg(test)]\nmod tests {{\n{sleep} }}"),
            &["src/a.rs:4: "],
        );
        let imported = "//! A.\nuse tokio::time;\n#[tokio::test]\nasync fn f() { time::sleep(x).await }";
        assert_found("src/a.rs", imported, &["src/a.rs:4: tokio::time::sleep in a test"]);
        assert_found("src/a.rs", &format!("//! A.\n{sleep}"), &[]);
    }
}
