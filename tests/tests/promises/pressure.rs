//! P16 and P17: a slow reader and a greedy peer cost bounded memory

use flyrpc_core::fly::Fly;
use flyrpc_core::{
    Call, Connection, Incoming, Limits, NoRoom, Overload, Refusal, Reply, SliceSink, State, Table, What,
};
use flyrpc_tests::vectors::packet;
use flyrpc_tests::{LinkConfig, Pair, Peer, Rng, Side};

use crate::{Growable, Heapless, REQUEST, RESPONSE, at, growable, ms};

type Conn = Connection<Fly, Heapless<4>>;

fn conn() -> Conn {
    Connection::new(Fly::default(), Limits::new())
}

#[test]
fn p16_no_room_for_a_call_message_or_ping_changes_nothing() {
    let mut conn = conn();
    conn.call(at(0), Call::new("x", ""), 1, &mut Vec::new()).unwrap();
    let before = format!("{conn:?}");
    let mut memory = [0; 8];
    let mut full = SliceSink::new(&mut memory);
    let refused = conn.call(at(0), Call::new("echo", "payload"), 2, &mut full).unwrap_err();
    assert_eq!((refused.why, refused.back), (Refusal::NoRoom { need: 16 }, 2));
    let refused = conn.notify(at(0), Call::new("echo", "payload"), &mut full).unwrap_err();
    assert_eq!(refused.why, Refusal::NoRoom { need: 16 });
    let refused = conn.ping(at(0), 300, at(9), 3, &mut full).unwrap_err();
    assert_eq!((refused.why, refused.back), (Refusal::NoRoom { need: 311 }, 3));
    let refused = conn.call(at(0), Call::streamed("long code", 1 << 40), 4, &mut full).unwrap_err();
    assert_eq!((refused.why, refused.back), (Refusal::NoRoom { need: 21 }, 4));
    assert!(full.written().is_empty());
    assert_eq!(format!("{conn:?}"), before, "no sequence spent, no body begun, nothing counted");
}

#[test]
fn p16_no_room_for_a_reply_gives_the_token_back() {
    let mut conn = conn();
    let wire = packet(REQUEST, 7, "x", "");
    let step = conn.handle_input(at(0), &wire).unwrap();
    let What::Incoming(Incoming::Request { token, .. }) = step.what else { panic!("{step:?}") };
    let mut memory = [0; 8];
    let refused = conn.reply(token, Reply::ok("four"), &mut SliceSink::new(&mut memory)).unwrap_err();
    assert_eq!(refused.why, Refusal::NoRoom { need: 9 });
    assert_eq!(conn.unanswered(), 1);
    let mut out = Vec::new();
    conn.reply(refused.back, Reply::ok("four"), &mut out).unwrap();
    assert_eq!((out, conn.unanswered()), (packet(RESPONSE, 7, "", "four"), 0));
}

#[test]
fn p16_no_room_for_a_piece_of_a_body_changes_nothing() {
    let mut conn = conn();
    conn.notify(at(0), Call::streamed("x", 100), &mut Vec::new()).unwrap();
    let mut memory = [0; 8];
    let mut full = SliceSink::new(&mut memory);
    assert_eq!(conn.send_body(&[1; 50], &mut full), Err(Refusal::NoRoom { need: 50 }));
    assert_eq!(conn.body_left(), 100);
    assert_eq!(conn.send_body(&[1; 8], &mut full), Ok(92));
}

#[test]
fn p16_no_room_for_a_packet_of_the_cores_own_keeps_it() {
    let mut conn = conn();
    let wire = packet(REQUEST, 7, b"\xff", "");
    assert!(matches!(conn.handle_input(at(0), &wire).unwrap().what, What::Handled));
    let mut memory = [0; 12];
    assert_eq!(conn.poll_transmit(&mut SliceSink::new(&mut memory)), Err(NoRoom { need: 13 }));
    assert!(conn.poll_timeout().is_some(), "there is still work");
    let mut out = Vec::new();
    let sent = conn.poll_transmit(&mut out).unwrap().map(|sent| sent.len);
    assert_eq!((sent, out), (Some(13), packet(RESPONSE, 7, "BAD_CODE", "")));
    assert_eq!(conn.poll_timeout(), None);
}

/// Four refusals wait in the queue for an owner who does not send them
fn jammed() -> (Growable, Vec<u8>) {
    let mut peer = growable();
    peer.call(at(0), "x", b"", 1).expect("room");
    peer.sent();
    let mut wire: Vec<u8> = (1..=6).flat_map(|sequence| packet(REQUEST, sequence, b"\xff", "")).collect();
    wire.extend(packet(REQUEST, 7, "fine", ""));
    assert_eq!(peer.feed(at(0), &wire), ["blocked"]);
    (peer, wire)
}

