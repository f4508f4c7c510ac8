//! Pages.

use std::collections::HashSet;

use super::{daemon::Daemon, scene};

/// Follows the cursors and returns the named member of every entry, and the sizes of the pages.
fn follow(daemon: &Daemon, list: &str, member: &str, limit: usize) -> (Vec<String>, Vec<usize>) {
    let (mut seen, mut sizes) = (Vec::new(), Vec::new());
    let mut cursor = String::new();
    loop {
        let page = daemon.get(&format!("/api/v1/{list}?limit={limit}{cursor}")).json();
        let entries = page[list].as_array().unwrap();
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
        let daemon = Daemon::with(scene::readings(), scene::tracker(rows.collect()));
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
        let mut tracker = scene::tracker(Vec::new());
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
    let mut tracker = scene::tracker((1..=150).map(scene::row).collect());
    scene::add_resets(&mut tracker, 150);
    let daemon = Daemon::with(scene::readings(), tracker);
    for list in ["sockets", "resets"] {
        let page = daemon.get(&format!("/api/v1/{list}")).json();
        assert_eq!(page[list].as_array().unwrap().len(), 100);
        assert!(page["next_cursor"].is_string());
    }
}

#[test]
fn a_socket_that_comes_meanwhile_moves_no_other_to_another_page() {
    let daemon =
        Daemon::with(scene::readings(), scene::tracker(vec![scene::row(10), scene::row(20), scene::row(30)]));
    let first = daemon.get("/api/v1/sockets?limit=2").json();
    let rows = [5, 10, 15, 20, 25, 30].map(scene::row);
    daemon.fake.lock().unwrap().tracker.reconcile(&scene::census(rows.into()), None);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = daemon.get(&format!("/api/v1/sockets?limit=2&cursor={cursor}")).json();
    let cookies: Vec<_> =
        second["sockets"].as_array().unwrap().iter().map(|socket| &socket["cookie"]).collect();
    assert_eq!(cookies, ["25", "30"]);
}
