//! What a node tells its owner

use flyrpc_core::CallId;

/// Something for the application; codes and payloads borrow the node's receive buffer
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a, T> {
    /// The other end calls and waits for an answer: [`Peer::reply`](crate::Peer::reply), now or later
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

/// What ended a life of the line
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
