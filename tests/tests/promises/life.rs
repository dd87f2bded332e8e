//! P1 to P3: how a call begins and how it ends

use flyrpc_core::fly::Fly;
use flyrpc_core::{Call, CloseReason, Connection, Event, Instant, Limits, Refusal, Reply, SliceSink, State};
use flyrpc_tests::vectors::packet;
use flyrpc_tests::{Pair, Peer, Side};

use crate::{Growable, Heapless, REQUEST, RESPONSE, at, growable, ms};

const NOW: Instant = at(1);

/// Two calls in flight, tagged 1 and 2, and a request of the other side's that waits for its answer
fn busy() -> Growable {
    let mut peer = growable();
    assert!(peer.call(NOW, "one", b"", 1).is_ok() && peer.call(NOW, "two", b"", 2).is_ok());
    assert_eq!(peer.feed(NOW, &packet(REQUEST, 9, "theirs", "")), ["request theirs \"\""]);
    peer
}

#[test]
fn p01_a_reply_gives_the_tag_back() {
    let mut peer = busy();
    assert_eq!(peer.feed(NOW, &packet(RESPONSE, 2, "", "yes")), ["#2 ok \"yes\""]);
    assert_eq!(peer.conn.in_flight(), 1);
}

#[test]
fn p01_a_remote_error_gives_the_tag_back() {
    let mut peer = busy();
    let lines = peer.feed(NOW, &packet(RESPONSE, 1, "NO_LAMP", "lamp 7"));
    assert_eq!(lines, ["#1 error NO_LAMP \"lamp 7\""]);
    assert_eq!(peer.conn.in_flight(), 1);
}

#[test]
fn p01_an_answer_that_is_too_long_gives_the_tag_back() {
    let mut peer: Growable = Peer::new(Limits::new().max_payload(4));
    peer.call(NOW, "one", b"", 1).unwrap();
    let lines = peer.feed(NOW, &packet(RESPONSE, 1, "", "12345"));
    assert_eq!(lines, ["#1 bad reply: the answer of 5 bytes is longer than the limit of 4 bytes"]);
    assert_eq!(peer.conn.in_flight(), 0);
}

#[test]
fn p01_a_deadline_gives_the_tag_back() {
    let mut peer = growable();
    peer.call_with(NOW, Call::new("a", "").deadline(at(30)), 1).unwrap();
    peer.call_with(NOW, Call::new("b", "").deadline(at(20)), 2).unwrap();
    peer.call(NOW, "c", b"", 3).unwrap();
    assert!(peer.poll(at(19)).is_empty());
    assert_eq!(peer.poll(at(20)), ["#2 timed out"]);
    assert_eq!(peer.poll(at(30)), ["#1 timed out"]);
    assert!(peer.poll(at(10_000)).is_empty());
    assert_eq!(peer.poll(at(10_001)), ["#3 timed out"], "the default is ten seconds from the call on");
    assert_eq!(peer.conn.poll_timeout(), None);
}

#[test]
fn p01_a_deadline_that_has_passed_already_gives_the_tag_back() {
    let mut peer = growable();
    peer.call_with(at(50), Call::new("a", "").deadline(at(20)), 1).unwrap();
    assert_eq!(peer.conn.poll_timeout(), Some(at(50)));
    assert_eq!(peer.poll(at(50)), ["#1 timed out"]);
}

#[test]
fn p01_a_cancel_gives_the_tag_back_once() {
    let mut peer = growable();
    let call = peer.call(NOW, "one", b"", 1).unwrap();
    assert_eq!(peer.conn.cancel(call), Some(1));
    assert_eq!(peer.conn.cancel(call), None);
    assert_eq!(peer.conn.in_flight(), 0);
    assert!(peer.poll(at(60_000)).is_empty());
}

