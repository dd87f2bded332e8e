//! What becomes of a payload between FlyRPC, whose payloads are bytes, and JSON-RPC
//!
//! Written for a FlyRPC program that has no JSON library, such as a microcontroller: what it reads and writes is mostly
//! plain text. Between ends of one protocol payloads stay as they are.
//!
//! | JSON-RPC's parameters | FlyRPC's payload |
//! |---|---|
//! | none, `[]`, `[null]` | nothing |
//! | `["text"]` | `text`, without quotes and escapes |
//! | `[{"hex":"00ff"}]`, `{"hex":"00ff"}` | those bytes |
//! | `[1]`, `[true]`, `[[1,2]]`, any other lone element | its JSON: `1`, `true`, `[1,2]` |
//! | any others: `[1,2]`, `{"on":true}` | their JSON as it is |
//!
//! | FlyRPC's payload | JSON-RPC's result | JSON-RPC's parameters |
//! |---|---|---|
//! | nothing | `null` | none |
//! | `1`, `true`, `"text"`, other JSON but arrays and objects | as it is | `[1]`: as the lone element |
//! | `[1,2]`, `{"on":true}` | as it is | as it is |
//! | `text` | `"text"` | `["text"]` |
//! | bytes that are no text | `{"hex":"00ff"}` | `[{"hex":"00ff"}]` |
//!
//! A result becomes a payload as a lone element does. So a text that happens to be JSON comes back as what it says: an
//! echo of `"1"` is `1`. [`Payloads::Text`] takes no payload for JSON, so that all of them are strings, the empty one too.

use bytes::Bytes;
use clap::ValueEnum;
use flyrpc_core::jsonrpc::{is_json, member, only_element, quote, unescape};
use flyrpc_tokio::Protocol;

use crate::input::{reformat, unhex};
use crate::report::hex;

/// What FlyRPC's payloads are taken for on their way to JSON-RPC
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Payloads {
    /// JSON where they are JSON, else text
    #[default]
    Auto,
    /// Text, always: the payload 1 is the string "1"
    Text,
}

impl Payloads {
    /// The payload of a request, message or notification that goes from one protocol to the other
    pub(crate) fn request(self, payload: Bytes, from: Protocol, to: Protocol) -> Bytes {
        match (from, to) {
            (Protocol::JsonRpc, Protocol::FlyRpc) => from_params(&payload),
            (Protocol::FlyRpc, Protocol::JsonRpc) => self.params(&payload),
            // Of one protocol, or of one that comes with a later version.
            _ => payload,
        }
    }

    /// The details of an error, which may have none
    pub(crate) fn details(self, details: Bytes, from: Protocol, to: Protocol) -> Bytes {
        if details.is_empty() { details } else { self.answer(details, from, to) }
    }

    /// The payload of an answer
    pub(crate) fn answer(self, payload: Bytes, from: Protocol, to: Protocol) -> Bytes {
        match (from, to) {
            (Protocol::JsonRpc, Protocol::FlyRpc) => from_value(&payload),
            (Protocol::FlyRpc, Protocol::JsonRpc) => self.value(&payload).into(),
            _ => payload,
        }
    }

    /// Parameters, which are an array, an object, or nothing
    fn params(self, payload: &[u8]) -> Bytes {
        if payload.is_empty() && self == Self::Auto {
            return Bytes::new();
        }
        let value = self.value(payload);
        let is_whole = self == Self::Auto && is_json(payload) && value.starts_with(['[', '{']);
        if is_whole { value.into() } else { format!("[{value}]").into() }
    }

    fn value(self, payload: &[u8]) -> String {
        let Ok(text) = core::str::from_utf8(payload) else {
            return format!("{{\"hex\":\"{}\"}}", hex(payload));
        };
        match self {
            Self::Auto if text.is_empty() => "null".to_owned(),
            // On one line, for peers that tell messages apart by their lines.
            Self::Auto if is_json(payload) => {
                reformat(text, false).unwrap_or_else(|_| text.trim().to_owned())
            }
            Self::Auto | Self::Text => quote(text),
        }
    }
}

fn from_params(params: &Bytes) -> Bytes {
    match only_element(params) {
        Some(element) => from_value(&params.slice_ref(element)),
        None if is_empty_array(params) => Bytes::new(),
        None => bytes_of_hex(params).unwrap_or_else(|| params.clone()),
    }
}

fn is_empty_array(params: &[u8]) -> bool {
    let inner = params.trim_ascii().strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}

fn from_value(value: &Bytes) -> Bytes {
    match value.trim_ascii() {
        b"null" => Bytes::new(),
        [b'"', inner @ .., b'"'] => unescape(inner).into_owned().into(),
        _ => bytes_of_hex(value).unwrap_or_else(|| value.clone()),
    }
}

