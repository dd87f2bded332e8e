//! P18: the same JSON-RPC bytes give the same events and answers however they are split, in every framing

use flyrpc_core::jsonrpc::{Framing, JsonRpc, codes};
use flyrpc_core::{Call, CloseReason, Incoming, Instant, Limits, Overload, Oversize, Reply, What};
use flyrpc_tests::jsonrpc::{Conn, FRAMINGS, Seen, assert_invariant, conn, demo, framed};
use flyrpc_tests::vectors::load;

/// A connection with three calls in flight, so that replies have something to answer
fn caller(dialect: JsonRpc, limits: &Limits) -> Conn {
    let mut conn = Conn::new(dialect, limits.clone());
    for tag in 1..=3 {
        let called = conn.call(Instant::ZERO, Call::new("m", b""), tag, &mut Vec::new());
        assert!(called.is_ok());
    }
    conn
}

fn check(name: &str, framing: Framing, limits: &Limits, input: &[u8]) -> Seen {
    let dialect = || JsonRpc::new().framing(framing).cancel_method(Some(codes::CANCEL_REQUEST));
    assert_invariant(name, &|| caller(dialect(), limits), &demo, input)
}

#[test]
fn p18_every_recorded_text_in_every_framing() {
    let (mut texts, mut events) = (0, 0);
    for case in ["spec_examples", "edge_cases"].iter().flat_map(|file| load(&format!("jsonrpc/{file}.json")))
    {
        let text = case["request_text"].as_str().expect("a text");
        let observed = case["observed"].as_object().expect("observations");
        let replies = observed.values().filter_map(|seen| seen["reply"].as_str());
        for text in [text].into_iter().chain(replies) {
            for framing in FRAMINGS {
                let input = framed(framing, text.as_bytes());
                events += check(text, framing, &Limits::new(), &input).events.len();
                texts += 1;
            }
        }
    }
    println!("{texts} texts, {events} events");
    assert!(texts > 300 && events > 100);
}

#[test]
fn p18_recorded_streams_as_they_went_over_the_wire() {
    let mut streams = 0;
    for case in ["go_jsonrpc1", "go_jsonrpc1_raw", "go_jsonrpc2"]
        .iter()
        .flat_map(|file| load(&format!("jsonrpc/{file}.json")))
    {
        let texts = |list: &str, dir: Option<&str>| -> String {
            let steps = case[list].as_array().into_iter().flatten();
            steps
                .filter(|step| step["dir"].as_str() == dir)
                .filter_map(|step| step["text"].as_str())
                .collect()
        };
        for stream in [texts("steps", Some("c2s")), texts("steps", Some("s2c")), texts("writes", None)] {
            let lenient = || conn(JsonRpc::new().lenient(true));
            assert_invariant("lenient", &lenient, &demo, stream.as_bytes());
            check("strict", Framing::Lines, &Limits::new(), stream.as_bytes());
            streams += 1;
        }
    }
    assert!(streams > 60);
}

const CALL: &str = r#"{"jsonrpc":"2.0","method":"Arith.Multiply","params":{"A":7,"B":8},"id":"é😀\u00e9"}"#;

#[test]
fn p18_many_messages_of_all_kinds_one_behind_the_other() {
    let messages = [
        CALL,
        r#"{"jsonrpc":"2.0","method":"Arith.Slow","id":77}"#,
        r#"{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":77}}"#,
        r#" [ {"jsonrpc":"2.0","method":"Arith.Slow","id":5},1,{"jsonrpc":"2.0","method":"n"}, {"id":1,"jsonrpc":"2.0","result":-1.5e3}] "#,
        r#"{"jsonrpc":"2.0","method":"rpc.ping","id":-0.5}"#,
        r#"[{"jsonrpc":"2.0","method":"rpc.ping","id":6},[],{"jsonrpc":"2.0","method":"n","params":"x"}]"#,
        r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"é\"","data":[{}]},"id":2}"#,
        r#"{"jsonrpc":"2.0","result":{"id":3},"id":3}"#,
        r#"{"jsonrpc":"2.0","result":null,"id":99}"#,
        "[]",
        "5",
        "nul",
        "{\"a\" b}",
        "\"\\x\"",
    ];
    for framing in FRAMINGS {
        let input: Vec<u8> = messages.iter().flat_map(|text| framed(framing, text.as_bytes())).collect();
        let seen = check("all", framing, &Limits::new(), &input);
        assert_eq!(seen.end, Some(CloseReason::PeerClosed));
        assert_eq!(seen.consumed, input.len());
        assert_eq!(seen.events.iter().filter(|event| event.starts_with("reply #")).count(), 3, "{seen:?}");
        assert!(seen.events.iter().any(|event| event.starts_with("Cancel")), "{seen:?}");
    }
    // Without anything between them, where the texts are whole.
    let input = messages[..9].concat();
    let seen = check("close", Framing::Lines, &Limits::new(), input.as_bytes());
    assert_eq!(seen.consumed, input.len());
    assert_eq!(seen.events.len(), 8, "{seen:?}");
}

