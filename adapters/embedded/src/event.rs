//! What a node tells its owner

use core::fmt;

use flyrpc_core::CallId;

/// Something for the application; codes and payloads borrow the node's receive buffer
///
/// In logs it says how long payloads are, never what is in them.
#[non_exhaustive]
pub enum Event<'a, T> {
    /// The other end calls and waits for an answer: [`Peer::reply`](crate::Peer::reply), now or later
    ///
    /// Pings of up to 8 bytes are answered without this. Longer ones come as requests for `$ping`: answer them with their payload, in
    /// the same arm as an echo.
    Request {
        /// What is called
        code: &'a [u8],
        /// Payload
        payload: &'a [u8],
        /// For the answer
        token: Token,
    },
    /// The other end says something and wants no answer
    Message {
        /// What it is about
        code: &'a [u8],
        /// Payload
        payload: &'a [u8],
    },
    /// A call of ours was answered
    Reply {
        /// Which call
        call: CallId,
        /// The tag that was given with it
        tag: T,
        /// Empty for success, else the error code; `TOO_LARGE` and `BAD_ZIP` also for an answer that can't be taken here
        code: &'a [u8],
        /// Result, or details of the error
        payload: &'a [u8],
    },
    /// A ping of ours came back
    Pong {
        /// Which ping
        call: CallId,
        /// The tag that was given with it
        tag: T,
    },
    /// The deadline of a call or ping of ours has passed
    TimedOut {
        /// Which call
        call: CallId,
        /// The tag that was given with it
        tag: T,
    },
    /// The line was lost before the answer came; [`Ended`](Self::Ended) follows
    Lost {
        /// Which call
        call: CallId,
        /// The tag that was given with it
        tag: T,
    },
    /// The other end no longer waits for the answer to a request; answer it soon, or with an error
    Cancelled {
        /// Compare with [`Token::sequence`]
        sequence: u16,
    },
    /// One life of the line is over, and the next has begun: the other end has restarted, or the bytes made no sense
    ///
    /// All calls of ours have been given back, and tokens from before do nothing any more.
    Ended {
        /// What ended it
        why: Ended,
    },
}

impl<T: fmt::Debug> fmt::Debug for Event<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { code, payload, token } => {
                said(f, "Request", code, payload).field("token", token).finish()
            }
            Self::Message { code, payload } => said(f, "Message", code, payload).finish(),
            Self::Reply { call, tag, code, payload } => {
                said(f, "Reply", code, payload).field("call", call).field("tag", tag).finish()
            }
            Self::Pong { call, tag } => over(f, "Pong", call, tag),
            Self::TimedOut { call, tag } => over(f, "TimedOut", call, tag),
            Self::Lost { call, tag } => over(f, "Lost", call, tag),
            Self::Cancelled { sequence } => f.debug_struct("Cancelled").field("sequence", sequence).finish(),
            Self::Ended { why } => f.debug_struct("Ended").field("why", why).finish(),
        }
    }
}

/// A packet, with the length of its payload
pub(crate) fn said<'a, 'f>(
    f: &'a mut fmt::Formatter<'f>,
    what: &str,
    code: &[u8],
    payload: &[u8],
) -> fmt::DebugStruct<'a, 'f> {
    let mut shown = f.debug_struct(what);
    let code = core::str::from_utf8(code).unwrap_or("(not UTF-8)");
    shown.field("code", &code).field("payload", &format_args!("{} bytes", payload.len()));
    shown
}

fn over<T: fmt::Debug>(f: &mut fmt::Formatter<'_>, what: &str, call: &CallId, tag: &T) -> fmt::Result {
    f.debug_struct(what).field("call", call).field("tag", tag).finish()
}

#[cfg(feature = "defmt")]
impl<T: defmt::Format> defmt::Format for Event<'_, T> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Request { code, payload, token } => {
                defmt::write!(f, "request {=[u8]:a}, {=usize} bytes, {}", code, payload.len(), token);
            }
            Self::Message { code, payload } => {
                defmt::write!(f, "message {=[u8]:a}, {=usize} bytes", code, payload.len());
            }
            Self::Reply { call, tag, code, payload } => {
                defmt::write!(f, "{}, {}: reply {=[u8]:a}, {=usize} bytes", call, tag, code, payload.len());
            }
            Self::Pong { call, tag } => defmt::write!(f, "{}, {}: pong", call, tag),
            Self::TimedOut { call, tag } => defmt::write!(f, "{}, {}: timed out", call, tag),
            Self::Lost { call, tag } => defmt::write!(f, "{}, {}: lost", call, tag),
            Self::Cancelled { sequence } => defmt::write!(f, "request {=u16} is cancelled", sequence),
            Self::Ended { why } => defmt::write!(f, "ended: {}", why),
        }
    }
}

/// What ended a life of the line
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The other end has restarted; only [`Framed`](crate::Framed) can tell
    Restarted,
    /// What came is no packet, or ended inside one
    Garbled,
}

/// The right, and the duty, to answer one request
///
/// It may be kept for as long as the answer takes. One that is dropped counts as owed for as long as the line lives, so
/// that in the end requests are refused as `BUSY`.
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Debug)]
#[must_use = "the other end waits for an answer: use `Peer::reply` or `Peer::abandon`"]
pub struct Token {
    pub(crate) sequence: u16,
    /// The life of the line in which the request came
    pub(crate) life: u32,
}

impl Token {
    /// The request's sequence
    #[must_use]
    pub const fn sequence(&self) -> u16 {
        self.sequence
    }
}
