//! `tcpstate sockets`: the sockets that exist, with everyone who holds them.

use std::{
    io::{self, BufWriter, Write},
    net::IpAddr,
    process::ExitCode,
    time::SystemTime,
};

use anyhow::Result;
use clap::value_parser;
use jiff::Timestamp;
use tcpstate_common::TcpState;

use super::{
    client::{self, Client, Target},
    table::{Column, Table, age},
};
use crate::{
    clock,
    serve::{
        api::sockets::{AgeIs, Socket, Sockets},
        params::{duration, state},
    },
};

/// Sockets that are asked for at a time.
const PAGE: u64 = 1000;

const EXAMPLES: &str = "\
Examples:
  tcpstate sockets --state close-wait --min-age 5m   sockets that somebody forgot to close
  tcpstate sockets --pid 4121                        what one process holds
  tcpstate sockets --port 443 --peer 10.0.0.7        what goes on with one peer
  tcpstate sockets --state time-wait --json          for programs

AGE is the time in the state; ≥: at least that, since the daemon came later. A socket with several holders has \
a line for each. Where no process holds a socket, PROGRAM says why: never accepted, orphan (closed, and the \
kernel still works on it), mini-socket (what the kernel keeps of a closed connection).";

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only sockets in this state, such as close-wait
    #[arg(long, value_parser = visible_state)]
    state: Option<TcpState>,
    /// Only sockets at least this long in their state: 90s, 1500ms, 5m, 2h, 1d; without unit seconds
    #[arg(long, value_name = "TIME", value_parser = duration::parse_ms)]
    min_age: Option<u64>,
    /// Only sockets that this process holds, or closed
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Only sockets with this port at either end
    #[arg(long, value_parser = value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Only sockets with this IP address at the other end
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,
    /// Only sockets in the network namespace with this inode number (`lsns -t net` shows them)
    #[arg(long, value_name = "INODE", value_parser = value_parser!(u32).range(1..))]
    netns: Option<u32>,
    /// Show so many sockets at most; without it all
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print one JSON array, with everything that is known
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

fn visible_state(name: &str) -> Result<TcpState, String> {
    state::parse(name, &TcpState::VISIBLE)
}

/// Asks the daemon and prints its sockets.
///
/// # Errors
/// If the output cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    client::exit(print(args, &mut out))
}

fn print(args: &Args, out: &mut impl Write) -> Result<()> {
    let pages = Pages::new(Client::new(&args.target)?, args);
    if args.json {
        print_json(pages, out)?;
    } else {
        print_table(pages, out)?;
    }
    Ok(out.flush()?)
}

/// The pages of one question, up to the limit.
struct Pages {
    client: Client,
    filters: Vec<(&'static str, String)>,
    left: u64,
    cursor: Option<String>,
    ended: bool,
}

impl Pages {
    fn new(client: Client, args: &Args) -> Self {
        let mut filters = Vec::new();
        let mut add = |name, value: Option<String>| filters.extend(value.map(|value| (name, value)));
        add("state", args.state.map(|state| state.name().to_owned()));
        add("min_age", args.min_age.map(|ms| format!("{ms}ms")));
        add("pid", args.pid.map(|pid| pid.to_string()));
        add("port", args.port.map(|port| port.to_string()));
        add("peer", args.peer.map(|peer| peer.to_string()));
        add("netns", args.netns.map(|netns| netns.to_string()));
        Self { client, filters, left: args.limit.unwrap_or(u64::MAX), cursor: None, ended: false }
    }
}

impl Iterator for Pages {
    type Item = Result<Sockets, client::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || self.left == 0 {
            return None;
        }
        let mut query = self.filters.clone();
        query.push(("limit", self.left.min(PAGE).to_string()));
        query.extend(self.cursor.take().map(|cursor| ("cursor", cursor)));
        let page = self.client.get::<Sockets>("/api/v1/sockets", &query);
        if let Ok(page) = &page {
            self.left = self.left.saturating_sub(page.sockets.len() as u64);
            self.cursor.clone_from(&page.next_cursor);
        }
        self.ended = self.cursor.is_none();
        Some(page)
    }
}

fn print_json(pages: Pages, out: &mut impl Write) -> Result<()> {
    let mut before = "[\n";
    for page in pages {
        for socket in page?.sockets {
            write!(out, "{before}{}", serde_json::to_string(&socket)?)?;
            before = ",\n";
        }
    }
    let end = if before == "[\n" { "[]" } else { "\n]" };
    Ok(writeln!(out, "{end}")?)
}

