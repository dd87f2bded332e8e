//! Messages: handled one at a time, in the order they came

use core::future::Future;
use core::pin::Pin;
use core::task::{Context as Poller, Poll};
use std::collections::VecDeque;
use std::sync::Arc;

use crate::link::Link;
use crate::{Context, Dispatched, Outcome, Packet, Peer, Request, RequestId};

/// Messages of a connection that wait for the handler of an earlier one
#[derive(Debug, Default)]
pub(crate) struct Lane {
    waiting: VecDeque<Packet>,
    bytes: usize,
    /// A task works on them
    running: bool,
}

/// Most messages, and most bytes of them beside the last one, that wait for their turn; then reading stops
const MAX_MESSAGES: usize = 1024;
const MAX_BYTES: usize = 4 << 20;

/// How many times as much may wait while calls of ours are in flight: the handler whose turn it is may wait for an answer
/// that comes behind these messages (P9)
const WHILE_CALLING: usize = 16;

/// A message has no answer that could be cancelled
pub(crate) const MESSAGE: RequestId = RequestId { index: u32::MAX, generation: 0 };

impl Lane {
    pub(crate) const fn is_running(&self) -> bool {
        self.running
    }

    pub(crate) fn push(&mut self, message: Packet) {
        self.bytes += message.payload.len();
        self.waiting.push_back(message);
    }

    fn pop(&mut self) -> Option<Packet> {
        let message = self.waiting.pop_front()?;
        self.bytes -= message.payload.len();
        Some(message)
    }

    /// Is there so much to be done that no more may be read?
    pub(crate) fn is_full(&self, calling: bool) -> bool {
        let times = if calling { WHILE_CALLING } else { 1 };
        self.waiting.len() >= times * MAX_MESSAGES || self.bytes >= times * MAX_BYTES
    }
}

/// Starts to handle a message; its future if it is not done at once
pub(crate) fn dispatch(
    link: &Arc<Link>,
    message: Packet,
    cx: &mut Poller<'_>,
) -> Option<Pin<Box<dyn Future<Output = Outcome> + Send>>> {
    #[cfg(feature = "json")]
    if !link.router.handles(&message.code) && crate::subscription::take(link, &message) {
        return None;
    }
    let peer = Peer { link: Arc::clone(link) };
    let request = Request::new(Context::new(peer, MESSAGE, None), message);
    match link.router.dispatch(request, cx) {
        // Nobody waits for what a message's handler gives back.
        Dispatched::Ready(_) => None,
        Dispatched::Pending(handler) => Some(handler),
    }
}

/// Works on until nothing waits any more; what has come is handled even when the connection has ended meanwhile
pub(crate) struct LaneTask {
    link: Arc<Link>,
    handler: Option<Pin<Box<dyn Future<Output = Outcome> + Send>>>,
    done: bool,
}

/// Messages that are handled before other tasks get their turn
const AT_A_TIME: usize = 64;

impl LaneTask {
    /// Goes on with the handler of a message; others that come wait for it
    pub(crate) fn start(link: &Arc<Link>, handler: Pin<Box<dyn Future<Output = Outcome> + Send>>) {
        link.lock().lane.running = true;
        (link.spawn)(Box::pin(Self { link: Arc::clone(link), handler: Some(handler), done: false }));
    }
}

impl Future for LaneTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<()> {
        for _ in 0..AT_A_TIME {
            if let Some(handler) = &mut self.handler {
                if handler.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.handler = None;
            }
            let mut state = self.link.lock();
            let next = state.lane.pop();
            state.lane.running = next.is_some();
            self.link.made_way(state);
            let Some(message) = next else {
                self.done = true;
                return Poll::Ready(());
            };
            let handler = dispatch(&self.link, message, cx);
            self.handler = handler;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for LaneTask {
    /// A runtime that ends drops its tasks: the others of the connection must not wait for this one
    fn drop(&mut self) {
        if !self.done {
            self.link.lock().lane = Lane::default();
        }
    }
}
