//! What a peer may ask for, and what becomes of it when it asks for more

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::sync::mpsc::channel;

use flyrpc_blocking::{Bytes, Client, CloseReason, Error, Limits, Overload, Refusal, RemoteError, Request};

use crate::common::{Gate, MESSAGE, REQUEST, RESPONSE, Raw, SOON, bounded, connect, echo, listen, noise};

#[test]
fn p17_a_payload_beyond_the_limit_is_refused_and_the_connection_lives_on() {
    bounded(|| {
        let server = listen(echo().limits(Limits::new().max_payload(1000)));
        let client = connect(Client::new(), &server);
        for len in [1001, 1 << 20] {
            let refused = Err(Error::Remote(RemoteError::new("TOO_LARGE")));
            assert_eq!(client.call("echo", noise(len)), refused);
            client.send("echo", noise(len)).unwrap();
            assert_eq!(client.call("echo", noise(1000)), Ok(noise(1000).into()));
        }
        let stats = server.peers()[0].stats();
        assert_eq!((stats.rejected, stats.invalid), (2, 2));
    });
}

#[test]
fn p17_an_absurd_length_ends_its_own_connection_only() {
    bounded(|| {
        let (gone, hear) = channel();
        let server = listen(echo().on_close(move |_, why| gone.send(why).unwrap()));
        let other = connect(Client::new(), &server);
        for length in [1 << 63, u64::MAX, 1 << 32] {
            let mut raw = Raw::connect(&server);
            raw.expect_alive();
            raw.write([&[0x43, 0, 1][..], b"echo\0", &length.to_be_bytes()].concat());
            raw.expect_gone();
            let why = hear.recv_timeout(SOON).unwrap();
            assert!(matches!(why, CloseReason::Protocol(_)), "{why:?}");
            assert_eq!(other.call("echo", b"alive"), Ok("alive".into()));
        }
        // As does a code without an end.
        let mut raw = Raw::connect(&server);
        raw.write([0x40; 2000]);
        raw.expect_gone();
        assert!(matches!(hear.recv_timeout(SOON), Ok(CloseReason::Protocol(_))));
        assert_eq!(other.call("echo", b"alive"), Ok("alive".into()));
    });
}

#[test]
fn requests_beyond_the_limit_are_answered_busy() {
    bounded(|| {
        let (gate, inside) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
        let (held, entered) = (gate.clone(), Arc::clone(&inside));
        let server = listen(echo().limits(Limits::new().max_unanswered(3)).handle("slow", move || {
            entered.fetch_add(1, Ordering::SeqCst);
            held.pass();
        }));
        let client = connect(Client::new(), &server);
        let slow: Vec<_> = (0..3).map(|_| client.start("slow", (), SOON).unwrap()).collect();
        for _ in 0..200 {
            assert_eq!(client.call("echo", ()), Err(Error::Remote(RemoteError::new("BUSY"))));
        }
        // Pings are not requests of the application's.
        assert!(client.ping(8, SOON).is_ok());
        gate.open();
        for call in slow {
            assert_eq!(call.wait(), Ok(Bytes::new()));
        }
        assert_eq!(inside.load(Ordering::SeqCst), 3);
        assert_eq!(client.call("echo", b"x"), Ok("x".into()));
    });
}

#[test]
fn requests_beyond_the_limit_wait_where_that_was_asked_for() {
    bounded(|| {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
        let limits = Limits::new().max_unanswered(3).overload(Overload::Wait);
        let server = listen(echo().limits(limits).handle("work", move |request: &Request| {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            request.payload().to_vec()
        }));
        let client = connect(Client::new(), &server);
        let calls: Vec<_> =
            (0..1000_u16).map(|n| client.start("work", &n.to_be_bytes(), 2 * SOON).unwrap()).collect();
        for (n, call) in (0_u16..).zip(calls) {
            assert_eq!(call.wait(), Ok(n.to_be_bytes().to_vec().into()));
        }
        let most = most.load(Ordering::SeqCst);
        assert!((1..=3).contains(&most), "{most} at a time");
        assert_eq!(server.peers()[0].stats().rejected, 0);
    });
}

#[test]
fn calls_beyond_the_limit_are_refused() {
    bounded(|| {
        let (mut raw, client) = Raw::with(Client::new().limits(Limits::new().max_in_flight(10)));
        let calls: Vec<_> = (0..10).map(|_| client.start("x", (), SOON).unwrap()).collect();
        let refused = Err(Error::Refused(Refusal::TooManyInFlight { in_flight: 10 }));
        assert_eq!(client.call("x", ()), refused);
        assert_eq!(client.ping(0, SOON).map(|_| Bytes::new()), refused);
        client.send("messages are free", ()).unwrap();
        for call in calls {
            let seq = raw.read().seq;
            raw.send(RESPONSE, seq, "", b"");
            assert_eq!(call.wait(), Ok(Bytes::new()));
        }
        assert!(client.start("x", (), SOON).is_ok());
    });
}

#[test]
fn bytes_that_are_well_framed_but_senseless_end_nothing() {
    bounded(|| {
        let server = listen(echo());
        let mut raw = Raw::connect(&server);
        raw.write([&[REQUEST, 0, 1][..], b"\xff\xfe\0", &[0]].concat());
        raw.expect(RESPONSE, 1, "BAD_CODE", b"");
        raw.write([&[MESSAGE, 0, 1][..], b"\xff\xfe\0", &[0]].concat());
        raw.send(MESSAGE, 0, "$cancel", [1, 2]);
        raw.send(MESSAGE, 0, "$cancel", b"what?");
        raw.send(RESPONSE, 55, "", b"nobody asked");
        raw.send(REQUEST, 2, "$unknown", b"");
        raw.expect(RESPONSE, 2, "NOT_FOUND", b"");
        raw.expect_alive();
    });
}