fn print_table(pages: Pages, out: &mut impl Write) -> Result<()> {
    let mut table = Table::new([
        Column::text("STATE"),
        Column::number("AGE"),
        Column::number("PID"),
        Column::text("PROGRAM"),
        Column::number("FD"),
        Column::text("LOCAL"),
        Column::text("REMOTE"),
        Column::number("RECV-Q"),
        Column::number("SEND-Q"),
    ]);
    let (mut shown, mut total, mut as_of) = (0, 0, None);
    for page in pages {
        let page = page?;
        let rows: Vec<_> = page.sockets.iter().flat_map(rows).collect();
        if !rows.is_empty() {
            table.print(out, &rows)?;
        }
        shown += page.sockets.len() as u64;
        (total, as_of) = (page.total, page.as_of);
    }
    let now = clock::wall(clock::monotonic_ns());
    Ok(writeln!(out, "{}", last_line(shown, total, as_of.as_deref(), now))?)
}

/// A line for each holder; what belongs to the socket stands on the first only.
fn rows(socket: &Socket) -> Vec<[String; 9]> {
    let at_least = if socket.age_is == AgeIs::AtLeast { "≥" } else { "" };
    let line = |pid: String, program: String, fd: String| {
        [
            socket.state.clone(),
            format!("{at_least}{}", age(socket.age_ms)),
            pid,
            program,
            fd,
            socket.ends.local.clone(),
            socket.ends.remote.clone().unwrap_or_else(|| "*".to_owned()),
            socket.rqueue.to_string(),
            socket.wqueue.to_string(),
        ]
    };
    let nothing = || "-".to_owned();
    if socket.holders.is_empty() {
        return vec![line(nothing(), why_nobody(socket), nothing())];
    }
    let mut rows: Vec<_> = socket
        .holders
        .iter()
        .map(|holder| line(holder.pid.to_string(), holder.comm.clone(), holder.fd.to_string()))
        .collect();
    for row in rows.iter_mut().skip(1) {
        for cell in [0, 1, 5, 6, 7, 8] {
            row[cell].clear();
        }
    }
    rows
}

/// Why nobody is named as the holder.
fn why_nobody(socket: &Socket) -> String {
    let mini = socket.timer.as_deref() == Some("timewait") || socket.state == TcpState::TimeWait.name();
    let embryonic = socket.state == TcpState::SynRecv.name();
    let open = [TcpState::Established, TcpState::CloseWait].iter().any(|state| socket.state == state.name());
    let why = if socket.inode.is_some() {
        "(holder not found)"
    } else if mini {
        "mini-socket"
    } else if embryonic {
        "(handshake)"
    } else if socket.uid.is_none() {
        // Only events have told of it so far.
        "(not looked up yet)"
    } else if open {
        "never accepted"
    } else {
        "orphan"
    };
    match &socket.actor {
        // Until it is closed, a socket that connects has its process's connect as the last act.
        Some(actor) if socket.inode.is_none() && socket.state != TcpState::SynSent.name() => {
            format!("{why}, closed by {}[{}]", actor.comm, actor.pid)
        }
        _ => why.to_owned(),
    }
}

fn last_line(shown: u64, total: u64, as_of: Option<&str>, now: SystemTime) -> String {
    let counted = if shown < total { format!("{shown} of {total} sockets") } else { count(shown) };
    let Some(as_of) = as_of else { return format!("{counted}; the first census is not done yet") };
    let as_of = as_of.parse::<Timestamp>().ok().map(SystemTime::from);
    match as_of.map(|as_of| now.duration_since(as_of).unwrap_or_default().as_secs()) {
        Some(seconds) => format!("{counted}, as of {seconds} s ago"),
        None => counted,
    }
}

