//! Finds the paths (`std::fs::read`) that a Rust source mentions, in `use` trees, code and macro arguments.
//!
//! It works on tokens, so comments and strings do not count and no full parser is needed. Names brought in by a
//! `use` of the same file are followed, as are `self` and `super`.

use std::{
    collections::{HashMap, VecDeque},
    fmt, mem,
};

use proc_macro2::{Delimiter, Group, Ident, Spacing, TokenStream, TokenTree};

/// One path where it is mentioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    /// The path's names; the last is `*` for a glob import.
    pub(super) path: Vec<String>,
    pub(super) line: usize,
    /// Whether it stands in code that only exists in tests.
    pub(super) in_test: bool,
}

impl fmt::Display for Mention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path.join("::"))
    }
}

impl Mention {
    /// Says whether the path is `pattern` or something in it. The pattern's last name may end with `*`, which
    /// stands for any rest of a name.
    pub(super) fn is_within(&self, pattern: &str) -> bool {
        for (index, wanted) in pattern.split("::").enumerate() {
            match self.path.get(index).map(String::as_str) {
                // A glob import brings in whatever is wanted.
                Some("*") if index > 0 => return true,
                Some(name) if matches(name, wanted) => {}
                _ => return false,
            }
        }
        true
    }

    /// Says whether the path's last names are those of `pattern`.
    pub(super) fn ends_with(&self, pattern: &str) -> bool {
        let wanted: Vec<_> = pattern.split("::").collect();
        self.path.iter().map(String::as_str).collect::<Vec<_>>().ends_with(&wanted)
    }
}

fn matches(name: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == wanted,
    }
}

/// The paths that the source `text` of the file `name` mentions.
///
/// # Errors
/// The line at which the text stops being Rust.
pub(super) fn mentions(name: &str, text: &str) -> Result<Vec<Mention>, usize> {
    let tokens: TokenStream =
        text.parse().map_err(|error: proc_macro2::LexError| error.span().start().line)?;
    let mut finder = Finder { imports: HashMap::new(), found: Vec::new() };
    let place = Place { module: module_of(name), in_test: is_test_file(name) };
    finder.read(tokens, &place);
    finder.follow_imports();
    Ok(finder.found)
}

/// Says whether a file holds nothing but tests.
pub(super) fn is_test_file(name: &str) -> bool {
    name.split('/').any(|part| part == "tests" || part == "tests.rs")
}

/// The module that a file is, as a path from `crate`.
fn module_of(name: &str) -> Vec<String> {
    let inside = name.split_once("src/").map_or(name, |(_crate, inside)| inside);
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let parts = inside.split('/').filter(|part| !["lib", "main", "mod"].contains(part));
    ["crate"].into_iter().chain(parts).map(str::to_owned).collect()
}

#[derive(Clone)]
struct Place {
    module: Vec<String>,
    in_test: bool,
}

struct Finder {
    /// What a name stands for that a `use` brought in.
    imports: HashMap<String, Vec<String>>,
    found: Vec<Mention>,
}

impl Finder {
    fn read(&mut self, tokens: TokenStream, place: &Place) {
        let mut place = place.clone();
        let mut tokens: VecDeque<TokenTree> = tokens.into_iter().collect();
        // An attribute that says "only in tests" is meant for the next braces.
        let mut next_in_test = false;
        let mut module = None;
        while let Some(token) = tokens.pop_front() {
            match token {
                TokenTree::Punct(punct) => match punct.as_char() {
                    ';' => (next_in_test, module) = (false, None),
                    '#' => {
                        let inner = take_punct(&mut tokens, '!');
                        if let Some(group) = take_group(&mut tokens, Delimiter::Bracket) {
                            let only_in_test = is_test_attribute(&group);
                            place.in_test |= inner && only_in_test;
                            next_in_test |= only_in_test;
                        }
                    }
                    // What follows a dot is a field or a method, not a path.
                    '.' if matches!(tokens.front(), Some(TokenTree::Ident(_))) => {
                        tokens.pop_front();
                    }
                    _ => {}
                },
                TokenTree::Group(group) => {
                    let mut inside = place.clone();
                    if group.delimiter() == Delimiter::Brace {
                        inside.in_test |= next_in_test;
                        inside.module.extend(module.take());
                        next_in_test = false;
                    }
                    self.read(group.stream(), &inside);
                }
                // In a type, `use<…>` says what it captures.
                TokenTree::Ident(ident) if ident == "use" && !take_punct(&mut tokens, '<') => {
                    let in_test = place.in_test || mem::take(&mut next_in_test);
                    let place = Place { module: place.module.clone(), in_test };
                    self.read_use(&mut tokens, &[], &place);
                }
                TokenTree::Ident(ident) if ident == "mod" => {
                    if let Some(TokenTree::Ident(name)) = tokens.front() {
                        module = Some(name.to_string());
                        tokens.pop_front();
                    }
                }
                TokenTree::Ident(ident) if ident == "extern" => {
                    if matches!(tokens.front(), Some(TokenTree::Ident(it)) if it == "crate") {
                        tokens.pop_front();
                        if let Some(TokenTree::Ident(name)) = tokens.front() {
                            self.found(vec![name.to_string()], name, &place);
                        }
                    }
                }
                TokenTree::Ident(ident) => {
                    let mut path = vec![ident.to_string()];
                    while let Some(name) = take_next_name(&mut tokens) {
                        path.push(name.to_string());
                    }
                    if path.len() > 1 {
                        self.found(path, &ident, &place);
                    }
                }
                TokenTree::Literal(_) => {}
            }
        }
    }

