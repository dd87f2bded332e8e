//! What a connection tells its owner

use core::fmt;
use core::marker::PhantomData;

use crate::{Body, Dialect, ProtocolError};

/// The outcome of one [`Connection::handle_input`](crate::Connection::handle_input)
#[derive(Debug)]
#[must_use]
pub struct Step<'i, D: Dialect, T> {
    /// Bytes to drop from the front of the input; 0 for [`What::NeedMore`] and [`What::Blocked`]
    pub consumed: usize,
    /// What they were
    pub what: What<'i, D, T>,
}

/// What a step found
#[derive(Debug)]
pub enum What<'i, D: Dialect, T> {
    /// The input holds no whole message yet
    NeedMore {
        /// The length that the input needs at least, in bytes; enough for the whole message once its header is there
        at_least: usize,
    },
    /// The message can't be taken now: hand it in again after [`poll_transmit`](crate::Connection::poll_transmit) has
    /// written something (for which a streamed body on its way out must be complete), or, under
    /// [`Overload::Wait`](crate::Overload::Wait), a reply was given or a request abandoned
    Blocked,
    /// The connection has dealt with it; nothing for the application
    Handled,
    /// Something for the application
    Incoming(Incoming<'i, D, T>),
}

/// A message for the application; its bytes borrow the input
#[non_exhaustive]
pub enum Incoming<'i, D: Dialect, T> {
    /// The peer calls and waits for an answer: a result, an error, or the implicit ack
    Request {
        /// Method name (FlyRPC: code) as it came
        method: &'i [u8],
        /// Payload as it came
        body: Body<'i>,
        /// What the dialect says beside (FlyRPC: what is compressed)
        meta: D::Meta,
        /// For [`reply`](crate::Connection::reply)
        token: ReplyToken<D>,
    },
    /// The peer says something and wants no answer
    Notification {
        /// Method name as it came
        method: &'i [u8],
        /// Payload as it came
        body: Body<'i>,
        /// What the dialect says beside
        meta: D::Meta,
    },
    /// A call of ours is answered
    Reply {
        /// Which call
        call: CallId,
        /// The tag that was given with it
        tag: T,
        /// Empty for success, else the error code
        code: &'i [u8],
        /// Result, or details of the error
        body: Body<'i>,
        /// What the dialect says beside
        meta: D::Meta,
    },
    /// A call of ours is answered, but the answer can't be taken; the call is over all the same
    BadReply {
        /// Which call
        call: CallId,
        /// The tag that was given with it
        tag: T,
        /// What is wrong with the answer
        why: BadReply,
    },
    /// A ping of ours came back
    Pong {
        /// Which ping
        call: CallId,
        /// The tag that was given with it
        tag: T,
        /// Bytes that came back; fewer than were sent from a peer that does not know pings, which proves life as well
        len: u64,
    },
    /// The peer no longer waits for the answer to a request; answer it soon, or with an error
    Cancel {
        /// Compare with [`ReplyToken::key`]
        request: D::Key,
    },
    /// The next bytes of the body that was last announced as [`Body::Streamed`]
    Piece {
        /// The bytes
        bytes: &'i [u8],
        /// Bytes of this body that are still to come; 0 with the last piece
        left: u64,
    },
}

/// Says how long bodies are, never what is in them (P22)
impl<D: Dialect, T: fmt::Debug> fmt::Debug for Incoming<'_, D, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| core::str::from_utf8(bytes).unwrap_or("(not UTF-8)");
        match self {
            Self::Request { method, body, meta, token } => {
                let mut shown = f.debug_struct("Request");
                shown
                    .field("method", &text(method))
                    .field("body", body)
                    .field("meta", meta)
                    .field("token", token);
                shown.finish()
            }
            Self::Notification { method, body, meta } => {
                let mut shown = f.debug_struct("Notification");
                shown.field("method", &text(method)).field("body", body).field("meta", meta).finish()
            }
            Self::Reply { call, tag, code, body, meta } => {
                let mut shown = f.debug_struct("Reply");
                shown.field("call", call).field("tag", tag).field("code", &text(code));
                shown.field("body", body).field("meta", meta).finish()
            }
            Self::BadReply { call, tag, why } => {
                f.debug_struct("BadReply").field("call", call).field("tag", tag).field("why", why).finish()
            }
            Self::Pong { call, tag, len } => {
                f.debug_struct("Pong").field("call", call).field("tag", tag).field("len", len).finish()
            }
            Self::Cancel { request } => f.debug_struct("Cancel").field("request", request).finish(),
            Self::Piece { bytes, left } => {
                f.debug_struct("Piece").field("bytes", &Body::Whole(bytes)).field("left", left).finish()
            }
        }
    }
}

/// Why an answer could not be taken
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BadReply {
    /// Its payload is longer than [`Limits::max_payload`](crate::Limits::max_payload)
    TooLarge {
        /// Its length in bytes
        len: u64,
        /// The limit in bytes
        limit: u64,
    },
}

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, limit } => {
                write!(f, "the answer of {len} bytes is longer than the limit of {limit} bytes")
            }
        }
    }
}

