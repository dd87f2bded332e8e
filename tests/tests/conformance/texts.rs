//! A client that is nothing but a socket and speaks JSON texts, over any wire that carries them

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use tungstenite::{Message, WebSocket};

use crate::raw::Raw;
use crate::rig::{End, Rig, SOON, Server};
use crate::wire::Wire;

/// Sends texts, and reads those that are sent
pub(crate) enum Texts {
    /// Apart by their framing
    Stream(Box<Raw>),
    WebSocket(Box<WebSocket<TcpStream>>),
    /// Each is a request's body, or its answer's
    Post(TcpStream),
}

impl Texts {
    pub(crate) fn connect<P: End>(rig: &Rig<P>, server: &Server<P>) -> Self {
        if ![Wire::WebSocket, Wire::Post].contains(&rig.wire()) {
            return Self::Stream(Box::new(Raw::connect(rig, server)));
        }
        let address = server.address();
        let stream = TcpStream::connect(Wire::port_of(&address)).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(SOON)).expect("an option");
        if rig.wire() == Wire::Post {
            return Self::Post(stream);
        }
        let url = address.strip_prefix("jsonrpc+").expect("its protocol");
        let (socket, _) = tungstenite::client(url, stream).expect("a WebSocket");
        Self::WebSocket(Box::new(socket))
    }

    pub(crate) fn send(&mut self, json: &str) {
        match self {
            Self::Stream(raw) => raw.send_json(json),
            Self::WebSocket(socket) => socket.send(Message::text(json)).expect("room to write"),
            Self::Post(stream) => {
                let head = "POST /rpc HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n";
                let all = format!("{head}Content-Length: {}\r\n\r\n{json}", json.len());
                stream.write_all(all.as_bytes()).expect("room to write");
            }
        }
    }

    #[track_caller]
    pub(crate) fn read(&mut self) -> String {
        match self {
            Self::Stream(raw) => raw.json(),
            Self::WebSocket(socket) => {
                let message = socket.read().expect("a message");
                assert!(message.is_text(), "{message:?}");
                message.to_text().expect("a text").to_owned()
            }
            Self::Post(stream) => answer(stream).expect("a body"),
        }
    }

    /// Nothing is answered to what was sent before
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) {
        if let Self::Post(stream) = self {
            assert_eq!(answer(stream), None);
        } else {
            // Whatever is owed comes before this, or it is an error of its own.
            self.asks(
                r#"{"jsonrpc":"2.0","method":"rpc.ping","id":"is there more"}"#,
                r#"{"jsonrpc":"2.0","id":"is there more","result":null}"#,
            );
        }
    }

    /// The answer to this is that
    #[track_caller]
    pub(crate) fn asks(&mut self, json: &str, expected: &str) {
        self.send(json);
        assert_eq!(self.read(), expected, "to {json}");
    }

    /// The answer to this request is an error
    #[track_caller]
    pub(crate) fn fails(&mut self, json: &str, id: &str, code: i64, message: &str) {
        self.asks(json, &failure(id, code, message));
    }

    /// Nothing is answered to this
    #[track_caller]
    pub(crate) fn tells(&mut self, json: &str) {
        self.send(json);
        self.expect_nothing();
    }

    /// The next text is a batch of these, in whatever order
    #[track_caller]
    pub(crate) fn expect_batch(&mut self, expected: &[&str]) {
        let text = self.read();
        let mut answers: Vec<Value> = serde_json::from_str(&text).expect("an array");
        let mut expected: Vec<Value> =
            expected.iter().map(|json| serde_json::from_str(json).expect("JSON")).collect();
        answers.sort_by_key(Value::to_string);
        expected.sort_by_key(Value::to_string);
        assert_eq!(answers, expected);
    }

    /// The connection is as good as ever
    #[track_caller]
    pub(crate) fn expect_alive(&mut self) {
        self.asks(
            r#"{"jsonrpc":"2.0","method":"rpc.ping","id":"alive"}"#,
            r#"{"jsonrpc":"2.0","id":"alive","result":null}"#,
        );
    }
}

/// An error as this project's peers write it
pub(crate) fn failure(id: &str, code: i64, message: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
}

/// The body of an answer over HTTP; none with status 204
#[track_caller]
fn answer(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head in ASCII").to_ascii_lowercase();
    if head.starts_with("http/1.1 204 ") {
        return None;
    }
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; len.parse().expect("a number")];
    stream.read_exact(&mut body).expect("a body");
    Some(String::from_utf8(body).expect("a body in UTF-8"))
}
