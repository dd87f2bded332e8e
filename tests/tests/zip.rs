//! Compression of codes and payloads: round trips, limits while inflating, and COBS against another implementation

use flyrpc_core::fly::zip::{
    InflateStream, Opened, Unzip, ZipError, ZipMode, Zipper, cobs_max, decode_cobs, encode_cobs,
    inflate_code, inflate_payload,
};
use flyrpc_core::fly::{Zip, codes};
use flyrpc_core::{Body, Call, Connection, Incoming, Instant, Limits, Reply, Table, What, fly::Fly};
use flyrpc_tests::vectors::packet;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const PAYLOAD: Zip = Zip { code: false, payload: true };
const CODE: Zip = Zip { code: true, payload: false };

/// The same cases in every run
fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(2026), failure_persistence: None, ..Default::default() }
}

/// A payload, packed by the real packer without a threshold; `None` where that makes it no shorter
fn deflated(payload: &[u8]) -> Option<Vec<u8>> {
    let mut zipper = Zipper::new(ZipMode::On).threshold(0);
    let packed = zipper.pack(b"", payload);
    packed.zip.payload.then(|| packed.payload.to_vec())
}

fn open(payload: &[u8], limit: u32) -> Result<Vec<u8>, ZipError> {
    let mut unzip = Unzip::new();
    let opened = unzip.open(b"", payload, PAYLOAD, &Limits::new().max_payload(limit));
    opened.map(|opened| opened.payload.to_vec())
}

fn open_slice(payload: &[u8], limit: usize) -> Result<Vec<u8>, ZipError> {
    let mut out = vec![0; limit];
    let len = inflate_payload(payload, &mut out)?;
    out.truncate(len);
    Ok(out)
}

/// One stored block of DEFLATE, the last
fn stored(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("short enough for one block").to_le_bytes();
    [&[1, len[0], len[1], !len[0], !len[1]], bytes].concat()
}

/// DEFLATE of one zero and `runs` times 258 more, by hand (RFC 1951, 3.2.6): 13 bits for each run
fn zeros(runs: usize) -> Vec<u8> {
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    let mut put = |value: u32, width: u32| {
        bits |= value << count;
        count += width;
        while count >= 8 {
            out.push(bits as u8);
            bits >>= 8;
            count -= 8;
        }
        // What is left at the end is padding of the last byte.
        (bits as u8, out.len())
    };
    // The last block, with fixed codes; the literal 0 is 0011_0000, a length of 258 is 1100_0101, distance 1 is 00000.
    put(0b011, 3);
    put(u32::from(0b0011_0000_u8.reverse_bits()), 8);
    for _ in 0..runs {
        put(u32::from(0b1100_0101_u8.reverse_bits()), 13);
    }
    // The end is 000_0000.
    put(0, 7);
    put(0, 7);
    out
}

