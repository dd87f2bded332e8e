//! HTTP CONNECT as net/rpc does it: a line each way, then the stream is the codec's
//!
//! ```text
//! client: CONNECT /_goRPC_ HTTP/1.0 LF LF
//! server: HTTP/1.0 200 Connected to Go RPC LF LF
//! ```
//!
//! CR LF is read as well as LF.

use std::io::{self, ErrorKind};

use bytes::{Bytes, BytesMut};

use super::io::{Prefixed, read, write_all};
use crate::runtime::Transport;

/// What both ends say when it has worked (Go's `net/rpc`, `connected`)
const CONNECTED: &str = "200 Connected to Go RPC";
/// First bytes of a request that wants a stream
const METHOD: &[u8] = b"CONNECT ";
/// Most bytes of a head
const MAX_HEAD: usize = 16 << 10;

/// Opens a stream on `path` of a server of net/rpc's, as a client
///
/// How long it may take is the caller's to watch.
///
/// # Errors
/// The transport's; [`ErrorKind::InvalidInput`] for a path with white space or control characters;
/// [`ErrorKind::ConnectionRefused`] with the status if the server answers otherwise; [`ErrorKind::InvalidData`] if it is no HTTP.
pub async fn connect_handshake<T: Transport>(mut transport: T, path: &str) -> io::Result<Prefixed<T>> {
    if path.is_empty() || path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "this can't be the path of a request"));
    }
    write_all(&mut transport, format!("CONNECT {path} HTTP/1.0\n\n").as_bytes()).await?;
    let mut received = BytesMut::new();
    let head = read_head(&mut transport, &mut received).await?;
    let line = first_line(&head);
    let status = split_at_space(line).filter(|(version, _)| version.starts_with(b"HTTP/1."));
    match status {
        Some((_, status)) if status == CONNECTED.as_bytes() => {
            Ok(Prefixed::new(received.freeze(), transport))
        }
        Some((_, status)) => {
            let code = status.get(..3).and_then(|code| str::from_utf8(code).ok()).unwrap_or_default();
            let code: u16 = code.parse().unwrap_or_default();
            Err(io::Error::new(
                ErrorKind::ConnectionRefused,
                format!("the server refused CONNECT: HTTP status {code}"),
            ))
        }
        None => Err(io::Error::new(ErrorKind::InvalidData, "the answer to CONNECT is no HTTP")),
    }
}

/// What a connection begins with
pub(super) enum Opening<T> {
    /// A stream on this path; what was read is its head, and it waits for an answer
    Connect(String, Prefixed<T>),
    /// Anything else, none of which was taken
    Other(Prefixed<T>),
}

/// Looks at what a client begins with
pub(super) async fn opening<T: Transport>(mut transport: T) -> io::Result<Opening<T>> {
    let mut received = BytesMut::new();
    while METHOD.starts_with(&received) && received.len() < METHOD.len() {
        if read(&mut transport, &mut received).await? == 0 {
            break;
        }
    }
    if !received.starts_with(METHOD) {
        return Ok(Opening::Other(Prefixed::new(received.freeze(), transport)));
    }
    let head = read_head(&mut transport, &mut received).await?;
    let rest = first_line(&head).get(METHOD.len()..).unwrap_or_default();
    let (path, version) = split_at_space(rest)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "CONNECT without a path"))?;
    if !version.starts_with(b"HTTP/1.") {
        return Err(io::Error::new(ErrorKind::InvalidData, "CONNECT of another protocol"));
    }
    let path = String::from_utf8_lossy(path).into_owned();
    Ok(Opening::Connect(path, Prefixed::new(received.freeze(), transport)))
}

/// Tells a client that the stream is its own now
pub(super) async fn accept<T: Transport>(stream: &mut T) -> io::Result<()> {
    write_all(stream, format!("HTTP/1.0 {CONNECTED}\n\n").as_bytes()).await
}

/// Tells a client that there is no stream on its path
pub(super) async fn refuse<T: Transport>(stream: &mut T) -> io::Result<()> {
    let refusal =
        "HTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\n404 not found\n";
    write_all(stream, refusal.as_bytes()).await
}

/// Takes everything up to the first empty line; what lies behind it stays
async fn read_head<T: Transport>(transport: &mut T, received: &mut BytesMut) -> io::Result<Bytes> {
    let mut seen = 0;
    loop {
        if let Some(end) = end_of_head(received, seen) {
            return Ok(received.split_to(end).freeze());
        }
        // An empty line may begin with what was there before.
        seen = received.len().saturating_sub(2);
        if received.len() >= MAX_HEAD {
            return Err(io::Error::new(ErrorKind::InvalidData, "the head is too long"));
        }
        if read(transport, received).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Where the first empty line ends, of those that end at `from` or later
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
