//! JSON-RPC messages as people see them: read by the dialect itself, and answered by nobody

use core::fmt;

use flyrpc_core::jsonrpc::{Control, Framing, JsonRpc, Own, codes, is_json, member, unescape};
use flyrpc_core::{Decoded, Dialect, Limits, Message, Oversize, WireError};
use serde::de::IgnoredAny;

use crate::report::{bytes, preview};

/// Reads messages one by one
pub(crate) struct Reader {
    dialect: JsonRpc,
    limits: Limits,
    /// What the dialect would answer
    answers: Vec<u8>,
}

/// What bytes begin with
pub(crate) enum Step {
    /// A message that takes at least so many bytes
    More(usize),
    /// So many bytes between messages, or the beginning of a batch
    Skip { consumed: usize, is_batch: bool },
    /// A message, and the bytes it takes
    Read { consumed: usize, seen: Seen },
    /// What can't be read on from
    Fault { what: WireError, at: u32 },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Notification,
    Response,
    Error,
    Invalid,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Notification => "notification",
            Self::Response => "response",
            Self::Error => "error",
            Self::Invalid => "invalid",
        }
    }
}

/// A message
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    /// As it came; empty for none
    pub(crate) id: String,
    /// The method, or the message of an error
    pub(crate) name: String,
    /// Of an error
    pub(crate) code: Option<i64>,
    /// Parameters, result, or an error's data, as they came
    pub(crate) payload: Vec<u8>,
    /// What is wrong
    pub(crate) note: String,
}

impl Reader {
    pub(crate) fn new(framing: Framing, limits: &Limits) -> Self {
        // What a lenient receiver takes is shown as it is; it is not for us to refuse it.
        let dialect = JsonRpc::new().framing(framing).lenient(true).max_batch(u32::MAX);
        let limits = limits.clone().oversize(Oversize::Stream).max_body(u64::MAX);
        Self { dialect, limits, answers: Vec::new() }
    }

    /// Reads what `input` begins with; the next input begins behind the bytes it took
    pub(crate) fn read(&mut self, input: &[u8]) -> Step {
        let (consumed, message) = match self.dialect.decode(input, &self.limits) {
            Err(fault) => return Step::Fault { what: fault.what, at: fault.at },
            Ok(Decoded::NeedMore { at_least }) => return Step::More(at_least),
            Ok(Decoded::Skip { consumed }) => {
                self.dialect.taken();
                let is_batch = input.get(..consumed).unwrap_or_default().ends_with(b"[");
                return Step::Skip { consumed, is_batch };
            }
            Ok(Decoded::Message { consumed, message }) => (consumed, message),
        };
        let text = text_of(input.get(..consumed).unwrap_or_default(), self.dialect.get_framing());
        let id = member(text, "id").map(|id| String::from_utf8_lossy(id).into_owned()).unwrap_or_default();
        let seen = Seen { id, ..self.seen(text, &message) };
        self.dialect.taken();
        self.forget(message);
        Step::Read { consumed, seen }
    }

    fn seen(&self, text: &[u8], message: &Message<'_, JsonRpc>) -> Seen {
        let named = |kind, name: &[u8], payload: &[u8]| Seen {
            kind,
            id: String::new(),
            name: unescape(name).into_owned(),
            code: None,
            payload: payload.to_vec(),
            note: String::new(),
        };
        match message {
            Message::Request { method, body, .. } => named(Kind::Request, method, body.bytes()),
            Message::Notification { method, body, .. } => named(Kind::Notification, method, body.bytes()),
            Message::Reply { code: [], body, .. } => named(Kind::Response, b"", body.bytes()),
            Message::Reply { code, body, meta, .. } => {
                let is_error = member(text, "error").is_some_and(|error| error != b"null");
                let error = Seen { code: meta.error, ..named(Kind::Error, code, body.bytes()) };
                if is_error {
                    error
                } else {
                    Seen {
                        kind: Kind::Invalid,
                        note: self.complaint(text, None),
                        ..named(Kind::Invalid, b"", b"")
                    }
                }
            }
            // The dialect deals with pings itself.
            Message::Control(answer) => {
                let kind = if answer.is_some() { Kind::Request } else { Kind::Notification };
                named(kind, codes::PING.as_bytes(), member(text, "params").unwrap_or_default())
            }
            Message::Invalid { answer, .. } => {
                let own = match answer {
                    Some(Control::Answer { own, .. }) => Some(*own),
                    _ => None,
                };
                Seen { note: self.complaint(text, own), ..named(Kind::Invalid, b"", b"") }
            }
            // Cancelling is a notification like others here.
            Message::Cancel { .. } | _ => named(Kind::Invalid, b"", b""),
        }
    }

    /// What is wrong with a message that is of no use, and where
    fn complaint(&self, text: &[u8], own: Option<Own>) -> String {
        let not_json = serde_json::from_slice::<IgnoredAny>(text).err();
        let is_text = |json: &[u8]| json.starts_with(b"\"");
        match (own, text.first()) {
            (Some(Own::TooLarge), _) => "longer than --max-payload allows".to_owned(),
            (Some(Own::ParseError), _) => not_json.map_or_else(
                || "nested too deep, or a number is too long".to_owned(),
                |error| format!("not JSON: {error}"),
            ),
            (_, Some(b'[')) => "an empty batch, or a batch within a batch".to_owned(),
            (_, first) if first != Some(&b'{') => "not an object".to_owned(),
            _ => match (member(text, "method"), member(text, "id"), member(text, "params")) {
                (Some(method), ..) if !is_text(method) => "the method is not a string".to_owned(),
                (Some(method), ..) if method.len() > usize::from(self.limits.get_max_method()) => {
                    format!("the method is longer than {}", bytes(self.limits.get_max_method().into()))
                }
                (_, Some([b't' | b'f' | b'[' | b'{', ..]), _) => {
                    "the id is neither string, number nor null".to_owned()
                }
                (_, Some(id), _) if id.len() > 1024 => "the id is longer than 1,024 bytes".to_owned(),
                (Some(_), _, Some(_)) => "the parameters are neither array nor object".to_owned(),
                _ => "neither method, result nor error".to_owned(),
            },
        }
    }

