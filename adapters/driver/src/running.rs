//! A request whose handler was not done at once

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use flyrpc_core::ReplyToken;
use flyrpc_core::fly::codes;

use crate::dialect::AnyDialect;
use crate::link::Link;
use crate::requests::Fate;
use crate::{Outcome, RemoteError, RequestId};

/// The task that polls a handler until it is done, cancelled or overdue, and answers
pub(crate) struct Running {
    link: Arc<Link>,
    id: RequestId,
    token: Option<ReplyToken<AnyDialect>>,
    handler: Option<Pin<Box<dyn Future<Output = Outcome> + Send>>>,
}

impl Running {
    pub(crate) fn start(
        link: &Arc<Link>,
        id: RequestId,
        token: ReplyToken<AnyDialect>,
        handler: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    ) {
        let task = Self { link: Arc::clone(link), id, token: Some(token), handler: Some(handler) };
        (link.spawn)(Box::pin(task));
    }

    /// Answers, or gives up where nobody can be answered any more
    fn finish(&mut self, outcome: Option<&Outcome>) {
        let Some(token) = self.token.take() else { return };
        let mut wakers = Vec::new();
        let mut state = self.link.lock();
        match outcome {
            Some(outcome) => self.link.reply(&mut state, token, outcome),
            None => state.conn.abandon(token),
        }
        state.requests.end(self.id, &mut wakers);
        if state.held {
            self.link.made_way(state);
        } else {
            let alone = state.requests.running() == 0 && state.conn.in_flight() == 0;
            self.link.encoded(state, alone);
        }
        wakers.into_iter().for_each(core::task::Waker::wake);
    }
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let fate = self.link.lock().requests.poll(self.id, cx.waker());
        let outcome = match fate {
            Fate::Go => {
                let Some(handler) = &mut self.handler else { return Poll::Ready(()) };
                match handler.as_mut().poll(cx) {
                    Poll::Ready(outcome) => Some(outcome),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Fate::Cancelled => Some(Err(RemoteError::new(codes::CANCELLED))),
            Fate::Overdue => Some(Err(RemoteError::new(codes::TIMEOUT))),
            Fate::Ended => None,
        };
        // Its drop is the application's code: not under the lock, and before the answer tells the peer that it has stopped.
        self.handler = None;
        self.finish(outcome.as_ref());
        Poll::Ready(())
    }
}

impl Drop for Running {
    /// A runtime that ends drops its tasks; the peer is not left waiting
    fn drop(&mut self) {
        self.handler = None;
        self.finish(Some(&Err(RemoteError::new(codes::CANCELLED))));
    }
}
