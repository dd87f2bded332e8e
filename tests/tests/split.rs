//! P18: the same bytes give the same events however they are split

use flyrpc_core::fly::Fly;
use flyrpc_core::fly::zip::{ZipMode, Zipper};
use flyrpc_core::{Call, Connection, Instant, Limits, Oversize, Step, Table, What};
use flyrpc_tests::split::{Conn, Seen, assert_invariant};
use flyrpc_tests::vectors::{Bytes, load, packet};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;

/// Calls with sequences 1 to 4 that replies may answer, the last of them a ping
fn four_calls(conn: &mut Conn) {
    for tag in 1..=3 {
        let call = conn.call(Instant::ZERO, Call::new("x", ""), tag, &mut Vec::new());
        assert!(call.is_ok());
    }
    assert!(conn.ping(Instant::ZERO, 4, Instant::FAR, 4, &mut Vec::new()).is_ok());
}

fn invariant(name: &str, limits: &Limits, input: &[u8]) -> Seen {
    assert_invariant(name, limits, &four_calls, input)
}

/// Limits under which the same packets are whole, refused, streamed, or the end
fn all_limits() -> [Limits; 4] {
    let small = Limits::new().max_payload(16).max_method(12);
    [
        Limits::new(),
        small.clone(),
        small.clone().oversize(Oversize::Stream),
        small.max_body(40).max_unanswered(2),
    ]
}

/// Bytes that a case holds, in order, for the side that reads them
fn inputs(case: &Value) -> Vec<Vec<u8>> {
    let bytes_of = |list: &Value, way: Option<&str>| -> Vec<u8> {
        let items = list.as_array().into_iter().flatten();
        let items =
            items.filter(|item| way.is_none_or(|way| item["dir"] == way) && item.get("event").is_none());
        items
            .filter(|item| item.get("hex").is_some() || item.get("parts").is_some())
            .flat_map(Bytes::of)
            .collect()
    };
    let mut all = vec![
        bytes_of(&case["steps"], Some("c2s")),
        bytes_of(&case["steps"], Some("s2c")),
        bytes_of(&case["writes"], None),
        bytes_of(&case["replies"], None),
    ];
    if case.get("hex").is_some() || case.get("parts").is_some() {
        all.push(Bytes::of(case));
    }
    all.extend(
        case["samples"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|sample| ["request", "reply"].map(|part| Bytes::of(&sample[part]))),
    );
    all.retain(|bytes| !bytes.is_empty());
    all
}

/// What it proves: every recorded stream is read the same, whichever way the network cuts it
#[test]
fn p18_every_vector_gives_the_same_events_however_it_is_split() {
    let (mut streams, mut cases) = (0, 0);
    for file in [
        "packets",
        "exchanges",
        "node_exchanges",
        "cross",
        "probes_server",
        "probes_client",
        "node_probes_server",
        "node_probes_client",
        "seq",
    ] {
        for case in load(&format!("flyrpc/{file}.json")) {
            cases += 1;
            let inputs = inputs(&case);
            let name = case["name"].as_str().expect("a name");
            assert!(!inputs.is_empty() || name == "raw-go-connect-close", "{name} holds no bytes");
            for input in inputs {
                invariant(name, &Limits::new(), &input);
                // The short ones under tighter limits as well.
                if input.len() < 1000 {
                    all_limits().iter().skip(1).for_each(|limits| drop(invariant(name, limits, &input)));
                }
                streams += 1;
            }
        }
    }
    println!("{streams} streams of {cases} cases");
    assert!(cases == 191 && streams > 191, "{streams} streams of {cases} cases");
}

fn code() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-zé]{0,10}".prop_map(String::into_bytes),
        1 => Just(b"$ping".to_vec()),
        1 => Just(b"$cancel".to_vec()),
        1 => Just(b"$hello".to_vec()),
        1 => proptest::collection::vec(1_u8..=255, 0..14),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => proptest::collection::vec(any::<u8>(), 12..60),
        1 => Just(b"cancel=1\nmax-payload=99\n".to_vec()),
    ]
}

