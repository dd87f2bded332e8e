//! HTTP CONNECT as net/rpc does it: a line each way, then the stream is the codec's
//!
//! ```text
//! client: CONNECT /_goRPC_ HTTP/1.0 LF LF
//! server: HTTP/1.0 200 Connected to Go RPC LF LF
//! ```
//!
//! CR LF is read as well as LF.

use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use crate::link::is_timeout;

/// What both ends say when it has worked (Go's `net/rpc`, `connected`)
const CONNECTED: &str = "200 Connected to Go RPC";
/// Most bytes of a head
const MAX_HEAD: usize = 16 << 10;
/// Bytes looked at a time
const CHUNK: usize = 1 << 10;

/// Opens a stream on `path`, as a client
///
/// # Errors
/// The system's; [`ErrorKind::ConnectionRefused`] with the status if the server answers otherwise;
/// [`ErrorKind::InvalidData`] if it is no HTTP; [`ErrorKind::UnexpectedEof`], [`ErrorKind::TimedOut`]
pub(crate) fn connect(stream: &TcpStream, path: &str, timeout: Duration) -> io::Result<()> {
    let deadline = now() + timeout;
    stream.set_write_timeout(Some(left(deadline)?))?;
    (&*stream).write_all(format!("CONNECT {path} HTTP/1.0\n\n").as_bytes())?;
    let head = read_head(stream, deadline)?;
    match split_at_space(first_line(&head)) {
        Some((version, status)) if version.starts_with(b"HTTP/1.") => {
            if status == CONNECTED.as_bytes() {
                return Ok(());
            }
            let code = status.get(..3).and_then(|code| str::from_utf8(code).ok()).unwrap_or_default();
            let code: u16 = code.parse().unwrap_or_default();
            let text = format!("the server refused CONNECT: HTTP status {code}");
            Err(io::Error::new(ErrorKind::ConnectionRefused, text))
        }
        _ => Err(invalid("the answer to CONNECT is no HTTP")),
    }
}

/// Grants a client's wish for a stream, whatever path it asks for
///
/// # Errors
/// The system's; [`ErrorKind::InvalidData`] for anything else, which has been answered if it is HTTP;
/// [`ErrorKind::UnexpectedEof`], [`ErrorKind::TimedOut`]
pub(crate) fn accept(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    let deadline = now() + timeout;
    let head = read_head(stream, deadline)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let (method, rest) = split_at_space(first_line(&head)).ok_or_else(|| invalid("this is no HTTP"))?;
    let (_, version) = split_at_space(rest).ok_or_else(|| invalid("this is no HTTP"))?;
    if !version.starts_with(b"HTTP/1.") {
        return Err(invalid("this is no HTTP of version 1"));
    }
    if method != b"CONNECT" {
        let refusal = "HTTP/1.0 405 Method Not Allowed\r\nContent-Type: text/plain\r\nContent-Length: 17\r\n\r\n405 must CONNECT\n";
        (&*stream).write_all(refusal.as_bytes())?;
        return Err(invalid("this is another method than CONNECT"));
    }
    (&*stream).write_all(format!("HTTP/1.0 {CONNECTED}\n\n").as_bytes())
}

/// Takes everything up to the first empty line; what lies behind it stays in the socket
fn read_head(mut stream: &TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; CHUNK];
    while head.len() < MAX_HEAD {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let seen = match stream.peek(&mut chunk) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(seen) => seen,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if is_timeout(&error) => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        };
        let before = head.len();
        head.extend_from_slice(chunk.get(..seen).unwrap_or_default());
        let end = end_of_head(&head, before.saturating_sub(2));
        let taken = end.unwrap_or(head.len()) - before;
        stream.read_exact(chunk.get_mut(..taken).unwrap_or_default())?;
        if let Some(end) = end {
            head.truncate(end);
            return Ok(head);
        }
    }
    Err(invalid("the head is too long"))
}

/// Where the first empty line ends, of those that begin at `from` or later
fn end_of_head(received: &[u8], from: usize) -> Option<usize> {
    (from..received.len()).find_map(|at| {
        let rest = received.get(at..)?;
        let length = if rest.starts_with(b"\n\n") {
            2
        } else if rest.starts_with(b"\n\r\n") {
            3
        } else {
            return None;
        };
        Some(at + length)
    })
}

fn first_line(head: &[u8]) -> &[u8] {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What stands before the first space, and behind it
fn split_at_space(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b' ')?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

#[expect(clippy::disallowed_methods, reason = "an adapter's clock: a handshake has no connection yet")]
fn now() -> Instant {
    Instant::now()
}
