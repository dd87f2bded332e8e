//! A target that comes and goes, and clients that do

use std::net::TcpListener;
use std::process::Command;
use tokio::time::Instant;

use crate::common::board::{Board, until};
use crate::common::bridge::Bridge;
use crate::common::process::{CHILD_TIME, finish, text};
use crate::{AT_ONCE, FLY, WS, bridge, call, cancelling, client, error, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_board_is_found_again() {
    let (mut board, bridge) = bridge(&[WS], &[]).await;
    let client = client(bridge.address()).await;
    for _ in 0..2 {
        assert_eq!(call(&client, "led", "[1]").await.as_deref(), Ok("1"));
        let waits = error(&client, "wait", "");
        let cut = async {
            until(&board.state.waiting, |waiting| *waiting == 1).await;
            board.stop().await;
        };
        // The call that is under way ends with the connection.
        let (lost, ()) = tokio::join!(waits, cut);
        assert_eq!(lost.code, "CONNECTION_LOST");
        let gone = bridge.server.log_until("is gone");
        assert_eq!(gone.iter().filter(|line| line.contains("is gone")).count(), 1, "{gone:?}");

        let start = Instant::now();
        for _ in 0..5 {
            let refused = error(&client, "led", "[0]").await;
            assert_eq!((refused.code.as_str(), refused.number), ("NOT_CONNECTED", Some(-32001)));
        }
        client.send("note", "[\"lost\"]").await.expect("sent");
        bridge.server.log_until("was not delivered");
        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());

        // Told once, however many attempts there are.
        board.start_again().await;
        let log = bridge.server.log_until("connected to");
        assert!(log.iter().filter(|line| line.contains("can't connect to")).count() <= 1, "{log:#?}");
    }
    assert_eq!(call(&client, "led", "").await.as_deref(), Ok("1"));
    assert_eq!(board.state.notes.borrow().len(), 0, "nothing is kept for later");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_before_its_target() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("its address").to_string();
    drop(free);
    let bridge = Bridge::start(&[WS], &address, &[]);
    bridge.server.log_until("can't connect to");
    let client = client(bridge.address()).await;
    let start = Instant::now();
    assert_eq!(error(&client, "led", "[1]").await.code, "NOT_CONNECTED");
    assert!(start.elapsed() < AT_ONCE);
    let _board = Board::at(&address).await;
    bridge.server.log_until("connected to");
    assert_eq!(call(&client, "led", "[1]").await.as_deref(), Ok("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_taken_back_is_taken_back_at_the_board() {
    let (board, bridge) = bridge(&[WS], &["--cancel"]).await;
    let client = cancelling(bridge.address()).await;
    {
        let mut waits = Box::pin(client.call("wait", "[1]"));
        let begun = until(&board.state.waiting, |waiting| *waiting == 1);
        tokio::select! {
            answer = &mut waits => panic!("{answer:?}"),
            () = begun => {}
        }
    }
    until(&board.state.given_up, |given_up| *given_up == 1).await;
    assert_eq!(call(&client, "echo", "[1]").await.as_deref(), Ok("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_gone_no_longer_occupies_the_board() {
    let (board, bridge) = bridge(&[WS], &[]).await;
    let stays = client(bridge.address()).await;
    let goes = client(bridge.address()).await;
    let waits = |client: &flyrpc_tokio::Connected| {
        let peer = client.peer();
        tokio::spawn(async move { peer.call("wait", "[1]").within(crate::SOON).await })
    };
    let (kept, lost) = (waits(&stays), waits(&goes));
    until(&board.state.waiting, |waiting| *waiting == 2).await;
    drop(goes);
    until(&board.state.given_up, |given_up| *given_up == 1).await;
    assert!(within(lost).await.expect("no panic").is_err());
    board.state.gate.add_permits(1);
    assert_eq!(within(kept).await.expect("no panic").expect("an answer"), "1");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_lets_calls_end() {
    let (board, bridge) = bridge(&[WS, FLY], &[]).await;
    let client = client(&bridge.addresses[1]).await;
    let peer = client.peer();
    let waits = tokio::spawn(async move { peer.call("wait", "done").within(crate::SOON).await });
    client.send("note", "last").await.expect("sent");
    until(&board.state.waiting, |waiting| *waiting == 1).await;
    bridge.server.interrupt();
    bridge.server.log_until("draining");
    board.state.gate.add_permits(1);
    assert_eq!(within(waits).await.expect("no panic").expect("an answer"), "done");
    until(&board.state.notes, |notes| notes.len() == 1).await;
    assert_eq!(bridge.server.exit_code(), Some(0));
}

#[test]
fn what_can_not_work_is_said_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    for (listen, to, code, part) in [
        (FLY, "localhost", 2, "the port is missing"),
        (FLY, "stdio:", 2, "names no command"),
        (FLY, "ws://127.0.0.1:1", 2, "ws://127.0.0.1:1"),
        ("stdio:cat", "127.0.0.1:1", 2, "is for clients"),
        (FLY, "jsonrpc+tcp://x", 2, "the port is missing"),
        ("127.0.0.1:1:1", "127.0.0.1:1", 3, "can't listen"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
        command.args(["bridge", "--listen", listen, "--to", to]);
        let output = finish(&mut command, CHILD_TIME);
        let err = text(&output.stderr);
        assert!(output.status.code() == Some(code) && err.contains(part), "{listen} {to}: {output:?}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
    let output =
        finish(command.args(["bridge", "--listen", FLY, "--to", &taken, "--framing", "lines"]), CHILD_TIME);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}