/// A packet with any flag, so that the length field may be wider than it must be
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), 0_u16..6, code(), payload()).prop_map(|(flag, sequence, code, payload)| {
        let mut wire = vec![flag];
        wire.extend(sequence.to_be_bytes());
        wire.extend(code);
        wire.push(0);
        let len = (payload.len() as u64).to_be_bytes();
        wire.extend(&len[8 - (1 << (flag & 3))..]);
        wire.extend(payload);
        wire
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        rng_seed: RngSeed::Fixed(18),
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn p18_generated_packets_give_the_same_events_however_they_are_split(
        packets in proptest::collection::vec(any_packet(), 1..5),
        which in 0_usize..4,
    ) {
        invariant("generated", &all_limits()[which], &packets.concat());
    }

    #[test]
    fn p18_any_bytes_give_the_same_events_however_they_are_split(
        bytes in proptest::collection::vec(prop_oneof![Just(0_u8), 0_u8..8, any::<u8>()], 0..120),
        which in 0_usize..4,
    ) {
        invariant("noise", &all_limits()[which], &bytes);
    }
}

#[test]
fn p18_compressed_packets_give_the_same_events_however_they_are_split() {
    let mut zipper = Zipper::new(ZipMode::On).threshold(0);
    let (code, text) = ("long/code/".repeat(20), [b'a'; 3000]);
    let packed = zipper.pack(code.as_bytes(), &text);
    assert!(packed.zip.code && packed.zip.payload);
    let wire = [
        packet(0x4c, 9, packed.code, packed.payload),
        packet(0x84, 1, "", packed.payload),
        packet(0x0c, 0, packed.code, packed.payload),
    ];
    let seen = invariant("compressed", &Limits::new(), &wire.concat());
    assert_eq!(seen.events.len(), 3);
}

#[test]
fn p18_streamed_bodies_give_the_same_pieces_in_all_however_they_are_split() {
    let limits = Limits::new().max_payload(16).oversize(Oversize::Stream);
    let wire = [
        packet(0x40, 9, "up", [1; 300]),
        packet(0x80, 1, "", [2; 40]),
        packet(0, 0, "note", [3; 17]),
        packet(0x80, 4, "", [4; 100]),
        packet(0x80, 2, "", "whole"),
    ];
    let seen = invariant("streamed", &limits, &wire.concat());
    // Three heads, three bodies, the pong whose body nobody wants, and a whole reply.
    assert_eq!(seen.events.len(), 8, "{:#?}", seen.events);
    assert!(seen.events.contains(&"body 300 300 0".to_owned()), "{:#?}", seen.events);
}

#[test]
fn p18_refused_bodies_give_the_same_answers_however_they_are_split() {
    let limits = Limits::new().max_payload(16);
    let wire = [
        packet(0x40, 9, "up", [1; 300]),
        packet(0x80, 1, "", [2; 40]),
        packet(0, 0, "note", [3; 17]),
        packet(0x40, 10, b"\xff", [4; 100]),
        packet(0x40, 11, "$ping", [5; 100]),
        packet(0x80, 2, "", "whole"),
    ];
    let seen = invariant("refused", &limits, &wire.concat());
    assert_eq!(seen.events.len(), 2, "{:#?}", seen.events);
    let answers = [
        packet(0x80, 9, "TOO_LARGE", ""),
        packet(0x80, 10, "BAD_CODE", ""),
        packet(0x80, 11, "TOO_LARGE", ""),
    ];
    assert_eq!(seen.sent, answers.concat());
}

#[test]
fn p18_reserved_codes_give_the_same_answers_however_they_are_split() {
    let wire = [
        packet(0x40, 1, "$ping", "12345678"),
        packet(0x40, 2, "$ping", "123456789"),
        packet(0x40, 3, "$hello", "cancel=1\n"),
        packet(0, 0, "$cancel", [0, 7]),
        packet(0, 0, "$cancel", [7]),
        packet(0, 0, "$ping", "message"),
        packet(0x40, 4, b"\xff", "x"),
        packet(0, 0, b"\xff", "x"),
        packet(0x80, 4, "", "pong"),
        packet(0x80, 4, "", "twice"),
    ];
    let seen = invariant("reserved", &Limits::new(), &wire.concat());
    assert_eq!(seen.events.len(), 4, "{:#?}", seen.events);
}

#[test]
fn p18_more_refusals_than_the_queue_holds_are_the_same_however_they_are_split() {
    let wire: Vec<u8> = (0..40).flat_map(|sequence| packet(0x40, sequence, b"\xff", "")).collect();
    let seen = invariant("many", &Limits::new(), &wire);
    assert_eq!(seen.sent.len(), 40 * packet(0x80, 1, "BAD_CODE", "").len());
}

#[test]
fn p18_a_fault_is_the_same_fault_at_the_same_byte_however_it_is_split() {
    let good = packet(0x40, 9, "good", "x");
    for (what, bad) in [
        ("code", packet(0x40, 9, [b'a'; 13], "")),
        ("code without an end", [&[0x40, 0, 9][..], &[b'a'; 40]].concat()),
        ("length", packet(0x40, 9, "x", [0; 41])),
        ("absurd length", [&b"\x43\x00\x09x\x00"[..], &u64::MAX.to_be_bytes()].concat()),
    ] {
        let limits = Limits::new().max_payload(16).max_body(40).max_method(12);
        let seen = invariant(what, &limits, &[good.clone(), bad].concat());
        assert_eq!(seen.events.len(), 2, "{:#?}", seen.events);
        assert!(seen.events[1].starts_with("the peer broke the protocol at byte"), "{}", seen.events[1]);
    }
}

/// An owner that reads until there is as much as was asked for: the answer must not depend on what it was not asked for
#[test]
fn p18_no_more_is_asked_for_than_decides() {
    type Peer = Connection<Fly, Table<u32>>;
    for max_method in [0_u16, 1, 4, 100] {
        for flag in [0x40_u8, 0x41, 0x42, 0x43] {
            for len in 0..=usize::from(max_method) + 8 {
                let mut wire = vec![flag, 0, 7];
                wire.extend(core::iter::repeat_n(b'c', len));
                let whole = {
                    let mut peer = Peer::new(Fly::default(), Limits::new().max_method(max_method));
                    peer.handle_input(Instant::ZERO, &wire).is_err()
                };
                let mut peer = Peer::new(Fly::default(), Limits::new().max_method(max_method));
                let (mut have, mut failed) = (0, false);
                loop {
                    match peer.handle_input(Instant::ZERO, &wire[..have]) {
                        Ok(Step { what: What::NeedMore { at_least }, .. }) if at_least <= wire.len() => {
                            assert!(at_least > have, "asked for what is there");
                            have = at_least;
                        }
                        Ok(_) => break,
                        Err(_) => {
                            failed = true;
                            break;
                        }
                    }
                }
                assert_eq!(failed, whole, "{len} bytes of code, {max_method} allowed, flag {flag:#04x}");
            }
        }
    }
}
