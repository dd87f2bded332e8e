//! What connections cost, counted by the allocator
//!
//! One test in this binary: whatever else ran beside it would be counted.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

mod common;

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io::IoSlice;

use bytes::Bytes;
use common::{Hand, Hold, Wire, block_on, reset, run, step};
use flyrpc_core::fly::{Flag, RawPacket};
use flyrpc_driver::runtime::Transport;
use flyrpc_driver::{Client, Connected, Limits, Overload, Peer, Server, ServerHandle};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const FAR: Duration = Duration::from_secs(100_000);
const BUFFER: usize = 256 << 10;

fn pair(wire: Wire, owed: Overload) -> (ServerHandle<Hand>, Peer, Connected) {
    reset();
    let limits = Limits::new().call_timeout(FAR);
    let server = Server::<Hand>::new()
        .limits(limits.clone())
        .send_buffer(BUFFER, Overload::Wait)
        .owed_buffer(BUFFER, owed)
        .handle("echo", |payload: Bytes| payload)
        .handle("async", async |payload: Bytes| payload)
        .handle("allocates", |payload: &[u8]| payload.to_vec())
        .handle("twice", |payload: &[u8]| [payload, payload].concat())
        .start();
    let (ours, theirs) = wire.cut();
    let at_server = server.attach(theirs).unwrap();
    let client = Client::<Hand>::new()
        .limits(limits)
        .send_buffer(BUFFER, Overload::Wait)
        .handle("name", || "Ada")
        .attach(ours);
    run();
    (server, at_server, client)
}

/// Blocks that `rounds` calls allocate on both ends
fn blocks(client: &Peer, code: &str, rounds: u64) -> u64 {
    let before = dhat::HeapStats::get().total_blocks;
    for _ in 0..rounds {
        // The call lies on the stack, and its waker is one for all.
        let mut call = pin!(client.call(code, b"sixteen bytes ok"));
        let mut cx = Context::from_waker(Waker::noop());
        let answer = loop {
            if let Poll::Ready(answer) = call.as_mut().poll(&mut cx) {
                break answer;
            }
            while step() {}
        };
        assert_eq!(answer.unwrap(), &b"sixteen bytes ok"[..]);
    }
    dhat::HeapStats::get().total_blocks - before
}

/// Bytes that are held at the most while `run` runs, beyond those before it
fn held<T>(start: impl FnOnce() -> T) -> (usize, T) {
    let before = dhat::HeapStats::get().curr_bytes;
    let value = start();
    (dhat::HeapStats::get().curr_bytes.saturating_sub(before), value)
}

#[test]
fn what_connections_cost() {
    let _profiler = dhat::Profiler::builder().testing().build();
    small_calls_allocate_nothing();
    a_slow_reader_costs_what_its_buffers_may_hold();
    a_peer_that_asks_and_does_not_read_costs_what_its_buffers_may_hold();
    dropped_calls_cost_nothing();
}

fn small_calls_allocate_nothing() {
    for writer in [false, true] {
        let (_server, _, client) = pair(Wire { writer, ..Wire::WIDE }, Overload::Wait);
        assert!(blocks(&client, "allocates", 100) >= 100, "the counter counts");
        for code in ["echo", "async"] {
            blocks(&client, code, 3000);
            let rounds = 10_000;
            let counted = blocks(&client, code, rounds);
            // Received bytes lie in buffers of up to 64 KiB, which are used again once nobody holds a slice.
            assert_eq!(counted, 0, "{code}, {writer}: {counted} blocks for {rounds} calls");
        }
    }
}

/// A wire that takes nothing once it is full: whose reader has stopped
const STUCK: Wire = Wire { capacity: 1024, at_a_time: usize::MAX, writer: true };

/// Beside the buffers: the packet that passes each, the receive buffer, places of calls
const SLACK: usize = 128 << 10;

fn a_slow_reader_costs_what_its_buffers_may_hold() {
    let (server, ..) = pair(Wire::WIDE, Overload::Wait);
    let (ours, theirs) = STUCK.cut();
    let at_server = server.attach(theirs).unwrap();
    run();
    let payload = vec![7; 4096];
    let (bytes, sent) = held(|| {
        let mut sent = 0;
        for _ in 0..10_000 {
            if at_server.try_send("note", &payload).is_err() {
                break;
            }
            sent += 1;
        }
        run();
        sent
    });
    drop(ours);
    assert!((BUFFER / 4096..=BUFFER / 4096 + 1).contains(&sent), "{sent}");
    assert!((BUFFER..BUFFER + SLACK).contains(&bytes), "{bytes} bytes are held");
}

fn a_peer_that_asks_and_does_not_read_costs_what_its_buffers_may_hold() {
    for (owed, most) in [(Overload::Wait, BUFFER), (Overload::Refuse, 2 * BUFFER)] {
        let (server, _, client) = pair(Wire::WIDE, owed);
        let (mut ours, theirs) = STUCK.cut();
        let stuck = server.attach(theirs).unwrap();
        let (bytes, asked) = held(|| {
            let mut cx = Context::from_waker(Waker::noop());
            let (mut request, mut asked) = (Vec::new(), 0_u16);
            'all: loop {
                request.clear();
                let (flag, code) = (Flag::REQUEST, &b"twice"[..]);
                RawPacket { flag, sequence: asked, code, payload: &[7; 4096] }.encode(&mut request).unwrap();
                let mut left = &request[..];
                while !left.is_empty() {
                    let Poll::Ready(n) = ours.poll_write(&mut cx, &[IoSlice::new(left)]) else { break 'all };
                    left = &left[n.unwrap()..];
                    run();
                }
                asked += 1;
            }
            asked
        });
        assert!(asked > 16, "{asked}");
        assert!(
            (BUFFER / 2..most + SLACK).contains(&bytes),
            "{owed:?}: {bytes} bytes are held after {asked} requests"
        );
        // The others are served meanwhile.
        assert_eq!(block_on(client.call("echo", "hi")).unwrap(), "hi");
        drop((stuck, ours));
    }
}

fn dropped_calls_cost_nothing() {
    let (_server, at_server, client) = pair(Wire::WIDE, Overload::Wait);
    block_on(client.hello()).unwrap();
    let round = || {
        for _ in 0..500 {
            let mut call = Hold::new(client.call("echo", "1"));
            let _ = call.poll();
            let mut closed = Hold::new(client.closed());
            let _ = closed.poll();
            let mut closed = Hold::new(at_server.closed());
            let _ = closed.poll();
            drop((call, closed));
            run();
        }
    };
    round();
    let (bytes, ()) = held(round);
    assert!(bytes < 4096, "{bytes} bytes are held after 500 dropped calls");
}
