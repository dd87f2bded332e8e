//! P7 to P9: one call's trouble is its own, the two directions never meet, and handlers may call back

use flyrpc_core::fly::zip::{Unzip, ZipError};
use flyrpc_core::{Call, CallId, Limits, Reply, Slots, State, Table};
use flyrpc_tests::vectors::packet;
use flyrpc_tests::{LinkConfig, Pair, Peer, Side};

use crate::{Growable, Heapless, REQUEST, RESPONSE, at, growable, ms};

fn three_in_flight(limits: Limits) -> (Growable, [CallId; 3]) {
    let mut peer: Growable = Peer::new(limits);
    let calls = [1, 2, 3].map(|tag| peer.call(at(0), "x", b"", tag).expect("room"));
    (peer, calls)
}

fn the_others_are_answered(peer: &mut Growable) {
    let mut wire = packet(RESPONSE, 3, "", "c");
    wire.extend(packet(RESPONSE, 1, "", "a"));
    assert_eq!(peer.feed(at(1), &wire), ["#3 ok \"c\"", "#1 ok \"a\""]);
    assert_eq!((peer.conn.state(), peer.conn.in_flight()), (State::Open, 0));
}

#[test]
fn p07_a_cancelled_call_leaves_the_others_alone() {
    let (mut peer, [_, second, _]) = three_in_flight(Limits::new());
    assert!(peer.cancel(second));
    the_others_are_answered(&mut peer);
}

#[test]
fn p07_a_timed_out_call_leaves_the_others_alone() {
    let mut peer = growable();
    peer.call(at(0), "x", b"", 1).unwrap();
    peer.call_with(at(0), Call::new("x", "").deadline(at(1)), 2).unwrap();
    peer.call(at(0), "x", b"", 3).unwrap();
    assert_eq!(peer.poll(at(1)), ["#2 timed out"]);
    the_others_are_answered(&mut peer);
}

#[test]
fn p07_an_answer_that_is_too_long_fails_its_own_call_only() {
    let (mut peer, _) = three_in_flight(Limits::new().max_payload(8));
    let long = packet(RESPONSE, 2, "", [b'x'; 5000]);
    assert_eq!(peer.feed(at(0), &long).len(), 1);
    assert!(peer.outcome(2).starts_with("bad reply"), "{}", peer.outcome(2));
    the_others_are_answered(&mut peer);
}

#[test]
fn p07_an_answer_that_does_not_inflate_fails_its_own_call_only() {
    let (mut peer, _) = three_in_flight(Limits::new());
    // The core hands the bytes out as they came; opening them is where they fail, and nowhere else.
    let lines = peer.feed(at(0), &packet(RESPONSE | 0x04, 2, "", "no deflate"));
    assert_eq!(lines, ["#2 ok \"no deflate\""]);
    let zip = flyrpc_core::fly::Zip { code: false, payload: true };
    let opened = Unzip::new().open(b"", b"no deflate", zip, &Limits::new()).map(|_| ());
    assert_eq!(opened, Err(ZipError::Corrupt));
    the_others_are_answered(&mut peer);
}

#[test]
fn p07_an_answer_whose_code_is_not_text_is_data() {
    let (mut peer, _) = three_in_flight(Limits::new());
    assert_eq!(peer.feed(at(0), &packet(RESPONSE, 2, b"\xff\xfe", "")), ["#2 error \u{fffd}\u{fffd} \"\""]);
    the_others_are_answered(&mut peer);
}

#[test]
fn p08_our_own_request_sent_back_to_us_answers_nothing() {
    let mut peer = growable();
    peer.call(at(0), "x", b"payload", 1).unwrap();
    let ours = peer.sent();
    assert_eq!(peer.feed(at(0), &ours), ["request x \"payload\""]);
    assert_eq!(peer.conn.in_flight(), 1, "the call waits on");
    peer.reply(0, Reply::ok("back")).unwrap();
    assert_eq!(peer.sent(), packet(RESPONSE, 1, "", "back"));
    assert_eq!(peer.conn.in_flight(), 1, "answering theirs does not answer ours");
    assert_eq!(peer.feed(at(0), &packet(RESPONSE, 1, "", "ours")), ["#1 ok \"ours\""]);
}

