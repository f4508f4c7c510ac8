//! What goes to watchers. The ring and the tapes of all CPUs tell of events one after the other; watchers get them in
//! the order in which they happened, decoded only if one of them wants them decoded.

use std::{mem, sync::Arc};

use tcpstate_common::Event as Record;
use tokio::sync::broadcast;

use crate::{
    observe::decode,
    serve::ask::{Batch, Watching},
    track::Event,
};

/// Events that are told together.
const PORTION: usize = 1024;
/// Portions that a watcher may lag behind.
const PORTIONS: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Watchers {
    heard: Vec<Record>,
    /// The times of what was heard, and its places: what is sorted.
    order: Vec<(u64, u32)>,
    events: Outlet<Event>,
    records: Outlet<Record>,
    malformed: u64,
}

impl Watchers {
    pub(super) fn new() -> Self {
        Self {
            heard: Vec::new(),
            order: Vec::new(),
            events: Outlet::new(),
            records: Outlet::new(),
            malformed: 0,
        }
    }

    /// Somebody wants every event.
    pub(super) fn watch(&self) -> Watching<Event> {
        self.events.watch()
    }

    /// Somebody wants every event as it is.
    pub(super) fn record(&self) -> Watching<Record> {
        self.records.watch()
    }

    /// Whether somebody watches.
    pub(super) fn any(&self) -> bool {
        self.events.any() || self.records.any()
    }

    /// Records that made no sense, so far.
    pub(super) fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Keeps an event until it is told.
    pub(super) fn hear(&mut self, record: Record) {
        self.heard.push(record);
    }

    /// Forgets what nobody wants any more.
    pub(super) fn forget(&mut self) {
        self.heard = Vec::new();
        self.order = Vec::new();
    }

    /// Tells what happened until then, monotonic ns, in order; what came later waits for what may still be told.
    pub(super) fn tell(&mut self, until_ns: u64) {
        let heard = mem::take(&mut self.heard);
        self.order.clear();
        self.order.extend((0..).zip(&heard).map(|(place, record)| (record.time_ns, place)));
        // Each tape is in order, so this is a merge of a few runs.
        self.order.sort();
        let now = self.order.partition_point(|(at_ns, _)| *at_ns <= until_ns);
        let (now, later) = self.order.split_at(now);
        let at = |(_, place): &(u64, u32)| heard[*place as usize];
        for portion in now.chunks(PORTION) {
            if self.records.any() {
                self.records.tell(portion.iter().map(at).collect());
            }
            if self.events.any() {
                let mut events = Vec::with_capacity(portion.len());
                for record in portion {
                    match decode::event(&heard[record.1 as usize]) {
                        Ok(event) => events.extend(event),
                        Err(_) => self.malformed += 1,
                    }
                }
                self.events.tell(events);
            }
        }
        self.heard.extend(later.iter().map(at));
    }
}

/// The way to those who want events in one form.
#[derive(Debug)]
struct Outlet<T> {
    batches: broadcast::Sender<Arc<Batch<T>>>,
    /// The number of the next event.
    next: u64,
}

impl<T> Outlet<T> {
    fn new() -> Self {
        Self { batches: broadcast::Sender::new(PORTIONS), next: 0 }
    }

    fn watch(&self) -> Watching<T> {
        Watching { next: self.next, batches: self.batches.subscribe() }
    }

    fn any(&self) -> bool {
        self.batches.receiver_count() > 0
    }

    fn tell(&mut self, events: Vec<T>) {
        let first = self.next;
        self.next += events.len() as u64;
        if !events.is_empty() {
            // It fails only when the last watcher left just now.
            let _ = self.batches.send(Arc::new(Batch { first, events }));
        }
    }
}

#[cfg(test)]
mod tests {
    use tcpstate_common::{EventKind, TcpState, wire::AF_INET};

    use super::*;

    fn record(at_ns: u64) -> Record {
        Record {
            time_ns: at_ns,
            cookie: at_ns,
            entered_ns: 0,
            netns: 1,
            pid: 0,
            comm: [0; 16],
            saddr: [0; 16],
            daddr: [0; 16],
            sport: 1,
            dport: 2,
            kind: EventKind::Transition as u8,
            family: AF_INET,
            old_state: TcpState::SynSent as u8,
            new_state: TcpState::Established as u8,
            reason: 0,
            error: 0,
            flags: 0,
            pad: 0,
        }
    }

    fn times(watching: &mut Watching<Record>) -> Vec<u64> {
        let mut times = Vec::new();
        while let Ok(batch) = watching.batches.try_recv() {
            times.extend(batch.events.iter().map(|record| record.time_ns));
        }
        times
    }

    #[test]
    fn what_several_cpus_tell_comes_in_the_order_of_time() {
        let mut watchers = Watchers::new();
        let mut watching = watchers.record();
        for at_ns in [3, 7, 9, 1, 4, 8] {
            watchers.hear(record(at_ns));
        }
        watchers.tell(7);
        assert_eq!(times(&mut watching), [1, 3, 4, 7]);
        // What another CPU tells later can still come between.
        watchers.hear(record(5));
        watchers.tell(20);
        assert_eq!(times(&mut watching), [5, 8, 9]);
    }

    #[test]
    fn both_forms_are_numbered_for_themselves_and_nobody_is_decoded_for_nobody() {
        let mut watchers = Watchers::new();
        let mut recording = watchers.record();
        watchers.hear(record(1));
        watchers.hear(Record { kind: 99, ..record(2) });
        watchers.tell(5);
        assert_eq!((times(&mut recording), watchers.malformed()), (vec![1, 2], 0));
        let mut watching = watchers.watch();
        assert_eq!(watching.next, 0);
        watchers.hear(record(6));
        watchers.hear(Record { kind: 99, ..record(7) });
        watchers.tell(10);
        let batch = watching.batches.try_recv().expect("a batch");
        assert_eq!((batch.first, batch.events.len(), watchers.malformed()), (0, 1, 1));
    }

    #[test]
    fn somebody_watches_until_the_last_one_leaves() {
        let watchers = Watchers::new();
        assert!(!watchers.any());
        let (watching, recording) = (watchers.watch(), watchers.record());
        drop(watching);
        assert!(watchers.any());
        drop(recording);
        assert!(!watchers.any());
    }
}