fn count(sockets: u64) -> String {
    if sockets == 1 { "1 socket".to_owned() } else { format!("{sockets} sockets") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::serve::tests::{daemon::Daemon, scene};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn args(daemon: &Daemon, more: &[&str]) -> Args {
        let url = daemon.url();
        let words = ["sockets", "--url", &url];
        Command::try_parse_from(words.iter().chain(more)).unwrap().args
    }

    fn output(daemon: &Daemon, more: &[&str]) -> String {
        let mut out = Vec::new();
        print(&args(daemon, more), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// A daemon whose last census was 3.5 s ago, by the clock on the wall.
    fn daemon() -> Daemon {
        let mut readings = scene::readings();
        if let Some(census) = &mut readings.census {
            census.finished_ns = clock::monotonic_ns() - 3_500_000_000;
        }
        Daemon::with(readings, scene::tracker(&scene::rows()))
    }

    #[test]
    fn the_table_names_every_holder_or_says_why_there_is_none() {
        let expected = "\
STATE         AGE   PID  PROGRAM                          FD  LOCAL          REMOTE          RECV-Q  SEND-Q
CLOSE_WAIT  1m30s  4121  payments                         17  10.0.0.1:8080  10.0.0.7:50000       1       0
                   4122  payments                         17
LISTEN        ≥3s     -  (holder not found)                -  [::]:443       *                    1       0
TIME_WAIT     30s     -  mini-socket, closed by curl[99]   -  10.0.0.1:8080  10.0.0.7:50000       0       0
FIN_WAIT1   1m30s     -  orphan, closed by nginx[12]       -  10.0.0.1:8080  10.0.0.7:50000       0    5000
CLOSE_WAIT  1m30s     -  never accepted                    -  10.0.0.1:8080  10.0.0.7:50000       1       0
5 sockets, as of 3 s ago
";
        assert_eq!(output(&daemon(), &[]), expected);
    }

    #[test]
    fn filters_are_passed_on() {
        let daemon = daemon();
        let all = [
            "--state",
            "time-wait",
            "--min-age",
            "30",
            "--pid",
            "99",
            "--port",
            "8080",
            "--peer",
            "10.0.0.7",
        ];
        let netns = scene::NETNS.to_string();
        let all = [&all[..], &["--netns", &netns]].concat();
        assert!(output(&daemon, &all).ends_with("\n1 socket, as of 3 s ago\n"));
        assert_eq!(
            output(&daemon, &["--min-age", "31s", "--state", "TIME_WAIT"]),
            "0 sockets, as of 3 s ago\n"
        );
    }

    #[test]
    fn all_pages_are_followed_up_to_the_limit() {
        let daemon =
            Daemon::with(scene::readings(), scene::tracker(&(1..=2500).map(scene::row).collect::<Vec<_>>()));
        for (more, count) in [(&[][..], 2500), (&["--limit", "1"], 1), (&["--limit", "1001"], 1001)] {
            let sockets: Vec<Socket> =
                serde_json::from_str(&output(&daemon, &[&["--json"], more].concat())).unwrap();
            let cookies: Vec<u64> = sockets.iter().map(|socket| socket.cookie.parse().unwrap()).collect();
            assert!(cookies.iter().copied().eq(1..=count), "{count}");
        }
        let text = output(&daemon, &["--limit", "1001"]);
        assert!(text.lines().last().unwrap().starts_with("1001 of 2500 sockets, "), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("STATE")).count(), 1);
    }

    #[test]
    fn json_is_the_array_that_the_api_gives() {
        let daemon = daemon();
        let mut out: serde_json::Value = serde_json::from_str(&output(&daemon, &["--json"])).unwrap();
        let mut api = daemon.get("/api/v1/sockets").json()["sockets"].take();
        for list in [&mut out, &mut api] {
            for socket in list.as_array_mut().unwrap() {
                // The two clocks may be compared a millisecond apart.
                socket.as_object_mut().unwrap().remove("since").unwrap();
            }
        }
        assert_eq!(out, api);
        assert_eq!(output(&daemon, &["--json", "--port", "1"]), "[]\n");
    }

    #[test]
    fn wrong_arguments_are_refused_before_asking() {
        let wrong = [["--state", "waiting"], ["--min-age", "-5"], ["--pid", "0"], ["--port", "65536"]];
        for words in wrong.into_iter().chain([["--peer", "host"], ["--netns", "0"], ["--limit", "0"]]) {
            assert!(Command::try_parse_from(["sockets"].iter().chain(&words)).is_err(), "{words:?}");
        }
    }

    #[test]
    fn the_last_line_says_how_old_the_answer_is() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        assert_eq!(last_line(1, 1, Some("2026-01-02T03:03:05.900Z"), now), "1 socket, as of 59 s ago");
        assert_eq!(last_line(0, 0, None, now), "0 sockets; the first census is not done yet");
        // A daemon elsewhere may be ahead.
        assert_eq!(last_line(2, 9, Some("2026-01-02T03:05:05Z"), now), "2 of 9 sockets, as of 0 s ago");
    }
}
