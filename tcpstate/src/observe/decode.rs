//! Bytes from the kernel side into the tracker's events. Every byte is checked: a record that makes no
//! sense is refused, never guessed at.

use std::net::SocketAddr;

use tcpstate_common::{
    Event as Wire, EventKind, Holder as WireHolder, TcpState,
    wire::{self, AF_INET, AF_INET6, About, Idle, about, flags, slot},
};

use crate::track::{
    Actor, Circumstances, Comm, Event, Family, IdleClose, Opened, Process, ResetReceived, ResetSent,
    Transition, Tuple, address, parked::Holder,
};

/// Why a record was refused.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    #[error("a record of {got} bytes where {want} were due")]
    Length { got: usize, want: usize },
    #[error("unknown {what} {number}")]
    Unknown { what: &'static str, number: u8 },
}

/// Reads a struct of plain numbers.
fn read<T: aya::Pod>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() != size_of::<T>() {
        return Err(DecodeError::Length { got: bytes.len(), want: size_of::<T>() });
    }
    // SAFETY: the length is right, T is Pod so that any bytes are a value, and the read needs no alignment.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// What a record of the ring holds beside its event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    /// What is known of a connection that met a reset.
    pub about: Circumstances,
    /// How a connection had been used that was closed.
    pub idle: Option<Idle>,
}

/// Takes apart a record of the ring: the event, and what comes with it.
#[must_use]
pub fn split(bytes: &[u8]) -> (&[u8], Beside) {
    let alone = (bytes, Beside::default());
    let Some((event, more)) = bytes.split_at_checked(size_of::<Wire>()) else { return alone };
    if let Ok(about) = read::<About>(more) {
        (event, Beside { about: circumstances(&about), idle: None })
    } else if let Ok(idle) = read::<Idle>(more) {
        (event, Beside { idle: Some(idle), ..Beside::default() })
    } else {
        alone
    }
}

fn circumstances(about: &About) -> Circumstances {
    let connection = about.known & about::CONNECTION != 0;
    Circumstances {
        answered_syn: (about.known & about::PACKET != 0).then_some(about.known & about::SYN != 0),
        unread_bytes: connection.then_some(about.unread_bytes),
        moved_bytes: connection.then_some(about.moved_bytes),
        idle_ms: connection.then_some(about.idle_ms.into()),
        spoke_ms: connection.then_some(about.spoke_ms.into()),
        unsent_bytes: connection.then_some(about.unsent_bytes),
        peer_ended: connection.then_some(about.known & about::FIN != 0),
        ending: connection.then_some(about.known & about::ENDING != 0),
        opened: opened(about.opened),
        payload_bytes: (about.known & about::PAYLOAD != 0).then_some(about.payload_bytes),
        entered_ns: (about.entered_ns != 0).then_some(about.entered_ns),
        actor: (about.pid != 0).then_some(Process { pid: about.pid, comm: Comm(about.comm) }),
    }
}

/// How a connection came to be, as a slot keeps it.
pub(super) fn opened(word: u64) -> Option<Opened> {
    (word != 0).then_some(Opened { at_ns: word & !slot::ACTIVE, active: word & slot::ACTIVE != 0 })
}

/// One record of the ring.
#[derive(Debug)]
pub enum Record {
    /// Something that can be watched.
    Event(Event),
    /// The same, which is told only because somebody watches.
    ForWatchers,
    /// A process acted on a socket and changed nothing that could be seen; see [`EventKind::Acted`].
    Acted { cookie: u64, process: Option<Process> },
    /// A process closed a connection that was idle.
    IdleClose(IdleClose),
}

/// Reads one record of the ring, as it is.
///
/// # Errors
/// If the length is not that of a record.
pub fn wire(bytes: &[u8]) -> Result<Wire, DecodeError> {
    read(bytes)
}

