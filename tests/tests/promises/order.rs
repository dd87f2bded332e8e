//! P10 to P12: order, delivery, and the grammar of the envelope

use flyrpc_core::fly::Flag;
use flyrpc_core::{Limits, Reply, State};
use flyrpc_tests::vectors::packet;
use flyrpc_tests::{LinkConfig, Pair, Rng, Side};

use crate::{REQUEST, RESPONSE, at, growable, ms};

#[test]
fn p10_messages_leave_and_arrive_in_the_order_of_their_commands() {
    for seed in 0..20 {
        let config = LinkConfig { max_chunk: 11, jitter: ms(3), ..LinkConfig::default() };
        let mut pair: Pair = Pair::new(Limits::new(), config, seed);
        let mut rng = Rng::new(seed);
        let mut expected = Vec::new();
        for number in 0..100 {
            let payload = number.to_string();
            if rng.one_in(2) {
                pair.call(Side::A, "call", payload.as_bytes(), number).unwrap();
                expected.push(format!("request call \"{number}\""));
            } else {
                pair.notify(Side::A, "note", payload.as_bytes()).unwrap();
                expected.push(format!("notification note \"{number}\""));
            }
            if rng.one_in(5) {
                pair.advance(ms(1));
            }
        }
        pair.drive(100_000);
        let transcript = pair.transcript();
        let seen: Vec<&str> = transcript
            .lines()
            .filter_map(|line| {
                line.trim_start().split_once(' ').and_then(|(_, rest)| rest.strip_prefix("b "))
            })
            .collect();
        assert_eq!(seen, expected, "seed {seed}");
    }
}

#[test]
fn p10_replies_leave_in_the_order_they_are_given_whatever_order_the_requests_came_in() {
    let mut pair: Pair = Pair::default();
    for tag in 1..=4 {
        pair.call(Side::A, "x", &[b'0' + tag as u8], tag).unwrap();
    }
    pair.drive(100);
    for index in [2, 0, 1, 0] {
        let payload = pair.b.owed[index].payload.clone();
        pair.reply(Side::B, index, Reply::ok(&payload)).unwrap();
    }
    pair.drive(100);
    let tags: Vec<u32> = pair.a.over.iter().map(|(tag, _)| *tag).collect();
    assert_eq!(tags, [3, 1, 4, 2]);
    assert!((1..=4).all(|tag| pair.a.outcome(tag) == format!("ok \"{tag}\"")));
}

#[test]
fn p10_the_cores_own_packets_come_in_the_order_of_what_they_answer() {
    let mut peer = growable();
    let mut wire = packet(REQUEST, 5, "$ping", "a");
    wire.extend(packet(REQUEST, 6, b"\xff", ""));
    wire.extend(packet(REQUEST, 7, "$ping", "b"));
    peer.feed(at(0), &wire);
    peer.poll(at(0));
    let mut expected = packet(RESPONSE, 5, "", "a");
    expected.extend(packet(RESPONSE, 6, "BAD_CODE", ""));
    expected.extend(packet(RESPONSE, 7, "", "b"));
    assert_eq!(peer.sent(), expected);
}

#[test]
fn p11_nothing_is_sent_again_after_a_timeout_a_cancel_or_a_loss() {
    let mut peer = growable();
    let calls: Vec<_> = (1..=3).map(|tag| peer.call(at(0), "x", b"once", tag).unwrap()).collect();
    peer.conn.notify(at(0), flyrpc_core::Call::new("note", "once"), &mut peer.outbox).unwrap();
    let sent = peer.sent();
    assert_eq!(sent.windows(4).filter(|bytes| *bytes == b"once").count(), 4);
    peer.cancel(calls[0]);
    peer.poll(at(10_000));
    peer.conn.handle_eof(at(10_001));
    for time in [10_001, 20_000, 100_000, 1_000_000] {
        peer.poll(at(time));
    }
    assert!(peer.sent().is_empty(), "a call that failed is the caller's to repeat");
    assert_eq!(peer.over.len(), 3);
}

#[test]
fn p11_a_request_is_written_once_with_a_sequence_of_its_own() {
    let mut peer = growable();
    for tag in 1..=3 {
        peer.call(at(0), "x", b"", tag).unwrap();
    }
    let expected: Vec<u8> = (1..=3).flat_map(|sequence| packet(REQUEST, sequence, "x", "")).collect();
    assert_eq!(peer.sent(), expected);
}

#[test]
fn p11_a_second_reply_to_the_same_request_is_dropped() {
    let mut peer = growable();
    peer.call(at(0), "x", b"", 1).unwrap();
    let mut wire = packet(RESPONSE, 1, "", "first");
    wire.extend(packet(RESPONSE, 1, "", "second"));
    assert_eq!(peer.feed(at(0), &wire), ["#1 ok \"first\""]);
    assert_eq!((peer.conn.stats().answered, peer.conn.stats().unknown_replies), (1, 1));
}

