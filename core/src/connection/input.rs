//! What the world did: bytes, the end of the stream, time

use core::marker::PhantomData;

use super::event::{BadReply, CallId, Incoming, Loss, ReplyToken, State, Step, What};
use super::rest::Rests;
use super::slots::{Owner, Slots};
use super::{Connection, End};
use crate::dialect::{Body, Decoded, Fault, Message, Reject};
use crate::limits::{Overload, Oversize};
use crate::{Dialect, Instant, ProtocolError};

impl<D: Dialect, S: Slots> Connection<D, S> {
    /// Takes at most one message from the front of the input
    ///
    /// On a byte stream `input` is what has been received and not yet consumed; on a message transport it is the rest of
    /// one message. The caller drops [`Step::consumed`] bytes and calls again until it gets [`What::NeedMore`].
    ///
    /// # Errors
    /// [`ProtocolError`]: the peer broke the protocol. Fatal; every later call returns the same error.
    #[inline]
    pub fn handle_input<'i>(
        &mut self,
        now: Instant,
        input: &'i [u8],
    ) -> Result<Step<'i, D, S::Tag>, ProtocolError> {
        self.tick(now);
        if self.input_ended {
            return self.input_after_end(input);
        }
        if self.receiving > 0 {
            return Ok(self.handle_piece(input));
        }
        if self.controls.is_full() || self.dialect.is_due() {
            return Ok(self.blocked());
        }
        match self.dialect.decode(input, &self.limits) {
            Ok(Decoded::Message { consumed, message }) => {
                if self.must_wait(&message) {
                    return Ok(self.blocked());
                }
                self.dialect.taken();
                // The bytes of a streamed body are the next input: for the application, unless `skip` says otherwise.
                (self.receiving, self.skipping) = (message.following(), false);
                let what = self.handle_message(message);
                self.position += consumed as u64;
                self.partial = false;
                Ok(Step { consumed, what })
            }
            Ok(Decoded::Skip { consumed }) => {
                self.dialect.taken();
                self.position += consumed as u64;
                self.partial = false;
                Ok(Step { consumed, what: What::Handled })
            }
            Ok(Decoded::NeedMore { at_least }) => {
                self.partial = !input.is_empty();
                Ok(Step { consumed: 0, what: What::NeedMore { at_least } })
            }
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// The peer will send nothing more; what it sent before has been handed in
    ///
    /// Calls in flight are lost. Replies that are still owed may be sent (the peer may have closed one direction only);
    /// the connection ends when they are, or [`Limits::call_timeout`](crate::Limits::call_timeout) from now. An owner
    /// that knows both directions to be gone calls [`close`](Self::close) as well.
    pub fn handle_eof(&mut self, now: Instant) {
        self.tick(now);
        if self.input_ended {
            return;
        }
        self.input_ended = true;
        self.end = if self.partial || self.receiving > 0 { End::CutShort } else { End::PeerClosed };
        self.receiving = 0;
        if self.unanswered == 0 && self.sending == 0 && self.controls.is_empty() && !self.dialect.is_due() {
            self.shut(self.end);
        } else {
            self.state = State::Draining;
            self.drain_deadline = self.drain_deadline.min(self.now + self.limits.get_call_timeout());
            self.tick(now);
        }
    }

    /// The transport is gone, both ways, and not by the will of either end
    ///
    /// Calls in flight are lost, and what is owed can't be sent. After [`handle_eof`](Self::handle_eof) the reason stays
    /// what that was.
    pub fn handle_loss(&mut self, loss: Loss) {
        self.shut(End::Transport(loss));
    }

    /// Time has passed; see [`poll_timeout`](Self::poll_timeout). Calling it too early or too often does no harm
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
    }

    /// The owner has the input to come back to, so whether it ends inside a message is not known
    #[cold]
    const fn blocked<'i>(&mut self) -> Step<'i, D, S::Tag> {
        self.partial = false;
        Step { consumed: 0, what: What::Blocked }
    }

    /// Must the message stay in the input until a reply was given?
    #[inline]
    fn must_wait(&self, message: &Message<'_, D>) -> bool {
        matches!(message, Message::Request { .. })
            && self.unanswered >= self.limits.get_max_unanswered()
            && self.limits.get_overload() == Overload::Wait
            && self.state != State::Draining
    }

    #[inline]
    fn handle_message<'i>(&mut self, message: Message<'i, D>) -> What<'i, D, S::Tag> {
        match message {
            Message::Reply { sequence, code, body, meta } => self.handle_reply(sequence, code, body, meta),
            Message::Request { key, method, body, meta } => self.handle_request(key, method, body, meta),
            Message::Notification { method, body, meta } => {
                if self.refuses() {
                    self.stats.invalid = self.stats.invalid.wrapping_add(1);
                    return self.skip();
                }
                self.stats.notifications += 1;
                What::Incoming(Incoming::Notification { method, body, meta })
            }
            Message::Cancel { key } => What::Incoming(Incoming::Cancel { request: key }),
            Message::Control(answer) => {
                self.stats.own = self.stats.own.wrapping_add(1);
                self.queue(answer);
                What::Handled
            }
            Message::Invalid { answer, .. } => {
                self.stats.invalid = self.stats.invalid.wrapping_add(1);
                self.queue(answer);
                self.skip()
            }
        }
    }

    #[inline]
    fn handle_request<'i>(
        &mut self,
        key: D::Key,
        method: &'i [u8],
        body: Body<'i>,
        meta: D::Meta,
    ) -> What<'i, D, S::Tag> {
        let reject = if self.state == State::Draining {
            Reject::Draining
        } else if self.unanswered >= self.limits.get_max_unanswered() {
            Reject::Busy
        } else if self.refuses() {
            Reject::TooLarge
        } else {
            self.unanswered += 1;
            self.stats.requests += 1;
            let token = ReplyToken { key, dialect: PhantomData };
            return What::Incoming(Incoming::Request { method, body, meta, token });
        };
        self.stats.rejected = self.stats.rejected.wrapping_add(1);
        let refusal = self.dialect.reject(key, reject);
        self.queue(refusal);
        self.skip()
    }

    #[inline]
    fn handle_reply<'i>(
        &mut self,
        sequence: u32,
        code: &'i [u8],
        body: Body<'i>,
        meta: D::Meta,
    ) -> What<'i, D, S::Tag> {
        let index = self.slots.index_of(sequence);
        let Some(slot) = self.slots.slots_mut().get_mut(index) else {
            return self.handle_stray_reply(sequence);
        };
        if !slot.waits_for(sequence, self.dialect.sequence_mask()) || slot.deadline() <= self.now {
            return self.handle_stray_reply(sequence);
        }
        let call = CallId(slot.number);
        let owner = core::mem::take(&mut slot.owner);
        self.ended_one();
        self.stats.answered += 1;
        match owner {
            Owner::Call(tag) if self.refuses() => {
                let limit = u64::from(self.limits.get_max_payload());
                let _: What<'_, D, S::Tag> = self.skip();
                What::Incoming(Incoming::BadReply {
                    call,
                    tag,
                    why: BadReply::TooLarge { len: body.len(), limit },
                })
            }
            Owner::Call(tag) => What::Incoming(Incoming::Reply { call, tag, code, body, meta }),
            Owner::Ping(tag) => {
                let _: What<'_, D, S::Tag> = self.skip();
                What::Incoming(Incoming::Pong { call, tag, len: body.len() })
            }
            // Checked above: the slot is not free.
            Owner::Nobody => What::Handled,
        }
    }

    /// A reply that nobody waits for: late, doubled, or never asked for
    #[cold]
    fn handle_stray_reply<'i>(&mut self, sequence: u32) -> What<'i, D, S::Tag> {
        // Its time may be up without its owner having been told yet.
        let index = self.slots.index_of(sequence);
        let slot = self.slots.slots().get(index);
        let overdue = slot.is_some_and(|slot| slot.waits_for(sequence, self.dialect.sequence_mask()));
        let count = if overdue || self.rests.answered(sequence, self.now, self.limits.quarantine_ms) {
            &mut self.stats.late_replies
        } else {
            &mut self.stats.unknown_replies
        };
        *count = count.wrapping_add(1);
        self.skip()
    }

    /// The next bytes of a body on its way in
    fn handle_piece<'i>(&mut self, input: &'i [u8]) -> Step<'i, D, S::Tag> {
        let len = usize::try_from(self.receiving).unwrap_or(usize::MAX).min(input.len());
        let bytes = input.get(..len).unwrap_or_default();
        if bytes.is_empty() {
            return Step { consumed: 0, what: What::NeedMore { at_least: 1 } };
        }
        self.receiving -= len as u64;
        self.position += len as u64;
        let left = self.receiving;
        let what =
            if self.skipping { What::Handled } else { What::Incoming(Incoming::Piece { bytes, left }) };
        Step { consumed: len, what }
    }

    #[cold]
    fn input_after_end<'i>(&self, input: &'i [u8]) -> Result<Step<'i, D, S::Tag>, ProtocolError> {
        match self.end {
            End::Protocol(fault) => Err(self.protocol_error(fault)),
            // So that an owner's loop, which goes on until more is needed, ends.
            _ if input.is_empty() => Ok(Step { consumed: 0, what: What::NeedMore { at_least: 1 } }),
            End::PeerClosed
            | End::CutShort
            | End::Local
            | End::Drained
            | End::DrainDeadline
            | End::Transport(_) => Ok(Step { consumed: input.len(), what: What::Handled }),
        }
    }

    #[cold]
    fn fail(&mut self, fault: Fault) -> ProtocolError {
        self.shut(End::Protocol(fault));
        self.protocol_error(fault)
    }

    /// Is the body that is to come too long to be handed out under these limits?
    #[inline]
    fn refuses(&self) -> bool {
        self.receiving > 0 && self.limits.get_oversize() == Oversize::Refuse
    }

    /// The bytes of a streamed body are for nobody
    #[inline]
    fn skip<'i>(&mut self) -> What<'i, D, S::Tag> {
        self.skipping = true;
        What::Handled
    }

    /// Room was checked before the message was decoded
    fn queue(&mut self, control: Option<D::Control>) {
        if let Some(control) = control {
            let queued = self.controls.push(control);
            debug_assert!(queued.is_ok(), "a control packet was lost");
        }
    }
}