proptest! {
    #![proptest_config(seeded(300))]

    #[test]
    fn any_payload_and_code_come_back_as_they_were(
        code in "[a-z/é🦀]{0,80}",
        repeat in 1_usize..40,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        times in 1_usize..20,
        threshold in 0_usize..600,
    ) {
        let (code, payload) = (code.repeat(repeat), bytes.repeat(times));
        let mut zipper = Zipper::new(ZipMode::On).threshold(threshold);
        let packed = zipper.pack(code.as_bytes(), &payload);
        prop_assert!(packed.code.len() <= code.len() && packed.payload.len() <= payload.len());
        prop_assert!(!packed.zip.code || code.len() >= threshold && packed.code.len() < code.len());
        prop_assert!(!packed.zip.payload || payload.len() >= threshold && packed.payload.len() < payload.len());
        prop_assert!(!packed.code.contains(&0), "no 0x00 in any code");
        let mut unzip = Unzip::new();
        let limits = Limits::new().max_method(u16::MAX);
        let opened = unzip.open(packed.code, packed.payload, packed.zip, &limits);
        prop_assert_eq!(opened, Ok(Opened { code: code.as_str(), payload: &payload }));
        if packed.zip.code {
            let (mut scratch, mut out) = (vec![0; packed.code.len()], vec![0; code.len()]);
            prop_assert_eq!(inflate_code(packed.code, &mut scratch, &mut out), Ok(code.as_str()));
        }
    }

    #[test]
    fn the_limit_is_exact_to_the_byte(bytes in proptest::collection::vec(any::<u8>(), 1..300), times in 3_usize..60) {
        let payload = bytes.repeat(times);
        if let Some(packed) = deflated(&payload) {
            let len = payload.len();
            prop_assert_eq!(open(&packed, len as u32), Ok(payload.clone()));
            prop_assert_eq!(open_slice(&packed, len), Ok(payload.clone()));
            prop_assert_eq!(open_slice(&packed, len + 1), Ok(payload));
            prop_assert_eq!(open(&packed, len as u32 - 1), Err(ZipError::TooLarge { limit: len - 1 }));
            prop_assert_eq!(open_slice(&packed, len - 1), Err(ZipError::TooLarge { limit: len - 1 }));
        }
    }

    #[test]
    fn any_bytes_inflate_or_fail_within_the_limit(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let slice = open_slice(&bytes, 500);
        prop_assert_eq!(open(&bytes, 500), slice.clone());
        if let Ok(out) = slice {
            prop_assert!(out.len() <= 500);
        }
        let (mut scratch, mut out) = (vec![0; bytes.len()], vec![0; 500]);
        let _: Result<&str, ZipError> = inflate_code(&bytes, &mut scratch, &mut out);
    }

    #[test]
    fn cobs_agrees_with_the_other_implementation(
        runs in proptest::collection::vec((any::<u8>(), 0_usize..600, 0_usize..3), 0..6),
    ) {
        let bytes: Vec<u8> = runs.iter().flat_map(|(byte, len, zeros)| {
            let run = vec![(*byte).max(1); *len];
            [run, vec![0; *zeros]].concat()
        }).collect();
        agrees(&bytes);
    }

    #[test]
    fn cobs_reads_what_the_other_reads(bytes in proptest::collection::vec(0_u8..6, 0..40)) {
        // Small numbers make short runs, so that many of the inputs are good.
        let mut out = vec![0; bytes.len()];
        let ours = decode_cobs(&bytes, &mut out);
        let theirs = cobs::decode_vec(&bytes).ok().filter(|_| !bytes.contains(&0));
        if let (Some(ours), Some(theirs)) = (ours, &theirs) {
            prop_assert_eq!(ours, theirs);
        }
        if ours.is_some() {
            prop_assert!(bytes.is_empty() || theirs.is_some(), "we read what they refuse: {:x?}", bytes);
        }
    }
}

/// Both encode the same, and each reads what the other has written
fn agrees(bytes: &[u8]) {
    let theirs = cobs::encode_vec(bytes);
    let mut ours = vec![0; cobs_max(bytes.len())];
    let len = encode_cobs(bytes, &mut ours).expect("room for the longest");
    assert!(!ours[..len].contains(&0));
    let mut back = vec![0; bytes.len() + 1];
    assert_eq!(decode_cobs(&theirs, &mut back), Some(bytes), "we read theirs");
    assert_eq!(cobs::decode_vec(&ours[..len]).as_deref(), Ok(bytes), "they read ours");
    assert_eq!(decode_cobs(&ours[..len], &mut back), Some(bytes), "we read ours");
    // Either may close a full last run with an empty one; nothing else may differ.
    let plain = theirs.strip_suffix(&[1]).filter(|_| theirs.len() == len + 1).unwrap_or(&theirs);
    assert_eq!(&ours[..len], plain);
}

#[test]
fn cobs_agrees_at_the_ends_of_runs() {
    for len in [0, 1, 2, 252, 253, 254, 255, 256, 507, 508, 509, 762, 1016] {
        let run = vec![0xaa; len];
        agrees(&run);
        agrees(&[&[0], &*run].concat());
        agrees(&[&*run, &[0]].concat());
        agrees(&[&[0, 0], &*run, &[0, 0]].concat());
        agrees(&[&*run, &[0], &*run].concat());
        agrees(&vec![0; len]);
        agrees(&(0..len).map(|at| at as u8).collect::<Vec<_>>());
    }
}

#[test]
fn cobs_refuses_what_is_none() {
    let mut out = [0; 16];
    for bad in [&b"\x00"[..], b"\x05abc", b"\x03a\x00", b"\x02a\x00", b"\xffab"] {
        assert_eq!(decode_cobs(bad, &mut out), None, "{bad:x?}");
    }
    assert_eq!(decode_cobs(b"\x05abcd", &mut out[..3]), None, "no room");
    assert_eq!(encode_cobs(b"abcd", &mut out[..4]), None, "no room");
    assert_eq!(encode_cobs(b"abcd", &mut out[..5]), Some(5));
}

