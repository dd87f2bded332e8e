//! A minimal look at JSON-RPC messages: which calls a unit makes, and which of them a body answers
//!
//! HTTP has to know this much: a request that fails must fail its calls. Values are passed over without being checked, so none of
//! this tells whether a text is valid, and none of it recurses.

use std::collections::BTreeSet;

use flyrpc_core::jsonrpc::is_json;

/// A message's members that matter here, as they are written; the last of each name counts
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Message<'a> {
    id: Option<&'a [u8]>,
    method: bool,
    result: bool,
    error: Option<&'a [u8]>,
}

impl Message<'_> {
    /// Does it end a call?
    const fn answers(&self) -> bool {
        !self.method && (self.result || self.error.is_some())
    }
}

/// Is this unit a response, or a batch that begins with one?
pub(super) fn is_response(unit: &[u8]) -> bool {
    let mut text = Text::new(unit);
    if text.take(b'[').is_some() {
        text.white_space();
    }
    let mut members = text.members();
    members.find_map(|(name, _)| match name {
        b"method" => Some(false),
        b"result" | b"error" => Some(true),
        _ => None,
    }) == Some(true)
}

/// Ids of the calls in a unit, as they are written
pub(super) fn calls(unit: &[u8]) -> Vec<&[u8]> {
    messages(unit).filter(|message| message.method).filter_map(|message| message.id).collect()
}

/// The units that answer what a body leaves unanswered
///
/// `error` is the error object that they get, unless the body is a lone error without an id, which is meant for all.
pub(super) fn settle(unit: &[u8], body: &[u8], error: &str) -> Settled {
    let calls = calls(unit);
    // What is none must not get to the dialect: a call that it seems to answer would wait for ever.
    let is_answer = is_json(body) && messages(body).any(|message| message.answers());
    if calls.is_empty() {
        return Settled { hand_over: is_answer, missing: None };
    }
    let mut answered = BTreeSet::new();
    let mut lone = None;
    if is_answer {
        for message in messages(body) {
            match message.id {
                Some(b"null") | None => lone = message.error,
                // What has neither would leave its call waiting.
                Some(id) if message.answers() => {
                    answered.insert(id);
                }
                Some(_) => {}
            }
        }
    }
    let error = lone.map_or(error.as_bytes(), |lone| lone);
    let missing: Vec<_> = calls.into_iter().filter(|id| !answered.contains(id)).collect();
    Settled { hand_over: !answered.is_empty(), missing: failures(unit, &missing, error) }
}

/// What is to be read for an exchange that has ended
pub(super) struct Settled {
    /// The body is a response, of which something can be used
    pub(super) hand_over: bool,
    /// A unit that answers the other calls
    pub(super) missing: Option<Vec<u8>>,
}

