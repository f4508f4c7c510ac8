//! `/api/v1/processes`: the processes that hold or caused something that parks, or that a finding is about.

use std::collections::{BTreeMap, HashSet};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use tcpstate_common::{TcpState, state::STATE_SLOTS};
use utoipa::ToSchema;

use super::page::{Page, PageParams};
use crate::{
    diagnose::{self, Status, finding::Subject},
    serve::{
        ask::{Diagnosed, Parking},
        params::cursor::{List, Place},
        problem::Problem,
        shared::Shared,
        stamp::Stamps,
    },
    track::{self, Comm},
};

/// The processes that hold or caused something that parks, or that an open finding is about.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Processes {
    /// When it was last looked at (RFC 3339); null before the first time.
    #[schema(required)]
    pub as_of: Option<String>,
    pub looked_at: LookedAt,
    /// Processes on all pages together.
    pub total: u64,
    /// Those with the most sockets come first.
    pub processes: Vec<Process>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct LookedAt {
    /// Sockets in the table.
    pub sockets: u64,
    /// Processes that hold sockets of which it was asked who holds them.
    pub processes: u64,
}

impl LookedAt {
    /// What a diagnosis has looked at.
    #[must_use]
    pub fn of(diagnosed: &Diagnosed) -> Self {
        let holders: HashSet<_> = diagnosed.holders.processes().collect();
        Self { sockets: diagnosed.tracked as u64, processes: holders.len() as u64 }
    }
}

/// One process. What is not known is null: it may have ended, or not have been looked at for want of time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Process {
    /// Its number in the initial pid namespace.
    pub pid: u32,
    /// Its name as the kernel keeps it: at most 15 bytes.
    #[schema(required, example = "payments")]
    pub comm: Option<String>,
    /// The program's file.
    #[schema(required, example = "/usr/bin/payments")]
    pub exe: Option<String>,
    /// The systemd unit.
    #[schema(required, example = "payments.service")]
    pub unit: Option<String>,
    /// The container's id.
    #[schema(required)]
    pub container: Option<String>,
    /// The Kubernetes pod's uid.
    #[schema(required)]
    pub pod: Option<String>,
    /// Sockets that it has open in a state in which they park, by state.
    #[schema(example = json!({"CLOSE_WAIT": 812}))]
    pub held: BTreeMap<String, u64>,
    /// Sockets that it has closed and that the kernel still works on, by state. `TIME_WAIT` is not among them: see
    /// `/api/v1/ports`.
    #[schema(example = json!({"FIN_WAIT2": 3}))]
    pub left: BTreeMap<String, u64>,
    /// Descriptors that it has open, of any kind.
    #[schema(required)]
    pub fds: Option<u64>,
    /// How many it may have open (the soft `RLIMIT_NOFILE`).
    #[schema(required)]
    pub fd_limit: Option<u64>,
    /// The ids of the open findings about it.
    pub findings: Vec<String>,
}

impl Process {
    /// A process of which only the pid, and perhaps the name, is known. What is known of the number belongs to another
    /// process if that has another name.
    fn of(pid: u32, comm: Option<Comm>, diagnosed: &Diagnosed) -> Self {
        let seen = diagnosed.processes.get(&pid).filter(|seen| comm.is_none() || seen.comm == comm);
        let seen = seen.cloned().unwrap_or_default();
        let name = comm.map(|comm| comm.to_string());
        let is_it = |finding: &&diagnose::Finding| {
            let Subject { comm: named, .. } = &finding.subject;
            finding.status == Status::Open && finding.subject.has(pid) && (name.is_none() || *named == name)
        };
        Self {
            pid,
            comm: name.clone().or_else(|| seen.comm.map(|comm| comm.to_string())),
            exe: seen.exe,
            unit: seen.unit,
            container: seen.container,
            pod: seen.pod,
            held: BTreeMap::new(),
            left: BTreeMap::new(),
            fds: seen.fds,
            fd_limit: seen.fd_limit,
            findings: diagnosed.findings.iter().filter(is_it).map(|finding| finding.id.clone()).collect(),
        }
    }
}

/// The states that are not empty, by name.
pub(super) fn by_state(counts: &[u64; STATE_SLOTS]) -> BTreeMap<String, u64> {
    let states = TcpState::ALL.into_iter().map(|state| (state.name().to_owned(), counts[state.index()]));
    states.filter(|(_, count)| *count > 0).collect()
}

/// A process that is told, and where in the list.
struct Told<'a> {
    pid: u32,
    comm: Option<Comm>,
    /// What it holds or has left, if anything.
    parking: Option<&'a Parking>,
}

impl Told<'_> {
    fn sockets(&self) -> u64 {
        let states = self.parking.map(|parking| parking.held.iter().chain(&parking.left));
        states.into_iter().flatten().sum()
    }

    fn process(&self, diagnosed: &Diagnosed) -> Process {
        let mut process = Process::of(self.pid, self.comm, diagnosed);
        if let Some(parking) = self.parking {
            (process.held, process.left) = (by_state(&parking.held), by_state(&parking.left));
        }
        process
    }
}

/// Every process that is told, once.
fn all(diagnosed: &Diagnosed) -> Vec<(Place, Told<'_>)> {
    let mut all: BTreeMap<_, _> = diagnosed
        .parking
        .iter()
        .map(|parking| {
            let track::Process { pid, comm } = parking.process;
            let told = Told { pid, comm: Some(comm), parking: Some(parking) };
            ((pid, Some(comm.to_string())), told)
        })
        .collect();
    for finding in diagnosed.findings.iter().filter(|finding| finding.status == Status::Open) {
        let Subject { pid: Some(pid), comm, .. } = &finding.subject else { continue };
        let told = || Told { pid: *pid, comm: comm.as_deref().map(Comm::new), parking: None };
        all.entry((*pid, comm.clone())).or_insert_with(told);
    }
    let place = |pid, comm: Option<String>, told: &Told<'_>| {
        Place::new(told.sockets(), format!("{pid:010} {}", comm.unwrap_or_default()))
    };
    all.into_iter().map(|((pid, comm), told)| (place(pid, comm, &told), told)).collect()
}

impl Processes {
    fn of(diagnosed: &Diagnosed, params: &PageParams, stamps: &Stamps) -> Result<Self, Problem> {
        let Page { total, entries, next_cursor } = params.page(List::Processes, all(diagnosed))?;
        Ok(Self {
            as_of: diagnosed.at_ns.map(|at_ns| stamps.millis(at_ns)),
            looked_at: LookedAt::of(diagnosed),
            total,
            processes: entries.into_iter().map(|told| told.process(diagnosed)).collect(),
            next_cursor,
        })
    }
}

/// The processes that hold or caused something that parks, or that an open finding is about.
///
/// A cursor names the number of sockets and the process with which its page ended, and the next page goes on behind them
/// in what was found last: a process that keeps its number of sockets is on exactly one page, and one that has more or
/// fewer meanwhile may be on two or on none.
#[utoipa::path(
    get,
    path = "/api/v1/processes",
    tag = "api",
    params(PageParams),
    responses(
        (status = 200, description = "A page of processes", body = Processes),
        (status = 400, description = "A parameter is wrong; `field` names it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn processes(
    State(shared): State<Shared>,
    params: PageParams,
) -> Result<Json<Processes>, Problem> {
    Ok(Json(Processes::of(&shared.engine.diagnosed(), &params, &Stamps::now())?))
}
