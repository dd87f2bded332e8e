//! What servers and clients can be told, and what server handles can do

use core::time::Duration;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::channel;

use flyrpc_blocking::{
    Bytes, Capabilities, Client, CloseReason, Context, Direction, Error, Limits, Loss, Overload, Refusal,
    RemoteError, Server,
};

use crate::common::{
    Gate, MESSAGE, REQUEST, RESPONSE, Raw, SOON, bounded, connect, echo, listen, noise, until,
};

#[test]
fn a_hook_sees_every_packet_both_ways() {
    bounded(|| {
        let (tell, hear) = channel();
        let server = listen(echo().on_packet(move |info, direction, packet| {
            assert!(info.remote.starts_with("127.0.0.1:"));
            let code = String::from_utf8_lossy(packet.code).into_owned();
            tell.send((direction, packet.flag.0 & !3, packet.sequence, code, packet.payload.len())).unwrap();
        }));
        let mut raw = Raw::connect(&server);
        let requests = [("echo", noise(3)), ("$ping", noise(5)), ("missing", noise(70_000))];
        for (seq, (code, payload)) in (1..).zip(&requests) {
            raw.send(REQUEST, seq, code, payload);
            assert_eq!(raw.read().seq, seq);
            let came = (Direction::In, REQUEST, seq, (*code).to_owned(), payload.len());
            assert_eq!(hear.recv_timeout(SOON), Ok(came));
            let (code, len) = if seq == 3 { ("NOT_FOUND", 0) } else { ("", payload.len()) };
            assert_eq!(hear.recv_timeout(SOON), Ok((Direction::Out, RESPONSE, seq, code.to_owned(), len)));
        }
        raw.send(MESSAGE, 0, "echo", b"");
        assert_eq!(hear.recv_timeout(SOON), Ok((Direction::In, MESSAGE, 0, "echo".to_owned(), 0)));
    });
}

#[test]
fn p13_a_peer_that_goes_silent_is_lost() {
    bounded(|| {
        let (gone, hear) = channel();
        let keepalive = Duration::from_millis(50);
        let server =
            listen(echo().keepalive(keepalive, keepalive).on_close(move |_, why| gone.send(why).unwrap()));
        let mut raw = Raw::connect(&server);
        until("it is connected", || server.connections() == 1);
        let call = server.peers()[0].start("x", (), 6 * SOON).unwrap();
        raw.expect(REQUEST, 1, "x", b"");
        let ping = raw.read();
        assert_eq!((ping.flag & !3, ping.code.as_str()), (REQUEST, "$ping"));
        assert_eq!(hear.recv_timeout(SOON), Ok(CloseReason::Transport(Loss::Unresponsive)));
        assert_eq!(call.wait(), Err(Error::Lost(CloseReason::Transport(Loss::Unresponsive))));
        raw.expect_gone();
    });
}

#[test]
fn p13_whatever_a_peer_answers_proves_that_it_lives() {
    bounded(|| {
        let server = listen(echo().keepalive(Duration::from_millis(20), SOON));
        let mut raw = Raw::connect(&server);
        // One that does not know pings.
        for _ in 0..5 {
            let ping = raw.read();
            assert_eq!(ping.code, "$ping");
            raw.send(RESPONSE, ping.seq, "NOT_FOUND", b"");
        }
        // Two ends that both ping.
        let client = connect(Client::new().keepalive(Duration::from_millis(20), SOON), &server);
        until("both have pinged", || client.stats().answered > 3 && client.stats().own > 3);
        assert_eq!(client.call("echo", "alive"), Ok("alive".into()));
    });
}

#[test]
fn p16_requests_under_way_hold_no_more_than_they_may() {
    bounded(|| {
        for when_owed in [Overload::Refuse, Overload::Wait] {
            let (gate, held) = (Gate::default(), Gate::default());
            let (pass, inside) = (gate.clone(), held.clone());
            let server = listen(echo().owed_buffer(1000, when_owed).handle("slow", move |payload: Bytes| {
                inside.open();
                pass.pass();
                payload
            }));
            let client = connect(Client::new(), &server);
            let slow = client.start("slow", noise(1000), SOON).unwrap();
            held.pass();
            let next = client.start("echo", "next", SOON).unwrap();
            if when_owed == Overload::Refuse {
                assert_eq!(next.wait(), Err(Error::Remote(RemoteError::new("BUSY"))));
                gate.open();
            } else {
                // Nothing is even read while the other holds so much.
                assert_eq!(client.ping(4, Duration::from_millis(100)), Err(Error::TimedOut));
                assert_eq!(server.peers()[0].stats().requests, 1);
                gate.open();
                assert_eq!(next.wait(), Ok("next".into()));
            }
            assert_eq!(slow.wait(), Ok(noise(1000).into()));
            assert_eq!(client.call("echo", "alive"), Ok("alive".into()));
        }
    });
}

#[test]
fn p09_a_handler_that_holds_much_may_still_call() {
    bounded(|| {
        let server = listen(
            echo()
                .owed_buffer(1, Overload::Wait)
                .handle("back", |context: Context, payload: Bytes| context.peer().call("echo", payload)),
        );
        let client = connect(Client::new().handle("echo", |payload: Bytes| payload), &server);
        for _ in 0..100 {
            assert_eq!(client.call("back", noise(5000)), Ok(noise(5000).into()));
        }
    });
}

