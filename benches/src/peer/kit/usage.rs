//! What this process has used

use std::alloc::System;
use std::fs;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::figures::Stat;

/// Counts allocations; to be the global allocator of every measured process
pub(crate) static ALLOCATIONS: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

pub(crate) fn stat() -> Stat {
    let allocated = ALLOCATIONS.stats();
    let (cpu_us, ctx_switches) = time_and_switches();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Stat {
        cpu_us,
        allocs: (allocated.allocations + allocated.reallocations) as u64,
        alloc_bytes: allocated.bytes_allocated as u64,
        ctx_switches,
        rss_kb: kib(&status, "VmRSS:"),
        peak_kb: kib(&status, "VmHWM:"),
    }
}

/// A line of `/proc/self/status`; 0 where the system has none
fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(unix)]
fn time_and_switches() -> (u64, u64) {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;

    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return (0, 0) };
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let switches = usage.voluntary_context_switches() + usage.involuntary_context_switches();
    (u64::try_from(micros).unwrap_or(0), u64::try_from(switches).unwrap_or(0))
}

#[cfg(not(unix))]
fn time_and_switches() -> (u64, u64) {
    (0, 0)
}
