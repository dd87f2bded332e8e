//! What a body's connections speak, and what carries it
//!
//! The bodies' payloads are texts. On JSON-RPC a text is the only element of an array, both as parameters and as a result, and
//! nothing is `null`: [`Wire::wrap`] and [`unwrap`] stand where bodies meet peers, so that one body serves both protocols.
//! A handler sees what came: it takes [`Text`], and gives what [`Wire::wrap`] makes.

use core::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use flyrpc_driver::{Decode, Error, FormatError, Framing, JsonRpc, Protocol, RemoteError, codes};
use flyrpc_tests::vectors::packet;

use crate::raw::{MESSAGE, REQUEST, RESPONSE};
use crate::rig::noise;

/// A protocol over a transport
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// FlyRPC over TCP
    Fly,
    /// JSON-RPC over TCP, one message a line
    Lines,
    /// JSON-RPC over TCP, each message behind its `Content-Length`
    Headers,
    /// JSON-RPC over a Unix socket, one message a line
    Unix,
    /// JSON-RPC over WebSocket
    WebSocket,
    /// JSON-RPC by HTTP POST: an exchange has no way back, and is a connection of its own
    Post,
    /// JSON-RPC over net/rpc's HTTP `CONNECT`, one message a line
    Connect,
}

impl Wire {
    pub(crate) const fn is_fly(self) -> bool {
        matches!(self, Self::Fly)
    }

    /// May the server call its clients, and are messages in order?
    pub(crate) const fn has_way_back(self) -> bool {
        !matches!(self, Self::Post)
    }

    /// Settings that an address does not tell; none for FlyRPC
    pub(crate) fn settings(self) -> Option<JsonRpc> {
        match self {
            Self::Fly => None,
            Self::Headers => Some(JsonRpc::new().framing(Framing::ContentLength)),
            Self::Lines | Self::Unix | Self::WebSocket | Self::Post | Self::Connect => Some(JsonRpc::new()),
        }
    }

    /// The address of a new server
    pub(crate) fn new_address(self) -> String {
        match self {
            Self::Unix => {
                static NEXT: AtomicUsize = AtomicUsize::new(0);
                let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
                let n = NEXT.fetch_add(1, Ordering::Relaxed);
                let path = folder.join(format!("w{}-{n}.sock", std::process::id()));
                format!("jsonrpc+unix:{}", path.display())
            }
            Self::Fly | Self::Lines | Self::Headers | Self::WebSocket | Self::Post | Self::Connect => {
                self.address_of("127.0.0.1:0")
            }
        }
    }

    /// The address for a client of what listens at a port
    pub(crate) fn address_of(self, port: &str) -> String {
        match self {
            Self::Fly | Self::Lines | Self::Headers => port.to_owned(),
            Self::WebSocket => format!("jsonrpc+ws://{port}/rpc"),
            Self::Post => format!("jsonrpc+http://{port}/rpc"),
            Self::Connect => format!("jsonrpc+connect://{port}"),
            Self::Unix => panic!("a Unix socket has no port"),
        }
    }

    /// The port in a server's address
    pub(crate) fn port_of(address: &str) -> &str {
        let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }

    /// Does a server listen at this address?
    pub(crate) fn is_listening(self, address: &str) -> bool {
        match address.strip_prefix("jsonrpc+unix:") {
            Some(path) => std::os::unix::net::UnixStream::connect(path).is_ok(),
            None => std::net::TcpStream::connect(Self::port_of(address)).is_ok(),
        }
    }

    /// A packet without what only keeps it apart from the next one: the end of its line
    pub(crate) fn bare_packet(self, flag: u8, seq: u16, code: &str, text: impl AsRef<[u8]>) -> Vec<u8> {
        let mut packet = self.packet(flag, seq, code, text);
        if matches!(self, Self::Lines | Self::Connect) {
            assert_eq!(packet.pop(), Some(b'\n'));
        }
        packet
    }

    /// A text as a payload
    pub(crate) fn wrap(self, text: impl AsRef<[u8]>) -> Bytes {
        if self.is_fly() { Bytes::copy_from_slice(text.as_ref()) } else { wrap(text.as_ref()) }
    }

    /// `len` bytes of text that a wrong offset would change: any bytes for FlyRPC, letters for JSON-RPC
    pub(crate) fn noise(self, len: usize) -> Vec<u8> {
        let mut noise = noise(len);
        if !self.is_fly() {
            noise.iter_mut().for_each(|byte| *byte = b'0' + (*byte & 0x1f));
        }
        noise
    }

    /// What a text of details becomes on its way
    pub(crate) fn details(self, text: &str) -> Vec<u8> {
        if self.is_fly() { text.into() } else { serde_json::to_vec(text).expect("a text") }
    }

