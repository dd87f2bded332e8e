//! Time, as connections count it

use flyrpc_core::Instant;

/// The one place that reads the clock
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
    /// [`Runtime::now`](crate::runtime::Runtime::now)
    #[cfg_attr(loom, expect(dead_code, reason = "a model's clock stands still"))]
    time: fn() -> std::time::Instant,
}

impl Clock {
    pub(crate) fn start(time: fn() -> std::time::Instant) -> Self {
        Self { epoch: time(), time }
    }

    #[cfg(not(loom))]
    pub(crate) fn now(self) -> Instant {
        Instant::ZERO + (self.time)().saturating_duration_since(self.epoch)
    }

    /// It stands still, so that a model takes the same way each time
    #[cfg(loom)]
    pub(crate) fn now(self) -> Instant {
        Instant::ZERO + core::time::Duration::from_secs(1)
    }

    /// The same time as the standard library has it
    pub(crate) fn to_std(self, time: Instant) -> Option<std::time::Instant> {
        if time == Instant::FAR {
            return None;
        }
        self.epoch.checked_add(core::time::Duration::from_micros(time.as_micros()))
    }
}
