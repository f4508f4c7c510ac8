//! What goes to watchers. The ring and the tapes of all CPUs tell of events one after the other; watchers get them in
//! the order in which they happened, decoded only if one of them wants them decoded.

use std::{mem, sync::Arc};

use tcpstate_common::{Brief, Event as Wire, wire::brief::IPV6};
use tokio::sync::broadcast;

use crate::{
    observe::{decode, tapes::Tapes},
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
    /// What came through the ring, until it is its turn.
    heard: Vec<Wire>,
    events: Outlet<Event>,
    records: Outlet<Brief>,
    malformed: u64,
}

impl Watchers {
    pub(super) fn new() -> Self {
        Self { heard: Vec::new(), events: Outlet::new(), records: Outlet::new(), malformed: 0 }
    }

    /// Somebody wants every event.
    pub(super) fn watch(&self) -> Watching<Event> {
        self.events.watch()
    }

    /// Somebody wants every event as it is.
    pub(super) fn record(&self) -> Watching<Brief> {
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

    /// Keeps what came through the ring until it is told.
    pub(super) fn hear(&mut self, wire: &Wire) {
        self.heard.push(*wire);
    }

    /// Forgets what nobody wants any more.
    pub(super) fn forget(&mut self) {
        self.heard = Vec::new();
    }

    /// Tells what happened until then, monotonic ns, in order; what came later waits for what may still be told.
    pub(super) fn tell(&mut self, tapes: &mut Tapes, until_ns: u64) {
        let Self { heard, events, records, malformed } = self;
        let mut decoder = Decoder { first: None, malformed };
        let (watched, recorded) = (events.any(), records.any());
        let mut put = |record: &Brief, second: bool| {
            if recorded {
                records.put(*record, !second);
            }
            if watched && let Some(event) = decoder.add(record, second) {
                events.put(event, true);
            }
        };
        heard.sort_by_key(|wire| wire.time_ns);
        let now = heard.partition_point(|wire| wire.time_ns <= until_ns);
        let mut heard = heard.drain(..now).peekable();
        if recorded && !watched && heard.len() == 0 {
            // The same as below without the questions, for most events under full load.
            tapes.read(until_ns, |record, second| records.put(*record, !second));
        } else {
            tapes.read(until_ns, |record, second| {
                while !second && let Some(wire) = heard.next_if(|wire| wire.time_ns < record.time_ns) {
                    parts(&wire, &mut put);
                }
                put(record, second);
            });
            heard.for_each(|wire| parts(&wire, &mut put));
        }
        events.send();
        records.send();
    }
}

/// The one or two parts of an event in short.
fn parts(wire: &Wire, mut each: impl FnMut(&Brief, bool)) {
    let (first, second) = Brief::of(wire);
    each(&first, false);
    if let Some(second) = second {
        each(&second.into(), true);
    }
}

/// Puts the parts of events together.
struct Decoder<'a> {
    first: Option<Brief>,
    malformed: &'a mut u64,
}

impl Decoder<'_> {
    fn add(&mut self, record: &Brief, second: bool) -> Option<Event> {
        let wire = if second {
            self.first.take()?.event(Some(&(*record).into()))
        } else if record.flags & IPV6 != 0 {
            self.first = Some(*record);
            return None;
        } else {
            record.event(None)
        };
        decode::event(&wire).unwrap_or_else(|_| {
            *self.malformed += 1;
            None
        })
    }
}

/// The way to those who want events in one form.
#[derive(Debug)]
struct Outlet<T> {
    batches: broadcast::Sender<Arc<Batch<T>>>,
    /// The number of the first event that has not been sent.
    next: u64,
    /// What is sent next, and how many events that is.
    portion: Vec<T>,
    count: usize,
}

impl<T> Outlet<T> {
    fn new() -> Self {
        Self { batches: broadcast::Sender::new(PORTIONS), next: 0, portion: Vec::new(), count: 0 }
    }

    fn watch(&self) -> Watching<T> {
        Watching { next: self.next, batches: self.batches.subscribe() }
    }

    fn any(&self) -> bool {
        self.batches.receiver_count() > 0
    }

    /// Adds an event, or a further part of the one before.
    fn put(&mut self, part: T, begins: bool) {
        if begins {
            if self.count == PORTION {
                self.send();
            }
            if self.portion.is_empty() {
                self.portion.reserve(PORTION);
            }
            self.count += 1;
        }
        self.portion.push(part);
    }

    /// Sends what was added.
    fn send(&mut self) {
        if self.count > 0 {
            let count = mem::take(&mut self.count) as u64;
            let batch = Batch { first: self.next, count, events: mem::take(&mut self.portion) };
            self.next += count;
            // It fails only when the last watcher left just now.
            let _ = self.batches.send(Arc::new(batch));
        }
    }
}

#[cfg(test)]
mod tests {
    use tcpstate_common::{EventKind, TcpState, wire::AF_INET};

    use super::*;

    fn wire(at_ns: u64) -> Wire {
        Wire {
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

    fn times(watching: &mut Watching<Brief>) -> Vec<u64> {
        let mut times = Vec::new();
        while let Ok(batch) = watching.batches.try_recv() {
            times.extend(batch.events.iter().map(|record| record.time_ns));
        }
        times
    }

    #[test]
    fn what_the_ring_and_the_tapes_tell_comes_in_the_order_of_time() {
        let mut tapes = Tapes::of(&[1, 4, 8]);
        let mut watchers = Watchers::new();
        let mut watching = watchers.record();
        for at_ns in [3, 9, 7] {
            watchers.hear(&wire(at_ns));
        }
        watchers.tell(&mut tapes, 7);
        assert_eq!(times(&mut watching), [1, 3, 4, 7]);
        // What is told late can still come between.
        watchers.hear(&wire(5));
        watchers.tell(&mut tapes, 20);
        assert_eq!(times(&mut watching), [5, 8, 9]);
    }

    #[test]
    fn an_ipv6_event_is_one_event_in_two_parts() {
        let mut watchers = Watchers::new();
        let (mut watching, mut recording) = (watchers.watch(), watchers.record());
        let event = Wire { family: 10, saddr: [7; 16], daddr: [8; 16], ..wire(5) };
        watchers.hear(&event);
        watchers.tell(&mut Tapes::of(&[]), 7);
        let batch = recording.batches.try_recv().expect("a batch");
        assert_eq!((batch.count, batch.events.len()), (1, 2));
        let batch = watching.batches.try_recv().expect("a batch");
        let [Event::Transition(event)] = batch.events.as_slice() else { panic!("{batch:?}") };
        assert_eq!(event.tuple.remote.to_string(), "[808:808:808:808:808:808:808:808]:2");
    }

    #[test]
    fn both_forms_are_numbered_for_themselves_and_nothing_is_decoded_for_nobody() {
        let mut tapes = Tapes::of(&[]);
        let mut watchers = Watchers::new();
        let recording = watchers.record();
        watchers.hear(&Wire { kind: 99, ..wire(2) });
        watchers.tell(&mut tapes, 5);
        assert_eq!(watchers.malformed(), 0);
        let mut watching = watchers.watch();
        assert_eq!((watching.next, recording.next, watchers.record().next), (0, 0, 1));
        watchers.hear(&wire(6));
        watchers.hear(&Wire { kind: 99, ..wire(7) });
        watchers.tell(&mut tapes, 10);
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