#[test]
fn p11_no_response_implicit_ack_and_response_are_three_promises() {
    let mut pair: Pair = Pair::default();
    pair.notify(Side::A, "no response", b"").unwrap();
    pair.call(Side::A, "ack", b"", 1).unwrap();
    pair.call(Side::A, "response", b"", 2).unwrap();
    pair.drive(100);
    // A message leaves no trace at its sender and nothing to answer at its receiver.
    assert_eq!((pair.a.conn.in_flight(), pair.b.conn.unanswered(), pair.b.owed.len()), (2, 2, 2));
    assert_eq!((pair.b.conn.stats().notifications, pair.b.conn.stats().requests), (1, 2));
    pair.reply(Side::B, 0, Reply::ack()).unwrap();
    pair.reply(Side::B, 0, Reply::ok("the answer")).unwrap();
    pair.drive(100);
    assert_eq!((pair.a.outcome(1), pair.a.outcome(2)), ("ok \"\"", "ok \"the answer\""));
}

#[test]
fn p11_a_message_lost_with_its_connection_is_gone_and_nobody_is_told() {
    let mut pair: Pair = Pair::default();
    pair.notify(Side::A, "note", b"").unwrap();
    pair.call(Side::A, "ack", b"", 1).unwrap();
    pair.link.cut();
    pair.advance(ms(20_000));
    assert_eq!(pair.b.conn.stats().notifications, 0);
    assert_eq!(pair.a.over.len(), 1, "only the acknowledged kind knows: {}", pair.transcript());
    assert!(pair.a.outcome(1).starts_with("lost"));
}

/// What each of the 256 flags makes of the same packet
#[test]
fn p12_the_response_bit_wins_and_reserved_bits_mean_nothing() {
    for flag in 0..=255_u8 {
        let bits = Flag(flag);
        assert!(!(bits.is_request() && bits.is_response()), "flag {flag:#04x} is one or the other");
        let mut peer = growable();
        peer.call(at(0), "x", b"", 1).unwrap();
        let width = 1_usize << (flag & 3);
        let mut wire = vec![flag, 0, 1];
        wire.extend(b"code\0");
        wire.extend([0; 8].iter().take(width - 1));
        wire.extend(b"\x02hi");
        let lines = peer.feed(at(0), &wire);
        let expected = match flag & 0xc0 {
            0x00 => "notification code \"hi\"",
            0x40 => "request code \"hi\"",
            _ => "#1 error code \"hi\"",
        };
        assert_eq!(lines, [expected], "flag {flag:#04x}");
        assert_eq!(peer.conn.position(), wire.len() as u64, "flag {flag:#04x}");
        if let Some(owed) = peer.owed.first() {
            assert_eq!((owed.zip.code, owed.zip.payload), (flag & 8 != 0, flag & 4 != 0));
        }
    }
}

#[test]
fn p12_reserved_and_compression_bits_are_not_sent_unasked() {
    let mut peer = growable();
    peer.feed(at(0), &packet(0x7c, 1, "x", "hi"));
    peer.reply(0, Reply::ok("yes")).unwrap();
    peer.call(at(0), "y", b"", 1).unwrap();
    let mut expected = packet(RESPONSE, 1, "", "yes");
    expected.extend(packet(REQUEST, 1, "y", ""));
    assert_eq!(peer.sent(), expected);
}

#[test]
fn p12_a_packet_inside_a_payload_is_payload() {
    let mut peer = growable();
    peer.call(at(0), "x", b"", 1).unwrap();
    let inner = packet(RESPONSE, 1, "", "forged");
    assert_eq!(peer.feed(at(0), &packet(0, 0, "note", &inner)).len(), 1);
    assert_eq!(peer.conn.in_flight(), 1);
    assert_eq!(peer.conn.state(), State::Open);
}

#[test]
fn p12_an_empty_code_is_a_code_and_in_a_response_it_is_success() {
    let mut peer = growable();
    peer.call(at(0), "", b"", 1).unwrap();
    assert_eq!(peer.sent(), packet(REQUEST, 1, "", ""));
    assert_eq!(peer.feed(at(0), &packet(REQUEST, 0, "", "x")), ["request  \"x\""]);
    assert_eq!(peer.feed(at(0), &packet(RESPONSE, 1, "", "x")), ["#1 ok \"x\""]);
}

#[test]
fn p12_an_error_without_a_code_is_sent_as_an_error() {
    let mut peer = growable();
    peer.feed(at(0), &packet(REQUEST, 3, "x", ""));
    peer.reply(0, Reply::error("", "details")).unwrap();
    assert_eq!(peer.sent(), packet(RESPONSE, 3, "ERROR", "details"));
}

#[test]
fn p12_a_code_with_a_nul_is_refused_at_the_caller() {
    let mut peer = growable();
    assert_eq!(peer.call(at(0), "a\0b", b"", 1), Err(flyrpc_core::Refusal::BadMethod));
    peer.feed(at(0), &packet(REQUEST, 3, "x", ""));
    let token = peer.owed.remove(0).token;
    let refused = peer.conn.reply(token, Reply::error("a\0b", ""), &mut peer.outbox).unwrap_err();
    assert_eq!((refused.why, refused.back.key()), (flyrpc_core::Refusal::BadMethod, 3));
    assert!(peer.sent().is_empty());
    assert_eq!((peer.conn.in_flight(), peer.conn.unanswered()), (0, 1));
}
