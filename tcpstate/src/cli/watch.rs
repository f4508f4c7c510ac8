//! `tcpstate watch`: every change of state and every reset, as it happens.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    net::SocketAddr,
    process::ExitCode,
    thread,
};

use anyhow::{Context, Result, bail};
use clap::value_parser;
use serde::Serialize;
use tcpstate_common::{Addresses6, Brief, TcpState, wire::brief::LOST};
use tokio::{runtime, signal, sync::mpsc};

use super::{
    client::{self, Client, Target},
    table::{Column, Table, spent},
};
use crate::{
    observe::decode::{self, DecodeError},
    printable::printable,
    serve::{
        api::{
            Ends, Process,
            events::{Lost, ResetReceived, ResetSent, Transition},
            status::Status,
        },
        params::state,
        stamp::Stamps,
    },
    track::{Event, Tier},
};

/// Events that wait to be printed at most; what is beyond waits in the daemon, which counts what it drops.
const WAITING: usize = 1024;

const EXAMPLES: &str = "\
Examples:
  tcpstate watch                        everything
  tcpstate watch --state time-wait      who goes to TIME_WAIT, and so closes first
  tcpstate watch --port 5432 --json     for programs, one object a line
  tcpstate watch --pid 4121 --count 10  ten events of one process, then end

A program is named only where the kernel's event truly is its doing; what the network brings about has none. \
SPENT is the time in the old state, where its beginning was seen. Ctrl-C ends it.";

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only transitions from or to this state, and no resets
    #[arg(long, value_parser = any_state)]
    state: Option<TcpState>,
    /// Only events that this process brought about, or whose socket it had closed
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Only events of sockets with this port at either end
    #[arg(long, value_parser = value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Only events in the network namespace with this inode number (`lsns -t net` shows them)
    #[arg(long, value_name = "INODE", value_parser = value_parser!(u32).range(1..))]
    netns: Option<u32>,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

fn any_state(name: &str) -> Result<TcpState, String> {
    state::parse(name, &TcpState::ALL)
}

/// Prints events until the count is reached, the daemon ends, or the user ends it.
///
/// # Errors
/// If the daemon ends, or the output cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    client::exit(watch(args, &mut out))
}

fn watch(args: &Args, out: &mut impl Write) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let client = Client::new(&args.target)?;
    let url = client.url().to_owned();
    if let Some(why) = silence(&client.get::<Status>("/api/v1/status", &[])?) {
        // Nobody is left to tell if this fails.
        let _ = writeln!(io::stderr(), "tcpstate: {}", printable(&why));
    }
    let (told, events) = mpsc::channel(WAITING);
    // Reading blocks. The thread ends with the stream, or with this process.
    thread::Builder::new().name("events".to_owned()).spawn(move || read(&client, &told))?;
    let ended = runtime.block_on(print_until_end(args, events, out))?;
    out.flush()?;
    if ended == Ender::Daemon {
        bail!("the daemon at {url} has ended");
    }
    Ok(())
}

/// Why no events will come, if so.
fn silence(status: &Status) -> Option<String> {
    let reason = status.tier_reason.as_deref().unwrap_or("it was started so");
    (status.tier == Tier::DumpsOnly.name())
        .then(|| format!("the daemon sees no events, which take eBPF (dumps only): {reason}; `tcpstate sockets` shows what exists"))
}

fn read(client: &Client, told: &mpsc::Sender<Result<Told, client::Error>>) {
    let records = match client.records() {
        Ok(records) => records,
        Err(error) => return drop(told.blocking_send(Err(error))),
    };
    let head = records.head.clone();
    let stamps = head.stamps();
    for record in records {
        let event = record.and_then(|(record, addresses)| {
            Told::read(&record, addresses.as_ref(), &stamps, &head.reset_reasons).map_err(|error| {
                client::Error::Foreign {
                    url: client.url().to_owned(),
                    reason: format!("its event cannot be read: {error}"),
                }
            })
        });
        if let Some(event) = event.transpose()
            && told.blocking_send(event).is_err()
        {
            return;
        }
    }
}

/// Who or what ended the watching.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ender {
    User,
    Count,
    Daemon,
}

async fn print_until_end(
    args: &Args,
    mut events: mpsc::Receiver<Result<Told, client::Error>>,
    out: &mut impl Write,
) -> Result<Ender> {
    let mut printer = Printer::new(args);
    let interrupt = signal::ctrl_c();
    tokio::pin!(interrupt);
    loop {
        let event = tokio::select! {
            biased;
            caught = &mut interrupt => {
                caught.context("Ctrl-C cannot be caught")?;
                return Ok(Ender::User);
            }
            event = events.recv() => event,
        };
        let Some(event) = event else { return Ok(Ender::Daemon) };
        if printer.print(&event?, out)? {
            return Ok(Ender::Count);
        }
        if events.is_empty() {
            out.flush()?;
        }
    }
}