impl core::error::Error for BadReply {}

/// Something that happened without input
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<T> {
    /// The deadline of a call or ping has passed
    TimedOut {
        /// Which call
        call: CallId,
        /// The tag that was given with it
        tag: T,
    },
    /// The connection ended before the answer came
    Lost {
        /// Which call
        call: CallId,
        /// The tag that was given with it
        tag: T,
        /// What ended it
        why: CloseReason,
    },
    /// The connection has ended; the last event, once
    Closed {
        /// What ended it
        why: CloseReason,
    },
}

/// How far a connection's life has come
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls and replies go both ways
    Open,
    /// Only the replies still owed are sent, and those to calls in flight awaited
    Draining,
    /// Nothing is accepted any more
    Closed,
}

/// What ended a connection
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed the stream between two packets
    PeerClosed,
    /// The stream ended inside a packet
    CutShort,
    /// [`close`](crate::Connection::close) was called
    Local,
    /// [`drain`](crate::Connection::drain) has done its work
    Drained,
    /// The deadline of `drain` came first
    DrainDeadline,
    /// The peer broke the protocol
    Protocol(ProtocolError),
    /// The transport failed
    Transport(Loss),
}

/// How a transport failed: the argument of [`handle_loss`](crate::Connection::handle_loss)
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// The system reports an error: reset by the peer, no route, and the like
    Reset,
    /// The peer took nothing of what was sent for as long as the owner waits
    WriteTimeout,
    /// The peer was silent for the keepalive time and did not answer a ping either
    Unresponsive,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => "the transport failed, or was reset by the peer",
            Self::WriteTimeout => "the peer took nothing of what was sent for the write timeout",
            Self::Unresponsive => "the peer was silent and did not answer a ping",
        })
    }
}

impl core::error::Error for Loss {}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("the peer closed the connection"),
            Self::CutShort => f.write_str("the stream ended inside a packet"),
            Self::Local => f.write_str("the connection was closed on this side"),
            Self::Drained => f.write_str("the connection was drained"),
            Self::DrainDeadline => f.write_str("the deadline for draining came before all replies were sent"),
            Self::Protocol(error) => error.fmt(f),
            Self::Transport(loss) => loss.fmt(f),
        }
    }
}

/// Its text holds that of a [`ProtocolError`] or [`Loss`]: there is no source to be shown behind it
impl core::error::Error for CloseReason {}

/// Names one call of one connection
///
/// Ids do not come again for four billion calls, so a stale one names nothing.
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(pub(super) u32);

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.0)
    }
}

/// The right, and the duty, to answer one request
///
/// Used up by [`reply`](crate::Connection::reply), or by [`abandon`](crate::Connection::abandon) for a request that will
/// never be answered. A token that is dropped counts as owed until the connection ends, so draining then runs into its
/// deadline.
#[must_use = "the peer waits for an answer: use `reply` or `abandon`"]
#[cfg_attr(feature = "_test", derive(Clone))]
pub struct ReplyToken<D: Dialect> {
    pub(super) key: D::Key,
    pub(super) dialect: PhantomData<fn() -> D>,
}

impl<D: Dialect> ReplyToken<D> {
    /// What the answer will carry to find its request (FlyRPC: the request's sequence)
    #[must_use]
    pub fn key(&self) -> D::Key {
        self.key
    }

    /// The token again of a request whose [`key`](Self::key) a layer above has kept in its stead
    ///
    /// Each request is to be answered once: the layer sees to that.
    pub fn from_key(key: D::Key) -> Self {
        Self { key, dialect: PhantomData }
    }
}

impl<D: Dialect> fmt::Debug for ReplyToken<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplyToken").field(&self.key).finish()
    }
}

/// What [`Connection::poll_transmit`](crate::Connection::poll_transmit) wrote
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transmit {
    /// Bytes written, one whole packet
    pub len: usize,
}

/// Counters of one connection, from its start; they wrap
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Stats {
    /// Calls and pings accepted
    pub calls: u64,
    /// Calls and pings of ours that were answered
    pub answered: u64,
    /// Requests handed out
    pub requests: u64,
    /// Notifications handed out
    pub notifications: u64,
    /// Calls and pings whose deadline passed
    pub timed_out: u32,
    /// Calls cancelled
    pub cancelled: u32,
    /// Replies to calls that were over: timed out, cancelled; dropped
    pub late_replies: u32,
    /// Replies to no call of ours, or a second time; dropped
    pub unknown_replies: u32,
    /// Requests the connection refused itself: busy, draining, too large
    pub rejected: u32,
    /// Messages that were well framed but unusable, and notifications that were too large; dropped or refused
    pub invalid: u32,
    /// Requests that the dialect answered itself, pings among them
    pub own: u32,
}
