//! Calls, messages and pings between peers that behave

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};

use flyrpc_blocking::{Bytes, Capabilities, Client, Error, Limits, RemoteError, Request, Response, Server};

use crate::common::{
    Gate, MESSAGE, REQUEST, RESPONSE, Raw, SOON, bounded, connect, echo, listen, noise, until,
};

#[test]
fn a_server_calls_its_clients() {
    bounded(|| {
        let server = listen(echo());
        let names = ["Ada", "Grace", "Edsger"];
        let clients = names.map(|name| {
            let client = connect(Client::new().handle("name", move || name), &server);
            assert_eq!(client.call("echo", name), Ok(name.into()));
            client
        });
        let peers = server.peers();
        let answers: Vec<_> = peers.iter().map(|peer| peer.call("name", ()).unwrap()).collect();
        assert_eq!(answers, names.map(|name| name.as_bytes().to_vec()), "in the order they came");
        assert_eq!(server.broadcast("anything", b""), Ok(3));
        drop(clients);
        until("all have left", || server.peers().is_empty());
    });
}

#[test]
fn p09_calls_nest_as_deep_as_one_likes() {
    fn down(request: &Request) -> Result<Vec<u8>, RemoteError> {
        let depth = request.payload()[0];
        if depth == 0 {
            return Ok(vec![0]);
        }
        let mut below = request.peer().call_as::<Vec<u8>>("down", &[depth - 1])?;
        below.push(depth);
        Ok(below)
    }
    bounded(|| {
        let server = listen(Server::new().handle("down", down));
        let client = connect(Client::new().handle("down", down), &server);
        assert_eq!(client.call("down", &[20]), Ok((0..=20).collect()));
        // From both ends at once.
        let peer = &server.peers()[0];
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert_eq!(client.call("down", &[20]), Ok((0..=20).collect())));
                scope.spawn(|| assert_eq!(peer.call("down", &[19]), Ok((0..=19).collect())));
            }
        });
    });
}

#[test]
fn p09_handlers_of_many_messages_may_call_too() {
    const MESSAGES: u32 = 3_000;
    bounded(|| {
        let (heard, hear) = channel();
        let server = listen(echo().handle("note", move |request: &Request| {
            heard.send(request.peer().call("echo", request.payload())).unwrap();
        }));
        let client = connect(Client::new().handle("echo", |payload: Bytes| payload), &server);
        for number in 0..MESSAGES {
            client.send("note", &number.to_be_bytes()).unwrap();
        }
        for number in 0..MESSAGES {
            assert_eq!(hear.recv_timeout(SOON), Ok(Ok(number.to_be_bytes().to_vec().into())));
        }
    });
}

#[test]
fn threads_that_share_a_client_get_their_own_answers() {
    const CALLS: u32 = 500;
    bounded(|| {
        let server = listen(echo());
        let client = connect(Client::new(), &server);
        let start = Barrier::new(16);
        std::thread::scope(|scope| {
            for thread in 0..16_u32 {
                let (client, start) = (&client, &start);
                scope.spawn(move || {
                    start.wait();
                    for call in 0..CALLS {
                        let payload = [thread.to_be_bytes(), call.to_be_bytes()].concat();
                        assert_eq!(client.call("echo", &payload), Ok(payload.into()));
                    }
                });
            }
        });
        let stats = client.stats();
        assert_eq!((stats.calls, stats.answered), (u64::from(16 * CALLS), u64::from(16 * CALLS)));
        assert_eq!((stats.timed_out, stats.late_replies, stats.unknown_replies), (0, 0, 0));
    });
}

#[test]
fn answers_may_come_in_another_order() {
    bounded(|| {
        let (mut raw, client) = Raw::with(Client::new());
        let calls: Vec<_> = (0..100_u8).map(|n| client.start("n", &[n], SOON).unwrap()).collect();
        let requests: Vec<_> = calls.iter().map(|_| raw.read()).collect();
        for request in requests.iter().rev() {
            raw.send(RESPONSE, request.seq, "", [request.payload[0], 0xff]);
        }
        for (n, call) in (0..).zip(calls) {
            assert_eq!(call.wait(), Ok(vec![n, 0xff].into()));
        }
    });
}

