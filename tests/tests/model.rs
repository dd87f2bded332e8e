//! Two connections under random operations, compared with a reference; see `flyrpc_tests::model`
//!
//! `FLYRPC_SEED=n cargo test -p flyrpc-tests --test model` replays one seed and prints its transcript.

use std::env;

use flyrpc_tests::model;

/// Enough for more than 100,000 operations; `FLYRPC_SEEDS` says otherwise
const SEEDS: u64 = 2400;

/// What happens in these worlds, as it stands in their transcripts
const HAPPENS: [&str; 30] = [
    "  Request",
    "  Notification",
    "  Reply",
    "  Cancel",
    "  Pong {",
    "BadReply",
    "code: [66, 85, 83, 89]",
    "TimedOut",
    "Lost",
    "Streamed(",
    "piece of",
    "blocked: requests wait",
    "blocked: packets wait",
    "refused: too many calls are in flight",
    "refused: the sink has no room",
    "refused: a streamed body is being sent",
    "refused: the payload of",
    "refused: the code is too long",
    "refused: the connection is draining",
    "refused: the connection has ended",
    "the announced payload is longer than its limit",
    "the code has no end",
    "Closed { why: PeerClosed",
    "Closed { why: CutShort",
    "Closed { why: Local",
    "Closed { why: Drained",
    "Closed { why: DrainDeadline",
    "Closed { why: Protocol",
    ", sequence 1",
    "Round",
];

#[test]
fn p01_every_call_ends_exactly_once_whatever_happens() {
    if let Some(seed) = number("FLYRPC_SEED") {
        println!("{}", model::random(seed).lines.join("\n"));
        return;
    }
    let seeds = number("FLYRPC_SEEDS").unwrap_or(SEEDS);
    let mut steps = 0;
    let mut seen = [0_usize; HAPPENS.len()];
    for seed in 0..seeds {
        let report = model::random(seed);
        steps += report.steps;
        for (seen, what) in seen.iter_mut().zip(HAPPENS) {
            *seen += report.lines.iter().filter(|line| line.contains(what)).count();
        }
    }
    println!("{steps} operations in {seeds} worlds");
    for (seen, what) in seen.iter().zip(HAPPENS) {
        println!("{seen:>8} {what}");
        assert!(*seen > 0 || seeds < SEEDS, "it never happened: {what}");
    }
    assert!(steps >= 100_000 || seeds < SEEDS, "only {steps} operations had an effect");
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}
