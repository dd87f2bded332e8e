//! Nothing is left when all is over: no thread, no socket
//!
//! A program of its own with one test, since it counts what the process has.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;

use flyrpc_blocking::{Bytes, Client, Connected, Context, Limits, Overload, Server, ServerHandle};

const SOON: Duration = Duration::from_secs(10);

/// Our threads and sockets
fn alive() -> (Vec<String>, usize) {
    // Either may go while it is looked at.
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok().filter(|name| name.starts_with("flyrpc"))
    });
    let sockets = std::fs::read_dir("/proc/self/fd").unwrap().filter(|fd| {
        let target = fd.as_ref().ok().and_then(|fd| std::fs::read_link(fd.path()).ok());
        target.is_some_and(|target| target.to_string_lossy().starts_with("socket:"))
    });
    (threads.collect(), sockets.count())
}

fn assert_nothing_left(after: &str) {
    for _ in 0..SOON.as_millis() / 2 {
        if alive() == (vec![], 0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("after {after} there are left: {:?}", alive());
}

fn start() -> (ServerHandle, Vec<Connected>) {
    let echo = |payload: Bytes| payload;
    let server = Server::new()
        .limits(Limits::new().call_timeout(SOON))
        .handle("echo", echo)
        .handle("for ever", |context: Context| async move {
            core::future::pending::<()>().await;
            drop(context);
        })
        .handle("call me", |context: Context| context.peer().call("echo", "x"));
    let server = server.listen("127.0.0.1:0").unwrap();
    let connect = || Client::new().handle("echo", echo).connect(server.address()).unwrap();
    let clients: Vec<_> = (0..10).map(|_| connect()).collect();
    for client in &clients {
        assert_eq!(client.call("echo", b"x"), Ok("x".into()));
        assert_eq!(client.call("call me", b"x"), Ok("x".into()));
        client.send("echo", b"x").unwrap();
        client.ping(100, SOON).unwrap();
        client.ping(1, SOON).unwrap();
    }
    assert_eq!(server.peers().len(), 10);
    assert!(alive().0.len() > 20);
    (server, clients)
}

#[test]
fn no_thread_and_no_socket_is_left() {
    let (server, clients) = start();
    drop(clients);
    drop(server);
    assert_nothing_left("dropping clients, then server");

    let (server, clients) = start();
    let waiting = clients[0].start("for ever", (), SOON).unwrap();
    drop(server);
    assert!(waiting.wait().is_err());
    drop(clients);
    assert_nothing_left("dropping server, then clients");

    let (server, clients) = start();
    server.shutdown(SOON);
    drop(clients);
    assert_nothing_left("shutting down");

    let (server, clients) = start();
    for client in &clients {
        client.drain(SOON);
    }
    drop((server, clients));
    assert_nothing_left("draining clients");

    // Dropped while another thread may be writing.
    let (server, clients) = start();
    for round in 0..1500 {
        let client = Client::new().connect(server.address()).unwrap();
        if round % 2 == 0 {
            client.call("echo", b"x").unwrap();
        } else {
            drop(client.start("echo", b"x", SOON).unwrap());
        }
    }
    drop((server, clients));
    assert_nothing_left("1,500 short connections");

    // Peers that end in the middle of a packet, break the protocol, or never read what they asked for.
    let (server, clients) = start();
    let mut raws: Vec<_> = (0..6).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    for (raw, bytes) in raws.iter_mut().zip([&[0x40][..], &[0x40; 2000], &[0x43, 0, 1, 0, 0xff]]) {
        raw.write_all(bytes).unwrap();
    }
    let last = raws.last().unwrap().local_addr().unwrap().to_string();
    let (peers, deaf) = loop {
        let peers = server.peers();
        if let Some(deaf) = peers.iter().find(|peer| peer.remote() == last).cloned() {
            break (peers, deaf);
        }
    };
    let timed_out = deaf.call_within("x", vec![0; 32 << 20], Duration::from_millis(50));
    assert!(timed_out.is_err());
    let pending = deaf.start("x", (), SOON).unwrap();
    drop(server);
    assert!(pending.wait().is_err());
    drop((raws, clients, peers, deaf));
    assert_nothing_left("peers that misbehave");

    // Handshakes that are never finished, and programs that are stopped, or end by themselves.
    let server = Server::new().listen("jsonrpc+connect://127.0.0.1:0").unwrap();
    let address = server.local_address().unwrap().to_string();
    let mut guest = TcpStream::connect(&address).unwrap();
    guest.write_all(b"CONN").unwrap();
    let client = Client::new().connect(server.address()).unwrap();
    client.ping(0, SOON).unwrap();
    drop(server);
    assert_eq!(guest.read(&mut [0]).unwrap(), 0, "it is closed at once");
    drop((guest, client));
    assert_nothing_left("handshakes");
    // What we say comes back, and is answered.
    let cat = || Client::new().connect("jsonrpc+stdio:cat").unwrap();
    let client = cat();
    client.ping(0, SOON).unwrap();
    client.drain(SOON);
    drop(client);
    drop(cat());
    drop(cat().peer().start("x", (), SOON).unwrap());
    assert_nothing_left("programs");

    // Connections that nobody accepted, or had no room.
    let server = Server::new().max_connections(1, Overload::Refuse).listen("127.0.0.1:0").unwrap();
    let clients: Vec<_> = (0..5).map(|_| Client::new().connect(server.address()).unwrap()).collect();
    drop(clients);
    drop(server);
    assert_nothing_left("connections beyond the limit");
}
