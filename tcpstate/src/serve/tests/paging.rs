//! Pages.

use std::collections::HashSet;

use serde_json::Value;
use tcpstate_common::TcpState;

use super::{
    daemon::Daemon,
    diagnosed::{self, count, listener},
    scene,
};
use crate::{
    diagnose::evidence::Destination,
    serve::ask::{Diagnosed, Parking},
};

/// What the entries of a list are called in an answer.
fn entries_of(list: &str) -> &str {
    if list == "ports" { "destinations" } else { list }
}

/// Follows the cursors and returns the named member of every entry, and the sizes of the pages.
fn follow(daemon: &Daemon, list: &str, member: &str, limit: usize) -> (Vec<String>, Vec<usize>) {
    let (mut seen, mut sizes) = (Vec::new(), Vec::new());
    let mut cursor = String::new();
    loop {
        let page = daemon.get(&format!("/api/v1/{list}?limit={limit}{cursor}")).json();
        let entries = page[entries_of(list)].as_array().unwrap();
        seen.extend(entries.iter().map(|entry| entry[member].to_string()));
        sizes.push(entries.len());
        assert!(sizes.len() <= 1000, "the cursors lead in a circle");
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (seen, sizes),
        }
    }
}

#[test]
fn the_cursors_lead_to_every_socket_once() {
    for count in [0_u64, 1, 2, 3, 7, 8, 9, 40] {
        // Cookies with gaps, up to the largest.
        let rows = (0..count).map(|index| scene::row(if index == 0 { u64::MAX } else { index * index + 5 }));
        let daemon = Daemon::with(scene::readings(), scene::tracker(&rows.collect::<Vec<_>>()));
        for limit in [1, 2, 3, 7, 8, 9, 39, 40, 41, 1000] {
            let (seen, sizes) = follow(&daemon, "sockets", "cookie", limit);
            let distinct: HashSet<_> = seen.iter().collect();
            assert_eq!((seen.len() as u64, distinct.len() as u64), (count, count), "{count} by {limit}");
            // No page but an only one is empty, and no page but the last is short.
            let full = &sizes[..sizes.len() - 1];
            assert!(full.iter().all(|size| *size == limit), "{count} by {limit}: {sizes:?}");
            assert!(sizes.len() == 1 || sizes.last() > Some(&0), "{count} by {limit}: {sizes:?}");
        }
    }
}

#[test]
fn the_cursors_lead_to_every_reset_once_the_newest_first() {
    for count in [0, 1, 2, 9, 25] {
        let mut tracker = scene::tracker(&[]);
        scene::add_resets(&mut tracker, count);
        let daemon = Daemon::with(scene::readings(), tracker);
        let newest_first: Vec<_> = (1..=count).rev().map(|id| id.to_string()).collect();
        for limit in [1, 2, 3, 9, 24, 25, 26] {
            assert_eq!(follow(&daemon, "resets", "id", limit).0, newest_first, "{count} by {limit}");
        }
    }
}

#[test]
fn a_page_that_asks_for_no_number_has_a_hundred() {
    let mut tracker = scene::tracker(&(1..=150).map(scene::row).collect::<Vec<_>>());
    scene::add_resets(&mut tracker, 150);
    let daemon = Daemon::with(scene::readings(), tracker);
    let numbers: Vec<_> = (1..=150).map(|number| (number, u64::from(number))).collect();
    daemon.diagnose(with(&numbers));
    for list in ["sockets", "resets", "processes", "ports", "listeners"] {
        let page = daemon.get(&format!("/api/v1/{list}")).json();
        assert_eq!(page[entries_of(list)].as_array().unwrap().len(), 100, "{list}");
        assert!(page["next_cursor"].is_string(), "{list}");
        assert!(list == "resets" || page["total"] == 150, "{list}");
    }
}

/// A process, a destination and a listener for each of these: a number by which to know it, and how much there is of it.
fn with(numbers: &[(u32, u64)]) -> Diagnosed {
    let parking = |(number, amount): &(u32, u64)| Parking {
        process: scene::process(*number, "worker"),
        held: count([(TcpState::CloseWait, amount - 1)]),
        left: count([(TcpState::FinWait2, 1)]),
    };
    let destination = |(number, amount): &(u32, u64)| Destination {
        netns: *number,
        local: "10.0.0.1".parse().unwrap(),
        remote: "[2001:db8::7]:80".parse().unwrap(),
        by_state: count([(TcpState::Established, *amount)]),
        actors: Vec::new(),
        cookies: Vec::new(),
        time_waits_between_ns: None,
    };
    let listening = |(number, amount): &(u32, u64)| {
        // As servers with a listener for each thread do.
        let queue = u32::try_from(*amount).unwrap();
        (listener(u64::from(*number), "0.0.0.0:8000", queue, 128), None)
    };
    Diagnosed {
        parking: numbers.iter().map(parking).collect(),
        destinations: numbers.iter().map(destination).collect(),
        listeners: numbers.iter().map(listening).collect(),
        findings: Vec::new(),
        ..diagnosed::diagnosed()
    }
}

