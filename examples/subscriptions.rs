//! Subscriptions: one call, and then values for as long as both ends like
//!
//! ```text
//! cargo run --example subscriptions
//! ```
//!
//! Server and client are in one program here, over a WebSocket all the same. On the wire it is what Ethereum's and Polkadot's
//! nodes do, so clients of theirs can subscribe here, and this client there.

use core::time::Duration;

use flyrpc_tokio::{Client, Error, Json, Request, Server, Subscription};
use serde::{Deserialize, Serialize};

/// What subscribers say: `[{"from": 3}]`
#[derive(Serialize, Deserialize)]
struct Countdown {
    from: u32,
}

/// Serves one subscription: dropped where it waits when its subscriber has had enough, or is gone
async fn count(subscription: Subscription, request: Request) {
    let Ok(Json(Countdown { from })) = request.decode() else {
        let _ = subscription.fail(&"where does it begin?").await;
        return;
    };
    for n in (1..=from).rev() {
        // It waits while the subscriber does not keep up with what is sent.
        if subscription.send(&n).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A subscriber learns of the end by an error alone.
    let _ = subscription.fail(&"lift-off").await;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    let server = Server::new()
        .subscription("countdown_subscribe", "countdown", "countdown_unsubscribe", count)
        .listen("jsonrpc+ws://127.0.0.1:0")
        .await?;

    let client = Client::new().connect(server.address()).await?;
    let subscribe = |from| {
        client.subscribe::<u32>("countdown_subscribe", Json([Countdown { from }]), "countdown_unsubscribe")
    };

    // To the end
    let mut numbers = subscribe(3).await?;
    while let Some(number) = numbers.next().await {
        match number {
            Ok(number) => println!("{number}"),
            Err(Error::Remote(end)) => println!("the end: {}", String::from_utf8_lossy(&end.details)),
            Err(error) => return Err(error.into()),
        }
    }

    // Two side by side, and only the first of each
    let (mut long, mut short) = (subscribe(1_000_000).await?, subscribe(10).await?);
    if let (Some(long), Some(short)) = (long.next().await.transpose()?, short.next().await.transpose()?) {
        println!("{long} and {short}");
    }
    drop((long, short)); // unsubscribes: the server stops counting

    client.drain(Duration::from_secs(1)).await;
    Ok(())
}