    /// Reads one branch of a `use` tree: what stands between two commas.
    fn read_use(&mut self, tokens: &mut VecDeque<TokenTree>, prefix: &[String], place: &Place) {
        let mut path = prefix.to_vec();
        let mut last: Option<Ident> = None;
        let mut alias = None;
        while let Some(token) = tokens.pop_front() {
            match token {
                TokenTree::Ident(ident) if ident == "as" => {
                    if let Some(TokenTree::Ident(name)) = tokens.pop_front() {
                        alias = Some(name.to_string());
                    }
                }
                TokenTree::Ident(ident) => {
                    if ident != "self" || path.is_empty() {
                        path.push(ident.to_string());
                    }
                    last = Some(ident);
                }
                TokenTree::Group(group) => {
                    let mut branches: VecDeque<_> = group.stream().into_iter().collect();
                    while !branches.is_empty() {
                        self.read_use(&mut branches, &path, place);
                    }
                    last = None;
                }
                TokenTree::Punct(punct) => match punct.as_char() {
                    ';' | ',' => break,
                    '*' => {
                        let path = absolute([path.clone(), vec!["*".into()]].concat(), &place.module);
                        let line = punct.span().start().line;
                        self.found.push(Mention { path, line, in_test: place.in_test });
                        last = None;
                    }
                    _ => {}
                },
                TokenTree::Literal(_) => {}
            }
        }
        if let (Some(ident), Some(name)) = (last, path.last()) {
            let name = alias.unwrap_or_else(|| name.clone());
            self.imports.insert(name, absolute(path.clone(), &place.module));
            self.found(path, &ident, place);
        }
    }

    fn found(&mut self, path: Vec<String>, at: &Ident, place: &Place) {
        let path = absolute(path, &place.module);
        self.found.push(Mention { path, line: at.span().start().line, in_test: place.in_test });
    }

    fn follow_imports(&mut self) {
        for mention in &mut self.found {
            if let Some(import) = mention.path.first().and_then(|name| self.imports.get(name)) {
                mention.path.splice(..1, import.iter().cloned());
            }
        }
    }
}

/// Replaces a leading `self` or `super` by the module's path.
fn absolute(path: Vec<String>, module: &[String]) -> Vec<String> {
    let mut base = module.to_vec();
    let mut rest = path.as_slice();
    if rest.first().is_none_or(|name| name != "self" && name != "super") {
        return path;
    }
    while let Some(name) = rest.first().filter(|name| *name == "self" || *name == "super") {
        if name == "super" {
            base.pop();
        }
        rest = &rest[1..];
    }
    base.extend_from_slice(rest);
    base
}

/// Takes `::name` from the front, if it is there.
fn take_next_name(tokens: &mut VecDeque<TokenTree>) -> Option<Ident> {
    let is_path = matches!(tokens.front(), Some(TokenTree::Punct(it)) if it.as_char() == ':' && it.spacing() == Spacing::Joint)
        && matches!(tokens.get(1), Some(TokenTree::Punct(it)) if it.as_char() == ':');
    let Some(TokenTree::Ident(name)) = tokens.get(2).filter(|_| is_path).cloned() else { return None };
    tokens.drain(..3);
    Some(name)
}