/// The lists of a diagnosis, and by which member an entry is known.
const LISTS: [(&str, &str); 3] = [("processes", "pid"), ("ports", "netns"), ("listeners", "cookie")];

fn numbers(seen: &[String]) -> Vec<u32> {
    seen.iter().map(|number| number.trim_matches('"').parse().unwrap()).collect()
}

#[test]
fn the_cursors_lead_to_all_that_a_diagnosis_found_once_the_largest_first() {
    let daemon = Daemon::start();
    for count in [0_u32, 1, 3, 8, 40] {
        // Several are as large as others.
        let found: Vec<_> = (1..=count).map(|number| (number * 7, u64::from(number % 5) + 1)).collect();
        daemon.diagnose(with(&found));
        let mut expected = found.clone();
        expected.sort_by_key(|(number, amount)| (std::cmp::Reverse(*amount), *number));
        let expected: Vec<_> = expected.into_iter().map(|(number, _)| number).collect();
        for (list, member) in LISTS {
            for limit in [1, 3, 8, 39, 40, 41] {
                let (seen, sizes) = follow(&daemon, list, member, limit);
                assert_eq!(numbers(&seen), expected, "{count} {list} by {limit}");
                let full = &sizes[..sizes.len() - 1];
                assert!(full.iter().all(|size| *size == limit), "{count} {list} by {limit}: {sizes:?}");
                assert!(sizes.len() == 1 || sizes.last() > Some(&0), "{count} {list} by {limit}: {sizes:?}");
            }
        }
    }
}

#[test]
fn a_cursor_goes_on_behind_its_place_in_what_a_later_pass_has_found() {
    let daemon = Daemon::start();
    for (list, member) in LISTS {
        daemon.diagnose(with(&[(1, 90), (2, 70), (3, 50), (4, 30), (5, 10)]));
        let first = daemon.get(&format!("/api/v1/{list}?limit=2")).json();
        let cursor = first["next_cursor"].as_str().unwrap();
        // The last one of the page has gone, some have come, and one has become less.
        daemon.diagnose(with(&[(1, 60), (9, 80), (3, 50), (7, 40), (4, 30), (5, 10)]));
        let second = daemon.get(&format!("/api/v1/{list}?limit=3&cursor={cursor}")).json();
        let seen: Vec<_> = second[entries_of(list)].as_array().unwrap().iter().collect();
        let seen: Vec<_> = seen.iter().map(|entry| entry[member].to_string()).collect();
        assert_eq!((numbers(&seen), &second["total"]), (vec![1, 3, 7], &6.into()), "{list}");
        // Behind the last place of all there is nothing, and that is no error.
        daemon.diagnose(with(&[(1, 90)]));
        let last = daemon.get(&format!("/api/v1/{list}?cursor={cursor}")).json();
        assert_eq!((&last[entries_of(list)], &last["total"]), (&Value::Array(vec![]), &1.into()), "{list}");
        assert_eq!(last["next_cursor"], Value::Null, "{list}");
    }
}

#[test]
fn what_namespaces_refused_is_told_once_on_the_first_page() {
    let daemon = Daemon::start();
    let first = daemon.get("/api/v1/listeners?limit=1").json();
    assert_eq!(first["namespaces"][0]["overflows"], 41);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = daemon.get(&format!("/api/v1/listeners?limit=1&cursor={cursor}")).json();
    assert_eq!(second["listeners"][0]["cookie"], "8");
    assert_eq!(second["namespaces"], Value::Array(vec![]));
}

#[test]
fn a_socket_that_comes_meanwhile_moves_no_other_to_another_page() {
    let daemon =
        Daemon::with(scene::readings(), scene::tracker(&[scene::row(10), scene::row(20), scene::row(30)]));
    let first = daemon.get("/api/v1/sockets?limit=2").json();
    let rows = [5, 10, 15, 20, 25, 30].map(scene::row);
    scene::census(&mut daemon.fake.lock().unwrap().tracker, &rows);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = daemon.get(&format!("/api/v1/sockets?limit=2&cursor={cursor}")).json();
    let cookies: Vec<_> =
        second["sockets"].as_array().unwrap().iter().map(|socket| &socket["cookie"]).collect();
    assert_eq!(cookies, ["25", "30"]);
}
