//! What must be true of one side: the reference that its connection is compared with

use core::hash::{Hash, Hasher};
use core::time::Duration;
use std::collections::VecDeque;

use flyrpc_core::fly::Fly;
use flyrpc_core::{CallId, Instant, ProtocolError, ReplyToken};

use super::op::Answer;

/// One side as it must be
#[derive(Clone, Debug)]
pub(crate) struct Book {
    /// The latest time that the connection was given
    pub(crate) seen: Instant,
    /// Calls and pings that are not over
    pub(crate) calls: Vec<Waiting>,
    /// Ids of calls that are over, a few
    pub(crate) stale: VecDeque<CallId>,
    /// Requests of the peer's that wait
    pub(crate) owed: Vec<Owed>,
    /// What was written and not yet handled by the peer, in order
    pub(crate) sent: VecDeque<Sent>,
    /// Sequences of calls that were given up, whose `$cancel` may still be written
    pub(crate) cancelled: Vec<u16>,
    /// Sequences that rest, and until when
    pub(crate) resting: Vec<(u16, Instant)>,
    /// When the last of them, and what may rest with them, is free again at the latest
    pub(crate) rests_until: Instant,
    /// The body that is being sent: how much is left, and what it is made of
    pub(crate) sending: Option<Flow>,
    /// The body that is being received
    pub(crate) receiving: Option<Flow>,
    pub(crate) next_tag: u32,
    pub(crate) next_note: u8,
    /// Calls that ended with the connection
    pub(crate) lost: u64,
    pub(crate) drain_by: Option<Instant>,
    /// The end of the stream was given, then
    pub(crate) eof_at: Option<Instant>,
    /// It came inside a packet; not known where a packet was blocked
    pub(crate) cut_short: Option<bool>,
    pub(crate) closed_here: bool,
    pub(crate) failed: Option<ProtocolError>,
    /// The last event was given
    pub(crate) told: bool,
    /// How far the state has come
    pub(crate) rank: u8,
}

/// Everything that later checks or choices depend on
impl Hash for Book {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.seen, &self.calls, &self.owed, &self.cancelled, &self.resting).hash(state);
        (self.sending, self.receiving, self.next_tag, self.next_note).hash(state);
        (self.drain_by, self.eof_at, self.cut_short, self.closed_here, self.told, self.rank).hash(state);
        self.failed.is_some().hash(state);
    }
}

/// A call that is not over
#[derive(Clone, Debug, Hash)]
pub(crate) struct Waiting {
    pub(crate) tag: u32,
    pub(crate) id: CallId,
    pub(crate) sequence: u16,
    pub(crate) deadline: Instant,
    pub(crate) kind: Kind,
}

/// What kind of request
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Call,
    Ping,
    Hello,
}

/// A request that waits for us
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    pub(crate) token: ReplyToken<Fly>,
    /// The caller's tag
    pub(crate) tag: u32,
}

impl Hash for Owed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.token.key(), self.tag).hash(state);
    }
}

/// A packet under way
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sent {
    Request {
        kind: Kind,
        tag: u32,
        sequence: u16,
        len: u32,
    },
    Notification {
        id: u8,
        len: u32,
    },
    Reply {
        tag: u32,
        sequence: u16,
        answer: Answer,
    },
    /// An answer of the connection's own
    Own {
        sequence: u16,
        len: u32,
    },
    Cancel {
        sequence: u16,
    },
}

impl Sent {
    /// Length of its payload in bytes
    pub(crate) const fn len(self) -> u32 {
        match self {
            Self::Request { len, .. } | Self::Notification { len, .. } | Self::Own { len, .. } => len,
            Self::Reply { answer, .. } => answer.len(),
            Self::Cancel { .. } => 2,
        }
    }

    /// What its payload is made of, where that is ours to say
    pub(crate) const fn fill(self) -> Option<Fill> {
        match self {
            Self::Request { kind: Kind::Call, tag, .. } => Some(Fill(tag as u8)),
            Self::Request { .. } | Self::Own { .. } | Self::Cancel { .. } => None,
            Self::Notification { id, .. } => Some(Fill(id ^ 0x55)),
            Self::Reply { tag, .. } => Some(Fill(tag as u8 ^ 0xaa)),
        }
    }
}

/// A payload that says whose it is
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fill(pub(crate) u8);

impl Fill {
    /// Its bytes from `start` on
    pub(crate) fn bytes(self, start: u32, len: u32) -> Vec<u8> {
        (start..start + len).map(|at| self.0.wrapping_add((at as u8).wrapping_mul(3))).collect()
    }
}

/// A body on its way
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    pub(crate) fill: Option<Fill>,
    pub(crate) len: u32,
    pub(crate) left: u32,
    /// Nobody is given its bytes
    pub(crate) skipped: bool,
    /// It answers a call
    pub(crate) reply: bool,
}

impl Book {
    pub(crate) const fn new() -> Self {
        Self {
            seen: Instant::ZERO,
            calls: Vec::new(),
            stale: VecDeque::new(),
            owed: Vec::new(),
            sent: VecDeque::new(),
            cancelled: Vec::new(),
            resting: Vec::new(),
            rests_until: Instant::ZERO,
            sending: None,
            receiving: None,
            next_tag: 0,
            next_note: 0,
            lost: 0,
            drain_by: None,
            eof_at: None,
            cut_short: None,
            closed_here: false,
            failed: None,
            told: false,
            rank: 0,
        }
    }

    /// The call of `tag` is over now
    pub(crate) fn end(&mut self, tag: u32, id: CallId) -> Waiting {
        let place = self.calls.iter().position(|call| call.tag == tag);
        let place = place.unwrap_or_else(|| panic!("call {tag} is over, but it was not in flight"));
        let call = self.calls.remove(place);
        assert_eq!(call.id, id, "call {tag} ended under another id");
        self.stale.push_front(id);
        self.stale.truncate(2);
        call
    }

    /// A sequence is given to a new call (P5)
    pub(crate) fn check_sequence(&self, sequence: u16) {
        assert_ne!(sequence, 0);
        let in_flight = self.calls.iter().any(|call| call.sequence == sequence);
        assert!(!in_flight, "sequence {sequence} was given to two calls");
        let rests = self.resting.iter().find(|(resting, until)| *resting == sequence && *until > self.seen);
        assert_eq!(rests, None, "a sequence was given out while it rests");
    }

    /// May a call be refused for want of a sequence, with slots free?
    pub(crate) fn may_lack_sequences(&self) -> bool {
        self.rests_until > self.seen
    }

    /// Lets the sequence of a call that was given up rest
    pub(crate) fn rest(&mut self, sequence: u16, until: Instant) {
        let seen = self.seen;
        self.resting.retain(|(resting, until)| *resting != sequence && *until > seen);
        // A rest may be longer: by two units of about a second without a heap, up to twice as long with one.
        self.rests_until = until + Duration::from_millis(2200).max(until - seen);
        if until > seen {
            self.resting.push((sequence, until));
        }
    }
}
