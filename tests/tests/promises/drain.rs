//! P15: draining takes nothing new, sends every reply owed, and ends by its deadline

use flyrpc_core::{Call, Limits, Refusal, Reply, State};
use flyrpc_tests::vectors::packet;
use flyrpc_tests::{Pair, Side};

use crate::{REQUEST, RESPONSE, at, growable, ms};

#[test]
fn p15_an_idle_connection_is_drained_at_once() {
    let mut peer = growable();
    peer.conn.drain(at(0), at(1000));
    assert_eq!(peer.conn.poll_timeout(), Some(at(0)));
    assert_eq!(peer.poll(at(0)), ["closed: the connection was drained"]);
    assert_eq!(peer.conn.state(), State::Closed);
}

#[test]
fn p15_draining_takes_no_new_calls_and_messages() {
    let mut peer = growable();
    peer.call(at(0), "x", b"", 1).unwrap();
    peer.sent();
    peer.conn.drain(at(0), at(1000));
    assert_eq!(peer.call(at(0), "x", b"", 2), Err(Refusal::Draining));
    let refused = peer.conn.notify(at(0), Call::new("x", ""), &mut peer.outbox).unwrap_err();
    assert_eq!(refused.why, Refusal::Draining);
    let refused = peer.conn.ping(at(0), 0, at(9), 3, &mut peer.outbox).unwrap_err();
    assert_eq!((refused.why, refused.back), (Refusal::Draining, 3));
    assert!(peer.sent().is_empty());
}

#[test]
fn p15_draining_answers_new_requests_with_draining_and_still_answers_pings() {
    let mut peer = growable();
    peer.call(at(0), "x", b"", 1).unwrap();
    peer.sent();
    peer.conn.drain(at(0), at(1000));
    let mut wire = packet(REQUEST, 8, "theirs", "");
    wire.extend(packet(REQUEST, 9, "$ping", "p"));
    assert!(peer.feed(at(0), &wire).is_empty());
    peer.poll(at(0));
    let mut expected = packet(RESPONSE, 8, "DRAINING", "");
    expected.extend(packet(RESPONSE, 9, "", "p"));
    assert_eq!(peer.sent(), expected);
    assert_eq!(peer.conn.stats().rejected, 1);
}

#[test]
fn p15_every_reply_still_owed_is_sent_and_awaited_before_the_end() {
    let mut pair: Pair = Pair::default();
    for tag in 1..=3 {
        pair.call(Side::A, "theirs", b"x", tag).unwrap();
    }
    pair.call(Side::B, "ours", b"y", 10).unwrap();
    pair.drive(100);
    pair.drain(Side::B, ms(1000));
    pair.drive(100);
    assert_eq!(pair.b.conn.state(), State::Draining);
    pair.echo_all(Side::B);
    pair.drive(100);
    assert_eq!(pair.b.conn.state(), State::Draining, "a call of its own is in flight");
    pair.echo_all(Side::A);
    pair.drive(100);
    assert_eq!(pair.b.conn.state(), State::Closed, "{}", pair.transcript());
    assert_eq!(pair.b.outcome(10), "ok \"y\"");
    assert!((1..=3).all(|tag| pair.a.outcome(tag) == "ok \"x\""), "{}", pair.transcript());
    assert!(pair.transcript().contains("b closed: the connection was drained"));
}

#[test]
fn p15_a_refusal_in_the_queue_leaves_before_the_end() {
    let mut peer = growable();
    peer.feed(at(0), &packet(REQUEST, 1, "x", ""));
    peer.conn.drain(at(0), at(1000));
    peer.feed(at(0), &packet(REQUEST, 2, "y", ""));
    peer.reply(0, Reply::ack()).unwrap();
    assert!(peer.conn.poll_event().is_none(), "DRAINING is still to be sent");
    assert_eq!(peer.poll(at(0)), ["closed: the connection was drained"]);
    let mut expected = packet(RESPONSE, 1, "", "");
    expected.extend(packet(RESPONSE, 2, "DRAINING", ""));
    assert_eq!(peer.sent(), expected);
}

#[test]
fn p15_it_ends_by_the_deadline_when_no_reply_comes() {
    let mut peer = growable();
    peer.call_with(at(0), Call::new("x", "").deadline(at(60_000)), 1).unwrap();
    peer.conn.drain(at(0), at(1000));
    assert_eq!(peer.conn.poll_timeout(), Some(at(1000)));
    assert!(peer.poll(at(999)).is_empty());
    let end = "the deadline for draining came before all replies were sent";
    assert_eq!(peer.poll(at(1000)), [format!("#1 lost: {end}"), format!("closed: {end}")]);
}

