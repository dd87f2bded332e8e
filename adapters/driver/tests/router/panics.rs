//! A handler that panics fails its own request only

use core::panic::AssertUnwindSafe;
use core::task::Poll;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flyrpc_driver::{Context, Encode, FormatError, PanicReport, RemoteError, Router};

use crate::common::{Fake, dispatch, error, good, pause, pending, poll, ready};

/// Without the process's hook, which would print it
fn fail(with: &'static str) {
    resume_unwind(Box::new(with));
}

/// Panics when it is dropped
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        fail("dropped");
    }
}

/// Panics when it is written
struct Unwritable;

impl Encode for Unwritable {
    fn encode(&self) -> Result<Bytes, FormatError> {
        fail("written");
        unreachable!()
    }
}

fn noisy() -> (Router<Fake>, Arc<Mutex<Vec<PanicReport>>>) {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&reports);
    let router = Router::new()
        .handle("sync", || fail("sync"))
        .handle("string", || -> () { resume_unwind(Box::new("string".to_owned())) })
        .handle("number", || -> () { resume_unwind(Box::new(7)) })
        .handle("starting", || {
            fail("starting");
            async {}
        })
        .handle("first poll", async || fail("first poll"))
        .handle("drop", async || {
            let mine = Mine;
            pause().await;
            drop(mine);
        })
        .handle("captured", {
            |payload: Bytes| {
                let mine = Mine;
                let mut payload = Some(payload);
                core::future::poll_fn(move |_| {
                    let _mine = &mine;
                    Poll::Ready(payload.take().unwrap_or_default())
                })
            }
        })
        .handle("write", || Unwritable)
        .handle("write later", async || Unwritable)
        .handle("later", async |context: Context<Fake>| {
            pause().await;
            pause().await;
            assert_eq!(context.remote(), "memory");
            fail("later");
        })
        .handle("fine", async |payload: Bytes| payload)
        .on_panic(move |report| heard.lock().unwrap().push(report.clone()));
    (router, reports)
}

#[test]
fn at_once() {
    let (router, reports) = noisy();
    for _ in 0..3 {
        for (code, message) in [
            ("sync", Some("sync")),
            ("string", Some("string")),
            ("number", None),
            ("starting", Some("starting")),
            ("first poll", Some("first poll")),
            ("captured", Some("dropped")),
            ("write", Some("written")),
            ("write later", Some("written")),
        ] {
            assert_eq!(ready(&router, code, "hi"), error("HANDLER_PANIC", ""), "{code}");
            let report = reports.lock().unwrap().pop().unwrap();
            assert!(reports.lock().unwrap().is_empty());
            assert_eq!((report.code.as_str(), report.message.as_deref()), (code, message));
            assert_eq!((report.remote.as_str(), report.connection.to_string()), ("memory", "#7".to_owned()));
            assert_eq!(ready(&router, "fine", "hi"), good("hi"));
        }
    }
}

#[test]
fn later() {
    let (router, reports) = noisy();
    let peer = Fake::of(&router);
    let mut later = pending(dispatch(&router, peer.request("later", &Bytes::new())));
    assert!(poll(&mut later).is_pending());
    assert_eq!(reports.lock().unwrap().len(), 0);
    assert_eq!(poll(&mut later), Poll::Ready(error("HANDLER_PANIC", "")));
    assert_eq!(peer.holders(), 1, "nothing of the request is left");
    let report = reports.lock().unwrap().pop().unwrap();
    assert_eq!((report.code.as_str(), report.message.as_deref()), ("later", Some("later")));

    let mut drops = pending(dispatch(&router, peer.request("drop", &Bytes::new())));
    assert_eq!(poll(&mut drops), Poll::Ready(error("HANDLER_PANIC", "")));
    assert_eq!(reports.lock().unwrap().pop().unwrap().message.as_deref(), Some("dropped"));
    assert_eq!(peer.holders(), 1);
}

#[test]
fn without_a_hook_or_with_one_that_panics() {
    let router = Router::<Fake>::new().handle("x", || fail("x")).handle("later", async || {
        pause().await;
        fail("later");
    });
    let with = |router: Router<Fake>| {
        assert_eq!(ready(&router, "x", ""), error("HANDLER_PANIC", ""));
        let mut later = pending(dispatch(&router, Fake::of(&router).request("later", &Bytes::new())));
        assert_eq!(poll(&mut later), Poll::Ready(error("HANDLER_PANIC", "")));
        router
    };
    let router = with(router);
    with(router.on_panic(|_| fail("hook")));
}

#[test]
fn a_future_that_is_polled_after_its_end_does_nothing() {
    let router = Router::<Fake>::new().handle("wait", async || {
        pause().await;
        RemoteError::new("END")
    });
    let mut later = pending(dispatch(&router, Fake::of(&router).request("wait", &Bytes::new())));
    assert_eq!(poll(&mut later), Poll::Ready(error("END", "")));
    let again = catch_unwind(AssertUnwindSafe(|| poll(&mut later)));
    assert!(again.unwrap().is_pending());
}
