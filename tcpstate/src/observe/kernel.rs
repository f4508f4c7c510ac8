//! Tier B: the eBPF programs, loaded, attached and read.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, Iter, Program, ProgramError, RawTracePoint},
};
use aya_log::EbpfLogger;
use tcpstate_common::{
    Counters, Dwell, Parked,
    layout::{FIELDS, globals},
    names::{
        maps,
        programs::{self, Hook},
    },
};
use tracing::{debug, warn};

use super::{
    decode,
    layout::{Layout, LayoutError},
    privilege::{Capability, Privileges},
};
use crate::track::Event;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("TCPSTATE_EBPF_OBJECT"));

/// Why the programs do not run.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("{capability} is missing: it is needed {}", capability.purpose())]
    Capability { capability: Capability },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("the kernel refused the eBPF programs: {0}")]
    Load(String),
    #[error("the kernel refused the eBPF program {program}: {reason}")]
    Program { program: &'static str, reason: String },
    #[error("the eBPF object lacks {0}")]
    Missing(&'static str),
}

/// How much of the kernel's memory the maps may take.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of the ring: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Parked sockets remembered at most.
    pub parked: u32,
}

/// What may be read at any time, by anyone.
pub struct Maps {
    counters: PerCpuArray<MapData, Counters>,
    parked: HashMap<MapData, u64, Parked>,
}

/// The programs and the ring.
pub struct Kernel {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    watchers: Array<MapData, u32>,
    maps: Arc<Maps>,
    layout: Layout,
    malformed: u64,
    iterator: Result<(), String>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

impl Kernel {
    /// Loads and attaches everything.
    ///
    /// # Errors
    /// One sentence: which capability, which field, or which program and what the kernel said.
    pub fn start(sizes: Sizes) -> Result<Self, KernelError> {
        let privileges = Privileges::current();
        for capability in [Capability::Bpf, Capability::Perfmon] {
            if !privileges.has(capability) {
                return Err(KernelError::Capability { capability });
            }
        }
        let layout = Layout::of_running_kernel()?;
        let btf = Btf::from_sys_fs().map_err(|error| KernelError::Load(explain(&error)))?;
        let mut ebpf = load(&layout, &btf, sizes)?;
        let logger = EbpfLogger::init(&mut ebpf)
            .inspect_err(|error| warn!("the eBPF programs' own messages cannot be shown: {error}"))
            .ok();
        for hook in programs::HOOKS {
            attach(&mut ebpf, hook, &btf)
                .map_err(|reason| KernelError::Program { program: hook.program, reason })?;
        }
        let iterator = load_iterator(&mut ebpf, &btf);
        let maps = Arc::new(Maps {
            counters: PerCpuArray::try_from(take(&mut ebpf, maps::COUNTERS)?)
                .map_err(|error| KernelError::Load(explain(&error)))?,
            parked: HashMap::try_from(take(&mut ebpf, maps::PARKED)?)
                .map_err(|error| KernelError::Load(explain(&error)))?,
        });
        let ring = RingBuf::try_from(take(&mut ebpf, maps::EVENTS)?)
            .map_err(|error| KernelError::Load(explain(&error)))?;
        let watchers = Array::try_from(take(&mut ebpf, maps::WATCHERS)?)
            .map_err(|error| KernelError::Load(explain(&error)))?;
        Ok(Self { ebpf, ring, watchers, maps, layout, malformed: 0, iterator, logger })
    }

    /// The counters and the parked sockets.
    #[must_use]
    pub fn maps(&self) -> Arc<Maps> {
        Arc::clone(&self.maps)
    }

    /// The running kernel's layout.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Why holders cannot be looked up by iterator, if they cannot.
    #[must_use]
    pub fn iterator_error(&self) -> Option<&str> {
        self.iterator.as_ref().err().map(String::as_str)
    }

