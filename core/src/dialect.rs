//! What a protocol has to say to be spoken by a [`Connection`](crate::Connection)

use core::fmt;

use crate::{Limits, NoRoom, Refusal, Sink, WireError};

/// The grammar of one protocol: bytes to messages and back
///
/// A dialect may keep what its own grammar needs (what the peer said of itself, the place inside a batch). It keeps no
/// table of calls and no clock; those are the connection's.
pub trait Dialect: Sized {
    /// What a reply must carry to find its request
    type Key: Copy + PartialEq + fmt::Debug;
    /// What is said about method and body beside their bytes (FlyRPC: which of them are compressed)
    type Meta: Copy + Default + PartialEq + fmt::Debug;
    /// The small packets that the protocol sends of itself: refusals, answers to pings, cancels
    type Control: fmt::Debug;

    /// The bits of a call's number that go over the wire, the lowest ones; sequences are `1..=sequence_mask()`
    fn sequence_mask(&self) -> u32;

    /// Reads the message that `input` starts with
    ///
    /// The connection may hand the same input in again (it was blocked, or more has come): the answer must not change
    /// until [`taken`](Self::taken).
    ///
    /// # Errors
    /// [`Fault`]: the bytes can't be read on from here; fatal.
    fn decode<'i>(&mut self, input: &'i [u8], limits: &Limits) -> Result<Decoded<'i, Self>, Fault>;

    /// The connection has taken what [`decode`](Self::decode) found last: the next input begins behind it
    #[inline]
    fn taken(&mut self) {}

    /// Writes a request
    ///
    /// # Errors
    /// The refusal; nothing was written.
    fn encode_call<O: Sink + ?Sized>(
        &self,
        sequence: u32,
        call: &Call<'_, Self::Meta>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal>;

    /// Writes a notification
    ///
    /// # Errors
    /// The refusal; nothing was written.
    fn encode_notification<O: Sink + ?Sized>(
        &self,
        call: &Call<'_, Self::Meta>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal>;

    /// Writes a reply
    ///
    /// # Errors
    /// The refusal; nothing was written.
    fn encode_reply<O: Sink + ?Sized>(
        &mut self,
        key: Self::Key,
        reply: &Reply<'_, Self::Meta>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal>;

    /// Writes a request that the peer answers with the same `len` bytes
    ///
    /// # Errors
    /// The refusal; nothing was written.
    fn encode_ping<O: Sink + ?Sized>(&self, sequence: u32, len: usize, out: &mut O) -> Result<(), Refusal>;

    /// Writes a small packet of the protocol's own and tells its length
    ///
    /// # Errors
    /// The packet did not fit; nothing was written.
    fn encode_control<O: Sink + ?Sized>(
        &mut self,
        control: &Self::Control,
        limits: &Limits,
        out: &mut O,
    ) -> Result<usize, NoRoom>;

    /// The packet that answers the request of `key` with a refusal of the connection's, if there is one
    fn reject(&mut self, key: Self::Key, why: Reject) -> Option<Self::Control>;

    /// The request of `key` will not be answered
    #[inline]
    fn abandon(&mut self, key: Self::Key) {
        let _ = key;
    }

    /// Has the dialect something to send that was put together from several answers (a batch), and is complete now?
    #[inline]
    fn is_due(&self) -> bool {
        false
    }

    /// Writes one of these and tells its length; `None` when there is none
    ///
    /// # Errors
    /// It did not fit; nothing was written, and it stays due.
    fn encode_due<O: Sink + ?Sized>(
        &mut self,
        limits: &Limits,
        out: &mut O,
    ) -> Result<Option<usize>, NoRoom> {
        let _ = (limits, out);
        Ok(None)
    }

    /// Bytes of answers that wait for others to be sent with
    #[inline]
    fn held(&self) -> usize {
        0
    }

    /// The packet that tells the peer to stop working on a request of ours, where the peer is known to understand it
    fn cancel(&self, sequence: u32) -> Option<Self::Control>;
}

/// Longest header of a frame, in bytes, where a dialect has frames with a header of lines
pub(crate) const MAX_FRAME_HEADER: usize = 4096;

/// What [`Dialect::decode`] found at the start of the input
#[derive(Debug)]
pub enum Decoded<'i, D: Dialect> {
    /// The message is not complete
    NeedMore {
        /// The length that the input needs at least before more can be said, in bytes
        at_least: usize,
    },
    /// Bytes that mean nothing: white space, a separator, what is passed over
    Skip {
        /// How many of them, at least one
        consumed: usize,
    },
    /// One message
    Message {
        /// Bytes of the input that it took
        consumed: usize,
        /// The message
        message: Message<'i, D>,
    },
}

/// A decoded message, before the connection has matched it with its calls
#[derive(Debug)]
#[non_exhaustive]
pub enum Message<'i, D: Dialect> {
    /// The peer wants an answer
    Request {
        /// What the answer must carry
        key: D::Key,
        /// Method name
        method: &'i [u8],
        /// Payload
        body: Body<'i>,
        /// What the dialect says beside
        meta: D::Meta,
    },
    /// The peer wants no answer
    Notification {
        /// Method name
        method: &'i [u8],
        /// Payload
        body: Body<'i>,
        /// What the dialect says beside
        meta: D::Meta,
    },
    /// The peer answers a call of ours
    Reply {
        /// The call's sequence
        sequence: u32,
        /// Empty for success, else the error code
        code: &'i [u8],
        /// Payload
        body: Body<'i>,
        /// What the dialect says beside
        meta: D::Meta,
    },
    /// The peer no longer waits for the answer to this request of its own
    Cancel {
        /// The request's key
        key: D::Key,
    },
    /// The dialect has dealt with it; it may want a packet sent
    Control(Option<D::Control>),
    /// Well framed but unusable
    Invalid {
        /// The packet that answers it, if it is owed one
        answer: Option<D::Control>,
        /// Its payload, which is passed over
        body: Body<'i>,
    },
}

