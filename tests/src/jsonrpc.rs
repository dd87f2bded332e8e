//! JSON-RPC connections fed with texts, for the tests of that dialect

use flyrpc_core::jsonrpc::{Framing, JsonRpc, Notes, codes};
use flyrpc_core::{CloseReason, Connection, Incoming, Instant, Limits, Reply, ReplyToken, Table, What};

/// The connection under test
pub type Conn = Connection<JsonRpc, Table<u32>>;

/// All framings
pub const FRAMINGS: [Framing; 3] = [Framing::Lines, Framing::ContentLength, Framing::Units];

/// What an application answers: a result as JSON, or an error with code, message, data as JSON or nothing
pub type Answer = Result<String, (i64, String, String)>;

/// What an application does with a request: its method and parameters as they came; `None` to answer later
pub type Service<'s> = &'s dyn Fn(&str, &str) -> Option<Answer>;

/// Everything that a connection says of some input, and what it sends
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// A line for each event
    pub events: Vec<String>,
    /// Bytes consumed
    pub consumed: usize,
    /// What it sends
    pub sent: Vec<u8>,
    /// What it says when the stream ends here
    pub end: Option<CloseReason>,
}

/// One message with its frame
///
/// # Panics
/// For a framing that is not among [`FRAMINGS`].
#[must_use]
pub fn framed(framing: Framing, text: &[u8]) -> Vec<u8> {
    match framing {
        Framing::ContentLength => {
            [format!("Content-Length: {}\r\n\r\n", text.len()).as_bytes(), text].concat()
        }
        Framing::Units => [&(text.len() as u32).to_be_bytes()[..], text].concat(),
        Framing::Lines => [text, b"\n"].concat(),
        _ => panic!("{framing:?} is new"),
    }
}

/// The messages in what a connection sent
///
/// # Panics
/// When they are not framed as they should be.
#[must_use]
pub fn unframed(framing: Framing, mut sent: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while !sent.is_empty() {
        let (header, len, end) = match framing {
            Framing::ContentLength => {
                let header = sent.windows(4).position(|four| four == b"\r\n\r\n").expect("a header") + 4;
                let field = core::str::from_utf8(&sent[..header]).expect("text").trim();
                let len =
                    field.strip_prefix("Content-Length: ").expect("a length").parse().expect("a number");
                (header, len, 0)
            }
            Framing::Units => {
                let len = sent.first_chunk().expect("a length");
                (4, u32::from_be_bytes(*len) as usize, 0)
            }
            Framing::Lines => (0, sent.iter().position(|byte| *byte == b'\n').expect("a line end"), 1),
            _ => panic!("{framing:?} is new"),
        };
        messages.push(String::from_utf8(sent[header..header + len].to_vec()).expect("text"));
        sent = &sent[header + len + end..];
    }
    messages
}

/// Feeds `input` to a connection in pieces that end at `cuts`; requests that `service` leaves are answered last, in order
///
/// # Panics
/// When it asks for what it has, or a reply is refused.
pub fn feed(mut conn: Conn, service: Service<'_>, input: &[u8], cuts: &[usize]) -> Seen {
    let mut seen = Seen { events: Vec::new(), consumed: 0, sent: Vec::new(), end: None };
    let mut late = Vec::new();
    for end in cuts.iter().copied().chain([input.len()]) {
        if !drain(&mut conn, service, &input[..end], &mut seen, &mut late) {
            break;
        }
    }
    for (token, method) in late {
        let answer = service(&format!("late {method}"), "").unwrap_or_else(|| Ok("null".to_owned()));
        reply(&mut conn, token, &answer, &mut seen.sent);
    }
    while let Ok(Some(_)) = conn.poll_transmit(&mut seen.sent) {}
    conn.handle_eof(Instant::ZERO);
    seen.end = conn.close_reason();
    seen
}

