//! What enters the pure rooms, in the order in which it does.

use std::sync::Arc;

use crate::{
    diagnose::{Collected, Moment},
    track::{Circumstances, Event, Holders, IdleClose, Note, Process, Row, Scope},
};

/// See the module.
#[derive(Clone, Debug)]
pub enum Input {
    /// An event, with what its source knows of the connection.
    Event(Event, Circumstances),
    /// A process acted on a socket, and the socket stays in its state.
    Acted { cookie: u64, process: Option<Process> },
    /// A process closed a connection that was idle.
    IdleClose(IdleClose),
    /// What the kernel side remembers of a socket.
    Note(Note),
    /// A socket dump begins.
    DumpBegins { started_ns: u64, scope: Scope },
    /// It shows some sockets.
    DumpShows { now_ns: u64, rows: Vec<Row> },
    /// It has shown all but what there is in the network namespaces that were not visited.
    DumpEnds { finished_ns: u64, unvisited: Vec<u32> },
    /// A pass chooses the sockets that it looks at.
    Look(Moment),
    /// Holders were looked up; `hidden` is why there may be more of them.
    Holders { holders: Arc<Holders>, hidden: Option<String> },
    /// The pass has everything that was looked up for it, and judges.
    Pass(Collected),
    /// So many inputs could not be written down.
    Lost(u64),
}
