//! Two small connections under every sequence of operations; see `flyrpc_tests::explore`
//!
//! `FLYRPC_EXPLORE_DEPTH=9 cargo test --release -p flyrpc-tests --test explore` goes to another depth.

use std::env;
use std::io::Write;

use flyrpc_core::Overload;
use flyrpc_tests::explore::explore;

/// The deepest that takes less than a minute in the ordinary test profile
const DEPTH: u8 = 8;

#[test]
fn p01_every_call_ends_exactly_once_in_every_order_of_events() {
    let depth = env::var("FLYRPC_EXPLORE_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(DEPTH);
    for (overload, depth) in [(Overload::Refuse, depth), (Overload::Wait, depth.saturating_sub(2))] {
        #[expect(clippy::disallowed_methods, reason = "tells how long it took; nothing depends on it")]
        let start = std::time::Instant::now();
        let report = explore(depth, overload);
        let time = start.elapsed();
        // Past the test runner, which keeps what a passing test prints to itself.
        let _ = writeln!(
            std::io::stdout(),
            "explored to depth {depth}, {overload:?} on overload: {report:?} in {time:.1?}"
        );
        assert!(report.states >= 6_usize.pow(u32::from(depth)), "too few states: {report:?}");
    }
}
