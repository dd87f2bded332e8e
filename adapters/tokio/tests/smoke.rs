//! Quick look
use flyrpc_tokio::*;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls() {
    let server = Server::new()
        .handle("echo", |p: Bytes| p)
        .handle("aecho", async |p: Bytes| p)
        .handle("slow", |p: Bytes| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            p
        })
        .handle("greet", |context: Context| async move {
            let name = context.peer().call("name", ()).await?;
            Ok::<_, Error>(format!("hello, {}", String::from_utf8_lossy(&name)))
        })
        .listen("127.0.0.1:0")
        .await
        .unwrap();
    let client = Client::new().handle("name", || "Ada").connect(server.address()).await.unwrap();
    for i in 0..1000u32 {
        assert_eq!(client.call("echo", &i.to_be_bytes()).await.unwrap(), &i.to_be_bytes()[..]);
    }
    let mut tasks = Vec::new();
    for i in 0..900u32 {
        let peer = client.peer();
        tasks.push(tokio::spawn(async move {
            for j in 0..20u32 {
                let p = [i.to_be_bytes(), j.to_be_bytes()].concat();
                assert_eq!(peer.call("aecho", &p).await.unwrap(), p);
            }
            assert_eq!(peer.call("slow", "x").await.unwrap(), "x");
            assert_eq!(peer.call("greet", ()).await.unwrap(), "hello, Ada");
        }));
    }
    for t in tasks {
        t.await.unwrap();
    }
    let big = Bytes::from(vec![7u8; 3 << 20]);
    for _ in 0..5 {
        assert_eq!(client.call("echo", &big).await.unwrap(), big);
    }
    let peer = client.peer();
    let t: Vec<_> = (0..100)
        .map(|_| {
            let p = peer.clone();
            let big = big.slice(..200_000);
            tokio::spawn(async move {
                assert_eq!(p.call("echo", &big).await.unwrap(), big);
            })
        })
        .collect();
    for t in t {
        t.await.unwrap();
    }
    println!("{:?}", client.ping(64, Duration::from_secs(1)).await.unwrap());
    assert_eq!(client.call("slow", "x").within(Duration::from_millis(5)).await, Err(Error::TimedOut));
    assert_eq!(client.drain(Duration::from_secs(2)).await, CloseReason::Drained);
    server.shutdown(Duration::from_secs(1)).await;
}