#[test]
fn a_slow_handler_holds_up_nobody_else() {
    bounded(|| {
        let (gate, held) = (Gate::default(), Gate::default());
        let inside = gate.clone();
        let server = listen(echo().handle("slow", move || {
            held.open();
            inside.pass();
            "slow"
        }));
        let client = connect(Client::new(), &server);
        let slow = client.start("slow", (), SOON).unwrap();
        for _ in 0..100 {
            assert_eq!(client.call("echo", b"quick"), Ok("quick".into()));
        }
        gate.open();
        assert_eq!(slow.wait(), Ok("slow".into()));
    });
}

#[test]
fn p10_messages_are_handled_in_their_order_by_slow_handlers_too() {
    const MESSAGES: u32 = 5_000;
    bounded(|| {
        let (heard, hear) = channel();
        let running = Arc::new(AtomicUsize::new(0));
        let server = listen(echo().handle("note", move |request: &Request| {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
            let number = u32::from_be_bytes(request.payload()[..].try_into().unwrap());
            if number % 250 == 0 {
                // Work, not waiting: others could overtake meanwhile.
                std::thread::sleep(Duration::from_millis(3));
            }
            heard.send((number, request.wants_reply())).unwrap();
            running.fetch_sub(1, Ordering::SeqCst);
        }));
        let client = connect(Client::new(), &server);
        for number in 0..MESSAGES {
            client.send("note", &number.to_be_bytes()).unwrap();
            if number % 100 == 0 {
                assert_eq!(client.call("echo", b"calls in between"), Ok("calls in between".into()));
            }
        }
        for number in 0..MESSAGES {
            assert_eq!(hear.recv_timeout(SOON), Ok((number, false)));
        }
        let stats = client.stats();
        assert_eq!((stats.unknown_replies, stats.late_replies), (0, 0), "messages are not answered");
    });
}

#[test]
fn messages_are_never_answered() {
    bounded(|| {
        let (handled, all_handled) = channel();
        let server = listen(
            echo()
                .handle("fail", || RemoteError::new("NO"))
                .handle("last", move || handled.send(()).unwrap()),
        );
        let mut raw = Raw::connect(&server);
        for code in ["echo", "fail", "unknown", "last"] {
            raw.send(MESSAGE, 7, code, b"");
        }
        assert_eq!(all_handled.recv_timeout(SOON), Ok(()));
        raw.expect_alive();
    });
}

#[test]
fn an_acked_message_has_been_handled() {
    bounded(|| {
        let handled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&handled);
        let server = listen(
            Server::new()
                .handle("count", move |request: &Request| {
                    assert!(request.wants_reply());
                    count.fetch_add(1, Ordering::SeqCst);
                })
                .handle("fail", || RemoteError::new("NO")),
        );
        let client = connect(Client::new(), &server);
        for n in 1..=50 {
            client.send_acked("count", ()).unwrap();
            assert_eq!(handled.load(Ordering::SeqCst), n);
        }
        assert_eq!(client.send_acked("fail", ()), Err(RemoteError::new("NO").into()));
    });
}

#[test]
fn a_request_gets_its_response_as_it_came() {
    bounded(|| {
        let server = listen(echo().handle("fail", || RemoteError::new("LAMP").details("7")).fallback(
            |request: &Request| {
                assert_eq!(request.code(), "");
                "empty"
            },
        ));
        let client = connect(Client::new(), &server);
        let response =
            |code: &str, payload: &'static str| Ok(Response { code: code.into(), payload: payload.into() });
        assert_eq!(client.request("fail", ()), response("LAMP", "7"));
        assert_eq!(client.request("echo", b"x"), response("", "x"));
        assert_eq!(client.request("", ()), response("", "empty"));
    });
}