#[test]
fn p18_messages_around_the_limits() {
    let limits = Limits::new().max_payload(64).max_method(16);
    let longest = 64 + 16 + 1024;
    for framing in FRAMINGS {
        for oversize in [Oversize::Refuse, Oversize::Stream] {
            let limits = limits.clone().oversize(oversize);
            for len in
                [1, 60, 62, 63, 200, longest - 55, longest - 38, longest - 37, longest - 36, 2 * longest]
            {
                let long = "x".repeat(len);
                for text in [
                    format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{long}"}}"#),
                    format!(r#"{{"jsonrpc":"2.0","result":"{long}","id":1}}"#),
                    format!(r#"{{"jsonrpc":"2.0","id":4,"method":"m","params":["{long}"]}}"#),
                    format!(r#"[{{"jsonrpc":"2.0","method":"m","params":["{long}"],"id":4}},{CALL}]"#),
                    format!("{}{long}", " ".repeat(len)),
                ] {
                    let input = [framed(framing, text.as_bytes()), framed(framing, CALL.as_bytes())].concat();
                    let name = format!("{framing:?} {oversize:?} {len} {}", &text[..30.min(text.len())]);
                    let seen = check(&name, framing, &limits, &input);
                    assert_eq!(seen.consumed, input.len(), "{name}");
                    let last = seen.events.last().map(String::as_str).unwrap_or_default();
                    assert!(last.contains("Arith.Multiply"), "{name}: {seen:?}");
                }
            }
        }
    }
}

#[test]
fn p18_overload_and_frames_that_end_the_connection() {
    let slow = r#"{"jsonrpc":"2.0","method":"Arith.Slow","id":1}"#;
    let batch = format!("[{slow},{slow},{CALL},{slow}]{slow}");
    let limits = Limits::new().max_unanswered(2).overload(Overload::Refuse);
    for framing in [Framing::Lines, Framing::ContentLength] {
        let texts = if framing == Framing::Lines {
            vec![batch.as_str()]
        } else {
            vec![&batch[..batch.len() - slow.len()], slow]
        };
        let input: Vec<u8> = texts.iter().flat_map(|text| framed(framing, text.as_bytes())).collect();
        let seen = check("busy", framing, &limits, &input);
        assert_eq!(seen.events.len(), 2, "{seen:?}");
    }
    for header in [
        "Content-Length: x\r\n\r\n{}",
        "Content-Type: a\r\n\r\n{}",
        "{}\r\n",
        "Content-Length: 99999999999\r\n\r\n",
    ] {
        let input = [&framed(Framing::ContentLength, CALL.as_bytes())[..], header.as_bytes()].concat();
        let seen = check(header, Framing::ContentLength, &Limits::new(), &input);
        assert!(matches!(seen.end, Some(CloseReason::Protocol(_))), "{header}: {seen:?}");
    }
}

/// A blocked request stays where it is, and is the same when it is handed in again, alone or with more behind it
#[test]
fn p18_a_blocked_request_does_not_change() {
    let limits = Limits::new().max_unanswered(1).overload(Overload::Wait);
    let one = |id: u32| format!(r#"{{"jsonrpc":"2.0","method":"m","params":[{id}],"id":{id}}}"#);
    for text in [format!("{}{}{}", one(1), one(2), one(3)), format!("[{},{},{}]", one(1), one(2), one(3))] {
        let mut conn = Conn::new(JsonRpc::new(), limits.clone());
        let (mut at, mut out, mut waiting, mut blocked, mut seen) = (0, Vec::new(), None, 0, Vec::new());
        let mut end = 0;
        while seen.len() < 3 || waiting.is_some() {
            end = (end + 1).min(text.len());
            let step = conn.handle_input(Instant::ZERO, &text.as_bytes()[at..end]).expect("good input");
            at += step.consumed;
            match step.what {
                What::Incoming(Incoming::Request { body, token, .. }) => {
                    assert!(waiting.is_none());
                    seen.push(String::from_utf8_lossy(body.bytes()).into_owned());
                    waiting = Some(token);
                }
                What::Blocked => {
                    blocked += 1;
                    if end == text.len()
                        && blocked % 3 == 0
                        && let Some(token) = waiting.take()
                    {
                        assert!(conn.reply(token, Reply::ack(), &mut out).is_ok());
                    }
                }
                What::NeedMore { .. } | What::Handled | What::Incoming(_)
                    if end == text.len() && seen.len() == 3 =>
                {
                    if let Some(token) = waiting.take() {
                        assert!(conn.reply(token, Reply::ack(), &mut out).is_ok());
                    }
                }
                What::NeedMore { .. } | What::Handled | What::Incoming(_) => {}
            }
        }
        assert_eq!(seen, ["[1]", "[2]", "[3]"]);
        assert!(blocked > 3);
        let ids = out.split(|byte| *byte == b'{').count() - 1;
        assert_eq!(ids, 3, "{}", String::from_utf8_lossy(&out));
    }
}
