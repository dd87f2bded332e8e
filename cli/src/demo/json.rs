//! JSON-RPC over each of its carriers

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use flyrpc_tokio::{Client, Connected, Error, Json, Peer, Server, Tokio};

use super::{Show, TIME};
use crate::handlers;
use crate::log::Log;
use crate::report::{Failure, preview, say};
use crate::side::On;

/// The same steps over everything that carries JSON-RPC
pub(super) async fn section(show: &mut Show) -> Result<(), Failure> {
    let mut server = server().start();
    let mut addresses = Vec::new();
    for (title, address) in carriers() {
        let listening = server.also_listen(&address).await;
        addresses.push((title, listening.map_err(|error| Failure::listen(&address, &error))?));
    }
    addresses.push(("over standard input and output of a program", itself()?));

    say(format_args!("JSON-RPC 2.0: the same handlers, over everything that carries it"));
    for (title, address) in addresses {
        show.group(title);
        let connected = Client::new().handle("name", || Json("Ada")).connect_within(&address, TIME).await;
        let client = connected.map_err(|error| Failure::connect(&address, &error))?;
        let has_way_back = !address.starts_with("jsonrpc+http:");
        calls(show, &client).await;
        if has_way_back {
            calls_back(show, &client).await;
        }
        client.drain(TIME).await;
        show.end_group();
    }
    server.shutdown(TIME).await;
    say("");
    Ok(())
}

fn server() -> Server {
    let log = Arc::new(Log::default());
    Server::new().router(handlers::ticks(handlers::router::<On<Tokio>>(&log)))
}

fn carriers() -> Vec<(&'static str, String)> {
    let mut carriers = vec![
        ("over TCP", "jsonrpc+tcp://127.0.0.1:0".to_owned()),
        ("over WebSocket", "jsonrpc+ws://127.0.0.1:0".to_owned()),
        ("over HTTP POST", "jsonrpc+http://127.0.0.1:0".to_owned()),
        ("behind HTTP CONNECT, as Go's net/rpc has it", "jsonrpc+connect://127.0.0.1:0".to_owned()),
    ];
    if cfg!(unix) {
        let path = std::env::temp_dir().join(format!("flyrpc-demo-{}.sock", std::process::id()));
        carriers.insert(1, ("over a Unix socket", format!("jsonrpc+unix:{}", path.display())));
    }
    carriers
}

/// Another process of this program, to be started as a server
fn itself() -> Result<String, Failure> {
    let program = std::env::current_exe()?;
    Ok(format!("jsonrpc+stdio:{} serve jsonrpc+stdio: --quiet", program.display()))
}

async fn calls(show: &mut Show, client: &Connected) {
    show.step("client", "Arith.Multiply {\"A\":7,\"B\":8}", async {
        expect(call(client, "Arith.Multiply", "{\"A\":7,\"B\":8}").await, "56")
    })
    .await;
    show.step("client", "error of the handler: fail [\"lamp\"]", async {
        expect_error(call(client, "fail", "[\"lamp\"]").await, 7, "NO_SUCH_LAMP")
    })
    .await;
    show.step("client", "error for an unknown service: Nobody.Home", async {
        expect_error(call(client, "Nobody.Home", "").await, -32002, "Service not found")
    })
    .await;
    show.step("client", "notification: note", async {
        let before = count(client).await?;
        client.send("note", "[\"dusk\"]").await.map_err(|error| error.to_string())?;
        let told = async {
            while count(client).await? != before + 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok("the server has handled it".to_owned())
        };
        in_time(told).await
    })
    .await;
}

async fn calls_back(show: &mut Show, client: &Connected) {
    show.step("client", "greet, whose handler calls `name` back", async {
        expect(call(client, "greet", "").await, "\"hello, Ada\"")
    })
    .await;
    show.step("client", "subscription: subscribe_ticks", async { in_time(three_ticks(client)).await }).await;
}

async fn three_ticks(peer: &Peer) -> Result<String, String> {
    let said = |error: Error| error.to_string();
    let mut ticks = peer.subscribe::<u64>("subscribe_ticks", (), "unsubscribe_ticks").await.map_err(said)?;
    for expected in 0..3 {
        match ticks.next().await {
            Some(Ok(tick)) if tick == expected => {}
            Some(Ok(tick)) => return Err(format!("tick {tick} instead of {expected}")),
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the subscription has ended".to_owned()),
        }
    }
    Ok("three ticks, in order".to_owned())
}

async fn call(client: &Peer, method: &str, params: &str) -> Result<Bytes, Error> {
    client.call(method, params).within(TIME).await
}

async fn count(client: &Peer) -> Result<u64, String> {
    let answer = client.call_as::<Json<u64>>("count", ()).within(TIME).await;
    answer.map(|Json(count)| count).map_err(|error| error.to_string())
}

async fn in_time(step: impl Future<Output = Result<String, String>>) -> Result<String, String> {
    tokio::time::timeout(TIME, step).await.unwrap_or_else(|_| Err("not in time".to_owned()))
}

fn expect(result: Result<Bytes, Error>, json: &str) -> Result<String, String> {
    match result {
        Ok(answer) if answer == json => Ok(format!("-> {json}")),
        Ok(answer) => Err(format!("-> {}", preview(&answer, 30))),
        Err(error) => Err(error.to_string()),
    }
}

fn expect_error(result: Result<Bytes, Error>, number: i64, message: &str) -> Result<String, String> {
    match result {
        Err(Error::Remote(error)) if error.number == Some(number) && error.code == message => {
            Ok(format!("-> {number} {message}"))
        }
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("it gave a result".to_owned()),
    }
}
