//! The caller's time

use core::future::Future;

use flyrpc_core::Instant;

/// Time, and waiting for it; with embassy-time a few lines, see [`Shared`](crate::Shared)
///
/// Beware of timers that count other ticks than microseconds: [`Instant::FAR`] is the largest number there is.
pub trait Clock {
    /// Microseconds since an epoch of the clock's choice, usually the start; it never goes back
    fn now(&self) -> Instant;

    /// Ready when [`now`](Self::now) has reached `at`, or a little later; never for [`Instant::FAR`]
    fn wait_until(&self, at: Instant) -> impl Future<Output = ()>;
}
