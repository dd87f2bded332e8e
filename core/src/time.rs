//! Time as the core sees it: a number that the caller gives

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A moment, in microseconds since an epoch of the caller's choice
///
/// The core never reads a clock. Every method that depends on time takes the current `Instant`; an adapter
/// subtracts the moment it started from its monotonic clock, a microcontroller uses its tick counter, a test counts
/// by hand. The range is 584,000 years, of which a call table without a heap can tell 142 apart (its quarantine ends
/// early after that): take the start of the program for the epoch, or 1970. Time that goes backwards is clamped to the latest moment seen.
///
/// ```
/// use core::time::Duration;
/// use flyrpc_core::Instant;
///
/// let now = Instant::from_micros(1_000);
/// assert_eq!((now + Duration::from_millis(2)).as_micros(), 3_000);
/// assert_eq!(now - Instant::ZERO, Duration::from_millis(1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The epoch
    pub const ZERO: Self = Self(0);
    /// A moment that never comes; as a deadline it means "none"
    pub const FAR: Self = Self(u64::MAX);

    /// The moment `micros` microseconds after the epoch
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Without the divisions of a `Duration`
    pub(crate) const fn after_millis(self, millis: u32) -> Self {
        Self(self.0.saturating_add(millis as u64 * 1_000))
    }

    /// How long `earlier` was before this moment; zero when it was not
    #[must_use]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::FAR`]
    fn add(self, rhs: Duration) -> Self {
        let micros = rhs.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(rhs.subsec_micros()));
        Self(self.0.saturating_add(micros))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Saturates at zero
    fn sub(self, rhs: Self) -> Duration {
        self.saturating_duration_since(rhs)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::FAR { f.write_str("never") } else { write!(f, "{}us", self.0) }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Instant {
    fn format(&self, f: defmt::Formatter<'_>) {
        if *self == Self::FAR { defmt::write!(f, "never") } else { defmt::write!(f, "{=u64}us", self.0) }
    }
}
