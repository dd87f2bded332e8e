//! Peers that are nothing but a socket

use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use serde_json::value::RawValue;

use crate::rig::{Connected, End, Rig, SOON, Server, Setup};
use crate::wire::{Wire, in_json, unwrap};

/// Flag bytes
pub(crate) const REQUEST: u8 = 0x40;
pub(crate) const RESPONSE: u8 = 0x80;
pub(crate) const MESSAGE: u8 = 0;

/// A packet as a raw peer reads it
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) flag: u8,
    /// JSON-RPC: the id; 0 where there is none
    pub(crate) seq: u16,
    /// JSON-RPC: the method, or an error's message
    pub(crate) code: String,
    /// JSON-RPC: an error's code
    pub(crate) number: Option<i64>,
    /// JSON-RPC: the text in it
    pub(crate) payload: Vec<u8>,
}

/// A peer that is nothing but a socket
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    wire: Wire,
    /// Read from the stream, but not by the body
    ahead: Vec<u8>,
}

impl Raw {
    /// A client
    pub(crate) fn connect<P: End>(rig: &Rig<P>, server: &Server<P>) -> Self {
        let address = server.address();
        let stream = match address.strip_prefix("jsonrpc+unix:") {
            Some(path) => OwnedFd::from(UnixStream::connect(path).expect("a connection")).into(),
            None => TcpStream::connect(Wire::port_of(&address)).expect("a connection"),
        };
        let mut raw = Self::over(rig, stream);
        if raw.wire == Wire::Connect {
            raw.write("CONNECT /_goRPC_ HTTP/1.0\n\n");
            let answer = b"HTTP/1.0 200 Connected to Go RPC\n\n";
            assert_eq!(raw.exactly(answer.len()), answer);
        }
        raw
    }

    /// A server and a client that is connected to it
    pub(crate) async fn with<P: End>(rig: &Rig<P>, client: Setup<P>) -> (Self, Connected<P>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        Self::accept(rig, client, &listener).await
    }

    /// The same with a listener that stays
    pub(crate) async fn accept<P: End>(
        rig: &Rig<P>,
        client: Setup<P>,
        listener: &TcpListener,
    ) -> (Self, Connected<P>) {
        let address = listener.local_addr().expect("its address").to_string();
        let address = rig.wire().address_of(&address);
        if rig.wire() != Wire::Connect {
            let connected = rig.0.connect(client, address).await.expect("a client");
            return (Self::over(rig, listener.accept().expect("the client").0), connected);
        }
        let (listener, greeted) = (listener.try_clone().expect("a handle"), rig.clone());
        let greeting = std::thread::spawn(move || {
            let mut raw = Self::over(&greeted, listener.accept().expect("the client").0);
            let asked = b"CONNECT /_goRPC_ HTTP/1.0\n\n";
            assert_eq!(raw.exactly(asked.len()), asked);
            raw.write("HTTP/1.0 200 Connected to Go RPC\n\n");
            raw
        });
        let connected = rig.0.connect(client, address).await.expect("a client");
        (greeting.join().expect("the raw server"), connected)
    }

    pub(crate) fn over<P: End>(rig: &Rig<P>, stream: TcpStream) -> Self {
        if rig.wire() != Wire::Unix {
            stream.set_nodelay(true).expect("an option");
        }
        stream.set_read_timeout(Some(SOON)).expect("an option");
        Self { stream, wire: rig.wire(), ahead: Vec::new() }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("room to write");
    }

    /// JSON-RPC: the payload is the text in it
    pub(crate) fn send(&mut self, flag: u8, seq: u16, code: &str, payload: impl AsRef<[u8]>) {
        self.write(self.wire.packet(flag, seq, code, payload));
    }

    #[track_caller]
    pub(crate) fn exactly(&mut self, len: usize) -> Vec<u8> {
        if self.ahead.len() >= len {
            let rest = self.ahead.split_off(len);
            return core::mem::replace(&mut self.ahead, rest);
        }
        let mut bytes = core::mem::take(&mut self.ahead);
        let begun = bytes.len();
        bytes.resize(len, 0);
        self.stream.read_exact(&mut bytes[begun..]).expect("more bytes");
        bytes
    }

    /// Up to and with the next end of a line
    #[track_caller]
    fn line(&mut self) -> String {
        let mut seen = 0;
        loop {
            if let Some(end) = self.ahead[seen..].iter().position(|byte| *byte == b'\n') {
                return String::from_utf8(self.exactly(seen + end + 1)).expect("a line in UTF-8");
            }
            seen = self.ahead.len();
            self.ahead.resize(seen + 65_536, 0);
            let read = self.stream.read(&mut self.ahead[seen..]).expect("more bytes");
            self.ahead.truncate(seen + read);
            assert!(read > 0, "the stream has ended");
        }
    }

