//! What must be done next

use super::event::{CallId, Event, State, Transmit};
use super::rest::Rests;
use super::slots::Slots;
use super::{Connection, End};
use crate::{Dialect, Instant, NoRoom, Sink};

impl<D: Dialect, S: Slots> Connection<D, S> {
    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, `None` for never
    ///
    /// Not after the earliest deadline of the calls in flight and of draining; it may be before, since a call that was
    /// answered leaves its bound for a while. The latest time given, when an event or a packet is due at once, so that an
    /// owner that only watches this method never stalls (P19). Changes with every other method that is not a getter.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let packet_due = (!self.controls.is_empty() || self.dialect.is_due())
            && self.sending == 0
            && self.state != State::Closed;
        let event_due = match self.state {
            State::Closed => !self.told,
            State::Open | State::Draining => self.is_drained() || (self.input_ended && self.in_flight > 0),
        };
        if packet_due || event_due {
            return Some(self.now);
        }
        let drain = if self.state == State::Draining { self.drain_deadline } else { Instant::FAR };
        // A bound that has passed is work that is due.
        let next = self.deadlines.earliest().min(drain).max(self.now);
        (next != Instant::FAR).then_some(next)
    }

    /// Writes the next packet of the dialect's own (a refusal, an answer to a ping, a cancel, a batch of answers that has
    /// become complete), if there is one
    ///
    /// # Errors
    /// [`NoRoom`]: the packet stays queued; nothing was written. A sink of 64 bytes takes each of FlyRPC's; while the transport
    /// takes nothing, wait for that and not for [`poll_timeout`](Self::poll_timeout), which says "at once".
    pub fn poll_transmit<O: Sink + ?Sized>(&mut self, out: &mut O) -> Result<Option<Transmit>, NoRoom> {
        if self.sending > 0 || self.state == State::Closed {
            return Ok(None);
        }
        let Some(control) = self.controls.first() else {
            return Ok(self.dialect.encode_due(&self.limits, out)?.map(|len| Transmit { len }));
        };
        let len = self.dialect.encode_control(control, &self.limits, out)?;
        // By exchanges, since `Vec::remove` brings `memmove` along: see `RecvBuf`.
        let mut rest = self.controls.as_mut_slice();
        while let [first, second, ..] = rest {
            core::mem::swap(first, second);
            rest = rest.get_mut(1..).unwrap_or_default();
        }
        self.controls.pop();
        Ok(Some(Transmit { len }))
    }

    /// The next thing that happened without input: calls that timed out or were lost, and at last the end
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event<S::Tag>> {
        if self.in_flight > 0 {
            if let Some(event) = self.next_timed_out() {
                return Some(event);
            }
            if self.input_ended
                && let Some(event) = self.next_lost()
            {
                return Some(event);
            }
        }
        if self.is_drained() {
            self.shut(End::Drained);
        }
        if self.state == State::Closed && !self.told {
            self.told = true;
            return Some(Event::Closed { why: self.reason() });
        }
        None
    }

    fn next_timed_out(&mut self) -> Option<Event<S::Tag>> {
        let index = self.deadlines.next_due(&mut self.slots, self.now)?;
        let slot = self.slots.slots_mut().get_mut(index)?;
        let call = CallId(slot.number);
        let tag = slot.take()?;
        self.rests.add(call.0 & self.dialect.sequence_mask(), self.now, self.limits.quarantine_ms);
        self.ended_one();
        self.stats.timed_out = self.stats.timed_out.wrapping_add(1);
        self.tell_given_up(call);
        Some(Event::TimedOut { call, tag })
    }

    fn next_lost(&mut self) -> Option<Event<S::Tag>> {
        while let Some(slot) = self.slots.slots_mut().get_mut(self.lost_cursor as usize) {
            self.lost_cursor += 1;
            let call = CallId(slot.number);
            if let Some(tag) = slot.take() {
                self.ended_one();
                return Some(Event::Lost { call, tag, why: self.reason() });
            }
        }
        None
    }
}