/// One event of the stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Transition(Transition),
    ResetSent(ResetSent),
    ResetReceived(ResetReceived),
    Lost(Lost),
}

impl Told {
    fn read(
        record: &Brief,
        addresses: Option<&Addresses6>,
        stamps: &Stamps,
        reasons: &BTreeMap<u32, String>,
    ) -> Result<Option<Self>, DecodeError> {
        if record.kind == LOST {
            return Ok(Some(Self::Lost(Lost { count: record.cookie })));
        }
        Ok(decode::event(&record.event(addresses))?.map(|event| match event {
            Event::Transition(event) => Self::Transition(Transition::of(&event, stamps)),
            Event::ResetSent(event) => Self::ResetSent(ResetSent::of(&event, stamps, reasons)),
            Event::ResetReceived(event) => Self::ResetReceived(ResetReceived::of(&event, stamps)),
        }))
    }

    fn ends(&self) -> Option<&Ends> {
        match self {
            Self::Transition(event) => Some(&event.ends),
            Self::ResetSent(event) => Some(&event.ends),
            Self::ResetReceived(event) => Some(&event.ends),
            Self::Lost(_) => None,
        }
    }

    fn process(&self) -> Option<&Process> {
        match self {
            Self::Transition(event) => event.actor.as_ref().map(|actor| &actor.process),
            Self::ResetSent(event) => event.process.as_ref(),
            Self::ResetReceived(_) | Self::Lost(_) => None,
        }
    }

    /// A gap concerns every watcher, whatever it asked for.
    fn passes(&self, args: &Args) -> bool {
        let Some(ends) = self.ends() else { return true };
        let has_state = |state: TcpState| match self {
            Self::Transition(event) => [&event.from, &event.to].contains(&&state.name().to_owned()),
            _ => false,
        };
        let has_port = |port| {
            [Some(&ends.local), ends.remote.as_ref()]
                .into_iter()
                .flatten()
                .any(|end| end.parse::<SocketAddr>().is_ok_and(|end| end.port() == port))
        };
        args.state.is_none_or(has_state)
            && args.port.is_none_or(has_port)
            && args.netns.is_none_or(|netns| ends.netns == Some(netns))
            && args.pid.is_none_or(|pid| self.process().is_some_and(|process| process.pid == pid))
    }
}

/// Prints what passes the filters, up to the count.
struct Printer<'a> {
    args: &'a Args,
    table: Table<7>,
    left: u64,
}

impl<'a> Printer<'a> {
    fn new(args: &'a Args) -> Self {
        let table = Table::new([
            Column::text("TIME (UTC)"),
            Column::number("NETNS").at_least(10),
            Column::text("PID/PROGRAM").at_least(28),
            Column::text("LOCAL").at_least(21),
            Column::text("REMOTE").at_least(21),
            Column::text("OLD → NEW").at_least(36),
            Column::number("SPENT").at_least(7),
        ]);
        Self { args, table, left: args.count.unwrap_or(u64::MAX) }
    }

    /// Returns whether this was the last one.
    fn print(&mut self, told: &Told, out: &mut impl Write) -> io::Result<bool> {
        if !told.passes(self.args) {
            return Ok(false);
        }
        if self.args.json {
            writeln!(out, "{}", serde_json::to_string(told)?)?;
        } else if let Told::Lost(Lost { count }) = told {
            writeln!(out, "!!! {count} events are missing here: they came faster than they were read !!!")?;
        } else {
            self.table.print(out, &[row(told)])?;
        }
        if told.ends().is_some() {
            self.left -= 1;
        }
        Ok(self.left == 0)
    }
}

