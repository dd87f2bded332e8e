//! `flyrpc bridge` between real connections: clients in JSON-RPC and FlyRPC, and a stand-in for a microcontroller

#[path = "../common/mod.rs"]
mod common;

mod away;
mod calls;
mod firmware;
mod limits;
mod other_way;

use core::time::Duration;

use common::board::{Board, SOON};
use common::bridge::Bridge;
use flyrpc_tokio::{Client, Connected, Error, JsonRpc, RemoteError};

const WS: &str = "jsonrpc+ws://127.0.0.1:0";
const TCP: &str = "jsonrpc+tcp://127.0.0.1:0";
const FLY: &str = "127.0.0.1:0";

/// A bridge to a board
async fn bridge(listen: &[&str], options: &[&str]) -> (Board, Bridge) {
    let board = Board::start().await;
    let bridge = Bridge::connected(listen, board.address(), options);
    (board, bridge)
}

async fn client(address: &str) -> Connected {
    Client::new().connect(address).await.expect("the bridge listens")
}

/// One that takes its requests back
async fn cancelling(address: &str) -> Connected {
    let settings = JsonRpc::new().cancel_method(Some("$/cancelRequest"));
    Client::new().json_rpc(settings).connect(address).await.expect("the bridge listens")
}

/// Calls with JSON text, and gives the answer's
async fn call(client: &Connected, name: &str, params: &str) -> Result<String, Error> {
    let answer = client.call(name, params).within(SOON).await?;
    Ok(String::from_utf8(answer.to_vec()).expect("UTF-8"))
}

/// What the call is answered with must be an error
async fn error(client: &Connected, name: &str, params: &str) -> RemoteError {
    match call(client, name, params).await {
        Err(Error::Remote(error)) => error,
        other => panic!("{name} {params}: {other:?}"),
    }
}

/// Message, and data as text
fn parts(error: &RemoteError) -> (Option<i64>, &str, &str) {
    (error.number, &error.code, core::str::from_utf8(&error.details).expect("UTF-8"))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it happens in time")
}

/// What must not take as long as a call may
const AT_ONCE: Duration = Duration::from_secs(5);
