//! The packet codec, for any packet and any bytes

#![expect(clippy::unwrap_used, reason = "a failure is to stop the test")]

use flyrpc_core::fly::zip::{InflateStream, ZipError, inflate_payload};
use flyrpc_core::fly::{Flag, RawPacket};
use flyrpc_core::{Fault, SliceSink, WireError};
use flyrpc_tests::fuzz;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Runs with the same cases every time
fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value)) {
    let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[0x5f; 32]);
    let result = TestRunner::new_with_rng(config, rng).run(&strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn code() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(1..=u8::MAX, 0..40),
        1 => vec(1..=u8::MAX, 1000..1025),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..100),
        2 => vec(any::<u8>(), 250..260),
        1 => vec(any::<u8>(), 0..5000),
    ]
}

fn round_trip(flag: u8, sequence: u16, code: &[u8], payload: &[u8]) {
    let packet = RawPacket { flag: Flag(flag), sequence, code, payload };
    let mut wire = Vec::new();
    packet.encode(&mut wire).unwrap();
    assert_eq!(wire.len(), packet.encoded_len());
    let mut memory = vec![0; wire.len()];
    let mut slice = SliceSink::new(&mut memory);
    packet.encode(&mut slice).unwrap();
    assert_eq!(slice.written(), wire, "sinks differ");

    let trailing = [&wire[..], b"\x40\x00"].concat();
    let (back, len) = RawPacket::decode(&trailing, code.len(), payload.len() as u64).unwrap().unwrap();
    assert_eq!(len, wire.len());
    assert_eq!(back.flag.0 & !3, flag & !3);
    assert_eq!((back.sequence, back.code, back.payload), (sequence, code, payload));
    let width = match payload.len() {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    };
    assert_eq!(back.flag.length_width(), width, "not the shortest length");
}

/// The same packet with its length written `1 << wide` bytes wide
fn written_wide(flag: u8, wide: u8, code: &[u8], payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u64).to_be_bytes();
    let mut wire = vec![flag & !3 | wide, 1, 2];
    wire.extend(code);
    wire.push(0);
    wire.extend(&len[8 - (1 << wide)..]);
    wire.extend(payload);
    wire
}

#[test]
fn p12_what_is_encoded_decodes_to_the_same_packet() {
    check(2000, (any::<u8>(), any::<u16>(), code(), payload()), |(flag, sequence, code, payload)| {
        round_trip(flag, sequence, &code, &payload);
    });
}

#[test]
fn p12_the_length_widths_meet_at_their_boundaries() {
    for len in [0, 1, 254, 255, 256, 257, 65_534, 65_535, 65_536, 65_537] {
        let payload = vec![len as u8; len];
        for flag in [0x00, 0x40, 0x80, 0xc0, 0x4c, 0x7f, 0xff] {
            round_trip(flag, len as u16, b"boundary", &payload);
        }
    }
}

#[test]
fn p12_a_length_of_any_width_is_read() {
    let any = (any::<u8>(), 0..4_u8, code(), payload());
    check(1000, any, |(flag, wide, code, payload)| {
        if wide == 0 && payload.len() > 0xff {
            return;
        }
        let wire = written_wide(flag, wide, &code, &payload);
        let (packet, len) = RawPacket::decode(&wire, 1024, 1 << 20).unwrap().unwrap();
        assert_eq!((packet.code, packet.payload, len), (&code[..], &payload[..], wire.len()));
        fuzz::wire(&wire);
    });
}

#[test]
fn p17_a_length_or_a_code_beyond_its_limit_is_refused_before_its_bytes_are_there() {
    let any = (any::<u8>(), 0..4_u8, code(), 0..300_usize);
    check(1000, any, |(flag, wide, code, len)| {
        let len = if wide == 0 { len.min(255) } else { len };
        let wire = written_wide(flag, wide, &code, &vec![0; len]);
        let head = &wire[..wire.len() - len];
        let at = 4 + code.len() as u32;
        if let Some(limit) = len.checked_sub(1) {
            let refused = RawPacket::decode(head, 1024, limit as u64);
            assert_eq!(refused, Err(Fault { what: WireError::BodyTooLong, at }));
            assert_eq!(RawPacket::decode(head, 1024, len as u64), Ok(None));
        }
        if let Some(limit) = code.len().checked_sub(1) {
            let refused = RawPacket::decode(&head[..3 + code.len()], limit, 1 << 20);
            assert_eq!(refused, Err(Fault { what: WireError::MethodTooLong, at: 3 + limit as u32 }));
        }
    });
}

#[test]
fn p17_any_bytes_decode_within_the_limits_or_not_at_all() {
    check(4000, vec(any::<u8>(), 0..200), |bytes| fuzz::wire(&bytes));
    // Mostly small bytes look more like packets.
    check(4000, vec(prop_oneof![Just(0), Just(0x40), 0..8_u8, any::<u8>()], 0..64), |bytes| {
        fuzz::wire(&bytes);
    });
}

#[test]
fn p17_any_bytes_inflate_within_the_limits_or_not_at_all() {
    check(150, vec(any::<u8>(), 0..300), |bytes| fuzz::zip(&bytes));
    check(50, (vec(any::<u8>(), 1..20), 1..200_usize), |(part, times)| fuzz::zip(&part.repeat(times)));
}

#[test]
fn p18_any_bytes_give_the_same_events_however_they_are_cut() {
    check(3000, vec(any::<u8>(), 0..150), |bytes| fuzz::connection(&bytes));
    let small = prop_oneof![2 => Just(0), 1 => Just(0x40), 1 => Just(0x80), 3 => 0..8_u8, 1 => any::<u8>()];
    let head = (any::<[u8; 4]>(), vec(small, 0..120));
    check(3000, head, |(head, stream)| fuzz::connection(&[&head[..], &stream].concat()));
}

/// A block of fixed codes whose first symbol is a match: it copies from before the start
#[test]
fn p17_a_distance_before_the_start_is_corrupt_in_every_way_of_inflating() {
    let deflated = [0x03, 0x61, 0x00];
    assert_eq!(inflate_payload(&deflated, &mut [0; 64]), Err(ZipError::Corrupt));
    let mut out = [0; 64];
    assert_eq!(InflateStream::new(64).push(&deflated, &mut out), Err(ZipError::Corrupt));
}