/// False once the connection has failed
fn drain(
    conn: &mut Conn,
    service: Service<'_>,
    input: &[u8],
    seen: &mut Seen,
    late: &mut Vec<(ReplyToken<JsonRpc>, String)>,
) -> bool {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut idle = 0;
    loop {
        let step = match conn.handle_input(Instant::ZERO, &input[seen.consumed..]) {
            Ok(step) => step,
            Err(error) => {
                seen.events.push(format!("{error}"));
                return false;
            }
        };
        seen.consumed += step.consumed;
        idle = if step.consumed > 0 { 0 } else { idle + 1 };
        assert!(idle < 4, "goes round without taking anything");
        match step.what {
            What::NeedMore { at_least } => {
                assert!(at_least > input.len() - seen.consumed, "asks for what it has");
                return true;
            }
            What::Blocked | What::Handled => {}
            What::Incoming(Incoming::Request { method, body, meta, token }) => {
                let (method, params) = (text(method), text(body.bytes()));
                let id = text(conn.dialect().id(token.key()).unwrap_or_default());
                seen.events.push(format!("request {id} {method} {meta:?} {params}"));
                match service(&method, &params) {
                    Some(answer) => reply(conn, token, &answer, &mut seen.sent),
                    None => late.push((token, method)),
                }
            }
            What::Incoming(Incoming::Notification { method, body, meta }) => {
                seen.events.push(format!("notification {} {meta:?} {}", text(method), text(body.bytes())));
            }
            What::Incoming(Incoming::Reply { tag, code, body, meta, .. }) => {
                seen.events.push(format!(
                    "reply #{tag} {:?} {} {}",
                    meta.error,
                    text(code),
                    text(body.bytes())
                ));
            }
            What::Incoming(other) => seen.events.push(format!("{other:?}")),
        }
        while let Ok(Some(_)) = conn.poll_transmit(&mut seen.sent) {}
    }
}

/// Answers one request
///
/// # Panics
/// When the connection refuses.
pub fn reply(conn: &mut Conn, token: ReplyToken<JsonRpc>, answer: &Answer, out: &mut Vec<u8>) {
    let reply = match answer {
        Ok(result) => Reply::ok(result),
        Err((code, message, data)) => {
            Reply::error(message, data).meta(Notes { error: Some(*code), ..Notes::default() })
        }
    };
    assert!(conn.reply(token, reply, out).is_ok(), "refused: {answer:?}");
}

/// Asserts that `input` gives the same events and answers whole, byte by byte, and at every single cut
///
/// Inputs longer than 600 bytes are cut at a prime stride instead of everywhere. Returns what they all gave.
///
/// # Panics
/// When two ways of feeding differ.
pub fn assert_invariant(name: &str, conn: &dyn Fn() -> Conn, service: Service<'_>, input: &[u8]) -> Seen {
    let whole = feed(conn(), service, input, &[]);
    let stride = if input.len() <= 600 { 1 } else { (input.len() / 97) | 1 };
    let cuts: Vec<usize> = (0..=input.len()).step_by(stride).collect();
    assert_eq!(feed(conn(), service, input, &cuts), whole, "{name}: byte by byte");
    for cut in cuts {
        assert_eq!(feed(conn(), service, input, &[cut]), whole, "{name}: cut at {cut}");
    }
    whole
}

/// A connection with the usual limits
#[must_use]
pub fn conn(dialect: JsonRpc) -> Conn {
    Conn::new(dialect, Limits::new())
}

/// The services that the recorded programs had, and those of the specification's examples
#[must_use]
pub fn demo(method: &str, params: &str) -> Option<Answer> {
    let error = |code: i64| Err((code, codes::message(code).to_owned(), String::new()));
    if method == "late Arith.Slow" {
        return Some(Ok("200".to_owned()));
    }
    let params: serde_json::Value = if params.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::from_str(params).expect("a message is JSON")
    };
    let int = |name: &str| params[name].as_i64().or_else(|| params[0][name].as_i64());
    let place = |place: usize| params[place].as_i64();
    Some(match method {
        "Arith.Slow" => return None,
        "Arith.Multiply" => match (int("A"), int("B")) {
            (Some(a), Some(b)) => Ok((a * b).to_string()),
            _ => error(codes::INVALID_PARAMS),
        },
        "Arith.Divide" => match (int("A"), int("B")) {
            (Some(_), Some(0)) => Err((codes::BUSY, "divide by zero".to_owned(), String::new())),
            (Some(a), Some(b)) => Ok(format!("{{\"Quo\":{},\"Rem\":{}}}", a / b, a % b)),
            _ => error(codes::INVALID_PARAMS),
        },
        "Arith.Coded" => Err((-32050, "coded".to_owned(), "{\"k\":1}".to_owned())),
        "Arith.Sum" | "sum" => {
            let list = params.as_array().map(|list| list.iter().filter_map(serde_json::Value::as_i64));
            list.map_or_else(|| error(codes::INVALID_PARAMS), |list| Ok(list.sum::<i64>().to_string()))
        }
        "subtract" => match (int("minuend").or_else(|| place(0)), int("subtrahend").or_else(|| place(1))) {
            (Some(a), Some(b)) => Ok((a - b).to_string()),
            _ => error(codes::INVALID_PARAMS),
        },
        "get_data" => Ok("[\"hello\",5]".to_owned()),
        _ => error(codes::METHOD_NOT_FOUND),
    })
}