#[test]
fn p01_a_ping_gives_the_tag_back_by_pong_error_and_deadline() {
    let mut peer = growable();
    for tag in 1..=3 {
        peer.conn.ping(NOW, 4, at(100), tag, &mut peer.outbox).unwrap();
    }
    assert_eq!(peer.feed(NOW, &packet(RESPONSE, 1, "", "abcd")), ["#1 pong of 4 bytes"]);
    assert_eq!(peer.feed(NOW, &packet(RESPONSE, 2, "NOT_FOUND", "")), ["#2 pong of 0 bytes"]);
    assert_eq!(peer.poll(at(100)), ["#3 timed out"]);
}

/// Every way in which a connection can end, with what its calls are told
type Ending = (&'static str, fn(&mut Growable), fn(CloseReason) -> bool);

const ENDINGS: [Ending; 7] = [
    ("end of stream", |peer| peer.conn.handle_eof(NOW), |why| why == CloseReason::PeerClosed),
    (
        "cut inside a head",
        |peer| {
            peer.feed(NOW, b"\x80\x00");
            peer.conn.handle_eof(NOW);
        },
        |why| why == CloseReason::CutShort,
    ),
    (
        "cut inside a payload",
        |peer| {
            peer.feed(NOW, b"\x80\x00\x01\x00\x05he");
            peer.conn.handle_eof(NOW);
        },
        |why| why == CloseReason::CutShort,
    ),
    (
        "protocol error",
        |peer| {
            peer.feed(NOW, &[0x41; 2048]);
        },
        |why| matches!(why, CloseReason::Protocol(_)),
    ),
    ("close", |peer| peer.conn.close(), |why| why == CloseReason::Local),
    (
        "deadline of drain",
        |peer| {
            peer.conn.drain(NOW, at(5));
            peer.conn.handle_timeout(at(5));
        },
        |why| why == CloseReason::DrainDeadline,
    ),
    (
        "close after the end of stream",
        |peer| {
            peer.conn.handle_eof(NOW);
            peer.conn.close();
        },
        |why| why == CloseReason::PeerClosed,
    ),
];

/// Ends a busy connection and checks that both calls are lost, for the right reason, and then the end is told, once
fn end(name: &str, peer: &mut Growable, how: fn(&mut Growable), why_fits: fn(CloseReason) -> bool) {
    how(peer);
    let mut told = Vec::new();
    while let Some(event) = peer.conn.poll_event() {
        let (tag, why) = match event {
            Event::Lost { tag, why, .. } => (tag, why),
            Event::Closed { why } => (0, why),
            Event::TimedOut { .. } | _ => panic!("{name}: {event:?}"),
        };
        assert!(why_fits(why), "{name}: {why:?}");
        told.push(tag);
    }
    // The answer still owed keeps a half-closed connection from being over; its calls are lost all the same.
    if told == [1, 2] && peer.conn.state() == State::Draining {
        assert_eq!(peer.reply(0, Reply::ack()), Ok(()));
        told.extend(peer.poll(NOW).iter().map(|line| {
            assert!(line.starts_with("closed:"), "{name}: {line}");
            0
        }));
    }
    assert_eq!(told, [1, 2, 0], "{name}");
    assert_eq!(peer.conn.in_flight(), 0, "{name}");
    assert_eq!(peer.conn.poll_timeout(), None, "{name}: nothing is left to do");
}

#[test]
fn p01_every_end_of_the_connection_gives_all_tags_back() {
    for (name, how, why_fits) in ENDINGS {
        end(name, &mut busy(), how, why_fits);
    }
}

#[test]
fn p01_nothing_is_accepted_after_any_end() {
    for (name, how, _) in ENDINGS {
        let mut peer = busy();
        peer.feed(NOW, &packet(REQUEST, 10, "theirs", ""));
        peer.sent();
        how(&mut peer);
        let mut lines = peer.poll(NOW);
        let half_open = peer.conn.state() == State::Draining && peer.conn.close_reason().is_none();
        assert_eq!(peer.call(NOW, "late", b"", 7).unwrap_err(), Refusal::Closed, "{name}");
        let ping = peer.conn.ping(NOW, 0, at(9), 8, &mut peer.outbox).unwrap_err();
        assert_eq!((ping.why, ping.back), (Refusal::Closed, 8), "{name}");
        let notify = peer.conn.notify(NOW, Call::new("late", ""), &mut peer.outbox).unwrap_err();
        assert_eq!(notify.why, Refusal::Closed, "{name}");
        if half_open {
            peer.conn.close();
        }
        assert_eq!(peer.reply(0, Reply::ack()).unwrap_err(), Refusal::Closed, "{name}");
        assert_eq!(peer.conn.send_body(b"", &mut peer.outbox).unwrap_err(), Refusal::Closed, "{name}");
        assert!(peer.sent().is_empty(), "{name}: nothing is written after the end");
        lines.extend(peer.poll(at(60_000)));
        assert_eq!(lines.iter().filter(|line| line.starts_with("closed")).count(), 1, "{name}: {lines:?}");
        assert_eq!(lines.len(), 3, "{name}: both calls and the end");
        assert_eq!((peer.conn.in_flight(), peer.conn.stats().calls), (0, 2), "{name}");
    }
}

#[test]
fn p01_a_call_made_while_the_peer_has_half_closed_is_refused() {
    let mut peer = busy();
    peer.conn.handle_eof(NOW);
    assert_eq!(peer.conn.state(), State::Draining, "an answer is owed");
    assert_eq!(peer.call(NOW, "late", b"", 3).unwrap_err(), Refusal::Closed);
    assert_eq!(peer.poll(NOW).len(), 2, "both calls are lost now, not when the last answer has gone");
    assert_eq!(peer.reply(0, Reply::ack()), Ok(()));
    assert_eq!(peer.poll(NOW), ["closed: the peer closed the connection"]);
}

#[test]
fn p01_a_peer_that_vanishes_with_an_answer_owed_ends_by_the_call_timeout() {
    let mut peer = busy();
    peer.conn.handle_eof(NOW);
    peer.poll(NOW);
    assert_eq!(peer.conn.poll_timeout(), Some(NOW + ms(10_000)));
    assert_eq!(peer.poll(NOW + ms(10_000)), ["closed: the peer closed the connection"]);
}

#[test]
fn p01_a_cut_loses_the_calls_of_both_sides() {
    let mut pair: Pair = Pair::default();
    pair.call(Side::A, "x", b"", 1).unwrap();
    pair.call(Side::B, "y", b"", 2).unwrap();
    pair.link.cut();
    pair.advance(ms(20_000));
    assert_eq!(pair.a.outcome(1), "lost: the peer closed the connection", "{}", pair.transcript());
    assert_eq!(pair.b.outcome(2), "lost: the peer closed the connection", "{}", pair.transcript());
    assert_eq!(pair.call(Side::A, "x", b"", 3), Err(Refusal::Closed));
}

#[test]
fn p01_the_loss_of_sixty_thousand_calls_is_told_for_each_once() {
    let mut peer = growable();
    for tag in 0..60_000 {
        peer.call(NOW, "x", b"", tag).unwrap();
    }
    assert_eq!(peer.call(NOW, "x", b"", 0).unwrap_err(), Refusal::TooManyInFlight { in_flight: 60_000 });
    peer.conn.handle_eof(NOW);
    assert_eq!(peer.poll(NOW).len(), 60_001);
    let mut tags: Vec<u32> = peer.over.iter().map(|(tag, _)| *tag).collect();
    tags.sort_unstable();
    assert!(tags.into_iter().eq(0..60_000));
}

#[test]
fn p02_a_reply_in_the_instant_of_its_call_finds_it() {
    let mut peer = growable();
    for tag in 1..=1000 {
        peer.call(NOW, "x", b"", tag).unwrap();
        let sequence = crate::sequence_of(&peer.sent());
        assert_eq!(peer.feed(NOW, &packet(RESPONSE, sequence, "", "")), [format!("#{tag} ok \"\"")]);
    }
    assert_eq!(peer.conn.stats().unknown_replies, 0);
}

#[test]
fn p02_a_call_whose_bytes_found_no_room_is_not_in_the_table() {
    let mut conn: Connection<Fly, Heapless<2>> = Connection::new(Fly::default(), Limits::new());
    let mut memory = [0; 9];
    let mut sink = SliceSink::new(&mut memory);
    let refused = conn.call(NOW, Call::new("echo", "12"), 5, &mut sink).unwrap_err();
    assert_eq!((refused.why, refused.back), (Refusal::NoRoom { need: 11 }, 5));
    assert_eq!((conn.in_flight(), conn.poll_timeout()), (0, None));
    assert!(sink.written().is_empty());
    // Its sequence was not spent either.
    conn.call(NOW, Call::new("echo", ""), 6, &mut sink).unwrap();
    assert_eq!(sink.written(), b"\x40\x00\x01echo\x00\x00");
}

#[test]
fn p03_a_cancel_leaves_behind_its_request() {
    let mut peer = growable();
    peer.conn.dialect_mut().learn(b"cancel=1");
    peer.call(NOW, "a", b"", 1).unwrap();
    let call = peer.call(NOW, "b", b"", 2).unwrap();
    assert!(peer.cancel(call));
    peer.poll(NOW);
    let mut expected = packet(REQUEST, 1, "a", "");
    expected.extend(packet(REQUEST, 2, "b", ""));
    expected.extend(packet(0, 0, "$cancel", [0, 2]));
    assert_eq!(peer.sent(), expected);
}

#[test]
fn p03_a_cancel_waits_for_the_end_of_the_body_that_it_cancels() {
    let mut peer = growable();
    peer.conn.dialect_mut().learn(b"cancel=1");
    let call = peer.call_with(NOW, Call::streamed("up", 4), 1).unwrap();
    peer.conn.send_body(b"12", &mut peer.outbox).unwrap();
    assert!(peer.cancel(call));
    peer.poll(NOW);
    peer.conn.send_body(b"34", &mut peer.outbox).unwrap();
    peer.poll(NOW);
    let mut expected = packet(REQUEST, 1, "up", "1234");
    expected.extend(packet(0, 0, "$cancel", [0, 1]));
    assert_eq!(peer.sent(), expected);
}

#[test]
fn p03_a_cancel_does_not_wait_behind_the_work_that_it_stops() {
    let mut peer: Growable = Peer::new(Limits::new().max_unanswered(1));
    assert_eq!(peer.feed(NOW, &packet(REQUEST, 7, "slow", "")), ["request slow \"\""]);
    assert_eq!(peer.feed(NOW, &packet(0, 0, "$cancel", [0, 7])), ["cancel of request 7"]);
    assert!(peer.owed[0].cancelled, "told while the handler is at work and no other request is taken");
}

#[test]
fn p03_a_cancel_is_not_sent_to_a_peer_that_does_not_know_it() {
    let mut peer = growable();
    let call = peer.call(NOW, "a", b"", 1).unwrap();
    peer.sent();
    assert!(peer.cancel(call));
    peer.poll(NOW);
    assert!(peer.sent().is_empty());
}

#[test]
fn p03_a_cancel_reaches_the_handler_over_a_link_after_hello() {
    let mut pair: Pair = Pair::default();
    pair.a.conn.dialect_mut().learn(b"cancel=1");
    let call = pair.call(Side::A, "slow", b"", 1).unwrap();
    assert!(pair.cancel(Side::A, call));
    pair.drive(100);
    assert!(pair.b.owed[0].cancelled, "{}", pair.transcript());
    // The handler stops and says so; nobody waits for it.
    pair.reply(Side::B, 0, Reply::error("CANCELLED", "")).unwrap();
    pair.drive(100);
    assert_eq!(pair.a.outcome(1), "cancelled");
    assert_eq!(pair.a.conn.stats().late_replies, 1);
}
