//! Parked sockets by owner.

use std::collections::HashMap;

use proptest::prelude::*;
use tcpstate_common::TcpState;

use super::{SECOND, census, closed_by, row, tracker, transition};
use crate::track::{Comm, Grouping, Holder, Holders, Key, Owner, ParkedGroup};

fn holder(pid: u32, name: &str) -> Holder {
    Holder { pid, fd: 3, comm: Comm::new(name), start_boottime_ns: 1 }
}

fn found(list: Vec<(Key, Holder)>) -> Holders {
    Holders::new(0, Vec::new(), Vec::new(), list)
}

fn names(groups: &[ParkedGroup]) -> Vec<(Option<String>, u64)> {
    groups
        .iter()
        .map(|group| {
            let name = group.blamed.as_ref().map(|blamed| blamed.comm.clone().unwrap_or_default());
            (name, group.count)
        })
        .collect()
}

#[test]
fn holder_is_blamed_with_its_unit() {
    let mut tracker = tracker(8);
    tracker.reconcile(&census(SECOND, vec![row(7, TcpState::CloseWait)]), None);
    let holders = found(vec![(Key::Cookie(7), holder(4121, "payments"))]);
    let owner = Owner { unit: Some("app.service".to_owned()), ..Owner::default() };
    tracker.attribute_all(&holders, &HashMap::from([(4121, owner)]), 5, 3 * SECOND);
    let group = &tracker.parked()[0];
    let blamed = group.blamed.as_ref().expect("named");
    assert_eq!(blamed.comm.as_deref(), Some("payments"));
    assert_eq!(blamed.unit.as_deref(), Some("app.service"));
    assert_eq!((group.count, group.oldest_age_ms), (1, 2000));
}

#[test]
fn socket_that_was_never_accepted_is_nobodys() {
    let mut tracker = tracker(8);
    let mut queued = row(7, TcpState::CloseWait);
    queued.inode = 0;
    tracker.reconcile(&census(SECOND, vec![queued]), None);
    // Some file that is no socket of ours also has no inode that is known.
    let holders = found(vec![(Key::Inode(0), holder(1, "stranger"))]);
    tracker.attribute_all(&holders, &HashMap::new(), 5, SECOND);
    assert_eq!(names(tracker.parked()), [(Some(String::new()), 1)]);
    assert_eq!(tracker.unattributed(), 0, "no process could hold it");
}

#[test]
fn owned_socket_without_holder_is_unattributed() {
    let mut tracker = tracker(8);
    tracker.reconcile(&census(SECOND, vec![row(7, TcpState::CloseWait)]), None);
    tracker.attribute_all(&Holders::default(), &HashMap::new(), 5, SECOND);
    assert_eq!(tracker.unattributed(), 0, "nobody has asked yet");
    tracker.attribute_all(&Holders::new(0, vec![7], Vec::new(), []), &HashMap::new(), 5, SECOND);
    assert_eq!(tracker.unattributed(), 1);
}

#[test]
fn time_wait_is_of_the_process_that_closed() {
    let mut tracker = tracker(8);
    let event = transition(7, 10, TcpState::FinWait2, TcpState::TimeWait);
    tracker.ingest(&mut closed_by(event, 9, "client"));
    tracker.attribute_all(&Holders::default(), &HashMap::new(), 5, SECOND);
    assert_eq!(names(tracker.parked()), [(Some("client".to_owned()), 1)]);
}

#[test]
fn sockets_are_grouped_a_portion_at_a_time() {
    let mut tracker = tracker(8);
    let rows = (1..=5).map(|cookie| row(cookie, TcpState::CloseWait)).collect();
    tracker.reconcile(&census(SECOND, rows), None);
    let (mut grouping, holders) = (Grouping::default(), Holders::default());
    assert!(tracker.group(&mut grouping, 0..2, &holders));
    assert!(tracker.group(&mut grouping, 2..4, &holders));
    assert!(!tracker.group(&mut grouping, 4..6, &holders));
    assert!(!tracker.group(&mut grouping, 6..8, &holders), "the table may have become smaller");
    tracker.attribute(grouping, &HashMap::new(), 5, SECOND);
    assert_eq!(tracker.parked()[0].count, 5);
}

#[test]
fn process_that_shares_a_socket_is_listed_beside_the_other() {
    let sharing = [holder(2, "child"), holder(1, "parent"), holder(2, "child")];
    let holders = found(sharing.map(|holder| (Key::Cookie(7), holder)).into());
    let mut tracker = tracker(8);
    tracker.reconcile(&census(SECOND, vec![row(7, TcpState::CloseWait)]), None);
    let page = tracker.page(&crate::track::Filter { limit: 1, ..Default::default() }, 0);
    assert_eq!(holders.of(&page.sockets[0]).count(), 2);
}

proptest! {
    /// However many owners there are, the series are bounded, and together they count every socket.
    #[test]
    fn groups_are_bounded_and_lose_nobody(pids in prop::collection::vec(0..40_u32, 0..200), top in 1..6_usize) {
        let mut tracker = tracker(1000);
        let rows = (0..pids.len() as u64).map(|cookie| row(cookie + 1, TcpState::CloseWait)).collect();
        tracker.reconcile(&census(SECOND, rows), None);
        let held = pids.iter().zip(1_u64..);
        let held = held.map(|(pid, cookie)| (Key::Cookie(cookie), holder(*pid + 1, &format!("p{pid}"))));
        let holders = found(held.collect());
        tracker.attribute_all(&holders, &HashMap::new(), top, SECOND);
        prop_assert!(tracker.parked().len() <= top + 1);
        let sum: u64 = tracker.parked().iter().map(|group| group.count).sum();
        prop_assert_eq!(sum, pids.len() as u64);
    }
}