    /// The code of pings
    pub(crate) const fn ping(self) -> &'static str {
        if self.is_fly() { "$ping" } else { "rpc.ping" }
    }

    /// The length of the answer to a ping of `len` bytes
    pub(crate) const fn pong(self, len: u64) -> u64 {
        if self.is_fly() { len } else { 4 }
    }

    /// A packet as this project's own peers write it; the payload is a text
    pub(crate) fn packet(self, flag: u8, seq: u16, code: &str, text: impl AsRef<[u8]>) -> Vec<u8> {
        if self.is_fly() {
            return packet(flag, seq, code, text);
        }
        let payload = match self.wrap(text) {
            empty if empty.is_empty() => String::new(),
            json => String::from_utf8(json.into()).expect("JSON"),
        };
        let method = || serde_json::to_string(code).expect("a text");
        let params = if payload.is_empty() { String::new() } else { format!(r#","params":{payload}"#) };
        let result = if payload.is_empty() { "null" } else { &payload };
        self.frame(match flag {
            REQUEST => format!(r#"{{"jsonrpc":"2.0","method":{}{params},"id":{seq}}}"#, method()),
            MESSAGE => format!(r#"{{"jsonrpc":"2.0","method":{}{params}}}"#, method()),
            RESPONSE if code.is_empty() => format!(r#"{{"jsonrpc":"2.0","id":{seq},"result":{result}}}"#),
            RESPONSE => {
                let (number, message) = in_json(code);
                let data = if payload.is_empty() { String::new() } else { format!(r#","data":{payload}"#) };
                let error = format!(r#"{{"code":{number},"message":"{message}"{data}}}"#);
                format!(r#"{{"jsonrpc":"2.0","id":{seq},"error":{error}}}"#)
            }
            other => panic!("JSON-RPC has nothing for flag {other:#x}"),
        })
    }

    /// One message as it stands in the stream
    pub(crate) fn frame(self, json: impl AsRef<str>) -> Vec<u8> {
        let json = json.as_ref();
        match self {
            Self::Headers => format!("Content-Length: {}\r\n\r\n{json}", json.len()).into_bytes(),
            Self::Lines | Self::Unix | Self::Connect => format!("{json}\n").into_bytes(),
            Self::Fly | Self::WebSocket | Self::Post => panic!("{self:?} has no stream of JSON"),
        }
    }
}

/// Number and message of an error in JSON-RPC, as PROTOCOL has them
pub(crate) fn in_json(code: &str) -> (i64, &str) {
    match code {
        codes::NOT_FOUND => (-32601, "Method not found"),
        codes::BAD_PAYLOAD => (-32602, "Invalid params"),
        codes::HANDLER_PANIC => (-32603, "Internal error"),
        codes::TOO_LARGE => (-32600, "Request too large"),
        codes::BUSY => (-32000, "Busy"),
        codes::DRAINING => (-32000, "Draining"),
        codes::CANCELLED => (-32800, "Request cancelled"),
        codes::ERROR => (-32001, "Server error"),
        own => (-32001, own),
    }
}

/// Is it the error that `code` stands for?
pub(crate) fn is(error: &RemoteError, code: &str) -> bool {
    error.is(code) || code == codes::ERROR && error.number == Some(-32001) && error.code == "Server error"
}

/// Did the peer answer with the error that `code` stands for?
#[track_caller]
pub(crate) fn assert_failed<T: core::fmt::Debug>(outcome: Result<T, Error>, code: &str) {
    match outcome {
        Err(Error::Remote(error)) if is(&error, code) => {}
        other => panic!("{other:?} instead of {code}"),
    }
}

/// What a connection of this protocol takes for a text
pub(crate) fn wrap_for(protocol: Protocol, text: Bytes) -> Bytes {
    if protocol == Protocol::JsonRpc { wrap(&text) } else { text }
}

/// The text in what came over a connection of this protocol
pub(crate) fn unwrap_for(protocol: Protocol, payload: Bytes) -> Bytes {
    if protocol == Protocol::JsonRpc { unwrap(payload) } else { payload }
}

fn wrap(text: &[u8]) -> Bytes {
    if text.is_empty() {
        return Bytes::new();
    }
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) && ![b'"', b'\\'].contains(byte);
    if text.iter().all(plain) {
        return [b"[\"", text, b"\"]"].concat().into();
    }
    let text = core::str::from_utf8(text).expect("payloads for JSON-RPC are texts");
    serde_json::to_vec(&[text]).expect("a text").into()
}

/// The text in a payload; what is no wrapped text stays as it is
pub(crate) fn unwrap(payload: Bytes) -> Bytes {
    if &payload[..] == b"null" {
        return Bytes::new();
    }
    if !payload.starts_with(b"[\"") || !payload.ends_with(b"\"]") {
        return payload;
    }
    let inner = payload.slice(2..payload.len() - 2);
    if !inner.iter().any(|byte| [b'"', b'\\'].contains(byte)) {
        return inner;
    }
    match serde_json::from_slice::<[String; 1]>(&payload) {
        Ok([text]) => text.into(),
        Err(_) => payload,
    }
}

/// A handler's argument: the text that was sent, on any wire
pub(crate) struct Text(pub(crate) String);

impl Decode for Text {
    fn decode(payload: &Bytes) -> Result<Self, FormatError> {
        match String::from_utf8(unwrap(payload.clone()).into()) {
            Ok(text) => Ok(Self(text)),
            Err(_) => Err(FormatError::reading::<Self>("text", "not UTF-8")),
        }
    }
}