#[test]
fn p16_a_full_queue_of_own_packets_holds_the_peer_back() {
    let (mut peer, wire) = jammed();
    assert_eq!(peer.conn.position() as usize, 4 * wire.len() / 7 - 1, "four taken, the fifth untouched");
    assert_eq!(peer.feed(at(0), b""), ["blocked"], "and it stays so");
    assert_eq!(peer.conn.stats().invalid, 4);
}

#[test]
fn p16_nothing_is_lost_or_doubled_by_having_been_blocked() {
    let (mut peer, _) = jammed();
    peer.poll(at(0));
    assert_eq!(peer.feed(at(0), b""), ["request fine \"\""]);
    peer.poll(at(0));
    let expected: Vec<u8> = (1..=6).flat_map(|sequence| packet(RESPONSE, sequence, "BAD_CODE", "")).collect();
    assert_eq!(peer.sent(), expected);
}

#[test]
fn p16_a_blocked_connection_still_calls_and_times_out() {
    let (mut peer, _) = jammed();
    peer.call_with(at(1), Call::new("more", "").deadline(at(5)), 2).unwrap();
    peer.conn.handle_timeout(at(5));
    assert!(matches!(peer.conn.poll_event(), Some(flyrpc_core::Event::TimedOut { tag: 2, .. })));
}

#[test]
fn p16_a_request_beyond_the_limit_is_told_busy() {
    let mut peer: Growable = Peer::new(Limits::new().max_unanswered(2));
    let wire: Vec<u8> = (1..=3).flat_map(|sequence| packet(REQUEST, sequence, "x", "")).collect();
    assert_eq!(peer.feed(at(0), &wire).len(), 2);
    peer.poll(at(0));
    assert_eq!(peer.sent(), packet(RESPONSE, 3, "BUSY", ""));
    peer.reply(0, Reply::ack()).unwrap();
    assert_eq!(peer.feed(at(0), &packet(REQUEST, 4, "x", "")).len(), 1, "an answer makes room");
}

#[test]
fn p16_a_request_beyond_the_limit_waits_where_waiting_was_chosen() {
    let mut peer: Growable = Peer::new(Limits::new().max_unanswered(1).overload(Overload::Wait));
    let wire: Vec<u8> = (1..=3).flat_map(|sequence| packet(REQUEST, sequence, "x", "")).collect();
    assert_eq!(peer.feed(at(0), &wire), ["request x \"\"", "blocked"]);
    for _ in 0..2 {
        peer.reply(0, Reply::ack()).unwrap();
        assert_eq!(peer.feed(at(0), b"").first().map(String::as_str), Some("request x \"\""));
    }
    assert_eq!((peer.conn.stats().rejected, peer.conn.stats().requests), (0, 3));
}

#[test]
fn p16_a_slow_reader_does_not_stall_the_other_direction_or_others() {
    let mut slow: Pair = Pair::new(Limits::new().max_in_flight(4), LinkConfig::default(), 1);
    let mut other: Pair = Pair::default();
    slow.b.paused = true;
    let mut refused = 0;
    for tag in 0..1000 {
        refused += u32::from(slow.call(Side::A, "x", &[0; 100], tag).is_err());
        other.call(Side::A, "x", b"", tag).unwrap();
        other.drive(100);
        other.echo_all(Side::B);
        other.drive(100);
        assert_eq!(other.a.outcome(tag), "ok \"\"");
    }
    assert_eq!(refused, 996, "past the limit the caller is refused");
    assert!(slow.link.in_transit(0) <= 4 * 120, "what waits for the reader is bounded");
    slow.advance(ms(10_000));
    assert_eq!(slow.a.over.len(), 4, "and nobody waits for it past the deadline");
}

#[test]
fn p16_no_more_than_four_of_the_cores_own_packets_wait_however_many_the_peer_asks_for() {
    let mut peer = growable();
    let wire = packet(REQUEST, 1, "$ping", "12345678").repeat(1000);
    let mut lines = peer.feed(at(0), &wire);
    let mut blocked = 0;
    while !peer.inbox.is_empty() {
        assert_eq!(lines, ["blocked"]);
        blocked += 1;
        let before = peer.outbox.len();
        peer.poll(at(0));
        assert_eq!((peer.outbox.len() - before) / packet(RESPONSE, 1, "", "12345678").len(), 4);
        lines = peer.feed(at(0), b"");
    }
    peer.poll(at(0));
    assert_eq!((blocked, peer.conn.stats().own), (249, 1000));
    assert_eq!(peer.sent(), packet(RESPONSE, 1, "", "12345678").repeat(1000));
}

/// What a head with this length field makes the connection ask for
fn at_least(limits: Limits, head: &[u8]) -> Result<usize, flyrpc_core::ProtocolError> {
    let mut conn: Connection<Fly, Table<u32>> = Connection::new(Fly::default(), limits);
    match conn.handle_input(at(0), head)?.what {
        What::NeedMore { at_least } => Ok(at_least),
        What::Blocked | What::Handled | What::Incoming(_) => Ok(0),
    }
}

