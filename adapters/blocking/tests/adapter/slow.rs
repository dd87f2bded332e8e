//! Peers that read slowly, or not at all (P16)

use core::time::Duration;
use std::sync::mpsc::channel;

use flyrpc_blocking::{
    Client, CloseReason, Error, Limits, Loss, Overload, Peer, Refusal, Server, ServerHandle,
};

use crate::common::{MESSAGE, REQUEST, Raw, SOON, bounded, connect, echo, listen, noise, now, packet, until};

/// More than the sockets of a connection ever hold
const LOTS: usize = 64 << 20;

/// A server with a raw peer that says nothing
fn with_deaf_peer(server: Server) -> (ServerHandle, Raw, Peer) {
    let server = listen(server);
    let raw = Raw::connect(&server);
    until("it is connected", || !server.peers().is_empty());
    let peer = server.peers()[0].clone();
    (server, raw, peer)
}

/// Sends until it is refused; tells how many bytes were taken
fn fill(peer: &Peer) -> (usize, Error) {
    let piece = noise(64 << 10);
    for pieces in 0..LOTS / piece.len() {
        if let Err(error) = peer.send("x", &piece) {
            return (pieces * piece.len(), error);
        }
    }
    panic!("{LOTS} bytes were taken by a peer that reads nothing");
}

#[test]
fn p16_sending_to_a_deaf_peer_is_refused_where_that_was_asked_for() {
    bounded(|| {
        let (server, mut raw, deaf) = with_deaf_peer(echo().send_buffer(256 << 10, Overload::Refuse));
        let (taken, error) = fill(&deaf);
        assert!(matches!(error, Error::Refused(Refusal::NoRoom { .. })), "{error:?} after {taken} bytes");
        // Nobody else notices.
        let other = connect(Client::new(), &server);
        assert_eq!(other.call("echo", b"alive"), Ok("alive".into()));
        let told = server.broadcast("to all", b"").unwrap();
        assert!((1..=2).contains(&told), "at least the other");
        // What was taken arrives when the peer wakes up, whole and in order, and then there is room again.
        for _ in 0..taken >> 16 {
            raw.expect(MESSAGE, 0, "x", noise(64 << 10));
        }
        if told == 2 {
            raw.expect(MESSAGE, 0, "to all", b"");
        }
        until("there is room", || deaf.send("y", ()).is_ok());
        raw.expect(MESSAGE, 0, "y", b"");
    });
}

#[test]
fn p16_sending_to_a_deaf_peer_waits_within_its_deadline() {
    bounded(|| {
        let limits = Limits::new().call_timeout(Duration::from_millis(100));
        let (_server, mut raw, deaf) =
            with_deaf_peer(echo().limits(limits).send_buffer(256 << 10, Overload::Wait));
        let (taken, error) = fill(&deaf);
        assert_eq!(error, Error::TimedOut, "after {taken} bytes");
        // Who waits goes on as soon as there is room.
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| until("there is room", || deaf.send("y", ()).is_ok()));
            for _ in 0..taken >> 16 {
                raw.expect(MESSAGE, 0, "x", noise(64 << 10));
            }
            raw.expect(MESSAGE, 0, "y", b"");
            sent.join().unwrap();
        });
    });
}

#[test]
fn p01_calls_to_a_deaf_peer_end_at_their_deadline() {
    bounded(|| {
        let (_server, _raw, deaf) = with_deaf_peer(echo());
        let (start, deadline) = (now(), Duration::from_millis(200));
        // The socket can't take it all, though there is room for it in the buffer.
        assert_eq!(deaf.call_within("x", noise(32 << 20), deadline), Err(Error::TimedOut));
        assert_eq!(deaf.call_within("x", (), deadline), Err(Error::TimedOut));
        assert_eq!(deaf.ping(100, deadline), Err(Error::TimedOut));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    });
}

