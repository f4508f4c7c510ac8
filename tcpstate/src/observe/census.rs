//! A census of all sockets, in every network namespace that may be entered.

use tcpstate_common::Counters;

use super::{counters::CpuCounters, evidence::sockstat::Sockstat, netns, sock_diag};
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
    /// The counters before and after; `None` in tier D.
    pub counters: Option<(Counters, Counters)>,
    /// How many mini-sockets the kernel counts in the namespaces that were visited; `None` where it does not say so.
    pub minis: Option<u64>,
    /// CPU time that it took, ns: what it cost, whatever it had to wait for.
    pub cpu_ns: u64,
    /// Namespaces that were visited.
    pub visited: u64,
    /// Namespaces that are there but could not be entered.
    pub unreachable: u64,
    /// Why the first of them could not.
    pub unreachable_reason: Option<String>,
    /// Processes whose namespace may not be read, so that there may be more.
    pub hidden_processes: u64,
}

/// Takes a census, and gives it on part by part. Blocks, and moves the calling thread through the namespaces: it
/// must be a thread of its own.
pub fn take(counters: Option<&CpuCounters>, scope: Scope, mut each: impl FnMut(Part)) {
    match try_take(counters, scope, &mut each) {
        Ok(taken) => each(Part::Ends(Box::new(taken))),
        Err(error) => each(Part::Fails(error)),
    }
}

/// Fails if not even the thread's own namespace can be dumped.
fn try_take(
    counters: Option<&CpuCounters>,
    scope: Scope,
    each: &mut impl FnMut(Part),
) -> Result<Taken, String> {
    let begun_cpu_ns = clock::thread_cpu_ns();
    let before = counters.map(CpuCounters::read);
    let started_ns = clock::monotonic_ns();
    each(Part::Begins { started_ns });
    let found = netns::find();
    let own = netns::own().map_err(|error| format!("the own network namespace is not known: {error}"))?;
    let (mut visited, mut unreachable, mut unreachable_reason) = (0, 0, None);
    let mut minis = Some(0);
    for (inum, path) in &found.namespaces {
        let mut rows = Vec::new();
        let dumped = netns::inside(*inum, path, || {
            sock_diag::dump(*inum, scope, |row| {
                rows.push(row);
                if rows.len() == PORTION {
                    let rows = std::mem::replace(&mut rows, Vec::with_capacity(PORTION));
                    each(Part::Shows { rows, now_ns: clock::monotonic_ns() });
                }
            })?;
            Ok(netns::file("sockstat").ok().and_then(|text| Sockstat::parse(&text).minis))
        });
        match dumped {
            Ok(more) => {
                visited += 1;
                minis = minis.zip(more).map(|(minis, more)| minis + more);
            }
            Err(error) if *inum == own => return Err(format!("sockets cannot be dumped: {error}")),
            Err(error) => {
                // One that has gone since it was found is not there any more.
                if error.kind() != std::io::ErrorKind::NotFound {
                    unreachable += 1;
                    unreachable_reason.get_or_insert_with(|| format!("{}: {error}", path.display()));
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
        unreachable,
        unreachable_reason,
        hidden_processes: found.hidden_processes,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Shutdown, TcpListener, TcpStream},
        time::{Duration, Instant},
    };

    use tcpstate_common::TcpState;

    use super::{Part, Taken, take};
    use crate::track::{Row, Scope};

    fn census(scope: Scope) -> (Vec<Row>, Taken) {
        let (mut shown, mut taken) = (Vec::new(), None);
        take(None, scope, |part| match part {
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
}
