//! `flyrpc ping`

use core::time::Duration;
use std::process::ExitCode;

use clap::Args;
use flyrpc_tokio::{Error, Pong, Protocol};

use crate::address::{self, ADDRESSES};
use crate::report::{Failure, TIMED_OUT, bytes, millis, say, silence};
use crate::{Interrupts, Target, seconds};

#[derive(Args)]
#[command(after_help = ADDRESSES)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Bytes of payload to send there and back; 56 by default. JSON-RPC's pings, calls of `rpc.ping`, have none
    #[arg(long, short = 's', value_name = "BYTES")]
    len: Option<u32>,
    /// How many; until interrupted with 0
    #[arg(long, short, value_name = "N", default_value_t = 4)]
    count: u64,
    /// Seconds from one to the next
    #[arg(long, short, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Print only the summary
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let client = options.target.connect().await?;
    let mut interrupts = Interrupts::watch()?;
    let address = &options.target.address;
    let is_json = client.protocol() == Protocol::JsonRpc;
    if is_json && options.len.is_some() {
        return Err(Failure::usage(format!("--len is for FlyRPC, and {address} is JSON-RPC")));
    }
    let len = if is_json { 0 } else { options.len.unwrap_or(56) as usize };
    let what = if is_json { "rpc.ping".to_owned() } else { format!("{} of payload", bytes(len as u64)) };
    say(format_args!("PING {address} ({}): {what}", client.remote()));
    let mut times = Vec::new();
    let mut sent = 0;
    let mut refused = 0_u64;
    let mut end = None;
    while options.count == 0 || sent < options.count {
        if sent > 0 {
            tokio::select! {
                () = tokio::time::sleep(options.interval) => {}
                () = interrupts.next() => break,
            }
        }
        let answer = tokio::select! {
            answer = client.ping(len, options.target.timeout) => answer,
            // What was interrupted was not lost.
            () = interrupts.next() => break,
        };
        sent += 1;
        match answer {
            Ok(Pong { time, len: back }) => {
                times.push(time);
                refused += u64::from(back < len as u64);
                let time = millis(time);
                if options.quiet {
                    continue;
                }
                if is_json {
                    say(format_args!("an answer from {address}: seq={sent} time={time}"));
                } else if back < len as u64 {
                    // It knows no pings, or takes none so long; it lives all the same.
                    say(format_args!("an error from {address}: seq={sent} time={time}"));
                } else {
                    say(format_args!("{} from {address}: seq={sent} time={}", bytes(len as u64), time));
                }
            }
            Err(Error::TimedOut) => {
                if !options.quiet {
                    say(format_args!(
                        "no answer from {address}: seq={sent} within {} s",
                        options.target.timeout.as_secs_f64()
                    ));
                }
            }
            Err(error) => {
                end = Some(Failure::from(error));
                break;
            }
        }
    }
    say(format_args!("\n--- {address} ping statistics ---"));
    say(format_args!("{}", summary(sent, &times)));
    if refused > 0 && len > SHORT {
        say(format_args!(
            "it answers, but no pings of {}; microcontrollers may take --len {SHORT}",
            bytes(len as u64)
        ));
    } else if times.is_empty() && sent > 0 && end.is_none() && address::is_serial(address) {
        say(format_args!("{}", silence(address)));
    }
    match end {
        Some(failure) => Err(failure),
        None if times.is_empty() && sent > 0 => Ok(ExitCode::from(TIMED_OUT)),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Pings of up to so many bytes are answered without the application at the other end
const SHORT: usize = 8;

/// The two closing lines of ping(8)
fn summary(sent: u64, times: &[Duration]) -> String {
    let answered = times.len() as u64;
    let lost = (sent - answered.min(sent)) as f64 * 100.0 / sent.max(1) as f64;
    let mut text = format!("{sent} sent, {answered} answered, {lost:.0}% lost");
    if let (Some(min), Some(max)) = (times.iter().min(), times.iter().max()) {
        let millis: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        let mean = millis.iter().sum::<f64>() / millis.len() as f64;
        let variance = millis.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / millis.len() as f64;
        let (min, max) = (min.as_secs_f64() * 1e3, max.as_secs_f64() * 1e3);
        text += &format!("\nrtt min/avg/max/mdev = {min:.3}/{mean:.3}/{max:.3}/{:.3} ms", variance.sqrt());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_and_averages() {
        let times = [1, 2, 3].map(Duration::from_millis);
        let text = summary(4, &times);
        assert_eq!(text, "4 sent, 3 answered, 25% lost\nrtt min/avg/max/mdev = 1.000/2.000/3.000/0.816 ms");
        assert_eq!(summary(2, &[]), "2 sent, 0 answered, 100% lost");
    }
}