#[test]
fn parts_below_the_threshold_are_sent_as_they_are() {
    let mut zipper = Zipper::new(ZipMode::On);
    assert_eq!(zipper.pack(b"code", &[b'a'; 255]).zip, Zip::NONE, "256 is the default");
    assert_eq!(zipper.pack(b"code", &[b'a'; 256]).zip, PAYLOAD);
    assert_eq!(zipper.pack(&[b'a'; 256], b"short").zip, CODE);
    assert_eq!(zipper.pack(&[b'a'; 256], &[b'a'; 256]).zip, Zip { code: true, payload: true });
    let mut eager = Zipper::new(ZipMode::On).threshold(20);
    assert_eq!(eager.pack(b"", &[b'a'; 20]).zip, PAYLOAD);
    assert_eq!(eager.pack(b"", &[b'a'; 19]).zip, Zip::NONE);
}

#[test]
fn what_does_not_get_smaller_is_sent_as_it_is() {
    let mut rng = flyrpc_tests::Rng::new(9);
    let noise: Vec<u8> = (0..4096).map(|_| 1 + (rng.next() % 255) as u8).collect();
    let mut zipper = Zipper::new(ZipMode::On);
    let packed = zipper.pack(&noise, &noise);
    assert_eq!(packed.zip, Zip::NONE);
    assert!(packed.code == noise && packed.payload == noise);
    // The packer goes on after a failure.
    assert_eq!(zipper.pack(b"", &[0; 1000]).zip, PAYLOAD);
}

#[test]
fn off_never_compresses_and_mirror_waits_for_the_peer() {
    let long = [b'a'; 1000];
    let mut off = Zipper::new(ZipMode::Off);
    off.peer_unzips();
    assert_eq!(off.pack(&long, &long).zip, Zip::NONE);
    assert_eq!(Zipper::default().pack(b"", &long).zip, Zip::NONE, "off is the default");
    let mut mirror = Zipper::new(ZipMode::Mirror);
    assert!(!mirror.wants(1000));
    assert_eq!(mirror.pack(b"", &long).zip, Zip::NONE);
    mirror.peer_unzips();
    assert!(mirror.wants(1000) && !mirror.wants(10));
    assert_eq!(mirror.pack(b"", &long).zip, PAYLOAD);
}

#[test]
fn stored_and_empty_streams_open_within_exact_limits() {
    let block = stored(b"hello");
    for limit in [5, 6, 100] {
        assert_eq!(open(&block, limit), Ok(b"hello".to_vec()));
        assert_eq!(open_slice(&block, limit as usize), Ok(b"hello".to_vec()));
    }
    assert_eq!(open(&block, 4), Err(ZipError::TooLarge { limit: 4 }));
    assert_eq!(open_slice(&block, 4), Err(ZipError::TooLarge { limit: 4 }));
    assert_eq!(open(&stored(b""), 0), Ok(Vec::new()));
    assert_eq!(open_slice(&stored(b""), 0), Ok(Vec::new()));
    assert_eq!(open(&block, 0), Err(ZipError::TooLarge { limit: 0 }));
    assert_eq!(open_slice(&block, 0), Err(ZipError::TooLarge { limit: 0 }));
}

#[test]
fn a_bomb_is_refused_at_the_limit_with_bounded_memory() {
    // 4,161,791 runs of 258 zeros are a GiB.
    let bomb = zeros((1 << 30) / 258);
    assert!(bomb.len() < 7 << 20);
    let limits = Limits::new().max_payload(1 << 20);
    let mut unzip = Unzip::new();
    for _ in 0..3 {
        let opened = unzip.open(b"", &bomb, PAYLOAD, &limits);
        assert_eq!(opened, Err(ZipError::TooLarge { limit: 1 << 20 }));
    }
    let text = format!("{unzip:?}");
    let held = text.rsplit_once("payload: ").and_then(|(_, rest)| rest.trim_end_matches(" }").parse().ok());
    assert!(held.is_some_and(|held: usize| held <= 2 << 20), "{text}");
    unzip.release();
    assert_eq!(format!("{unzip:?}"), format!("{:?}", Unzip::new()));
    assert_eq!(open_slice(&bomb, 1 << 20), Err(ZipError::TooLarge { limit: 1 << 20 }));

    let mut stream = InflateStream::new(1 << 20);
    let (mut out, mut given, mut written) = (vec![0; 64 << 10], 0, 0_usize);
    let error = loop {
        match stream.push(&bomb[given..], &mut out) {
            Ok(step) => (given, written) = (given + step.read, written + step.written),
            Err(error) => break error,
        }
    };
    assert_eq!(error, ZipError::TooLarge { limit: 1 << 20 });
    assert!(written <= 1 << 20 && given < 64 << 10, "given up at the limit and not behind it");
}

#[test]
fn the_handmade_stream_is_what_it_says() {
    assert_eq!(open(&zeros(4), 2000), Ok(vec![0; 4 * 258 + 1]));
}

