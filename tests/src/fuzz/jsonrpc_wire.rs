//! Arbitrary bytes as JSON-RPC, beside `serde_json`

use flyrpc_core::jsonrpc::{Framing, JsonRpc, Notes, codes, unescape};
use flyrpc_core::{Call, Incoming, Instant, Limits, Overload, Oversize, Refusal, What};
use serde_json::Value;

use crate::Rng;
use crate::jsonrpc::{Conn, FRAMINGS, demo, feed, framed, unframed};

/// How deep and how many digits the dialect takes here
const DEPTH: u8 = 16;
const DIGITS: usize = 1024;
/// Calls in flight, so that replies have something to answer
const CALLS: u32 = 3;

/// Reads `data` as one unit, as a payload, and as a stream
///
/// * The dialect takes it for JSON where `serde_json` does, but for nesting and for long numbers.
/// * Where it is JSON, each message is what `serde_json`'s tree says, the members with their values, the last of a name; and
///   each that is invalid is answered, with the id where that is legal.
/// * A payload is taken where it is JSON, goes out as one line, and comes back as the same value.
/// * As a stream, under limits that the first byte chooses, it gives the same events and answers however it is cut. Where its
///   bit 0x40 is set, each byte 0x7f stands for 700 of them, so that messages beyond the limits are met.
pub fn jsonrpc_wire(data: &[u8]) {
    let value = oracle(data);
    as_unit(data, &value);
    as_payload(data, &value);
    if let Some((choice, stream)) = data.split_first() {
        if choice & 0x40 == 0 {
            as_stream(*choice, stream);
        } else {
            as_stream(*choice, &stretched(stream));
        }
    }
}

/// What `serde_json` says of a text
enum Oracle {
    NotJson,
    /// JSON, but beyond the dialect's limits
    Beyond,
    /// JSON that has no tree there: half surrogate pairs, numbers without an end
    NoTree,
    Tree(Value),
}

fn oracle(data: &[u8]) -> Oracle {
    let Ok(text) = core::str::from_utf8(data) else { return Oracle::NotJson };
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Oracle::NotJson;
    }
    let (depth, digits) = measure(data);
    if depth > usize::from(DEPTH) || digits > DIGITS {
        return Oracle::Beyond;
    }
    serde_json::from_str(text).map_or(Oracle::NoTree, Oracle::Tree)
}

