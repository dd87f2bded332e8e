//! Warm handlers that are ready at once allocate nothing

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

#[allow(dead_code, unreachable_pub, reason = "shared by two test binaries, which use different parts")]
#[path = "router/common.rs"]
mod common;

use bytes::{Bytes, BytesMut};
use flyrpc_driver::{Context, Dispatched, Request, Router, State};

use common::{Fake, dispatch, pause, pending, poll};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const ROUNDS: u64 = 1000;

/// Blocks that `run` allocates, a thousand times over
///
/// The least of three: the test harness has a thread of its own, which may allocate meanwhile, too.
fn blocks(mut run: impl FnMut()) -> u64 {
    let mut measure = || {
        let before = dhat::HeapStats::get().total_blocks;
        for _ in 0..ROUNDS {
            run();
        }
        dhat::HeapStats::get().total_blocks - before
    };
    measure().min(measure()).min(measure())
}

/// One test in this binary: whatever else ran beside it would be counted
#[test]
fn warm_handlers_that_are_ready_allocate_nothing() {
    let router = Router::<Fake>::new()
        .state(7_u8)
        .handle("sync", |payload: Bytes| payload)
        .handle("async", async |payload: Bytes| payload)
        .handle("all", |_: &Request<Fake>, _: Context<Fake>, _: &str, _: State<u8>, payload: Bytes| payload)
        .handle("async all", async |context: Context<Fake>, _: State<u8>, payload: Bytes| {
            let context = &context;
            Ok::<_, flyrpc_driver::Error>(if context.is_cancelled() { Bytes::new() } else { payload })
        })
        .handle("later", async |payload: Bytes| {
            pause().await;
            payload
        })
        .fallback(async |payload: Bytes| payload);
    let peer = Fake::of(&router);
    // As a connection cuts it from its receive buffer
    let payload = {
        let mut buffer = BytesMut::from("sixteen bytes ok, and more");
        buffer.split_to(16).freeze()
    };
    let _profiler = dhat::Profiler::builder().testing().build();
    let ready = |code| {
        let Dispatched::Ready(outcome) = dispatch(&router, peer.request(code, &payload)) else {
            panic!("{code} is not ready")
        };
        assert_eq!(outcome.as_ref(), Ok(&payload));
    };
    let later = || {
        let mut later = pending(dispatch(&router, peer.request("later", &payload)));
        assert!(poll(&mut later).is_ready());
    };
    let codes = ["sync", "async", "all", "async all", "fallback"];
    codes.into_iter().for_each(ready);
    let warm = dhat::HeapStats::get().total_blocks;
    assert!(warm >= 3, "a block for each async handler: the counter counts, {warm}");
    for code in codes {
        assert_eq!(blocks(|| ready(code)), 0, "{code}");
    }
    // One that waits takes its block with it, and nothing else.
    assert_eq!(blocks(later), ROUNDS);
}
