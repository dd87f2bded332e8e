//! Ending in good order (P15)

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::sync::Barrier;

use flyrpc_blocking::{Client, CloseReason, Error, Refusal, RemoteError, Request, Server, Stage};

use crate::common::{Gate, REQUEST, RESPONSE, Raw, SOON, bounded, connect, echo, listen, noise, now, until};

/// Answers once the gate is open, and counts who waits there
fn gated(server: Server, gate: &Gate) -> (Server, Arc<AtomicUsize>) {
    let (gate, inside) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    let entered = Arc::clone(&inside);
    let server = server.handle("slow", move |request: &Request| {
        entered.fetch_add(1, Ordering::SeqCst);
        gate.pass();
        request.payload().to_vec()
    });
    (server, inside)
}

#[test]
fn p15_a_caller_that_drains_gets_its_answers_and_sends_nothing_new() {
    bounded(|| {
        let gate = Gate::default();
        let (server, inside) = gated(echo(), &gate);
        let server = listen(server);
        let client = connect(Client::new(), &server);
        let calls: Vec<_> = (0..5).map(|n| client.start("slow", &[n], SOON).unwrap()).collect();
        until("all are handled", || inside.load(Ordering::SeqCst) == 5);
        std::thread::scope(|scope| {
            let drained = scope.spawn(|| client.drain(SOON));
            until("it drains", || client.state() == Stage::Draining);
            assert_eq!(client.call("echo", ()), Err(Error::Refused(Refusal::Draining)));
            assert_eq!(client.send("echo", ()), Err(Error::Refused(Refusal::Draining)));
            assert_eq!(server.peers()[0].call("echo", ()), Err(Error::Remote(RemoteError::new("DRAINING"))));
            gate.open();
            for (n, call) in (0..).zip(calls) {
                assert_eq!(call.wait(), Ok(vec![n].into()));
            }
            assert_eq!(drained.join().unwrap(), CloseReason::Drained);
        });
        assert_eq!(client.state(), Stage::Closed);
        assert_eq!(client.call("echo", ()), Err(Error::Refused(Refusal::Closed)));
        until("the server has seen it", || server.peers().is_empty());
    });
}

#[test]
fn p15_a_server_that_drains_answers_what_it_has_and_refuses_the_rest() {
    bounded(|| {
        let gate = Gate::default();
        let (server, inside) = gated(echo(), &gate);
        let server = listen(server);
        let mut raw = Raw::connect(&server);
        raw.send(REQUEST, 1, "slow", b"owed");
        until("it is handled", || inside.load(Ordering::SeqCst) == 1);
        let peer = &server.peers()[0];
        std::thread::scope(|scope| {
            let drained = scope.spawn(|| peer.drain(SOON));
            until("it drains", || peer.state() == Stage::Draining);
            raw.send(REQUEST, 2, "echo", b"");
            raw.expect(RESPONSE, 2, "DRAINING", b"");
            gate.open();
            raw.expect(RESPONSE, 1, "", b"owed");
            raw.expect_end();
            // A peer that does not close is not waited for much longer.
            assert_eq!(drained.join().unwrap(), CloseReason::Drained);
        });
        raw.expect_gone();
    });
}

#[test]
fn p15_draining_ends_by_its_deadline_though_a_handler_hangs() {
    bounded(|| {
        let gate = Gate::default();
        let (server, inside) = gated(echo(), &gate);
        let server = listen(server);
        let client = connect(Client::new(), &server);
        let call = client.start("slow", (), 6 * SOON).unwrap();
        until("it is handled", || inside.load(Ordering::SeqCst) == 1);
        let (start, timeout) = (now(), Duration::from_millis(200));
        assert_eq!(server.peers()[0].drain(timeout), CloseReason::DrainDeadline);
        let time = start.elapsed();
        assert!(timeout <= time && time < timeout + Duration::from_secs(5), "{time:?}");
        assert_eq!(call.wait(), Err(Error::Lost(CloseReason::PeerClosed)));
        gate.open();
    });
}

#[test]
fn p15_draining_ends_by_its_deadline_though_no_answer_comes() {
    bounded(|| {
        let (_silent, client) = Raw::with(Client::new());
        let call = client.start("x", (), 6 * SOON).unwrap();
        assert_eq!(client.drain(Duration::from_millis(100)), CloseReason::DrainDeadline);
        assert_eq!(call.wait(), Err(Error::Lost(CloseReason::DrainDeadline)));
    });
}

