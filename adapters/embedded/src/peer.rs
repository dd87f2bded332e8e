//! What the application can do: call, tell, answer

use core::time::Duration;

use flyrpc_core::fly::{Base, codes};
use flyrpc_core::{
    Call, CallId, Connection, Instant, Limits, Loss, Refusal, Refused, Reply, ReplyToken, Slots, Stats,
};

use crate::link::Link;
use crate::port::{Outbound, Outlet};
use crate::{Ended, Event, Flavour, Token};

/// The application's side of a [`Node`](crate::Node): what its handler, and its main loop, may do at any time
///
/// What is sent goes into the node's transmit buffer, whole or not at all.
#[derive(Debug)]
pub struct Peer<'m, L: Link, S: Slots, D: Flavour = Base> {
    pub(crate) conn: Connection<D, S>,
    pub(crate) out: Outbound<'m, L>,
    /// The latest time that was given
    pub(crate) now: Instant,
    /// Which life of the line this is
    pub(crate) life: u32,
    /// What has ended the one before
    why: Ended,
}

impl<'m, L: Link, S: Slots, D: Flavour> Peer<'m, L, S, D> {
    #[inline(always)]
    pub(crate) fn new(link: L, limits: Limits, tx: &'m mut [u8]) -> Self {
        let conn = Connection::new(D::default(), limits);
        Self { conn, out: Outbound::new(link, tx), now: Instant::ZERO, life: 0, why: Ended::Garbled }
    }

    /// Calls the other end; the answer, or what else becomes of it, comes as an [`Event`] with the tag
    ///
    /// It is over `within` this time from the latest time that the node was given.
    ///
    /// # Errors
    /// [`Refused`] with the tag: no slot is free, the transmit buffer has no room, or the payload is longer than the other
    /// end takes. Nothing was sent.
    pub fn call(
        &mut self,
        code: &[u8],
        payload: &[u8],
        within: Duration,
        tag: S::Tag,
    ) -> Result<CallId, Refused<S::Tag>> {
        let now = self.now;
        let call = Call::new(code, payload).deadline(now + within);
        self.send(|conn, out| conn.call(now, call, tag, out))
    }

    /// Tells the other end something, without an answer
    ///
    /// # Errors
    /// The refusal; nothing was sent.
    pub fn notify(&mut self, code: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        let now = self.now;
        self.send(|conn, out| conn.notify(now, Call::new(code, payload), out)).map_err(|refused| refused.why)
    }

    /// Answers a request
    ///
    /// An answer that is too long for the transmit buffer, or for the other end, is replaced by the error `TOO_LARGE`, and a
    /// request from an earlier life of the line is forgotten.
    ///
    /// # Errors
    /// The refusal of the answer; the request is over all the same. [`try_reply`](Self::try_reply) gives the token back.
    pub fn reply(&mut self, token: Token, reply: Reply<'_, flyrpc_core::fly::Zip>) -> Result<(), Refusal> {
        let Err(refused) = self.try_reply(token, reply) else { return Ok(()) };
        if let Err(again) = self.try_reply(refused.back, Reply::error(codes::TOO_LARGE, b"")) {
            self.abandon(again.back);
        }
        Err(refused.why)
    }

    /// Answers a request, or gives the token back
    ///
    /// # Errors
    /// [`Refused`] with the token; nothing was sent. With [`Refusal::NoRoom`] it is worth trying again when the transmit buffer
    /// has been sent; with [`Refusal::Closed`] never, since the request belongs to an earlier life of the line.
    pub fn try_reply(
        &mut self,
        token: Token,
        reply: Reply<'_, flyrpc_core::fly::Zip>,
    ) -> Result<(), Refused<Token>> {
        if token.life != self.life {
            return Err(Refused::new(Refusal::Closed, token));
        }
        self.send(|conn, out| conn.reply(ReplyToken::from_key(token.sequence), reply, out))
            .map_err(|refused| Refused::new(refused.why, token))
    }

    /// Gives up a request without an answer: its caller runs into its deadline
    pub fn abandon(&mut self, token: Token) {
        if token.life == self.life {
            self.conn.abandon(ReplyToken::from_key(token.sequence));
        }
    }

    /// Gives up a call of ours and hands its tag back; `None` when it is over already
    pub fn cancel(&mut self, call: CallId) -> Option<S::Tag> {
        self.conn.cancel(call)
    }

    /// Asks for a sign of life; it comes as [`Event::Pong`]
    ///
    /// # Errors
    /// As [`call`](Self::call)
    pub fn ping(&mut self, within: Duration, tag: S::Tag) -> Result<CallId, Refused<S::Tag>> {
        let now = self.now;
        self.send(|conn, out| conn.ping(now, 0, now + within, tag, out))
    }

    /// Calls and pings of ours that are not over yet
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.conn.in_flight()
    }

    /// Bytes that wait in the transmit buffer
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.out.unsent().len()
    }

    /// The latest time that the node was given
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Counters, from the node's start on
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        self.conn.stats()
    }

    /// The link, with its own counters
    #[must_use]
    pub const fn link(&self) -> &L {
        &self.out.link
    }

    /// Lets the connection write one packet, and puts it on the line
    fn send<R>(&mut self, write: impl FnOnce(&mut Connection<D, S>, &mut Outlet<'_, 'm, L>) -> R) -> R {
        let Self { conn, out, .. } = self;
        out.send(|out| write(conn, out))
    }

    /// Tells what happened without input, and writes what the connection and the link want written
    #[inline]
    pub(crate) fn settle(&mut self, handler: &mut impl FnMut(&mut Self, Event<'_, S::Tag>)) {
        while let Some(event) = self.conn.poll_event() {
            let event = match event {
                flyrpc_core::Event::TimedOut { call, tag } => Event::TimedOut { call, tag },
                flyrpc_core::Event::Lost { call, tag, .. } => Event::Lost { call, tag },
                flyrpc_core::Event::Closed { .. } => {
                    self.conn.reopen(D::default());
                    self.life = self.life.wrapping_add(1);
                    Event::Ended { why: self.why }
                }
                _ => continue,
            };
            handler(self, event);
        }
        while let Ok(Some(_)) = self.send(|conn, out| conn.poll_transmit(out)) {}
        self.out.announce();
    }

    /// This life of the line is over: the next `settle` tells so
    pub(crate) fn end(&mut self, why: Ended) {
        self.why = why;
        self.conn.handle_loss(Loss::Reset);
    }
}