#[test]
fn p16_a_peer_that_takes_nothing_for_the_write_timeout_is_lost() {
    bounded(|| {
        let (gone, hear) = channel();
        let server = echo()
            .write_timeout(Duration::from_millis(300))
            .on_close(move |peer, why| gone.send((peer.remote().to_owned(), why)).unwrap());
        let (server, raw, deaf) = with_deaf_peer(server);
        let other = connect(Client::new(), &server);
        std::thread::scope(|scope| {
            let call = scope.spawn(|| deaf.call_within("x", noise(32 << 20), 6 * SOON));
            let (remote, why) = hear.recv_timeout(SOON).unwrap();
            let lost = CloseReason::Transport(Loss::WriteTimeout);
            assert_eq!(why, lost);
            assert_eq!(remote, raw.stream.local_addr().unwrap().to_string());
            assert_eq!(call.join().unwrap(), Err(Error::Lost(lost)));
        });
        assert_eq!(deaf.call("x", ()), Err(Error::Refused(Refusal::Closed)));
        assert_eq!(other.call("echo", b"alive"), Ok("alive".into()));
    });
}

#[test]
fn p16_a_peer_that_reads_slowly_is_not_lost() {
    bounded(|| {
        let timeout = Duration::from_secs(2);
        let (_server, mut raw, slow) = with_deaf_peer(echo().write_timeout(timeout));
        let payload = noise(24 << 20);
        let mut left = packet(MESSAGE, 0, "x", &payload).len();
        std::thread::scope(|scope| {
            scope.spawn(|| slow.send("x", &payload).unwrap());
            // Longer than the write timeout in all; never as long without reading.
            let start = now();
            let mut some = vec![0; 64 << 10];
            while left > 0 {
                let len = std::io::Read::read(&mut raw.stream, &mut some).unwrap();
                assert!(len > 0, "the connection was ended");
                left -= len;
                if start.elapsed() < timeout * 3 / 2 {
                    std::thread::sleep(timeout / 40);
                }
            }
        });
        raw.expect_alive();
    });
}

#[test]
fn p16_a_peer_that_asks_and_never_reads_costs_nobody_else() {
    bounded(|| {
        let (server, raw, deaf) = with_deaf_peer(
            echo()
                .write_timeout(Duration::from_secs(1))
                .send_buffer(256 << 10, Overload::Refuse)
                .limits(Limits::new().max_unanswered(8)),
        );
        let requests = packet(REQUEST, 1, "echo", noise(64 << 10)).repeat(16);
        let mut stream = raw.stream.try_clone().unwrap();
        let flood = std::thread::spawn(move || {
            let mut sent = 0;
            while std::io::Write::write_all(&mut stream, &requests).is_ok() {
                sent += requests.len();
            }
            sent
        });
        let other = connect(Client::new(), &server);
        for _ in 0..100 {
            assert_eq!(other.call("echo", b"alive"), Ok("alive".into()));
        }
        let _ = deaf.closed();
        let _ = flood.join().unwrap();
        assert_eq!(other.call("echo", b"alive"), Ok("alive".into()));
    });
}

#[test]
fn p16_pings_without_end_from_a_peer_that_never_reads_are_held_back() {
    bounded(|| {
        let (gone, hear) = channel();
        let server =
            echo().write_timeout(Duration::from_millis(500)).on_close(move |_, why| gone.send(why).unwrap());
        let (_server, raw, deaf) = with_deaf_peer(server);
        let pings = packet(REQUEST, 1, "$ping", noise(8)).repeat(4096);
        let mut stream = raw.stream.try_clone().unwrap();
        let mut sent = 0;
        while std::io::Write::write_all(&mut stream, &pings).is_ok() {
            sent += pings.len();
            assert!(sent < 4 * LOTS, "{sent} bytes of pings were taken");
        }
        assert!(hear.recv_timeout(SOON).is_ok());
        assert!(deaf.stats().own > 0);
    });
}
