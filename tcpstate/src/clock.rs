//! The only place that asks what time it is. Everywhere else time is an argument.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_getres, clock_gettime};

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// `CLOCK_MONOTONIC`, ns: the clock of the kernel's events.
#[must_use]
pub fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// `CLOCK_BOOTTIME`, the clock of the starts of processes, less `CLOCK_MONOTONIC`, ns: how long the host has been
/// suspended since it was booted.
#[must_use]
pub fn boot_offset_ns() -> u64 {
    let monotonic_ns = monotonic_ns();
    read(ClockId::Boottime).saturating_sub(monotonic_ns)
}

/// Length of a kernel tick (jiffy), ns: how exact the coarse clocks are (`KTIME_LOW_RES` in
/// `include/linux/ktime.h`).
#[must_use]
pub fn tick_ns() -> u32 {
    u32::try_from(clock_getres(ClockId::MonotonicCoarse).tv_nsec).unwrap_or(0)
}

/// CPU time of the calling thread, ns.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// A time as ns; the largest number, if it is longer than that (584 years).
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The wall-clock time that belongs to a monotonic one, as the two clocks stand to each other now.
#[must_use]
pub fn wall(at_ns: u64) -> SystemTime {
    let (now_ns, now) = (monotonic_ns(), SystemTime::now());
    if at_ns <= now_ns {
        now - Duration::from_nanos(now_ns - at_ns)
    } else {
        now + Duration::from_nanos(at_ns - now_ns)
    }
}

/// The same as ns since 1970.
#[must_use]
pub fn wall_ns(at_ns: u64) -> u64 {
    wall(at_ns).duration_since(SystemTime::UNIX_EPOCH).map_or(0, nanos)
}

/// The present for tokio's timers.
#[must_use]
pub fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// A monotonic time for tokio's timers; now, if it is over.
#[must_use]
pub fn instant_at(at_ns: u64) -> tokio::time::Instant {
    instant() + Duration::from_nanos(at_ns.saturating_sub(monotonic_ns()))
}
