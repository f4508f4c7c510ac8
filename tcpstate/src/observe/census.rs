//! A census of all sockets, in every network namespace that may be entered.

use std::io;

use tcpstate_common::{Counters, TcpState};

use super::{
    counters::CpuCounters,
    dump::Dumps,
    evidence::sockstat::Sockstat,
    netns,
    quiet::{Quiet, Segments},
};
use crate::{
    clock,
    track::{Row, Scope},
};

/// Sockets given on at a time.
const PORTION: usize = 1024;

/// What a census says while it is being taken.
#[derive(Debug)]
pub enum Part {
    /// It begins now, monotonic ns.
    Begins { started_ns: u64 },
    /// These sockets exist, as of now, monotonic ns.
    Shows { rows: Vec<Row>, now_ns: u64 },
    /// That was all.
    Ends(Box<Taken>),
    /// It ends here, though there is more; one sentence why.
    Fails(String),
}

/// How a census went.
#[derive(Debug)]
pub struct Taken {
    pub started_ns: u64,
    pub finished_ns: u64,
    /// The counters before and after; `None` where there are dumps only.
    pub counters: Option<(Counters, Counters)>,
    /// How many mini-sockets the kernel counts in the namespaces that were visited; `None` where it does not say so.
    pub minis: Option<u64>,
    /// CPU time that it took, ns: what it cost, whatever it had to wait for.
    pub cpu_ns: u64,
    /// Namespaces that were visited.
    pub visited: u64,
    /// Namespaces that were found and not dumped to the end, by inode number: their sockets may all still be there.
    pub unvisited: Vec<u32>,
    /// Those of them that are there but could not be entered, or not be dumped.
    pub unreachable: u64,
    /// Why the first of them could not.
    pub unreachable_reason: Option<String>,
    /// Processes whose namespace may not be read, so that there may be more.
    pub hidden_processes: u64,
}

/// Takes a census, and gives it on part by part. `quiet` is what the census before has left. Blocks, and moves the
/// calling thread through the namespaces: it must be a thread of its own.
pub fn take(
    counters: Option<&CpuCounters>,
    dumps: Dumps,
    scope: Scope,
    quiet: &mut Quiet,
    mut each: impl FnMut(Part),
) {
    match try_take(counters, dumps, scope, quiet, &mut each) {
        Ok(taken) => each(Part::Ends(Box::new(taken))),
        Err(error) => each(Part::Fails(error)),
    }
}

