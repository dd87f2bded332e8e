//! A request as its handler sees it

use core::fmt;

use bytes::Bytes;
use flyrpc_core::fly::Flag;
use flyrpc_core::jsonrpc;

use crate::{Caller, Context, Decode, FormatError, Protocol, RemoteError, format};

/// A packet as it came, inflated
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its flag; other protocols have none, and say only whether it is a request or a message
    pub flag: Flag,
    /// Its sequence; 0 in other protocols
    pub sequence: u16,
    /// Its code, or method, which is UTF-8
    pub code: Bytes,
    /// Its payload
    pub payload: Bytes,
}

impl Packet {
    /// Its code; empty if that is not UTF-8, which no connection lets through
    #[must_use]
    pub fn code(&self) -> &str {
        core::str::from_utf8(&self.code).unwrap_or_default()
    }
}

/// The payload's length only (P22)
impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("flag", &self.flag)
            .field("sequence", &self.sequence)
            .field("code", &self.code())
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish()
    }
}

/// A request or message: the packet, and who sent it
///
/// As an argument of a handler: `&Request<P>`.
#[derive(Clone)]
pub struct Request<P> {
    context: Context<P>,
    packet: Packet,
}

impl<P: Caller> Request<P> {
    /// A packet that came from the context's peer
    pub const fn new(context: Context<P>, packet: Packet) -> Self {
        Self { context, packet }
    }

    /// The code it was sent under
    #[must_use]
    pub fn code(&self) -> &str {
        self.packet.code()
    }

    /// Its payload
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.packet.payload
    }

    /// Its payload as text
    ///
    /// # Errors
    /// `BAD_PAYLOAD` when it is not UTF-8; `?` answers the request with that.
    pub fn text(&self) -> Result<&str, RemoteError> {
        Ok(format::text(&self.packet.payload)?)
    }

    /// Its payload as a `T`; for JSON-RPC an array of one element is as good as the element, and nothing as `null`
    ///
    /// # Errors
    /// It is not what the format and the type ask for.
    pub fn decode<T: Decode>(&self) -> Result<T, FormatError> {
        let payload = &self.packet.payload;
        if self.context.protocol() != Protocol::JsonRpc {
            return T::decode(payload);
        }
        let lone = || {
            if payload.is_empty() {
                return Some(Bytes::from_static(b"null"));
            }
            jsonrpc::only_element(payload).map(|element| payload.slice_ref(element))
        };
        // Net/rpc's clients send one object in an array; it is hardly ever meant as the only one of a list.
        if T::TAKES_ELEMENT
            && begins_with_object(payload)
            && let Some(lone) = lone()
        {
            return T::decode(&lone).or_else(|error| T::decode(payload).map_err(|_| error));
        }
        T::decode(payload).or_else(|error| lone().and_then(|lone| T::decode(&lone).ok()).ok_or(error))
    }

    /// Who sent it, and more
    pub const fn context(&self) -> &Context<P> {
        &self.context
    }

    /// Who sent it; may be called, now or later
    pub const fn peer(&self) -> &P {
        self.context.peer()
    }

    /// The packet as it came
    #[must_use]
    pub const fn packet(&self) -> &Packet {
        &self.packet
    }

    /// Does the sender wait for an answer at all? Not for a message
    #[must_use]
    pub const fn wants_reply(&self) -> bool {
        self.packet.flag.is_request()
    }

    /// Does the sender no longer wait for the answer? A handler that computes for long looks now and then
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.context.is_cancelled()
    }

    /// Both parts
    pub fn into_parts(self) -> (Context<P>, Packet) {
        (self.context, self.packet)
    }
}

/// Is this nothing, or an array whose first element is an object?
fn begins_with_object(params: &[u8]) -> bool {
    match params.trim_ascii_start() {
        [] => true,
        [b'[', elements @ ..] => elements.trim_ascii_start().starts_with(b"{"),
        _ => false,
    }
}

impl<P: Caller> fmt::Debug for Request<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("context", &self.context).field("packet", &self.packet).finish()
    }
}