fn row(told: &Told) -> [String; 7] {
    let (at, program, change, spent_ns) = match told {
        Told::Transition(event) => {
            let program = event.actor.as_ref().map(|actor| {
                let name = named(&actor.process);
                match (actor.carried, event.from == TcpState::SynSent.name()) {
                    (false, _) => name,
                    (true, true) => format!("(connected by {name})"),
                    (true, false) => format!("(closed by {name})"),
                }
            });
            let inferred = if event.inferred { " (inferred)" } else { "" };
            let errno = event.errno.as_ref().map(|errno| format!(" ({errno})")).unwrap_or_default();
            let change = format!("{} → {}{inferred}{errno}", event.from, event.to);
            (event.at.as_str(), program, change, event.in_old_state_ns)
        }
        Told::ResetSent(event) => {
            let state = event.state.as_deref().unwrap_or("no socket");
            let reason = event.reason.as_deref().unwrap_or("reason not recorded");
            let change = format!("RST sent: {reason} ({state})");
            (event.at.as_str(), event.process.as_ref().map(named), change, None)
        }
        Told::ResetReceived(event) => {
            (event.at.as_str(), None, format!("RST received ({})", event.state), None)
        }
        Told::Lost(_) => ("", None, String::new(), None),
    };
    let nothing = || "-".to_owned();
    let ends = told.ends();
    [
        time_of_day(at).to_owned(),
        ends.and_then(|ends| ends.netns).map_or_else(nothing, |netns| netns.to_string()),
        program.unwrap_or_else(nothing),
        ends.map_or_else(nothing, |ends| ends.local.clone()),
        ends.and_then(|ends| ends.remote.clone()).unwrap_or_else(|| "*".to_owned()),
        change,
        spent_ns.map_or_else(nothing, spent),
    ]
}

fn named(process: &Process) -> String {
    format!("{}/{}", process.pid, process.comm)
}

