//! Counts for each process the sockets that park, for the list of processes.

use std::cmp::Reverse;

use foldhash::HashMap;
use tcpstate_common::state::STATE_SLOTS;

use crate::{
    serve::ask::Parking,
    track::{Holders, Process, Socket, Sockets},
};

/// Processes that hold sockets that park, or left some to the kernel; those with the most come first. A socket that
/// several processes hold counts for each, but only once for one that has it open twice.
pub(super) fn of(sockets: &Sockets, holders: &Holders) -> Vec<Parking> {
    let mut counts = HashMap::<Process, [[u64; STATE_SLOTS]; 2]>::default();
    let mut count = |process, which: usize, socket: &Socket| {
        counts.entry(process).or_default()[which][socket.state.index()] += 1;
    };
    for socket in sockets.iter().filter(|socket| socket.state.parks()) {
        let socket = &socket;
        let mut last = None;
        for holder in holders.of(socket) {
            // The descriptors of a process come one after the other.
            if last.replace((holder.pid, holder.start_boottime_ns))
                != Some((holder.pid, holder.start_boottime_ns))
            {
                count(Process { pid: holder.pid, comm: holder.comm }, 0, socket);
            }
        }
        if let Some(actor) = socket.actor.filter(|_| socket.inode == 0) {
            count(actor, 1, socket);
        }
    }
    let mut parking: Vec<_> =
        counts.into_iter().map(|(process, [held, left])| Parking { process, held, left }).collect();
    parking.sort_by_key(|parking| {
        let all: u64 = parking.held.iter().chain(&parking.left).sum();
        (Reverse(all), parking.process.pid)
    });
    parking
}

#[cfg(test)]
mod tests {
    use tcpstate_common::TcpState;

    use super::*;
    use crate::{
        app::diagnosis::collect::tests::socket,
        track::{Comm, Holder, Key},
    };

    fn holder(pid: u32, fd: u32) -> Holder {
        Holder { pid, fd, comm: Comm::new("payments"), start_boottime_ns: 1 }
    }

    #[test]
    fn a_socket_counts_once_for_each_process_that_holds_it() {
        let found =
            [(7, holder(4, 3)), (7, holder(4, 9)), (7, holder(5, 3)), (8, holder(4, 5)), (9, holder(6, 1))];
        let found = found.map(|(cookie, holder)| (Key::Cookie(cookie), holder));
        let holders = Holders::new(1, vec![7, 8, 9], Vec::new(), found);
        let sockets = Sockets::from_iter([
            socket(7, TcpState::CloseWait, 70),
            socket(8, TcpState::FinWait2, 80),
            socket(9, TcpState::Established, 90),
        ]);
        let parking = of(&sockets, &holders);
        let counts: Vec<_> = parking
            .iter()
            .map(|of| {
                (of.process.pid, of.held[TcpState::CloseWait.index()], of.held[TcpState::FinWait2.index()])
            })
            .collect();
        assert_eq!(counts, [(4, 1, 1), (5, 1, 0)]);
    }

    #[test]
    fn what_nobody_can_hold_counts_for_who_closed_it() {
        let mut orphan = socket(7, TcpState::FinWait1, 0);
        let mut held = socket(8, TcpState::FinWait2, 80);
        let actor = Some(Process { pid: 12, comm: Comm::new("nginx") });
        (orphan.actor, held.actor) = (actor, actor);
        let parking = of(&Sockets::from_iter([orphan, held]), &Holders::default());
        assert_eq!(parking.len(), 1);
        assert_eq!(parking[0].left.iter().sum::<u64>(), 1);
        assert_eq!(parking[0].held.iter().sum::<u64>(), 0);
    }
}