#[test]
fn a_bomb_in_a_code_is_refused_at_the_limit() {
    let bomb = zeros(10_000);
    let mut code = vec![0; cobs_max(bomb.len())];
    let len = encode_cobs(&bomb, &mut code).unwrap();
    let mut unzip = Unzip::new();
    assert_eq!(
        unzip.open(&code[..len], b"", CODE, &Limits::new()),
        Err(ZipError::TooLarge { limit: 1024 }),
        "max_method"
    );
    let (mut scratch, mut out) = (vec![0; len], [0; 64]);
    assert_eq!(inflate_code(&code[..len], &mut scratch, &mut out), Err(ZipError::TooLarge { limit: 64 }));
}

#[test]
fn truncated_corrupt_and_trailing_bytes_are_corrupt() {
    let payload: Vec<u8> = (0..2000_u32).map(|at| (at * at / 7) as u8).collect();
    let good = deflated(&payload).expect("it gets smaller");
    for end in 0..good.len() {
        assert_eq!(open(&good[..end], 1 << 20), Err(ZipError::Corrupt), "cut at {end}");
        assert_eq!(open_slice(&good[..end], 4000), Err(ZipError::Corrupt), "cut at {end}");
    }
    for tail in [&b"\0"[..], b"x", &good] {
        let longer = [&good, tail].concat();
        assert_eq!(open(&longer, 1 << 20), Err(ZipError::Corrupt));
        assert_eq!(open_slice(&longer, 1 << 20), Err(ZipError::Corrupt));
    }
    // A block type that does not exist, a stored block whose two lengths differ, a distance before the start.
    for bad in [&b"\x07"[..], b"\x01\x05\x00\x00\x00hello", b"\x4b\x04\x05\x00", b"hello"] {
        assert_eq!(open(bad, 1000), Err(ZipError::Corrupt), "{bad:x?}");
        assert_eq!(open_slice(bad, 1000), Err(ZipError::Corrupt), "{bad:x?}");
    }
    let zlib = [&[0x78, 0x9c], &*good].concat();
    assert_eq!(open(&zlib, 4000), Err(ZipError::Corrupt), "no wrapper is taken off");
}

#[test]
fn an_opener_works_on_after_a_failure() {
    let mut unzip = Unzip::new();
    let good = deflated(&[7; 3000]).unwrap();
    let limits = Limits::new();
    for bad in [&good[..5], b"\x07", b""] {
        assert_eq!(unzip.open(b"", bad, PAYLOAD, &limits), Err(ZipError::Corrupt));
        assert!(unzip.open(b"", &good, PAYLOAD, &limits).is_ok_and(|opened| opened.payload == [7; 3000]));
    }
}

#[test]
fn an_inflated_code_that_is_not_text_is_a_bad_code() {
    let mut code = [0; 64];
    let len = encode_cobs(&stored(b"\xff\xfe"), &mut code).unwrap();
    assert_eq!(Unzip::new().open(&code[..len], b"", CODE, &Limits::new()), Err(ZipError::BadCode));
    let (mut scratch, mut out) = ([0; 64], [0; 64]);
    assert_eq!(inflate_code(&code[..len], &mut scratch, &mut out), Err(ZipError::BadCode));
    assert_eq!(Unzip::new().open(b"\xff", b"", Zip::NONE, &Limits::new()), Err(ZipError::BadCode));
    assert_eq!(inflate_code(b"\x09no", &mut scratch, &mut out), Err(ZipError::Corrupt), "no COBS");
}

#[test]
fn each_failure_has_its_answer() {
    assert_eq!(ZipError::Corrupt.code(), codes::BAD_ZIP);
    assert_eq!(ZipError::TooLarge { limit: 1 }.code(), codes::TOO_LARGE);
    assert_eq!(ZipError::BadCode.code(), codes::BAD_CODE);
}

/// Inflates `deflated` in pieces of `piece` bytes into an output of `room` bytes; the result and whether it ended
fn in_pieces(deflated: &[u8], piece: usize, room: usize, limit: u64) -> Result<(Vec<u8>, bool), ZipError> {
    let (mut stream, mut all, mut out) = (InflateStream::new(limit), Vec::new(), vec![0; room]);
    let mut ended = false;
    for piece in deflated.chunks(piece) {
        let mut rest = piece;
        loop {
            let step = stream.push(rest, &mut out)?;
            all.extend_from_slice(&out[..step.written]);
            rest = &rest[step.read..];
            ended = step.done;
            if rest.is_empty() && step.written < room {
                break;
            }
        }
    }
    Ok((all, ended))
}

