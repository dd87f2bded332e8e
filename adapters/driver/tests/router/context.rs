//! What a handler knows of its connection

use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context as Task, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;
use std::task::Wake;
use std::time::Instant;

use bytes::Bytes;
use flyrpc_driver::{Context, Dispatched, Extensions, Request, Router, Session};

use crate::common::{Fake, dispatch, good, pending};

#[test]
fn peer_connection_remote_and_deadline() {
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    let deadline = Instant::now() + Duration::from_secs(1);
    let router =
        Router::<Fake>::new().handle("x", move |context: &Context<Fake>, request: &Request<Fake>| {
            assert_eq!(context.connection(), request.context().connection());
            assert_eq!(context.deadline(), Some(deadline));
            assert_eq!((context.request().index, context.request().generation), (1, 2));
            assert!(!request.is_cancelled() && request.peer().holders() == 1);
            format!("{} {}", context.connection(), context.remote())
        });
    let request = Fake::of(&router).request_until("x", &Bytes::new(), Some(deadline));
    let Dispatched::Ready(outcome) = dispatch(&router, request) else { panic!("not ready") };
    assert_eq!(outcome, good("#7 memory"));
}

#[test]
fn each_connection_has_its_own_session() {
    let router = Router::<Fake>::new().handle("count", |context: &Context<Fake>| {
        let count = context.session().get_or_insert_with(AtomicUsize::default);
        count.fetch_add(1, Ordering::Relaxed).to_string()
    });
    let (ada, bob) = (Fake::of(&router), Fake::of(&router));
    for (peer, count) in [(&ada, "0"), (&ada, "1"), (&bob, "0"), (&ada, "2"), (&bob, "1")] {
        let Dispatched::Ready(outcome) = dispatch(&router, peer.request("count", &Bytes::new())) else {
            panic!("not ready")
        };
        assert_eq!(outcome, good(count));
    }
}

#[test]
fn sessions_hold_one_value_of_each_type() {
    let session = Session::new();
    assert!(session.get::<u8>().is_none() && session.remove::<u8>().is_none());
    assert!(session.insert(1_u8).is_none());
    assert_eq!(session.insert(2_u8).as_deref(), Some(&1));
    assert!(session.insert("text".to_owned()).is_none());
    assert_eq!(session.get::<u8>().as_deref(), Some(&2));
    assert_eq!(*session.get_or_insert_with(|| -> u8 { unreachable!() }), 2);
    // One value may be made from another.
    let made = session.get_or_insert_with(|| u16::from(*session.get::<u8>().unwrap()) + 1);
    assert_eq!(*made, 3);
    // Or be put in by the very function that makes it: the first stays.
    let made = session.get_or_insert_with(|| {
        session.insert(4_u32);
        5_u32
    });
    assert_eq!(*made, 4);
    assert_eq!(session.remove::<u8>().as_deref(), Some(&2));
    assert!(session.get::<u8>().is_none());
    assert_eq!(session.get::<String>().unwrap().as_str(), "text");
}

#[test]
fn p22_sessions_and_extensions_show_types_only() {
    let session = Session::new();
    session.insert("hunter2".to_owned());
    assert_eq!(format!("{session:?}"), r#"Session ["alloc::string::String"]"#);
    let mut extensions = Extensions::new();
    assert!(extensions.is_empty());
    extensions.insert("hunter2");
    assert_eq!(format!("{extensions:?}"), r#"["&str"]"#);
    assert_eq!(extensions.get_ref::<&str>(), Some(&"hunter2"));
    assert_eq!(extensions.remove::<&str>().as_deref(), Some(&"hunter2"));
    assert!(extensions.is_empty());
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_handler_hears_of_its_cancel() {
    let router = Router::<Fake>::new().handle("wait", async |context: Context<Fake>| {
        context.cancelled().await;
        assert!(context.is_cancelled());
        "stopped"
    });
    let peer = Fake::of(&router);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Task::from_waker(&waker);
    let mut waiting = pending(router.dispatch(peer.request("wait", &Bytes::new()), &mut cx));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
    peer.cancel();
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(good("stopped")));
}