fn take_punct(tokens: &mut VecDeque<TokenTree>, wanted: char) -> bool {
    let is_there = matches!(tokens.front(), Some(TokenTree::Punct(it)) if it.as_char() == wanted);
    if is_there {
        tokens.pop_front();
    }
    is_there
}

fn take_group(tokens: &mut VecDeque<TokenTree>, delimiter: Delimiter) -> Option<Group> {
    match tokens.front() {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => {
            let group = group.clone();
            tokens.pop_front();
            Some(group)
        }
        _ => None,
    }
}

/// Says whether `#[…]` keeps what follows for tests: `test`, `tokio::test`, `cfg(test)` and the like.
fn is_test_attribute(attribute: &Group) -> bool {
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    let condition = text.strip_prefix("cfg(").is_some_and(|condition| {
        let mut words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == "test") && !condition.contains("not(test")
    });
    let path = text.split('(').next().unwrap_or_default();
    condition || path == "test" || path.ends_with("::test")
}

#[cfg(test)]
mod tests {
    use super::mentions;

    fn found(text: &str) -> Vec<String> {
        let found = mentions("tcpstate/core/src/track/table.rs", text).unwrap();
        found.iter().map(|it| format!("{}:{}{it}", it.line, if it.in_test { "test:" } else { "" })).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(found(text), expected);
    }

    #[test]
    fn use_trees_are_spread_out() {
        check(
            "use std::{\n    fs::{self, File},\n    net::*,\n};",
            &["2:std::fs", "2:std::fs::File", "3:std::net::*"],
        );
    }

    #[test]
    fn paths_in_code_and_in_macros_are_found() {
        check("fn f() {\n    println!(\"{}\", std::fs::read(x));\n}", &["2:std::fs::read"]);
    }

    #[test]
    fn comments_strings_fields_and_methods_are_no_paths() {
        check("/// std::fs\nfn f() { let a = \"std::fs\"; b.tokio::<u8>(); } // tokio::spawn", &[]);
    }

    #[test]
    fn imported_names_are_followed() {
        check(
            "use std::time::Instant as Clock;\nfn f() { Clock::now() }",
            &["1:std::time::Instant", "2:std::time::Instant::now"],
        );
    }

    #[test]
    fn super_and_self_are_resolved_also_in_inner_modules() {
        check("use super::super::observe::Reader;", &["1:crate::observe::Reader"]);
        check("use self::x;", &["1:crate::track::table::x"]);
        check("mod inner {\n    use super::y;\n}", &["2:crate::track::table::y"]);
    }

    #[test]
    fn code_for_tests_is_told_apart() {
        check(
            "#[cfg(test)]\nmod tests {\n    fn f() { a::b() }\n}\nfn g() { c::d() }",
            &["3:test:a::b", "5:c::d"],
        );
        check("#[tokio::test(start_paused)]\nasync fn f() { a::b() }", &["2:test:a::b"]);
        check("#[cfg(not(test))]\nfn f() { a::b() }", &["2:a::b"]);
        check("#[cfg(test)]\nuse a::b;\nuse c::d;", &["2:test:a::b", "3:c::d"]);
    }

    #[test]
    fn a_capture_list_is_no_import() {
        check("fn f() -> impl Fn() + use<'a> { a::b() }", &["1:a::b"]);
    }

    #[test]
    fn what_is_not_rust_is_told_with_its_line() {
        assert_eq!(mentions("a.rs", "fn f() {\n    }}\n"), Err(2));
    }

    #[test]
    fn patterns_match_whole_names() {
        let mention = |text: &str| mentions("a.rs", text).unwrap().remove(0);
        assert!(mention("use tokio::sync::mpsc;").is_within("tokio"));
        assert!(!mention("use tokio_like::x;").is_within("tokio"));
        assert!(!mention("use crate::tokio::x;").is_within("tokio"));
        assert!(mention("use std::net::TcpStream;").is_within("std::net::Tcp*"));
        assert!(!mention("use std::net::IpAddr;").is_within("std::net::Tcp*"));
        assert!(mention("use std::net::*;").is_within("std::net::Tcp*"));
        assert!(!mention("use std::net;").is_within("std::net::Tcp*"));
        assert!(mention("use std::thread::sleep;").ends_with("thread::sleep"));
    }
}
