//! Why nobody accepts: each process that could is occupied by a connection of its own. An idle one, of a client that
//! keeps it, occupies it as well as a busy one (prefork servers serve one connection at a time).

use std::{cell::OnceCell, collections::BTreeMap};

use foldhash::{HashMap, HashSet};
use tcpstate_common::TcpState;

use crate::diagnose::{
    class::Class,
    connection::{self, Party},
    format,
    history::Listening,
    naming,
    program::{self, Member},
    settings,
    socket_view::SocketView,
    suspicion::Suspicion,
    view::View,
};

/// What the processes behind a listener do.
#[derive(Debug, Default)]
struct Occupied<'v> {
    /// Processes that could accept.
    workers: usize,
    /// The connections that occupy them, if each has one at least.
    idle: Vec<&'v SocketView<'v>>,
    busy: Vec<&'v SocketView<'v>>,
    longest_idle_ms: u64,
    longest_busy_ms: u64,
    /// Connections that had waited to be accepted are busy since they were, which is known to a look.
    busy_at_least: bool,
}

/// Connections that processes have taken, by network namespace and local port.
type Served<'v> = HashMap<(u32, u16), Vec<&'v SocketView<'v>>>;

fn served<'v>(view: &'v View<'v>) -> Served<'v> {
    let mut served = Served::default();
    for seen in &view.seen {
        let socket = seen.socket();
        if matches!(socket.state, TcpState::Established | TcpState::CloseWait) && seen.holder().is_some() {
            served.entry((socket.netns, socket.tuple.local.port())).or_default().push(seen);
        }
    }
    served
}

/// Says why nobody accepts, where that is seen.
pub(super) fn explain(view: &View<'_>, suspicions: &mut [Suspicion]) {
    let served = OnceCell::new();
    let mut occupying = HashSet::default();
    for suspicion in suspicions.iter_mut() {
        let is_about_accepting = matches!(
            suspicion.key.class,
            Class::AcceptStall | Class::AcceptOverflow | Class::AcceptOverflowRst
        );
        if !is_about_accepting || !suspicion.is_told() {
            continue;
        }
        let listening = suspicion.key.place.and_then(|place| view.listener_at(suspicion.key.netns, place));
        if let Some(listening) = listening
            && let Some(occupied) = occupied(view, listening, served.get_or_init(|| self::served(view)))
        {
            tell(view, suspicion, listening, &occupied);
            let connections = occupied.idle.iter().chain(&occupied.busy);
            occupying.extend(connections.map(|seen| seen.socket().cookie));
        }
    }
    // What the workers are busy with is no leak, though its clients may have left meanwhile.
    for suspicion in suspicions.iter_mut().filter(|suspicion| suspicion.is_told()) {
        let may_be = matches!(
            suspicion.key.class,
            Class::CloseWaitLeak | Class::CloseWaitNeverRead | Class::UnansweredRequests
        );
        let all =
            !suspicion.cookies.is_empty() && suspicion.cookies.iter().all(|one| occupying.contains(one));
        if may_be && all {
            suspicion.tell_inside();
        }
    }
}

fn occupied<'v>(view: &View<'_>, listening: &Listening, served: &Served<'v>) -> Option<Occupied<'v>> {
    let mut by_process = BTreeMap::<u32, Vec<&SocketView<'_>>>::new();
    for holder in &listening.holders {
        by_process.entry(holder.pid).or_default();
    }
    let place = (listening.socket.netns, listening.socket.tuple.local.port());
    for seen in served.get(&place).into_iter().flatten().copied() {
        if let Some(holder) = seen.holder()
            && let Some(connections) = by_process.get_mut(&holder.pid)
        {
            connections.push(seen);
        }
    }
    // A master that only watches its workers accepts nothing.
    let parents: Vec<_> =
        by_process.keys().filter_map(|pid| view.evidence.processes.get(pid)?.ppid).collect();
    by_process.retain(|pid, connections| !connections.is_empty() || !parents.contains(pid));
    let workers = by_process.len();
    // A single process may serve many at a time: then they do not keep it from accepting.
    let one_each = workers > 1 || by_process.values().all(|connections| connections.len() == 1);
    if workers == 0 || !one_each || by_process.values().any(Vec::is_empty) {
        return None;
    }
    let mut occupied = Occupied { workers, ..Occupied::default() };
    for seen in by_process.into_values().flatten() {
        let idle_ms = connection::owed_ms(view, seen, Party::Peer);
        let busy_ms = connection::owed_ms(view, seen, Party::Here);
        if let Some(ms) = idle_ms {
            occupied.idle.push(seen);
            occupied.longest_idle_ms = occupied.longest_idle_ms.max(ms);
        } else if let Some(ms) = busy_ms {
            occupied.busy.push(seen);
            occupied.longest_busy_ms = occupied.longest_busy_ms.max(ms);
            occupied.busy_at_least |= view.history.accepted_ns(seen.socket().cookie).is_some();
        }
    }
    Some(occupied)
}

