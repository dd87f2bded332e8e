//! Servers: limits, hooks, broadcasts, Unix sockets, addresses

use core::time::Duration;
use std::io::ErrorKind;
use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_driver::{CloseReason, Error, Overload, Stage};

use crate::raw::{MESSAGE, REQUEST, RESPONSE, Raw};
use crate::rig::{End, Gate, Rig, SOON, echo, plain, until};
use crate::wire::{Text, Wire};

pub(crate) async fn p17_connections_beyond_the_limit_are_closed<P: End>(rig: Rig<P>) {
    let server = rig.serve(echo().max_connections(2, Overload::Refuse)).await;
    let first = rig.client(plain(), &server).await;
    let second = rig.client(plain(), &server).await;
    for client in [&first, &second] {
        assert_eq!(client.call("echo", "hi").await, Ok(Bytes::from("hi")));
    }
    for _ in 0..3 {
        let third = match rig.0.connect(plain(), server.address()).await {
            Ok(third) => third,
            // The handshake has failed already.
            Err(_) if rig.wire() == Wire::Connect => continue,
            Err(other) => panic!("{other}"),
        };
        let outcome = third.call("echo", "hi").await;
        assert!(matches!(outcome, Err(Error::Lost(_) | Error::Refused(_))), "{outcome:?}");
        third.closed().await;
        Raw::connect(&rig, &server).expect_gone();
    }
    assert_eq!(server.connections(), 2);
    drop(first);
    until("there is a place again", || server.connections() == 1);
    let third = rig.client(plain(), &server).await;
    assert_eq!(third.call("echo", "hi").await, Ok(Bytes::from("hi")));
    assert_eq!(second.call("echo", "hi").await, Ok(Bytes::from("hi")));
}

pub(crate) async fn p17_connections_beyond_the_limit_wait_where_that_was_chosen<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let setup = echo().max_connections(2, Overload::Wait).on_connect(move |_| {
        let _ = told.send(());
    });
    let server = rig.serve(setup).await;
    let clients = [rig.client(plain(), &server).await, rig.client(plain(), &server).await];
    for _ in 0..2 {
        tells.recv_timeout(SOON).expect("it is taken");
    }
    let (third, address) = (rig.clone(), server.address());
    let call = rig.spawn(async move {
        // It may be there only when it has been taken.
        let third = third.0.connect(plain(), address).await.expect("a client");
        third.call("echo", "patience").await
    });
    for client in &clients {
        assert_eq!(client.call("echo", "hi").await, Ok(Bytes::from("hi")));
    }
    assert_eq!((server.connections(), tells.try_recv().is_err()), (2, true));
    drop(clients);
    assert_eq!(call.await, Ok(Bytes::from("patience")));
}

/// The hooks: told of each connection once, with the reason of its end; what they send goes first
pub(crate) async fn p11_hooks_are_told_of_each_connection_once<P: End>(rig: Rig<P>) {
    let (came, comes) = channel();
    let (went, goes) = channel();
    let setup = echo()
        .on_connect(move |peer: &P| {
            let _ = came.send((peer.id(), peer.stage(), peer.info().remote.clone()));
            assert_eq!(peer.try_send("welcome", "first"), Ok(()));
        })
        .on_close(move |peer: &P, why| {
            let _ = went.send((peer.id(), peer.stage(), why));
            panic!("a panic of a hook ends nothing else");
        });
    let server = rig.serve(setup).await;
    for _ in 0..3 {
        let mut raw = Raw::connect(&rig, &server);
        raw.send(REQUEST, 1, "echo", b"hi");
        raw.expect(MESSAGE, 0, "welcome", b"first");
        raw.expect(RESPONSE, 1, "", b"hi");
        let (id, stage, remote) = comes.recv_timeout(SOON).expect("told");
        assert_eq!(stage, Stage::Open);
        assert_eq!(remote, raw.stream.local_addr().expect("an address").to_string());
        assert_eq!(server.peer(id).map(|peer| peer.id()), Some(id));
        raw.finish_writing();
        raw.expect_end();
        assert_eq!(goes.recv_timeout(SOON), Ok((id, Stage::Closed, CloseReason::PeerClosed)));
        until("it has left the list", || server.peer(id).is_none());
    }
    let client = rig.client(plain(), &server).await;
    let (id, ..) = comes.recv_timeout(SOON).expect("told");
    server.peer(id).expect("it is there").close();
    assert_eq!(goes.recv_timeout(SOON), Ok((id, Stage::Closed, CloseReason::Local)));
    client.closed().await;
    drop(server);
    assert!(comes.recv().is_err() && goes.recv().is_err(), "nothing more is told");
}

