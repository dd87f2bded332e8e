//! `flyrpc call --repeat`: many calls, and how long they took

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use flyrpc_tokio::{Connected, Error, Peer};
use indicatif::ProgressBar;

use crate::Interrupts;
use crate::input::counter;
use crate::report::{Failure, bytes, count, grouped, say};

#[derive(Args)]
pub(crate) struct Measure {
    /// Call so many times over one connection, and print rate and latency instead of the answers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    repeat: Option<u64>,
    /// Calls under way at a time
    #[arg(long, value_name = "C", default_value_t = 1, requires = "repeat",
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    concurrency: u64,
}

impl Measure {
    /// How many calls to measure, if any
    pub(crate) const fn repeat(&self) -> Option<u64> {
        self.repeat
    }
}

/// Calls `repeat` times; Ctrl-C ends it early, with the figures so far
pub(crate) async fn run(
    client: &Connected,
    code: &str,
    payload: Bytes,
    repeat: u64,
    measure: &Measure,
) -> Result<ExitCode, Failure> {
    let mut interrupts = Interrupts::watch()?;
    let concurrency = measure.concurrency.min(repeat);
    let len = payload.len() as u64;
    let work = Arc::new(Work {
        peer: client.peer(),
        code: code.to_owned(),
        payload,
        left: AtomicU64::new(repeat),
        bar: counter(repeat, "calling"),
    });
    let start = now();
    let callers: Vec<_> = (0..concurrency).map(|_| tokio::spawn(call(Arc::clone(&work)))).collect();
    let mut all = Share::default();
    for mut caller in callers {
        let share = loop {
            tokio::select! {
                share = &mut caller => break share,
                () = interrupts.next() => work.left.store(0, Ordering::Relaxed),
            }
        };
        all.add(share.map_err(|error| Failure::new(format!("a caller has ended: {error}")))?);
    }
    let time = start.elapsed();
    work.bar.finish_and_clear();
    say(format_args!(
        "{} of {code:?} with {}, {concurrency} at a time",
        count(all.made(), "call"),
        bytes(len)
    ));
    say(all.summary(time));
    match all.first_error {
        None => Ok(ExitCode::SUCCESS),
        Some(Error::Remote(error)) => Err(Failure::remote(&error, client.protocol())),
        Some(error) => Err(error.into()),
    }
}

/// What all callers share
struct Work {
    peer: Peer,
    code: String,
    payload: Bytes,
    /// Calls that nobody has begun
    left: AtomicU64,
    bar: ProgressBar,
}

/// What one caller has seen
#[derive(Default)]
struct Share {
    /// Of the calls that were answered, in nanoseconds
    times: Vec<u64>,
    failed: u64,
    first_error: Option<Error>,
}

async fn call(work: Arc<Work>) -> Share {
    let mut share = Share::default();
    while work.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let start = now();
        let answer = work.peer.call(&work.code, &work.payload).await;
        let time = start.elapsed();
        work.bar.inc(1);
        match answer {
            Ok(_) => share.times.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            Err(error) => {
                share.failed += 1;
                // Without a connection every further call fails the same way.
                let over = matches!(error, Error::Lost(_) | Error::Protocol(_) | Error::Refused(_));
                share.first_error.get_or_insert(error);
                if over {
                    break;
                }
            }
        }
    }
    share
}

#[expect(clippy::disallowed_methods, reason = "measures")]
fn now() -> Instant {
    Instant::now()
}

impl Share {
    fn add(&mut self, mut other: Self) {
        self.times.append(&mut other.times);
        self.failed += other.failed;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn made(&self) -> u64 {
        self.times.len() as u64 + self.failed
    }

    /// Counts, rate and latencies
    fn summary(&mut self, time: Duration) -> String {
        self.times.sort_unstable();
        let (answered, seconds) = (self.times.len() as u64, time.as_secs_f64());
        let rate = grouped((answered as f64 / seconds.max(1e-9)) as u64);
        let mut text = format!(
            "{} answered, {} failed in {seconds:.3} s: {rate} calls a second",
            grouped(answered),
            grouped(self.failed)
        );
        if let Some(most) = self.times.last() {
            let at = |percent| Millis(percentile(&self.times, percent));
            text += &format!(
                "\nlatency min/p50/p90/p99/max = {}/{}/{}/{}/{} ms",
                at(0),
                at(50),
                at(90),
                at(99),
                Millis(*most)
            );
        }
        text
    }
}

/// The least of these sorted times that `percent` of them do not pass
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Nanoseconds, shown as milliseconds
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0 as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<u64> = (1..=200).collect();
        assert_eq!([0, 50, 90, 99, 100].map(|percent| percentile(&times, percent)), [1, 100, 180, 198, 200]);
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99), percentile(&[], 50)), (7, 7, 0));
    }

    #[test]
    fn the_summary_counts_what_was_answered_and_what_failed() {
        let times = vec![3_000_000, 1_000_000, 2_000_000];
        let mut share = Share { times, failed: 1, first_error: Some(Error::TimedOut) };
        let text = "3 answered, 1 failed in 0.500 s: 6 calls a second\n\
                    latency min/p50/p90/p99/max = 1.000/2.000/3.000/3.000/3.000 ms";
        assert_eq!(share.summary(Duration::from_millis(500)), text);
    }
}
