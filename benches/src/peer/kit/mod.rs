//! What all measured peers have in common: the load, the counters, and the lines spoken with whoever measures
//!
//! A library is measured by its own code for two things: serving `echo1`, and a [`Caller`] (or, where it drives its
//! connection itself, a [`Bench`]). The rest is the same for each.

mod histogram;
mod load;
mod runtime;
mod session;
mod usage;

use core::error::Error;
use core::time::Duration;
use std::time::Instant;

pub(crate) use histogram::{Histogram, Tally};
pub(crate) use load::{Bench, Caller, Calls, FIRST_CONNECTIONS, Load, opened};
pub(crate) use runtime::{OnTokio, Runtime};
pub(crate) use session::{listen_on, run_client, serve_until_quit, session};
pub(crate) use usage::ALLOCATIONS;

/// Whatever ends a measurement; it is told to people only
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// The clock that everything is measured with
#[expect(clippy::disallowed_methods, reason = "measuring time is what this is for")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Fails where an answer is not as long as what was sent
pub(crate) fn check_length(sent: usize, got: usize) -> Result<(), Failure> {
    if got == sent { Ok(()) } else { Err(format!("sent {sent} bytes, {got} came back").into()) }
}

/// Time that a phase with this end has used up
pub(crate) fn is_over(began: Instant, at: Instant, time: Duration) -> bool {
    at.duration_since(began) >= time
}