impl<D: Dialect> Message<'_, D> {
    /// Bytes of its body that are still to come
    #[inline]
    pub(crate) const fn following(&self) -> u64 {
        match self {
            Self::Request { body, .. }
            | Self::Notification { body, .. }
            | Self::Reply { body, .. }
            | Self::Invalid { body, .. } => body.following(),
            Self::Cancel { .. } | Self::Control(_) => 0,
        }
    }
}

/// A request or notification to send
///
/// ```
/// use core::time::Duration;
/// use flyrpc_core::{Call, Instant, fly};
///
/// let now = Instant::ZERO;
/// let call: Call<'_, fly::Zip> = Call::new("echo", b"hello").deadline(now + Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Call<'a, M = ()> {
    /// Method name (FlyRPC: code)
    pub method: &'a [u8],
    /// Payload
    pub body: Body<'a>,
    /// What the dialect is told beside the bytes
    pub meta: M,
    /// When to give up
    pub deadline: Option<crate::Instant>,
}

impl<'a, M: Default> Call<'a, M> {
    /// A call of `method` with a whole payload
    pub fn new<N: AsRef<[u8]> + ?Sized, P: AsRef<[u8]> + ?Sized>(method: &'a N, payload: &'a P) -> Self {
        Self {
            method: method.as_ref(),
            body: Body::Whole(payload.as_ref()),
            meta: M::default(),
            deadline: None,
        }
    }

    /// A call of `method` whose payload of `len` bytes follows through
    /// [`Connection::send_body`](crate::Connection::send_body)
    pub fn streamed<N: AsRef<[u8]> + ?Sized>(method: &'a N, len: u64) -> Self {
        Self { method: method.as_ref(), body: Body::Streamed(len), meta: M::default(), deadline: None }
    }

    /// When to give up; [`Limits::call_timeout`] from now where not set; no meaning for a notification
    pub const fn deadline(mut self, deadline: crate::Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// What the dialect is told beside the bytes
    pub fn meta(mut self, meta: M) -> Self {
        self.meta = meta;
        self
    }
}

/// An answer to send
///
/// ```
/// use flyrpc_core::{Reply, fly};
///
/// let success: Reply<'_, fly::Zip> = Reply::ok(b"42");
/// let ack: Reply<'_, fly::Zip> = Reply::ack();
/// let failure: Reply<'_, fly::Zip> = Reply::error("NO_SUCH_LAMP", b"lamp 7");
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Reply<'a, M = ()> {
    /// Error code; `None` for success
    pub code: Option<&'a [u8]>,
    /// Result, or details of the error
    pub body: Body<'a>,
    /// What the dialect is told beside the bytes
    pub meta: M,
}

impl<'a, M: Default> Reply<'a, M> {
    /// Success with a payload
    pub fn ok<P: AsRef<[u8]> + ?Sized>(payload: &'a P) -> Self {
        Self { code: None, body: Body::Whole(payload.as_ref()), meta: M::default() }
    }

    /// Success without a payload: the implicit ack
    pub fn ack() -> Self {
        Self { code: None, body: Body::Whole(&[]), meta: M::default() }
    }

    /// Failure with a code and details; an empty code is sent as `ERROR`, since empty means success
    pub fn error<C: AsRef<[u8]> + ?Sized, P: AsRef<[u8]> + ?Sized>(code: &'a C, details: &'a P) -> Self {
        Self { code: Some(code.as_ref()), body: Body::Whole(details.as_ref()), meta: M::default() }
    }

    /// Success with a payload of `len` bytes that follows through
    /// [`Connection::send_body`](crate::Connection::send_body)
    pub fn streamed(len: u64) -> Self {
        Self { code: None, body: Body::Streamed(len), meta: M::default() }
    }

    /// What the dialect is told beside the bytes
    pub fn meta(mut self, meta: M) -> Self {
        self.meta = meta;
        self
    }
}

/// A payload: in hand, or on its way
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// All of it
    Whole(&'a [u8]),
    /// This many bytes, which come (or are given) piece by piece
    Streamed(u64),
}

impl<'a> Body<'a> {
    /// Length in bytes
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "`len() == 0` is as short, and an empty body is not special"
    )]
    pub const fn len(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Streamed(len) => *len,
        }
    }

    /// The bytes in hand: all of them, or none of a streamed body
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Streamed(_) => &[],
        }
    }

    /// Bytes that are still to follow
    pub(crate) const fn following(&self) -> u64 {
        match self {
            Self::Whole(_) => 0,
            Self::Streamed(len) => *len,
        }
    }
}

/// Says how long it is, never what is in it (P22)
impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Streamed(len) => write!(f, "Streamed({len} bytes)"),
        }
    }
}

/// Why the connection answers a request itself instead of handing it out
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// [`Limits::max_unanswered`] requests wait already
    Busy,
    /// The connection is draining
    Draining,
    /// The payload is longer than [`Limits::max_payload`]
    TooLarge,
}

/// What ended a decoder, and where
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// What is wrong
    pub what: WireError,
    /// Offset from the start of the message, in bytes
    pub at: u32,
}
