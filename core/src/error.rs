//! Who is at fault: the peer ([`ProtocolError`]), the caller ([`Refused`]), or nobody but the bytes ([`WireError`])

use core::fmt;

use crate::NoRoom;

/// Why bytes are not a packet
///
/// One byte in size, because it travels through every decoder.
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WireError {
    /// No end of the method name within [`Limits::max_method`](crate::Limits::max_method) bytes
    MethodTooLong,
    /// A body longer than [`Limits::max_body`](crate::Limits::max_body) is announced
    BodyTooLong,
    /// The header of a frame can't be read (JSON-RPC: `Content-Length`)
    BadFrame,
}

impl WireError {
    /// What is wrong, as a phrase
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MethodTooLong => "the code has no end (0x00) within its limit",
            Self::BodyTooLong => "the announced payload is longer than its limit",
            Self::BadFrame => "the frame's header can't be read, or is longer than its limit",
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for WireError {}

/// The peer broke the protocol: fatal for the connection, and returned again by every later input
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProtocolError {
    /// What is wrong
    pub what: WireError,
    /// Where in the connection's incoming stream, in bytes: the byte of a method name that passes its limit, or the length
    /// field that announces too much
    pub offset: u64,
    /// The limit that was passed, in bytes
    pub limit: u64,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the peer broke the protocol at byte {}: {} of {} bytes",
            self.offset, self.what, self.limit
        )
    }
}

/// Its text holds [`what`](Self::what): there is no source to be shown behind it
impl core::error::Error for ProtocolError {}

/// A command was refused; the connection is as it was before
///
/// `back` is what the caller handed over: the tag of a call, the token of a reply.
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refused<B> {
    /// Why
    pub why: Refusal,
    /// What the caller handed over, unused
    pub back: B,
}

impl<B> Refused<B> {
    /// What was refused, and why; for layers above that refuse by themselves
    #[must_use]
    pub const fn new(why: Refusal, back: B) -> Self {
        Self { why, back }
    }
}

impl<B> fmt::Display for Refused<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

/// Its text is that of [`why`](Self::why): there is no source to be shown behind it
impl<B: fmt::Debug> core::error::Error for Refused<B> {}

/// Why a command was refused
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The connection has ended
    Closed,
    /// The connection is draining: only replies still leave
    Draining,
    /// As many calls are in flight as the limits, the call table or the free sequences allow
    TooManyInFlight {
        /// Calls in flight now
        in_flight: u32,
    },
    /// The sink has no room
    NoRoom {
        /// Bytes that the packet takes
        need: usize,
    },
    /// The payload is longer than the peer said it takes
    TooLarge {
        /// The payload's length in bytes
        len: u64,
        /// What the peer takes, in bytes
        limit: u64,
    },
    /// The method name or error code can't be written: it is too long, or holds what the dialect has no form for (FlyRPC: a
    /// 0x00 byte)
    BadMethod,
    /// The payload can't be written: it is not what the dialect carries (JSON-RPC: JSON, and parameters an array or object)
    BadPayload,
    /// The transport would carry nothing but answers back
    NoWayBack,
    /// A streamed body is being sent; its remaining bytes must go first
    BodyInProgress {
        /// Bytes still to be sent
        left: u64,
    },
    /// More body bytes were given than had been announced
    BodyTooLong {
        /// Bytes still to be sent
        left: u64,
    },
}

impl From<NoRoom> for Refusal {
    fn from(room: NoRoom) -> Self {
        Self::NoRoom { need: room.need }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection has ended"),
            Self::Draining => f.write_str("the connection is draining"),
            Self::TooManyInFlight { in_flight } => {
                write!(f, "too many calls are in flight ({in_flight}); no sequence is free")
            }
            Self::NoRoom { need } => NoRoom { need: *need }.fmt(f),
            Self::TooLarge { len, limit } => {
                write!(f, "the payload of {len} bytes is longer than the {limit} bytes that the peer takes")
            }
            Self::BadMethod => f.write_str("the code is too long or holds a 0x00 byte"),
            Self::BadPayload => {
                f.write_str("the payload is not JSON, or as parameters neither an array nor an object")
            }
            Self::NoWayBack => f.write_str("the transport carries nothing but answers back"),
            Self::BodyInProgress { left } => {
                write!(f, "a streamed body is being sent; {left} bytes of it must go first")
            }
            Self::BodyTooLong { left } => {
                write!(f, "more body bytes than announced; {left} are left to send")
            }
        }
    }
}

impl core::error::Error for Refusal {}