    /// A descriptor that becomes readable when the ring has filled up to its watermark.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn ring_fd(&self) -> std::io::Result<OwnedFd> {
        self.ring.as_fd().try_clone_to_owned()
    }

    /// Takes out of the ring what is in it now, at most `max` records, and puts it into `events`. Returns
    /// whether more is waiting.
    pub fn drain(&mut self, events: &mut Vec<Event>, max: usize) -> bool {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        for _ in 0..max {
            let Some(record) = self.ring.next() else { return false };
            match decode::event(&record) {
                Ok(event) => events.push(event),
                Err(error) => {
                    if self.malformed == 0 {
                        warn!("a record from the kernel side makes no sense and was dropped: {error}");
                    }
                    self.malformed += 1;
                }
            }
        }
        true
    }

    /// Records that made no sense, so far.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Says whether every transition is wanted.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn watch(&mut self, wanted: bool) -> Result<(), String> {
        self.watchers.set(0, u32::from(wanted), 0).map_err(|error| explain(&error))
    }

    /// A file from which one can read who has which sockets open, once.
    ///
    /// # Errors
    /// What the kernel said; also if the iterator was refused when the programs were loaded.
    pub fn open_files(&mut self) -> Result<File, String> {
        self.iterator.clone()?;
        let program: &mut Iter = self
            .ebpf
            .program_mut(programs::TASK_FILE)
            .ok_or("the program is missing")?
            .try_into()
            .map_err(|error| explain(&error))?;
        let link = program.attach().map_err(|error| explain(&error))?;
        program.take_link(link).map_err(|error| explain(&error))?.into_file().map_err(|error| explain(&error))
    }

    /// What the kernel says of each hook's program.
    #[must_use]
    pub fn hooks(&self) -> Vec<HookReading> {
        let kept = std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled")
            .is_ok_and(|text| text.trim() == "1");
        programs::HOOKS
            .into_iter()
            .map(|hook| {
                let program = self.ebpf.program(hook.program);
                let info = program.filter(|_| kept).and_then(|program| program.info().ok());
                let runs = info.map(|info| {
                    (info.run_count(), u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX))
                });
                HookReading { program: hook.program, runs, missed: program.and_then(missed) }
            })
            .collect()
    }
}

/// One program, as the kernel counts it.
#[derive(Clone, Copy, Debug)]
pub struct HookReading {
    pub program: &'static str,
    /// Runs and the time in them, ns, while the kernel keeps such statistics.
    pub runs: Option<(u64, u64)>,
    /// Events for which it was not run because it was running on that CPU already; `None` before 5.12.
    pub missed: Option<u64>,
}

/// `recursion_misses` of a program, which the kernel shows with the descriptor (`bpf_prog_show_fdinfo` in
/// `kernel/bpf/syscall.c`).
fn missed(program: &Program) -> Option<u64> {
    let fd = program.fd().ok()?.as_fd().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
    line.trim().parse().ok()
}

impl Maps {
    /// The counters at this moment, summed over all CPUs.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn counters(&self) -> Result<Counters, String> {
        let mut sum = Counters::ZERO;
        // Those of events one after the other, and those of events that interrupted another.
        for set in 0..self.counters.len() {
            for cpu in self.counters.get(&set, 0).map_err(|error| explain(&error))?.iter() {
                add(&mut sum, cpu);
            }
        }
        Ok(sum)
    }

    /// What is remembered of a parked socket.
    #[must_use]
    pub fn parked(&self, cookie: u64) -> Option<Parked> {
        self.parked.get(&cookie, 0).ok()
    }
}

