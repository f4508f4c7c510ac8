//! The local ports in use towards one destination.

use std::{
    cmp::Reverse,
    net::{IpAddr, SocketAddr},
};

use tcpstate_common::{TcpState, state::STATE_SLOTS};

use crate::{
    diagnose::evidence::Destination,
    track::{Process, Socket},
};

/// The local ports in use towards one destination. Nearly all destinations have one.
#[derive(Clone, Debug)]
pub(super) enum Towards {
    One(Use),
    Many(Box<Many>),
}

/// A local port in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    port: u16,
    state: TcpState,
    cookie: u64,
    actor: Option<Process>,
    since_ns: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Many {
    ports: Vec<Port>,
    time_waits_between_ns: Option<(u64, u64)>,
    actors: Vec<Process>,
    cookies: Vec<u64>,
}

/// A socket's port: of those there may be a hundred thousand, 4 bytes each.
#[derive(Clone, Copy, Debug)]
struct Port {
    number: u16,
    state: TcpState,
    /// Who acted on it: the place among the actors, plus one.
    actor: u8,
}

impl From<&Socket> for Use {
    fn from(socket: &Socket) -> Self {
        let Socket { cookie, state, actor, tuple, since, .. } = *socket;
        Self { port: tuple.local.port(), state, cookie, actor, since_ns: since.ns() }
    }
}

impl Towards {
    /// Takes in another one. No two sockets have the same addresses and ports: where two seem to, a port that was in
    /// `TIME_WAIT` has been used again since a census showed those.
    pub(super) fn add(&mut self, next: Use) {
        match self {
            Self::One(first) if first.port != next.port => {
                let mut many = Box::new(Many::default());
                many.add(*first);
                many.add(next);
                *self = Self::Many(many);
            }
            Self::One(first) if first.state == TcpState::TimeWait => *first = next,
            Self::One(_) => {}
            Self::Many(many) => many.add(next),
        }
    }
}

impl Many {
    fn add(&mut self, next: Use) {
        let Use { port, state, cookie, actor, since_ns } = next;
        if state == TcpState::TimeWait {
            let (first_ns, last_ns) = self.time_waits_between_ns.unwrap_or((since_ns, since_ns));
            self.time_waits_between_ns = Some((first_ns.min(since_ns), last_ns.max(since_ns)));
        }
        let actor = actor.map_or(0, |actor| number(&mut self.actors, actor));
        self.ports.push(Port { number: port, state, actor });
        if self.cookies.len() < Destination::MAX_COOKIES {
            self.cookies.push(cookie);
        }
    }

    /// Sockets that were added: no fewer than the ports that are in use.
    pub(super) fn sockets(&self) -> u64 {
        self.ports.len() as u64
    }

    pub(super) fn into_destination(mut self, netns: u32, local: IpAddr, remote: SocketAddr) -> Destination {
        let mut by_state = [0; STATE_SLOTS];
        let mut actors: Vec<_> = self.actors.into_iter().map(|actor| (actor, 0)).collect();
        self.ports.sort_unstable_by_key(|port| (port.number, port.state == TcpState::TimeWait));
        self.ports.dedup_by_key(|port| port.number);
        for Port { state, actor, .. } in self.ports {
            by_state[state.index()] += 1;
            if let Some((_, count)) =
                usize::from(actor).checked_sub(1).and_then(|place| actors.get_mut(place))
            {
                *count += 1;
            }
        }
        actors.retain(|(_, count)| *count > 0);
        actors.sort_by_key(|(process, count)| (Reverse(*count), process.pid));
        Destination {
            netns,
            local,
            remote,
            by_state,
            actors,
            cookies: self.cookies,
            time_waits_between_ns: self.time_waits_between_ns,
        }
    }
}

/// An actor's place among these, plus one; 0 for one who is not named any more.
fn number(actors: &mut Vec<Process>, actor: Process) -> u8 {
    let known = actors.iter().position(|known| *known == actor);
    let place = known.unwrap_or(actors.len());
    if place >= Destination::MAX_ACTORS {
        return 0;
    }
    if known.is_none() {
        actors.push(actor);
    }
    u8::try_from(place + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Destination, Process, TcpState, Towards, Use};
    use crate::track::Comm;

    fn used(port: u16, state: TcpState, pid: u32) -> Use {
        let actor = (pid > 0).then_some(Process { pid, comm: Comm([0; 16]) });
        Use { port, state, cookie: u64::from(port), actor, since_ns: u64::from(port) }
    }

    fn destination(uses: &[Use]) -> Option<Destination> {
        let mut towards = Towards::One(uses[0]);
        for next in &uses[1..] {
            towards.add(*next);
        }
        let Towards::Many(many) = towards else { return None };
        let local = Ipv4Addr::LOCALHOST.into();
        Some(many.into_destination(1, local, (local, 80).into()))
    }

    #[test]
    fn port_that_is_used_again_counts_once_as_what_it_is_now() {
        use TcpState::{Established, TimeWait};
        let other = used(9, TimeWait, 1);
        for uses in [
            [other, used(1, TimeWait, 1), used(1, Established, 2)],
            [other, used(1, Established, 2), used(1, TimeWait, 1)],
            [used(1, TimeWait, 1), used(1, Established, 2), other],
            [used(1, Established, 2), used(1, TimeWait, 1), other],
        ] {
            let destination = destination(&uses).expect("two ports");
            assert_eq!(destination.used(), 2, "{uses:?}");
            assert_eq!(destination.by_state[Established.index()], 1, "{uses:?}");
            let actors: Vec<_> =
                destination.actors.iter().map(|(actor, count)| (actor.pid, *count)).collect();
            assert_eq!(actors, [(1, 1), (2, 1)], "{uses:?}");
        }
    }

    #[test]
    fn one_port_is_one_however_often_it_was_used() {
        let again = used(1, TcpState::TimeWait, 1);
        assert_eq!(destination(&[again, again, again]), None);
    }

    #[test]
    fn actors_are_those_of_sockets_that_are_there() {
        let uses =
            [used(1, TcpState::TimeWait, 5), used(2, TcpState::TimeWait, 6), used(1, TcpState::FinWait1, 0)];
        let destination = destination(&uses).expect("two ports");
        let actors: Vec<_> = destination.actors.iter().map(|(actor, _)| actor.pid).collect();
        assert_eq!(actors, [6], "the port of 5 is somebody's of whom nothing is known");
    }

    #[test]
    fn largest_actors_come_first_and_no_more_than_can_be_named() {
        let mut uses: Vec<_> = (0..8).map(|n| used(n, TcpState::TimeWait, u32::from(n % 2 + 1))).collect();
        uses.push(used(8, TcpState::TimeWait, 2));
        uses.extend((9..40).map(|n| used(n, TcpState::TimeWait, u32::from(n))));
        let destination = destination(&uses).expect("many ports");
        let actors: Vec<_> = destination.actors.iter().map(|(actor, count)| (actor.pid, *count)).collect();
        assert_eq!((&actors[..4], actors.len()), (&[(2, 5), (1, 4), (9, 1), (10, 1)][..], 16));
        assert_eq!(destination.used(), 40);
    }
}
