//! Calls of clients to the target

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use flyrpc_tokio::{Client, RemoteError, Server};

use crate::common::board::Board;
use crate::common::bridge::Bridge;
use crate::common::process::{Killed, Server as Process};
use crate::{FLY, TCP, WS, bridge, call, client, error, parts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_without_json_is_called_by_name() {
    let (_board, bridge) = bridge(&[WS], &[]).await;
    let client = client(bridge.address()).await;
    for (name, params, wanted) in [
        ("led", "[1]", "1"),
        ("led", "", "1"),
        ("led", "[false]", "0"),
        ("led", "[\"on\"]", "1"),
        ("adc", "[1]", "1023"),
        ("echo", "[\"hello\"]", "\"hello\""),
        ("echo", "[\"größe \\\"quoted\\\"\"]", "\"größe \\\"quoted\\\"\""),
        ("echo", "[1,2]", "[1,2]"),
        ("echo", "{\"on\":true}", "{\"on\":true}"),
        ("echo", "", "null"),
        ("echo", "[{\"hex\":\"00ff\"}]", "{\"hex\":\"00ff\"}"),
        ("echo", "[\"1\"]", "1"),
    ] {
        assert_eq!(call(&client, name, params).await.as_deref(), Ok(wanted), "{name} {params}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_are_text_where_that_is_wanted() {
    let (_board, bridge) = bridge(&[WS], &["--payload", "text"]).await;
    let client = client(bridge.address()).await;
    for (params, wanted) in [("[1]", "\"1\""), ("[\"true\"]", "\"true\""), ("", "\"\"")] {
        assert_eq!(call(&client, "echo", params).await.as_deref(), Ok(wanted), "{params}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_keep_their_words_and_details() {
    let (_board, bridge) = bridge(&[WS], &[]).await;
    let client = client(bridge.address()).await;
    let failed = error(&client, "fail", "[\"9 of 8\"]").await;
    assert_eq!(parts(&failed), (Some(-32001), "NO_SUCH_LAMP", "\"9 of 8\""));
    let failed = error(&client, "fail", "{\"lamp\":9}").await;
    assert_eq!(parts(&failed), (Some(-32001), "NO_SUCH_LAMP", "{\"lamp\":9}"));
    let failed = error(&client, "led", "[7]").await;
    assert_eq!(parts(&failed), (Some(-32602), "Invalid params", "\"1 or 0\""));
    for name in ["nowhere", "no where.at:all", "größe"] {
        assert_eq!(error(&client, name, "").await.number, Some(-32601), "{name}");
    }
}

/// A JSON-RPC target: what it answers stays as it is, for JSON-RPC clients
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_json_rpc_keep_their_numbers() {
    let numbered = || RemoteError::new("no lamp").number(7).details("{\"lamp\":9}");
    let odd = || RemoteError::new("what?").number(-32601);
    let target = Server::new().handle("fail", numbered).handle("odd", odd).listen(TCP).await.expect("a port");
    let bridge = Bridge::connected(&[WS, FLY], &target.address(), &[]);

    let json = client(bridge.address()).await;
    let failed = error(&json, "fail", "").await;
    assert_eq!(parts(&failed), (Some(7), "no lamp", "{\"lamp\":9}"));
    assert_eq!(error(&json, "nowhere", "").await.number, Some(-32601));

    let fly = client(&bridge.addresses[1]).await;
    let failed = error(&fly, "fail", "").await;
    assert_eq!(parts(&failed), (None, "no lamp", "{\"lamp\":9}"));
    assert_eq!(parts(&error(&fly, "nowhere", "").await), (None, "NOT_FOUND", ""));
    assert_eq!(parts(&error(&fly, "odd", "").await), (None, "NOT_FOUND", "what?"));
}

/// A FlyRPC client of a JSON-RPC target, which is `flyrpc serve`, and starts at the same time
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flyrpc_calls_json_rpc() {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
    let serve = Process::start(serve.args(["serve", TCP, "--quiet"]));
    let target = serve.line.strip_prefix("listening on ").and_then(|rest| rest.split(';').next());
    let bridge = Bridge::connected(&[FLY], target.expect("an address"), &[]);
    let client = Client::new().connect(bridge.address()).await.expect("it listens");
    for (name, payload, wanted) in [
        ("upper", "dusk", "DUSK"),
        ("sleep", "1", "slept 1 ms"),
        ("Arith.Multiply", "{\"A\":7,\"B\":8}", "56"),
        ("Arith.Sum", "[1,2,3]", "6"),
        ("echo", "", ""),
    ] {
        assert_eq!(call(&client, name, payload).await.as_deref(), Ok(wanted), "{name} {payload}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_one_protocol_payloads_stay_as_they_are() {
    let (_board, bridge) = bridge(&[FLY], &[]).await;
    let client = client(bridge.address()).await;
    let large: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    for payload in [&b""[..], b"[\"x\"]", b"{\"hex\":\"00\"}", b"null", b"\x00\xff\x80", &large] {
        assert!(client.call("echo", payload).await.expect("an answer") == payload);
    }
    let failed = error(&client, "fail", "\"9 of 8\"").await;
    assert_eq!(parts(&failed), (None, "NO_SUCH_LAMP", "\"9 of 8\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_answered_as_one() {
    let (_board, bridge) = bridge(&[TCP], &[]).await;
    let address = bridge.address().strip_prefix("jsonrpc+tcp://").expect("a TCP address");
    let batch = concat!(
        r#"[{"jsonrpc":"2.0","id":1,"method":"echo","params":["a"]},"#,
        r#"{"jsonrpc":"2.0","method":"note","params":["b"]},"#,
        r#"{"jsonrpc":"2.0","id":"two","method":"nowhere"},"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"adc","params":[2]}]"#,
    );
    let mut stream = TcpStream::connect(address).expect("the bridge listens");
    stream.set_read_timeout(Some(crate::SOON)).expect("a time");
    writeln!(stream, "{batch}").expect("written");
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("a line");
        line
    });
    let line = line.await.expect("no panic");
    let answers: Vec<serde_json::Value> = serde_json::from_str(&line).expect("one array");
    assert_eq!(answers.len(), 3, "{line}");
    let of = |id: serde_json::Value| answers.iter().find(|answer| answer["id"] == id).expect("an answer");
    assert_eq!(of(1.into())["result"], "a");
    assert_eq!(of("two".into())["error"]["code"], -32601);
    assert_eq!(of(3.into())["result"], 512);
}

/// What comes before the first attempt to connect has ended waits for that
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_request_does_not_come_too_early() {
    let board = Board::start().await;
    for _ in 0..5 {
        let mut bridge = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
        bridge.args(["bridge", "--listen", "jsonrpc+stdio:", "--to", board.address(), "--quiet"]);
        let requests = r#"{"jsonrpc":"2.0","id":1,"method":"adc","params":[1]}"#;
        let mut child =
            Killed(bridge.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts"));
        let mut stdin = child.0.stdin.take().expect("piped");
        writeln!(stdin, "{requests}").expect("written");
        drop(stdin);
        let mut answer = String::new();
        let read = child.0.stdout.take().expect("piped").read_to_string(&mut answer);
        read.expect("the bridge ends with its input");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["result"], 1023, "{answer}");
    }
}