#[test]
fn pings_of_every_length_come_back() {
    bounded(|| {
        let server = listen(Server::new());
        let client = connect(Client::new(), &server);
        for len in [0, 8, 9, 64, 70_000] {
            let pong = client.ping(len, SOON).unwrap();
            assert!(pong.time < SOON && pong.len == len as u64, "{len}: {pong:?}");
        }
        let stats = client.stats();
        assert_eq!((stats.calls, stats.answered, stats.timed_out), (5, 5, 0));
        let stats = server.peers()[0].stats();
        assert_eq!((stats.own, stats.requests), (2, 3), "the core answers the short ones itself");
        // And the other way.
        assert_eq!(server.peers()[0].ping(1000, SOON).unwrap().len, 1000);
    });
}

#[test]
fn a_ping_that_is_not_found_proves_life_too() {
    bounded(|| {
        let (mut raw, client) = Raw::with(Client::new());
        std::thread::scope(|scope| {
            let ping = scope.spawn(|| client.ping(64, SOON));
            let request = raw.read();
            assert_eq!((request.flag, request.code.as_str(), request.payload.len()), (REQUEST, "$ping", 64));
            raw.send(RESPONSE, request.seq, "NOT_FOUND", b"");
            assert_eq!(ping.join().unwrap().unwrap().len, 0);
        });
        assert_eq!(client.stats().answered, 1);
    });
}

#[test]
fn hello_tells_both_ends_what_the_other_can() {
    bounded(|| {
        let server = listen(echo().limits(Limits::new().max_payload(5000)));
        let client = connect(Client::new().limits(Limits::new().max_payload(6000)), &server);
        assert_eq!(client.capabilities(), Capabilities::default());
        let learnt = client.hello().unwrap();
        assert_eq!((learnt.max_payload, learnt.zip, learnt.cancel), (Some(5000), true, true));
        assert_eq!(client.capabilities(), learnt);
        assert_eq!(server.peers()[0].capabilities().max_payload, Some(6000));
        // What the peer will not take is not sent.
        assert!(matches!(client.call("echo", noise(5001)), Err(Error::Refused(_))));
        assert_eq!(client.call("echo", noise(5000)), Ok(noise(5000).into()));
    });
}

#[test]
fn hello_to_a_peer_of_the_base_protocol_teaches_nothing() {
    bounded(|| {
        let (mut raw, client) = Raw::with(Client::new());
        std::thread::scope(|scope| {
            let hello = scope.spawn(|| client.hello());
            let request = raw.read();
            raw.send(RESPONSE, request.seq, "NOT_FOUND", b"zip=1\n");
            assert_eq!(hello.join().unwrap(), Ok(Capabilities::default()));
        });
    });
}

#[test]
fn payloads_of_every_size_come_back_whole() {
    bounded(|| {
        let server = listen(echo());
        let client = connect(Client::new().handle("echo", |payload: Bytes| payload), &server);
        for len in [0, 1, 255, 256, 65_535, 65_536, 1 << 20, 8 << 20] {
            let payload = noise(len);
            assert!(client.call("echo", &payload).unwrap() == payload, "{len} bytes");
            assert!(server.peers()[0].call("echo", &payload).unwrap() == payload, "{len} bytes back");
        }
    });
}

#[test]
fn both_ends_may_fill_the_line_at_once() {
    const CALLS: usize = 256;
    bounded(|| {
        let limits = Limits::new().max_unanswered(CALLS as u32);
        let server = listen(echo().limits(limits.clone()));
        let client = Client::new().limits(limits).handle("echo", |payload: Bytes| payload);
        let client = connect(client, &server);
        client.send_acked("echo", ()).unwrap();
        let peer = &server.peers()[0];
        let (payload, start) = (noise(64 << 10), Barrier::new(2));
        std::thread::scope(|scope| {
            for end in [&client, peer] {
                let (payload, start) = (&payload, &start);
                scope.spawn(move || {
                    start.wait();
                    let calls: Vec<_> =
                        (0..CALLS).map(|_| end.start("echo", payload, 2 * SOON).unwrap()).collect();
                    for call in calls {
                        assert!(call.wait().unwrap() == *payload);
                    }
                });
            }
        });
    });
}