    /// Lets go of what the dialect keeps for an answer
    fn forget(&mut self, message: Message<'_, JsonRpc>) {
        let Self { dialect, limits, answers } = self;
        if let Message::Request { key, .. } = message {
            dialect.abandon(key);
        } else if let Message::Control(Some(answer)) | Message::Invalid { answer: Some(answer), .. } = message
        {
            let _ = dialect.encode_control(&answer, limits, answers);
        }
        while dialect.is_due() && matches!(dialect.encode_due(limits, answers), Ok(Some(_))) {}
        answers.clear();
    }
}

/// A message without its frame, or without what stands around it in a batch
fn text_of(taken: &[u8], framing: Framing) -> &[u8] {
    let headed = framing == Framing::ContentLength && taken.first().is_some_and(u8::is_ascii_alphabetic);
    let header = taken.windows(2).position(|two| two == b"\n\n" || two == b"\n\r").filter(|_| headed);
    let text = header.map_or(taken, |at| taken.get(at + 1..).unwrap_or_default()).trim_ascii();
    let start = text.iter().take_while(|byte| **byte == b',' || byte.is_ascii_whitespace()).count();
    let text = text.get(start..).unwrap_or_default();
    let behind = text.iter().rev().take_while(|byte| b",] \t\r\n".contains(byte)).count();
    let object = text.get(..text.len() - behind).unwrap_or_default();
    // Text that is no JSON is not cut: what is wrong may be at its end.
    if object.starts_with(b"{") && is_json(object) { object } else { text }
}

/// Kind, id, and what it is about
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if !self.id.is_empty() {
            write!(f, " {}", short(&self.id))?;
        }
        if let Some(code) = self.code {
            write!(f, " {code}")?;
        }
        if !self.name.is_empty() {
            write!(f, " {}", preview(self.name.as_bytes(), 40))?;
        }
        match self.kind {
            Kind::Invalid => write!(f, ": {}", self.note),
            Kind::Request | Kind::Notification | Kind::Response | Kind::Error => {
                write!(f, ", {}", bytes(self.payload.len() as u64))
            }
        }
    }
}

/// An id that fits a table
pub(crate) fn short(id: &str) -> String {
    let mut short: String = id.chars().filter(|c| !c.is_control()).take(24).collect();
    if short.len() < id.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(framing: Framing, input: &str) -> Vec<String> {
        let (mut reader, mut rest, mut lines) =
            (Reader::new(framing, &Limits::new()), input.as_bytes(), vec![]);
        while !rest.is_empty() {
            rest = match reader.read(rest) {
                Step::More(_) => break,
                Step::Skip { consumed, is_batch } => {
                    if is_batch {
                        lines.push("batch".to_owned());
                    }
                    &rest[consumed..]
                }
                Step::Read { consumed, seen } => {
                    lines.push(seen.to_string());
                    &rest[consumed..]
                }
                Step::Fault { what, at } => {
                    lines.push(format!("{what} at {at}"));
                    break;
                }
            };
        }
        lines
    }

    #[test]
    fn each_kind_has_its_line() {
        let input = r#"
            {"jsonrpc":"2.0","id":7,"method":"echo","params":["secret"]}
            {"jsonrpc":"2.0","method":"note"}{"jsonrpc":"2.0","id":"x","result":null}
            {"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"Method not found","data":[1]}}
            {"jsonrpc":"2.0","id":1,"method":"rpc.ping"}"#;
        let expected = [
            "request 7 \"echo\", 10 bytes",
            "notification \"note\", 0 bytes",
            "response \"x\", 4 bytes",
            "error null -32601 \"Method not found\", 3 bytes",
            "request 1 \"rpc.ping\", 0 bytes",
        ];
        assert_eq!(lines(Framing::Lines, input), expected);
    }

    #[test]
    fn batches_are_shown_element_by_element() {
        let batch = "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"}, 5 ,\n{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}} ]\n[]";
        let expected = [
            "batch",
            "request 1 \"a\", 0 bytes",
            "invalid: not an object",
            "response 2, 2 bytes",
            "invalid: an empty batch, or a batch within a batch",
        ];
        assert_eq!(lines(Framing::Lines, batch), expected);
        let framed = format!("Content-Length: {}\r\n\r\n{batch}", batch.len() - 3);
        assert_eq!(lines(Framing::ContentLength, &framed)[..4], expected[..4]);
    }

    #[test]
    fn what_is_of_no_use_says_why() {
        let input = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}\n{\"id\":[],\"method\":\"a\"}\n\
                     {\"id\":1,\"method\":\"a\",\"params\":5}\n{\"id\":1}\n{\"a\":}\n{\"a\":[1]]\n7\n";
        let expected = [
            "invalid 1: the method is not a string",
            "invalid []: the id is neither string, number nor null",
            "invalid 1: the parameters are neither array nor object",
            "invalid 1: neither method, result nor error",
            "invalid: not JSON: expected value at line 1 column 6",
            "invalid: not JSON: expected `,` or `}` at line 1 column 9",
            "invalid: not an object",
        ];
        assert_eq!(lines(Framing::Lines, input), expected);
    }
}
