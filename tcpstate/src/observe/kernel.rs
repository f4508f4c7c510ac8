//! The eBPF programs, loaded, attached and read.

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, RingBuf},
    programs::{BtfTracePoint, Iter, Program, ProgramError, tp_btf::BtfTracePointLink},
};
use aya_log::EbpfLogger;
use tcpstate_common::{
    Brief, Event,
    layout::Number,
    names::{
        maps,
        programs::{self, Hook},
    },
};
use tracing::{debug, warn};

use super::{
    counters::CpuCounters,
    decode::{self, Record},
    layout::{Layout, LayoutError},
    lockdown, object,
    privilege::{Capability, Privileges},
    probes::Probe,
    release,
    slots::Slots,
    standby::Standby,
    tapes::Tapes,
};
use crate::{clock, track::Circumstances};

/// Places for tasks in which events are handled, two for each: tasks whose numbers are equal in the lower 16 bits share
/// them, which matters only if one of them is preempted in the middle of an event and another handles one meanwhile.
const HANDLED_PLACES: u32 = 1 << 17;
const UNEXPECTED: &str = "it is of a kind that was not expected";

/// Why the programs do not run.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("{capability} {refused}: it is needed {}", capability.purpose())]
    Capability { capability: Capability, refused: &'static str },
    #[error("{0}")]
    Lockdown(&'static str),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("the kernel refused the eBPF programs: {0}")]
    Load(String),
    #[error("the kernel refused the eBPF program {program}: {reason}")]
    Program { program: &'static str, reason: String },
    #[error("the eBPF programs cannot be told about this kernel: {0}")]
    Numbers(String),
    #[error("the eBPF object lacks {0}")]
    Missing(&'static str),
}

/// How much of the kernel's memory the maps may take.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of the ring: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Places for sockets that park or have just ended in a mini-socket: a power of two.
    pub slots: u32,
}

impl Sizes {
    /// Places on each tape: together the tapes take about twice as much as the ring, since a watched server tells far
    /// more than one that nobody watches.
    fn places(self, cpus: u32) -> u32 {
        let share = 2 * u64::from(self.ring_bytes) / u64::from(cpus.max(1)) / size_of::<Brief>() as u64;
        let share = u32::try_from(share).unwrap_or(u32::MAX).max(16);
        1 << share.ilog2()
    }
}

/// The maps of the tapes.
struct TapeMaps {
    tape: MapData,
    ends: MapData,
    cpus: usize,
    /// Places on each tape.
    places: usize,
}

impl TapeMaps {
    fn map(&self) -> std::io::Result<Tapes> {
        Tapes::map(self.tape.fd().as_fd(), self.ends.fd().as_fd(), self.cpus, self.places)
    }
}

/// The programs and the ring.
pub struct Kernel {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    watchers: Array<MapData, u32>,
    counters: Arc<CpuCounters>,
    slots: Slots,
    tape_maps: TapeMaps,
    /// Mapped only while somebody watches: what is mapped counts as the daemon's memory.
    tapes: Option<Tapes>,
    /// The second program at `inet_sock_set_state`, while it is attached.
    nested: Option<BtfTracePointLink>,
    standby: Standby,
    /// Whether tasks may be preempted inside a program: then every program stays attached.
    preemptible: bool,
    /// The programs that are not there, and why.
    refused: BTreeMap<&'static str, String>,
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
            if let Some(refused) = privileges.refused(capability) {
                return Err(KernelError::Capability { capability, refused });
            }
        }
        Self::load(sizes).map_err(|error| match &error {
            KernelError::Load(words) | KernelError::Program { reason: words, .. } => {
                let why = lockdown::refusal(lockdown::mode().as_deref(), words);
                why.map_or(error, KernelError::Lockdown)
            }
            _ => error,
        })
    }

    fn load(sizes: Sizes) -> Result<Self, KernelError> {
        let layout = Layout::of_running_kernel()?;
        let btf = Btf::from_sys_fs().map_err(|error| KernelError::Load(explain(&error)))?;
        // The kernel side writes the tape of the CPU with the highest number that there can be.
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| KernelError::Load(explain(&error)))?;
        let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
        let preemptible = release::preempts_programs(&release::running());
        let mut ebpf = load(&layout, &btf, cpus, sizes, preemptible)?;
        let logger = EbpfLogger::init(&mut ebpf)
            .inspect_err(|error| warn!("the eBPF programs' own messages cannot be shown: {error}"))
            .ok();
        let mut nested = None;
        let mut refused = BTreeMap::new();
        for hook in hooks(preemptible) {
            let attached = has_fields(hook.program, &layout)
                .and_then(|()| load_program(&mut ebpf, hook, &btf))
                .and_then(|()| {
                    if hook.program == programs::INET_SOCK_SET_STATE_NESTED {
                        nested = Some(attach_nested(&mut ebpf)?);
                        Ok(())
                    } else {
                        attach(&mut ebpf, hook)
                    }
                });
            match attached {
                Ok(()) => {}
                // The others only add to what this one tells.
                Err(reason) if hook.program == programs::INET_SOCK_SET_STATE => {
                    return Err(KernelError::Program { program: hook.program, reason });
                }
                Err(reason) => drop(refused.insert(hook.program, reason)),
            }
        }
        let standby = Standby::new(clock::monotonic_ns());
        let iterator = has_fields(programs::TASK_FILE, &layout).and_then(|()| load_iterator(&mut ebpf, &btf));
        let counters = Arc::new(map_counters(&mut ebpf, cpus)?);
        let slots = map_slots(&mut ebpf, sizes)?;
        let tape_maps = take_tapes(&mut ebpf, cpus, sizes)?;
        let ring = RingBuf::try_from(take(&mut ebpf, maps::EVENTS)?)
            .map_err(|error| KernelError::Load(explain(&error)))?;
        let watchers = Array::try_from(take(&mut ebpf, maps::WATCHERS)?)
            .map_err(|error| KernelError::Load(explain(&error)))?;
        Ok(Self {
            ebpf,
            ring,
            watchers,
            counters,
            slots,
            tape_maps,
            tapes: None,
            nested,
            standby,
            preemptible,
            refused,
            layout,
            malformed: 0,
            iterator,
            logger,
        })
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Arc<CpuCounters> {
        Arc::clone(&self.counters)
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

    /// Whether a program could not be attached.
    #[must_use]
    pub fn lacks(&self, program: &str) -> bool {
        self.refused.contains_key(program)
    }

    /// What is not seen because a program could not be attached, one sentence each.
    #[must_use]
    pub fn not_seen(&self) -> Vec<String> {
        let lost = |(program, reason): (&&'static str, &String)| {
            let lost = Probe::of(program).map_or("", |probe| probe.lost);
            format!("{lost} (the eBPF program {program} could not be attached: {reason})")
        };
        self.refused.iter().map(lost).collect()
    }

    /// A descriptor that becomes readable when the ring has filled up to its watermark.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn ring_fd(&self) -> std::io::Result<OwnedFd> {
        self.ring.as_fd().try_clone_to_owned()
    }

    /// Takes out of the ring what is in it now, at most `max` records, and calls `each` with every one, as it is and
    /// as it is to be understood, and with what is known of a connection that met a reset. Returns whether more is
    /// waiting.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(Event, Record, Circumstances)) -> bool {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        for _ in 0..max {
            let Some(record) = self.ring.next() else { return false };
            let (event, beside) = decode::split(&record);
            let decoded =
                decode::wire(event).and_then(|wire| Ok((wire, decode::record(&wire, beside.idle.as_ref())?)));
            match decoded {
                Ok((wire, record)) => each(wire, record, beside.about),
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

    /// What the kernel side remembers of sockets that park.
    pub fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    /// What is told to watchers only; `None` while nobody watches.
    pub fn tapes(&mut self) -> Option<&mut Tapes> {
        self.tapes.as_mut()
    }

    /// Records that made no sense, so far.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Says whether every transition is wanted. What was still told when nobody wanted it any more is forgotten.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn watch(&mut self, wanted: bool) -> Result<(), String> {
        self.tapes = None;
        if wanted {
            let mut tapes = self.tape_maps.map().map_err(|error| explain(&error))?;
            tapes.skip();
            self.tapes = Some(tapes);
        }
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

    /// Attaches the second program at `inet_sock_set_state` if the first one misses events, and detaches it if it
    /// has not for a while.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn stand_by(&mut self) -> Result<(), String> {
        if self.preemptible || self.refused.contains_key(programs::INET_SOCK_SET_STATE_NESTED) {
            return Ok(());
        }
        let first = self.ebpf.program(programs::INET_SOCK_SET_STATE);
        let Some(missed) = first.and_then(missed) else { return Ok(()) };
        let wanted = self.standby.judge(missed, self.nested.is_some(), clock::monotonic_ns());
        if wanted && self.nested.is_none() {
            self.nested = Some(attach_nested(&mut self.ebpf)?);
            debug!("events were missed: {} is attached again", programs::INET_SOCK_SET_STATE_NESTED);
        } else if !wanted && self.nested.take().is_some() {
            debug!("nothing was missed for a while: {} is detached", programs::INET_SOCK_SET_STATE_NESTED);
        }
        Ok(())
    }

    /// Changes of state for which the kernel did not run the first program.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.ebpf.program(programs::INET_SOCK_SET_STATE).and_then(missed).unwrap_or(0)
    }

    /// What the kernel says of each hook's program.
    #[must_use]
    pub fn hooks(&self) -> Vec<HookReading> {
        let kept = std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled")
            .is_ok_and(|text| text.trim() == "1");
        hooks(self.preemptible)
            .map(|hook| {
                let program = self.ebpf.program(hook.program);
                let info = program.filter(|_| kept).and_then(|program| program.info().ok());
                let runs = info.map(|info| (info.run_count(), clock::nanos(info.run_time())));
                let rests = hook.program == programs::INET_SOCK_SET_STATE_NESTED && self.nested.is_none();
                let attached = if let Some(reason) = self.refused.get(hook.program) {
                    Err(reason.clone())
                } else if rests {
                    Err(format!(
                        "not needed: the first program has missed nothing for {} s",
                        self.standby.calm().as_secs()
                    ))
                } else {
                    Ok(())
                };
                HookReading { program: hook.program, attached, runs, missed: program.and_then(missed) }
            })
            .collect()
    }
}