/// Fails if not even the thread's own namespace can be dumped.
fn try_take(
    counters: Option<&CpuCounters>,
    dumps: Dumps,
    scope: Scope,
    quiet: &mut Quiet,
    each: &mut impl FnMut(Part),
) -> Result<Taken, String> {
    let begun_cpu_ns = clock::thread_cpu_ns();
    let before = counters.map(CpuCounters::read);
    let started_ns = clock::monotonic_ns();
    each(Part::Begins { started_ns });
    let found = netns::find();
    quiet.census_begins(started_ns, |inum| found.namespaces.contains_key(&inum));
    let own = netns::own().map_err(|error| format!("the own network namespace is not known: {error}"))?;
    let (mut visited, mut unreachable, mut unreachable_reason) = (0, 0, None);
    let (mut minis, mut unvisited) = (Some(0), Vec::new());
    for (inum, ways) in &found.namespaces {
        let mut rows = Vec::new();
        let entered = netns::inside(*inum, ways, || {
            let (segments, now_ns) = (Segments::here(), clock::monotonic_ns());
            let is_quiet = quiet.has(*inum, segments, scope);
            let states: Vec<_> = if is_quiet { vec![TcpState::Listen] } else { scope.states().collect() };
            let mut only_listeners = true;
            dumps.dump(*inum, &states, |row| {
                only_listeners &= row.state == TcpState::Listen;
                rows.push(row);
                if rows.len() == PORTION {
                    let rows = std::mem::replace(&mut rows, Vec::with_capacity(PORTION));
                    each(Part::Shows { rows, now_ns: clock::monotonic_ns() });
                }
            })?;
            if !is_quiet {
                quiet.dumped(*inum, segments, scope, now_ns, only_listeners);
            }
            Ok(netns::file("sockstat").ok().and_then(|text| Sockstat::parse(&text).minis))
        });
        // One that has gone since it was found is not there any more, or will not be found the next time.
        let has_gone = entered.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let dumped: Result<_, String> = entered.unwrap_or_else(|error| Err(error.to_string()));
        match dumped {
            Ok(more) => {
                visited += 1;
                minis = minis.zip(more).map(|(minis, more)| minis + more);
            }
            Err(error) if *inum == own => return Err(error),
            Err(error) => {
                unvisited.push(*inum);
                if !has_gone {
                    unreachable += 1;
                    unreachable_reason.get_or_insert_with(|| format!("network namespace {inum}: {error}"));
                }
            }
        }
        if !rows.is_empty() {
            each(Part::Shows { rows, now_ns: clock::monotonic_ns() });
        }
    }
    let after = counters.map(CpuCounters::read);
    Ok(Taken {
        started_ns,
        finished_ns: clock::monotonic_ns(),
        counters: before.zip(after),
        minis,
        cpu_ns: clock::thread_cpu_ns().saturating_sub(begun_cpu_ns),
        visited,
        unvisited,
        unreachable,
        unreachable_reason,
        hidden_processes: found.hidden_processes,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Shutdown, TcpListener, TcpStream},
        process::Command,
        thread,
        time::{Duration, Instant},
    };

    use rustix::thread::{UnshareFlags, unshare_unsafe};
    use tcpstate_common::TcpState;

    use super::{Dumps, Part, Quiet, Segments, Taken, clock, netns, take};
    use crate::track::{Row, Scope};

    fn census(scope: Scope) -> (Vec<Row>, Taken) {
        census_after(&mut Quiet::default(), scope)
    }

    fn census_after(quiet: &mut Quiet, scope: Scope) -> (Vec<Row>, Taken) {
        census_by(Dumps::Netlink, quiet, scope)
    }

    fn census_by(dumps: Dumps, quiet: &mut Quiet, scope: Scope) -> (Vec<Row>, Taken) {
        let (mut shown, mut taken) = (Vec::new(), None);
        take(None, dumps, scope, quiet, |part| match part {
            Part::Begins { .. } => {}
            Part::Shows { rows, .. } => shown.extend(rows),
            Part::Ends(end) => taken = Some(*end),
            Part::Fails(error) => panic!("{error}"),
        });
        (shown, taken.expect("an end"))
    }

    #[test]
    fn census_without_time_wait_shows_other_mini_sockets_and_says_how_many_there_are_of_both() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let connect =
            || (TcpStream::connect(address).expect("listens"), listener.accept().expect("connected").0);
        let (fin_wait2, open) = connect();
        let (time_wait, closed) = connect();
        let names = [&fin_wait2, &time_wait].map(|stream| stream.local_addr().expect("connected"));
        time_wait.shutdown(Shutdown::Write).expect("connected");
        drop((closed, time_wait, fin_wait2));
        let ours = |rows: &[Row]| {
            names.map(|name| {
                rows.iter().find(|row| row.tuple.local == name).map(|row| (row.state, row.is_mini()))
            })
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let both = [Some((TcpState::FinWait2, true)), Some((TcpState::TimeWait, true))];
        while ours(&census(Scope::ALL).0) != both {
            assert!(Instant::now() < deadline, "{:?}", ours(&census(Scope::ALL).0));
        }
        let (rows, taken) = census(Scope::FEWEST);
        assert_eq!(ours(&rows), [both[0], None]);
        assert!(!rows.iter().any(|row| [TcpState::TimeWait, TcpState::Established].contains(&row.state)));
        assert!(taken.minis.expect("the kernel says it") >= 2);
        drop(open);
    }

    #[test]
    fn census_out_of_files_shows_what_one_over_netlink_shows() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let own = netns::own().expect("/proc");
        for dumps in [Dumps::Netlink, Dumps::Procfs] {
            let (rows, taken) = census_by(dumps, &mut Quiet::default(), Scope::ALL);
            let ours = rows.iter().find(|row| row.tuple.local == address).expect("it listens");
            assert_eq!((ours.netns, ours.state), (own, TcpState::Listen));
            assert!(!taken.unvisited.contains(&own) && taken.visited > 0, "{taken:?}");
        }
    }

    #[test]
    fn namespace_without_a_segment_is_asked_for_its_listeners_alone() {
        let looking = thread::spawn(|| {
            // SAFETY: the network namespace concerns no memory and no descriptors of other threads.
            if unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_err() {
                // Without the privilege for a namespace there is nothing to be seen.
                return;
            }
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("iproute2");
            assert!(up.success());
            let own = netns::own().expect("/proc");
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let mut quiet = Quiet::default();
            let mut states = || {
                let (rows, _) = census_after(&mut quiet, Scope::ALL);
                let ours = rows.iter().filter(|row| row.netns == own);
                let mut states: Vec<_> = ours.map(|row| row.state).collect();
                states.sort_unstable();
                states
            };
            assert_eq!(states(), [TcpState::Listen]);
            assert_eq!(states(), [TcpState::Listen]);
            let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("listens");
            let open = [TcpState::Established, TcpState::Established, TcpState::Listen];
            assert_eq!(states(), open, "what has come since is seen");
            assert_eq!(states(), open);
            // It relies on what it has been told.
            let now_ns = clock::monotonic_ns();
            quiet.dumped(own, Segments::here(), Scope::ALL, now_ns, true);
            let (rows, _) = census_after(&mut quiet, Scope::ALL);
            assert_eq!(rows.iter().filter(|row| row.netns == own).count(), 1);
            drop(client);
        });
        looking.join().expect("no panic");
    }
}
