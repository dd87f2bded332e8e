use super::*;
use crate::{Connection, Incoming, Instant, Refused, ReplyToken, SliceSink, Table, What};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use alloc::{format, vec};

type Peer = Connection<JsonRpc, Table<u32>>;

const NOW: Instant = Instant::ZERO;

fn peer(dialect: JsonRpc) -> Peer {
    Peer::new(dialect, Limits::new())
}

/// Feeds it all, answers each request with its method, and tells what was seen and sent
fn serve(peer: &mut Peer, input: &[u8]) -> (Vec<String>, String) {
    let (seen, sent, taken) = serve_some(peer, input);
    assert_eq!(taken, input.len(), "bytes are left");
    (seen, sent)
}

/// The same with input that may end anywhere; how much of it was taken
fn serve_some(peer: &mut Peer, input: &[u8]) -> (Vec<String>, String, usize) {
    let (mut seen, mut out, mut rest) = (Vec::new(), Vec::new(), input);
    loop {
        let step = peer.handle_input(NOW, rest).unwrap();
        rest = &rest[step.consumed..];
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match step.what {
            What::NeedMore { .. } => break,
            What::Incoming(Incoming::Request { method, body, token, .. }) => {
                seen.push(format!("request {} {}", text(method), text(body.bytes())));
                let result = format!("[\"{}\"]", text(method));
                peer.reply(token, Reply::ok(&result), &mut out).unwrap();
            }
            What::Incoming(Incoming::Notification { method, body, .. }) => {
                seen.push(format!("notification {} {}", text(method), text(body.bytes())));
            }
            What::Incoming(Incoming::Reply { tag, code, body, meta, .. }) => {
                seen.push(format!("reply {tag} {:?} {} {}", meta.error, text(code), text(body.bytes())));
            }
            What::Incoming(other) => seen.push(format!("{other:?}")),
            What::Handled | What::Blocked => {}
        }
        while let Ok(Some(_)) = peer.poll_transmit(&mut out) {}
    }
    (seen, String::from_utf8(out).unwrap(), input.len() - rest.len())
}

fn sent(input: &str) -> String {
    serve(&mut peer(JsonRpc::new()), input.as_bytes()).1
}

