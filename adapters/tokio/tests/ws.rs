//! WebSocket over this crate's sockets, with tokio-tungstenite at the other end

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

use core::future::{Future, poll_fn};
use core::time::Duration;
use std::io::{self, IoSlice};

use flyrpc_driver::runtime::Transport;
use flyrpc_driver::ws::{Kind, Options, WebSocket};
use flyrpc_tokio::{Bytes, Stream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, connect_async};

/// Nothing here takes long; what hangs fails
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it hangs")
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    (listener, host)
}

async fn accept(listener: TcpListener, options: Options) -> io::Result<WebSocket<Stream>> {
    let (stream, _) = listener.accept().await?;
    WebSocket::accept(Stream::try_from(stream)?, &options).await
}

async fn connect(host: &str, options: &Options) -> io::Result<WebSocket<Stream>> {
    let stream = Stream::try_from(TcpStream::connect(host).await?)?;
    WebSocket::connect(stream, host, "/rpc?v=1", options).await
}

/// Sends everything back until the other end closes, then closes; reads also while a write waits, as a driver does
async fn echo(mut socket: WebSocket<Stream>) -> io::Result<()> {
    let mut waiting = bytes::BytesMut::new();
    let mut ended = false;
    poll_fn(|cx| {
        loop {
            let mut idle = true;
            if !waiting.is_empty()
                && let core::task::Poll::Ready(n) = socket.poll_write(cx, &[IoSlice::new(&waiting)])?
            {
                bytes::Buf::advance(&mut waiting, n);
                idle = false;
            }
            waiting.reserve(4096);
            if !ended && let core::task::Poll::Ready(n) = socket.poll_read(cx, &mut waiting)? {
                ended = n == 0;
                idle = false;
            }
            if ended && waiting.is_empty() {
                return socket.poll_shutdown(cx);
            }
            if idle {
                return core::task::Poll::Pending;
            }
        }
    })
    .await
}

fn messages(kind: Kind) -> Vec<Message> {
    let mut messages: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    messages.extend([String::new(), "größer, 日本語".repeat(10_000), "x".repeat(1 << 20), "end".to_owned()]);
    let make = |text: String| match kind {
        Kind::Text => Message::text(text),
        Kind::Binary => Message::binary(text.into_bytes()),
    };
    messages.into_iter().map(make).collect()
}

/// Sends messages and pings, all at once, and takes them back in order; then closes
async fn converse<S>(peer: tokio_tungstenite::WebSocketStream<S>, kind: Kind)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut stream) = peer.split();
    let sender = tokio::spawn(async move {
        for (n, message) in messages(kind).into_iter().enumerate() {
            if n % 100 == 0 {
                sink.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
            }
            sink.feed(message).await.unwrap();
        }
        sink.flush().await.unwrap();
        sink
    });
    let mut pongs = 0;
    for expected in messages(kind) {
        let came = loop {
            let message = stream.next().await.unwrap().unwrap();
            let Message::Pong(payload) = message else { break message };
            assert_eq!(payload, "there?");
            pongs += 1;
        };
        assert!(came == expected, "{} bytes instead of {}", came.len(), expected.len());
    }
    assert!((1..=21).contains(&pongs), "{pongs} pongs");
    let mut sink = sender.await.unwrap();
    sink.send(Message::Close(None)).await.unwrap();
    while let Some(message) = stream.next().await {
        assert!(matches!(message.unwrap(), Message::Close(_) | Message::Pong(_)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_tokio_tungstenite_talk_to_servers_of_ours() {
    for kind in [Kind::Text, Kind::Binary] {
        let (listener, host) = listen().await;
        let server =
            tokio::spawn(async move { echo(accept(listener, Options::new().kind(kind)).await?).await });
        let (client, response) = soon(connect_async(format!("ws://{host}/any/path?at=all"))).await.unwrap();
        assert_eq!(response.status(), 101);
        soon(converse(client, kind)).await;
        soon(server).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_tokio_tungstenite_talk_to_clients_of_ours() {
    for kind in [Kind::Text, Kind::Binary] {
        let (listener, host) = listen().await;
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            converse(accept_async(stream).await.unwrap(), kind).await;
        });
        let client = soon(connect(&host, &Options::new().kind(kind))).await.unwrap();
        soon(echo(client)).await.unwrap();
        soon(server).await.unwrap();
    }
}

#[tokio::test]
async fn a_close_of_ours_is_answered_and_both_ends_see_the_end() {
    let (listener, host) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = accept_async(stream).await.unwrap();
        let close = peer.next().await.unwrap().unwrap();
        let Message::Close(Some(frame)) = close else { panic!("{close:?}") };
        assert_eq!(u16::from(frame.code), 1000);
        while peer.next().await.is_some() {}
    });
    let mut client = soon(connect(&host, &Options::new())).await.unwrap();
    soon(poll_fn(|cx| client.poll_shutdown(cx))).await.unwrap();
    let mut buf = bytes::BytesMut::with_capacity(100);
    assert_eq!(soon(poll_fn(|cx| client.poll_read(cx, &mut buf))).await.unwrap(), 0);
    soon(server).await.unwrap();
}

#[tokio::test]
async fn a_browser_that_asks_for_a_page_is_told_to_upgrade() {
    let (listener, host) = listen().await;
    let server = tokio::spawn(accept(listener, Options::new()));
    let mut browser = TcpStream::connect(&host).await.unwrap();
    browser.write_all(b"GET /favicon.ico HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(browser.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{answer}");
    assert_eq!(soon(server).await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
}