#[test]
fn a_stream_inflates_in_pieces_of_any_size() {
    let payload: Vec<u8> = (0..5000_u32).map(|at| (at / 7 + at * at / 500) as u8).collect();
    let deflated = deflated(&payload).expect("it gets smaller");
    for piece in (1..=64).chain([100, 1000, deflated.len()]) {
        for room in [1, 7, 64, 70_000] {
            let got = in_pieces(&deflated, piece, room, u64::MAX);
            assert!(got == Ok((payload.clone(), true)), "pieces of {piece}, room for {room}");
        }
    }
}

#[test]
fn a_stream_is_held_to_its_limit_in_pieces_of_any_size() {
    let payload = vec![3; 70_000];
    let deflated = deflated(&payload).unwrap();
    for piece in [1, 2, 5, deflated.len()] {
        for room in [100, 40_000, 100_000] {
            assert!(in_pieces(&deflated, piece, room, 70_000).is_ok(), "exactly met");
            let error = in_pieces(&deflated, piece, room, 69_999).unwrap_err();
            assert_eq!(error, ZipError::TooLarge { limit: 69_999 }, "passed by one");
        }
    }
}

#[test]
fn a_stream_that_is_cut_short_has_not_ended_and_one_with_a_tail_is_corrupt() {
    let deflated = deflated(&[5; 5000]).unwrap();
    for end in 1..deflated.len() {
        let (_, ended) = in_pieces(&deflated[..end], 3, 1000, 1 << 20).unwrap();
        assert!(!ended, "cut at {end}");
    }
    let longer = [&*deflated, b"tail"].concat();
    for piece in [1, 3, longer.len()] {
        assert_eq!(in_pieces(&longer, piece, 1000, 1 << 20), Err(ZipError::Corrupt), "pieces of {piece}");
    }
    assert_eq!(in_pieces(b"\x07\x07", 1, 10, 100), Err(ZipError::Corrupt));
}

#[test]
fn a_compressed_request_runs_end_to_end() {
    type Conn = Connection<Fly, Table<u32>>;
    let now = Instant::ZERO;
    let (mut client, mut server) =
        (Conn::new(Fly::default(), Limits::new()), Conn::new(Fly::default(), Limits::new()));
    let (mut zipper, mut mirror) = (Zipper::new(ZipMode::On), Zipper::new(ZipMode::Mirror));
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let code = "a/very/long/code/".repeat(40);
    let payload = [b'p'; 10_000];
    let packed = zipper.pack(code.as_bytes(), &payload);
    let call = Call::new(packed.code, packed.payload).meta(packed.zip);
    client.call(now, call, 9, &mut up).unwrap();
    assert!(up.len() < 300, "{} bytes on the wire", up.len());
    assert_eq!(up[0], 0x4c, "a request, both parts compressed");

    let step = server.handle_input(now, &up).unwrap();
    let What::Incoming(Incoming::Request { method, body, meta, token }) = step.what else {
        panic!("no request")
    };
    let mut unzip = Unzip::new();
    let opened = unzip.open(method, body.bytes(), meta, server.limits()).unwrap();
    assert!(opened.code == code && opened.payload == payload);
    mirror.peer_unzips();
    let packed = mirror.pack(b"", opened.payload);
    let reply = Reply { code: None, body: Body::Whole(packed.payload), meta: packed.zip };
    server.reply(token, reply, &mut down).unwrap();
    assert_eq!(down[0], 0x84);

    let step = client.handle_input(now, &down).unwrap();
    let What::Incoming(Incoming::Reply { tag: 9, code: b"", body, meta, .. }) = step.what else {
        panic!("no reply")
    };
    let opened = unzip.open(b"", body.bytes(), meta, client.limits()).unwrap();
    assert!(opened.payload == payload);
}

#[test]
fn a_compressed_code_never_means_a_reserved_one_to_the_core() {
    let mut code = [0; 32];
    let len = encode_cobs(&stored(b"$ping"), &mut code).unwrap();
    let wire = packet(0x48, 1, &code[..len], "x");
    let mut conn: Connection<Fly, Table<u32>> = Connection::new(Fly::default(), Limits::new());
    let step = conn.handle_input(Instant::ZERO, &wire).unwrap();
    let What::Incoming(Incoming::Request { method, meta, .. }) = step.what else { panic!("no request") };
    assert_eq!(meta, CODE);
    assert_eq!(
        Unzip::new().open(method, b"x", meta, &Limits::new()).map(|opened| opened.code == "$ping"),
        Ok(true)
    );
}
