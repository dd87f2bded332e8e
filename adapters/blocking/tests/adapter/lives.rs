//! Connections that come and go

use std::sync::mpsc::channel;

use flyrpc_blocking::{Bytes, Client, CloseReason, Error, Overload, Refusal, Stage};

use crate::common::{RESPONSE, Raw, SOON, bounded, connect, echo, listen, until};

#[test]
fn dropping_a_client_closes_its_connection() {
    bounded(|| {
        let (gone, hear) = channel();
        let server = listen(echo().on_close(move |_, why| gone.send(why).unwrap()));
        let client = connect(Client::new(), &server);
        let peer = client.peer();
        assert_eq!(client.call("echo", ()), Ok(Bytes::new()));
        drop(client);
        assert_eq!(hear.recv_timeout(SOON), Ok(CloseReason::PeerClosed));
        assert_eq!((peer.closed(), peer.state()), (CloseReason::Local, Stage::Closed));
        assert_eq!(peer.call("echo", ()), Err(Error::Refused(Refusal::Closed)));
        assert!(server.peers().is_empty());
    });
}

#[test]
fn dropping_a_clone_of_a_peer_closes_nothing() {
    bounded(|| {
        let server = listen(echo());
        let client = connect(Client::new(), &server);
        drop(client.peer());
        assert_eq!(client.call("echo", b"x"), Ok("x".into()));
        drop(server.peers());
        assert_eq!(client.call("echo", b"x"), Ok("x".into()));
    });
}

#[test]
fn dropping_a_server_closes_its_connections_and_stops_listening() {
    bounded(|| {
        let server = listen(echo());
        let address = server.address();
        let clients: Vec<_> = (0..5).map(|_| connect(Client::new(), &server)).collect();
        for client in &clients {
            client.call("echo", ()).unwrap();
        }
        drop(server);
        for client in &clients {
            assert_eq!(client.closed(), CloseReason::PeerClosed);
        }
        assert!(Client::new().connect(address).is_err());
    });
}

#[test]
fn hooks_are_told_of_each_connection_once_and_why_it_ended() {
    bounded(|| {
        let (events, hear) = channel();
        let (came, went) = (events.clone(), events.clone());
        let server = listen(
            echo()
                .on_connect(move |peer| {
                    peer.send("welcome", ()).unwrap();
                    came.send(("server", None)).unwrap();
                })
                .on_close(move |_, why| went.send(("server", Some(why))).unwrap()),
        );
        let (came, went, welcome) = (events.clone(), events.clone(), events);
        let client = Client::new()
            .handle("welcome", move || welcome.send(("welcome", None)).unwrap())
            .on_connect(move |_| came.send(("client", None)).unwrap())
            .on_close(move |_, why| went.send(("client", Some(why))).unwrap());
        let client = connect(client, &server);
        let mut begun: Vec<_> = (0..3).map(|_| hear.recv_timeout(SOON).unwrap()).collect();
        begun.sort_by_key(|event| event.0);
        assert_eq!(begun, [("client", None), ("server", None), ("welcome", None)]);

        client.close();
        client.close();
        drop(client);
        let mut ended: Vec<_> = (0..2).map(|_| hear.recv_timeout(SOON).unwrap()).collect();
        ended.sort_by_key(|event| event.0);
        let (local, peer) = (Some(CloseReason::Local), Some(CloseReason::PeerClosed));
        assert_eq!(ended, [("client", local), ("server", peer)]);

        // All senders of events go with the last thread of either end; nothing came after.
        drop(server);
        assert!(hear.recv_timeout(SOON).is_err_and(|error| error.to_string().contains("closed")));
    });
}

#[test]
fn a_hook_that_panics_ends_neither_server_nor_connection() {
    bounded(|| {
        let fail = || std::panic::resume_unwind(Box::new("in a hook"));
        let server = listen(echo().on_connect(move |_| fail()).on_close(move |_, _| fail()));
        for _ in 0..3 {
            let client = connect(Client::new(), &server);
            assert_eq!(client.call("echo", b"alive"), Ok("alive".into()));
        }
        until("all have left", || server.peers().is_empty());
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_as_they_come() {
    bounded(|| {
        let server = listen(echo().max_connections(2, Overload::Refuse));
        let first = connect(Client::new(), &server);
        let second = connect(Client::new(), &server);
        for client in [&first, &second] {
            assert_eq!(client.call("echo", b"x"), Ok("x".into()));
        }
        let third = connect(Client::new(), &server);
        assert_eq!(third.closed(), CloseReason::PeerClosed);
        assert_eq!(first.call("echo", b"x"), Ok("x".into()));
        // A place that is free again is taken again.
        drop(first);
        until("the first has left", || server.peers().len() == 1);
        let fourth = connect(Client::new(), &server);
        assert_eq!(fourth.call("echo", b"x"), Ok("x".into()));
    });
}

#[test]
fn closing_ends_the_calls_in_flight() {
    bounded(|| {
        let (mut raw, client) = Raw::with(Client::new());
        let calls: Vec<_> = (0..10).map(|_| client.start("x", (), SOON).unwrap()).collect();
        let seq = raw.read().seq;
        client.close();
        for call in calls {
            assert_eq!(call.wait(), Err(Error::Lost(CloseReason::Local)));
        }
        let _ = std::io::Write::write(&mut raw.stream, &crate::common::packet(RESPONSE, seq, "", b"late"));
        assert_eq!(client.call("x", ()), Err(Error::Refused(Refusal::Closed)));
        assert_eq!(client.send("x", ()), Err(Error::Refused(Refusal::Closed)));
        assert_eq!(client.ping(0, SOON), Err(Error::Refused(Refusal::Closed)));
        assert_eq!(client.drain(SOON), CloseReason::Local);
    });
}