pub(crate) async fn p10_broadcasts_reach_all_or_those_that_are_named<P: End>(rig: Rig<P>) {
    let wire = rig.wire();
    let server = rig
        .serve(plain().handle("who am I", move |context: flyrpc_driver::Context<P>| {
            wire.wrap(context.connection().0.to_string())
        }))
        .await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let (told, tells) = channel();
        let setup = plain().handle("news", move |Text(text): Text| {
            let _ = told.send(text);
        });
        let client = rig.client(setup, &server).await;
        let id = client.call("who am I", "").await.expect("its number");
        let id: u64 = String::from_utf8_lossy(&id).parse().expect("a number");
        clients.push((client, flyrpc_driver::ConnectionId(id), tells));
    }
    let mut ids: Vec<_> = server.peers().iter().map(|peer| peer.id()).collect();
    assert!(ids.is_sorted(), "in the order they came");
    ids.sort_unstable();
    assert_eq!(ids, clients.iter().map(|(_, id, _)| *id).collect::<Vec<_>>());
    for i in 0..20 {
        assert_eq!(server.broadcast("news", Bytes::from(format!("all {i}"))), 5);
        let named = [clients[i % 5].1, clients[(i + 2) % 5].1, flyrpc_driver::ConnectionId(u64::MAX)];
        assert_eq!(server.broadcast_to(&named, "news", Bytes::from(format!("some {i}"))), 2);
    }
    for (c, (.., tells)) in clients.iter().enumerate() {
        for i in 0..20 {
            assert_eq!(tells.recv_timeout(SOON), Ok(format!("all {i}")));
            if i % 5 == c || (i + 2) % 5 == c {
                assert_eq!(tells.recv_timeout(SOON), Ok(format!("some {i}")));
            }
        }
    }
    let gone = clients.remove(0);
    drop(gone);
    until("one has left", || server.connections() == 4);
    assert_eq!(server.broadcast("news", Bytes::new()), 4);
}

/// Shutting down waits for the answers that are owed, takes no new connection, and is over by its deadline
pub(crate) async fn p15_a_server_that_shuts_down_answers_what_it_has_taken<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let (began, begins) = channel();
    let (inner, wire) = (gate.clone(), rig.wire());
    let setup = plain().handle("gated", move || {
        let (gate, began) = (inner.clone(), began.clone());
        async move {
            let _ = began.send(());
            gate.pass().await;
            wire.wrap("done")
        }
    });
    let (server, client) = rig.pair(setup, plain()).await;
    let address = server.address();
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let peer = client.peer.clone();
            rig.spawn(async move { peer.call("gated", "").await })
        })
        .collect();
    for _ in 0..3 {
        begins.recv_timeout(SOON).expect("a handler runs");
    }
    let theirs = rig.other_end(&server).await;
    let shutdown = rig.spawn(server.shutdown(SOON));
    until("it drains", || theirs.stage() != Stage::Open);
    gate.open();
    for call in calls {
        assert_eq!(call.await, Ok(Bytes::from("done")));
    }
    shutdown.await;
    assert_eq!(client.closed().await, CloseReason::PeerClosed);
    until("nobody listens", || !wire.is_listening(&address));
}

/// A path is as good as a port: the file is there while the server is, and a dead server's is replaced
pub(crate) async fn p11_unix_sockets_work_like_tcp<P: End>(rig: Rig<P>) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = format!("{}-{:?}.sock", std::process::id(), std::thread::current().id());
    let path = folder.join(name.replace(['(', ')'], "-"));
    let address = format!("unix:{}", path.display());
    // What a dead server has left.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    assert_eq!(
        rig.0.connect(plain(), address.clone()).await.err().map(|e| e.kind()),
        Some(ErrorKind::ConnectionRefused)
    );
    let setup = echo().handle("remote", |context: flyrpc_driver::Context<P>| context.remote().to_owned());
    let server = rig.0.listen(setup, address.clone()).await.expect("a server");
    assert_eq!(server.address(), address);
    let client = rig.0.connect(plain(), address.clone()).await.expect("a client");
    let payload = Bytes::from(crate::rig::noise(rig.many(1 << 20, 5_000)));
    assert_eq!(client.call("echo", payload.clone()).await, Ok(payload));
    assert_eq!(client.call("remote", "").await, Ok(Bytes::from("unix")));
    // A living server's path is not taken away.
    let second = rig.0.listen(plain(), address.clone()).await.err().map(|error| error.kind());
    assert_eq!(second, Some(ErrorKind::AddrInUse));
    assert_eq!(client.call("echo", "hi").await, Ok(Bytes::from("hi")));
    server.shutdown(SOON).await;
    assert_eq!(client.closed().await, CloseReason::PeerClosed);
    until("the file is gone", || !path.exists());
}

/// What is no address is said so; a server that is not there refuses, and a port in use is in use
pub(crate) async fn p11_addresses_say_what_is_wrong_with_them<P: End>(rig: Rig<P>) {
    for bad in ["", "nowhere", "http://a:1", "unix:", "a:b:c", "127.0.0.1:port"] {
        let error = rig.0.connect(plain(), bad.to_owned()).await.err().expect("an error");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}: {error}");
        let error = rig.0.listen(plain(), bad.to_owned()).await.err().expect("an error");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}: {error}");
    }
    let server = rig.serve(plain()).await;
    let again = rig.0.listen(plain(), server.address()).await.err().map(|error| error.kind());
    assert_eq!(again, Some(ErrorKind::AddrInUse));
    for address in [server.address(), format!("tcp://{}", server.address())] {
        let client = rig.0.connect(plain(), address).await.expect("a client");
        assert_eq!(client.ping(4, SOON).await.map(|pong| pong.len), Ok(4));
    }
    let address = server.address();
    server.shutdown(Duration::ZERO).await;
    until("nobody listens", || std::net::TcpStream::connect(&address).is_err());
    let refused = rig.0.connect(plain(), address).await.err().map(|error| error.kind());
    if !rig.is_bytewise() {
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
    }
}

on_all_stacks! {
    both_ways:
    p10_broadcasts_reach_all_or_those_that_are_named
    p15_a_server_that_shuts_down_answers_what_it_has_taken
    p17_connections_beyond_the_limit_wait_where_that_was_chosen;
    raw:
    p11_hooks_are_told_of_each_connection_once
    p17_connections_beyond_the_limit_are_closed;
    fly:
    p11_addresses_say_what_is_wrong_with_them
    p11_unix_sockets_work_like_tcp;
}