#[test]
fn p15_it_ends_by_the_deadline_when_a_token_was_dropped() {
    let mut peer = growable();
    peer.feed(at(0), &packet(REQUEST, 1, "x", ""));
    peer.owed.clear();
    peer.conn.drain(at(0), at(1000));
    assert_eq!(peer.conn.poll_timeout(), Some(at(1000)));
    assert_eq!(peer.poll(at(1000)).len(), 1);
    assert_eq!(peer.conn.state(), State::Closed);
}

#[test]
fn p15_it_ends_by_the_deadline_when_a_streamed_body_stays_unfinished() {
    let mut peer = growable();
    peer.feed(at(0), &packet(REQUEST, 1, "x", ""));
    peer.reply(0, Reply::streamed(10)).unwrap();
    peer.conn.drain(at(0), at(1000));
    assert!(peer.poll(at(0)).is_empty());
    peer.conn.send_body(b"12345", &mut peer.outbox).unwrap();
    assert!(peer.poll(at(999)).is_empty(), "the reply is not out yet");
    assert_eq!(peer.poll(at(1000)).len(), 1);
    assert_eq!(peer.conn.send_body(b"67890", &mut peer.outbox), Err(Refusal::Closed));
}

#[test]
fn p15_a_streamed_reply_is_finished_before_the_end() {
    let mut peer = growable();
    peer.feed(at(0), &packet(REQUEST, 1, "x", ""));
    peer.reply(0, Reply::streamed(4)).unwrap();
    peer.conn.drain(at(0), at(1000));
    assert!(peer.poll(at(0)).is_empty());
    assert_eq!(peer.conn.send_body(b"done", &mut peer.outbox), Ok(0));
    assert_eq!(peer.poll(at(0)), ["closed: the connection was drained"]);
    assert_eq!(peer.sent(), packet(RESPONSE, 1, "", "done"));
}

#[test]
fn p15_a_call_that_times_out_meanwhile_does_not_hold_it_up() {
    let mut peer = growable();
    peer.call_with(at(0), Call::new("x", "").deadline(at(10)), 1).unwrap();
    peer.conn.drain(at(0), at(1000));
    assert_eq!(peer.poll(at(10)), ["#1 timed out", "closed: the connection was drained"]);
}

#[test]
fn p15_an_abandoned_request_does_not_hold_it_up() {
    let mut peer = growable();
    peer.feed(at(0), &packet(REQUEST, 1, "x", ""));
    peer.conn.drain(at(0), at(1000));
    let owed = peer.owed.remove(0);
    peer.conn.abandon(owed.token);
    assert_eq!(peer.poll(at(0)), ["closed: the connection was drained"]);
}

#[test]
fn p15_the_earlier_of_two_deadlines_holds() {
    for deadlines in [[500, 1000], [1000, 500]] {
        let mut peer = growable();
        peer.call(at(0), "x", b"", 1).unwrap();
        for deadline in deadlines {
            peer.conn.drain(at(0), at(deadline));
        }
        assert_eq!(peer.conn.poll_timeout(), Some(at(500)));
        assert_eq!(peer.poll(at(500)).len(), 2);
    }
}

#[test]
fn p15_a_deadline_in_the_past_ends_it_now() {
    let mut peer = growable();
    peer.call(at(0), "x", b"", 1).unwrap();
    peer.conn.drain(at(100), at(50));
    assert_eq!(peer.conn.poll_timeout(), Some(at(100)));
    assert_eq!(peer.poll(at(100)).len(), 2);
}

#[test]
fn p15_both_ends_may_drain_at_once() {
    let mut pair: Pair = Pair::new(Limits::new(), flyrpc_tests::LinkConfig::default(), 2);
    pair.call(Side::A, "x", b"1", 1).unwrap();
    pair.call(Side::B, "y", b"2", 2).unwrap();
    pair.drive(100);
    pair.drain(Side::A, ms(1000));
    pair.drain(Side::B, ms(1000));
    pair.echo_all(Side::A);
    pair.echo_all(Side::B);
    pair.drive(100);
    assert_eq!((pair.a.outcome(1), pair.b.outcome(2)), ("ok \"1\"", "ok \"2\""), "{}", pair.transcript());
    assert_eq!((pair.a.conn.state(), pair.b.conn.state()), (State::Closed, State::Closed));
}

#[test]
fn p15_the_end_of_the_stream_while_draining_still_lets_the_replies_out() {
    let mut peer = growable();
    peer.feed(at(0), &packet(REQUEST, 1, "x", ""));
    peer.conn.drain(at(0), at(1000));
    peer.conn.handle_eof(at(1));
    assert!(peer.poll(at(1)).is_empty());
    assert_eq!(peer.conn.poll_timeout(), Some(at(1000)), "the earlier deadline of the two");
    peer.reply(0, Reply::ok("yes")).unwrap();
    assert_eq!(peer.poll(at(2)), ["closed: the peer closed the connection"]);
    assert_eq!(peer.sent(), packet(RESPONSE, 1, "", "yes"));
}