#[test]
fn messages_go_to_those_who_are_named() {
    bounded(|| {
        let (heard, hear) = channel();
        let server = listen(echo());
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let heard = heard.clone();
                let client =
                    Client::new().handle("note", move |text: String| heard.send((number, text)).unwrap());
                connect(client, &server)
            })
            .collect();
        until("all are connected", || server.connections() == 4);
        let ids: Vec<_> = server.peers().iter().map(|peer| peer.id()).collect();
        assert!(ids.is_sorted());
        assert_eq!(server.broadcast_to(&ids[1..3], "note", "some"), Ok(2));
        let mut told: Vec<_> = (0..2).map(|_| hear.recv_timeout(SOON).unwrap()).collect();
        told.sort();
        assert_eq!(told, [(1, "some".to_owned()), (2, "some".to_owned())]);

        server.peer(ids[3]).unwrap().close();
        until("it has left", || server.connections() == 3);
        assert!(server.peer(ids[3]).is_none());
        assert_eq!(server.broadcast_to(&ids[2..], "note", "the last"), Ok(1));
        assert_eq!(hear.recv_timeout(SOON), Ok((2, "the last".to_owned())));
        assert_eq!(server.broadcast("note", "all"), Ok(3));
        drop(clients);
    });
}

#[test]
fn p16_a_message_that_finds_no_room_is_refused_where_nobody_may_wait() {
    bounded(|| {
        let server = listen(echo().send_buffer(256 << 10, Overload::Wait));
        let _deaf = Raw::connect(&server);
        until("it is connected", || server.connections() == 1);
        let peer = &server.peers()[0];
        let piece = noise(64 << 10);
        let refused = (0..1024).find_map(|_| peer.try_send("x", &piece).err());
        assert!(matches!(refused, Some(Error::Refused(Refusal::NoRoom { .. }))), "{refused:?}");
        assert_eq!(server.broadcast("x", ()), Ok(0));
    });
}

#[test]
fn connections_beyond_the_limit_wait_where_that_was_asked_for() {
    bounded(|| {
        let server = listen(echo().max_connections(1, Overload::Wait));
        let first = connect(Client::new(), &server);
        assert_eq!(first.call("echo", "x"), Ok("x".into()));
        let second = connect(Client::new(), &server);
        let call = second.start("echo", "patience", SOON).unwrap();
        assert_eq!(first.call("echo", "x"), Ok("x".into()));
        assert_eq!(second.ping(4, Duration::from_millis(100)), Err(Error::TimedOut));
        assert_eq!((server.connections(), second.stats().answered), (1, 0));
        drop(first);
        assert_eq!(call.wait(), Ok("patience".into()));
        // It stops though it waits for room.
        let address = server.address();
        server.shutdown(SOON);
        assert_eq!(second.closed(), CloseReason::PeerClosed);
        assert!(Client::new().connect(address).is_err());
    });
}

#[test]
fn sockets_that_are_connected_already_will_do() {
    bounded(|| {
        let server = Server::new()
            .max_connections(1, Overload::Refuse)
            .handle("echo", |payload: Bytes| payload)
            .start();
        assert_eq!((server.address(), server.local_address()), (String::new(), None));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dial = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let client = Client::new().attach(dial()).unwrap();
        let peer = server.attach(listener.accept().unwrap().0).unwrap().unwrap();
        assert_eq!(server.peers()[0].id(), peer.id());
        assert_eq!(client.call("echo", "x"), Ok("x".into()));

        let mut refused = dial();
        assert!(server.attach(listener.accept().unwrap().0).unwrap().is_none());
        assert_eq!(refused.read(&mut [0]).unwrap(), 0);

        drop(client);
        until("there is room", || server.connections() == 0);
        #[cfg(unix)]
        {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let peer = server.attach(theirs).unwrap().unwrap();
            let client = Client::new().attach(ours).unwrap();
            assert_eq!(peer.remote(), "unix");
            assert_eq!(client.call("echo", "x"), Ok("x".into()));
        }
        server.shutdown(SOON);
    });
}

#[test]
fn limits_are_told_in_one_place() {
    bounded(|| {
        let server = listen(echo().limits(Limits::new().max_payload(1000)));
        let client = flyrpc_blocking::connect(server.address()).unwrap();
        assert_eq!(client.hello().unwrap().max_payload, Some(1000));
        assert_eq!(client.in_flight(), 0);
    });
}