#[test]
fn a_call_and_its_answer() {
    let (mut client, mut server) = (peer(JsonRpc::new()), peer(JsonRpc::new()));
    let mut up = Vec::new();
    client.call(NOW, Call::new("echo", b"[1,\n2]"), 7, &mut up).unwrap();
    client.call(NOW, Call::new("q\"\u{e9}\n", b""), 8, &mut up).unwrap();
    client.notify(NOW, Call::new("tell", b" {} "), &mut up).unwrap();
    assert_eq!(
        core::str::from_utf8(&up).unwrap(),
        concat!(
            r#"{"jsonrpc":"2.0","method":"echo","params":[1, 2],"id":1}"#,
            "\n",
            r#"{"jsonrpc":"2.0","method":"q\"é\n","id":2}"#,
            "\n",
            r#"{"jsonrpc":"2.0","method":"tell","params":{}}"#,
            "\n"
        )
    );
    let (seen, down) = serve(&mut server, &up);
    assert_eq!(seen, ["request echo [1, 2]", "request q\\\"é\\n ", "notification tell {}"]);
    assert_eq!(
        down,
        concat!(
            r#"{"jsonrpc":"2.0","id":1,"result":["echo"]}"#,
            "\n",
            r#"{"jsonrpc":"2.0","id":2,"result":["q\"é\n"]}"#,
            "\n"
        )
    );
    let (seen, none) = serve(&mut client, down.as_bytes());
    assert_eq!(seen, [r#"reply 7 None  ["echo"]"#, r#"reply 8 None  ["q\"é\n"]"#]);
    assert_eq!(none, "");
}

#[test]
fn payloads_that_are_not_json_are_refused_and_leave_no_trace() {
    let mut peer = peer(JsonRpc::new());
    let mut out = Vec::new();
    for params in [&b"hello"[..], b"1", b"\"a\"", b"null", b"[1", b"[1]]", b"{}{}", b" ", b"[\xff]"] {
        let refused = peer.call(NOW, Call::new("m", params), 1, &mut out);
        assert_eq!(refused, Err(Refused { why: Refusal::BadPayload, back: 1 }));
    }
    let deep = ["[".repeat(126), "]".repeat(126)].concat();
    assert!(peer.call(NOW, Call::new("m", &deep), 1, &mut out).is_err());
    assert!(peer.call(NOW, Call::new(b"\xff", b""), 1, &mut out).is_err());
    assert!(peer.call(NOW, Call::streamed("m", 4), 1, &mut out).is_err());
    assert_eq!((out.len(), peer.in_flight()), (0, 0));
}

#[test]
fn broken_lines_are_answered_and_passed_over() {
    let parse_error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#;
    assert_eq!(
        sent(
            "hello, {\"jsonrpc\":\"2.0\",\"method\":\"no\",\"id\":1}\n{\"jsonrpc\":\"2.0\",\"method\":\"yes\",\"id\":2}"
        ),
        format!("{parse_error}\n{{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":[\"yes\"]}}\n")
    );
    assert_eq!(
        sent("{\"a\":\"x\n[1\n] \n"),
        format!(
            "{parse_error}\n[{}]\n",
            parse_error.replace("-32700", "-32600").replace("Parse error", "Invalid Request")
        )
    );
}

#[test]
fn a_batch_is_answered_in_one_array() {
    let batch = r#"[ {"jsonrpc":"2.0","method":"a","id":1}, {"jsonrpc":"2.0","method":"n"} , 5,{"jsonrpc":"2.0","method":"b","id":"x"}]  "#;
    assert_eq!(
        sent(batch),
        concat!(
            r#"[{"jsonrpc":"2.0","id":1,"result":["a"]},"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}},"#,
            r#"{"jsonrpc":"2.0","id":"x","result":["b"]}]"#,
            "\n"
        )
    );
    assert_eq!(sent(r#"[{"jsonrpc":"2.0","method":"n"}]"#), "");
}

#[test]
fn the_last_answer_of_a_batch_writes_it_and_without_room_changes_nothing() {
    let mut peer = peer(JsonRpc::new());
    let input = br#"[{"jsonrpc":"2.0","method":"a","id":1},{"jsonrpc":"2.0","method":"b","id":2},{"jsonrpc":"2.0","method":"c","id":3}]"#;
    let mut tokens = requests(&mut peer, input);
    assert_eq!(tokens.len(), 3);
    let mut memory = [0; 8];
    let mut narrow = SliceSink::new(&mut memory);
    peer.reply(tokens.pop().unwrap(), Reply::ok("3"), &mut narrow).unwrap();
    peer.abandon(tokens.pop().unwrap());
    let held = peer.dialect().held();
    let refused = peer.reply(tokens.pop().unwrap(), Reply::error("no\n", "{}"), &mut narrow).unwrap_err();
    assert_eq!(refused.why, Refusal::NoRoom { need: 114 });
    assert_eq!((narrow.written().len(), peer.dialect().held()), (0, held));
    let mut out = Vec::new();
    peer.reply(refused.back, Reply::error("no\n", "{}"), &mut out).unwrap();
    assert_eq!(
        core::str::from_utf8(&out).unwrap(),
        concat!(
            r#"[{"jsonrpc":"2.0","id":3,"result":3},"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"no\n","data":{}}}]"#,
            "\n"
        )
    );
    assert_eq!(peer.dialect().held(), 0);
}

#[test]
fn a_batch_whose_last_request_is_abandoned_is_due() {
    let mut peer = peer(JsonRpc::new());
    let mut tokens = requests(
        &mut peer,
        br#"[{"jsonrpc":"2.0","method":"a","id":1},{"jsonrpc":"2.0","method":"b","id":2}]"#,
    );
    let mut out = Vec::new();
    peer.reply(tokens.remove(0), Reply::ack(), &mut out).unwrap();
    assert!(out.is_empty() && !peer.dialect().is_due());
    peer.abandon(tokens.remove(0));
    assert!(peer.dialect().is_due());
    assert!(
        matches!(peer.handle_input(NOW, b"{}").unwrap().what, What::Blocked),
        "held back until it is sent"
    );
    assert!(peer.poll_transmit(&mut out).unwrap().is_some());
    assert_eq!(out, b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}]\n");
    assert_eq!(peer.poll_transmit(&mut out), Ok(None));
}

#[test]
fn busy_and_draining_go_into_the_batch() {
    let mut peer = Peer::new(JsonRpc::new(), Limits::new().max_unanswered(1));
    let mut tokens = requests(
        &mut peer,
        br#"[{"jsonrpc":"2.0","method":"a","id":1},{"jsonrpc":"2.0","method":"b","id":2}]"#,
    );
    assert_eq!(tokens.len(), 1);
    let mut out = Vec::new();
    peer.reply(tokens.remove(0), Reply::ok("1"), &mut out).unwrap();
    assert_eq!(
        core::str::from_utf8(&out).unwrap(),
        "[{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32000,\"message\":\"Busy\"}},{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}]\n"
    );
    peer.drain(NOW, Instant::FAR);
    let (_, out) = serve(&mut peer, br#"{"jsonrpc":"2.0","method":"a","id":9}"#);
    assert_eq!(out, "{\"jsonrpc\":\"2.0\",\"id\":9,\"error\":{\"code\":-32000,\"message\":\"Draining\"}}\n");
}

#[test]
fn p15_a_drain_waits_for_the_rest_of_a_batch_that_is_half_handled() {
    let mut server = peer(JsonRpc::new());
    let mut rest = &br#"[{"jsonrpc":"2.0","method":"a","id":1},{"jsonrpc":"2.0","method":"b","id":2}]"#[..];
    let token = loop {
        let step = server.handle_input(NOW, rest).unwrap();
        rest = &rest[step.consumed..];
        if let What::Incoming(Incoming::Request { token, .. }) = step.what {
            break token;
        }
    };
    server.reply(token, Reply::ok("1"), &mut Vec::new()).unwrap();
    server.drain(NOW, Instant::from_micros(1_000_000));
    assert_eq!(server.poll_event(), None, "its first answer is still to be sent");
    let (seen, sent) = serve(&mut server, rest);
    assert!(seen.is_empty(), "{seen:?}");
    assert!(
        sent.starts_with(r#"[{"jsonrpc":"2.0","id":1,"result":1},{"jsonrpc":"2.0","id":2,"error":{"#),
        "{sent}"
    );
    assert!(matches!(server.poll_event(), Some(crate::Event::Closed { why: crate::CloseReason::Drained })));
}

fn requests(peer: &mut Peer, mut input: &[u8]) -> Vec<ReplyToken<JsonRpc>> {
    let mut tokens = Vec::new();
    loop {
        let step = peer.handle_input(NOW, input).unwrap();
        input = &input[step.consumed..];
        match step.what {
            What::NeedMore { .. } => return tokens,
            What::Incoming(Incoming::Request { token, .. }) => tokens.push(token),
            What::Incoming(other) => panic!("{other:?}"),
            What::Handled => {}
            What::Blocked => panic!("blocked"),
        }
    }
}

#[test]
fn replies_find_their_calls_and_errors_come_as_they_are() {
    let mut peer = peer(JsonRpc::new());
    let mut out = Vec::new();
    for tag in 1..=8 {
        peer.call(NOW, Call::new("m", b""), tag, &mut out).unwrap();
    }
    let (seen, sent) = serve(
        &mut peer,
        br#"{"jsonrpc":"2.0","id":1.0,"result":{"id":2}}
            [{"jsonrpc":"2.0","result":null,"id":2},{"jsonrpc":"2.0","id":3,"error":{"code":-5,"message":"a\"b","data":[1]}}]
            {"jsonrpc":"2.0","id":4,"error":"text"}{"jsonrpc":"2.0","id":5,"error":{"odd":1}}
            {"id":6,"result":1}{"jsonrpc":"2.0","id":7,"result":5,"error":null}{"jsonrpc":"2.0","id":8,"error":{"code":1,"message":""}}
            {"jsonrpc":"2.0","id":"9","result":1}{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#,
    );
    assert_eq!(
        seen,
        [
            r#"reply 1 None  {"id":2}"#,
            "reply 2 None  null",
            r#"reply 3 Some(-5) a\"b [1]"#,
            "reply 4 None text ",
            r#"reply 5 None error {"odd":1}"#,
            "reply 6 Some(-32600) Invalid answer ",
            "reply 7 None  5",
            "reply 8 Some(1) error ",
        ]
    );
    assert_eq!((sent.as_str(), peer.stats().unknown_replies), ("", 2));
}

#[test]
fn old_peers_are_answered_in_their_form() {
    let mut peer = peer(JsonRpc::new().lenient(true));
    let mut out = Vec::new();
    peer.call(NOW, Call::new("m", b"[1]"), 1, &mut out).unwrap();
    let (seen, sent) = serve(
        &mut peer,
        br#"{"method":"a","params":[{}],"id":"x"}{"id":1,"result":null,"error":"no"}{"method":"b","params":5,"id":2}"#,
    );
    assert_eq!(seen, ["request a [{}]", "reply 1 None no "]);
    assert_eq!(
        sent,
        concat!(
            r#"{"id":"x","result":["a"],"error":null}"#,
            "\n",
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32600,"message":"Invalid Request"}}"#,
            "\n"
        )
    );
}

#[test]
fn pings_are_answered_and_cancels_understood_where_switched_on() {
    let dialect = JsonRpc::new().cancel_method(Some(codes::CANCEL_REQUEST));
    let (mut client, mut server) = (peer(dialect.clone()), peer(dialect));
    let mut up = Vec::new();
    client.ping(NOW, 4, Instant::FAR, 1, &mut up).unwrap();
    let call = client.call(NOW, Call::new("slow", b""), 2, &mut up).unwrap();
    let mut token = requests(&mut server, &up).pop().unwrap();
    let mut down = Vec::new();
    assert!(server.poll_transmit(&mut down).unwrap().is_some());
    assert_eq!(down, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}\n");
    let (seen, _) = serve(&mut client, &down);
    assert_eq!(seen.len(), 1);
    assert!(seen[0].starts_with("Pong"), "{seen:?}");

    assert_eq!(client.cancel(call), Some(2));
    up.clear();
    assert!(client.poll_transmit(&mut up).unwrap().is_some());
    assert_eq!(up, b"{\"jsonrpc\":\"2.0\",\"method\":\"$/cancelRequest\",\"params\":{\"id\":2}}\n");
    let step = server.handle_input(NOW, &up).unwrap();
    assert!(matches!(step.what, What::Incoming(Incoming::Cancel { request }) if request == token.key()));
    down.clear();
    let cancelled = Reply::error("", "").meta(Notes { error: Some(codes::CANCELLED), ..Notes::default() });
    token = {
        server.reply(token, cancelled, &mut down).unwrap();
        let step = server.handle_input(NOW, &up).unwrap();
        assert!(matches!(step.what, What::Handled), "it is answered already");
        let mut again = Vec::new();
        client.call(NOW, Call::new("slow", b""), 3, &mut again).unwrap();
        requests(&mut server, &again).pop().unwrap()
    };
    server.abandon(token);
    assert_eq!(
        down,
        b"{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32800,\"message\":\"Request cancelled\"}}\n"
    );
}

#[test]
fn p17_long_messages_are_refused_in_constant_memory() {
    let limits = Limits::new().max_payload(100).max_method(20);
    let longest = 100 + 20 + 1024;
    for framing in [Framing::Lines, Framing::Units, Framing::ContentLength] {
        let long = "x".repeat(3 * longest);
        let mut input = Vec::new();
        for text in [
            format!(r#"{{"jsonrpc":"2.0","id":"early","method":"m","params":["{long}"]}}"#),
            format!(r#"{{"jsonrpc":"2.0","method":"m","params":["{long}"],"id":"late"}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{long}"}}"#),
            format!(r#"{{"jsonrpc":"2.0","result":["{long}",{{"id":1,"method":"no"}}],"id":2}}"#),
            format!(r#"{{"jsonrpc":"2.0","method":"m","params":["{long}"]}}"#),
            format!(r#"[{{"id":1}},"{long}"]"#),
            format!(r#"{{"jsonrpc":"2.0","{long}_id":3,"{long}":["id",4],"method":"m","id":["{long}"]}}"#),
            format!(r#"{{"jsonrpc":"2.0","method":"m","params":["{}"],"id":5}}"#, "y".repeat(100)),
            r#"{"jsonrpc":"2.0","method":"m","id":6}"#.to_string(),
        ] {
            input.extend(framed(framing, &text));
        }
        for size in [input.len(), 700, 3] {
            let mut peer = Peer::new(JsonRpc::new().framing(framing), limits.clone());
            for tag in [7, 8] {
                peer.call(NOW, Call::new("m", b""), tag, &mut Vec::new()).unwrap();
            }
            let (mut seen, mut sent, mut held) = (Vec::new(), String::new(), Vec::new());
            for piece in input.chunks(size) {
                held.extend_from_slice(piece);
                let (saw, wrote, taken) = serve_some(&mut peer, &held);
                held.drain(..taken);
                assert!(held.len() < longest + size, "{framing:?}: {} bytes are kept", held.len());
                seen.extend(saw);
                sent.push_str(&wrote);
            }
            assert!(held.is_empty());
            let len = if framing == Framing::Lines { longest } else { 3 * longest + 36 };
            assert_eq!(seen.len(), 3, "{framing:?}: {seen:?}");
            assert!(seen[0].contains("BadReply") && seen[0].contains(&format!("len: {len}")), "{seen:?}");
            assert_eq!(seen[1..], ["reply 8 Some(-32600) Answer too large ", "request m "]);
            let refusal = |id: &str| {
                let error = r#""error":{"code":-32600,"message":"Request too large"}}"#;
                format!(r#"{{"jsonrpc":"2.0","id":{id},{error}"#)
            };
            let expected: Vec<String> = ["\"early\"", "\"late\"", "null", "null", "5"].map(refusal).into();
            for (expected, at) in expected.iter().zip(sent.match_indices("{\"jsonrpc\"").map(|(at, _)| at)) {
                assert!(sent[at..].starts_with(expected), "{framing:?}: {expected} in {sent}");
            }
            assert_eq!(sent.matches("Request too large").count(), expected.len(), "{framing:?}: {sent}");
        }
    }
}

fn framed(framing: Framing, text: &str) -> Vec<u8> {
    match framing {
        Framing::Lines => format!("{text}\n").into_bytes(),
        Framing::ContentLength => format!("Content-Length: {}\r\n\r\n{text}", text.len()).into_bytes(),
        Framing::Units => [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat(),
    }
}

#[test]
fn p17_batches_beyond_their_limits_run_nothing() {
    let dialect = JsonRpc::new().max_batch(2);
    let one = r#"{"jsonrpc":"2.0","method":"m","id":1}"#;
    let mut peer = peer(dialect);
    let (seen, sent) = serve(&mut peer, format!("[{one},{one},{one}][{one},{one}]").as_bytes());
    assert_eq!(seen.len(), 2);
    assert!(sent.starts_with(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"#));
    let mut small = Peer::new(JsonRpc::new(), Limits::new().max_payload(50));
    let mut tokens = requests(&mut small, format!("[{one},{one}]").as_bytes());
    let mut out = Vec::new();
    small.reply(tokens.remove(0), Reply::ok(&vec![b'1'; 60]), &mut out).unwrap();
    let (seen, sent) = serve(&mut small, format!("[{one}]").as_bytes());
    assert!(seen.is_empty() && sent.contains("Busy"), "{seen:?} {sent}");
    small.reply(tokens.remove(0), Reply::ack(), &mut out).unwrap();
    assert_eq!(serve(&mut small, format!("[{one}]").as_bytes()).0.len(), 1);
}

/// A peer that sends and never reads: what is kept for it stays within a bound
#[test]
fn p17_a_peer_that_never_reads_makes_nothing_grow() {
    let limits = Limits::new().max_unanswered(4).max_payload(2000);
    let flood = [
        "[1]",
        "[1,2,3,4,5,6,7,8]",
        "{}",
        "nonsense\n",
        r#"[{"jsonrpc":"2.0","method":"m","id":1},5,5,5,5,5,5,5,5,5]"#,
        r#"{"jsonrpc":"2.0","method":"rpc.ping","id":2}"#,
    ];
    let mut peer = Peer::new(JsonRpc::new(), limits);
    let (mut kept, mut blocked) = (Vec::new(), 0);
    for round in 0..2000 {
        let mut rest = flood[round % flood.len()].as_bytes();
        loop {
            let step = peer.handle_input(NOW, rest).unwrap();
            rest = &rest[step.consumed..];
            match step.what {
                What::Incoming(Incoming::Request { token, .. }) => kept.push(token),
                What::Blocked => {
                    // The owner gets one of them out, and the rest comes again.
                    blocked += 1;
                    assert!(peer.poll_transmit(&mut Vec::new()).unwrap().is_some());
                }
                What::NeedMore { .. } => break,
                What::Handled | What::Incoming(_) => {}
            }
        }
        assert!(kept.len() <= 4 && peer.dialect().held() < 2 * 2000, "{}", peer.dialect().held());
    }
    assert!(blocked > 500, "{blocked}");
}

#[test]
fn calls_of_ours_go_out_as_a_batch_and_are_answered_by_one() {
    let (mut client, mut server) = (peer(JsonRpc::new()), peer(JsonRpc::new()));
    let mut elements = Vec::new();
    client.dialect_mut().begin_batch();
    client.call(NOW, Call::new("a", b"[1]"), 1, &mut elements).unwrap();
    elements.push(b',');
    client.notify(NOW, Call::new("n", b"{\n}"), &mut elements).unwrap();
    elements.push(b',');
    client.call(NOW, Call::new("b", b""), 2, &mut elements).unwrap();
    let mut memory = [0; 200];
    let mut up = SliceSink::new(&mut memory);
    let len = client.dialect_mut().end_batch(&elements, &mut up).unwrap();
    assert_eq!(len, up.written().len());
    let (seen, down) = serve(&mut server, up.written());
    assert_eq!(seen, ["request a [1]", "notification n { }", "request b "]);
    assert_eq!(down.lines().count(), 1);
    assert_eq!(serve(&mut client, down.as_bytes()).0, [r#"reply 1 None  ["a"]"#, r#"reply 2 None  ["b"]"#]);
}
