//! Bad input gives a clear error with offset and limit, or a counted drop; nothing that was accepted is lost

use flyrpc_core::{CloseReason, Instant, Limits, ProtocolError, State, Table, WireError};
use flyrpc_tests::Peer;
use flyrpc_tests::vectors::packet;

const NOW: Instant = Instant::ZERO;
const REQUEST: u8 = 0x40;
const RESPONSE: u8 = 0x80;

fn peer(limits: Limits) -> Peer<Table<u32>> {
    Peer::new(limits)
}

/// Feeds `bad` between two good requests; what was said of it, what was sent for it, and whether the second came
fn between_good(limits: Limits, bad: &[u8]) -> (Vec<String>, Vec<u8>, Peer<Table<u32>>) {
    let mut peer = peer(limits);
    let mut wire = packet(REQUEST, 1, "before", "");
    wire.extend(bad);
    wire.extend(packet(REQUEST, 2, "after", ""));
    let mut lines = peer.feed(NOW, &wire);
    assert_eq!(lines.remove(0), "request before \"\"");
    assert_eq!(lines.pop().as_deref(), Some("request after \"\""));
    peer.poll(NOW);
    let sent = peer.sent();
    assert_eq!(peer.conn.state(), State::Open);
    (lines, sent, peer)
}

#[test]
fn a_packet_cut_short_anywhere_is_an_end_inside_a_packet_and_no_message() {
    let whole = packet(REQUEST, 2, "code", "payload");
    for end in 1..whole.len() {
        let mut peer = peer(Limits::new());
        let mut wire = packet(REQUEST, 1, "before", "");
        wire.extend(&whole[..end]);
        assert_eq!(peer.feed(NOW, &wire), ["request before \"\""], "cut at {end}");
        peer.conn.handle_eof(NOW);
        // What was accepted before is still answered.
        assert_eq!(peer.conn.state(), State::Draining);
        peer.reply(0, flyrpc_core::Reply::ack()).unwrap();
        assert_eq!(peer.sent(), packet(RESPONSE, 1, "", ""));
        assert_eq!(peer.poll(NOW), ["closed: the stream ended inside a packet"], "cut at {end}");
    }
}

#[test]
fn an_end_between_two_packets_is_a_plain_end() {
    let mut peer = peer(Limits::new());
    peer.feed(NOW, &packet(0, 0, "note", "x"));
    peer.conn.handle_eof(NOW);
    assert_eq!(peer.conn.close_reason(), Some(CloseReason::PeerClosed));
}

#[test]
fn a_request_that_is_too_large_is_passed_over_and_answered() {
    let limits = Limits::new().max_payload(10);
    let (lines, sent, peer) = between_good(limits, &packet(REQUEST, 9, "large", [1; 5000]));
    assert!(lines.is_empty());
    assert_eq!(sent, packet(RESPONSE, 9, "TOO_LARGE", ""));
    assert_eq!((peer.conn.stats().rejected, peer.conn.stats().invalid), (1, 0));
}

#[test]
fn a_message_that_is_too_large_is_counted_and_passed_over() {
    let limits = Limits::new().max_payload(10);
    let (lines, sent, peer) = between_good(limits, &packet(0, 0, "large", [1; 5000]));
    assert!(lines.is_empty() && sent.is_empty());
    assert_eq!(peer.conn.stats().invalid, 1);
}

#[test]
fn a_stray_reply_that_is_too_large_is_counted_and_passed_over() {
    let limits = Limits::new().max_payload(10);
    let (lines, sent, peer) = between_good(limits, &packet(RESPONSE, 9, "", [1; 5000]));
    assert!(lines.is_empty() && sent.is_empty());
    assert_eq!(peer.conn.stats().unknown_replies, 1);
}

#[test]
fn the_longest_payload_and_the_longest_body_are_still_taken() {
    let limits = Limits::new().max_payload(10).max_body(20);
    let (lines, sent, _) = between_good(limits.clone(), &packet(REQUEST, 9, "fits", [b'x'; 10]));
    assert_eq!((lines.as_slice(), sent.len()), (["request fits \"xxxxxxxxxx\"".to_owned()].as_slice(), 0));
    let (_, sent, _) = between_good(limits, &packet(REQUEST, 9, "long", [b'x'; 20]));
    assert_eq!(sent, packet(RESPONSE, 9, "TOO_LARGE", ""));
}

