//! What the application wants; legal in any order, any number of times between drains

use super::event::{CallId, ReplyToken, State};
use super::rest::Rests;
use super::slots::{Owner, Slot, Slots};
use super::{Connection, End};
use crate::dialect::{Call, Reply};
use crate::{Dialect, Instant, Limits, Refusal, Refused, Sink};

impl<D: Dialect, S: Slots> Connection<D, S> {
    /// Sends a request and remembers `tag` until it is over
    ///
    /// The call is in the table when its bytes are in the sink (P2). Its deadline is the call's own, else
    /// [`Limits::call_timeout`](crate::Limits::call_timeout) from now.
    ///
    /// # Errors
    /// [`Refused`] with the tag; no state change and nothing written.
    #[inline]
    pub fn call<O: Sink + ?Sized>(
        &mut self,
        now: Instant,
        call: Call<'_, D::Meta>,
        tag: S::Tag,
        out: &mut O,
    ) -> Result<CallId, Refused<S::Tag>> {
        self.tick(now);
        let deadline = match call.deadline {
            Some(deadline) => deadline,
            None => self.now.after_millis(self.limits.call_timeout_ms),
        };
        let encode =
            |dialect: &D, sequence, limits: &Limits| dialect.encode_call(sequence, &call, limits, out);
        let id = self.start(deadline, Owner::Call, tag, encode)?;
        self.sending = call.body.following();
        Ok(id)
    }

    /// Sends a message that is not answered
    ///
    /// # Errors
    /// [`Refused`]; no state change and nothing written.
    #[inline]
    pub fn notify<O: Sink + ?Sized>(
        &mut self,
        now: Instant,
        call: Call<'_, D::Meta>,
        out: &mut O,
    ) -> Result<(), Refused<()>> {
        self.tick(now);
        self.check_open().map_err(|why| Refused::new(why, ()))?;
        self.dialect.encode_notification(&call, &self.limits, out).map_err(|why| Refused::new(why, ()))?;
        self.sending = call.body.following();
        Ok(())
    }

    /// Answers a request of the peer's
    ///
    /// # Errors
    /// [`Refused`] with the token; no state change and nothing written.
    #[inline]
    pub fn reply<O: Sink + ?Sized>(
        &mut self,
        to: ReplyToken<D>,
        reply: Reply<'_, D::Meta>,
        out: &mut O,
    ) -> Result<(), Refused<ReplyToken<D>>> {
        let sent = match self.state {
            State::Closed => Err(Refusal::Closed),
            State::Open | State::Draining => self
                .check_sending()
                .and_then(|()| self.dialect.encode_reply(to.key, &reply, &self.limits, out)),
        };
        if let Err(why) = sent {
            return Err(Refused::new(why, to));
        }
        self.sending = reply.body.following();
        self.unanswered = self.unanswered.saturating_sub(1);
        Ok(())
    }