    /// The next JSON text
    #[track_caller]
    pub(crate) fn json(&mut self) -> String {
        if self.wire != Wire::Headers {
            let mut line = self.line();
            assert_eq!(line.pop(), Some('\n'));
            return line;
        }
        let header = self.line();
        let len = header.strip_prefix("Content-Length: ").and_then(|rest| rest.strip_suffix("\r\n"));
        let len = len.and_then(|len| len.parse().ok()).expect("a Content-Length");
        assert_eq!(self.exactly(2), b"\r\n");
        String::from_utf8(self.exactly(len)).expect("JSON in UTF-8")
    }

    /// Sends this JSON text as a message
    pub(crate) fn send_json(&mut self, json: impl AsRef<str>) {
        self.write(self.wire.frame(json));
    }

    /// The next JSON text is this one
    #[track_caller]
    pub(crate) fn expect_json(&mut self, json: impl AsRef<str>) {
        assert_eq!(self.json(), json.as_ref());
    }

    #[track_caller]
    pub(crate) fn read(&mut self) -> Packet {
        if !self.wire.is_fly() {
            return parse(&self.json());
        }
        let head = self.exactly(3);
        let mut code = Vec::new();
        loop {
            match self.exactly(1)[0] {
                0 => break,
                byte => code.push(byte),
            }
        }
        let len = self.exactly(1 << (head[0] & 3)).iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        Packet {
            flag: head[0],
            seq: u16::from_be_bytes([head[1], head[2]]),
            code: String::from_utf8(code).expect("a code in UTF-8"),
            number: None,
            payload: self.exactly(len),
        }
    }

    /// Reads a packet and compares all but the width of its length
    #[track_caller]
    pub(crate) fn expect(&mut self, flag: u8, seq: u16, code: &str, payload: impl AsRef<[u8]>) {
        let got = self.read();
        let (number, said) = match in_json(code) {
            (number, said) if !self.wire.is_fly() && flag == RESPONSE && !code.is_empty() => {
                (Some(number), said)
            }
            _ => (None, code),
        };
        assert_eq!((got.flag & !3, got.seq, got.code.as_str(), got.number), (flag, seq, said, number));
        assert!(got.payload == payload.as_ref(), "the payload of {} bytes is another", got.payload.len());
    }

    /// Nothing more comes but the end of the stream
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut rest = core::mem::take(&mut self.ahead);
        self.stream.read_to_end(&mut rest).expect("the stream ends, and is not reset");
        assert!(rest.is_empty(), "{} more bytes came", rest.len());
    }

    /// The connection is gone, cleanly or not
    #[track_caller]
    pub(crate) fn expect_gone(&mut self) {
        let mut rest = [0; 4096];
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                    return;
                }
            }
        }
    }

    /// The connection is as good as ever: the next packet is the answer to a request sent now
    #[track_caller]
    pub(crate) fn expect_alive(&mut self) {
        self.send(REQUEST, 0x7777, self.wire.ping(), b"alive");
        self.expect(RESPONSE, 0x7777, "", if self.wire.is_fly() { &b"alive"[..] } else { b"" });
    }

    pub(crate) fn finish_writing(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a half-close");
    }

    /// Ends the connection at once, with a reset
    pub(crate) fn reset(self) {
        let socket = socket2::Socket::from(self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }
}

/// The members of a message of JSON-RPC
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'m> {
    jsonrpc: &'m str,
    #[serde(default)]
    id: Option<u16>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default, borrow)]
    params: Option<&'m RawValue>,
    #[serde(default, borrow)]
    result: Option<&'m RawValue>,
    #[serde(default, borrow)]
    error: Option<Failure<'m>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure<'m> {
    code: i64,
    message: String,
    #[serde(default, borrow)]
    data: Option<&'m RawValue>,
}

/// A message of JSON-RPC as a packet
#[track_caller]
fn parse(json: &str) -> Packet {
    let message: Message<'_> = serde_json::from_str(json).unwrap_or_else(|why| panic!("{why}: {json}"));
    assert_eq!(message.jsonrpc, "2.0");
    let text = |raw: Option<&RawValue>| {
        raw.map(|raw| unwrap(raw.get().to_owned().into()).to_vec()).unwrap_or_default()
    };
    let seq = message.id.unwrap_or_default();
    match message {
        Message { method: Some(code), params, result: None, error: None, id, .. } => {
            let flag = if id.is_some() { REQUEST } else { MESSAGE };
            Packet { flag, seq, code, number: None, payload: text(params) }
        }
        Message { method: None, params: None, result: None, error: Some(error), .. } => Packet {
            flag: RESPONSE,
            seq,
            code: error.message,
            number: Some(error.code),
            payload: text(error.data),
        },
        // A result of null reads as none.
        Message { method: None, params: None, result, error: None, .. } => {
            Packet { flag: RESPONSE, seq, code: String::new(), number: None, payload: text(result) }
        }
        _ => panic!("neither request, notification nor response: {json}"),
    }
}
