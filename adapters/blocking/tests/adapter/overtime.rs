//! Deadlines and cancellation

use core::time::Duration;
use std::sync::mpsc::{Sender, channel};

use flyrpc_blocking::{Client, Error, Limits, Refusal, Request};

use crate::common::{MESSAGE, REQUEST, RESPONSE, Raw, SOON, bounded, connect, echo, listen, now, until};

const SHORT: Duration = Duration::from_millis(60);

#[test]
fn calls_end_at_their_deadline() {
    bounded(|| {
        let (_silent, client) = Raw::with(Client::new().limits(Limits::new().call_timeout(SHORT)));
        let timed = |call: &dyn Fn() -> Result<(), Error>| {
            let start = now();
            assert_eq!(call(), Err(Error::TimedOut));
            let time = start.elapsed();
            assert!(SHORT <= time && time < SOON, "{time:?}");
        };
        timed(&|| client.call("x", ()).map(drop));
        timed(&|| client.call_within("x", (), SHORT).map(drop));
        timed(&|| client.start("x", (), SHORT)?.wait().map(drop));
        timed(&|| client.request("x", ()).map(drop));
        timed(&|| client.send_acked("x", ()));
        timed(&|| client.ping(64, SHORT).map(drop));
        assert_eq!(client.call_within("x", (), Duration::ZERO), Err(Error::TimedOut));
        assert_eq!((client.stats().timed_out, client.stats().answered), (7, 0));
    });
}

#[test]
fn p05_a_late_answer_never_answers_another_call() {
    bounded(|| {
        let (mut raw, client) = Raw::with(Client::new());
        let late: Vec<_> = (0..20)
            .map(|_| {
                assert_eq!(client.call_within("late", (), Duration::from_millis(1)), Err(Error::TimedOut));
                raw.read().seq
            })
            .collect();
        let call = client.start("next", (), SOON).unwrap();
        let request = raw.read();
        for seq in late {
            assert_ne!(seq, request.seq);
            raw.send(RESPONSE, seq, "", b"late");
        }
        raw.send(RESPONSE, request.seq, "", b"in time");
        assert_eq!(call.wait(), Ok("in time".into()));
        assert_eq!((client.stats().late_replies, client.stats().answered), (20, 1));
    });
}

#[test]
fn p06_calls_that_are_over_free_their_place() {
    bounded(|| {
        let (mut raw, client) = Raw::with(Client::new().limits(Limits::new().max_in_flight(1)));
        let soon = Duration::from_millis(1);
        for round in 0..20 {
            let call = client.start("x", (), soon).unwrap();
            if round == 0 {
                let refused = client.call_within("x", (), soon);
                let too_many = Error::Refused(Refusal::TooManyInFlight { in_flight: 1 });
                assert!(refused == Err(too_many) || refused == Err(Error::TimedOut), "{refused:?}");
            }
            assert_eq!(call.wait(), Err(Error::TimedOut));
            client.start("x", (), SOON).unwrap().cancel();
            // Neither waited for nor cancelled until its time is up.
            let forgotten = client.start("x", (), soon).unwrap();
            let start = now();
            until("its time is up", || start.elapsed() > 2 * soon);
            // So that the connection knows.
            client.send("time passes", ()).unwrap();
            drop(forgotten);
        }
        let call = client.start("last", (), SOON).unwrap();
        let seq = loop {
            let request = raw.read();
            if request.code == "last" {
                break request.seq;
            }
        };
        raw.send(RESPONSE, seq, "", b"answer");
        assert_eq!(call.wait(), Ok("answer".into()));
    });
}

/// Works until it is cancelled, and tells that it was
fn patient(begun: Sender<()>, cancelled: Sender<Vec<u8>>) -> impl Fn(&Request) + Send + Sync {
    move |request: &Request| {
        begun.send(()).unwrap();
        until("cancelled", || request.is_cancelled());
        cancelled.send(request.payload().to_vec()).unwrap();
    }
}

#[test]
fn a_handler_learns_that_its_caller_gave_up() {
    bounded(|| {
        let (begun, has_begun) = channel();
        let (cancelled, hear) = channel();
        let work = patient(begun, cancelled);
        let server = listen(echo().handle("work", move |request: &Request| work(request)).handle(
            "other",
            |request: &Request| {
                until("its time is up", || request.is_cancelled());
            },
        ));
        let client = connect(Client::new(), &server);
        client.hello().unwrap();
        let other = client.start("other", (), SOON).unwrap();
        for round in 0..20 {
            let call = client.start("work", &[round], SOON).unwrap();
            has_begun.recv_timeout(SOON).unwrap();
            if round % 2 == 0 {
                call.cancel()
            } else {
                drop(call)
            }
            assert_eq!(hear.recv_timeout(SOON), Ok(vec![round]));
            assert_eq!(client.call("echo", b"alive"), Ok("alive".into()));
        }
        assert_eq!(client.stats().cancelled, 20);
        drop(other);
        until("the answers have come", || client.stats().late_replies == 21);
    });
}

#[test]
fn p03_a_cancel_is_not_held_up_by_the_work_it_should_stop() {
    bounded(|| {
        let (begun, has_begun) = channel();
        let (cancelled, hear) = channel();
        let limits = Limits::new().max_unanswered(4);
        let work = patient(begun, cancelled);
        let server = listen(echo().limits(limits).handle("work", move |request: &Request| work(request)));
        let client = connect(Client::new(), &server);
        client.hello().unwrap();
        let calls: Vec<_> = (0..4).map(|n| client.start("work", &[n], SOON).unwrap()).collect();
        for _ in &calls {
            has_begun.recv_timeout(SOON).unwrap();
        }
        drop(calls);
        let mut stopped: Vec<_> = (0..4).map(|_| hear.recv_timeout(SOON).unwrap()).collect();
        stopped.sort();
        assert_eq!(stopped, [[0], [1], [2], [3]]);
    });
}

#[test]
fn a_cancel_goes_only_to_peers_that_know_it() {
    bounded(|| {
        let (mut raw, client) = Raw::with(Client::new());
        client.start("given up", (), SOON).unwrap().cancel();
        client.send("next", ()).unwrap();
        let given_up = raw.read();
        assert_eq!((given_up.flag, given_up.code.as_str()), (REQUEST, "given up"));
        raw.expect(MESSAGE, 0, "next", b"");

        // The peer introduces itself.
        raw.send(REQUEST, 9, "$hello", b"version=1\ncancel=1\n");
        assert_eq!(raw.read().seq, 9);
        let call = client.start("given up", (), SOON).unwrap();
        let seq = raw.read().seq;
        call.cancel();
        raw.expect(MESSAGE, 0, "$cancel", seq.to_be_bytes());

        // Answers that come all the same are dropped.
        raw.send(RESPONSE, given_up.seq, "", b"late");
        raw.send(RESPONSE, seq, "", b"late");
        raw.expect_alive();
        assert_eq!((client.stats().cancelled, client.stats().late_replies), (2, 2));
    });
}