    /// Gives up a request of the peer's without an answer; its caller runs into its timeout
    pub fn abandon(&mut self, to: ReplyToken<D>) {
        if self.state != State::Closed {
            self.dialect.abandon(to.key);
        }
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Gives up a call and hands its tag back
    ///
    /// `None` when the call is over already; its tag then comes, or came, another way. The peer is told where it is
    /// known to understand, unless more than four such hints wait for [`poll_transmit`](Self::poll_transmit); the
    /// connection and all other calls are left alone (P7).
    pub fn cancel(&mut self, call: CallId) -> Option<S::Tag> {
        let sequence = call.0 & self.dialect.sequence_mask();
        let index = self.slots.index_of(sequence);
        let (now, quarantine) = (self.now, self.limits.quarantine_ms);
        let slot = self.slots.slots_mut().get_mut(index)?;
        if slot.is_free() || slot.number != call.0 || slot.deadline() <= now || self.input_ended {
            return None;
        }
        let tag = slot.take();
        self.rests.add(sequence, now, quarantine);
        self.ended_one();
        self.stats.cancelled = self.stats.cancelled.wrapping_add(1);
        self.tell_given_up(call);
        tag
    }

    /// Sends a request that the peer answers with the same `len` bytes
    ///
    /// # Errors
    /// [`Refused`] with the tag; no state change and nothing written.
    pub fn ping<O: Sink + ?Sized>(
        &mut self,
        now: Instant,
        len: usize,
        deadline: Instant,
        tag: S::Tag,
        out: &mut O,
    ) -> Result<CallId, Refused<S::Tag>> {
        self.tick(now);
        self.start(deadline, Owner::Ping, tag, |dialect, sequence, _| dialect.encode_ping(sequence, len, out))
    }

    /// Sends the next bytes of a streamed body and tells how many are left
    ///
    /// Until none are left, nothing else can leave: packets do not interleave, and only [`close`](Self::close) ends a body
    /// early.
    ///
    /// # Errors
    /// The refusal; no state change and nothing written.
    pub fn send_body<O: Sink + ?Sized>(&mut self, bytes: &[u8], out: &mut O) -> Result<u64, Refusal> {
        if self.state == State::Closed {
            return Err(Refusal::Closed);
        }
        let Some(left) = self.sending.checked_sub(bytes.len() as u64) else {
            return Err(Refusal::BodyTooLong { left: self.sending });
        };
        out.packet(0, bytes, &[])?;
        self.sending = left;
        Ok(left)
    }

    /// Takes no new requests, sends the replies still owed, awaits those to calls in flight, then ends; by `deadline`
    /// at the latest (P15)
    pub fn drain(&mut self, now: Instant, deadline: Instant) {
        if self.state == State::Open {
            self.state = State::Draining;
        }
        self.drain_deadline = self.drain_deadline.min(deadline);
        self.tick(now);
    }

    /// Ends the connection now; calls in flight are lost
    ///
    /// After [`handle_eof`](Self::handle_eof) the reason stays what that was.
    pub fn close(&mut self) {
        self.shut(End::Local);
    }

    #[inline]
    fn check_open(&self) -> Result<(), Refusal> {
        match self.state {
            State::Open => self.check_sending(),
            State::Draining if self.input_ended => Err(Refusal::Closed),
            State::Draining => Err(Refusal::Draining),
            State::Closed => Err(Refusal::Closed),
        }
    }

    #[inline]
    const fn check_sending(&self) -> Result<(), Refusal> {
        if self.sending > 0 { Err(Refusal::BodyInProgress { left: self.sending }) } else { Ok(()) }
    }

    /// Writes a packet that is answered, and puts its call in the table: all of it or nothing
    #[inline]
    fn start(
        &mut self,
        deadline: Instant,
        owner: impl FnOnce(S::Tag) -> Owner<S::Tag>,
        tag: S::Tag,
        encode: impl FnOnce(&D, u32, &Limits) -> Result<(), Refusal>,
    ) -> Result<CallId, Refused<S::Tag>> {
        let (number, index) = match self.free_slot() {
            Ok(free) => free,
            Err(why) => return Err(Refused::new(why, tag)),
        };
        match encode(&self.dialect, number & self.dialect.sequence_mask(), &self.limits) {
            Ok(()) => Ok(self.occupy(number, index, owner(tag), deadline)),
            Err(why) => Err(Refused::new(why, tag)),
        }
    }

    /// A number whose sequence is free and not resting, and its slot
    #[inline]
    fn free_slot(&mut self) -> Result<(u32, usize), Refusal> {
        self.check_open()?;
        let in_flight = self.in_flight;
        let mask = self.dialect.sequence_mask();
        let limit = self.limits.get_max_in_flight().min(mask);
        if !self.slots.make_room(in_flight, limit) {
            return Err(Refusal::TooManyInFlight { in_flight });
        }
        let mut number = self.next_number;
        // Every sequence once, where there are few of them; else as many as FlyRPC has.
        let mut left = mask.min(0xffff) + 1;
        while left > 0 {
            let sequence = number & mask;
            let index = self.slots.index_of(sequence);
            let mut step = 1;
            if sequence != 0 && self.slots.slots().get(index).is_some_and(Slot::is_free) {
                if self.rests.is_empty() {
                    return Ok((number, index));
                }
                step = self.rests.resting(sequence, self.now, self.limits.quarantine_ms);
                if step == 0 {
                    return Ok((number, index));
                }
            }
            number = number.wrapping_add(step);
            left = left.saturating_sub(step);
        }
        Err(Refusal::TooManyInFlight { in_flight })
    }

    #[inline]
    fn occupy(&mut self, number: u32, index: usize, owner: Owner<S::Tag>, deadline: Instant) -> CallId {
        if let Some(slot) = self.slots.slots_mut().get_mut(index) {
            slot.occupy(owner, number, deadline);
        }
        self.deadlines.add(&mut self.slots, index, deadline);
        self.next_number = number.wrapping_add(1);
        self.in_flight += 1;
        self.stats.calls += 1;
        CallId(number)
    }
}
