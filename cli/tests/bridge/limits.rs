//! Many calls at a time, calls that take too long, and web pages of other hosts

use core::sync::atomic::Ordering;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::board::until;
use crate::{FLY, WS, bridge, call, client, error, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_calls_hold_up_nobody() {
    let (board, bridge) = bridge(&[WS, FLY], &[]).await;
    let (one, other) = (client(&bridge.addresses[0]).await, client(&bridge.addresses[1]).await);
    let calls: Vec<_> = (0..64)
        .map(|number| {
            let peer = one.peer();
            tokio::spawn(async move { peer.call("wait", format!("[{number}]")).within(crate::SOON).await })
        })
        .collect();
    until(&board.state.waiting, |waiting| *waiting == 64).await;
    assert_eq!(call(&other, "echo", "quick").await.as_deref(), Ok("quick"));
    board.state.gate.add_permits(64);
    for (number, answer) in calls.into_iter().enumerate() {
        let answer = within(answer).await.expect("no panic").expect("an answer");
        assert_eq!(answer, number.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_board_is_not_asked_too_much_at_a_time() {
    let (board, bridge) = bridge(&[WS], &["--max-in-flight", "2"]).await;
    let client = client(bridge.address()).await;
    let call = || client.start_within("wait", "[1]", crate::SOON).expect("there is room");
    let calls: Vec<_> = (0..20).map(|_| call()).collect();
    // The bridge has begun them all before this, which needs no turn, and would have passed them on by then.
    client.send("note", "").await.expect("sent");
    until(&board.state.notes, |notes| notes.len() == 1).await;
    until(&board.state.waiting, |waiting| *waiting == 2).await;
    board.state.gate.add_permits(20);
    for answer in calls {
        within(answer).await.expect("an answer");
    }
    assert_eq!(board.state.most_waiting.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_given_up_in_time() {
    let (board, bridge) = bridge(&[WS], &["--timeout", "0.2", "--max-in-flight", "1"]).await;
    let client = client(bridge.address()).await;
    let (first, second) = tokio::join!(error(&client, "wait", ""), error(&client, "wait", ""));
    assert_eq!((first.code.as_str(), second.code.as_str()), ("TIMEOUT", "TIMEOUT"));
    until(&board.state.waiting, |waiting| *waiting == 0).await;
    assert_eq!(call(&client, "echo", "[1]").await.as_deref(), Ok("1"));
}

/// What a browser asks for, for a page of this origin, and the status of the answer
fn upgrade(address: &str, origin: &str) -> String {
    let host = address.strip_prefix("jsonrpc+ws://").expect("a WebSocket").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).expect("the bridge listens");
    stream.set_read_timeout(Some(crate::SOON)).expect("a time");
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .expect("written");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("a status");
    String::from_utf8_lossy(&status[9..]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_hosts_are_let_in_by_name() {
    let (_board, closed) = bridge(&[WS], &[]).await;
    assert_eq!(upgrade(closed.address(), "http://localhost:3000"), "403");
    let (_board, open) = bridge(&[WS], &["--origin", "http://localhost:3000"]).await;
    assert_eq!(upgrade(open.address(), "http://localhost:3000"), "101");
    assert_eq!(upgrade(open.address(), "http://localhost:3001"), "403");
}
