//! The small packets that FlyRPC sends of itself

use super::codes;
use crate::sink::copy;

/// A small packet that FlyRPC sends of itself: a refusal, or the answer to `$hello`, or to a short ping, or a `$cancel`
///
/// Words without any hole: so a Cortex-M3 moves it by words, and not by a call of `memcpy`, which would be the only
/// one in a small program, and 900 bytes of flash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Control {
    /// From the lowest byte on: which, the length of `echo`, and the sequence in the upper half
    what: u32,
    echo: [u8; PONG],
}

/// Longest ping that is answered without its owner, in bytes of payload
const PONG: usize = 8;

/// What a [`Control`] is
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pong,
    Hello,
    Cancel,
    /// An error with this code
    Error(&'static str),
}

/// The errors that the connection answers requests with; their places here are what a [`Control`] keeps
const ERRORS: [&str; 5] = [codes::BAD_CODE, codes::BAD_ZIP, codes::BUSY, codes::DRAINING, codes::TOO_LARGE];

pub(super) const BAD_CODE: u8 = 0;
pub(super) const BAD_ZIP: u8 = 1;
pub(super) const BUSY: u8 = 2;
pub(super) const DRAINING: u8 = 3;
pub(super) const TOO_LARGE: u8 = 4;

const HELLO: u8 = 5;
const CANCEL: u8 = 6;
const PONGS: u8 = 7;

impl Control {
    const fn new(what: u8, sequence: u16) -> Self {
        Self { what: what as u32 | (sequence as u32) << 16, echo: [0; PONG] }
    }

    /// The answer to a request with an error of [`ERRORS`]
    pub(super) const fn error(sequence: u16, code: u8) -> Self {
        Self::new(code, sequence)
    }

    /// The answer to `$hello`
    pub(super) const fn hello(sequence: u16) -> Self {
        Self::new(HELLO, sequence)
    }

    /// Nobody waits for the answer to this request of ours
    pub(super) const fn cancel(sequence: u16) -> Self {
        Self::new(CANCEL, sequence)
    }

    /// The answer to a ping, if that is short
    pub(super) fn pong(sequence: u16, payload: &[u8]) -> Option<Self> {
        let mut pong = Self::new(PONGS, sequence);
        copy(pong.echo.get_mut(..payload.len())?, payload);
        pong.what |= (payload.len() as u32) << 8;
        Some(pong)
    }

    pub(super) const fn sequence(&self) -> u16 {
        (self.what >> 16) as u16
    }

    pub(super) fn kind(&self) -> Kind {
        match self.what as u8 {
            HELLO => Kind::Hello,
            CANCEL => Kind::Cancel,
            code => ERRORS.get(usize::from(code)).map_or(Kind::Pong, |code| Kind::Error(code)),
        }
    }

    /// What a ping had in it
    pub(super) fn echo(&self) -> &[u8] {
        self.echo.get(..usize::from((self.what >> 8) as u8)).unwrap_or_default()
    }
}

impl core::fmt::Debug for Control {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Control").field("kind", &self.kind()).field("sequence", &self.sequence()).finish()
    }
}
