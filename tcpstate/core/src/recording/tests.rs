//! A recording gives back what was put into it, however much of it stayed as it was, and nothing that stands in a file
//! brings the reader or the replay down.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use proptest::prelude::*;
use tcpstate_common::TcpState;

use super::{Error, Header, Input, Reader, Replay, VERSION, Writer};
use crate::{
    diagnose::{
        Collected, Moment, Thresholds,
        evidence::{Hidden, Listener, Namespace, Process, TcpInfo, Unseen, What},
    },
    track::{
        self, Actor, Circumstances, Comm, Event, Holder, Holders, IdleClose, Key, Limits, Note, Opened, Row,
        Scope, Tier, Timer, tests,
    },
};

const S: u64 = tests::SECOND;
const LIMITS: Limits = Limits { max_sockets: 1000, max_resets: 100 };

fn header() -> Header {
    Header { recording: VERSION, tcpstate: "1.2.3".into(), at_ns: S, ..Header::default() }
}

fn written(inputs: &[Input]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    for input in inputs {
        writer.put(input.clone()).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<(Vec<Input>, bool), Error> {
    let mut reader = Reader::new(bytes)?;
    let mut inputs = Vec::new();
    while let Some(input) = reader.input()? {
        inputs.push(input);
    }
    Ok((inputs, reader.is_cut_off()))
}

fn packed(text: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

fn moment(at_ns: u64) -> Moment {
    Moment {
        at_ns,
        census_ns: Some(at_ns),
        established_ns: None,
        boot_offset_ns: 3,
        tier: Tier::Events,
        hidden: Hidden::default(),
    }
}

fn holder(pid: u32) -> Holder {
    Holder { pid, fd: 7, comm: Comm::new("payments"), start_boottime_ns: u64::from(pid) }
}

fn info(at_ns: u64, heard_ms: u32) -> TcpInfo {
    TcpInfo { at_ns, last_data_recv_ms: Some(heard_ms), bytes_received: Some(9), ..TcpInfo::default() }
}

fn events() -> Vec<Input> {
    let process = tests::process(7, "payments");
    let opened = Some(Opened { at_ns: 3, active: true });
    let mut transition = tests::transition(1, S, TcpState::SynSent, TcpState::Close);
    transition.actor = Some(Actor { process, carried: true });
    let sent = track::ResetSent {
        at_ns: S,
        cookie: None,
        netns: 1,
        tuple: tests::tuple(),
        state: None,
        reason: Some(3),
        process: None,
    };
    let about =
        Circumstances { opened, unread_bytes: Some(1), actor: Some(process), ..Circumstances::default() };
    let close = IdleClose {
        at_ns: 5,
        netns: 1,
        tuple: tests::tuple(),
        process: None,
        received_bytes: 1,
        heard_ms: 2,
        spoke_ms: 3,
    };
    let note = Note {
        cookie: u64::MAX,
        state: TcpState::FinWait2,
        mini: true,
        entered_ns: 1,
        written_ns: 2,
        actor: Some(process),
        opened: None,
    };
    vec![
        Input::Event(Event::Transition(transition), Circumstances::default()),
        Input::Event(Event::ResetSent(sent), about),
        Input::Acted { cookie: 7, process: Some(process) },
        Input::IdleClose(close),
        Input::Note(note),
        Input::Lost(3),
    ]
}

#[test]
fn events_come_back_as_they_were() {
    let inputs = events();
    let (again, cut_off) = read(&written(&inputs)).unwrap();
    assert_eq!(format!("{again:?}"), format!("{inputs:?}"));
    assert!(!cut_off);
}

/// The rows that a dump shows, by their cookies, whatever the portions.
fn dumps(inputs: &[Input]) -> Vec<BTreeMap<u64, Row>> {
    let mut dumps = Vec::<BTreeMap<u64, Row>>::new();
    for input in inputs {
        match input {
            Input::DumpBegins { .. } => dumps.push(BTreeMap::new()),
            Input::DumpShows { rows, .. } => {
                let dump = dumps.last_mut().unwrap();
                for row in rows {
                    assert!(dump.insert(row.cookie, row.clone()).is_none(), "it is shown twice");
                }
            }
            _ => {}
        }
    }
    dumps
}

#[test]
fn time_wait_that_stays_has_as_much_less_left() {
    let row = tests::row(1, TcpState::TimeWait);
    let dump = |at_ns, row: &Row| {
        [
            Input::DumpBegins { started_ns: at_ns, scope: Scope::ALL },
            Input::DumpShows { now_ns: at_ns, rows: vec![row.clone()] },
            Input::DumpEnds { finished_ns: at_ns, unvisited: vec![7] },
        ]
    };
    let later = Row { expires_ms: 50_000, ..row.clone() };
    let (again, _) = read(&written(&[dump(S, &row), dump(11 * S, &later)].concat())).unwrap();
    assert_eq!(dumps(&again)[1][&1], later);
}

#[test]
fn what_was_looked_up_comes_back_though_only_changes_are_written() {
    let row = tests::row(1, TcpState::CloseWait);
    let listener = tests::row(2, TcpState::Listen);
    let process = Process { fds: Some(3), ..Process::default() };
    let pass = |at_ns, heard_ms, drops| {
        let collected = Collected {
            info: vec![(row.clone(), info(at_ns, heard_ms))],
            listeners: vec![(listener.clone(), Listener { drops: Some(drops) })],
            namespaces: [(1, Namespace::default())].into_iter().collect(),
            processes: [(7, process.clone())].into_iter().collect(),
            cannot_see: vec![Unseen::of_all(What::Info, "why")],
        };
        [Input::Look(moment(at_ns)), Input::Pass(collected)]
    };
    let inputs = [pass(S, 100, 1), pass(2 * S, 1_104, 1), pass(3 * S, 5, 2)].concat();
    let bytes = written(&inputs);
    let (again, _) = read(&bytes).unwrap();
    let heard: Vec<_> = again
        .iter()
        .filter_map(|input| match input {
            Input::Pass(collected) => Some((
                collected.info[0].1.last_data_recv_ms.unwrap(),
                collected.listeners[0].1.drops.unwrap(),
                collected.processes[&7].fds.unwrap(),
                collected.cannot_see.len() + collected.namespaces.len(),
            )),
            _ => None,
        })
        .collect();
    assert_eq!(heard, [(100, 1, 3, 2), (1_100, 1, 3, 2), (5, 2, 3, 2)]);
    let text = std::io::read_to_string(GzDecoder::new(bytes.as_slice())).unwrap();
    assert_eq!(text.matches("last_data_recv_ms").count(), 2, "{text}");
}

#[test]
fn holders_come_back_with_what_nobody_was_found_to_hold() {
    let look = |at_ns, found: Vec<(Key, Holder)>| Input::Holders {
        holders: Arc::new(Holders::new(at_ns, vec![1, 2], vec![7], found)),
        hidden: Some("why".into()),
    };
    let both = vec![(Key::Cookie(1), holder(7)), (Key::Cookie(1), holder(8)), (Key::Inode(9), holder(7))];
    let inputs = [look(S, both.clone()), look(2 * S, both), look(3 * S, vec![(Key::Cookie(1), holder(8))])];
    let (again, _) = read(&written(&inputs)).unwrap();
    assert_eq!(format!("{again:?}"), format!("{inputs:?}"));
}

#[test]
fn what_is_no_recording_is_refused_with_a_reason() {
    let error = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    for bytes in [&b""[..], b"hello", &packed("{}\n"), &packed("hello\n"), &packed("{\"recording\":1}\n")] {
        assert!(error(bytes).starts_with("it is no recording of tcpstate"), "{}", error(bytes));
    }
    let newer = "{\"recording\":2,\"anything\":[]}\n";
    assert_eq!(error(&packed(newer)), "it is of version 2, and this tcpstate reads up to 1: use a newer one");
    let header = serde_json::to_string(&header()).unwrap();
    let wrong = error(&packed(&format!("{header}\n{{\"lost\":1}}\n{{\"unknown\":1}}\n")));
    assert!(wrong.starts_with("line 3 makes no sense: unknown variant `unknown`"), "{wrong}");
}

#[test]
fn recording_that_is_cut_off_is_read_as_far_as_it_goes() {
    let pass = |at_ns| [Input::Look(moment(at_ns)), Input::Pass(Collected::default())];
    let inputs: Vec<_> = (1..50).flat_map(|at| pass(at * S)).collect();
    let bytes = written(&inputs);
    let (again, cut_off) = read(&bytes[..bytes.len() / 2]).unwrap();
    assert!(cut_off && !again.is_empty() && again.len() < inputs.len(), "{}", again.len());
}

prop_compose! {
    fn some_row()(
        cookie in 0_u64..20,
        state in prop::sample::select(vec![TcpState::Established, TcpState::CloseWait, TcpState::TimeWait]),
        rqueue in 0_u32..2,
    ) -> Row {
        Row { rqueue, ..tests::row(cookie, state) }
    }
}

prop_compose! {
    fn some_dump()(
        rows in prop::collection::btree_map(0_u64..20, some_row(), 0..12),
        established: bool,
        time_wait: bool,
    ) -> (Scope, Vec<Row>) {
        let scope = Scope { established, time_wait };
        let rows = rows.into_iter().map(|(cookie, row)| Row { cookie, ..row });
        (scope, rows.filter(|row| scope.has(row.state)).collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn dumps_come_back_though_only_changes_are_written(all in prop::collection::vec(some_dump(), 0..12)) {
        let mut inputs = Vec::new();
        for (scope, rows) in &all {
            inputs.push(Input::DumpBegins { started_ns: S, scope: *scope });
            let portions = rows.chunks(4).map(|rows| Input::DumpShows { now_ns: S, rows: rows.to_vec() });
            inputs.extend(portions);
            inputs.push(Input::DumpEnds { finished_ns: S, unvisited: Vec::new() });
        }
        let (again, _) = read(&written(&inputs)).unwrap();
        let timeless = |mut dumps: Vec<BTreeMap<u64, Row>>| {
            let rows = dumps.iter_mut().flat_map(BTreeMap::values_mut);
            rows.for_each(|row| row.expires_ms = 0);
            dumps
        };
        prop_assert_eq!(timeless(dumps(&again)), timeless(dumps(&inputs)));
    }

    /// A file is from somebody else: any number may stand in it.
    #[test]
    fn no_file_brings_the_replay_down(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let text = std::io::read_to_string(GzDecoder::new(written(&story()).as_slice())).unwrap();
        let mut bytes = text.into_bytes();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            let digit = if bytes[place].is_ascii_digit() { b'0' + byte % 10 } else { byte };
            bytes[place] = digit;
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok((inputs, _)) = read(&packed(&text)) {
            replay(inputs);
        }
    }
}

#[test]
fn no_number_brings_the_replay_down() {
    let text = std::io::read_to_string(GzDecoder::new(written(&story()).as_slice())).unwrap();
    for place in numbers(&text) {
        for number in ["0", "1", "4294967295", "18446744073709551615"] {
            let text = format!("{}{number}{}", &text[..place.start], &text[place.end..]);
            if let Ok((inputs, _)) = read(&packed(&text)) {
                replay(inputs);
            }
        }
    }
}

fn numbers(text: &str) -> Vec<std::ops::Range<usize>> {
    let bytes = text.as_bytes();
    let mut numbers = Vec::new();
    let mut place = 0;
    while place < bytes.len() {
        let length = bytes[place..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length > 0 && bytes[place - 1] == b':' {
            numbers.push(place..place + length);
        }
        place += length.max(1);
    }
    numbers
}

fn replay(inputs: Vec<Input>) -> Replay {
    let mut replay = Replay::new(&Thresholds::default(), LIMITS, BTreeMap::new());
    for input in inputs {
        replay.take(input);
    }
    replay
}

/// A server that leaves connections in `CLOSE_WAIT`.
fn story() -> Vec<Input> {
    let mut inputs = events();
    let rows: Vec<_> = (1..=12).map(|cookie| tests::row(cookie, TcpState::CloseWait)).collect();
    for second in (100..244).step_by(24) {
        let at_ns = second * S;
        inputs.push(Input::DumpBegins { started_ns: at_ns, scope: Scope::ALL });
        inputs.push(Input::DumpShows { now_ns: at_ns, rows: rows.clone() });
        inputs.push(Input::DumpEnds { finished_ns: at_ns, unvisited: Vec::new() });
        inputs.push(Input::Look(moment(at_ns)));
        let found = rows.iter().map(|row| (Key::Cookie(row.cookie), holder(7)));
        let asked = rows.iter().map(|row| row.cookie).collect();
        let holders = Arc::new(Holders::new(at_ns, asked, Vec::new(), found));
        inputs.push(Input::Holders { holders, hidden: None });
        let idle_ms = u32::try_from(second).unwrap() * 1000;
        let info = rows.iter().map(|row| (row.clone(), info(at_ns, idle_ms))).collect();
        inputs.push(Input::Pass(Collected { info, ..Collected::default() }));
    }
    inputs
}

#[test]
fn replay_judges_as_the_daemon_did() {
    let (inputs, _) = read(&written(&story())).unwrap();
    let replay = replay(inputs);
    let [finding] = replay.diagnosis().findings() else { panic!("{:?}", replay.diagnosis().findings()) };
    assert_eq!((finding.subject.pid, finding.count), (Some(7), 12), "{finding:?}");
    assert_eq!((replay.lost(), replay.tracked()), (3, 12));
}

#[test]
fn timer_of_a_row_has_a_name() {
    let row = serde_json::to_value(tests::row(1, TcpState::TimeWait)).unwrap();
    assert_eq!((row["timer"].as_str(), row["state"].as_str()), (Some("time_wait"), Some("TIME_WAIT")));
    assert_eq!(serde_json::from_value::<Timer>(row["timer"].clone()).unwrap(), Timer::TimeWait);
}