/// Decodes one record of the ring; `idle` is what it holds beside the event.
///
/// # Errors
/// If the kind, the family or a state is none that there is, or if something is missing.
pub fn record(wire: &Wire, idle: Option<&Idle>) -> Result<Record, DecodeError> {
    if wire.flags & flags::FOR_WATCHERS != 0 {
        return Ok(Record::ForWatchers);
    }
    Ok(match event(wire)? {
        Some(event) => Record::Event(event),
        None if wire.kind == EventKind::IdleClose as u8 => Record::IdleClose(idle_close(wire, idle)?),
        None => Record::Acted { cookie: wire.cookie, process: process(wire) },
    })
}

fn idle_close(wire: &Wire, idle: Option<&Idle>) -> Result<IdleClose, DecodeError> {
    let idle =
        idle.ok_or(DecodeError::Length { got: size_of::<Wire>(), want: size_of::<wire::IdleClose>() })?;
    Ok(IdleClose {
        at_ns: wire.time_ns,
        netns: wire.netns,
        tuple: tuple(wire)?,
        process: process(wire),
        received_bytes: idle.received_bytes,
        heard_ms: idle.heard_ms.into(),
        spoke_ms: idle.spoke_ms.into(),
    })
}

/// Decodes what can be watched; `None` for what cannot.
///
/// # Errors
/// If the kind, the family or a state is none that there is.
pub fn event(wire: &Wire) -> Result<Option<Event>, DecodeError> {
    let kind =
        EventKind::try_from(wire.kind).map_err(|number| DecodeError::Unknown { what: "kind", number })?;
    let cookie = (wire.cookie != 0).then_some(wire.cookie);
    Ok(Some(match kind {
        EventKind::Transition => Event::Transition(Transition {
            at_ns: wire.time_ns,
            cookie,
            netns: wire.netns,
            tuple: tuple(wire)?,
            from: state(wire.old_state)?,
            to: state(wire.new_state)?,
            entered_ns: (wire.entered_ns != 0).then_some(wire.entered_ns),
            actor: process(wire)
                .map(|process| Actor { process, carried: wire.flags & flags::PID_CARRIED != 0 }),
            error: wire.error,
            inferred: wire.flags & flags::INFERRED != 0,
        }),
        EventKind::ResetSent => Event::ResetSent(ResetSent {
            at_ns: wire.time_ns,
            cookie,
            netns: wire.netns,
            tuple: tuple(wire)?,
            state: if wire.old_state == 0 { None } else { Some(state(wire.old_state)?) },
            reason: (wire.flags & flags::HAS_REASON != 0).then_some(wire.reason),
            process: process(wire),
        }),
        EventKind::ResetReceived => Event::ResetReceived(ResetReceived {
            at_ns: wire.time_ns,
            cookie,
            netns: wire.netns,
            tuple: tuple(wire)?,
            state: state(wire.old_state)?,
        }),
        EventKind::Acted | EventKind::IdleClose => return Ok(None),
    }))
}

/// Adds to a record what the tracker has added to its event.
pub fn complete(wire: &mut Wire, event: &Event) {
    let Event::Transition(transition) = event else { return };
    wire.entered_ns = transition.entered_ns.unwrap_or(0);
    if let Some(actor) = transition.actor {
        wire.pid = actor.process.pid;
        wire.comm = actor.process.comm.0;
        if actor.carried {
            wire.flags |= flags::PID_CARRIED;
        }
    }
}

fn process(wire: &Wire) -> Option<Process> {
    (wire.pid != 0).then_some(Process { pid: wire.pid, comm: Comm(wire.comm) })
}

/// Length of what the file iterator writes of one holder, bytes.
pub const HOLDER_LEN: usize = size_of::<WireHolder>();

/// Decodes what the file iterator wrote: as many holders as there are whole records, each with its
/// socket's cookie (if it has one) and its file's inode.
///
/// # Errors
/// If the bytes end inside a record.
pub fn holders(bytes: &[u8]) -> Result<Vec<(Option<u64>, u32, Holder)>, DecodeError> {
    bytes
        .chunks(HOLDER_LEN)
        .map(|chunk| {
            let wire: WireHolder = read(chunk)?;
            let holder = Holder {
                pid: wire.pid,
                fd: wire.fd,
                comm: Comm(wire.comm),
                start_boottime_ns: wire.start_boottime_ns,
            };
            // Socket inodes are numbered with 32 bits (get_next_ino in fs/inode.c).
            let inode = u32::try_from(wire.inode).unwrap_or(0);
            Ok(((wire.cookie != 0).then_some(wire.cookie), inode, holder))
        })
        .collect()
}