/// `03:04:05.000001` of `2026-01-02T03:04:05.000001Z`.
fn time_of_day(at: &str) -> &str {
    at.split_once('T').map_or(at, |(_, time)| time.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        serve::tests::{daemon::Daemon, scene},
        track,
    };

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        Command::try_parse_from(["watch"].iter().chain(words)).unwrap().args
    }

    /// One event of each kind, as the API tells it.
    fn told() -> [Told; 5] {
        let ends = |local: &str, remote: Option<&str>| Ends {
            family: "ipv4".into(),
            local: local.into(),
            remote: remote.map(Into::into),
            netns: Some(4_026_531_840),
        };
        let here = || ends("10.0.0.1:8080", Some("10.0.0.7:50000"));
        let nginx = Process { pid: 12, comm: "nginx".into() };
        let at = "2026-01-02T03:04:05.000001Z".to_owned();
        let transition = Transition {
            at: at.clone(),
            cookie: Some("7".into()),
            ends: here(),
            from: "FIN_WAIT2".into(),
            to: "TIME_WAIT".into(),
            inferred: true,
            in_old_state_ns: Some(1_500_000),
            actor: Some(crate::serve::api::events::Actor { process: nginx.clone(), carried: true }),
            errno: None,
        };
        let refused = Transition {
            ends: Ends { netns: None, ..ends("[2001:db8::1]:40000", Some("[2001:db8::7]:81")) },
            from: "SYN_SENT".into(),
            to: "CLOSE".into(),
            inferred: false,
            in_old_state_ns: None,
            actor: None,
            errno: Some("ECONNREFUSED".into()),
            ..transition.clone()
        };
        let sent = ResetSent {
            at: at.clone(),
            cookie: None,
            ends: here(),
            state: Some("CLOSE".into()),
            phase: Some("closing".into()),
            reason: Some("TCP_ABORT_ON_CLOSE".into()),
            process: Some(nginx),
        };
        let received = ResetReceived {
            at,
            cookie: None,
            ends: ends("10.0.0.1:8080", None),
            state: "LISTEN".into(),
            phase: "accept".into(),
        };
        [
            Told::Transition(transition),
            Told::Transition(refused),
            Told::ResetSent(sent),
            Told::ResetReceived(received),
            Told::Lost(Lost { count: 42 }),
        ]
    }

    fn output(words: &[&str]) -> (String, bool) {
        let args = args(words);
        let mut printer = Printer::new(&args);
        let mut out = Vec::new();
        let ended = told().iter().any(|told| printer.print(told, &mut out).unwrap());
        (String::from_utf8(out).unwrap(), ended)
    }

    #[test]
    fn each_kind_of_event_has_its_line() {
        let expected = "\
TIME (UTC)            NETNS  PID/PROGRAM                   LOCAL                  REMOTE                 OLD → NEW                               SPENT
03:04:05.000001  4026531840  (closed by 12/nginx)          10.0.0.1:8080          10.0.0.7:50000         FIN_WAIT2 → TIME_WAIT (inferred)        1.5ms
03:04:05.000001           -  -                             [2001:db8::1]:40000    [2001:db8::7]:81       SYN_SENT → CLOSE (ECONNREFUSED)             -
03:04:05.000001  4026531840  12/nginx                      10.0.0.1:8080          10.0.0.7:50000         RST sent: TCP_ABORT_ON_CLOSE (CLOSE)        -
03:04:05.000001  4026531840  -                             10.0.0.1:8080          *                      RST received (LISTEN)                       -
!!! 42 events are missing here: they came faster than they were read !!!
";
        assert_eq!(output(&[]).0, expected);
    }

    #[test]
    fn who_acted_earlier_has_connected_or_closed_by_the_state_that_is_left() {
        for (from, carried, shown) in [
            ("SYN_SENT", true, "(connected by 12/nginx)"),
            ("FIN_WAIT1", true, "(closed by 12/nginx)"),
            ("SYN_SENT", false, "12/nginx"),
        ] {
            let [Told::Transition(mut event), ..] = told() else { unreachable!() };
            from.clone_into(&mut event.from);
            event.actor.as_mut().unwrap().carried = carried;
            assert_eq!(row(&Told::Transition(event))[2], shown);
        }
    }

    #[test]
    fn json_is_one_object_a_line_that_says_which_event_it_is() {
        let (text, _) = output(&["--json"]);
        let objects: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let events: Vec<_> = objects.iter().map(|object| object["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["transition", "transition", "reset_sent", "reset_received", "lost"]);
        assert_eq!(objects[0]["actor"]["carried"], true);
        assert_eq!(objects[4]["count"], 42);
    }

    #[test]
    fn filters_keep_what_they_say_and_never_hide_a_gap() {
        let kept = [
            (&["--state", "time-wait"][..], &[0][..]),
            (&["--state", "close"], &[1]),
            (&["--state", "CLOSE_WAIT"], &[]),
            (&["--pid", "12"], &[0, 2]),
            (&["--port", "8080"], &[0, 2, 3]),
            (&["--port", "81"], &[1]),
            (&["--port", "808"], &[]),
            (&["--netns", "4026531840"], &[0, 2, 3]),
            (&["--netns", "4026531840", "--port", "50000", "--pid", "12", "--state", "fin-wait-2"], &[0]),
        ];
        for (words, indices) in kept {
            let args = args(words);
            let passing: Vec<_> = (0..5).filter(|index| told()[*index].passes(&args)).collect();
            assert_eq!(passing, [indices, &[4]].concat(), "{words:?}");
        }
    }

    #[test]
    fn it_ends_after_the_count_which_gaps_are_not_part_of() {
        for (count, lines, ended) in [("1", 1, true), ("4", 4, true), ("5", 5, false)] {
            let (text, has_ended) = output(&["--json", "--count", count]);
            assert_eq!((text.lines().count(), has_ended), (lines, ended), "{count}");
        }
    }

    /// Watches a daemon that is told of transitions until the watcher has ended.
    fn watched(words: &[&str]) -> (Result<()>, String) {
        let daemon = Daemon::start();
        let args = args(&[&["--url", &daemon.url()], words].concat());
        let watcher = thread::spawn(move || {
            let mut out = Vec::new();
            let result = watch(&args, &mut out);
            (result, String::from_utf8(out).unwrap())
        });
        while daemon.watchers() == 0 {
            assert!(!watcher.is_finished());
            thread::yield_now();
        }
        daemon.tell(vec![Event::Transition(scene::transition(scene::NOW_NS))]);
        daemon.tell(vec![Event::ResetReceived(track::ResetReceived {
            ..scene::reset_received(scene::NOW_NS)
        })]);
        if words.contains(&"--count") {
            return watcher.join().unwrap();
        }
        assert!(daemon.stop());
        watcher.join().unwrap()
    }

    #[test]
    fn events_of_a_daemon_are_printed_as_they_come() {
        let (result, text) = watched(&["--count", "2"]);
        result.unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].contains("FIN_WAIT2 → TIME_WAIT (inferred)"), "{text}");
        assert!(lines[2].contains("RST received (SYN_SENT)"), "{text}");
    }

    #[test]
    fn a_daemon_that_ends_is_an_error() {
        let error = watched(&["--json"]).0.unwrap_err();
        assert!(error.to_string().ends_with(" has ended"), "{error}");
    }

    #[test]
    fn a_daemon_without_ebpf_is_silent_and_the_reason_is_given() {
        let daemon = Daemon::start();
        let mut status: Status = serde_json::from_value(daemon.get("/api/v1/status").json()).unwrap();
        assert_eq!(silence(&status), None);
        (status.tier, status.tier_reason) =
            (Tier::DumpsOnly.name().to_owned(), Some("CAP_BPF is missing".to_owned()));
        assert_eq!(
            silence(&status).unwrap(),
            "the daemon sees no events, which take eBPF (dumps only): CAP_BPF is missing; `tcpstate sockets` shows what exists"
        );
    }

    #[test]
    fn without_daemon_it_says_so() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = watch(&args(&["--url", &format!("http://{unused}")]), &mut Vec::new()).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(client::Error::Unreachable(_))), "{error}");
    }
}