/// What `{"hex":"00ff"}` stands for, and nothing else does
fn bytes_of_hex(object: &[u8]) -> Option<Bytes> {
    let [b'"', digits @ .., b'"'] = member(object, "hex")? else { return None };
    let digits = core::str::from_utf8(digits).ok()?;
    // An object with other members has this one among them, and is longer.
    let alone = reformat(core::str::from_utf8(object).ok()?, false).ok()?;
    let is_alone = alone == format!("{{\"hex\":\"{digits}\"}}");
    is_alone.then(|| unhex(digits).ok())?.map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLY: Protocol = Protocol::FlyRpc;
    const JSON: Protocol = Protocol::JsonRpc;

    fn bytes(payload: &[u8]) -> Bytes {
        Bytes::copy_from_slice(payload)
    }

    #[test]
    fn parameters_become_what_a_program_without_json_can_read() {
        let table: &[(&str, &[u8])] = &[
            ("", b""),
            ("[]", b""),
            (" [ ] ", b""),
            ("[null]", b""),
            ("[\"hello\"]", b"hello"),
            ("[ \"a \\\"b\\\" \\u00e9\\n\" ]", "a \"b\" é\n".as_bytes()),
            ("[\"\"]", b""),
            ("[1]", b"1"),
            ("[ -1.50 ]", b"-1.50"),
            ("[true]", b"true"),
            ("[[1,2]]", b"[1,2]"),
            ("[[]]", b"[]"),
            ("[{\"on\":true}]", b"{\"on\":true}"),
            ("[1,2]", b"[1,2]"),
            ("{\"on\":true}", b"{\"on\":true}"),
            ("{}", b"{}"),
            ("[{\"hex\":\"00ff\"}]", b"\x00\xff"),
            ("{ \"hex\" : \"00FF\" }", b"\x00\xff"),
            ("{\"hex\":\"\"}", b""),
            ("{\"hex\":\"0\"}", b"{\"hex\":\"0\"}"),
            ("{\"hex\":7}", b"{\"hex\":7}"),
            ("{\"hex\":\"00\",\"to\":1}", b"{\"hex\":\"00\",\"to\":1}"),
        ];
        for &(params, payload) in table {
            for payloads in [Payloads::Auto, Payloads::Text] {
                let got = payloads.request(bytes(params.as_bytes()), JSON, FLY);
                assert_eq!(got, payload, "{params}");
            }
        }
    }

    #[test]
    fn payloads_become_results_and_parameters() {
        let table: &[(&[u8], &str, &str)] = &[
            (b"", "null", ""),
            (b"1", "1", "[1]"),
            (b" 42\r\n", "42", "[42]"),
            (b"-1.50", "-1.50", "[-1.50]"),
            (b"true", "true", "[true]"),
            (b"null", "null", "[null]"),
            (b"\"1\"", "\"1\"", "[\"1\"]"),
            (b"[1,\n 2]", "[1,2]", "[1,2]"),
            (b"{\"on\": true}", "{\"on\":true}", "{\"on\":true}"),
            (b"hello", "\"hello\"", "[\"hello\"]"),
            (b"007", "\"007\"", "[\"007\"]"),
            (b"NaN", "\"NaN\"", "[\"NaN\"]"),
            (b"1 2", "\"1 2\"", "[\"1 2\"]"),
            (b"[1", "\"[1\"", "[\"[1\"]"),
            (b" ", "\" \"", "[\" \"]"),
            (b"a \"b\"\n\x01", "\"a \\\"b\\\"\\n\\u0001\"", "[\"a \\\"b\\\"\\n\\u0001\"]"),
            (b"\x00\xff", "{\"hex\":\"00ff\"}", "[{\"hex\":\"00ff\"}]"),
        ];
        for &(payload, result, params) in table {
            assert_eq!(Payloads::Auto.answer(bytes(payload), FLY, JSON), result, "{payload:?}");
            assert_eq!(Payloads::Auto.request(bytes(payload), FLY, JSON), params, "{payload:?}");
            assert!(is_json(result.as_bytes()) && (params.is_empty() || is_json(params.as_bytes())));
        }
    }

    #[test]
    fn as_text_every_payload_is_a_string() {
        for (payload, result) in [(&b""[..], "\"\""), (b"1", "\"1\""), (b"[1]", "\"[1]\""), (b"hi", "\"hi\"")]
        {
            assert_eq!(Payloads::Text.answer(bytes(payload), FLY, JSON), result);
            assert_eq!(Payloads::Text.request(bytes(payload), FLY, JSON), format!("[{result}]"));
        }
        assert_eq!(Payloads::Text.answer(bytes(b"\xff"), FLY, JSON), "{\"hex\":\"ff\"}");
    }

    #[test]
    fn results_become_payloads() {
        for (result, payload) in [
            ("null", &b""[..]),
            ("\"12:00\"", b"12:00"),
            ("1732287600000", b"1732287600000"),
            ("{\"hex\":\"00ff\"}", b"\x00\xff"),
            ("[1]", b"[1]"),
            ("[\"a\"]", b"[\"a\"]"),
        ] {
            assert_eq!(Payloads::Auto.answer(bytes(result.as_bytes()), JSON, FLY), payload, "{result}");
        }
    }

    /// What a board echoes comes back as it went, unless it is a text that happens to be JSON
    #[test]
    fn an_echo_gives_back_what_was_said() {
        for value in
            ["1", "true", "\"hello\"", "\"é \\\"\\n\"", "[1,2]", "{\"a\":null}", "{\"hex\":\"00ff\"}"]
        {
            let there = Payloads::Auto.request(format!("[{value}]").into(), JSON, FLY);
            assert_eq!(Payloads::Auto.answer(there, FLY, JSON), value);
        }
        let there = Payloads::Auto.request(bytes(b"[\"1\"]"), JSON, FLY);
        assert_eq!(Payloads::Auto.answer(there.clone(), FLY, JSON), "1");
        assert_eq!(Payloads::Text.answer(there, FLY, JSON), "\"1\"");
    }

    #[test]
    fn within_one_protocol_nothing_changes() {
        for protocol in [FLY, JSON] {
            let payload = bytes(b"[ \"x\" ]");
            assert_eq!(Payloads::Auto.request(payload.clone(), protocol, protocol), payload);
            assert_eq!(Payloads::Auto.answer(payload.clone(), protocol, protocol), payload);
        }
    }
}
