//! Subscriptions as jsonrpsee speaks them, between our own ends

use core::time::Duration;

use flyrpc_tokio::{Client, Error, Json, Peer, RemoteError, Request, Server, Subscription};

const WITHIN: Duration = Duration::from_secs(10);

fn server() -> Server {
    Server::new().subscription(
        "count_up",
        "count",
        "count_no_more",
        |count: Subscription, request: Request| {
            let Json(to) = request.decode::<Json<u64>>().unwrap_or(Json(u64::MAX));
            async move {
                for n in 0..to {
                    if count.send(&n).await.is_err() {
                        return;
                    }
                    if to == u64::MAX {
                        tokio::task::yield_now().await;
                    }
                }
                let _ = count.fail(&"enough").await;
            }
        },
    )
}

#[tokio::test]
async fn values_come_in_order_and_none_is_lost_before_the_id_is_known() {
    for (address, to) in [("jsonrpc+tcp://127.0.0.1:0", "[100]"), ("127.0.0.1:0", "100")] {
        let server = server().listen(address).await.unwrap();
        let client = Client::new().connect(server.address()).await.unwrap();
        for _ in 0..50 {
            let mut counts = client.subscribe::<u64>("count_up", to, "count_no_more").await.unwrap();
            for n in 0..100 {
                assert_eq!(counts.next().await.unwrap().unwrap(), n);
            }
            let Some(Err(Error::Remote(end))) = counts.next().await else { panic!("no end") };
            assert_eq!(end.details, b"\"enough\"");
            assert!(counts.next().await.is_none());
        }
        // Each was forgotten when it had ended.
        let ended: Json<bool> = client.call_as("count_no_more", "[1]").await.unwrap();
        assert!(!ended.0);
    }
}

#[tokio::test]
async fn dropping_unsubscribes_and_the_server_stops() {
    let server = server().listen("jsonrpc+tcp://127.0.0.1:0").await.unwrap();
    let client = Client::new().connect(server.address()).await.unwrap();
    let mut counts = client.subscribe::<u64>("count_up", (), "count_no_more").await.unwrap();
    for n in 0..10 {
        assert_eq!(counts.next().await.unwrap().unwrap(), n);
    }
    drop(counts);
    let quiet = async {
        let mut before = client.stats().notifications;
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = client.stats().notifications;
            if now == before {
                break;
            }
            before = now;
        }
    };
    tokio::time::timeout(WITHIN, quiet).await.expect("it goes on");
}

#[tokio::test]
async fn a_subscriber_that_takes_nothing_is_bounded_p16() {
    let server = server().listen("jsonrpc+tcp://127.0.0.1:0").await.unwrap();
    let client = Client::new().connect(server.address()).await.unwrap();
    let mut counts = client.subscribe::<u64>("count_up", "[5000]", "count_no_more").await.unwrap();
    let arrived = async {
        while client.stats().notifications < 5000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WITHIN, arrived).await.expect("reading stopped");
    let mut came = 0;
    let end = loop {
        match counts.next().await {
            Some(Ok(n)) => assert_eq!(core::mem::replace(&mut came, n + 1), n),
            end => break end,
        }
    };
    assert_eq!((end, came), (Some(Err(Error::Cancelled)), 1024));
    assert!(counts.next().await.is_none());
}

#[tokio::test]
async fn the_end_of_the_connection_ends_it_p01() {
    let server = server().listen("jsonrpc+tcp://127.0.0.1:0").await.unwrap();
    let client = Client::new().connect(server.address()).await.unwrap();
    let mut counts = client.subscribe::<u64>("count_up", (), "count_no_more").await.unwrap();
    drop(server);
    let end = async { while counts.next().await.is_some() {} };
    tokio::time::timeout(WITHIN, end).await.expect("it hangs");
}

#[tokio::test]
async fn a_peer_has_so_many_and_no_more_p17() {
    let server =
        Server::new()
            .subscription("wait", "waited", "stop", |wait: Subscription, _: Request| async move {
                wait.ended().await
            })
            .listen("jsonrpc+tcp://127.0.0.1:0")
            .await
            .unwrap();
    let client = Client::new().connect(server.address()).await.unwrap();
    let subscribe = |peer: Peer| async move { peer.subscribe::<()>("wait", (), "stop").await };
    let mut all = Vec::new();
    for _ in 0..1024 {
        all.push(subscribe(client.peer()).await.unwrap());
    }
    let Err(Error::Remote(RemoteError { number, .. })) = subscribe(client.peer()).await else { panic!() };
    assert_eq!(number, Some(-32006));
    all.pop();
    let again = async { while subscribe(client.peer()).await.is_err() {} };
    tokio::time::timeout(WITHIN, again).await.expect("the place is not free");
}

#[tokio::test]
async fn values_that_nobody_takes_hold_so_many_bytes_and_no_more_p16() {
    let text = "x".repeat(1 << 20);
    let server = Server::new()
        .subscription("big", "value", "stop", move |big: Subscription, _: Request| {
            let text = text.clone();
            async move { while big.send(&text).await.is_ok() {} }
        })
        .listen("jsonrpc+tcp://127.0.0.1:0")
        .await
        .unwrap();
    let client = Client::new().connect(server.address()).await.unwrap();
    let mut values = client.subscribe::<String>("big", (), "stop").await.unwrap();
    let arrived = async {
        while client.stats().notifications < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WITHIN, arrived).await.expect("reading stopped");
    let mut came = 0;
    while let Some(Ok(_)) = values.next().await {
        came += 1;
    }
    assert!((4..=5).contains(&came), "{came} came");
}