fn state(number: u8) -> Result<TcpState, DecodeError> {
    TcpState::try_from(number).map_err(|number| DecodeError::Unknown { what: "state", number })
}

fn tuple(wire: &Wire) -> Result<Tuple, DecodeError> {
    let family = match wire.family {
        AF_INET => Family::V4,
        AF_INET6 => Family::V6,
        number => return Err(DecodeError::Unknown { what: "family", number }),
    };
    Ok(Tuple {
        family,
        local: SocketAddr::new(address(family, wire.saddr), wire.sport),
        remote: SocketAddr::new(address(family, wire.daddr), wire.dport),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tcpstate_common::{Addresses6, Brief, wire::brief::IPV6};

    use super::*;
    use crate::wire_of::wire_of;

    #[test]
    fn an_event_is_the_same_after_a_tape() {
        let v4 = Tuple {
            family: Family::V4,
            local: "10.0.0.1:80".parse().expect("an address"),
            remote: "10.0.0.7:50000".parse().expect("an address"),
        };
        let v6 = Tuple {
            family: Family::V6,
            local: "[2001:db8::1]:80".parse().expect("an address"),
            remote: "[::ffff:10.0.0.7]:50000".parse().expect("an address"),
        };
        let (cookie, process) = (Some(u64::MAX), Process { pid: 12, comm: Comm::new("nginx") });
        for tuple in [v4, v6] {
            for event in [
                Event::Transition(Transition {
                    at_ns: 9_000_000,
                    cookie,
                    netns: 7,
                    tuple,
                    from: TcpState::FinWait2,
                    to: TcpState::TimeWait,
                    entered_ns: Some(8_000_000),
                    actor: Some(Actor { process, carried: true }),
                    error: 111,
                    inferred: true,
                }),
                Event::ResetSent(ResetSent {
                    at_ns: 9_000_000,
                    cookie,
                    netns: 7,
                    tuple,
                    state: Some(TcpState::NewSynRecv),
                    reason: Some(24),
                    process: Some(process),
                }),
                Event::ResetReceived(ResetReceived {
                    at_ns: 9_000_000,
                    cookie: None,
                    netns: 0,
                    tuple,
                    state: TcpState::SynSent,
                }),
            ] {
                let (first, second) = Brief::of(&wire_of(&event));
                assert_eq!(first.flags & IPV6 != 0, second.is_some());
                let second = second.map(|second| Addresses6::from(Brief::from(second)));
                let told = super::event(&first.event(second.as_ref())).expect("it makes sense");
                assert_eq!(format!("{told:?}"), format!("{:?}", Some(event)));
            }
        }
    }

    fn record(bytes: &[u8]) -> Result<Record, DecodeError> {
        let (event, beside) = split(bytes);
        super::wire(event).and_then(|wire| super::record(&wire, beside.idle.as_ref()))
    }

    const LEN: usize = size_of::<Wire>();

    fn blank() -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[LEN - 19] = 2;
        bytes[LEN - 18] = 7;
        bytes[LEN - 17] = 2;
        bytes
    }

    #[test]
    fn record_of_another_length_is_refused() {
        assert_eq!(record(&[0; 7]).unwrap_err(), DecodeError::Length { got: 7, want: LEN });
        assert!(holders(&[0; 50]).is_err());
    }

    #[test]
    fn what_is_known_of_a_connection_comes_with_its_reset() {
        let mut bytes = blank().to_vec();
        let split = |bytes: &[u8]| {
            let (event, beside) = super::split(bytes);
            (event.to_vec(), beside.about)
        };
        assert_eq!(split(&bytes), (blank().to_vec(), Circumstances::default()));
        bytes.extend(700_u64.to_ne_bytes());
        bytes.extend(9_u64.to_ne_bytes());
        for number in [5_u32, 3000, 4000, 6] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(101_u64.to_ne_bytes());
        for number in [300_u32, 0, 1 | 8 | 32, 77] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(*b"server\0\0\0\0\0\0\0\0\0\0");
        let expected = Circumstances {
            answered_syn: None,
            unread_bytes: Some(5),
            moved_bytes: Some(700),
            idle_ms: Some(3000),
            spoke_ms: Some(4000),
            unsent_bytes: Some(6),
            peer_ended: Some(true),
            ending: Some(false),
            opened: Some(Opened { at_ns: 100, active: true }),
            payload_bytes: Some(300),
            entered_ns: Some(9),
            actor: Some(Process { pid: 77, comm: Comm::new("server") }),
        };
        assert_eq!(split(&bytes), (blank().to_vec(), expected));
        // What is not known is not 0; a packet that was looked at is no SYN.
        bytes[LEN + 48] = 2;
        let (_, about) = split(&bytes);
        assert_eq!((about.unread_bytes, about.moved_bytes, about.idle_ms), (None, None, None));
        assert_eq!(about.answered_syn, Some(false));
        bytes[LEN + 48] = 6;
        assert_eq!(split(&bytes).1.answered_syn, Some(true));
        // A record of another length stays whole, and is refused.
        bytes.pop();
        assert_eq!(split(&bytes).0.len(), bytes.len());
        assert!(record(&bytes).is_err());
    }

    #[test]
    fn unknown_numbers_are_refused_and_named() {
        assert!(matches!(record(&blank()), Ok(Record::Event(Event::Transition(_)))));
        for (at, what) in [(LEN - 20, "kind"), (LEN - 19, "family"), (LEN - 18, "state"), (LEN - 17, "state")]
        {
            let mut bytes = blank();
            bytes[at] = 200;
            assert_eq!(record(&bytes).unwrap_err(), DecodeError::Unknown { what, number: 200 });
        }
    }

    #[test]
    fn act_that_changes_nothing_is_no_event() {
        let mut bytes = blank();
        bytes[LEN - 20] = 3;
        bytes[8] = 7;
        assert!(matches!(record(&bytes), Ok(Record::Acted { cookie: 7, process: None })));
    }

    #[test]
    fn close_of_an_idle_connection_says_how_it_was_used() {
        let mut bytes = blank().to_vec();
        bytes[LEN - 20] = 4;
        bytes[28..32].copy_from_slice(&77_u32.to_ne_bytes());
        bytes[32..38].copy_from_slice(b"server");
        // Without that it makes no sense.
        assert_eq!(record(&bytes).unwrap_err(), DecodeError::Length { got: LEN, want: LEN + 16 });
        bytes.extend(900_u64.to_ne_bytes());
        bytes.extend(5_000_u32.to_ne_bytes());
        bytes.extend(4_990_u32.to_ne_bytes());
        let Ok(Record::IdleClose(close)) = record(&bytes) else { panic!("a close") };
        assert_eq!(close.process, Some(Process { pid: 77, comm: Comm::new("server") }));
        assert_eq!((close.received_bytes, close.heard_ms, close.spoke_ms), (900, 5_000, 4_990));
        // Watchers are told of the transition anyhow.
        let (event, _) = split(&bytes);
        assert!(super::event(&super::wire(event).expect("whole")).expect("it makes sense").is_none());
        bytes[LEN - 19] = 200;
        assert_eq!(record(&bytes).unwrap_err(), DecodeError::Unknown { what: "family", number: 200 });
    }

    #[test]
    fn zero_means_not_known() {
        let Ok(Record::Event(Event::Transition(transition))) = record(&blank()) else {
            panic!("a transition")
        };
        assert_eq!((transition.cookie, transition.entered_ns, transition.actor), (None, None, None));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), LEN), any in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = record(&bytes);
            let _ = record(&any);
            let _ = holders(&any);
        }
    }
}
