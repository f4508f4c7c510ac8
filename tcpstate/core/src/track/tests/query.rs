//! Pages and filters.

use std::net::IpAddr;

use proptest::prelude::*;
use tcpstate_common::TcpState;

use super::{SECOND, census, row, tracker};
use crate::track::{Family, Filter, Tracker, Tuple};

fn with(rows: Vec<crate::track::Row>) -> Tracker {
    let mut tracker = tracker(1000);
    tracker.reconcile(&census(SECOND, rows), None);
    tracker
}

#[test]
fn v4_mapped_peer_is_found_by_its_ipv4_address() {
    let mut mapped = row(7, TcpState::Established);
    mapped.tuple = Tuple {
        family: Family::V6,
        local: "[::ffff:127.0.0.1]:80".parse().expect("an address"),
        remote: "[::ffff:127.0.0.9]:4000".parse().expect("an address"),
    };
    let tracker = with(vec![mapped]);
    let ask = |peer: &str| {
        let peer: IpAddr = peer.parse().expect("an address");
        tracker.page(&Filter { peer: Some(peer), limit: 9, ..Filter::default() }, 0).total
    };
    assert_eq!(ask("127.0.0.9"), 1);
    assert_eq!(ask("::ffff:127.0.0.9"), 1);
    assert_eq!(ask("127.0.0.8"), 0);
}

#[test]
fn age_is_measured_in_the_state() {
    let tracker = with(vec![row(7, TcpState::CloseWait)]);
    let ask = |min_age_ms, now_ns| {
        tracker.page(&Filter { min_age_ms: Some(min_age_ms), limit: 9, ..Filter::default() }, now_ns).total
    };
    assert_eq!(ask(4000, 5 * SECOND), 1);
    assert_eq!(ask(4001, 5 * SECOND), 0);
}

proptest! {
    #[test]
    fn pages_visit_every_socket_once(count in 0..60_u64, limit in 1..20_usize) {
        let tracker = with((1..=count).map(|cookie| row(cookie * 3, TcpState::CloseWait)).collect());
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = tracker.page(&Filter { after, limit, ..Filter::default() }, 0);
            prop_assert_eq!(page.total, count);
            prop_assert!(page.sockets.len() <= limit);
            seen.extend(page.sockets.iter().map(|socket| socket.cookie));
            after = page.next;
            if after.is_none() { break; }
        }
        prop_assert_eq!(seen, (1..=count).map(|cookie| cookie * 3).collect::<Vec<_>>());
    }
}
