//! What must be true of one side: the reference that its connection is compared with

use std::collections::VecDeque;

use flyrpc_core::fly::Fly;
use flyrpc_core::{CallId, Instant, ProtocolError, ReplyToken};

use super::op::Answer;

/// One side as it must be
#[derive(Clone, Debug, Hash)]
pub(super) struct Book {
    /// The latest time that the connection was given
    pub(super) seen: Instant,
    /// Calls and pings that are not over
    pub(super) calls: Vec<Waiting>,
    /// Ids of calls that are over, a few
    pub(super) stale: VecDeque<CallId>,
    /// Requests of the peer's that wait
    pub(super) owed: Vec<Owed>,
    /// What was written and not yet handled by the peer, in order
    pub(super) sent: VecDeque<Sent>,
    /// Sequences of calls that were given up, whose `$cancel` may still be written
    pub(super) cancelled: Vec<u16>,
    /// Sequences that rest, and until when
    pub(super) resting: Vec<(u16, Instant)>,
    /// The body that is being sent: how much is left, and what it is made of
    pub(super) sending: Option<Flow>,
    /// The body that is being received
    pub(super) receiving: Option<Flow>,
    pub(super) next_tag: u32,
    pub(super) next_note: u8,
    /// Calls that ended with the connection
    pub(super) lost: u64,
    pub(super) drain_by: Option<Instant>,
    /// The end of the stream was given, then
    pub(super) eof_at: Option<Instant>,
    /// It came inside a packet; not known where a packet was blocked
    pub(super) cut_short: Option<bool>,
    pub(super) closed_here: bool,
    pub(super) failed: Option<ProtocolError>,
    /// The last event was given
    pub(super) told: bool,
    /// How far the state has come
    pub(super) rank: u8,
}

/// A call that is not over
#[derive(Clone, Debug, Hash)]
pub(super) struct Waiting {
    pub(super) tag: u32,
    pub(super) id: CallId,
    pub(super) sequence: u16,
    pub(super) deadline: Instant,
    pub(super) kind: Kind,
}

/// What kind of request
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Call,
    Ping,
    Hello,
}

/// A request that waits for us
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub(super) token: ReplyToken<Fly>,
    /// The caller's tag
    pub(super) tag: u32,
}

impl core::hash::Hash for Owed {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        (self.token.key(), self.tag).hash(state);
    }
}

/// A packet under way
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sent {
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
    pub(super) const fn len(self) -> u32 {
        match self {
            Self::Request { len, .. } | Self::Notification { len, .. } | Self::Own { len, .. } => len,
            Self::Reply { answer, .. } => answer.len(),
            Self::Cancel { .. } => 2,
        }
    }

    /// What its payload is made of, where that is ours to say
    pub(super) const fn fill(self) -> Option<Fill> {
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
pub(super) struct Fill(pub(super) u8);

impl Fill {
    /// Its bytes from `start` on
    pub(super) fn bytes(self, start: u32, len: u32) -> Vec<u8> {
        (start..start + len).map(|at| self.0.wrapping_add((at as u8).wrapping_mul(3))).collect()
    }
}

/// A body on its way
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) fill: Option<Fill>,
    pub(super) len: u32,
    pub(super) left: u32,
    /// Nobody is given its bytes
    pub(super) skipped: bool,
    /// It answers a call
    pub(super) reply: bool,
}

impl Book {
    pub(super) const fn new() -> Self {
        Self {
            seen: Instant::ZERO,
            calls: Vec::new(),
            stale: VecDeque::new(),
            owed: Vec::new(),
            sent: VecDeque::new(),
            cancelled: Vec::new(),
            resting: Vec::new(),
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
    pub(super) fn end(&mut self, tag: u32, id: CallId) -> Waiting {
        let place = self.calls.iter().position(|call| call.tag == tag);
        let place = place.unwrap_or_else(|| panic!("call {tag} is over, but it was not in flight"));
        let call = self.calls.remove(place);
        assert_eq!(call.id, id, "call {tag} ended under another id");
        self.stale.push_front(id);
        self.stale.truncate(2);
        call
    }

    /// A sequence is given to a new call (P5)
    pub(super) fn check_sequence(&self, sequence: u16) {
        assert_ne!(sequence, 0);
        let in_flight = self.calls.iter().any(|call| call.sequence == sequence);
        assert!(!in_flight, "sequence {sequence} was given to two calls");
        let rests = self.resting.iter().find(|(resting, until)| *resting == sequence && *until > self.seen);
        assert_eq!(rests, None, "a sequence was given out while it rests");
    }

    /// Lets the sequence of a call that was given up rest
    pub(super) fn rest(&mut self, sequence: u16, until: Instant) {
        let seen = self.seen;
        self.resting.retain(|(resting, until)| *resting != sequence && *until > seen);
        if until > seen {
            self.resting.push((sequence, until));
        }
    }
}