/// Depth and the longest number of a JSON text
fn measure(text: &[u8]) -> (usize, usize) {
    let (mut depth, mut deepest, mut number, mut longest) = (0_usize, 0, 0, 0);
    let (mut string, mut escape) = (false, false);
    for byte in text {
        if string {
            (string, escape) = (escape || *byte != b'"', !escape && *byte == b'\\');
            continue;
        }
        number = if matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') { number + 1 } else { 0 };
        longest = longest.max(number);
        match byte {
            b'"' => string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    (deepest, longest)
}

/// A message as the connection hands it out
#[derive(Debug, PartialEq)]
enum Message {
    Request {
        id: Value,
        method: String,
        params: Option<Value>,
    },
    Notification {
        method: String,
        params: Option<Value>,
    },
    Reply {
        call: u32,
        error: Option<Value>,
        body: Option<Value>,
    },
    /// An answer of the connection's own
    Own {
        id: Value,
        code: i64,
    },
}

fn as_unit(data: &[u8], value: &Oracle) {
    for lenient in [false, true] {
        let dialect = JsonRpc::new().framing(Framing::Units).max_depth(DEPTH).lenient(lenient);
        let messages = messages(dialect, data, matches!(value, Oracle::Tree(_)));
        match value {
            Oracle::NotJson | Oracle::Beyond => {
                let error = Message::Own { id: Value::Null, code: codes::PARSE_ERROR };
                assert_eq!(messages, [error]);
            }
            Oracle::NoTree => {
                let error =
                    |message: &Message| matches!(message, Message::Own { code: codes::PARSE_ERROR, .. });
                assert!(!messages.iter().any(error), "it is JSON");
            }
            Oracle::Tree(tree) => {
                // What the tree does not tell: the spelling of numbers, and how long an id is as it came.
                let spelt =
                    data.len() > 1000 || data.iter().any(|byte| matches!(byte, b'e' | b'E' | b'.' | b'-'));
                let expected = expected(tree, lenient);
                if !spelt || !has_number_id(tree) {
                    assert_eq!(messages, expected);
                }
            }
        }
    }
}

fn has_number_id(tree: &Value) -> bool {
    if let Value::Array(elements) = tree {
        return elements.iter().any(has_number_id);
    }
    tree["id"].is_number() || tree["error"]["code"].is_number()
}

/// What a connection makes of one unit; `tree` says that its values can be read
fn messages(dialect: JsonRpc, data: &[u8], tree: bool) -> Vec<Message> {
    let value = |raw: &[u8]| -> Option<Value> {
        if raw.is_empty() || !tree {
            None
        } else {
            Some(serde_json::from_slice(raw).expect("it was read as JSON"))
        }
    };
    let text = |raw: &[u8], notes: Notes| {
        assert_eq!(notes.escaped, raw.contains(&b'\\'));
        unescape(raw).into_owned()
    };
    let input = framed(Framing::Units, data);
    let mut conn = caller(dialect, &Limits::new());
    let (mut messages, mut rest, mut out) = (Vec::new(), &input[..], Vec::new());
    loop {
        let step = conn.handle_input(Instant::ZERO, rest).expect("units end no connection");
        rest = &rest[step.consumed..];
        match step.what {
            What::NeedMore { .. } => break,
            What::Handled | What::Blocked => {}
            What::Incoming(Incoming::Request { method, body, meta, token }) => {
                let id = conn.dialect().id(token.key()).expect("it is owed");
                let id = value(id).unwrap_or_default();
                messages.push(Message::Request {
                    id,
                    method: text(method, meta),
                    params: value(body.bytes()),
                });
                conn.abandon(token);
            }
            What::Incoming(Incoming::Notification { method, body, meta }) => {
                messages
                    .push(Message::Notification { method: text(method, meta), params: value(body.bytes()) });
            }
            What::Incoming(Incoming::Reply { tag, code, body, meta, .. }) => {
                let error = (!code.is_empty())
                    .then(|| serde_json::json!({ "code": meta.error, "message": text(code, meta) }));
                messages.push(Message::Reply { call: tag, error, body: value(body.bytes()) });
            }
            What::Incoming(other) => panic!("{other:?}"),
        }
        while let Ok(Some(_)) = conn.poll_transmit(&mut out) {}
    }
    assert!(rest.is_empty());
    for answer in unframed(Framing::Units, &out) {
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let answers = if let Value::Array(answers) = answer { answers } else { vec![answer] };
        messages.extend(answers.into_iter().map(|answer| Message::Own {
            id: answer["id"].clone(),
            code: answer["error"]["code"].as_i64().unwrap_or(0),
        }));
    }
    messages
}

/// What a message is by its tree: what is handed out, then what is answered
fn expected(tree: &Value, lenient: bool) -> Vec<Message> {
    let elements = tree.as_array().map_or_else(|| core::slice::from_ref(tree), Vec::as_slice);
    if elements.is_empty() || elements.len() > 1024 {
        return vec![Message::Own { id: Value::Null, code: codes::INVALID_REQUEST }];
    }
    let mut calls: Vec<u32> = (1..=CALLS).collect();
    let all = elements.iter().filter_map(|element| expected_one(element, lenient, &mut calls));
    let (own, mut messages): (Vec<_>, Vec<_>) =
        all.partition(|message| matches!(message, Message::Own { .. }));
    messages.extend(own);
    messages
}

fn expected_one(tree: &Value, lenient: bool, calls: &mut Vec<u32>) -> Option<Message> {
    let id = tree.get("id");
    let legal = id.filter(|id| id.is_null() || id.is_string() || id.is_number());
    let invalid =
        || Some(Message::Own { id: legal.cloned().unwrap_or_default(), code: codes::INVALID_REQUEST });
    let version = lenient || tree["jsonrpc"] == "2.0";
    let Some(method) = tree.get("method") else {
        if tree.get("result").is_none() && tree.get("error").is_none() {
            return invalid();
        }
        let sequence = legal.and_then(Value::as_u64)?;
        let at = calls.iter().position(|call| u64::from(*call) == sequence)?;
        return Some(expected_reply(tree, version, calls.remove(at)));
    };
    let Some(method) = method.as_str() else { return invalid() };
    let params = tree.get("params").filter(|params| !params.is_null()).cloned();
    let sound = params.as_ref().is_none_or(|params| params.is_array() || params.is_object());
    if !version || !sound || method.len() > 1000 {
        return id.and_then(|_| invalid());
    }
    match id {
        None if method == codes::PING => None,
        None => Some(Message::Notification { method: method.to_owned(), params }),
        Some(_) if legal.is_none() => invalid(),
        Some(id) if method == codes::PING => Some(Message::Own { id: id.clone(), code: 0 }),
        Some(id) => Some(Message::Request { id: id.clone(), method: method.to_owned(), params }),
    }
}

fn expected_reply(tree: &Value, version: bool, call: u32) -> Message {
    let (result, error) = (tree.get("result").cloned(), &tree["error"]);
    let told = |code: Option<i64>, message: &str, body| {
        let message = if message.is_empty() { "error" } else { message };
        let error = serde_json::json!({ "code": code, "message": message });
        Message::Reply { call, error: Some(error), body }
    };
    if !version || (result.is_none() && error.is_null()) {
        return told(Some(codes::INVALID_REQUEST), "Invalid answer", None);
    }
    if error.is_null() {
        return Message::Reply { call, error: None, body: result };
    }
    let (code, message) = (error["code"].as_i64(), error["message"].as_str());
    if let Value::String(text) = error {
        return told(None, text, None);
    }
    if error.is_object() && (code.is_some() || message.is_some()) {
        return told(code, message.unwrap_or_default(), error.get("data").cloned());
    }
    told(None, "", Some(error.clone()))
}

fn caller(dialect: JsonRpc, limits: &Limits) -> Conn {
    let mut conn = Conn::new(dialect, limits.clone());
    for tag in 1..=CALLS {
        // Refused where the limits allow no method of one byte.
        let _ = conn.call(Instant::ZERO, Call::new("m", b""), tag, &mut Vec::new());
    }
    conn
}

fn as_payload(data: &[u8], value: &Oracle) {
    let mut conn = Conn::new(JsonRpc::new(), Limits::new());
    let mut out = Vec::new();
    let called = conn.call(Instant::ZERO, Call::new("m", data), 1, &mut out);
    let structured = data.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_json = !matches!(value, Oracle::NotJson) && measure(data).1 <= DIGITS && measure(data).0 <= 125;
    if data.is_empty() || is_json && matches!(structured, Some(b'{' | b'[')) {
        assert!(called.is_ok(), "it is JSON, and an array or object");
        let lines = unframed(Framing::Lines, &out);
        assert_eq!(lines.len(), 1);
        if let Oracle::Tree(tree) = value {
            let sent: Value = serde_json::from_str(&lines[0]).expect("what is sent is JSON");
            assert_eq!(sent["params"], *tree);
        }
    } else {
        assert_eq!(called.map_err(|refused| refused.why), Err(Refusal::BadPayload));
        assert!(out.is_empty());
    }
}

fn stretched(stream: &[u8]) -> Vec<u8> {
    let mut left = 8;
    let mut longer = Vec::new();
    for byte in stream {
        let stretch = *byte == 0x7f && left > 0;
        left -= usize::from(stretch);
        longer.extend(core::iter::repeat_n(*byte, if stretch { 700 } else { 1 }));
    }
    longer
}

fn as_stream(choice: u8, stream: &[u8]) {
    let framing = FRAMINGS[usize::from(choice) % 3];
    let oversize = if choice & 4 == 0 { Oversize::Refuse } else { Oversize::Stream };
    let overload = if choice & 8 == 0 { Overload::Refuse } else { Overload::Wait };
    let payload = [1 << 16, 8, 100, 0][usize::from(choice >> 4 & 3)];
    let limits = Limits::new().max_payload(payload).max_method(16).max_unanswered(2).oversize(oversize);
    // Under `Wait` what is answered late would block for ever.
    let limits =
        if overload == Overload::Wait { limits.max_unanswered(9).overload(overload) } else { limits };
    let conn = || {
        let dialect = JsonRpc::new().framing(framing).max_depth(DEPTH).max_batch(4);
        caller(dialect.cancel_method(Some(codes::CANCEL_REQUEST)), &limits)
    };
    let service = |method: &str, params: &str| match method {
        "late" if overload == Overload::Refuse => None,
        _ => demo("get_data", params),
    };
    let whole = feed(conn(), &service, stream, &[]);
    for message in unframed(framing, &whole.sent) {
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(&message).is_ok(), "what is sent is JSON");
    }
    let all: Vec<usize> = (0..stream.len()).collect();
    if stream.len() <= 6000 {
        assert_eq!(feed(conn(), &service, stream, &all), whole, "byte by byte");
    }
    let mut rng = Rng::new(u64::from(choice));
    let some: Vec<usize> = all.into_iter().filter(|_| rng.one_in(1 + u64::from(choice >> 3))).collect();
    assert_eq!(feed(conn(), &service, stream, &some), whole, "cut by seed {choice}");
}