fn load(layout: &Layout, btf: &Btf, sizes: Sizes) -> Result<Ebpf, KernelError> {
    let has_rst_reason = u32::from(layout.has_rst_reason);
    let abort_on_data = layout.reset_reason("TCP_ABORT_ON_DATA").unwrap_or(0);
    let watermark = sizes.ring_bytes / 4;
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .map_max_entries(maps::EVENTS, sizes.ring_bytes)
        .map_max_entries(maps::PARKED, sizes.parked)
        .override_global(globals::SOCK_DONE_BIT, &layout.sock_done_bit, true)
        .override_global(globals::SOCK_DEAD_BIT, &layout.sock_dead_bit, true)
        .override_global(globals::HAS_RST_REASON, &has_rst_reason, true)
        .override_global(globals::RST_ABORT_ON_DATA, &abort_on_data, true)
        .override_global(globals::RING_WATERMARK, &watermark, true);
    for (field, offset) in FIELDS.iter().zip(&layout.offsets) {
        loader.override_global(field.global, offset, true);
    }
    loader.load(OBJECT).map_err(|error| KernelError::Load(explain(&error)))
}

fn attach(ebpf: &mut Ebpf, hook: Hook, btf: &Btf) -> Result<(), String> {
    match ebpf.program_mut(hook.program).ok_or("it is missing from the eBPF object")? {
        Program::BtfTracePoint(program) => load_and_attach_typed(program, hook.tracepoint, btf),
        Program::RawTracePoint(program) => load_and_attach_raw(program, hook.tracepoint),
        _ => Err("it is of a kind that was not expected".to_owned()),
    }
}

fn load_and_attach_typed(program: &mut BtfTracePoint, name: &str, btf: &Btf) -> Result<(), String> {
    program.load(name, btf).map_err(|error| refused(&error))?;
    program.attach().map(drop).map_err(|error| explain(&error))
}

fn load_and_attach_raw(program: &mut RawTracePoint, name: &str) -> Result<(), String> {
    program.load().map_err(|error| refused(&error))?;
    program.attach(name).map(drop).map_err(|error| explain(&error))
}

fn load_iterator(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), String> {
    let program: &mut Iter = ebpf
        .program_mut(programs::TASK_FILE)
        .ok_or("it is missing from the eBPF object")?
        .try_into()
        .map_err(|error| explain(&error))?;
    program.load(programs::TASK_FILE, btf).map_err(|error| refused(&error))
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, KernelError> {
    ebpf.take_map(name).ok_or(KernelError::Missing(name))
}

/// Why a program was not loaded: of the verifier's long log only the line that says so.
fn refused(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return explain(error) };
    let log = verifier_log.to_string();
    debug!("the verifier's log:\n{log}");
    let verdict = log.lines().rev().find(|line| {
        let line = line.trim();
        // After the verdict the verifier counts what it did.
        !line.is_empty()
            && !["processed ", "verification time ", "stack depth "]
                .iter()
                .any(|start| line.starts_with(start))
    });
    match verdict {
        Some(verdict) => format!("{io_error} ({})", verdict.trim()),
        None => io_error.to_string(),
    }
}

/// An error with its causes, on one line.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn add(sum: &mut Counters, one: &Counters) {
    let each = |sum: &mut [u64], one: &[u64]| {
        for (sum, one) in sum.iter_mut().zip(one) {
            *sum = sum.wrapping_add(*one);
        }
    };
    each(
        sum.transitions.as_flattened_mut().as_flattened_mut(),
        one.transitions.as_flattened().as_flattened(),
    );
    each(&mut sum.resets_sent, &one.resets_sent);
    each(&mut sum.resets_met, &one.resets_met);
    each(&mut sum.resets_self_made, &one.resets_self_made);
    each(&mut sum.connect_failures, &one.connect_failures);
    each(&mut sum.emitted, &one.emitted);
    each(&mut sum.lost, &one.lost);
    sum.parked_lost += one.parked_lost;
    sum.unknown_states += one.unknown_states;
    sum.ignored += one.ignored;
    sum.rescued += one.rescued;
    for (sum, one) in sum.dwell.iter_mut().zip(&one.dwell) {
        let Dwell { buckets, sum_ns } = sum;
        each(buckets, &one.buckets);
        *sum_ns = sum_ns.wrapping_add(one.sum_ns);
    }
}
