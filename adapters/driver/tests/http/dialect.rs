//! JSON-RPC over HTTP, from raw bytes to handlers and from calls to answers, on every runtime

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use bytes::Bytes;
use flyrpc_driver::runtime::Runtime;
use flyrpc_driver::{Client, Error, Server, ServerHandle};

use crate::host::{Raw, Signal, join};

/// Each of these as a test of its own
macro_rules! dialect {
    ($runtime:ty, $run:path) => {
        crate::dialect::dialect! { @ $runtime, $run =>
            posts_are_answered_as_gos_codec_answers_them
            what_is_no_request_is_answered_all_the_same
            a_handler_whose_client_leaves_is_dropped
            calls_overtake_each_other
            shutdown_lets_exchanges_end_p15
            shutdown_waits_for_no_half_body_p15
            calls_fail_when_the_server_is_gone_p01
            lines_follow_connect
        }

        #[test]
        #[cfg(feature = "ws")]
        fn one_port_takes_posts_and_websocket() {
            $run(crate::dialect::one_port_takes_posts_and_websocket::<$runtime>());
        }
    };
    (@ $runtime:ty, $run:path => $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $run(crate::dialect::$name::<$runtime>());
            }
        )*
    };
}
pub(crate) use dialect;

/// What handlers wait for, and what they tell
#[derive(Clone, Default)]
pub struct Signals {
    go: Signal,
    begun: Signal,
    dropped: Signal,
}

struct OnDrop(Signal);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

