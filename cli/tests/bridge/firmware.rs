//! A bridge to the firmware on an emulated board, over its serial line

use core::time::Duration;

use tokio::time::Instant;

use crate::common::bridge::Bridge;
use crate::common::qemu::Qemu;
use crate::{AT_ONCE, FLY, SOON, WS, call, cancelling, client, error, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_that_starts_anew_is_found_again() {
    let Some(board) = Qemu::start() else { return };
    let bridge = Bridge::connected(&[WS, FLY], &board.address(), &[]);
    let client = client(bridge.address()).await;
    for _ in 0..3 {
        assert_eq!(call(&client, "led", "").await.as_deref(), Ok("0"), "it has forgotten");
        assert_eq!(call(&client, "led", "[true]").await.as_deref(), Ok("1"));
        let start = Instant::now();
        assert_eq!(error(&client, "reset", "").await.code, "CONNECTION_LOST");
        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
        bridge.server.log_until("is gone");
        bridge.server.log_until("connected to");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_is_told_of_calls_that_are_taken_back() {
    let Some(board) = Qemu::start() else { return };
    let bridge = Bridge::connected(&[WS], &board.address(), &["--cancel"]);
    let client = cancelling(bridge.address()).await;
    assert_eq!(call(&client, "cancelled", "").await.as_deref(), Ok("0"));
    let given_up = client.call("slow", "[60000]").within(Duration::from_millis(50)).await;
    assert!(given_up.is_err(), "{given_up:?}");
    let told = async { while call(&client, "cancelled", "").await.as_deref() != Ok("1") {} };
    within(told).await;
}

/// More than the board has room for, each with its own content
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_share_a_small_board() {
    let Some(board) = Qemu::start() else { return };
    let bridge = Bridge::connected(&[WS], &board.address(), &["--max-in-flight", "4"]);
    let mut calls = Vec::new();
    for number in 0..8 {
        let client = client(bridge.address()).await;
        for line in 0..30 {
            let peer = client.peer();
            let text = format!("[\"client {number}, line {line}\"]");
            calls.push(tokio::spawn(async move {
                let answer = peer.call("echo", text.as_str()).within(SOON).await.expect("an answer");
                assert_eq!(text, format!("[{}]", String::from_utf8_lossy(&answer)));
            }));
        }
        tokio::spawn(async move { client.closed().await });
    }
    for call in calls {
        within(call).await.expect("what was said");
    }
}
