//! A peer that is none, and requests from it

use core::future::poll_fn;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context as Task, Poll, Waker};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use flyrpc_core::fly::Flag;
use flyrpc_driver::{
    Caller, ConnectionId, Context, Dispatched, Info, Outcome, Packet, RemoteError, Request, RequestId,
    Router, Session,
};

#[derive(Clone)]
pub struct Fake(Arc<Inner>);

struct Inner {
    info: Info,
    cancelled: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Caller for Fake {
    fn info(&self) -> &Info {
        &self.0.info
    }

    fn is_cancelled(&self, _: RequestId) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    fn poll_cancelled(&self, request: RequestId, cx: &mut Task<'_>) -> Poll<()> {
        if self.is_cancelled(request) {
            return Poll::Ready(());
        }
        self.0.waiting.lock().unwrap().push(cx.waker().clone());
        Poll::Pending
    }
}

impl Fake {
    pub fn of(router: &Router<Self>) -> Self {
        let info = Info {
            id: ConnectionId(7),
            remote: "memory".to_owned(),
            protocol: flyrpc_driver::Protocol::FlyRpc,
            may_be_called: true,
            session: Session::new(),
            shared: router.shared(),
        };
        Self(Arc::new(Inner { info, cancelled: AtomicBool::new(false), waiting: Mutex::default() }))
    }

    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        for waker in self.0.waiting.lock().unwrap().drain(..) {
            waker.wake();
        }
    }

    /// How many hold it, and so the connection
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    pub fn request(&self, code: &'static str, payload: &Bytes) -> Request<Self> {
        self.request_until(code, payload, None)
    }

    pub fn request_until(
        &self,
        code: &'static str,
        payload: &Bytes,
        deadline: Option<Instant>,
    ) -> Request<Self> {
        let context = Context::new(self.clone(), RequestId { index: 1, generation: 2 }, deadline);
        let code = Bytes::from_static(code.as_bytes());
        Request::new(context, Packet { flag: Flag::REQUEST, sequence: 3, code, payload: payload.clone() })
    }
}

/// Dispatches without waking anybody
pub fn dispatch(router: &Router<Fake>, request: Request<Fake>) -> Dispatched {
    router.dispatch(request, &mut Task::from_waker(Waker::noop()))
}

/// The outcome of a handler that is ready at once
pub fn ready(router: &Router<Fake>, code: &'static str, payload: impl Into<Bytes>) -> Outcome {
    match dispatch(router, Fake::of(router).request(code, &payload.into())) {
        Dispatched::Ready(outcome) => outcome,
        Dispatched::Pending(_) => panic!("{code} is not ready"),
    }
}

pub type Later = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The future of a handler that is not
pub fn pending(dispatched: Dispatched) -> Later {
    match dispatched {
        Dispatched::Ready(outcome) => panic!("{outcome:?} at once"),
        Dispatched::Pending(later) => later,
    }
}

pub fn poll(later: &mut Later) -> Poll<Outcome> {
    later.as_mut().poll(&mut Task::from_waker(Waker::noop()))
}

/// Pending once
pub async fn pause() {
    let mut paused = false;
    poll_fn(move |cx| {
        if core::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

pub fn error(code: &str, details: &str) -> Outcome {
    Err(RemoteError::new(code).details(details))
}

pub fn good(payload: &str) -> Outcome {
    Ok(payload.to_owned().into())
}
