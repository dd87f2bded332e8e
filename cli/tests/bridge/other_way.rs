//! What the target sends: messages to all clients, and calls to one

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use flyrpc_tokio::{Bytes, Client, Connected};
use tokio::sync::mpsc;

use crate::common::board::until;
use crate::{FLY, WS, bridge, call, client, error, parts, within};

/// A client, and the messages `button` that it gets
async fn listener(address: &str) -> (Connected, mpsc::UnboundedReceiver<String>) {
    let (told, heard) = mpsc::unbounded_channel();
    let client = Client::new().handle("button", move |payload: Bytes| {
        let _ = told.send(String::from_utf8_lossy(&payload).into_owned());
    });
    (client.connect(address).await.expect("the bridge listens"), heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boards_messages_reach_every_client() {
    let (board, bridge) = bridge(&[WS, FLY], &[]).await;
    let (json, mut json_hears) = listener(&bridge.addresses[0]).await;
    let (fly, mut fly_hears) = listener(&bridge.addresses[1]).await;
    // Now both are known to the bridge.
    for client in [&json, &fly] {
        assert_eq!(call(client, "adc", "[0]").await.is_ok(), client.protocol() == json.protocol());
    }
    for number in 1..=50 {
        assert_eq!(board.press(), 1);
        assert_eq!(within(json_hears.recv()).await, Some(format!("[{number}]")));
        assert_eq!(within(fly_hears.recv()).await, Some(number.to_string()));
    }
    // One that goes away is told no more, and the others are.
    drop(fly);
    assert_eq!(board.press(), 1);
    assert_eq!(within(json_hears.recv()).await.as_deref(), Some("[51]"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_messages_reach_the_board_in_their_order() {
    let (board, bridge) = bridge(&[WS, FLY], &[]).await;
    let json = client(&bridge.addresses[0]).await;
    for number in 0..200 {
        json.send("note", format!("[{number}]")).await.expect("sent");
    }
    until(&board.state.notes, |notes| notes.len() == 200).await;
    let notes = board.state.notes.borrow().clone();
    assert!(notes.iter().enumerate().all(|(number, note)| *note == number.to_string()), "{notes:?}");
    let fly = client(&bridge.addresses[1]).await;
    fly.send("note", &b"\x00\xff"[..]).await.expect("sent");
    until(&board.state.notes, |notes| notes.last().is_some_and(|note| note == &b"\x00\xff"[..])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bridge_tells_a_board_what_time_it_is() {
    let (_board, bridge) = bridge(&[WS], &[]).await;
    let client = client(bridge.address()).await;
    let before = now();
    let told: u64 = call(&client, "time", "").await.expect("a time").parse().expect("milliseconds");
    let (told, earliest) = (Duration::from_millis(told), before - Duration::from_millis(1));
    assert!(earliest <= told && told <= now(), "{told:?}");
    let version = call(&client, "version", "").await;
    assert_eq!(version, Ok(format!("\"{}\"", env!("CARGO_PKG_VERSION"))));
    assert_eq!(error(&client, "ask", "[\"9000 host.name\"]").await.number, Some(-32601));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_calls_the_client_that_came_last() {
    let (_board, bridge) = bridge(&[WS, FLY, "jsonrpc+http://127.0.0.1:0"], &[]).await;
    let http = client(&bridge.addresses[2]).await;
    // Over HTTP POST nobody can be called.
    let alone = error(&http, "ask", "[\"9000 who\"]").await;
    assert_eq!(parts(&alone).2, "\"no client that can be called is connected\"");
    assert_eq!(alone.number, Some(-32601));

    let who = |payload: Bytes| {
        assert_eq!(payload, "[\"what?\"]");
        "\"the first\""
    };
    let first = Client::new().handle("who", who).connect(&bridge.addresses[0]).await.expect("it listens");
    assert_eq!(call(&first, "ask", "[\"9000 who\"]").await.as_deref(), Ok("\"the first\""));
    let second = Client::new().handle("who", |text: &str| format!("asked {text}"));
    let second = second.connect(&bridge.addresses[1]).await.expect("it listens");
    assert_eq!(call(&second, "ask", "9000 who").await.as_deref(), Ok("asked what?"));
    assert_eq!(call(&first, "ask", "[\"9000 who\"]").await.as_deref(), Ok("\"asked what?\""));
    // A client's own error comes back through the board.
    assert_eq!(error(&second, "ask", "9000 whom").await.code, "NOT_FOUND");
    second.drain(crate::SOON).await;
    bridge.server.log_until("closed");
    let answer = call(&first, "ask", "[\"9000 who\"]").await;
    assert_eq!(answer.as_deref(), Ok("\"the first\""));
}

#[expect(clippy::disallowed_methods, reason = "it is compared with the clock")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}