fn tell(view: &View<'_>, suspicion: &mut Suspicion, listening: &Listening, occupied: &Occupied<'_>) {
    let Occupied { workers, idle, busy, longest_idle_ms, longest_busy_ms, busy_at_least } = occupied;
    let at_least = if *busy_at_least { "at least " } else { "" };
    let place = format::listener(listening.socket.tuple.local);
    let known = settings::of(&suspicion.subject);
    let named = |setting: Option<&str>| setting.map_or_else(String::new, |setting| format!(" ({setting})"));
    let more = named(known.and_then(|known| known.workers));
    let who = naming::who(view, &suspicion.members);
    let waiting = view.queue(listening).map_or(suspicion.count, |queue| queue.waiting.max(1));
    let oldest_ms = view.queue(listening).map_or(0, |queue| queue.oldest_ms);
    let wait = format!(
        "so nobody accepts at {place}: {} {} there, the oldest for {}",
        format::count(waiting, "connection"),
        if waiting == 1 { "waits" } else { "wait" },
        format::duration(oldest_ms)
    );
    let (each, are) = match workers {
        1 => ("the only worker".to_owned(), "is"),
        2 => ("both workers".to_owned(), "are"),
        _ => (format!("all {workers} workers"), "are"),
    };
    if busy.is_empty() && !idle.is_empty() {
        let (clients, keeper) = clients(view, idle);
        let idlest = format::duration(*longest_idle_ms);
        suspicion.verdict = if *workers == 1 {
            format!("{each} of {who} is occupied by an idle connection{clients}, idle for {idlest}, {wait}")
        } else {
            format!(
                "{each} of {who} {are} each occupied by an idle connection{clients}, the longest idle for {idlest}, {wait}"
            )
        };
        let timeout = named(known.and_then(|known| known.idle_timeout));
        suspicion.remedy = format!(
            "Close idle connections sooner: lower the keep-alive timeout of the server{timeout} or of the client that keeps them{keeper}, or have more workers{more} than clients that keep connections."
        );
        suspicion.evidence.push(format!(
            "{} idle in {}: the last word was the server's answer",
            format::count(idle.len() as u64, "connection"),
            format::count(*workers as u64, "worker")
        ));
    } else if idle.is_empty() && !busy.is_empty() {
        let busiest = format!("{at_least}{}", format::duration(*longest_busy_ms));
        suspicion.verdict = if *workers == 1 {
            format!("{each} of {who} is busy with a request for {busiest}, {wait}")
        } else {
            format!("{each} of {who} {are} busy with requests, the longest for {busiest}, {wait}")
        };
        suspicion.remedy = format!(
            "Make requests faster or give them a timeout, or have more workers{more}; a longer queue only makes clients wait longer."
        );
        suspicion.evidence.push(format!(
            "{} in {} that were read and are not answered yet",
            format::count(busy.len() as u64, "request"),
            format::count(*workers as u64, "worker")
        ));
    } else if !busy.is_empty() {
        let (clients, keeper) = clients(view, idle);
        suspicion.verdict = format!(
            "{each} of {who} {are} occupied: {} by requests, the longest for {at_least}{}, and {} by idle connections{clients}, the longest idle for {}, {wait}",
            busy.len(),
            format::duration(*longest_busy_ms),
            idle.len(),
            format::duration(*longest_idle_ms),
        );
        let timeout = named(known.and_then(|known| known.idle_timeout));
        suspicion.remedy = format!(
            "Close idle connections sooner{timeout}{keeper}, make requests faster or give them a timeout, or have more workers{more}."
        );
    }
}

/// Who keeps these connections, for a sentence, and the setting by which it would not.
fn clients(view: &View<'_>, idle: &[&SocketView<'_>]) -> (String, String) {
    let others = idle.iter().filter_map(|seen| view.other_end(seen)?.holder());
    let members: Vec<Member> = program::members(others.map(|holder| Member::from(&holder)));
    let Some(main) = members.first() else { return Default::default() };
    let of_main: Vec<_> =
        members.iter().copied().filter(|member| view.programs.of(member) == view.programs.of(main)).collect();
    let subject = naming::subject(view, &of_main, 0);
    let setting = settings::of(&subject).and_then(|known| known.idle_timeout);
    let setting = setting.map_or_else(String::new, |setting| format!(" ({setting})"));
    (format!(" of {}", naming::who(view, &of_main)), setting)
}