/// An error that names the field, if this kernel lacks one that the program needs.
fn has_fields(program: &'static str, layout: &Layout) -> Result<(), String> {
    match Probe::of(program).and_then(|probe| probe.lacks(layout)) {
        None => Ok(()),
        Some(field) => Err(format!("this kernel has no field {}.{}", field.ty, field.path)),
    }
}

/// The hooks of the programs that this kernel needs.
fn hooks(preemptible: bool) -> impl Iterator<Item = Hook> {
    let needed = move |hook: &Hook| preemptible || hook.program != programs::INET_SOCK_SET_STATE_THIRD;
    programs::HOOKS.into_iter().filter(needed)
}

/// One program, as the kernel counts it.
#[derive(Clone, Debug)]
pub struct HookReading {
    pub program: &'static str,
    /// `Err`: why it is not attached.
    pub attached: Result<(), String>,
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

/// Takes the counters out of the object, and maps them into memory.
fn map_counters(ebpf: &mut Ebpf, cpus: u32) -> Result<CpuCounters, KernelError> {
    let map = take_array(ebpf, maps::CPU)?;
    CpuCounters::map(map.fd().as_fd(), cpus as usize)
        .map_err(|error| KernelError::Load(format!("the counters cannot be mapped: {error}")))
}

/// Takes the table of slots out of the object, and maps it into memory.
fn map_slots(ebpf: &mut Ebpf, sizes: Sizes) -> Result<Slots, KernelError> {
    let map = take_array(ebpf, maps::SLOTS)?;
    Slots::map(map.fd().as_fd(), sizes.slots as usize)
        .map_err(|error| KernelError::Load(format!("the table of parked sockets cannot be mapped: {error}")))
}

/// Takes the tapes out of the object.
fn take_tapes(ebpf: &mut Ebpf, cpus: u32, sizes: Sizes) -> Result<TapeMaps, KernelError> {
    let (tape, ends) = (take_array(ebpf, maps::TAPE)?, take_array(ebpf, maps::TAPE_ENDS)?);
    Ok(TapeMaps { tape, ends, cpus: cpus as usize, places: sizes.places(cpus) as usize })
}

fn load(layout: &Layout, btf: &Btf, cpus: u32, sizes: Sizes, preemptible: bool) -> Result<Ebpf, KernelError> {
    let places = sizes.places(cpus);
    let handled = if preemptible { HANDLED_PLACES } else { 1 };
    let object = object::with_numbers(|number| match number {
        Number::TICK_NS => clock::tick_ns(),
        Number::RING_WATERMARK => sizes.ring_bytes / 4,
        Number::SLOT_MASK => sizes.slots - 1,
        Number::TAPE_MASK => places - 1,
        Number::PREEMPTIBLE => u32::from(preemptible),
        Number::HANDLED_MASK => handled - 1,
        known => layout.number(known),
    })
    .map_err(|error| KernelError::Numbers(explain(&error)))?;
    EbpfLoader::new()
        .btf(Some(btf))
        .map_max_entries(maps::CPU, cpus)
        .map_max_entries(maps::EVENTS, sizes.ring_bytes)
        .map_max_entries(maps::SLOTS, sizes.slots)
        .map_max_entries(maps::TAPE, cpus.saturating_mul(places))
        .map_max_entries(maps::TAPE_ENDS, cpus)
        .map_max_entries(maps::HANDLED, handled)
        .load(&object)
        .map_err(|error| KernelError::Load(explain(&error)))
}

fn load_program(ebpf: &mut Ebpf, hook: Hook, btf: &Btf) -> Result<(), String> {
    match ebpf.program_mut(hook.program).ok_or("it is missing from the eBPF object")? {
        Program::BtfTracePoint(program) => program.load(hook.tracepoint, btf),
        Program::RawTracePoint(program) => program.load(),
        _ => return Err(UNEXPECTED.to_owned()),
    }
    .map_err(|error| refused(&error))
}

/// Attaches a program for as long as the object lives.
fn attach(ebpf: &mut Ebpf, hook: Hook) -> Result<(), String> {
    match ebpf.program_mut(hook.program).ok_or("it is missing from the eBPF object")? {
        Program::BtfTracePoint(program) => program.attach().map(drop),
        Program::RawTracePoint(program) => program.attach(hook.tracepoint).map(drop),
        _ => return Err(UNEXPECTED.to_owned()),
    }
    .map_err(|error| explain(&error))
}

/// Attaches the second program at `inet_sock_set_state`, for as long as the link lives.
fn attach_nested(ebpf: &mut Ebpf) -> Result<BtfTracePointLink, String> {
    let program: &mut BtfTracePoint = ebpf
        .program_mut(programs::INET_SOCK_SET_STATE_NESTED)
        .ok_or("it is missing from the eBPF object")?
        .try_into()
        .map_err(|error: ProgramError| explain(&error))?;
    let link = program.attach().map_err(|error| explain(&error))?;
    program.take_link(link).map_err(|error| explain(&error))
}

fn load_iterator(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), String> {
    let program: &mut Iter = ebpf
        .program_mut(programs::TASK_FILE)
        .ok_or("it is missing from the eBPF object")?
        .try_into()
        .map_err(|error| explain(&error))?;
    program.load(programs::TASK_FILE, btf).map_err(|error| refused(&error))
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, KernelError> {
    ebpf.take_map(name).ok_or(KernelError::Missing(name))
}

fn take_array(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, KernelError> {
    let Map::Array(map) = take(ebpf, name)? else { return Err(KernelError::Missing(name)) };
    Ok(map)
}

/// Why a program was not loaded: of the verifier's long log only the line that says so.
fn refused(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return explain(error) };
    let log = verifier_log.to_string();
    debug!("the verifier's log:\n{log}");
    match verdict(&log) {
        Some(verdict) => format!("{io_error} ({verdict})"),
        None => io_error.to_string(),
    }
}

/// The line of the verifier's log that says why: since 7.3 there is a report, in which it stands below `Reason:`. Before, it
/// is the last one above what is counted at the end, of which newer kernels have a line for each part of the program
/// (`print_verification_stats`, `kernel/bpf/verifier.c`).
fn verdict(log: &str) -> Option<&str> {
    const REASON: &str = "\nReason:\n";
    const COUNTS: [&str; 5] = ["processed ", "verification time ", "stack depth ", "subprog ", "insns_"];
    if let Some((_, report)) = log.rsplit_once(REASON) {
        return report.lines().next().map(str::trim);
    }
    let lines = log.lines().map(str::trim).rev();
    lines
        .skip_while(|line| line.is_empty() || COUNTS.iter().any(|start| line.starts_with(start)))
        .find(|line| !line.is_empty())
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

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn the_verifiers_reason_stands_above_what_it_counts() {
        let old =
            "0: R1=ctx()\nunknown func bpf_get_socket_cookie#46\nprocessed 12 insns (limit 1000000)\n\n";
        assert_eq!(verdict(old), Some("unknown func bpf_get_socket_cookie#46"));
        let new = "access beyond struct sock at off 900 size 4\nverification time 88 usec\nstack depth 24+8\nprocessed 3 insns\nsubprog 0 insns_total 3\nsubprog 2 insns_total 9\n";
        assert_eq!(verdict(new), Some("access beyond struct sock at off 900 size 4"));
        assert_eq!(verdict("processed 3 insns\n"), None);
        let report = "128: (85) call bpf_probe_read#4\nprogram of this type cannot use helper bpf_probe_read#4\n\nVerification failed: Policy: Operation is not allowed\n\nReason:\n  The helper bpf_probe_read#4 is not allowed: this program type does not allow the helper.\n\nAt:\n  f @ helpers.rs:1178:5\n\nSuggestion:\n  Use a helper allowed for this program type.\n\nprocessed 901 insns\n";
        let expected =
            "The helper bpf_probe_read#4 is not allowed: this program type does not allow the helper.";
        assert_eq!(verdict(report), Some(expected));
    }
}
