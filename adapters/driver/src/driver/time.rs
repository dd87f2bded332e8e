//! What becomes due

use core::task::Context as Poller;
use core::time::Duration;

use flyrpc_core::{Instant, Loss};

use super::{Ending, Held, Io};
use crate::link::{KEEPALIVE, Link, State};
use crate::runtime::{Runtime, Timer, Transport};

/// A connection on which nothing has happened for this long gives its buffers back
const IDLE: Duration = Duration::from_secs(1);

impl<R: Runtime, T: Transport> Io<R, T> {
    /// Time has passed
    pub(super) fn tick(&mut self, state: &mut State, now: Instant) {
        state.conn.handle_timeout(now);
        state.pump(&mut self.wakers);
        state.room.overdue(now, &mut self.wakers);
        state.requests.overdue(now, &mut self.wakers);
        if self.is_idle(state) && now >= self.last_in + IDLE {
            self.inbox.release();
            self.batch.release();
            self.unzip = None;
            state.out.release();
            state.begun.release();
            state.packer.release();
            state.calls.shrink();
            state.requests.shrink();
            (self.items, self.seen, self.spent) = (Vec::new(), Vec::new(), Vec::new());
            if self.wakers.is_empty() {
                // Whoever was timed out just now is still to be told.
                self.wakers = Vec::new();
            }
            self.released = true;
        }
    }

    /// Time has passed, and what could be written and read was: is the peer still there?
    pub(super) fn check_peer(&mut self, link: &Link, state: &mut State, now: Instant) {
        if self.stalled.is_some_and(|since| now >= since + link.options.write_timeout) {
            return self.lose(state, Loss::WriteTimeout);
        }
        let Some((interval, timeout)) = link.options.keepalive else { return };
        if state.closed.is_some() || self.eof || self.more || self.defers(state) {
            // Nothing more need come, or it is not known yet whether something has: the next poll tells.
            return;
        }
        if self.held != Held::Not {
            // What the peer sends is left unread, so its silence says nothing.
            (self.last_in, self.ping) = (now, None);
            return;
        }
        match self.ping {
            Some(sent) if now >= sent + timeout => self.lose(state, Loss::Unresponsive),
            None if now >= self.last_in + interval => {
                if link.ping(state, now, 4, now + timeout, KEEPALIVE).is_ok() {
                    self.ping = Some(now);
                } else {
                    // While it drains, or as much is in flight as may be: that ends by itself, and a peer that is asked nothing
                    // may be silent.
                    self.last_in = now;
                }
            }
            Some(_) | None => {}
        }
    }

    pub(super) fn is_idle(&self, state: &State) -> bool {
        self.inbox.data().is_empty()
            && self.items.is_empty()
            && state.unsent == 0
            && state.conn.in_flight() == 0
            && state.requests.running() == 0
    }

    /// Sets the timer where something is due before it expires; true when something is due now
    pub(super) fn arm(&mut self, state: &mut State, link: &Link, now: Instant, cx: &mut Poller<'_>) -> bool {
        let mut next = state.conn.poll_timeout().unwrap_or(Instant::FAR);
        next = next.min(state.room.earliest()).min(state.requests.earliest());
        if let Some(since) = self.stalled {
            next = next.min(since + link.options.write_timeout);
        }
        if let Some((interval, timeout)) = link.options.keepalive
            && state.closed.is_none()
            && !self.eof
        {
            next = next.min(self.ping.map_or(self.last_in + interval, |sent| sent + timeout));
        }
        if self.inbox.can_release() && self.is_idle(state) {
            next = next.min(self.last_in + IDLE);
        }
        match self.ending {
            Ending::Flushing(until) | Ending::Lingering(until) => next = next.min(until),
            Ending::Not | Ending::Over => {}
        }
        if next >= self.armed {
            return false;
        }
        (self.armed, state.armed) = (next, next);
        if next <= now {
            // The next poll does it.
            return true;
        }
        let timer = self.timer.get_or_insert_with(R::timer);
        timer.set(next.saturating_duration_since(now));
        timer.poll_expired(cx).is_ready()
    }
}
