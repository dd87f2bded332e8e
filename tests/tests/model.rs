//! Two connections under random operations, compared with a reference; see `flyrpc_tests::model`
//!
//! `FLYRPC_SEED=n cargo test -p flyrpc-tests --test model` replays one seed and prints its transcript.

use core::time::Duration;
use std::env;
use std::io::Write;

use flyrpc_core::fly::Fly;
use flyrpc_core::{Call, CloseReason, Connection, Event, Instant, Limits, Overload, Oversize, Table};
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
    "code: \"BUSY\"",
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
    // Past the test runner, which keeps what a passing test prints to itself.
    let _ = writeln!(std::io::stdout(), "random model: {steps} operations in {seeds} worlds");
    for (seen, what) in seen.iter().zip(HAPPENS) {
        println!("{seen:>8} {what}");
        assert!(*seen > 0 || seeds < SEEDS, "it never happened: {what}");
    }
    assert!(steps >= 100_000 || seeds < SEEDS, "only {steps} operations had an effect");
}

/// 2,000 calls in a second, of which one times out
#[test]
fn p05_calls_that_time_out_now_and_then_leave_sequences_for_the_others() {
    let mut conn: Connection<Fly, Table<u32>> = Connection::new(Fly::default(), Limits::new());
    let mut out = Vec::new();
    for half_ms in 1..400_000_u64 {
        let now = Instant::from_micros(500 * half_ms);
        out.clear();
        let late = half_ms.is_multiple_of(2000);
        let timeout = Duration::from_micros(if late { 100 } else { 1_000_000 });
        let accepted = conn.call(now, Call::new("", b"").deadline(now + timeout), 1, &mut out);
        assert!(accepted.is_ok(), "refused after {} ms: {accepted:?}", half_ms / 2);
        if !late {
            let answer = [0x80, out[1], out[2], 0, 0];
            assert!(conn.handle_input(now, &answer).is_ok_and(|step| step.consumed == 5));
        }
        conn.handle_timeout(now + Duration::from_micros(200));
        while conn.poll_event().is_some() {}
    }
}

#[test]
fn p15_draining_waits_for_the_body_of_a_reply() {
    let limits = Limits::new().max_payload(2).oversize(Oversize::Stream);
    let mut conn: Connection<Fly, Table<u32>> = Connection::new(Fly::default(), limits);
    let now = Instant::ZERO;
    assert!(conn.call(now, Call::new("get", b""), 1, &mut Vec::new()).is_ok());
    conn.drain(now, now + Duration::from_secs(5));
    assert!(conn.handle_input(now, b"\x80\x00\x01\x00\x04").is_ok_and(|step| step.consumed == 5));
    assert_eq!(conn.poll_event(), None, "the four bytes of the reply are still to come");
    let Ok(step) = conn.handle_input(now, b"body") else { panic!("bytes of a body are no protocol error") };
    assert!(format!("{step:?}").contains("Piece"), "{step:?}");
    assert_eq!(conn.poll_event(), Some(Event::Closed { why: CloseReason::Drained }));
}

#[test]
fn p18_the_end_behind_a_blocked_message_has_one_name() {
    let limits = Limits::new().max_unanswered(0).overload(Overload::Wait);
    let end = |cuts: &[usize]| {
        let mut conn: Connection<Fly, Table<u32>> = Connection::new(Fly::default(), limits.clone());
        for cut in cuts {
            assert!(conn.handle_input(Instant::ZERO, &b"\x40\x00\x01\x00\x00"[..*cut]).is_ok());
        }
        conn.handle_eof(Instant::ZERO);
        conn.poll_event()
    };
    assert_eq!(end(&[5]), end(&[3, 5]));
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}