#[test]
fn a_body_beyond_the_last_limit_ends_the_connection_with_offset_and_limit() {
    let limits = Limits::new().max_payload(10).max_body(20);
    let mut peer = peer(limits);
    peer.call(NOW, "ours", b"", 1).unwrap();
    let before = [packet(REQUEST, 1, "before", ""), packet(RESPONSE, 1, "", "answer")].concat();
    let wire = [before.clone(), packet(REQUEST, 2, "long", [0; 21])].concat();
    let lines = peer.feed(NOW, &wire);
    let offset = before.len() + 3 + 5;
    assert_eq!(
        lines,
        [
            "request before \"\"".to_owned(),
            "#1 ok \"answer\"".to_owned(),
            format!(
                "error: the peer broke the protocol at byte {offset}: the announced payload is longer than its limit \
                 of 20 bytes"
            ),
        ],
        "what came before is delivered"
    );
    assert_eq!(peer.conn.state(), State::Closed);
}

#[test]
fn absurd_lengths_end_the_connection_and_nothing_else() {
    for len in [1_u64 << 32, 1 << 62, 1 << 63, (1 << 63) - 1, u64::MAX] {
        for flag in [0x03, 0x43, 0x83, 0xff] {
            let mut peer = peer(Limits::new());
            let mut wire = packet(0, 0, "before", "");
            let start = wire.len() as u64;
            wire.extend([flag, 0, 1, b'x', 0]);
            wire.extend(len.to_be_bytes());
            wire.extend([0; 100]);
            assert_eq!(peer.feed(NOW, &wire).len(), 2);
            let expected =
                ProtocolError { what: WireError::BodyTooLong, offset: start + 5, limit: u64::from(u32::MAX) };
            assert_eq!(peer.conn.close_reason(), Some(CloseReason::Protocol(expected)), "{flag:#x} {len:#x}");
        }
    }
}

#[test]
fn absurd_lengths_within_an_absurd_limit_are_passed_over_without_memory() {
    let mut peer = peer(Limits::new().max_body(u64::MAX));
    let mut wire = vec![0x43, 0, 1, b'x', 0];
    wire.extend(u64::MAX.to_be_bytes());
    wire.extend([0; 10_000]);
    assert!(peer.feed(NOW, &wire).is_empty());
    assert!(peer.inbox.is_empty());
    peer.poll(NOW);
    assert_eq!(peer.sent(), packet(RESPONSE, 1, "TOO_LARGE", ""));
    peer.conn.handle_eof(NOW);
    assert_eq!(peer.conn.close_reason(), Some(CloseReason::CutShort));
}

#[test]
fn a_code_without_an_end_ends_the_connection_with_offset_and_limit() {
    let mut peer = peer(Limits::new().max_method(16));
    let mut wire = packet(REQUEST, 1, "exactly sixteen!", "");
    let start = wire.len() as u64;
    wire.extend(packet(REQUEST, 2, "seventeen letters", ""));
    assert_eq!(peer.feed(NOW, &wire).len(), 2);
    let expected = ProtocolError { what: WireError::MethodTooLong, offset: start + 3 + 16, limit: 16 };
    assert_eq!(peer.conn.close_reason(), Some(CloseReason::Protocol(expected)));
}

#[test]
fn a_code_that_is_not_text_is_answered_bad_code() {
    for code in [&b"\xff"[..], b"ok\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"12345678\xfe", b"$ping\xff"] {
        let (lines, sent, peer) = between_good(Limits::new(), &packet(REQUEST, 9, code, "payload"));
        assert!(lines.is_empty(), "{code:x?}");
        assert_eq!(sent, packet(RESPONSE, 9, "BAD_CODE", ""), "{code:x?}");
        assert_eq!(peer.conn.stats().invalid, 1);
    }
}

#[test]
fn a_message_whose_code_is_not_text_is_counted_and_dropped() {
    let (lines, sent, peer) = between_good(Limits::new(), &packet(0, 0, b"\xff\xfe", "payload"));
    assert!(lines.is_empty() && sent.is_empty());
    assert_eq!(peer.conn.stats().invalid, 1);
}

#[test]
fn a_code_that_is_not_text_with_a_body_that_is_too_large_is_both_at_once() {
    let limits = Limits::new().max_payload(10);
    let (lines, sent, _) = between_good(limits, &packet(REQUEST, 9, b"\xff", [0; 500]));
    assert!(lines.is_empty());
    assert_eq!(sent, packet(RESPONSE, 9, "BAD_CODE", ""));
}

