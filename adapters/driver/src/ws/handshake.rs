//! The HTTP upgrade that a WebSocket begins with

use std::io;

use bytes::{Buf, BytesMut};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::{client, derive_accept_key, server};

use super::Options;
use crate::Origins;

/// An upgrade under way, at either end
///
/// Write [`outgoing`](Self::outgoing) and say how much with [`sent`](Self::sent); read into [`space`](Self::space); call
/// [`advance`](Self::advance) after each read, until it says that all was received. When that is written too,
/// [`into_rest`](Self::into_rest) has what came behind it.
#[derive(Debug)]
pub struct Handshake {
    outgoing: Vec<u8>,
    sent: usize,
    received: BytesMut,
    /// Where the end of the header was looked for already
    searched: usize,
    /// What the server must answer, at a client
    accept: Option<String>,
    /// Whom a server takes
    origins: Origins,
    done: bool,
}

/// Longest header that is read, in bytes
const MAX_HEADER: usize = 16 << 10;
/// Bytes to read at a time
const CHUNK: usize = 1 << 10;

impl Handshake {
    /// A client's: asks `host`, which is `name:port`, for `path`
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a host or a path with anything in it but visible ASCII
    pub fn client(host: &str, path: &str) -> io::Result<Self> {
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let path = if path.is_empty() { "/" } else { path };
        if host.is_empty() || !is_plain(host) || !is_plain(path) || !path.starts_with('/') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a host and a path for a WebSocket"));
        }
        let key = client::generate_key();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        Ok(Self::new(request.into_bytes(), Some(accept_key(&key))))
    }

    /// A server's: accepts any path, and the web pages that the options name
    #[must_use]
    pub fn server(options: &Options) -> Self {
        Self { origins: options.origins.clone(), ..Self::new(Vec::new(), None) }
    }

    fn new(outgoing: Vec<u8>, accept: Option<String>) -> Self {
        let origins = Origins::default();
        Self { outgoing, sent: 0, received: BytesMut::new(), searched: 0, accept, origins, done: false }
    }

    /// Room for the next read
    pub fn space(&mut self) -> &mut BytesMut {
        if self.received.capacity() == self.received.len() {
            self.received.reserve(CHUNK);
        }
        &mut self.received
    }

    /// Looks at what was received; true when it is all that is needed, and [`outgoing`](Self::outgoing) is to be written
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`]: the other end does not speak WebSocket. At a server, [`outgoing`](Self::outgoing) tells it
    /// so, and the socket is then to be closed.
    pub fn advance(&mut self) -> io::Result<bool> {
        if self.done {
            return Ok(true);
        }
        let from = self.searched.saturating_sub(3);
        let end = self
            .received
            .get(from..)
            .unwrap_or_default()
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map(|at| from + at + 4);
        self.searched = self.received.len();
        if end.unwrap_or(self.searched) > MAX_HEADER {
            self.refuse("431 Request Header Fields Too Large");
            return Err(invalid("a WebSocket handshake longer than 16 KiB"));
        }
        let Some(end) = end else { return Ok(false) };
        let header = self.received.split_to(end);
        match &self.accept {
            Some(accept) => check_response(&header, accept)?,
            None => self.answer(&header)?,
        }
        self.done = true;
        Ok(true)
    }

    /// The stream has ended before the upgrade was complete
    #[must_use]
    pub fn cut_short() -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, "the stream has ended within a WebSocket handshake")
    }

    /// What is to be written
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.get(self.sent..).unwrap_or_default()
    }

    /// The next `n` bytes were written
    pub const fn sent(&mut self, n: usize) {
        self.sent += n;
    }

    /// What was received behind the upgrade: the beginning of the first frames
    #[must_use]
    pub fn into_rest(self) -> BytesMut {
        // Not a slice of the header's buffer, which is of no more use.
        BytesMut::from(self.received.chunk())
    }

    fn answer(&mut self, header: &[u8]) -> io::Result<()> {
        let Ok(Some((_, request))) = server::Request::try_parse(header) else {
            self.refuse("400 Bad Request");
            return Err(invalid("not a request for a WebSocket"));
        };
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
        if !self.origins.allow(header("Origin"), header("Host")) {
            self.refuse("403 Forbidden");
            return Err(invalid("a web page of another host that is not allowed"));
        }
        let Ok(response) = server::create_response(&request) else {
            self.refuse("426 Upgrade Required");
            return Err(invalid("a request, but not for a WebSocket"));
        };
        // A vector takes everything, and the headers are ours.
        server::write_response(&mut self.outgoing, &response)
            .map_err(|_| invalid("a WebSocket key that can't be answered"))
    }

    fn refuse(&mut self, status: &str) {
        if self.accept.is_none() {
            self.outgoing = format!(
                "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close\r\n\
                 Content-Length: 0\r\n\r\n"
            )
            .into_bytes();
            self.sent = 0;
        }
    }
}

/// What a server answers a client's `Sec-WebSocket-Key` with, in `Sec-WebSocket-Accept`
#[must_use]
pub fn accept_key(key: &str) -> String {
    derive_accept_key(key.as_bytes())
}

/// What RFC 6455 section 4.1 has a client check
fn check_response(header: &[u8], accept: &str) -> io::Result<()> {
    let Ok(Some((_, response))) = client::Response::try_parse(header) else {
        return Err(invalid("the answer to a WebSocket handshake is no HTTP"));
    };
    let names = |name: &str, wanted: &str| {
        let values = response.headers().get_all(name);
        let mut tokens =
            values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        tokens.any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    if response.status().as_u16() != 101 {
        let why = format!("the server answered the WebSocket handshake with {}", response.status().as_u16());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let key = response.headers().get("Sec-WebSocket-Accept");
    if !names("Upgrade", "websocket")
        || !names("Connection", "Upgrade")
        || key.is_none_or(|key| key.as_bytes() != accept.as_bytes())
    {
        return Err(invalid("the server has not accepted the WebSocket handshake as it must"));
    }
    if ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"]
        .iter()
        .any(|name| response.headers().contains_key(*name))
    {
        return Err(invalid("the server speaks a WebSocket extension or protocol that it was not asked for"));
    }
    Ok(())
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
