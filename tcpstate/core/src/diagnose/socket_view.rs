//! One socket of a pass, with the process that holds it. There may be half a million, so a view is only a place in the
//! evidence.

use crate::{
    diagnose::evidence::Evidence,
    track::{Holder, Socket},
};

/// Who has a socket open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Holding {
    /// It has no file: nobody can.
    NoFile,
    /// It has not been looked up yet.
    NotAsked,
    /// Nobody was found, but not everybody could be looked at.
    Unseen,
    /// Nobody.
    Nobody,
    /// This process. Of several the one that started first, but not process 1 if there is another.
    By { holder: Holder, processes: u32 },
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketView<'a> {
    evidence: &'a Evidence,
    place: u32,
    held: HeldAt,
}

/// See [`Holding`].
#[derive(Clone, Copy, Debug)]
enum HeldAt {
    NoFile,
    NotAsked,
    Unseen,
    Nobody,
    /// The place in the look-up of holders.
    By {
        place: u32,
        processes: u32,
    },
}

impl SocketView<'_> {
    #[expect(clippy::inline_always, reason = "a caller that reads one field unpacks only that one")]
    #[inline(always)]
    pub(super) fn socket(&self) -> Socket {
        self.evidence.sockets.at(self.place as usize)
    }

    /// Its place among all the sockets of the pass.
    pub(super) fn index(&self) -> usize {
        self.place as usize
    }

    /// Time in its state when it was last counted, ms.
    pub(super) fn age_ms(&self) -> u64 {
        let socket = self.socket();
        socket.age_ms(self.evidence.counted_ns(socket.state))
    }

    pub(super) fn since_ns(&self) -> u64 {
        self.socket().since.ns()
    }

    /// Time since the connection was opened, ms; `None` if that was not seen.
    pub(super) fn open_ms(&self) -> Option<u64> {
        let socket = self.socket();
        let counted_ns = self.evidence.counted_ns(socket.state);
        socket.opened.map(|opened| counted_ns.saturating_sub(opened.at_ns) / super::NS_PER_MS)
    }

    pub(super) fn holding(&self) -> Holding {
        match self.held {
            HeldAt::NoFile => Holding::NoFile,
            HeldAt::NotAsked => Holding::NotAsked,
            HeldAt::Unseen => Holding::Unseen,
            HeldAt::Nobody => Holding::Nobody,
            HeldAt::By { place, processes } => match self.evidence.holders.at(place as usize) {
                Some(holder) => Holding::By { holder, processes },
                None => Holding::Nobody,
            },
        }
    }

    /// The process that holds it, if one is known.
    pub(super) fn holder(&self) -> Option<Holder> {
        match self.holding() {
            Holding::By { holder, .. } => Some(holder),
            _ => None,
        }
    }
}

/// All the sockets of a pass.
pub(super) fn all(evidence: &Evidence) -> Vec<SocketView<'_>> {
    let all = (0_u32..).zip(evidence.sockets.iter());
    all.map(|(place, socket)| SocketView { evidence, place, held: held(evidence, &socket) }).collect()
}

fn held(evidence: &Evidence, socket: &Socket) -> HeldAt {
    if socket.inode == 0 {
        return HeldAt::NoFile;
    }
    let mut best: Option<(Holder, u32)> = None;
    let mut pids = [0; 4];
    let mut processes: u32 = 0;
    let order = |holder: &Holder| (holder.pid == 1, holder.start_boottime_ns, holder.pid, holder.fd);
    let places = evidence.holders.places(socket.cookie, socket.inode);
    for (holder, place) in
        places.filter_map(|place| Some((evidence.holders.at(place)?, u32::try_from(place).ok()?)))
    {
        let counted = pids.len().min(processes as usize);
        if !pids[..counted].contains(&holder.pid) {
            if let Some(place) = pids.get_mut(processes as usize) {
                *place = holder.pid;
            }
            processes += 1;
        }
        if best.is_none_or(|(best, _)| order(&holder) < order(&best)) {
            best = Some((holder, place));
        }
    }
    match best {
        Some((_, place)) => HeldAt::By { place, processes },
        None if !evidence.holders.know(socket) => HeldAt::NotAsked,
        None if evidence.holders_complete => HeldAt::Nobody,
        None => HeldAt::Unseen,
    }
}