pub async fn start<R: Runtime>(signals: &Signals) -> ServerHandle<R> {
    let signals = signals.clone();
    Server::<R>::new()
        .handle("echo", |params: Bytes| params)
        .handle("Arith.Fail", || -> Result<(), &'static str> { Err("divide by zero") })
        .handle("slow", move || {
            let signals = signals.clone();
            async move {
                let _dropped = OnDrop(signals.dropped.clone());
                signals.begun.set();
                signals.go.wait().await;
                "[1]"
            }
        })
        .listen("jsonrpc+http://127.0.0.1:0/rpc")
        .await
        .unwrap()
}

pub async fn raw<R: Runtime>(server: &ServerHandle<R>) -> Raw<R::Stream> {
    Raw::new(R::connect(server.local_address().unwrap()).await.unwrap())
}

pub fn post(body: &str) -> String {
    let length = body.len();
    format!(
        "POST /rpc2 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Posts each and looks at status and body
async fn exchanges<R: Runtime>(cases: &[(&str, &str, &str)]) {
    let server = start::<R>(&Signals::default()).await;
    let mut client = raw(&server).await;
    for (sent, status, expected) in cases {
        client.send(post(sent)).await;
        let reply = client.message().await;
        assert_eq!((reply.status.as_str(), reply.body.trim_end()), (*status, *expected), "{sent}");
        let is_json = reply.headers.contains("content-type: application/json\r\n");
        assert_eq!(is_json, !expected.is_empty());
    }
}

const OK: &str = "HTTP/1.1 200 OK";
const NO_CONTENT: &str = "HTTP/1.1 204 No Content";

pub async fn posts_are_answered_as_gos_codec_answers_them<R: Runtime>() {
    exchanges::<R>(&[
        (
            r#"{"jsonrpc":"2.0","method":"echo","params":{"A":7,"B":8},"id":1}"#,
            OK,
            r#"{"jsonrpc":"2.0","id":1,"result":{"A":7,"B":8}}"#,
        ),
        (r#"{"jsonrpc":"2.0","method":"echo","params":{"A":7,"B":8}}"#, NO_CONTENT, ""),
        (
            r#"[{"jsonrpc":"2.0","method":"echo","params":[7],"id":1}]"#,
            OK,
            r#"[{"jsonrpc":"2.0","id":1,"result":[7]}]"#,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"Arith.Fail","params":{},"id":"x"}"#,
            OK,
            r#"{"jsonrpc":"2.0","id":"x","error":{"code":-32001,"message":"divide by zero"}}"#,
        ),
    ])
    .await;
}

pub async fn what_is_no_request_is_answered_all_the_same<R: Runtime>() {
    let parse_error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#;
    let invalid = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}}"#;
    exchanges::<R>(&[
        ("nonsense", OK, parse_error),
        ("", OK, parse_error),
        (r#"{"jsonrpc":"2.0","method":"echo","id":1"#, OK, parse_error),
        ("{}", OK, invalid),
        ("[]", OK, invalid),
        ("1", OK, invalid),
        (r#"[{"jsonrpc":"2.0","method":"echo"},{"jsonrpc":"2.0","method":"nobody"}]"#, NO_CONTENT, ""),
        // A reply to nothing
        (r#"{"jsonrpc":"2.0","id":1,"result":1}"#, NO_CONTENT, ""),
        (
            r#"{"jsonrpc":"2.0","method":"echo","params":[2],"id":2}"#,
            OK,
            r#"{"jsonrpc":"2.0","id":2,"result":[2]}"#,
        ),
    ])
    .await;
}

pub async fn a_handler_whose_client_leaves_is_dropped<R: Runtime>() {
    let signals = Signals::default();
    let server = start::<R>(&signals).await;
    let mut client = raw(&server).await;
    client.send(post(r#"{"jsonrpc":"2.0","method":"slow","id":1}"#)).await;
    signals.begun.wait().await;
    drop(client);
    signals.dropped.wait().await;
    // The others don't notice.
    let client = Client::<R>::new().connect(server.address()).await.unwrap();
    assert_eq!(client.call("echo", "[1]").await.unwrap(), "[1]");
}

pub async fn calls_overtake_each_other<R: Runtime>() {
    let signals = Signals::default();
    let server = start::<R>(&signals).await;
    let client = Client::<R>::new().connect(server.address()).await.unwrap();
    let (slow, ()) = join(client.call("slow", ()), async {
        signals.begun.wait().await;
        for _ in 0..10 {
            assert_eq!(client.call("echo", "[2]").await.unwrap(), "[2]");
        }
        signals.go.set();
    })
    .await;
    assert_eq!(slow.unwrap(), "[1]");
    client.drain(Duration::from_secs(5)).await;
}

pub async fn shutdown_lets_exchanges_end_p15<R: Runtime>() {
    let signals = Signals::default();
    let server = start::<R>(&signals).await;
    let mut client = raw(&server).await;
    client.send(post(r#"{"jsonrpc":"2.0","method":"slow","id":1}"#)).await;
    signals.begun.wait().await;
    let ((), reply) = join(server.shutdown(Duration::from_secs(20)), async {
        // The shutdown comes first.
        let mut is_first = true;
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if core::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        signals.go.set();
        let reply = client.message().await;
        assert!(client.is_at_end().await);
        drop(client);
        reply
    })
    .await;
    assert_eq!(reply.body.trim_end(), r#"{"jsonrpc":"2.0","id":1,"result":[1]}"#);
}

pub async fn shutdown_waits_for_no_half_body_p15<R: Runtime>() {
    let server = start::<R>(&Signals::default()).await;
    let mut client = raw(&server).await;
    client.send(post("0123456789").strip_suffix("789").unwrap()).await;
    crate::pause().await;
    // The body goes on, but not to its end.
    let dripping = async move {
        for _ in 0..2 {
            let _ = client.try_send("7").await;
            crate::pause().await;
        }
        assert!(client.is_at_end().await);
    };
    join(server.shutdown(Duration::from_millis(1)), dripping).await;
}

pub async fn calls_fail_when_the_server_is_gone_p01<R: Runtime>() {
    let signals = Signals::default();
    let server = start::<R>(&signals).await;
    let client = Client::<R>::new().connect(server.address()).await.unwrap();
    let (slow, ()) = join(client.call("slow", ()).within(Duration::from_secs(1000)), async {
        signals.begun.wait().await;
        drop(server);
    })
    .await;
    let Err(Error::Remote(error)) = slow else { panic!("{slow:?}") };
    assert_eq!(error.number, Some(-32000), "{error:?}");
}

pub async fn lines_follow_connect<R: Runtime>() {
    let server = start::<R>(&Signals::default()).await;
    let mut client = raw(&server).await;
    client.send("CONNECT /_goRPC_ HTTP/1.0\n\n").await;
    client.send("{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":[1],\"id\":1}\n").await;
    let expected = "HTTP/1.0 200 Connected to Go RPC\n\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[1]}\n";
    assert_eq!(client.take(expected.len()).await, expected);
}

#[cfg(feature = "ws")]
pub async fn one_port_takes_posts_and_websocket<R: Runtime>() {
    let server = start::<R>(&Signals::default()).await;
    let posting = Client::<R>::new().connect(server.address()).await.unwrap();
    let socket = Client::<R>::new().connect(server.address().replace("+http:", "+ws:")).await.unwrap();
    for client in [&posting, &socket, &posting, &socket] {
        assert_eq!(client.call("echo", "[1]").await.unwrap(), "[1]");
    }
    // RFC 6455, section 1.3: its key and what answers it; a frame follows at once (section 5.7, with a mask of 0)
    let mut client = raw(&server).await;
    let upgrade =
        "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    client.send(format!("{upgrade}{key}Sec-WebSocket-Version: 13\r\n\r\n")).await;
    client.send(*b"\x89\x82\0\0\0\0hi").await;
    let reply = client.message().await;
    assert_eq!(reply.status, "HTTP/1.1 101 Switching Protocols");
    assert!(
        reply.headers.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{}",
        reply.headers
    );
    assert_eq!(client.take_bytes(4).await, b"\x8a\x02hi");
    // Another version, and no key
    for (headers, status) in [
        (format!("{key}Sec-WebSocket-Version: 8\r\n"), "HTTP/1.1 426 Upgrade Required"),
        ("Sec-WebSocket-Version: 13\r\n".to_owned(), "HTTP/1.1 400 Bad Request"),
    ] {
        let mut client = raw(&server).await;
        client.send(format!("{upgrade}{headers}\r\n")).await;
        assert_eq!(client.message().await.status, status);
    }
}
