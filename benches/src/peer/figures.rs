//! What the processes of a measurement tell each other, as JSON

use serde::{Deserialize, Serialize};

/// What a process has used since it began, and holds now
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stat {
    /// User and system time, in microseconds
    pub(crate) cpu_us: u64,
    /// Allocations and reallocations
    pub(crate) allocs: u64,
    /// What they added, in bytes; a reallocation adds what it grows by
    pub(crate) alloc_bytes: u64,
    /// Voluntary and not
    pub(crate) ctx_switches: u64,
    /// Resident memory now, in KiB
    pub(crate) rss_kb: u64,
    /// The most there was of it, in KiB
    pub(crate) peak_kb: u64,
}

/// What a client measured
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Answered calls, or connections opened
    pub(crate) calls: u64,
    pub(crate) secs: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
    pub(crate) before: Stat,
    pub(crate) after: Stat,
}
