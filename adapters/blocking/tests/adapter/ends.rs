//! Connections that end at the worst moment (P1)

use std::io::Read;
use std::sync::mpsc::channel;

use flyrpc_blocking::{Client, CloseReason, Error, Loss, Refusal, Request};

use crate::common::{Gate, REQUEST, RESPONSE, Raw, SOON, bounded, connect, echo, listen, noise, now, packet};

/// How far the peer gets
#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    NothingRead,
    RequestHalfRead,
    RequestsRead,
    ReplyHalfWritten,
}

/// How it ends
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// It says that it will not write any more, and stays
    HalfClose,
    /// It closes; a reset where there is something to read
    Close,
    /// It closes with something to read
    Reset,
}

fn end_at(point: Point, way: Way) {
    const CALLS: usize = 3;
    let payload = noise(1 << 20);
    let (mut raw, client) = Raw::with(Client::new());
    std::thread::scope(|scope| {
        let calls: Vec<_> =
            (0..CALLS).map(|_| scope.spawn(|| client.call_within("x", &payload, 6 * SOON))).collect();
        match point {
            Point::NothingRead => {}
            Point::RequestHalfRead => raw.stream.read_exact(&mut [0; 1000]).unwrap(),
            Point::RequestsRead | Point::ReplyHalfWritten => {
                let seq = (0..CALLS).map(|_| raw.read().seq).min().unwrap();
                if point == Point::ReplyHalfWritten {
                    let reply = packet(RESPONSE, seq, "", b"half of this");
                    raw.write(&reply[..reply.len() / 2]);
                }
                if way == Way::Reset {
                    client.send("unread", ()).unwrap();
                }
            }
        }
        let start = now();
        let kept = match way {
            Way::HalfClose => {
                raw.finish_writing();
                Some(raw)
            }
            Way::Close => {
                drop(raw);
                None
            }
            Way::Reset => {
                raw.reset();
                None
            }
        };
        for call in calls {
            match call.join().unwrap() {
                Err(Error::Lost(CloseReason::PeerClosed | CloseReason::CutShort)) if way != Way::Reset => {}
                Err(Error::Lost(CloseReason::Transport(Loss::Reset))) if way != Way::HalfClose => {}
                // Whose turn to write came after the end.
                Err(Error::Refused(Refusal::Closed)) if (point as u8) < Point::RequestsRead as u8 => {}
                other => panic!("{point:?} {way:?}: {other:?}"),
            }
        }
        assert!(start.elapsed() < SOON);
        assert_eq!(client.call("x", ()), Err(Error::Refused(Refusal::Closed)), "{point:?} {way:?}");
        assert_eq!(client.send("x", ()), Err(Error::Refused(Refusal::Closed)), "{point:?} {way:?}");
        let why = client.closed();
        if way == Way::HalfClose && point == Point::ReplyHalfWritten {
            assert_eq!(why, CloseReason::CutShort);
        } else if way == Way::HalfClose {
            assert_eq!(why, CloseReason::PeerClosed);
        } else if way == Way::Reset {
            assert_eq!(why, CloseReason::Transport(Loss::Reset));
        }
        drop(kept);
    });
}

#[test]
fn p01_every_call_ends_when_the_peer_goes_whenever_that_is() {
    bounded(|| {
        let points =
            [Point::NothingRead, Point::RequestHalfRead, Point::RequestsRead, Point::ReplyHalfWritten];
        for point in points {
            for way in [Way::HalfClose, Way::Close, Way::Reset] {
                end_at(point, way);
            }
        }
    });
}

#[test]
fn p01_calls_that_race_with_the_end_all_end() {
    bounded(|| {
        for _ in 0..30 {
            let server = listen(echo());
            let client = connect(Client::new(), &server);
            client.call("echo", ()).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        loop {
                            match client.call_within("echo", b"x", 6 * SOON) {
                                Ok(answer) => assert_eq!(answer, "x"),
                                Err(Error::Lost(_)) => {}
                                Err(Error::Refused(Refusal::Closed)) => break,
                                other => panic!("{other:?}"),
                            }
                        }
                    });
                }
                drop(server);
            });
        }
    });
}

#[test]
fn a_packet_that_is_cut_short_is_not_handled() {
    bounded(|| {
        let (gone, hear) = channel();
        let server = listen(
            echo().handle("never", || "half a packet").on_close(move |_, why| gone.send(why).unwrap()),
        );
        let whole = packet(REQUEST, 1, "never", b"12345678");
        for len in 1..whole.len() {
            let mut raw = Raw::connect(&server);
            raw.write(&whole[..len]);
            raw.finish_writing();
            raw.expect_end();
            assert_eq!(hear.recv_timeout(SOON), Ok(CloseReason::CutShort), "{len}");
        }
    });
}

#[test]
fn a_peer_that_has_finished_writing_gets_all_its_answers() {
    bounded(|| {
        let (gate, inside) = (Gate::default(), Gate::default());
        let held = gate.clone();
        let entered = inside.clone();
        let server = listen(echo().handle("slow", move |request: &Request| {
            entered.open();
            held.pass();
            request.payload().to_vec()
        }));
        let mut raw = Raw::connect(&server);
        let requests: Vec<_> =
            (1..=3).map(|seq| packet(REQUEST, seq, "slow", noise(usize::from(seq) * 50_000))).collect();
        raw.write(requests.concat());
        raw.finish_writing();
        inside.pass();
        // The server has seen the end before it answers.
        let peer = &server.peers()[0];
        crate::common::until("the end was seen", || peer.state() == flyrpc_blocking::Stage::Draining);
        gate.open();
        let mut answers: Vec<_> = (0..3).map(|_| raw.read()).collect();
        answers.sort_by_key(|answer| answer.seq);
        for (seq, answer) in (1..).zip(answers) {
            assert_eq!((answer.flag & !3, answer.seq), (RESPONSE, seq));
            assert!(answer.payload == noise(usize::from(seq) * 50_000));
        }
        raw.expect_end();
    });
}

#[test]
fn a_reset_while_handlers_run_is_the_peers_doing() {
    bounded(|| {
        let (gone, hear) = channel();
        let (gate, held) = (Gate::default(), Gate::default());
        let (inside, pass) = (held.clone(), gate.clone());
        let server = listen(
            echo()
                .handle("slow", move || {
                    inside.open();
                    pass.pass();
                })
                .on_close(move |_, why| gone.send(why).unwrap()),
        );
        let mut raw = Raw::connect(&server);
        raw.send(REQUEST, 1, "slow", b"");
        held.pass();
        server.peers()[0].send("unread", ()).unwrap();
        raw.reset();
        let why = hear.recv_timeout(SOON);
        gate.open();
        assert_eq!(why, Ok(CloseReason::Transport(Loss::Reset)));
    });
}
