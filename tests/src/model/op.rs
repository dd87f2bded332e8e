//! What can happen in a [`World`](super::World), and under which limits

use core::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use flyrpc_core::{Instant, Limits, Overload, Oversize};

use crate::Side;

/// One thing that an owner, or the world, does
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what the variants say")]
pub enum Op {
    /// Calls, with a payload of `len` bytes, in hand or streamed
    Call { side: Side, len: u32, streamed: bool, timeout: Timeout },
    /// Says something that wants no answer
    Notify { side: Side, len: u32, streamed: bool },
    /// Answers a request that waits
    Reply { side: Side, which: u8, answer: Answer },
    /// Gives a request up
    Abandon { side: Side, which: u8 },
    /// Cancels a call, or one that is over already
    Cancel { side: Side, which: u8 },
    /// Pings
    Ping { side: Side, len: u32, timeout: Timeout },
    /// Asks what the peer can do
    Hello { side: Side },
    /// Sends up to `len` bytes of the streamed body, or (one more than are left) too many
    SendBody { side: Side, len: u32, beyond: bool },
    /// Drains
    Drain { side: Side, timeout: Timeout },
    /// Closes
    Close { side: Side },
    /// Up to `len` bytes reach `side`, which handles what it then has; the end of the stream, if nothing else is left
    Deliver { side: Side, len: u32 },
    /// Takes one event and one packet of the core's own
    Poll { side: Side },
    /// Takes all events and all packets of the core's own, and sends what was written
    Flush { side: Side },
    /// Time passes
    Pass { micros: u32 },
    /// Time passes to the next moment that a connection asks for
    NextTimer,
    /// From now on `side` can write `bytes` at the most before it sends
    Room { side: Side, bytes: u32 },
    /// The stream from `side` ends behind what was sent
    HalfClose { side: Side },
    /// Both streams end, and what was under way is gone
    Cut,
    /// The next `calls` calls of `side` are answered at once, until the sequences have come round
    Round { side: Side, calls: u32 },
}

/// How long a call may take
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// As the limits say
    Default,
    /// No time at all
    None,
    /// 1 ms
    Short,
    /// 2 s
    Long,
    /// Until the connection ends
    Never,
}

impl Timeout {
    /// The deadline of something that begins at `now`
    #[must_use]
    pub fn after(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Default => None,
            Self::None => Some(now),
            Self::Short => Some(now + Duration::from_millis(1)),
            Self::Long => Some(now + Duration::from_secs(2)),
            Self::Never => Some(Instant::FAR),
        }
    }
}

impl<'a> Arbitrary<'a> for Timeout {
    /// Mostly long enough
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.int_in_range(0..=15_u8)? {
            0..6 => Self::Default,
            6..11 => Self::Long,
            11..14 => Self::Short,
            14 => Self::None,
            _ => Self::Never,
        })
    }
}

/// What a request is answered with
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A result of this many bytes
    Ok(u32),
    /// Nothing
    Ack,
    /// A code, and this many bytes of details
    Error(u32),
    /// A result of this many bytes that follow
    Streamed(u32),
}

impl Answer {
    /// Length of the payload in bytes
    #[must_use]
    pub const fn len(self) -> u32 {
        match self {
            Self::Ok(len) | Self::Error(len) | Self::Streamed(len) => len,
            Self::Ack => 0,
        }
    }

    /// Is there no payload?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl<'a> Arbitrary<'a> for Op {
    /// Chosen so that packets mostly arrive and worlds live for a while
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let choice = u.int_in_range(0..=99_u8)?;
        let side = if u.arbitrary()? { Side::A } else { Side::B };
        Ok(match choice {
            0..14 => Self::Call { side, len: len(u)?, streamed: u.ratio(1, 16)?, timeout: u.arbitrary()? },
            14..18 => Self::Notify { side, len: len(u)?, streamed: u.ratio(1, 16)? },
            18..32 => Self::Reply { side, which: u.arbitrary()?, answer: answer(u)? },
            32 => Self::Abandon { side, which: u.arbitrary()? },
            33..37 => Self::Cancel { side, which: u.arbitrary()? },
            37..41 => Self::Ping { side, len: len(u)?, timeout: u.arbitrary()? },
            41..43 => Self::Hello { side },
            43..49 => Self::SendBody { side, len: len(u)? * 3, beyond: u.ratio(1, 16)? },
            49 if u.ratio(1, 4)? => Self::Drain { side, timeout: u.arbitrary()? },
            50 if u.ratio(1, 8)? => Self::Close { side },
            50 if u.ratio(1, 8)? => Self::Cut,
            50 if u.ratio(1, 8)? => Self::HalfClose { side },
            51..54 => Self::Deliver { side, len: u.int_in_range(0..=20)? },
            54..75 => Self::Deliver { side, len: u32::MAX },
            75..78 => Self::Poll { side },
            78..93 => Self::Flush { side },
            93..97 => Self::Pass { micros: *u.choose(&[1, 50, 500, 500, 100_000, 1_200_000])? },
            97 => Self::NextTimer,
            98 => Self::Room { side, bytes: *u.choose(&[5, 30, 300])? },
            _ => Self::Room { side, bytes: u32::MAX },
        })
    }
}

fn len(u: &mut Unstructured<'_>) -> Result<u32> {
    Ok(*u.choose(&[0, 1, 3, 8, 9, 40, 255, 256, 700])?)
}

fn answer(u: &mut Unstructured<'_>) -> Result<Answer> {
    Ok(match u.int_in_range(0..=7_u8)? {
        0..4 => Answer::Ok(len(u)?),
        4..6 => Answer::Ack,
        6 => Answer::Error(len(u)?),
        _ => Answer::Streamed(len(u)?),
    })
}

/// The world before anything happens
#[derive(Clone, Debug, Arbitrary)]
pub struct Setup {
    /// Where calls in flight are kept
    pub table: TableKind,
    /// The limits of each side
    pub limits: [Choice; 2],
    /// How far before the wrap (65,535) each side's sequences begin
    pub before_wrap: [u8; 2],
}

/// Where calls in flight are kept
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
pub enum TableKind {
    /// On the heap
    Growable,
    /// Two slots
    Two,
    /// Eight slots
    Eight,
}

/// Limits, each of a few values, so that all of them are met
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Choice(u32);

impl Choice {
    /// The limits
    #[must_use]
    pub fn limits(self) -> Limits {
        let pick = |shift: u32, of: [u32; 4]| of[(self.0 >> shift & 3) as usize];
        let payload = pick(0, [4096, 256, 40, 8]);
        Limits::new()
            .max_payload(payload)
            .max_body(u64::from(payload) + u64::from(pick(2, [1 << 20, 1 << 20, 1 << 20, 300])))
            // At 7, `DRAINING` is too long; at 4, `$ping` is: the peer has broken the protocol then.
            .max_method(if self.0 >> 16 & 15 == 0 { pick(4, [7, 7, 4, 4]) as u16 } else { 1024 })
            .max_unanswered(pick(6, [1024, 3, 1, 1]))
            .max_in_flight(pick(8, [60_000, 60_000, 3, 1]))
            .oversize(if self.0 & 0x400 == 0 { Oversize::Refuse } else { Oversize::Stream })
            .overload(if self.0 & 0x1800 == 0 { Overload::Wait } else { Overload::Refuse })
            .call_timeout(Duration::from_millis(u64::from(pick(13, [5000, 5000, 5000, 3]))))
            .quarantine(Duration::from_millis(u64::from(pick(20, [60_000, 3000, 10, 0]))))
    }
}