#[test]
fn text_of_every_width_is_a_good_code() {
    for code in ["é", "你好/é", "🦀", "a\u{10ffff}"] {
        let (lines, ..) = between_good(Limits::new(), &packet(REQUEST, 9, code, ""));
        assert_eq!(lines, [format!("request {code} \"\"")]);
    }
}

#[test]
fn unknown_sequences_are_counted_and_dropped() {
    for sequence in [0, 1, 2, 500, 65_535] {
        let (lines, sent, peer) = between_good(Limits::new(), &packet(RESPONSE, sequence, "", "who?"));
        assert!(lines.is_empty() && sent.is_empty());
        assert_eq!(peer.conn.stats().unknown_replies, 1);
    }
}

#[test]
fn a_duplicate_reply_is_counted_and_dropped_and_leaves_the_next_call_alone() {
    let mut peer = peer(Limits::new());
    peer.call(NOW, "x", b"", 1).unwrap();
    peer.feed(NOW, &packet(RESPONSE, 1, "", "first"));
    peer.call(NOW, "y", b"", 2).unwrap();
    assert!(peer.feed(NOW, &packet(RESPONSE, 1, "", "again")).is_empty());
    assert_eq!(peer.feed(NOW, &packet(RESPONSE, 2, "", "second")), ["#2 ok \"second\""]);
    assert_eq!((peer.conn.stats().unknown_replies, peer.conn.stats().answered), (1, 2));
}

#[test]
fn wrong_flags_are_read_by_their_bits() {
    // All bits set: a response (that bit wins), reserved bits ignored, eight bytes of length.
    let mut peer = peer(Limits::new());
    peer.call(NOW, "x", b"", 1).unwrap();
    let mut wire = vec![0xff, 0, 1, 0];
    wire.extend(3_u64.to_be_bytes());
    wire.extend(b"yes");
    assert_eq!(peer.feed(NOW, &wire), ["#1 ok \"yes\""]);
}

#[test]
fn a_message_with_a_sequence_is_a_message() {
    let (lines, sent, _) = between_good(Limits::new(), &packet(0, 77, "note", "x"));
    assert_eq!((lines.as_slice(), sent.len()), (["notification note \"x\"".to_owned()].as_slice(), 0));
}

#[test]
fn a_cancel_with_a_bad_payload_is_counted_and_dropped() {
    for payload in [&b""[..], b"\x01", b"\0\x01\x02", &[0; 300]] {
        let (lines, sent, peer) = between_good(Limits::new(), &packet(0, 0, "$cancel", payload));
        assert!(lines.is_empty() && sent.is_empty());
        assert_eq!(peer.conn.stats().invalid, 1);
    }
}

#[test]
fn a_cancel_of_an_unknown_request_does_no_harm() {
    let (lines, sent, _) = between_good(Limits::new(), &packet(0, 0, "$cancel", [0xff, 0xff]));
    assert_eq!((lines.as_slice(), sent.len()), (["cancel of request 65535".to_owned()].as_slice(), 0));
}

#[test]
fn a_hello_of_nonsense_is_answered_and_claims_nothing() {
    let list = b"cancel=maybe\n=\n\xff\xfe=1\nmax-payload=-5\nversion=999\n\nzip";
    let (lines, sent, peer) = between_good(Limits::new(), &packet(REQUEST, 9, "$hello", list));
    assert!(lines.is_empty());
    assert_eq!(sent, packet(RESPONSE, 9, "", "version=1\nzip=1\ncancel=1\nmax-payload=16777216\n"));
    assert_eq!(*peer.conn.dialect().peer(), Default::default());
}

#[test]
fn everything_before_a_fatal_error_is_delivered_in_whatever_pieces_it_came() {
    let good: Vec<u8> = (0..20).flat_map(|n| packet(0, 0, "note", n.to_string())).collect();
    let wire = [good, vec![b'a'; 3000]].concat();
    for size in [1, 2, 7, 64, 4000] {
        let mut peer = peer(Limits::new());
        let lines: Vec<String> = wire.chunks(size).flat_map(|chunk| peer.feed(NOW, chunk)).collect();
        let notes = lines.iter().filter(|line| line.starts_with("notification")).count();
        assert_eq!(notes, 20, "in pieces of {size}");
        assert!(lines[20].starts_with("error: the peer broke the protocol at byte"), "{}", lines[20]);
    }
}
