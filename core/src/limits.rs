//! What one connection may cost

use core::time::Duration;

/// Bounds on what a connection accepts, holds and waits for
///
/// Every length is compared with its limit when the header is read, before any memory is reserved for it (P17).
///
/// ```
/// use core::time::Duration;
/// use flyrpc_core::Limits;
///
/// let limits = Limits::new().max_payload(64 * 1024).call_timeout(Duration::from_secs(2));
/// assert_eq!(limits.get_max_payload(), 65_536);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    max_body: u64,
    max_payload: u32,
    pub(crate) call_timeout_ms: u32,
    pub(crate) quarantine_ms: u32,
    max_in_flight: u32,
    max_unanswered: u32,
    max_method: u16,
    oversize: Oversize,
    overload: Overload,
}

/// What becomes of a received body longer than [`Limits::max_payload`] and not longer than [`Limits::max_body`]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Oversize {
    /// Its bytes are passed over as they come; a request is answered `TOO_LARGE`, a reply fails its own call
    #[default]
    Refuse,
    /// It is handed out piece by piece as it comes, in constant memory: [`Body::Streamed`](crate::Body::Streamed)
    ///
    /// A call is over when its reply's head has come; how long the pieces may take is the owner's to watch.
    Stream,
}

/// What becomes of a request that comes while [`Limits::max_unanswered`] requests wait for their reply
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Overload {
    /// It is answered `BUSY` at once
    #[default]
    Refuse,
    /// It stays in the input ([`What::Blocked`](crate::What::Blocked)) until a reply was given
    ///
    /// What comes behind it waits too, replies to calls of our own included: handlers that call back may have to wait
    /// for their deadline. Choose it where handlers never call back.
    Wait,
}

impl Limits {
    /// The defaults, named at each method
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_body: u32::MAX as u64,
            max_payload: 16 << 20,
            call_timeout_ms: 10_000,
            quarantine_ms: 60_000,
            max_in_flight: 60_000,
            max_unanswered: 1024,
            max_method: 1024,
            oversize: Oversize::Refuse,
            overload: Overload::Refuse,
        }
    }

    /// Longest payload taken whole, in bytes as sent; default 16 MiB
    ///
    /// An input buffer of fixed size must hold it together with the packet's head (12 bytes and the method name): set it
    /// lower for a small one.
    #[must_use]
    pub const fn max_payload(mut self, bytes: u32) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Longest body that may be announced at all, streamed or passed over; default 4 GiB - 1
    ///
    /// A longer one is a protocol error and ends the connection.
    #[must_use]
    pub const fn max_body(mut self, bytes: u64) -> Self {
        self.max_body = bytes;
        self
    }

    /// What becomes of a body between the two limits; default [`Oversize::Refuse`]
    #[must_use]
    pub const fn oversize(mut self, oversize: Oversize) -> Self {
        self.oversize = oversize;
        self
    }

    /// Longest method name (FlyRPC: code), in bytes as sent; default 1,024
    ///
    /// A longer one is a protocol error: its end is unknown.
    #[must_use]
    pub const fn max_method(mut self, bytes: u16) -> Self {
        self.max_method = bytes;
        self
    }

    /// Calls of our own in flight at the most; default 60,000
    ///
    /// The dialect (FlyRPC: 65,535 sequences) and the call table bound it as well.
    #[must_use]
    pub const fn max_in_flight(mut self, calls: u32) -> Self {
        self.max_in_flight = calls;
        self
    }

    /// The peer's requests that may wait for our reply at the most; default 1,024; 0 takes none
    #[must_use]
    pub const fn max_unanswered(mut self, requests: u32) -> Self {
        self.max_unanswered = requests;
        self
    }

    /// What becomes of a request beyond that; default [`Overload::Refuse`]
    #[must_use]
    pub const fn overload(mut self, overload: Overload) -> Self {
        self.overload = overload;
        self
    }

    /// Deadline of calls that name none, from the call on, to the millisecond; default 10 s (the Go peer's)
    #[must_use]
    pub const fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout_ms = saturating_millis(timeout);
        self
    }

    /// How long the sequence of a call that timed out or was cancelled rests at least; default 60 s
    #[must_use]
    pub const fn quarantine(mut self, rest: Duration) -> Self {
        self.quarantine_ms = saturating_millis(rest);
        self
    }

    /// See [`max_payload`](Self::max_payload)
    #[must_use]
    pub const fn get_max_payload(&self) -> u32 {
        self.max_payload
    }

    /// See [`max_body`](Self::max_body); never below [`max_payload`](Self::max_payload)
    #[must_use]
    pub const fn get_max_body(&self) -> u64 {
        if self.max_body > self.max_payload as u64 { self.max_body } else { self.max_payload as u64 }
    }

    /// See [`oversize`](Self::oversize)
    #[must_use]
    pub const fn get_oversize(&self) -> Oversize {
        self.oversize
    }

    /// See [`max_method`](Self::max_method)
    #[must_use]
    pub const fn get_max_method(&self) -> u16 {
        self.max_method
    }

    /// See [`max_in_flight`](Self::max_in_flight)
    #[must_use]
    pub const fn get_max_in_flight(&self) -> u32 {
        self.max_in_flight
    }

    /// See [`max_unanswered`](Self::max_unanswered)
    #[must_use]
    pub const fn get_max_unanswered(&self) -> u32 {
        self.max_unanswered
    }

    /// See [`overload`](Self::overload)
    #[must_use]
    pub const fn get_overload(&self) -> Overload {
        self.overload
    }

    /// See [`call_timeout`](Self::call_timeout)
    #[must_use]
    pub const fn get_call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms as u64)
    }

    /// See [`quarantine`](Self::quarantine)
    #[must_use]
    pub const fn get_quarantine(&self) -> Duration {
        Duration::from_millis(self.quarantine_ms as u64)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

const fn saturating_millis(time: Duration) -> u32 {
    let millis = time.as_millis();
    if millis > u32::MAX as u128 { u32::MAX } else { millis as u32 }
}