#[test]
fn p08_the_same_sequence_in_both_directions_is_two_calls() {
    let mut pair: Pair = Pair::default();
    pair.call(Side::A, "from a", b"1", 10).unwrap();
    pair.call(Side::B, "from b", b"2", 20).unwrap();
    pair.drive(100);
    assert_eq!((pair.a.owed[0].token.key(), pair.b.owed[0].token.key()), (1, 1));
    pair.reply(Side::A, 0, Reply::ok("for b")).unwrap();
    pair.drive(100);
    assert_eq!(pair.b.outcome(20), "ok \"for b\"");
    assert_eq!(pair.a.conn.in_flight(), 1, "{}", pair.transcript());
    pair.reply(Side::B, 0, Reply::ok("for a")).unwrap();
    pair.drive(100);
    assert_eq!(pair.a.outcome(10), "ok \"for a\"");
}

#[test]
fn p08_a_cancel_names_the_peers_request_and_never_our_own() {
    let mut peer = growable();
    peer.call(at(0), "x", b"", 1).unwrap();
    peer.feed(at(0), &packet(REQUEST, 1, "theirs", ""));
    assert_eq!(peer.feed(at(0), &packet(0, 0, "$cancel", [0, 1])), ["cancel of request 1"]);
    assert!(peer.owed[0].cancelled);
    assert_eq!(peer.conn.in_flight(), 1);
}

/// Each side calls the other from inside its handler, `depth` deep; then the answers come back up
fn nested<S: Slots<Tag = u32>>(depth: u32) {
    let config = LinkConfig { max_chunk: 7, ..LinkConfig::default() };
    let mut pair: Pair<S> = Pair::new(Limits::new(), config, 3);
    let caller = |level: u32| if level.is_multiple_of(2) { Side::A } else { Side::B };
    for level in 0..depth {
        pair.call(caller(level), "down", level.to_string().as_bytes(), level).expect("room at every level");
        pair.drive(1000);
        let owed = pair.peer(caller(level).other()).owed.last().map(|owed| owed.payload.clone());
        assert_eq!(owed, Some(level.to_string().into_bytes()), "{}", pair.transcript());
    }
    for level in (0..depth).rev() {
        let handler = caller(level).other();
        let innermost = pair.peer(handler).owed.len() - 1;
        pair.reply(handler, innermost, Reply::ok(&level.to_string())).expect("the connection is open");
        pair.drive(1000);
        assert_eq!(pair.peer(caller(level)).outcome(level), format!("ok \"{level}\""));
    }
    assert_eq!((pair.a.conn.in_flight(), pair.b.conn.in_flight()), (0, 0));
}

#[test]
fn p09_calls_nest_a_hundred_deep() {
    nested::<Table<u32>>(100);
}

#[test]
fn p09_calls_nest_a_hundred_deep_without_a_heap() {
    nested::<Heapless<50>>(100);
}

#[test]
fn p09_both_ends_with_one_slot_call_each_other_at_once() {
    let mut pair: Pair<Heapless<1>> = Pair::new(Limits::new(), LinkConfig::default(), 1);
    pair.call(Side::A, "x", b"1", 1).unwrap();
    pair.call(Side::B, "y", b"2", 2).unwrap();
    pair.drive(100);
    pair.echo_all(Side::A);
    pair.echo_all(Side::B);
    pair.drive(100);
    assert_eq!((pair.a.outcome(1), pair.b.outcome(2)), ("ok \"1\"", "ok \"2\""));
}

#[test]
fn p09_a_handler_may_call_back_while_the_peer_owes_its_answer_and_drains() {
    let mut pair: Pair = Pair::default();
    pair.call(Side::A, "outer", b"", 1).unwrap();
    pair.drive(100);
    pair.call(Side::B, "inner", b"", 2).unwrap();
    pair.drive(100);
    pair.drain(Side::A, ms(1000));
    pair.reply(Side::A, 0, Reply::ok("inner done")).unwrap();
    pair.drive(100);
    assert_eq!(pair.b.outcome(2), "ok \"inner done\"");
    pair.reply(Side::B, 0, Reply::ok("outer done")).unwrap();
    pair.drive(100);
    assert_eq!(pair.a.outcome(1), "ok \"outer done\"", "{}", pair.transcript());
}
