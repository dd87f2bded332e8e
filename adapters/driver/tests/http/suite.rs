//! What holds on every runtime: the server against raw bytes, the client against a server of raw bytes

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::io::IoSlice;

use bytes::{Buf, BytesMut};
use flyrpc_driver::Address;
use flyrpc_driver::http::{HttpClient, HttpOptions, Options, connect_handshake};
use flyrpc_driver::runtime::{Listener, Runtime, Transport};

use crate::host::{Raw, Reply, Stub, join, start, write_all};

/// Each of these as a test of its own
macro_rules! suite {
    ($runtime:ty, $run:path) => {
        crate::suite::suite! { @ $runtime, $run =>
            a_post_is_answered_byte_for_byte
            nothing_owed_is_204
            a_chunked_body_is_one_unit
            pipelined_requests_are_answered_in_their_order_p10
            other_methods_are_405
            other_types_are_415
            a_long_body_is_413_and_the_answer_is_readable_p17
            a_body_of_just_the_limit_is_taken
            a_host_that_drops_is_503
            only_the_first_response_is_carried
            a_client_that_asks_first_is_told_to_go_on
            a_client_that_leaves_ends_its_exchange
            nothing_for_too_long_is_the_end_p17
            a_head_without_an_end_is_refused_p17
            stopping_lets_the_exchange_end_p15
            a_refused_upgrade_leaves_the_connection_as_it_was
            connect_becomes_a_stream
            connect_elsewhere_is_404
            a_unit_is_posted_byte_for_byte
            one_connection_serves_one_exchange_after_another
            exchanges_run_side_by_side_up_to_the_limit_p16
            a_connection_closed_while_idle_is_replaced
            a_lost_connection_fails_its_call_only_p07
            nothing_is_posted_twice_p11
            a_failed_exchange_answers_its_calls_p01
            a_body_that_is_too_long_fails_its_call_p17
            a_server_that_is_not_there_fails_the_call_p01
            an_exchange_that_takes_too_long_fails_p01
            shutdown_waits_for_what_is_under_way_p15
            dropping_the_client_ends_its_exchanges
            responses_are_not_posted
        }
    };
    // Too much to go byte by byte
    ($runtime:ty, $run:path, large) => {
        crate::suite::suite!($runtime, $run);
        crate::suite::suite! { @ $runtime, $run => answers_that_nobody_reads_cost_bounded_memory_p16 }
    };
    (@ $runtime:ty, $run:path => $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $run(crate::suite::$name::<$runtime>());
            }
        )*
    };
}
pub(crate) use suite;

pub fn unit(message: &str) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [length.to_be_bytes().as_slice(), message.as_bytes()].concat()
}

fn call(id: u32, method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":"p{id}"}}"#)
}

fn result(id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"p{id}"}}"#)
}

fn failure(id: u32, why: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32000,"message":"{why}"}}}}"#)
}

