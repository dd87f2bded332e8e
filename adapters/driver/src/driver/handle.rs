//! What the application's code is run for

use core::task::Context as Poller;
use std::sync::Arc;

use bytes::Bytes;

use super::{Held, Io, Item};
use crate::lane::{self, LaneTask};
use crate::link::{Guard, Link};
use crate::running::Running;
use crate::runtime::{Runtime, Transport};
use crate::{Context, Direction, Dispatched, Peer, Request};

impl<R: Runtime, T: Transport> Io<R, T> {
    /// Handles what the inbox holds, up to [`BATCH`] packets at a time
    pub(super) fn handle<'a>(
        &mut self,
        link: &'a Arc<Link>,
        mut state: Guard<'a>,
        cx: &mut Poller<'_>,
    ) -> Guard<'a> {
        // Those that were left because of what is owed already come first.
        let resumed = !self.items.is_empty();
        if resumed {
            (self.more, self.held, state.held) = (true, Held::Not, false);
            if self.take_more(link, &state).is_none() {
                (self.more, self.held, state.held) = (false, Held::Owed, true);
                state.pump(&mut self.wakers);
                return state;
            }
        } else {
            self.decode(link, &mut state);
        }
        state.pump(&mut self.wakers);
        let room = link.options.owed_buffer.saturating_sub(state.owed);
        if self.items.is_empty() && self.seen.is_empty() && self.wakers.is_empty() {
            return state;
        }
        drop(state);
        self.spent.clear();
        for message in self.seen.drain(..) {
            link.observe(Direction::In, &message);
        }
        self.wake();
        let ran = self.run(link, room, resumed, cx);
        state = link.lock();
        if ran > 0 {
            // Handlers take as long as they like.
            state.now = link.now();
        }
        self.more |= ran < self.items.len();
        for item in self.items.drain(..ran) {
            if let Item::Answer(token, id, outcome) = item {
                link.reply(&mut state, token, &outcome);
                state.requests.end(id, &mut self.wakers);
                if self.spent.capacity() == 0 {
                    self.spent.reserve_exact(1);
                }
                self.spent.push(outcome);
                // What was held back may have waited for just this.
                self.more |= self.held == Held::Handlers;
            }
        }
        state.pump(&mut self.wakers);
        state
    }

    /// Runs the handlers
    ///
    /// Tells how many: where their answers fill what may be owed, the others are left for the next time.
    pub(super) fn run(&mut self, link: &Arc<Link>, room: usize, resumed: bool, cx: &mut Poller<'_>) -> usize {
        let mut lane_started = resumed;
        let mut answered = 0;
        for (index, item) in self.items.iter_mut().enumerate() {
            if answered > 0 && answered >= room {
                return index;
            }
            *item = match core::mem::replace(item, Item::Nothing) {
                Item::Request(packet, token, id, deadline) => {
                    let peer = Peer { link: Arc::clone(link) };
                    let context = Context::new(peer, id, link.clock.to_std(deadline));
                    match link.router.dispatch(Request::new(context, packet), cx) {
                        Dispatched::Ready(outcome) => {
                            answered += outcome.as_ref().map_or(0, Bytes::len);
                            Item::Answer(token, id, outcome)
                        }
                        Dispatched::Pending(handler) => {
                            Running::start(link, id, token, handler);
                            Item::Nothing
                        }
                    }
                }
                Item::Message(packet) => {
                    if lane_started {
                        let mut state = link.lock();
                        if state.lane.is_running() {
                            state.lane.push(packet);
                            continue;
                        }
                    }
                    if let Some(handler) = lane::dispatch(link, packet, cx) {
                        lane_started = true;
                        LaneTask::start(link, handler);
                    }
                    Item::Nothing
                }
                other @ (Item::Answer(..) | Item::Nothing) => other,
            };
        }
        self.items.len()
    }
}
