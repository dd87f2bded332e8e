//! JSON-RPC on the same server, client and router

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic as the test may")]

use std::io::{Read, Write};

use flyrpc_tokio::{Bytes, Client, Context, Error, Json, JsonRpc, Peer, Refusal, RemoteError, Server, codes};

#[derive(serde::Serialize, serde::Deserialize)]
struct Args {
    #[serde(rename = "A")]
    a: i64,
    #[serde(rename = "B")]
    b: i64,
}

fn server() -> Server {
    Server::new()
        .handle("echo", |params: Bytes| params)
        .handle("Arith.Multiply", |Json(args): Json<Args>| Json(args.a * args.b))
        .handle("Arith.Divide", |Json(args): Json<Args>| -> Result<Json<i64>, RemoteError> {
            args.a.checked_div(args.b).map(Json).ok_or_else(|| "divide by zero".into())
        })
        .handle("own", || RemoteError::new("sorry").number(7).details(r#"{"x":1}"#))
        .handle("text", || "not JSON")
        .handle("greet", |context: Context| async move {
            let Json(name) = context.peer().call_as::<Json<String>>("name", ()).await?;
            Ok::<_, Error>(Json(format!("hello, {name}")))
        })
}

#[tokio::test]
async fn calls_both_ways_over_tcp() {
    calls_both_ways("jsonrpc+tcp://127.0.0.1:0").await;
}

#[tokio::test]
#[cfg(feature = "ws")]
async fn calls_both_ways_over_websocket() {
    calls_both_ways("jsonrpc+ws://127.0.0.1:0/rpc").await;
}

#[tokio::test]
#[cfg(feature = "http")]
async fn calls_both_ways_over_http_connect() {
    calls_both_ways("jsonrpc+connect://127.0.0.1:0").await;
}

#[tokio::test]
#[cfg(feature = "http")]
async fn calls_over_http() {
    let server = server().listen("jsonrpc+http://127.0.0.1:0/rpc").await.unwrap();
    let client = Client::new().connect(server.address()).await.unwrap();
    calls(&client).await;
    let Err(Error::Remote(error)) = client.call("greet", ()).await else { panic!() };
    assert_eq!(error.number, Some(-32001), "an exchange has no way back");
    let refused = client.subscribe::<u64>("count_up", (), "count_no_more").await.map(drop);
    assert_eq!(refused, Err(Error::Refused(Refusal::NoWayBack)), "nothing would ever come");
    client.send("echo", "[1]").await.unwrap();
    client.drain(core::time::Duration::from_secs(5)).await;
    server.shutdown(core::time::Duration::from_secs(5)).await;
}

async fn calls_both_ways(address: &str) {
    let server = server().listen(address).await.unwrap();
    let client = Client::new().handle("name", || Json("Ada")).connect(server.address()).await.unwrap();
    assert_eq!(client.call_as::<Json<String>>("greet", ()).await.unwrap().0, "hello, Ada");
    calls(&client).await;
    client.drain(core::time::Duration::from_secs(5)).await;
    server.shutdown(core::time::Duration::from_secs(5)).await;
}

async fn calls(client: &Peer) {
    assert_eq!(client.call("echo", r#"["hi"]"#).await.unwrap(), r#"["hi"]"#);
    let Json(product) =
        client.call_as::<Json<i64>>("Arith.Multiply", Json(Args { a: 7, b: 8 })).await.unwrap();
    assert_eq!(product, 56);
    let Err(Error::Remote(error)) = client.call("Arith.Divide", Json(Args { a: 7, b: 0 })).await else {
        panic!()
    };
    assert_eq!((error.number, &*error.code), (Some(-32001), "divide by zero"));
    let Err(Error::Remote(error)) = client.call("own", ()).await else { panic!() };
    assert_eq!(error, RemoteError::new("sorry").number(7).details(r#"{"x":1}"#));
    let Err(Error::Remote(error)) = client.call("Nobody.Home", ()).await else { panic!() };
    assert_eq!((error.number, &*error.code), (Some(-32002), "Service not found"));
    assert!(error.is(codes::NOT_FOUND));
    let Err(Error::Remote(error)) = client.call("Arith.Add", ()).await else { panic!() };
    assert_eq!((error.number, &*error.code), (Some(-32601), "Method not found"));
    let Err(Error::Remote(error)) = client.call("Arith.Multiply", "[1,2,3]").await else { panic!() };
    assert_eq!(error.number, Some(-32602));
    let Err(Error::Remote(error)) = client.call("text", ()).await else { panic!() };
    assert_eq!(error.number, Some(-32603));
    assert!(matches!(client.call("echo", "hi").await, Err(Error::Refused(_))), "no JSON is sent");
    client.ping(0, core::time::Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn the_wire_is_the_specifications() {
    let server = server().json_rpc(JsonRpc::new()).listen("127.0.0.1:0").await.unwrap();
    assert!(server.address().starts_with("jsonrpc+tcp://127.0.0.1:"), "clients learn what is spoken");
    let address = server.local_address().unwrap().to_string();
    tokio::task::spawn_blocking(move || {
        let mut raw = std::net::TcpStream::connect(address).unwrap();
        let mut exchange = |sent: &str, expected: &str| {
            raw.write_all(sent.as_bytes()).unwrap();
            let mut got = vec![0; expected.len()];
            raw.read_exact(&mut got).unwrap();
            assert_eq!(String::from_utf8(got).unwrap(), expected);
        };
        exchange(
            r#"{"jsonrpc":"2.0","method":"Arith.Multiply","params":[{"A":7,"B":8}],"id":"x"}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":56}\n",
        );
        exchange(
            "[{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":[1],\"id\":1},{\"jsonrpc\":\"2.0\",\"method\":\"echo\"},1]",
            "[{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"Invalid Request\"}},{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[1]}]\n",
        );
        exchange(
            "nonsense\n",
            "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"Parse error\"}}\n",
        );
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_batch_is_one_message() {
    use std::sync::{Arc, Mutex};

    use flyrpc_tokio::Direction;

    let server = server().listen("jsonrpc+tcp://127.0.0.1:0").await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let client = Client::new()
        .on_message(move |_, direction, message| {
            if direction == Direction::Out {
                sees.lock().unwrap().push(String::from_utf8_lossy(message).into_owned());
            }
        })
        .connect(server.address())
        .await
        .unwrap();
    let calls = client.batch().call("echo", "[1]").send("echo", "[2]").call("nothing", ()).start().unwrap();
    let [echo, nothing] = <[_; 2]>::try_from(calls).unwrap();
    assert_eq!(echo.await.unwrap(), "[1]");
    assert!(matches!(nothing.await, Err(Error::Remote(error)) if error.is(codes::NOT_FOUND)));
    // What can't be sent leaves nothing behind, and the connection as it was.
    assert!(matches!(
        client.batch().call("echo", "[1]").call("echo", "no JSON").start(),
        Err(Error::Refused(_))
    ));
    assert_eq!(client.in_flight(), 0);
    assert_eq!(client.call("echo", "[3]").await.unwrap(), "[3]");
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "[{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":[1],\"id\":1},\
             {\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":[2]},\
             {\"jsonrpc\":\"2.0\",\"method\":\"nothing\",\"id\":2}]",
            "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":[3],\"id\":4}",
        ]
    );
}

#[tokio::test]
#[cfg(all(feature = "ws", feature = "http"))]
async fn a_server_that_stops_waits_for_no_handshake() {
    use core::time::Duration;

    use tokio::net::TcpStream;

    for address in ["jsonrpc+ws://127.0.0.1:0", "jsonrpc+http://127.0.0.1:0"] {
        let server = server().listen(address).await.unwrap();
        let silent = TcpStream::connect(server.local_address().unwrap().to_string()).await.unwrap();
        let half = TcpStream::connect(server.local_address().unwrap().to_string()).await.unwrap();
        half.writable().await.unwrap();
        half.try_write(b"GET / HTTP/1.1\r\n").unwrap();
        let client = Client::new().connect(server.address()).await.unwrap();
        client.call("echo", "[1]").await.unwrap();
        let stopped = server.shutdown(Duration::from_secs(5));
        tokio::time::timeout(Duration::from_secs(4), stopped).await.expect(address);
        drop((silent, half));
    }
}

#[tokio::test]
#[cfg(feature = "http")]
async fn p15_a_server_that_stops_waits_for_no_client_that_does_not_read() {
    use core::time::Duration;

    use tokio::io::AsyncWriteExt as _;

    let server = server().listen("jsonrpc+http://127.0.0.1:0").await.unwrap();
    let address = server.local_address().unwrap().to_string();
    let text = "x".repeat(8 << 20);
    let body = format!(r#"{{"jsonrpc":"2.0","method":"echo","params":["{text}"],"id":1}}"#);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(body.as_bytes()).await.unwrap();
    // Its answer has begun to come.
    client.readable().await.unwrap();
    let stopped = server.shutdown(Duration::from_millis(200));
    tokio::time::timeout(Duration::from_secs(5), stopped).await.expect("it waits for its reader");
}

#[tokio::test]
#[cfg(feature = "http")]
async fn one_request_is_served_by_itself() {
    let server = server().handle("slow", core::future::pending::<()>).start();
    let serve = |text: &'static str| server.serve_request(text);
    let answer = serve(r#"{"jsonrpc":"2.0","method":"echo","params":[7],"id":1}"#).await.unwrap();
    assert_eq!(answer, r#"{"jsonrpc":"2.0","id":1,"result":[7]}"#);
    assert_eq!(serve(r#"{"jsonrpc":"2.0","method":"echo"}"#).await, None);
    let answer = serve("nonsense").await.unwrap();
    assert_eq!(answer, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#);
    let answer = serve(r#"[{"jsonrpc":"2.0","method":"echo","params":[7],"id":1}]"#).await.unwrap();
    assert_eq!(answer, r#"[{"jsonrpc":"2.0","id":1,"result":[7]}]"#);
    let slow = serve(r#"{"jsonrpc":"2.0","method":"slow","id":1}"#);
    assert!(tokio::time::timeout(core::time::Duration::from_millis(50), slow).await.is_err());
    let gone = async {
        while server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(core::time::Duration::from_secs(5), gone)
        .await
        .expect("who gave up is still served");
}

#[tokio::test]
#[cfg(all(feature = "ws", feature = "http"))]
async fn web_pages_of_other_hosts_open_no_websocket_unless_they_are_allowed() {
    use std::io::{Read, Write};

    for scheme in ["ws", "http"] {
        for (allowed, origin, status) in [
            (&[][..], "Origin: http://evil.example\r\n", "403"),
            (&[], "Origin: null\r\n", "403"),
            (&[], "Origin: http://HOST\r\n", "101"),
            (&[], "", "101"),
            (&["https://app.example"], "Origin: https://app.example\r\n", "101"),
            (&["https://app.example"], "Origin: https://app.example.evil\r\n", "403"),
            (&["*"], "Origin: null\r\n", "101"),
        ] {
            let origins = allowed.iter().copied();
            let server =
                server().origins(origins).listen(format!("jsonrpc+{scheme}://127.0.0.1:0")).await.unwrap();
            let address = server.local_address().unwrap().to_string();
            let request = format!(
                "GET / HTTP/1.1\r\nHost: HOST\r\n{origin}Connection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            .replace("HOST", &address);
            let answer = tokio::task::spawn_blocking(move || {
                let mut raw = std::net::TcpStream::connect(address).unwrap();
                raw.write_all(request.as_bytes()).unwrap();
                let mut answer = [0; 12];
                raw.read_exact(&mut answer).unwrap();
                String::from_utf8_lossy(&answer).into_owned()
            });
            assert_eq!(answer.await.unwrap(), format!("HTTP/1.1 {status}"), "{scheme} {allowed:?} {origin}");
        }
    }
}

#[tokio::test]
#[cfg(feature = "http")]
async fn nobody_there_is_told_when_connecting_over_http_too() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Client::new().connect(format!("jsonrpc+http://{free}/")).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

/// Nothing can be written any more where a WebSocket was closed, so no handler works on for the one who has closed it
#[tokio::test]
#[cfg(feature = "ws")]
async fn who_closes_a_websocket_gives_its_requests_up() {
    struct Waiting(tokio::sync::mpsc::UnboundedSender<&'static str>);

    impl Drop for Waiting {
        fn drop(&mut self) {
            let _ = self.0.send("given up");
        }
    }

    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let wait = move || {
        let _ = told.send("begun");
        let waiting = Waiting(told.clone());
        async move {
            let _waiting = waiting;
            core::future::pending::<()>().await;
        }
    };
    let server = Server::new().handle("wait", wait).listen("jsonrpc+ws://127.0.0.1:0").await.unwrap();
    let client = Client::new().connect(server.address()).await.unwrap();
    let call = client.start("wait", ()).unwrap();
    assert_eq!(heard.recv().await, Some("begun"));
    drop(client);
    assert!(matches!(call.await, Err(Error::Lost(_))));
    // Half as long as one who may still read would be given.
    let soon = core::time::Duration::from_secs(5);
    assert_eq!(tokio::time::timeout(soon, heard.recv()).await, Ok(Some("given up")));
}