#[test]
fn hello_is_said_first_and_holds_nobody_up() {
    bounded(|| {
        let limits = Limits::new().max_payload(5000);
        let client = Client::new().limits(limits.clone()).hello();
        // It is connected, and may call, though nobody has answered.
        let (mut raw, client) = Raw::with(client.on_connect(|peer| peer.send("second", ()).unwrap()));
        let early = client.start("early", (), SOON).unwrap();
        raw.expect(REQUEST, 1, "$hello", Capabilities::ours(&limits).to_list().as_bytes());
        raw.expect(MESSAGE, 0, "second", b"");
        raw.expect(REQUEST, 2, "early", b"");
        assert_eq!((client.capabilities(), client.in_flight()), (Capabilities::default(), 2));
        raw.send(RESPONSE, 1, "", b"version=1\ncancel=1\nmax-payload=10\n");
        raw.send(RESPONSE, 2, "", b"early");
        // Both answers are read in their order.
        assert_eq!(early.wait(), Ok("early".into()));
        assert!(client.capabilities().cancel && !client.capabilities().zip);
        assert_eq!((client.capabilities().max_payload, client.in_flight()), (Some(10), 0));
        // So the peer is told of what is given up, and spared what it does not take.
        client.start("slow", (), SOON).unwrap().cancel();
        raw.expect(REQUEST, 3, "slow", b"");
        raw.expect(MESSAGE, 0, "$cancel", [0, 3]);
        assert!(matches!(client.call("x", noise(11)), Err(Error::Refused(Refusal::TooLarge { .. }))));
        raw.expect_alive();
    });
}

#[test]
fn a_peer_that_does_not_know_hello_is_not_harmed_by_it() {
    bounded(|| {
        let server = listen(echo().hello());
        let mut raw = Raw::connect(&server);
        let hello = raw.read();
        assert_eq!((hello.flag & !3, hello.code.as_str()), (REQUEST, "$hello"));
        raw.send(RESPONSE, hello.seq, "NOT_FOUND", b"zip=1\n");
        raw.expect_alive();
        let peer = &server.peers()[0];
        assert_eq!((peer.capabilities(), peer.in_flight()), (Capabilities::default(), 0));
        // Nor is it one that never answers, and one that says it too.
        let mut silent = Raw::connect(&server);
        assert_eq!(silent.read().code, "$hello");
        silent.expect_alive();
        let client = connect(Client::new().hello(), &server);
        until("all are connected", || server.connections() == 3);
        let theirs = server.peers().pop().unwrap();
        until("both know", || client.capabilities().cancel && theirs.capabilities().cancel);
        until("nothing is open", || client.in_flight() == 0 && theirs.in_flight() == 0);
        assert_eq!(client.call("echo", "alive"), Ok("alive".into()));
    });
}

#[test]
fn handlers_and_hooks_reach_everyone_and_what_is_shared() {
    struct Greeting(&'static str, #[expect(dead_code, reason = "it is seen to be dropped")] Arc<()>);
    bounded(|| {
        let alive = Arc::new(());
        let server = listen(
            echo()
                .state(Greeting("hello", Arc::clone(&alive)))
                .handle("greet all", |context: Context| {
                    let greeting = context.peer().shared::<Greeting>().map_or("", |greeting| greeting.0);
                    assert!(context.peer().shared::<String>().is_none());
                    context.peer().broadcast("note", greeting).map(|took| took.to_string())
                })
                .on_close(|peer, _| drop(peer.broadcast("note", "left"))),
        );
        let (heard, hear) = channel();
        let mut clients: Vec<_> = (0..3)
            .map(|number| {
                let heard = heard.clone();
                let client =
                    Client::new().handle("note", move |text: String| heard.send((number, text)).unwrap());
                let client = connect(client, &server);
                assert_eq!(client.call("echo", "x"), Ok("x".into()));
                client
            })
            .collect();
        let all_hear = |count: usize, text: &str| {
            let mut told: Vec<_> = (0..count).map(|_| hear.recv_timeout(SOON).unwrap()).collect();
            told.sort();
            assert_eq!(told, (0..count).map(|number| (number, text.to_owned())).collect::<Vec<_>>());
        };
        assert_eq!(clients[0].call("greet all", ()), Ok("3".into()));
        all_hear(3, "hello");

        let peers = server.peers();
        let ids = |peers: &[flyrpc_blocking::Peer]| peers.iter().map(|peer| peer.id()).collect::<Vec<_>>();
        assert!(peers.iter().all(|peer| ids(&peer.everyone()) == ids(&peers)));
        // One that has left is not among them any more.
        drop(clients.pop());
        all_hear(2, "left");
        assert_eq!(ids(&peers[2].everyone()), ids(&peers[..2]));
        // A client has no others.
        assert!(clients[0].everyone().is_empty());
        assert_eq!(clients[0].broadcast("note", ()), Ok(0));

        // Connections don't hold their server, nor it itself.
        drop(server);
        assert!(peers[0].everyone().is_empty());
        assert_eq!(peers[0].broadcast("note", ()), Ok(0));
        drop(peers);
        until("all is dropped", || Arc::strong_count(&alive) == 1);
    });
}

#[test]
fn what_ends_when_it_is_dropped_is_not_dropped_unseen() {
    bounded(|| {
        let server = listen(echo());
        // The compiler warns of both, else of the expectation.
        #[expect(unused_must_use, reason = "this is what is tested")]
        {
            flyrpc_blocking::connect(server.address()).unwrap();
        }
        until("it has left", || server.connections() == 0);
        #[expect(unused_must_use, reason = "this is what is tested")]
        {
            echo().start();
        }
    });
}