#[test]
fn p17_a_length_is_checked_before_the_input_is_asked_for() {
    let limits = Limits::new().max_payload(1000).max_body(5000);
    let head = |len: u64| [b"\x43\x00\x01x\x00", len.to_be_bytes().as_slice()].concat();
    assert_eq!(at_least(limits.clone(), &head(1000)), Ok(13 + 1000));
    assert_eq!(at_least(limits.clone(), &head(1001)), Ok(0), "refused at the head, nothing more is wanted");
    assert_eq!(at_least(limits.clone(), &head(5000)), Ok(0));
    for absurd in [5001, 1 << 32, 1 << 63, u64::MAX] {
        let error = at_least(limits.clone(), &head(absurd)).unwrap_err();
        assert_eq!((error.offset, error.limit), (5, 5000));
    }
}

#[test]
fn p17_whatever_a_head_says_no_more_is_asked_for_than_the_limits_allow() {
    let limits = Limits::new().max_payload(4096).max_method(64);
    let mut rng = Rng::new(11);
    let mut asked = 0;
    for _ in 0..200_000 {
        let len = rng.below(90) as usize;
        let mut head: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
        if let Some(byte) = head.get_mut(3 + rng.below(8) as usize) {
            *byte = 0;
        }
        if let Ok(at_least) = at_least(limits.clone(), &head) {
            assert!(at_least <= 3 + 64 + 1 + 8 + 4096, "{at_least}");
            asked = asked.max(at_least);
        }
    }
    assert!(asked > 4000, "the bound was put to the test: {asked}");
}

#[test]
fn p17_random_bytes_never_panic_loop_or_pile_up() {
    for seed in 0..2000 {
        let mut rng = Rng::new(seed);
        let mut peer: Growable = Peer::new(Limits::new().max_payload(64).max_method(16).max_unanswered(8));
        for tag in 0..4 {
            peer.call(at(0), "x", b"", tag).unwrap();
        }
        for _ in 0..40 {
            let len = rng.below(40) as usize;
            // Many zeros and small numbers, so that packets do come about.
            let bytes: Vec<u8> = (0..len).map(|_| if rng.one_in(2) { 0 } else { rng.next() as u8 }).collect();
            let lines = peer.feed(at(0), &bytes);
            assert!(lines.len() <= bytes.len() + 200);
            peer.poll(at(0));
            if peer.conn.state() == State::Closed {
                break;
            }
            assert!(peer.inbox.len() <= 3 + 16 + 1 + 8 + 64, "what waits is less than one packet");
            assert!(peer.conn.unanswered() <= 8);
        }
    }
}

#[test]
fn p17_a_code_without_an_end_is_given_up_at_its_limit() {
    let limits = Limits::new().max_method(100);
    let mut wire = vec![0x40, 0, 1];
    wire.extend([b'a'; 100]);
    assert!(at_least(limits.clone(), &wire).is_ok(), "the end may still come");
    wire.push(b'a');
    let error = at_least(limits, &wire).unwrap_err();
    assert_eq!((error.offset, error.limit), (103, 100));
}

#[test]
fn p17_requests_in_hand_and_calls_in_flight_are_bounded() {
    let mut peer: Growable = Peer::new(Limits::new().max_unanswered(16).max_in_flight(3));
    for sequence in 0..1000 {
        peer.feed(at(0), &packet(REQUEST, sequence, "x", ""));
        peer.poll(at(0));
    }
    assert_eq!((peer.conn.unanswered(), peer.conn.stats().rejected), (16, 984));
    for tag in 0..3 {
        peer.call(at(0), "x", b"", tag).unwrap();
    }
    assert_eq!(peer.call(at(0), "x", b"", 3), Err(Refusal::TooManyInFlight { in_flight: 3 }));
}

#[test]
fn p17_inflated_sizes_count() {
    use flyrpc_core::fly::zip::{Unzip, ZipError, ZipMode, Zipper};
    let mut zipper = Zipper::new(ZipMode::On);
    let zeros = vec![0; 100_000];
    let packed = zipper.pack(b"", &zeros);
    assert!(packed.payload.len() < 1000);
    let mut unzip = Unzip::new();
    let opened = unzip.open(b"", packed.payload, packed.zip, &Limits::new().max_payload(99_999));
    assert_eq!(opened.map(|_| ()), Err(ZipError::TooLarge { limit: 99_999 }));
}

#[test]
fn p17_a_peers_list_of_capabilities_costs_nothing_however_long() {
    let mut peer = growable();
    let list = "max-payload=99999999999999999999\ncancel=1\ncancel=\u{e9}\n".repeat(10_000);
    assert!(peer.feed(at(0), &packet(REQUEST, 1, "$hello", &list)).is_empty());
    peer.poll(at(0));
    assert!(peer.sent().len() < 128);
}
