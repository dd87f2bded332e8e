//! The JSON-RPC part of `docs/protocol.md` says what is true: a server answers its examples as they stand there

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic as the test may")]

use core::time::Duration;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use flyrpc_tokio::{Bytes, Json, RemoteError, Server};

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

#[derive(serde::Deserialize)]
struct Args {
    #[serde(rename = "A")]
    a: i64,
    #[serde(rename = "B")]
    b: i64,
}

/// The lines of each block of examples, with their numbers
fn blocks() -> Vec<Vec<(usize, &'static str)>> {
    let mut blocks = Vec::new();
    let mut lines = DOCUMENT.lines().enumerate();
    while let Some((_, line)) = lines.next() {
        if line == "```jsonrpc" {
            let block =
                lines.by_ref().map(|(index, line)| (index + 1, line)).take_while(|(_, line)| *line != "```");
            blocks.push(block.collect());
        }
    }
    blocks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_answers_the_examples_as_they_stand_there() {
    let server = Server::new()
        .handle("echo", |params: Bytes| params)
        .handle("fail", || RemoteError::new("no such lamp").number(7).details(r#"{"lamp":3}"#))
        .handle("Arith.Multiply", |Json(args): Json<Args>| Json(args.a * args.b))
        .listen("jsonrpc+tcp://127.0.0.1:0")
        .await
        .unwrap();
    let address = server.local_address().unwrap().to_string();
    let checked =
        tokio::task::spawn_blocking(move || blocks().iter().map(|block| check(&address, block)).sum());
    let checked: usize = checked.await.unwrap();
    assert_eq!(checked, 17, "answers that stand in the document");
}

/// Tells how many answers were compared
fn check(address: &str, block: &[(usize, &str)]) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut checked = 0;
    let mut expect = |line: usize, expected: &str| {
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim_end(), expected, "line {line}");
    };
    for (line, example) in block {
        if let Some(text) = example.strip_prefix("-> ") {
            writeln!(stream, "{text}").unwrap();
        } else {
            let answer =
                example.strip_prefix("<- ").unwrap_or_else(|| panic!("line {line}: neither -> nor <-"));
            expect(*line, answer);
            checked += 1;
        }
    }
    // What is owed nothing got nothing.
    writeln!(stream, r#"{{"jsonrpc":"2.0","method":"echo","id":"end"}}"#).unwrap();
    expect(block.last().unwrap().0, r#"{"jsonrpc":"2.0","id":"end","result":null}"#);
    checked
}

#[test]
fn rules_can_be_cited() {
    let part = DOCUMENT.split_once("\n## 12. ").unwrap().1;
    let rules: Vec<u32> = part
        .lines()
        .filter_map(|line| line.strip_prefix("* **J")?.split_once("**")?.0.parse().ok())
        .collect();
    let all: Vec<u32> = (1..=rules.len() as u32).collect();
    assert_eq!(rules, all, "rules are numbered in order, without gaps");
    assert!(DOCUMENT.contains(&format!("**J1** to **J{}**", rules.len())), "the introduction names the last");
}
