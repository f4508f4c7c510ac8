//! Events as the lines of the stream. Somebody may watch a server that makes a hundred thousand connections a second,
//! so they are written straight into the bytes that are sent: without a string for each field, and with the date
//! worked out once a second. What a line says is what the types in `events.rs` say; a test holds both together.

use std::{
    collections::BTreeMap,
    io::Write,
    net::{IpAddr, SocketAddr},
};

use tcpstate_common::TcpState;

use super::events::names;
use crate::{
    serve::{errno, figures, stamp::Stamps},
    track::{Comm, Event, Phase, Process, ResetReceived, ResetSent, Transition, Tuple},
};

/// Writes events one after the other.
pub(super) struct Lines<'a> {
    out: Vec<u8>,
    reasons: &'a BTreeMap<u32, String>,
    stamps: Stamps,
    /// The wall-clock second of the last stamp, and how it is written, without the point.
    second: Option<(u64, String)>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(reasons: &'a BTreeMap<u32, String>) -> Self {
        Self { out: Vec::new(), reasons, stamps: Stamps::now(), second: None }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Writes one event.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::Transition(event) => self.transition(event),
            Event::ResetSent(event) => self.reset_sent(event),
            Event::ResetReceived(event) => self.reset_received(event),
        }
    }

    /// Writes that so many events are missing here.
    pub(super) fn lost(&mut self, count: u64) {
        self.begin(names::LOST);
        self.text("\"count\":");
        self.number(count);
        self.end();
    }

    fn transition(&mut self, event: &Transition) {
        self.begin(names::TRANSITION);
        self.common(event.at_ns, event.cookie, &event.tuple, event.netns);
        self.text(",\"from\":\"");
        self.text(event.from.name());
        self.text("\",\"to\":\"");
        self.text(event.to.name());
        self.text("\",\"inferred\":");
        self.text(if event.inferred { "true" } else { "false" });
        self.text(",\"in_old_state_ns\":");
        match event.entered_ns {
            Some(entered_ns) => self.number(event.at_ns.saturating_sub(entered_ns)),
            None => self.text("null"),
        }
        self.text(",\"actor\":");
        match event.actor {
            Some(actor) => {
                self.process(actor.process);
                // The object goes on.
                self.out.pop();
                self.text(",\"carried\":");
                self.text(if actor.carried { "true}" } else { "false}" });
            }
            None => self.text("null"),
        }
        self.text(",\"errno\":");
        match event.error {
            0 => self.text("null"),
            number => self.quoted(&errno::name(number)),
        }
        self.end();
    }

    fn reset_sent(&mut self, event: &ResetSent) {
        self.begin(names::RESET_SENT);
        self.common(event.at_ns, event.cookie, &event.tuple, event.netns);
        self.text(",\"state\":");
        self.optional(event.state.map(TcpState::name));
        self.text(",\"phase\":");
        self.optional(event.state.map(|state| Phase::of(state).name()));
        self.text(",\"reason\":");
        self.optional(event.reason.map(|number| figures::reason(number, self.reasons)).as_deref());
        self.text(",\"process\":");
        match event.process {
            Some(process) => self.process(process),
            None => self.text("null"),
        }
        self.end();
    }

    fn reset_received(&mut self, event: &ResetReceived) {
        self.begin(names::RESET_RECEIVED);
        self.common(event.at_ns, event.cookie, &event.tuple, event.netns);
        self.text(",\"state\":");
        self.quoted(event.state.name());
        self.text(",\"phase\":");
        self.quoted(Phase::of(event.state).name());
        self.end();
    }

    fn begin(&mut self, name: &str) {
        self.text("event: ");
        self.text(name);
        self.text("\ndata: {");
    }

    fn end(&mut self) {
        self.text("}\n\n");
    }

    fn common(&mut self, at_ns: u64, cookie: Option<u64>, tuple: &Tuple, netns: u32) {
        self.text("\"at\":\"");
        self.stamp(at_ns);
        self.text("\",\"cookie\":");
        match cookie {
            Some(cookie) => {
                self.text("\"");
                self.number(cookie);
                self.text("\"");
            }
            None => self.text("null"),
        }
        self.text(",\"family\":\"");
        self.text(tuple.family.name());
        self.text("\",\"local\":");
        self.address(tuple.local);
        self.text(",\"remote\":");
        if tuple.is_connected() {
            self.address(tuple.remote);
        } else {
            self.text("null");
        }
        self.text(",\"netns\":");
        match netns {
            0 => self.text("null"),
            netns => self.number(netns.into()),
        }
    }

    /// See [`Stamps::micros`].
    fn stamp(&mut self, at_ns: u64) {
        let (second, micros) = self.stamps.second_and_micros(at_ns);
        if self.second.as_ref().is_none_or(|(known, _)| *known != second) {
            self.second = Some((second, self.stamps.seconds(at_ns)));
        }
        if let Some((_, text)) = &self.second {
            self.out.extend_from_slice(text.as_bytes());
        }
        let mut digits = *b".000000Z";
        let mut rest = micros;
        for digit in digits[1..7].iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        self.out.extend_from_slice(&digits);
    }

    fn address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => {
                let mut separator = "\"";
                for byte in ip.octets() {
                    self.text(separator);
                    self.number(byte.into());
                    separator = ".";
                }
                self.text(":");
                self.number(address.port().into());
            }
            // Writing to memory does not fail.
            IpAddr::V6(_) => drop(write!(self.out, "\"{address}")),
        }
        self.text("\"");
    }

    fn process(&mut self, process: Process) {
        self.text("{\"pid\":");
        self.number(process.pid.into());
        self.text(",\"comm\":");
        self.comm(process.comm);
        self.text("}");
    }

    fn comm(&mut self, comm: Comm) {
        let name = comm.0.split(|byte| *byte == 0).next().unwrap_or_default();
        if name.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
            self.text("\"");
            self.out.extend_from_slice(name);
            self.text("\"");
        } else {
            self.quoted(&comm.to_string());
        }
    }

    fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.quoted(text),
            None => self.text("null"),
        }
    }

    /// Any text, with whatever JSON wants to have escaped.
    fn quoted(&mut self, text: &str) {
        // A string can always be written, and memory takes it.
        let _ = serde_json::to_writer(&mut self.out, text);
    }

    fn number(&mut self, number: u64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        serve::api::events,
        track::{Actor, Family},
    };

    fn tuple() -> impl Strategy<Value = Tuple> {
        let v4 =
            (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port));
        let v6 =
            (any::<[u16; 8]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port));
        let nowhere = Just("0.0.0.0:0".parse().unwrap());
        prop_oneof![
            (v4.clone(), prop_oneof![v4, nowhere]).prop_map(|(local, remote)| Tuple {
                family: Family::V4,
                local,
                remote
            }),
            (v6.clone(), v6).prop_map(|(local, remote)| Tuple { family: Family::V6, local, remote }),
        ]
    }

    fn process() -> impl Strategy<Value = Process> {
        let name = prop_oneof![
            "[ -~]{0,15}",
            any::<[u8; 16]>().prop_map(|name| String::from_utf8_lossy(&name).into())
        ];
        (any::<u32>(), name).prop_map(|(pid, name)| Process { pid, comm: Comm::new(&name) })
    }

    fn state() -> impl Strategy<Value = TcpState> {
        prop::sample::select(TcpState::ALL.to_vec())
    }

    /// The one event that was written.
    fn read<T: serde::de::DeserializeOwned>(lines: Lines<'_>, name: &str) -> T {
        let text = String::from_utf8(lines.into_bytes()).unwrap();
        let data =
            text.strip_prefix(&format!("event: {name}\ndata: ")).and_then(|rest| rest.strip_suffix("\n\n"));
        serde_json::from_str(data.unwrap_or_else(|| panic!("{text}")))
            .unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    proptest! {
        #[test]
        fn transition_says_what_its_type_says(
            at_ns in 0..1_000_000_000_000_u64, cookie in any::<Option<u64>>(), netns in any::<u32>(), tuple in tuple(),
            from in state(), to in state(), spent_ns in any::<Option<u32>>(), actor in prop::option::of(process()),
            carried in any::<bool>(), inferred in any::<bool>(), error in 0..140_u32,
        ) {
            let entered_ns = spent_ns.map(|spent_ns| at_ns.saturating_sub(spent_ns.into()));
            let actor = actor.map(|process| Actor { process, carried });
            let event = Transition { at_ns, cookie, netns, tuple, from, to, entered_ns, actor, error, inferred };
            let reasons = BTreeMap::new();
            let mut lines = Lines::new(&reasons);
            lines.event(&Event::Transition(event.clone()));
            let expected = events::Transition::of(&event, &lines.stamps);
            prop_assert_eq!(read::<events::Transition>(lines, names::TRANSITION), expected);
        }

        #[test]
        fn reset_says_what_its_type_says(
            at_ns in 0..1_000_000_000_000_u64, cookie in any::<Option<u64>>(), netns in any::<u32>(), tuple in tuple(),
            state in prop::option::of(state()), reason in prop::option::of(0..30_u32), process in prop::option::of(process()),
        ) {
            let reasons = BTreeMap::from([(7, "TCP_\"ODD\"".to_owned())]);
            let mut lines = Lines::new(&reasons);
            let event = ResetSent { at_ns, cookie, netns, tuple, state, reason, process };
            let expected = events::ResetSent::of(&event, &lines.stamps, &reasons);
            lines.event(&Event::ResetSent(event));
            prop_assert_eq!(read::<events::ResetSent>(lines, names::RESET_SENT), expected);
            let Some(state) = state else { return Ok(()) };
            let mut lines = Lines::new(&reasons);
            let event = ResetReceived { at_ns, cookie, netns, tuple, state };
            let expected = events::ResetReceived::of(&event, &lines.stamps);
            lines.event(&Event::ResetReceived(event));
            prop_assert_eq!(read::<events::ResetReceived>(lines, names::RESET_RECEIVED), expected);
        }
    }

    #[test]
    fn second_of_a_stamp_is_written_anew_when_it_is_another() {
        let reasons = BTreeMap::new();
        let mut lines = Lines::new(&reasons);
        for at_ns in [5_000_000_000, 5_000_001_000, 6_500_000_000, 5_000_000_000] {
            let expected = lines.stamps.micros(at_ns);
            lines.out.clear();
            lines.stamp(at_ns);
            assert_eq!(String::from_utf8_lossy(&lines.out), expected);
        }
    }
}