/// An error object for calls that HTTP failed
pub(super) fn error(message: &str) -> String {
    let safe: String = message
        .chars()
        .map(|c| if c.is_ascii_control() || c == '"' || c == '\\' { ' ' } else { c })
        .collect();
    format!(r#"{{"code":{CODE},"message":"{safe}"}}"#)
}

/// The code of calls that HTTP failed: the first of those that the specification leaves to servers (section 5.1)
const CODE: i32 = -32000;

/// A unit that answers these calls of `unit` with the same error
fn failures(unit: &[u8], ids: &[&[u8]], error: &[u8]) -> Option<Vec<u8>> {
    if ids.is_empty() {
        return None;
    }
    let is_batch = Text::new(unit).take(b'[').is_some();
    let one =
        |id: &&[u8]| [br#"{"jsonrpc":"2.0","id":"#.as_slice(), id, br#","error":"#, error, b"}"].concat();
    let all = ids.iter().map(one).collect::<Vec<_>>().join(b",".as_slice());
    Some(if is_batch { [b"[".as_slice(), &all, b"]"].concat() } else { all })
}

/// The messages of a unit: one, or those of a batch
fn messages(unit: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut text = Text::new(unit);
    let is_batch = text.take(b'[').is_some();
    let mut left = true;
    core::iter::from_fn(move || {
        if !left {
            return None;
        }
        text.white_space();
        let element = text.value()?;
        left = is_batch && text.take(b',').is_some();
        Some(message(element))
    })
}

fn message(object: &[u8]) -> Message<'_> {
    let mut message = Message::default();
    for (name, value) in Text::new(object).members() {
        match name {
            b"id" => message.id = Some(value),
            b"method" => message.method = true,
            b"result" => message.result = true,
            b"error" if value != b"null" => message.error = Some(value),
            _ => {}
        }
    }
    message
}

/// What is left of a JSON text
#[derive(Clone, Copy, Debug)]
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    fn new(text: &'a [u8]) -> Self {
        let mut text = Self(text);
        text.white_space();
        text
    }

    fn white_space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    /// This byte, after white space
    fn take(&mut self, byte: u8) -> Option<()> {
        self.white_space();
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    fn advance(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    /// A value as it is written; strings and brackets are followed, nothing else is looked at
    fn value(&mut self) -> Option<&'a [u8]> {
        self.white_space();
        let mut depth = 0_usize;
        let mut at = 0;
        loop {
            match self.0.get(at)? {
                b'"' => at += string(self.0.get(at..)?)?,
                b'{' | b'[' => {
                    depth += 1;
                    at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    at += 1;
                }
                _ if depth == 0 => {
                    let is_end =
                        |byte: &u8| matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\n' | b'\r');
                    let rest = self.0.get(at..)?;
                    let scalar = rest.iter().position(is_end).unwrap_or(rest.len());
                    return if scalar == 0 { None } else { self.advance(at + scalar) };
                }
                _ => at += 1,
            }
            if depth == 0 {
                return self.advance(at);
            }
        }
    }

    /// An object's members: names without their quotes, values as they are written; ends where the text does not go on as one
    fn members(mut self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut left = self.take(b'{').is_some();
        core::iter::from_fn(move || {
            if !left {
                return None;
            }
            self.white_space();
            let quoted = self.advance(string(self.0)?)?;
            self.take(b':')?;
            let value = self.value()?;
            left = self.take(b',').is_some();
            Some((quoted.get(1..quoted.len() - 1)?, value))
        })
    }
}

/// Length of the string that this begins with, quotes included
fn string(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    if text.first() != Some(&b'"') {
        return None;
    }
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_by_the_grammar_of_the_envelope_p12() {
        let of = |text: &'static str| -> Vec<&str> {
            calls(text.as_bytes()).into_iter().map(|id| str::from_utf8(id).unwrap()).collect()
        };
        assert_eq!(of(r#"{"jsonrpc":"2.0","method":"a","params":{"id":9},"id":1}"#), ["1"]);
        assert_eq!(of(r#" { "id" : "x\"}" , "method" : "a" } "#), [r#""x\"}""#]);
        assert_eq!(of(r#"{"id":1,"method":"a","id":2}"#), ["2"]);
        assert_eq!(of(r#"{"method":"a","params":["\\",{"id":3}]}"#), [""; 0]);
        assert_eq!(of(r#"{"id":null,"method":"a"}"#), ["null"]);
        assert_eq!(of(r#"{"id":1,"result":{"method":"a"}}"#), [""; 0]);
        assert_eq!(of(r#"[{"id":1,"method":"a"}, {"method":"b"} ,{"id":1.50,"method":"c"}]"#), ["1", "1.50"]);
    }

    #[test]
    fn a_response_is_told_from_what_is_none() {
        for text in [
            r#"{"jsonrpc":"2.0","result":1,"id":1}"#,
            r#" [ {"id":1,"error":{"method":1}} ]"#,
            r#"{"id":1,"params":{"method":2},"result":{}}"#,
        ] {
            assert!(is_response(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "x",
            "{}",
            "[]",
            "[[",
            r#"{"method":"m","params":{"result":1}}"#,
            r#""result""#,
            "<p>result</p>",
        ] {
            assert!(!is_response(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_a_body_leaves_unanswered_gets_an_error_p01() {
        let settled = |unit: &str, body: &str| {
            let settled = settle(unit.as_bytes(), body.as_bytes(), &error("HTTP status 503"));
            (settled.hand_over, settled.missing.map(|unit| String::from_utf8(unit).unwrap()))
        };
        let call = r#"{"id":7,"method":"m"}"#;
        let failed = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"HTTP status 503"}}"#;
        assert_eq!(settled(call, "<html>"), (false, Some(failed.to_owned())));
        assert_eq!(settled(call, ""), (false, Some(failed.to_owned())));
        assert_eq!(settled(call, r#"{"id":7,"result":1}"#), (true, None));
        assert_eq!(settled(call, r#"{"id":7,"result":tru}"#), (false, Some(failed.to_owned())));
        assert_eq!(settled(call, r#"{"id":7,"result":1}{"#), (false, Some(failed.to_owned())));
        assert_eq!(settled(call, r#"{"id":8,"result":1}"#).1, Some(failed.to_owned()));
        let lone = r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}"#;
        let for_seven = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32700,"message":"Parse error"}}"#;
        assert_eq!(settled(call, lone), (false, Some(for_seven.to_owned())));
        let batch = r#"[{"id":1,"method":"m"},{"method":"n"},{"id":"b","method":"m"}]"#;
        let rest = r#"[{"jsonrpc":"2.0","id":"b","error":{"code":-32000,"message":"HTTP status 503"}}]"#;
        assert_eq!(settled(batch, r#"[{"id":1,"result":1}]"#), (true, Some(rest.to_owned())));
        // What has neither result nor error is no answer, whatever it stands beside.
        let both = r#"[{"id":"b"},{"id":1,"result":1}]"#;
        assert_eq!(settled(batch, both), (true, Some(rest.to_owned())));
        assert_eq!(settled(r#"{"method":"n"}"#, "<html>"), (false, None));
    }

    #[test]
    fn no_text_makes_it_panic_or_loop_p17() {
        let text = br#"[{"id":"\\\"","method":[{},"]"],"x":{"y":[1,2]}},{"result":-1.5e3,"id":null}]"#;
        for from in 0..text.len() {
            for to in from..text.len() {
                let cut = text.get(from..to).unwrap();
                let _ = (is_response(cut), settle(cut, cut, "{}"));
            }
        }
    }
}
