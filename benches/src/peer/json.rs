//! JSON-RPC: what its peers have in common on every runtime
//!
//! The payload is a string, the only parameter; the answer is the string. Both sides read and write it as such, by serde.

use core::net::SocketAddr;

use bytes::Bytes;
use flyrpc_tokio::Json;

use crate::kit::Failure;

/// What carries JSON-RPC
pub(crate) trait Carrier: Send + Sync + 'static {
    /// What stands before host and port
    const SCHEME: &'static str;
}

/// A line for each message
pub(crate) struct Lines;
pub(crate) struct WebSocket;
/// POST, over the client's pool of connections
pub(crate) struct Http;

impl Carrier for Lines {
    const SCHEME: &'static str = "jsonrpc+tcp://";
}

impl Carrier for WebSocket {
    const SCHEME: &'static str = "jsonrpc+ws://";
}

impl Carrier for Http {
    const SCHEME: &'static str = "jsonrpc+http://";
}

/// Where a server listens, or is listening
pub(crate) fn address<C: Carrier>(address: SocketAddr) -> String {
    format!("{}{address}", C::SCHEME)
}

/// Answers `echo1`
pub(crate) fn echo(Json([text]): Json<[String; 1]>) -> Json<String> {
    Json(text)
}

/// The parameters of `echo1`
pub(crate) fn params(payload: &Bytes) -> Result<Json<[&str; 1]>, Failure> {
    Ok(Json([str::from_utf8(payload)?]))
}