#[test]
fn p15_draining_ends_by_its_deadline_though_the_peer_reads_nothing() {
    bounded(|| {
        let server = listen(echo());
        let mut raw = Raw::connect(&server);
        raw.expect_alive();
        let peer = server.peers()[0].clone();
        let stuck = noise(32 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| drop(peer.send("stuck", &stuck)));
            // It has begun to send, and can't get to the end.
            raw.stream.peek(&mut [0]).unwrap();
            let start = now();
            let _ = peer.drain(Duration::from_millis(200));
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
            assert_eq!(peer.state(), Stage::Closed);
        });
    });
}

#[test]
fn p15_draining_waits_for_a_slow_peer_to_take_its_answer() {
    bounded(|| {
        let server = listen(echo().handle("long", || noise(24 << 20)));
        let mut raw = Raw::connect(&server);
        raw.send(REQUEST, 1, "long", b"");
        until("it is handled", || server.peers().first().is_some_and(|peer| peer.stats().requests == 1));
        let peer = &server.peers()[0];
        std::thread::scope(|scope| {
            let drained = scope.spawn(|| peer.drain(SOON));
            until("all is encoded", || peer.state() == Stage::Closed);
            // Much longer than a drained connection lingers.
            let start = now();
            until("time has passed", || start.elapsed() > Duration::from_millis(1500));
            raw.expect(RESPONSE, 1, "", noise(24 << 20));
            raw.expect_end();
            drop(raw);
            assert_eq!(drained.join().unwrap(), CloseReason::Drained);
        });
    });
}

#[test]
fn draining_what_is_idle_ends_at_once() {
    bounded(|| {
        let server = listen(echo());
        let start = now();
        for _ in 0..5 {
            let client = connect(Client::new(), &server);
            client.call("echo", ()).unwrap();
            assert_eq!(client.drain(6 * SOON), CloseReason::Drained);
            assert_eq!(client.drain(6 * SOON), CloseReason::Drained, "again");
        }
        // It says that it has finished, so the other end closes; nothing lingers for its second.
        assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
    });
}

#[test]
fn p15_a_shutdown_loses_no_reply() {
    const CLIENTS: usize = 20;
    bounded(|| {
        let gate = Gate::default();
        let (server, inside) = gated(echo(), &gate);
        let server = listen(server);
        let address = server.address();
        let clients: Vec<_> = (0..CLIENTS).map(|_| connect(Client::new(), &server)).collect();
        let payload = noise(100_000);
        let calls: Vec<_> = clients
            .iter()
            .flat_map(|client| (0..3).map(|_| client.start("slow", &payload, SOON).unwrap()))
            .collect();
        until("all are handled", || inside.load(Ordering::SeqCst) == 3 * CLIENTS);
        let last = server.peers()[CLIENTS - 1].clone();
        std::thread::scope(|scope| {
            let shutdown = scope.spawn(|| server.shutdown(SOON));
            until("it drains", || last.state() == Stage::Draining);
            gate.open();
            for call in calls {
                assert!(call.wait().unwrap() == payload);
            }
            shutdown.join().unwrap();
        });
        for client in &clients {
            assert_eq!(client.closed(), CloseReason::PeerClosed);
        }
        assert!(Client::new().connect(address).is_err());
    });
}

#[test]
fn p15_a_shutdown_ends_by_its_deadline() {
    bounded(|| {
        let gate = Gate::default();
        let (server, inside) = gated(echo(), &gate);
        let server = listen(server);
        let stuck = Raw::connect(&server);
        let client = connect(Client::new(), &server);
        let call = client.start("slow", (), 6 * SOON).unwrap();
        until("it is handled", || inside.load(Ordering::SeqCst) == 1);
        let (start, timeout) = (now(), Duration::from_millis(200));
        server.shutdown(timeout);
        assert!(start.elapsed() < timeout + Duration::from_secs(5), "{:?}", start.elapsed());
        assert!(matches!(call.wait(), Err(Error::Lost(_))));
        gate.open();
        drop(stuck);
    });
}

#[test]
fn calls_may_race_with_a_shutdown() {
    bounded(|| {
        for _ in 0..10 {
            let server = listen(echo());
            let client = connect(Client::new(), &server);
            client.call("echo", ()).unwrap();
            let start = Barrier::new(5);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        loop {
                            match client.call_within("echo", b"x", 6 * SOON) {
                                Ok(answer) => assert_eq!(answer, "x"),
                                Err(Error::Remote(error)) => assert_eq!(error.code, "DRAINING"),
                                Err(Error::Lost(_)) => {}
                                Err(Error::Refused(Refusal::Closed)) => break,
                                other => panic!("{other:?}"),
                            }
                        }
                    });
                }
                start.wait();
                server.shutdown(SOON);
            });
        }
    });
}