fn post(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

const JSON: &str = "Content-Type: application/json\r\n";

async fn connect<R: Runtime>(address: &Address) -> Raw<R::Stream> {
    Raw::new(R::connect(address).await.unwrap())
}

// The server

pub async fn a_post_is_answered_byte_for_byte<R: Runtime>() {
    let host = Stub::<R>::new();
    let mut client = connect::<R>(&start(&host, Options::new()).await).await;
    for id in 1..4 {
        client.send(post(JSON, &call(id, if id == 2 { "pieces" } else { "echo" }))).await;
        let Reply { status, headers, body } = client.message().await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        let headers: Vec<_> = headers.trim_end().lines().filter(|line| !line.starts_with("date: ")).collect();
        assert_eq!(headers, ["content-type: application/json", &format!("content-length: {}", body.len())]);
        assert_eq!(body, result(id));
    }
    assert_eq!(host.seen().len(), 3);
}

pub async fn nothing_owed_is_204<R: Runtime>() {
    let host = Stub::<R>::new();
    let mut client = connect::<R>(&start(&host, Options::new()).await).await;
    client.send(post(JSON, r#"{"jsonrpc":"2.0","method":"note"}"#)).await;
    let reply = client.message().await;
    assert_eq!((reply.status.as_str(), reply.body.as_str()), ("HTTP/1.1 204 No Content", ""));
    assert!(!reply.headers.contains("content-"), "{}", reply.headers);
    // The connection goes on, also for HTTP/1.0 if it asks for it.
    client.send(post(JSON, &call(2, "echo")).replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!(client.message().await.body, result(2));
    assert!(client.is_at_end().await);
}

pub async fn a_chunked_body_is_one_unit<R: Runtime>() {
    let host = Stub::<R>::new();
    let mut client = connect::<R>(&start(&host, Options::new()).await).await;
    let body = call(1, "echo");
    client
        .send(format!(
            "POST /any/path?at=all HTTP/1.1\r\nHost: h\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n"
        ))
        .await;
    for piece in body.as_bytes().chunks(7) {
        client.send(format!("{:x};x=y\r\n", piece.len())).await;
        client.send([piece, b"\r\n"].concat()).await;
    }
    client.send("0\r\nTrailer: t\r\n\r\n").await;
    assert_eq!(client.message().await.body, result(1));
    assert_eq!(host.seen(), [body]);
}

pub async fn pipelined_requests_are_answered_in_their_order_p10<R: Runtime>() {
    let host = Stub::<R>::new();
    let mut client = connect::<R>(&start(&host, Options::new()).await).await;
    let all: String = (0..50).map(|id| post(JSON, &call(id, "echo"))).collect();
    client.send(&all).await;
    for id in 0..50 {
        assert_eq!(client.message().await.body, result(id));
    }
}

pub async fn other_methods_are_405<R: Runtime>() {
    let host = Stub::<R>::new();
    let mut client = connect::<R>(&start(&host, Options::new()).await).await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        let reply = client.message().await;
        assert_eq!(reply.status, "HTTP/1.1 405 Method Not Allowed");
        assert!(reply.headers.contains("allow: POST\r\n"), "{}", reply.headers);
        assert!(!reply.headers.contains("access-control"), "no other site's page may");
    }
    // What Go's server says on its path (vectors/jsonrpc, gohttp-get)
    client.send("GET /_goRPC_ HTTP/1.0\n\n").await;
    let reply = client.message().await;
    assert!(reply.status.ends_with("405 Method Not Allowed"), "{}", reply.status);
    assert_eq!(reply.body, "405 must CONNECT\n");
    assert!(client.is_at_end().await);
    assert!(host.seen().is_empty());
}

pub async fn other_types_are_415<R: Runtime>() {
    let host = Stub::<R>::new();
    let mut client = connect::<R>(&start(&host, Options::new()).await).await;
    let types = [
        "",
        "Content-Type: application/json; charset=utf-8\r\n",
        "content-type: Application/JSON\r\n",
        "Content-Type: application/json-rpc\r\n",
        "Content-Type: application/jsonrequest;x=y\r\n",
    ];
    for headers in types {
        client.send(post(headers, &call(1, "echo"))).await;
        assert_eq!(client.message().await.body, result(1), "{headers}");
    }
    for headers in [
        "Content-Type: text/plain\r\n",
        "Content-Type: application/jsonp\r\n",
        "Content-Type: \r\n",
        "Origin: http://elsewhere\r\n",
    ] {
        let mut client = connect::<R>(&start(&host, Options::new()).await).await;
        client.send(post(headers, &call(1, "echo"))).await;
        let reply = client.message().await;
        assert_eq!(reply.status, "HTTP/1.1 415 Unsupported Media Type", "{headers}");
    }
    assert_eq!(host.seen().len(), types.len());
}

pub async fn a_long_body_is_413_and_the_answer_is_readable_p17<R: Runtime>() {
    let host = Stub::<R>::new();
    let address = start(&host, Options::new().max_message(1000)).await;
    // By its length, and by what comes
    let announced =
        format!("POST / HTTP/1.1\r\nHost: h\r\n{JSON}Content-Length: 4611686018427387904\r\n\r\n");
    let chunked = format!("POST / HTTP/1.1\r\nHost: h\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n");
    for head in [announced, chunked] {
        let mut client = connect::<R>(&address).await;
        client.send(&head).await;
        // Far more than a socket buffers: the server reads on for a while, so that its answer is not destroyed.
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        for _ in 0..256 {
            client.send(&chunk).await;
        }
        let reply = client.message().await;
        assert_eq!(reply.status, "HTTP/1.1 413 Payload Too Large");
        assert!(reply.headers.contains("connection: close\r\n"), "{}", reply.headers);
        assert!(client.is_at_end().await);
    }
    assert!(host.seen().is_empty());
}

pub async fn a_body_of_just_the_limit_is_taken<R: Runtime>() {
    let host = Stub::<R>::new();
    let body = call(1, "echo");
    let mut client = connect::<R>(&start(&host, Options::new().max_message(body.len())).await).await;
    client.send(post(JSON, &body)).await;
    assert_eq!(client.message().await.body, result(1));
    client.send(post(JSON, &format!("{body} "))).await;
    assert_eq!(client.message().await.status, "HTTP/1.1 413 Payload Too Large");
}

pub async fn a_host_that_drops_is_503<R: Runtime>() {
    let host = Stub::<R>::new();
    let mut client = connect::<R>(&start(&host, Options::new()).await).await;
    client.send(post(JSON, &call(1, "drop"))).await;
    assert_eq!(client.message().await.status, "HTTP/1.1 503 Service Unavailable");
    host.seen.lock().unwrap().resize(1000, String::new());
    client.send(post(JSON, &call(2, "echo"))).await;
    assert_eq!(client.message().await.status, "HTTP/1.1 503 Service Unavailable");
}

pub async fn only_the_first_response_is_carried<R: Runtime>() {
    let host = Stub::<R>::new();
    let mut client = connect::<R>(&start(&host, Options::new()).await).await;
    for id in 1..3 {
        client.send(post(JSON, &call(id, "noisy"))).await;
        assert_eq!(client.message().await.body, result(id));
    }
}

pub async fn a_client_that_asks_first_is_told_to_go_on<R: Runtime>() {
    let host = Stub::<R>::new();
    let mut client = connect::<R>(&start(&host, Options::new()).await).await;
    let request = post(&format!("{JSON}Expect: 100-continue\r\n"), &call(1, "echo"));
    let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
    client.send(head).await;
    assert_eq!(client.message().await.status, "HTTP/1.1 100 Continue");
    client.send(body).await;
    assert_eq!(client.message().await.body, result(1));
}

pub async fn a_client_that_leaves_ends_its_exchange<R: Runtime>() {
    let host = Stub::<R>::new();
    let mut client = connect::<R>(&start(&host, Options::new()).await).await;
    client.send(post(JSON, &call(1, "slow"))).await;
    host.slow.wait().await;
    drop(client);
    host.gone.wait().await;
    host.go.set();
    host.failed.wait().await;
}

pub async fn nothing_for_too_long_is_the_end_p17<R: Runtime>() {
    let host = Stub::<R>::new();
    let soon = Duration::ZERO;
    let request = post(JSON, &call(1, "echo"));
    // Nothing at all, and the beginning of CONNECT
    let address = start(&host, Options::new().header_timeout(soon)).await;
    for beginning in ["", "CONN", "CONNECT /_goRPC_ HTTP/1.0\n"] {
        let mut client = connect::<R>(&address).await;
        // It may be too late for that already.
        let _ = write_all(&mut client.stream, beginning.as_bytes()).await;
        assert!(client.is_at_end().await);
    }
    // A body that stands still
    let mut client = connect::<R>(&start(&host, Options::new().body_timeout(soon)).await).await;
    client.send(&request[..request.len() - 1]).await;
    assert_eq!(client.message().await.status, "HTTP/1.1 408 Request Timeout");
    assert!(client.is_at_end().await);
    // No further request
    let mut client = connect::<R>(&start(&host, Options::new().idle_timeout(soon)).await).await;
    client.send(&request).await;
    assert_eq!(client.message().await.body, result(1));
    assert!(client.is_at_end().await);
    assert_eq!(host.seen().len(), 1);
}

pub async fn a_head_without_an_end_is_refused_p17<R: Runtime>() {
    let host = Stub::<R>::new();
    let address = start(&host, Options::new()).await;
    for (beginning, status) in [
        ("POST / HTTP/1.1\r\nHost: h\r\nX: ", Some("HTTP/1.1 431 Request Header Fields Too Large")),
        ("CONNECT /_goRPC_ HTTP/1.0\nX: ", None),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"", Some("HTTP/1.1 400 Bad Request")),
    ] {
        let mut client = connect::<R>(&address).await;
        // The server may have ended it before all of this is written.
        let _ = client.try_send(format!("{beginning}{}", "x".repeat(100 << 10))).await;
        let reply = client.try_message().await.map(|reply| reply.status);
        assert_eq!(reply.as_deref(), status, "{beginning}");
        assert!(client.is_at_end().await);
    }
}

pub async fn stopping_lets_the_exchange_end_p15<R: Runtime>() {
    let host = Stub::<R>::new();
    let address = start(&host, Options::new()).await;
    let (mut idle, mut busy, mut new) =
        (connect::<R>(&address).await, connect::<R>(&address).await, connect::<R>(&address).await);
    idle.send(post(JSON, &call(1, "echo"))).await;
    assert_eq!(idle.message().await.body, result(1));
    busy.send(post(JSON, &call(2, "slow"))).await;
    host.slow.wait().await;
    host.closing.set();
    assert!(idle.is_at_end().await);
    assert!(new.is_at_end().await);
    host.go.set();
    let reply = busy.message().await;
    assert_eq!(reply.body, result(2));
    assert!(reply.headers.contains("connection: close\r\n"), "{}", reply.headers);
    assert!(busy.is_at_end().await);
}

pub async fn a_refused_upgrade_leaves_the_connection_as_it_was<R: Runtime>() {
    let host = Stub::<R>::new();
    let address = start(&host, Options::new().body_timeout(Duration::from_millis(10))).await;
    let mut client = connect::<R>(&address).await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    assert!(!client.message().await.status.contains("101"));
    crate::pause().await;
    // The time that a body may stand still is not the time until the next request.
    client.send(post(JSON, &call(1, "echo"))).await;
    assert_eq!(client.message().await.body, result(1));
}

pub async fn connect_becomes_a_stream<R: Runtime>() {
    let host = Stub::<R>::new();
    let address = start(&host, Options::new()).await;
    // As Go's client writes it, and as others may (vectors/jsonrpc, gohttp-connect-only)
    for request in ["CONNECT /_goRPC_ HTTP/1.0\n\n", "CONNECT /_goRPC_ HTTP/1.1\r\nHost: h\r\n\r\n"] {
        let mut client = connect::<R>(&address).await;
        client.send(format!("{request}at once")).await;
        assert_eq!(client.take(34 + 7).await, "HTTP/1.0 200 Connected to Go RPC\n\nat once");
        client.send("later").await;
        assert_eq!(client.take(5).await, "later");
    }
    let stream = connect_handshake(R::connect(&address).await.unwrap(), "/_goRPC_").await.unwrap();
    let mut client = Raw::new(stream);
    client.send("hello").await;
    assert_eq!(client.take(5).await, "hello");
}

pub async fn connect_elsewhere_is_404<R: Runtime>() {
    let host = Stub::<R>::new();
    for (options, path) in
        [(Options::new(), "example.org:443"), (Options::new().connect_path(None), "/_goRPC_")]
    {
        let address = start(&host, options).await;
        let mut client = connect::<R>(&address).await;
        client.send(format!("CONNECT {path} HTTP/1.1\r\n\r\n")).await;
        assert_eq!(client.message().await.status, "HTTP/1.0 404 Not Found");
        assert!(client.is_at_end().await);
        let refused = connect_handshake(R::connect(&address).await.unwrap(), path).await.err().unwrap();
        assert!(refused.to_string().ends_with("404"), "{refused}");
    }
    let bad = connect_handshake(R::connect(&start(&host, Options::new()).await).await.unwrap(), "/a b").await;
    assert!(bad.is_err());
}

// The client

/// A listening socket, and a client of it
async fn pair<R: Runtime>(options: HttpOptions) -> (R::Listener, HttpClient<R>) {
    let listener = R::listen(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address().unwrap();
    let client = HttpClient::new(address, "example:80", "/rpc", options).unwrap();
    (listener, client)
}

async fn accept<L: Listener>(listener: &mut L) -> Raw<L::Stream> {
    Raw::new(poll_fn(|cx| listener.poll_accept(cx)).await.unwrap())
}

async fn write(client: &mut impl Transport, message: &str) {
    write_all(client, &unit(message)).await.unwrap();
}

/// The next message to read; `None` at the end
async fn read(client: &mut impl Transport) -> Option<String> {
    let mut buf = BytesMut::new();
    let mut missing = 4;
    loop {
        if buf.len() == missing {
            if missing > 4 || buf == [0; 4].as_slice() {
                buf.advance(4);
                return Some(String::from_utf8(buf.to_vec()).unwrap());
            }
            missing = 4 + usize::try_from(u32::from_be_bytes(buf[..4].try_into().unwrap())).unwrap();
        }
        // Room for just what is missing, and sometimes less: it comes in pieces then.
        let mut piece =
            BytesMut::with_capacity((missing - buf.len()).min(if missing < 1000 { 50 } else { 64 << 10 }));
        if poll_fn(|cx| client.poll_read(cx, &mut piece)).await.unwrap() == 0 {
            assert!(buf.is_empty());
            return None;
        }
        buf.unsplit(piece);
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub async fn a_unit_is_posted_byte_for_byte<R: Runtime>() {
    let options = HttpOptions::new().header("Authorization", "Bearer t").unwrap();
    let (mut listener, mut client) = pair::<R>(options).await;
    let message = call(1, "echo");
    for byte in unit(&message) {
        write_all(&mut client, &[byte]).await.unwrap();
    }
    let mut server = accept(&mut listener).await;
    let Reply { status, headers, body } = server.message().await;
    assert_eq!(status, "POST /rpc HTTP/1.1");
    let mut headers: Vec<_> = headers.trim_end().lines().collect();
    headers.sort_unstable();
    let agent = format!("user-agent: flyrpc/{}", env!("CARGO_PKG_VERSION"));
    let length = format!("content-length: {}", message.len());
    let expected = [
        "accept: application/json",
        "authorization: Bearer t",
        &length,
        "content-type: application/json",
        "host: example:80",
        &agent,
    ];
    assert_eq!(headers, expected);
    assert_eq!(body, message);
    server
        .send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
            &result(1)[..5],
            result(1).len() - 5,
            &result(1)[5..]
        ))
        .await;
    assert_eq!(read(&mut client).await, Some(result(1)));
}

pub async fn one_connection_serves_one_exchange_after_another<R: Runtime>() {
    let (mut listener, mut client) = pair::<R>(HttpOptions::new()).await;
    write(&mut client, &call(0, "echo")).await;
    let mut server = accept(&mut listener).await;
    for id in 0..10 {
        assert_eq!(server.message().await.body, call(id, "echo"));
        server.send(ok(&result(id))).await;
        assert_eq!(read(&mut client).await, Some(result(id)));
        write(&mut client, &call(id + 1, "echo")).await;
    }
}

pub async fn exchanges_run_side_by_side_up_to_the_limit_p16<R: Runtime>() {
    let (mut listener, mut client) = pair::<R>(HttpOptions::new().connections(2).max_waiting(3)).await;
    write(&mut client, &call(0, "echo")).await;
    write(&mut client, &call(1, "echo")).await;
    let (mut a, mut b) = (accept(&mut listener).await, accept(&mut listener).await);
    let (of_a, of_b) = (a.message().await.body, b.message().await.body);
    assert!([call(0, "echo"), call(1, "echo")].contains(&of_a) && of_a != of_b, "{of_a} {of_b}");
    for id in 2..5 {
        write(&mut client, &call(id, "echo")).await;
    }
    // Three wait; the client takes no more.
    let fifth = unit(&call(5, "echo"));
    let refused =
        poll_fn(|cx| Poll::Ready(client.poll_write(cx, &[IoSlice::new(&fifth)]).is_pending())).await;
    assert!(refused);
    b.send(ok(&result(9))).await;
    // It was no answer to this call.
    let id: u32 = if of_b == call(0, "echo") { 0 } else { 1 };
    assert_eq!(read(&mut client).await, Some(failure_or(9)));
    assert_eq!(read(&mut client).await, Some(failure(id, "HTTP status 200 without an answer to this call")));
    assert_eq!(b.message().await.body, call(2, "echo"));
    write_all(&mut client, &fifth).await.unwrap();
    for id in 2..6 {
        b.send(ok(&result(id))).await;
        assert_eq!(read(&mut client).await, Some(result(id)));
        if id < 5 {
            assert_eq!(b.message().await.body, call(id + 1, "echo"));
        }
    }
}

fn failure_or(id: u32) -> String {
    result(id)
}

pub async fn a_connection_closed_while_idle_is_replaced<R: Runtime>() {
    let (mut listener, mut client) = pair::<R>(HttpOptions::new()).await;
    for id in 0..5 {
        write(&mut client, &call(id, "echo")).await;
        let mut server = accept(&mut listener).await;
        assert_eq!(server.message().await.body, call(id, "echo"));
        // With and without a warning
        let close = if id % 2 == 0 { "Connection: close\r\n\r\n" } else { "\r\n" };
        server.send(ok(&result(id)).replacen("\r\n\r\n", &format!("\r\n{close}"), 1)).await;
        assert_eq!(read(&mut client).await, Some(result(id)));
        drop(server);
        crate::pause().await;
    }
}

pub async fn a_lost_connection_fails_its_call_only_p07<R: Runtime>() {
    let (mut listener, mut client) = pair::<R>(HttpOptions::new()).await;
    write(&mut client, &call(0, "echo")).await;
    let mut a = accept(&mut listener).await;
    assert_eq!(a.message().await.body, call(0, "echo"));
    for half in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", "what is this"]
    {
        write(&mut client, &call(1, "echo")).await;
        let mut b = accept(&mut listener).await;
        assert_eq!(b.message().await.body, call(1, "echo"));
        b.send(half).await;
        drop(b);
        assert_eq!(read(&mut client).await, Some(failure(1, "HTTP connection lost")));
    }
    a.send(ok(&result(0))).await;
    assert_eq!(read(&mut client).await, Some(result(0)));
}

pub async fn nothing_is_posted_twice_p11<R: Runtime>() {
    let (mut listener, mut client) = pair::<R>(HttpOptions::new().connections(1)).await;
    for id in 0..3 {
        // A kept connection that the server closes just when it has read the request
        write(&mut client, &call(id, "echo")).await;
        let mut server = accept(&mut listener).await;
        assert_eq!(server.message().await.body, call(id, "echo"));
        server.send(ok(&result(id))).await;
        assert_eq!(read(&mut client).await, Some(result(id)));
        write(&mut client, &call(id + 10, "echo")).await;
        assert_eq!(server.message().await.body, call(id + 10, "echo"));
        drop(server);
        assert_eq!(read(&mut client).await, Some(failure(id + 10, "HTTP connection lost")));
    }
}

pub async fn a_failed_exchange_answers_its_calls_p01<R: Runtime>() {
    let (mut listener, mut client) = pair::<R>(HttpOptions::new().connections(1)).await;
    let mut server = None;
    let one = call(1, "m");
    let batch = format!("[{},{}]", call(1, "m"), r#"{"jsonrpc":"2.0","method":"note"}"#);
    let own = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}"#;
    let lone = r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}"#;
    let without = "HTTP status 200 without an answer to this call";
    let cases = [
        (&one, "503 Service Unavailable", "<p>later</p>", failure(1, "HTTP status 503")),
        (&batch, "503 Service Unavailable", "", format!("[{}]", failure(1, "HTTP status 503"))),
        (&one, "301 Moved Permanently", "", failure(1, "HTTP status 301")),
        (&one, "400 Bad Request", own, own.to_owned()),
        (
            &one,
            "500 Internal Server Error",
            lone,
            lone.replace(r#","id":null"#, "").replace(r#""error""#, r#""id":1,"error""#),
        ),
        (&one, "200 OK", "<p>a portal</p>", failure(1, without)),
        (&one, "200 OK", "[]", failure(1, without)),
        (&one, "202 Accepted", "", failure(1, "HTTP status 202 without an answer to this call")),
    ];
    for (message, status, body, expected) in cases {
        write(&mut client, message).await;
        if server.is_none() {
            server = Some(accept(&mut listener).await);
        }
        let server = server.as_mut().unwrap();
        assert_eq!(&server.message().await.body, message);
        server.send(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        assert_eq!(read(&mut client).await, Some(expected), "{status}");
    }
    // Nobody waits for a notification's answer, whatever it is.
    let mut server = server.unwrap();
    for status in [
        "204 No Content",
        "500 Internal Server Error\r\nContent-Length: 0",
        "202 Accepted\r\nContent-Length: 0",
    ] {
        write(&mut client, r#"{"jsonrpc":"2.0","method":"note"}"#).await;
        server.message().await;
        server.send(format!("HTTP/1.1 {status}\r\n\r\n")).await;
    }
    write(&mut client, &one).await;
    server.message().await;
    server.send(ok(&result(1))).await;
    assert_eq!(read(&mut client).await, Some(result(1)));
}

pub async fn a_body_that_is_too_long_fails_its_call_p17<R: Runtime>() {
    let (mut listener, mut client) = pair::<R>(HttpOptions::new().max_message(result(1).len())).await;
    for head in ["Content-Length: 4611686018427387904", "Transfer-Encoding: chunked"] {
        write(&mut client, &call(1, "m")).await;
        let mut server = accept(&mut listener).await;
        server.message().await;
        let reply = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n400\r\n{}", "x".repeat(0x400));
        // The client may be gone before all of it has been written.
        let _ = write_all(&mut server.stream, reply.as_bytes()).await;
        assert_eq!(read(&mut client).await, Some(failure(1, "HTTP answer too long")));
        assert!(server.is_at_end().await);
    }
    write(&mut client, &call(1, "m")).await;
    let mut server = accept(&mut listener).await;
    server.message().await;
    server.send(ok(&result(1))).await;
    assert_eq!(read(&mut client).await, Some(result(1)));
}

pub async fn a_server_that_is_not_there_fails_the_call_p01<R: Runtime>() {
    let (listener, mut client) = pair::<R>(HttpOptions::new()).await;
    drop(listener);
    crate::refuse();
    for id in 0..3 {
        write(&mut client, &call(id, "m")).await;
        assert_eq!(read(&mut client).await, Some(failure(id, "HTTP connecting failed: connection refused")));
    }
}

pub async fn an_exchange_that_takes_too_long_fails_p01<R: Runtime>() {
    let (_listener, mut client) = pair::<R>(HttpOptions::new().exchange_timeout(Duration::ZERO)).await;
    write(&mut client, &call(1, "m")).await;
    assert_eq!(read(&mut client).await, Some(failure(1, "HTTP exchange timed out")));
    // Connecting has its own time. Where it takes none, this is the exchange's end all the same.
    let options =
        HttpOptions::new().connect_timeout(Duration::ZERO).exchange_timeout(Duration::from_millis(50));
    let (_listener, mut late) = pair::<R>(options).await;
    write(&mut late, &call(1, "m")).await;
    let why = ["HTTP connecting timed out", "HTTP exchange timed out"].map(|why| Some(failure(1, why)));
    assert!(why.contains(&read(&mut late).await));
}

pub async fn shutdown_waits_for_what_is_under_way_p15<R: Runtime>() {
    let (mut listener, mut client) = pair::<R>(HttpOptions::new().connections(1)).await;
    write(&mut client, &call(0, "echo")).await;
    write(&mut client, &call(1, "echo")).await;
    let pending = poll_fn(|cx| Poll::Ready(client.poll_shutdown(cx).is_pending())).await;
    assert!(pending);
    let serving = async {
        let mut server = accept(&mut listener).await;
        for id in 0..2 {
            assert_eq!(server.message().await.body, call(id, "echo"));
            server.send(ok(&result(id))).await;
        }
        assert!(server.is_at_end().await);
    };
    let (_, client) = join(serving, async {
        poll_fn(|cx| client.poll_shutdown(cx)).await.unwrap();
        client
    })
    .await;
    let mut client = client;
    assert_eq!(read(&mut client).await, Some(result(0)));
    assert_eq!(read(&mut client).await, Some(result(1)));
    assert_eq!(read(&mut client).await, None);
    let late = poll_fn(|cx| client.poll_write(cx, &[IoSlice::new(&unit("{}"))])).await;
    assert!(late.is_err());
}

pub async fn dropping_the_client_ends_its_exchanges<R: Runtime>() {
    let (mut listener, mut client) = pair::<R>(HttpOptions::new()).await;
    write(&mut client, &call(0, "m")).await;
    write(&mut client, &call(1, "m")).await;
    let (mut a, mut b) = (accept(&mut listener).await, accept(&mut listener).await);
    a.message().await;
    b.message().await;
    a.send(ok(&result(0))).await;
    read(&mut client).await;
    drop(client);
    assert!(a.is_at_end().await && b.is_at_end().await, "an idle one and a busy one");
}

pub async fn responses_are_not_posted<R: Runtime>() {
    let (mut listener, mut client) = pair::<R>(HttpOptions::new()).await;
    write(&mut client, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#)
        .await;
    write(&mut client, &call(1, "m")).await;
    let mut server = accept(&mut listener).await;
    assert_eq!(server.message().await.body, call(1, "m"));
}

pub async fn answers_that_nobody_reads_cost_bounded_memory_p16<R: Runtime>() {
    const LONG: usize = 3 << 20;
    const CALLS: u32 = 6;
    let (mut listener, mut client) = pair::<R>(HttpOptions::new().max_message(LONG + 100)).await;
    let mut servers = Vec::new();
    for id in 0..CALLS {
        write(&mut client, &call(id, "m")).await;
        let mut server = accept(&mut listener).await;
        server.message().await;
        servers.push((id, server));
    }
    let long = "x".repeat(LONG);
    for (id, mut server) in servers {
        let answer = ok(&result(id).replace(&format!("p{id}"), &long));
        R::spawn(Box::pin(async move { server.send(answer).await }));
    }
    // What is received, and waits: the bound, one answer that was let past it, and what each connection has read ahead
    let bound = 4 << 20;
    let mut held = 0;
    let mut turns_left = 20;
    for turn in 0.. {
        assert!(turn < 1000, "only {held} came");
        if turns_left == 0 {
            break;
        }
        crate::pause().await;
        let state = format!("{client:?}");
        held = state.split("held: ").nth(1).unwrap().split([',', ' ']).next().unwrap().parse().unwrap();
        turns_left -= i32::from(held >= bound);
    }
    assert!(held < bound + LONG + (1 << 20), "{held}");
    let mut lengths = 0;
    for _ in 0..CALLS {
        lengths += read(&mut client).await.unwrap().len();
    }
    assert_eq!(lengths, CALLS as usize * (result(0).len() - 2 + LONG));
    assert!(format!("{client:?}").contains("held: 0"));
}
