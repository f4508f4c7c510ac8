//! Which room of the house must not know what. A room is a folder, or the file of the same name.

use super::{
    Finding,
    paths::{Mention, mentions},
    tree::Tree,
};

struct Room {
    /// The folder, without a slash at the end.
    place: &'static str,
    /// Paths that must not be mentioned.
    unknown: &'static [&'static str],
    /// What to do instead.
    instead: &'static str,
}

/// What its Cargo.toml cannot keep out of the pure core: the standard library has it.
const IMPURE: &[&str] = &["std::fs", "std::net::Tcp*", "std::net::Udp*", "std::process", "std::thread"];

const ROOMS: [Room; 4] = [
    Room { place: CORE, unknown: IMPURE, instead: "take it as an argument: this crate is pure" },
    Room {
        place: "tcpstate/src/observe",
        unknown: &["axum*", "prometheus*", "crate::serve", "crate::diagnose", "crate::cli"],
        instead: "hand events and counters on, and let the other rooms decide",
    },
    Room {
        place: "tcpstate/src/serve",
        unknown: &["aya*", "crate::observe", "crate::cli"],
        instead: "show what the snapshot holds; crate::app puts it there",
    },
    Room {
        place: "tcpstate-common/src",
        unknown: &["tokio*", "axum*", "prometheus*", "std::fs", "std::net", "std::process", "std::thread"],
        instead: "keep it in the crate that needs it: this one is shared with the kernel side",
    },
];

/// The pure core's sources.
const CORE: &str = "tcpstate/core/src";
/// The daemon's sources. In both only one file may ask what time it is.
const DAEMON: &str = "tcpstate/src/";
const CLOCK: &str = "tcpstate/src/clock.rs";
const CLOCKS: [&str; 2] = ["Instant::now", "SystemTime::now"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<_> = ROOMS
        .iter()
        .filter(|room| !tree.all().any(|(name, _)| is_in(name, room.place)))
        .map(|room| Finding::new(room.place, 1, "no source is here; this room of the house must have one"))
        .collect();
    for (name, text) in tree.ending(".rs") {
        let room = ROOMS.iter().find(|room| is_in(name, room.place));
        if room.is_none() && !is_timed(name) {
            continue;
        }
        match mentions(name, text) {
            Err(line) => findings.push(Finding::new(name, line, "this is not Rust; make it compile")),
            Ok(mentions) => {
                findings.extend(mentions.iter().filter_map(|mention| judge(name, room, mention)));
            }
        }
    }
    findings
}

fn judge(name: &str, room: Option<&Room>, mention: &Mention) -> Option<Finding> {
    let finding = |what: String| Some(Finding::new(name, mention.line, what));
    if let Some(room) = room
        && let Some(pattern) = room.unknown.iter().find(|pattern| mention.is_within(pattern))
    {
        let (place, instead) = (room.place, room.instead);
        return finding(format!("{place} must not know {pattern} (here {mention}); {instead}"));
    }
    // A test outside of the pure core may wait for the real world, with a deadline.
    let is_waiting_test = mention.in_test && !is_in(name, CORE);
    if is_waiting_test || !is_timed(name) || name == CLOCK {
        return None;
    }
    if CLOCKS.iter().any(|clock| mention.ends_with(clock)) {
        return finding(format!("{mention} is for {CLOCK} alone; take the time as an argument"));
    }
    None
}

/// Whether these sources may not ask what time it is.
fn is_timed(name: &str) -> bool {
    name.starts_with(DAEMON) || is_in(name, CORE)
}

fn is_in(name: &str, place: &str) -> bool {
    name.strip_prefix(place).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
}

#[cfg(test)]
mod tests {
    use super::{ROOMS, Tree, check};

    /// A project in which every room has a file, and `name` holds `text`.
    #[track_caller]
    fn assert_found(name: &str, text: &str, expected: &[&str]) {
        let rooms: Vec<_> = ROOMS.iter().map(|room| format!("{}/mod.rs", room.place)).collect();
        let mut files: Vec<_> = rooms.iter().map(|name| (name.as_str(), "//! A room.\n")).collect();
        files.push((name, text));
        let found = check(&Tree::of(&files));
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (finding, expected) in found.iter().zip(expected) {
            assert!(finding.to_string().starts_with(expected), "{finding}");
        }
    }

    #[test]
    fn the_pure_core_knows_no_files_sockets_or_threads() {
        let name = "tcpstate/core/src/track/table.rs";
        assert_found(
            name,
            "use std::fs;",
            &["tcpstate/core/src/track/table.rs:1: tcpstate/core/src must not know std::fs"],
        );
        assert_found(name, "\nuse std::net::TcpStream;", &["tcpstate/core/src/track/table.rs:2: "]);
        assert_found(name, "fn f() { std::thread::spawn(x) }", &["tcpstate/core/src/track/table.rs:1: "]);
        assert_found(name, "use std::{collections::BTreeMap, net::IpAddr};\n// std::fs\n", &[]);
    }

    #[test]
    fn a_room_that_is_one_file_counts_as_well() {
        assert_found("tcpstate/src/serve.rs", "use crate::observe::Ring;", &["tcpstate/src/serve.rs:1: "]);
        assert_found("tcpstate/src/server.rs", "use crate::observe::Ring;", &[]);
    }

    #[test]
    fn the_way_through_the_house_is_not_walked_back() {
        assert_found(
            "tcpstate/src/observe/ring.rs",
            "use super::super::serve::Api;",
            &["tcpstate/src/observe/ring.rs:1: "],
        );
        assert_found("tcpstate/src/observe/ring.rs", "use crate::track::Event;\nuse aya::Ebpf;", &[]);
        assert_found(
            "tcpstate/src/serve/api.rs",
            "use crate::{track, observe::Ring};",
            &["tcpstate/src/serve/api.rs:1: "],
        );
        assert_found("tcpstate/src/serve/api.rs", "use crate::diagnose::Finding;\nuse axum::Router;", &[]);
        assert_found("tcpstate-common/src/wire.rs", "use tokio::time;", &["tcpstate-common/src/wire.rs:1: "]);
        assert_found("tcpstate-common/src/wire.rs", "unsafe impl aya::Pod for X {}", &[]);
    }

    #[test]
    fn only_the_clock_asks_what_time_it_is() {
        let text = "use std::time::{Instant, SystemTime};\nfn f() { Instant::now(); SystemTime::now() }";
        assert_found("tcpstate/src/clock.rs", text, &[]);
        let (first, second) =
            ("tcpstate/src/app.rs:2: std::time::Instant::now is for", "tcpstate/src/app.rs:2: ");
        assert_found("tcpstate/src/app.rs", text, &[first, second]);
        assert_found(
            "tcpstate/core/src/track/a.rs",
            "fn f() { Instant::now() }",
            &["tcpstate/core/src/track/a.rs:1: "],
        );
        assert_found("tcpstate/tests/live.rs", text, &[]);
        assert_found("tcpstate/src/serve/tests/stream.rs", text, &[]);
        assert_found(
            "tcpstate/core/src/diagnose/tests.rs",
            "fn f() { Instant::now() }",
            &["tcpstate/core/src/diagnose/tests.rs:1: "],
        );
    }

    #[test]
    fn a_room_that_is_gone_is_told() {
        let found = check(&Tree::of(&[]));
        assert_eq!(found.len(), ROOMS.len());
    }

    #[test]
    fn a_file_that_is_not_rust_is_told() {
        assert_found("tcpstate/src/app.rs", "fn f( {", &["tcpstate/src/app.rs:1: this is not Rust"]);
    }
}
