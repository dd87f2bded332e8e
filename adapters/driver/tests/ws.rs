//! WebSocket as a transport: frames however they are cut, both ends' closes, limits, and tungstenite at the other end

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

mod common;

use core::future::poll_fn;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use bytes::BytesMut;
use common::{End, Hold, Wire, block_on};
use flyrpc_driver::runtime::{Transport, TryWrite};
use flyrpc_driver::ws::{Decoder, Encoder, Handshake, Kind, Options, Role, WebSocket, accept_key};
use tungstenite::Message;

/// Messages as units
fn units(messages: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for message in messages {
        all.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        all.extend_from_slice(message);
    }
    all
}

/// A frame as the peer of `role` sends it
fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut all = vec![first];
    let masked = if role == Role::Server { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..=125 => all.push(masked | u8::try_from(len).unwrap()),
        len @ 126..=0xffff => {
            all.push(masked | 126);
            all.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            all.push(masked | 127);
            all.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    if role == Role::Server {
        all.extend_from_slice(&mask);
        all.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        all.extend_from_slice(payload);
    }
    all
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// What came of bytes: the units, what is owed to the peer, and how it ended
#[derive(Debug, PartialEq)]
struct Outcome {
    units: Vec<u8>,
    closed: bool,
    error: Option<(u16, String)>,
    clean: bool,
}

/// Decodes `pieces` one after the other, with room for `room` bytes of units at a time
fn decode<'a>(
    role: Role,
    options: &Options,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    room: usize,
) -> Outcome {
    let mut decoder = Decoder::new(role, options);
    let mut units = Vec::new();
    let mut error = None;
    'all: for mut piece in pieces {
        while !piece.is_empty() {
            let space = decoder.space();
            let n = piece.len().min(space.capacity() - space.len());
            assert!(n > 0 && space.capacity() <= 256 << 10, "it grows with what it reads");
            space.extend_from_slice(&piece[..n]);
            piece = &piece[n..];
            decoder.filled();
            loop {
                let mut buf = BytesMut::with_capacity(room);
                match decoder.units(&mut buf) {
                    Ok(n) => assert_eq!(n, buf.len()),
                    Err(failure) => {
                        units.extend_from_slice(&buf);
                        error = Some((failure.code, io::Error::from(failure).to_string()));
                        let again = decoder.units(&mut buf).map_err(|failure| failure.code);
                        assert_eq!(again.unwrap_err(), failure.code, "an error stays");
                        break 'all;
                    }
                }
                if buf.is_empty() {
                    break;
                }
                units.extend_from_slice(&buf);
            }
        }
        decoder.rest();
    }
    Outcome { units, closed: decoder.is_closed(), error, clean: decoder.end().is_ok() }
}

/// The same however it is cut
fn decode_all_ways(role: Role, options: &Options, bytes: &[u8]) -> Outcome {
    let whole = decode(role, options, [bytes], 1 << 20);
    for room in [64, 7, 4, 1] {
        assert_eq!(decode(role, options, [bytes], room).clean, whole.clean, "room for {room}");
    }
    let mut cuts: Vec<usize> = (0..=bytes.len()).collect();
    if cuts.len() > 2000 {
        cuts.retain(|cut| *cut < 300 || cut % 997 == 0);
    }
    for cut in cuts {
        let (before, after) = bytes.split_at(cut);
        let split = decode(role, options, [before, after], 1 << 20);
        assert_eq!(split.error, whole.error, "cut at {cut}");
        if whole.error.is_none() {
            assert_eq!(split, whole, "cut at {cut}");
        }
    }
    for (step, room) in [(1, 1 << 20), (1, 1), (2, 3), (3, 100), (1000, 5)] {
        let chunked = decode(role, options, bytes.chunks(step), room);
        assert_eq!(chunked.error, whole.error, "{step} bytes at a time");
        if whole.error.is_none() {
            assert_eq!(chunked, whole, "{step} bytes at a time, room for {room}");
        }
    }
    whole
}

#[test]
fn p18_the_samples_of_rfc_6455_are_read_however_they_are_cut() {
    let options = Options::new();
    // Section 5.7
    let unmasked = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(decode_all_ways(Role::Client, &options, &unmasked).units, units(&[b"Hello"]));
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode_all_ways(Role::Server, &options, &masked).units, units(&[b"Hello"]));
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    assert_eq!(decode_all_ways(Role::Client, &options, &fragments).units, units(&[b"Hello"]));
    let short = [&[0x82, 0x7e, 0x01, 0x00][..], &[7; 256]].concat();
    assert_eq!(decode_all_ways(Role::Client, &options, &short).units, units(&[&[7; 256]]));
    let long = [&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65536]].concat();
    assert_eq!(decode_all_ways(Role::Client, &options, &long).units, units(&[&[7; 65536]]));
    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(decode_all_ways(Role::Client, &options, &ping).units, b"");
    // Section 1.3
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn p18_messages_fragments_and_control_frames_are_the_same_however_they_are_cut() {
    for role in ROLES {
        let long = "日本".repeat(10_000);
        let bytes = [
            frame(role, TEXT, "größer".as_bytes()),
            frame(role, 0x01, "gr\u{f6}".as_bytes().split_last().unwrap().1),
            frame(role, PING, b"in between"),
            frame(role, 0x00, b""),
            frame(role, 0x00, &"\u{f6}".as_bytes()[1..]),
            frame(role, PONG, b""),
            frame(role, 0x80, "ßer".as_bytes()),
            frame(role, BINARY, b""),
            frame(role, BINARY, &[0xff; 126]),
            frame(role, 0x02, b""),
            frame(role, 0x80, b""),
            frame(role, TEXT, long.as_bytes()),
            frame(role, CLOSE, b"\x03\xe8bye"),
        ]
        .concat();
        let outcome = decode_all_ways(role, &Options::new(), &bytes);
        let expected: [&[u8]; 6] =
            ["größer".as_bytes(), "größer".as_bytes(), b"", &[0xff; 126], b"", long.as_bytes()];
        assert_eq!(outcome.error, None);
        assert!(outcome.units == units(&expected) && outcome.closed && outcome.clean, "{role:?}");
    }
}

#[test]
fn what_comes_behind_a_close_is_not_read() {
    let bytes =
        [frame(Role::Client, CLOSE, b""), frame(Role::Client, TEXT, b"late"), vec![0xff; 40]].concat();
    let outcome = decode_all_ways(Role::Client, &Options::new(), &bytes);
    assert_eq!(outcome, Outcome { units: Vec::new(), closed: true, error: None, clean: true });
}

#[test]
fn p20_what_breaks_the_protocol_is_an_error_with_a_code_however_it_is_cut() {
    for role in ROLES {
        let other = if role == Role::Client { Role::Server } else { Role::Client };
        let cases: Vec<(&str, u16, Vec<u8>)> = vec![
            ("reserved bit 1", 1002, frame(role, 0xc1, b"x")),
            ("reserved bit 2", 1002, frame(role, 0xa1, b"x")),
            ("reserved bit 3", 1002, frame(role, 0x91, b"x")),
            ("unknown data", 1002, frame(role, 0x83, b"x")),
            ("unknown control", 1002, frame(role, 0x8b, b"x")),
            ("masked the wrong way", 1002, frame(other, TEXT, b"x")),
            ("control in fragments", 1002, frame(role, 0x09, b"x")),
            ("long control", 1002, frame(role, PING, &[0; 126])),
            ("the rest of nothing", 1002, frame(role, 0x80, b"x")),
            ("a message within another", 1002, [frame(role, 0x01, b"x"), frame(role, TEXT, b"x")].concat()),
            ("half a code", 1002, frame(role, CLOSE, b"\x03")),
            ("code 1005", 1002, frame(role, CLOSE, &1005_u16.to_be_bytes())),
            ("code 999", 1002, frame(role, CLOSE, &999_u16.to_be_bytes())),
            ("close reason", 1007, frame(role, CLOSE, b"\x03\xe8\xff")),
            ("text", 1007, frame(role, TEXT, b"caf\xe9!")),
            ("text that ends early", 1007, frame(role, TEXT, b"caf\xc3")),
            (
                "text that ends early in fragments",
                1007,
                [frame(role, 0x01, b"caf\xc3"), frame(role, 0x80, b"")].concat(),
            ),
            ("text in fragments", 1007, [frame(role, 0x01, b"caf\xc3"), frame(role, 0x00, b"x")].concat()),
            ("too long", 1009, frame(role, BINARY, &[0; 101])),
            (
                "too long in fragments",
                1009,
                [frame(role, 0x02, &[0; 60]), frame(role, 0x80, &[0; 41])].concat(),
            ),
        ];
        for (what, code, bytes) in cases {
            let before = frame(role, TEXT, b"good");
            let outcome = decode_all_ways(role, &Options::new().max_message(100), &[before, bytes].concat());
            let (found, text) = outcome.error.unwrap_or_else(|| panic!("{what} is taken"));
            assert_eq!(found, code, "{what}: {text}");
            assert!(outcome.units.starts_with(&units(&[b"good"])), "{what}");
        }
        let most = [frame(role, 0x02, &[0; 60]), frame(role, 0x80, &[0; 40]), frame(role, BINARY, &[0; 100])];
        let outcome = decode_all_ways(role, &Options::new().max_message(100), &most.concat());
        assert_eq!((outcome.error, outcome.units.len()), (None, 208));
    }
}

#[test]
fn p17_a_length_alone_takes_no_memory() {
    for len in [16_u64 << 20, u64::from(u32::MAX), 1 << 63, u64::MAX] {
        let header = [&[BINARY, 127][..], &len.to_be_bytes()].concat();
        let mut decoder = Decoder::new(Role::Client, &Options::new());
        decoder.space().extend_from_slice(&header);
        let mut buf = BytesMut::with_capacity(64);
        let decoded = decoder.units(&mut buf);
        if len <= 16 << 20 {
            assert_eq!((decoded.unwrap(), &buf[..]), (4, &16_777_216_u32.to_be_bytes()[..]));
        } else {
            assert_eq!(decoded.unwrap_err().code, 1009);
        }
        assert!(decoder.space().capacity() < 4096 && buf.capacity() == 64);
    }
}

#[test]
fn p17_random_bytes_do_no_harm() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let openings: [u8; 10] = [0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8a, 0xff];
    for round in 0..20_000 {
        let role = ROLES[round % 2];
        let mut bytes = Vec::new();
        for _ in 0..next() % 6 {
            let len = usize::try_from(next() % 140).unwrap();
            let payload: Vec<u8> = (0..len).map(|_| u8::try_from(next() % 256).unwrap()).collect();
            bytes.extend(frame(role, openings[usize::try_from(next() % 10).unwrap()], &payload));
        }
        bytes.extend((0..next() % 20).map(|_| u8::try_from(next() % 256).unwrap()));
        let options = Options::new().max_message(200);
        let whole = decode(role, &options, [&bytes[..]], 1 << 16);
        let chunked = decode(role, &options, bytes.chunks(1 + usize::try_from(next() % 9).unwrap()), 11);
        assert_eq!(whole.error, chunked.error);
        assert!(whole.error.is_some() || whole == chunked);
    }
}

/// Encodes pieces, writing up to `write` bytes at a time when there is no more room
fn encode<'a>(encoder: &mut Encoder, pieces: impl IntoIterator<Item = &'a [u8]>, write: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            let n = encoder.take(&[IoSlice::new(piece)]).unwrap();
            piece = &piece[n..];
            assert!(encoder.outgoing().len() <= (64 << 10) + 14, "P16: bounded");
            if n == 0 {
                let n = encoder.outgoing().len().min(write);
                out.extend_from_slice(&encoder.outgoing()[..n]);
                encoder.sent(n);
            }
        }
    }
    while !encoder.outgoing().is_empty() {
        let n = encoder.outgoing().len().min(write);
        out.extend_from_slice(&encoder.outgoing()[..n]);
        encoder.sent(n);
    }
    out
}

#[test]
fn p18_units_become_messages_however_they_are_cut() {
    for role in ROLES {
        let peer = if role == Role::Client { Role::Server } else { Role::Client };
        for kind in [Kind::Text, Kind::Binary] {
            let options = Options::new().kind(kind);
            let long = "日本語".repeat(20_000);
            let all = units(&[b"one", b"", "größer".as_bytes(), long.as_bytes(), &[b'x'; 126]]);
            for (step, write) in [(all.len(), 1 << 20), (all.len(), 1000), (1, 1 << 20), (3, 7), (70_000, 9)]
            {
                let mut encoder = Encoder::new(role, &options);
                let bytes = encode(&mut encoder, all.chunks(step), write);
                assert_eq!(encoder.written(), all.len());
                assert_eq!(encoder.written(), 0, "reported once");
                let outcome = decode(peer, &options, [&bytes[..]], 1 << 20);
                assert_eq!(outcome.error, None, "{step} {write}");
                assert!(outcome.units == all && outcome.clean, "{step} {write}");
                let mut decoder = Decoder::new(peer, &options);
                decoder.space().extend_from_slice(&bytes[..20]);
                decoder.units(&mut BytesMut::with_capacity(100)).unwrap();
                assert_eq!(decoder.kind(), Some(kind));
            }
            for cut in 0..40 {
                let parts = [IoSlice::new(&all[..cut]), IoSlice::new(&all[cut..40]), IoSlice::new(&[])];
                let mut encoder = Encoder::new(role, &options);
                assert_eq!(encoder.take(&parts).unwrap(), 40);
                let bytes = encoder.outgoing().to_vec();
                assert_eq!(decode(peer, &options, [&bytes[..]], 100).units, all[..40], "cut at {cut}");
            }
        }
    }
}

#[test]
fn text_that_is_none_is_not_sent() {
    for bad in [&b"caf\xe9!"[..], b"caf\xc3"] {
        let mut encoder = Encoder::new(Role::Server, &Options::new());
        let error = encoder.take(&[IoSlice::new(&units(&[bad]))]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!error.to_string().contains("caf"), "P22");
    }
}

/// An end over a pipe, and the raw other end of the pipe
fn half(wire: Wire, role: Role, options: &Options) -> (WebSocket<End>, End) {
    let (ours, mut theirs) = wire.cut();
    if role == Role::Server {
        return (WebSocket::upgraded(ours, options), theirs);
    }
    let mut connecting = Hold::new(WebSocket::connect(ours, "example.org:80", "/rpc", options));
    assert!(connecting.poll().is_pending());
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        request.push_str(core::str::from_utf8(&read(&mut theirs).unwrap().unwrap()).unwrap());
        if let Poll::Ready(done) = connecting.poll() {
            panic!("{:?} before the server has answered", done.err());
        }
    }
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept_key(key)
    );
    let mut answer = answer.as_bytes();
    loop {
        if !answer.is_empty()
            && let Poll::Ready(n) = write(&mut theirs, answer)
        {
            answer = &answer[n.unwrap()..];
        }
        if let Poll::Ready(done) = connecting.poll() {
            return (done.unwrap(), theirs);
        }
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// One read; `None` when it waits
fn read(transport: &mut impl Transport) -> Option<io::Result<Vec<u8>>> {
    read_into(transport, BytesMut::with_capacity(64 << 10))
}

fn read_into(transport: &mut impl Transport, mut buf: BytesMut) -> Option<io::Result<Vec<u8>>> {
    match transport.poll_read(&mut cx(), &mut buf) {
        Poll::Ready(read) => Some(read.map(|n| {
            assert_eq!(n, buf.len());
            buf.to_vec()
        })),
        Poll::Pending => None,
    }
}

fn write(transport: &mut impl Transport, bytes: &[u8]) -> Poll<io::Result<usize>> {
    transport.poll_write(&mut cx(), &[IoSlice::new(bytes)])
}

/// The same, where there is room for everything
fn put(transport: &mut impl Transport, bytes: &[u8]) {
    let written = write(transport, bytes);
    assert!(matches!(written, Poll::Ready(Ok(n)) if n == bytes.len()), "{written:?}");
}

/// A frame of the role's own, unmasked if need be: its first byte and payload, and the length of it all
fn open(bytes: &[u8]) -> (u8, Vec<u8>, usize) {
    let (header, len) =
        tungstenite::protocol::frame::FrameHeader::parse(&mut io::Cursor::new(bytes)).unwrap().unwrap();
    let (head, len) = (header.len(len), usize::try_from(len).unwrap());
    let mask = header.mask.unwrap_or_default();
    let payload = bytes[head..head + len].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    (bytes[0], payload.collect(), head + len)
}

#[test]
fn a_ping_is_answered_also_between_the_fragments_of_a_message_and_while_a_message_is_half_sent() {
    for role in ROLES {
        let (mut ours, mut theirs) = half(Wire::WIDE, role, &Options::new());
        put(
            &mut theirs,
            &[frame(role, 0x01, b"frag"), frame(role, PING, b"1"), frame(role, PING, b"2")].concat(),
        );
        assert!(read(&mut ours).is_none());
        let answer = read(&mut theirs).unwrap().unwrap();
        assert_eq!(open(&answer), (PONG, b"2".to_vec(), answer.len()), "the last one is answered");

        // Half a message of ours is on its way: the pong waits for the other half.
        let all = units(&[b"a message"]);
        assert!(matches!(write(&mut ours, &all[..8]), Poll::Ready(Ok(8))));
        put(&mut theirs, &[frame(role, PING, b"3"), frame(role, 0x80, b"ment")].concat());
        assert_eq!(read(&mut ours).unwrap().unwrap(), units(&[b"fragment"]));
        assert!(matches!(write(&mut ours, &all[8..]), Poll::Ready(Ok(5))));
        let answer =
            [read(&mut theirs).unwrap().unwrap(), read(&mut theirs).map_or(Vec::new(), Result::unwrap)]
                .concat();
        let (first, payload, len) = open(&answer);
        assert_eq!((first, &payload[..]), (TEXT, &b"a message"[..]));
        assert_eq!(open(&answer[len..]), (PONG, b"3".to_vec(), answer.len() - len));
    }
}

#[test]
fn a_close_of_the_peers_is_answered_with_its_code_and_ends_the_stream() {
    for role in ROLES {
        for (payload, answer) in
            [(&b""[..], &b""[..]), (b"\x03\xe8", b"\x03\xe8"), (b"\x0f\xa0why", b"\x0f\xa0")]
        {
            let (mut ours, mut theirs) = half(Wire::WIDE, role, &Options::new());
            let close = [frame(role, TEXT, b"last"), frame(role, CLOSE, payload)].concat();
            put(&mut theirs, &close);
            assert_eq!(read(&mut ours).unwrap().unwrap(), units(&[b"last"]));
            assert_eq!(read(&mut ours).unwrap().unwrap(), b"");
            let sent = read(&mut theirs).unwrap().unwrap();
            assert_eq!(open(&sent), (CLOSE, answer.to_vec(), sent.len()));
            assert_eq!(read(&mut ours).unwrap().unwrap(), b"", "and stays at its end");
            let late = units(&[b"late"]);
            assert!(matches!(write(&mut ours, &late), Poll::Ready(Ok(n)) if n == late.len()), "for nobody");
            assert!(matches!(ours.poll_shutdown(&mut cx()), Poll::Ready(Ok(()))));
            assert_eq!(read(&mut theirs).unwrap().unwrap(), b"", "one close is enough");
        }
    }
}

#[test]
fn a_close_of_our_own_comes_behind_what_was_written_and_what_still_comes_is_read() {
    for role in ROLES {
        let narrow = Wire { capacity: 3, at_a_time: 2, writer: false };
        for wire in [Wire::WIDE, narrow] {
            let (mut ours, mut theirs) = half(wire, role, &Options::new());
            let mut sent = Vec::new();
            let all = units(&[b"last words"]);
            while write(&mut ours, &all).is_pending() {
                sent.extend(read(&mut theirs).unwrap().unwrap());
            }
            while ours.poll_shutdown(&mut cx()).is_pending() {
                sent.extend(read(&mut theirs).unwrap().unwrap());
            }
            while let Some(Ok(more)) = read(&mut theirs)
                && !more.is_empty()
            {
                sent.extend(more);
            }
            let (first, payload, len) = open(&sent);
            assert_eq!((first, &payload[..]), (TEXT, &b"last words"[..]));
            assert_eq!(open(&sent[len..]), (CLOSE, b"\x03\xe8".to_vec(), sent.len() - len));
            let mut answer = &[frame(role, TEXT, b"late"), frame(role, CLOSE, b"\x03\xe8")].concat()[..];
            let mut came = Vec::new();
            loop {
                if !answer.is_empty()
                    && let Poll::Ready(n) = write(&mut theirs, answer)
                {
                    answer = &answer[n.unwrap()..];
                }
                match read(&mut ours) {
                    Some(Ok(end)) if end.is_empty() => break,
                    Some(more) => came.extend(more.unwrap()),
                    None => {}
                }
            }
            assert_eq!(came, units(&[b"late"]));
        }
    }
}

#[test]
fn a_stream_that_ends_within_a_message_is_an_error_and_between_two_it_is_the_end() {
    for role in ROLES {
        let message = frame(role, TEXT, b"a message");
        let fragments = [frame(role, 0x01, b"a "), frame(role, 0x80, b"message")].concat();
        for (bytes, whole) in [(&message, message.len()), (&fragments, fragments.len())] {
            for cut in 0..=bytes.len() {
                let (mut ours, mut theirs) = half(Wire::WIDE, role, &Options::new());
                if cut > 0 {
                    put(&mut theirs, &bytes[..cut]);
                }
                drop(theirs);
                let end = loop {
                    match read(&mut ours).expect("there is an end") {
                        Ok(units) if !units.is_empty() => {}
                        end => break end,
                    }
                };
                match end {
                    Ok(_) => assert!(cut == 0 || cut == whole, "cut at {cut}"),
                    Err(error) => assert!(
                        error.kind() == ErrorKind::UnexpectedEof && cut > 0 && cut < whole,
                        "{error} at {cut}"
                    ),
                }
            }
        }
    }
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_the_code() {
    for role in ROLES {
        let (mut ours, mut theirs) = half(Wire::WIDE, role, &Options::new().max_message(10));
        put(&mut theirs, &frame(role, TEXT, b"eleven byte"));
        let error = read(&mut ours).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(!error.to_string().contains("eleven"), "P22");
        let sent = read(&mut theirs).unwrap().unwrap();
        assert_eq!(open(&sent), (CLOSE, 1009_u16.to_be_bytes().to_vec(), sent.len()));
    }
}

/// Sends `all` from one end to the other, with reads into buffers of `room` bytes, and gives what arrives
fn carry(from: &mut impl Transport, to: &mut impl Transport, all: &[u8], room: usize) -> Vec<u8> {
    let (mut sent, mut came) = (0, Vec::new());
    for _ in 0..100_000_000_u64 {
        if sent < all.len()
            && let Poll::Ready(n) = write(from, &all[sent..])
        {
            sent += n.unwrap();
        }
        while let Some(more) = read_into(to, BytesMut::with_capacity(room)) {
            came.extend(more.unwrap());
        }
        if came.len() == all.len() {
            assert_eq!(sent, all.len());
            return came;
        }
    }
    panic!("{} of {} bytes came", came.len(), all.len());
}

#[test]
fn large_messages_go_both_ways_over_any_pipe_into_any_buffer() {
    let large: String = (0..)
        .map(|n: u32| n.to_string())
        .flat_map(|n| n.into_bytes())
        .map(char::from)
        .take(1 << 20)
        .collect();
    let all = units(&[b"before", large.as_bytes(), b"", &large.as_bytes()[..5000], b"after"]);
    let wires = [
        (Wire::WIDE, 64 << 10),
        (Wire::WIDE, 1 << 21),
        (Wire::WIDE, 200),
        (Wire { capacity: 10_000, at_a_time: 9_000, writer: true }, 8 << 10),
        (Wire { capacity: 1000, at_a_time: 77, writer: true }, 130),
    ];
    for (wire, room) in wires {
        let (a, b) = wire.cut();
        let mut client = Hold::new(WebSocket::connect(a, "host", "", &OPTIONS));
        let mut server = Hold::new(WebSocket::accept(b, &OPTIONS));
        let (mut left, mut right) = (None, None);
        for _ in 0..10_000 {
            if left.is_none()
                && let Poll::Ready(done) = client.poll()
            {
                left = Some(done.unwrap());
            }
            if right.is_none()
                && let Poll::Ready(done) = server.poll()
            {
                right = Some(done.unwrap());
            }
        }
        let (mut client, mut server) = (left.unwrap(), right.unwrap());
        assert!(carry(&mut client, &mut server, &all, room) == all, "to the server, {wire:?}");
        assert!(carry(&mut server, &mut client, &all, room) == all, "to the client, {wire:?}");
    }
}

static OPTIONS: std::sync::LazyLock<Options> = std::sync::LazyLock::new(Options::new);

#[test]
fn p16_a_peer_that_does_not_read_costs_bounded_memory() {
    let wire = Wire { capacity: 100, at_a_time: 100, writer: true };
    for role in ROLES {
        let (mut ours, mut theirs) = half(wire, role, &OPTIONS);
        let all = units(&[&vec![b'x'; 1 << 20]]);
        let mut reported = 0;
        for _ in 0..100 {
            if let Poll::Ready(n) = write(&mut ours, &all) {
                reported += n.unwrap();
            }
        }
        assert_eq!(reported, 0, "only what was passed on counts");
        // Its pings are read all the same, and the answers do not pile up.
        for _ in 0..10_000 {
            put(&mut theirs, &frame(role, PING, b"there?"));
            assert!(read(&mut ours).is_none());
        }
        let mut arrived = 0;
        while let Some(Ok(more)) = read(&mut theirs)
            && !more.is_empty()
        {
            arrived += more.len();
            assert!(read(&mut ours).is_none());
            let _ = ours.poll_shutdown(&mut cx());
        }
        assert!((60 << 10..70 << 10).contains(&arrived), "64 KiB were taken, and {arrived} came out");
    }
}

/// Counts writes
struct Counted<T> {
    io: T,
    writes: Arc<AtomicUsize>,
}

impl<T: Transport> Transport for Counted<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.io.poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.io.poll_write(cx, parts)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_shutdown(cx)
    }
}

#[test]
fn many_messages_are_one_write() {
    let (ours, mut theirs) = Wire::WIDE.cut();
    let writes = Arc::new(AtomicUsize::new(0));
    let mut ours = WebSocket::upgraded(Counted { io: ours, writes: Arc::clone(&writes) }, &OPTIONS);
    let all = units(&[&b"a message"[..]; 1000]);
    assert!(matches!(write(&mut ours, &all), Poll::Ready(Ok(n)) if n == all.len()));
    assert_eq!(writes.load(Ordering::Relaxed), 1);
    assert_eq!(read(&mut theirs).unwrap().unwrap(), frame(Role::Client, TEXT, b"a message").repeat(1000));
}

#[test]
fn callers_write_at_once_and_the_driver_goes_on_with_what_they_could_not() {
    for role in ROLES {
        let (mut ours, mut theirs) = half(Wire { capacity: 30, at_a_time: 30, writer: true }, role, &OPTIONS);
        let writer = ours.writer().unwrap();
        let short = units(&[b"short"]);
        assert_eq!(writer.try_write(&[IoSlice::new(&short)]).unwrap(), short.len());
        assert_eq!(open(&read(&mut theirs).unwrap().unwrap()).1, b"short");

        let long = units(&[b"a message that is longer than the pipe", b"and one behind it"]);
        let error = writer.try_write(&[IoSlice::new(&long)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(writer.try_write(&[IoSlice::new(&long)]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let (mut came, mut written) = (Vec::new(), None);
        while written.is_none() {
            came.extend(read(&mut theirs).unwrap().unwrap());
            if let Poll::Ready(n) = write(&mut ours, &long) {
                written = Some(n.unwrap());
            }
        }
        while let Some(more) = read(&mut theirs) {
            came.extend(more.unwrap());
        }
        assert_eq!(written, Some(long.len()));
        let (_, first, len) = open(&came);
        assert_eq!((units(&[&first, &open(&came[len..]).1]), came.len()), (long, len + open(&came[len..]).2));
    }
    let (ours, _theirs) = Wire { writer: false, ..Wire::WIDE }.cut();
    assert!(WebSocket::upgraded(ours, &OPTIONS).writer().is_none());
}

const REQUEST: &str = "GET /any/path?at=all HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

/// What a server answers, and what it gives back
fn serve(pieces: &[&[u8]]) -> (String, io::Result<WebSocket<End>>) {
    let (ours, mut theirs) = Wire::WIDE.cut();
    let mut accepting = Hold::new(WebSocket::accept(ours, &OPTIONS));
    let mut done = accepting.poll();
    for piece in pieces {
        if done.is_pending() {
            assert!(matches!(write(&mut theirs, piece), Poll::Ready(Ok(n)) if n == piece.len()));
            done = accepting.poll();
        }
    }
    let Poll::Ready(done) = done else { return (String::new(), Err(ErrorKind::WouldBlock.into())) };
    let mut answer = String::new();
    while let Some(Ok(more)) = read(&mut theirs)
        && !more.is_empty()
    {
        answer.push_str(core::str::from_utf8(&more).unwrap());
    }
    (answer, done)
}

#[test]
fn a_server_grants_an_upgrade_however_it_is_cut_and_keeps_what_comes_behind() {
    let bytes = [REQUEST.as_bytes(), &frame(Role::Server, TEXT, b"early")].concat();
    for step in [1, 2, 7, 100, bytes.len()] {
        let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
        let (answer, server) = serve(&pieces);
        assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
        assert!(
            answer
                .to_ascii_lowercase()
                .contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n")
        );
        assert!(!answer.to_ascii_lowercase().contains("protocol:"), "{answer}");
        let mut server = server.unwrap();
        if step == bytes.len() {
            assert_eq!(read(&mut server).unwrap().unwrap(), units(&[b"early"]));
        }
    }
}

#[test]
fn what_is_no_upgrade_is_answered_and_refused() {
    let long = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(16 << 10));
    let endless = "GET / HTTP/1.1\r\nCookie: ".to_owned() + &"x".repeat(20 << 10);
    let lines = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(500));
    let cases = [
        ("426", "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
        ("426", &REQUEST.replace("13", "8")),
        ("426", &REQUEST.replace("Sec-WebSocket-Key", "Sec-Other")),
        ("400", "POST / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
        ("400", &REQUEST.replace("HTTP/1.1", "HTTP/1.0")),
        ("400", "\x01\x02\x03\r\n\r\n"),
        ("400", &lines),
        ("431", &long),
        ("431", &endless),
    ];
    for (status, request) in cases {
        for step in [request.len(), 1000] {
            let pieces: Vec<&[u8]> = request.as_bytes().chunks(step).collect();
            let (answer, server) = serve(&pieces);
            let shown = &request[..request.len().min(100)];
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer} to {shown}");
            assert!(answer.len() < 300 && answer.ends_with("\r\n\r\n"));
            assert_eq!(server.err().unwrap().kind(), ErrorKind::InvalidData);
        }
    }
    assert_eq!(serve(&[b"GET / HT"]).1.err().unwrap().kind(), ErrorKind::WouldBlock, "it waits");
}

#[test]
fn a_client_takes_only_the_right_answer_and_keeps_what_comes_behind() {
    let good =
        "HTTP/1.1 101 Yes\r\nupgrade: WebSocket\r\nconnection: upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n";
    let cases = [
        (true, good.to_owned()),
        (false, good.replace("101", "200")),
        (false, good.replace("KEY", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")),
        (false, good.replace("upgrade: WebSocket\r\n", "")),
        (false, good.replace("connection: upgrade", "connection: close")),
        (false, good.replace("connection", "Sec-WebSocket-Protocol: chat\r\nconnection")),
        (false, good.replace("connection", "Sec-WebSocket-Extensions: permessage-deflate\r\nconnection")),
        (false, "SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned()),
        (false, format!("HTTP/1.1 101 Yes\r\nX: {}", "x".repeat(17 << 10))),
    ];
    for (right, answer) in cases {
        for step in [1, 64, 1 << 20] {
            let mut handshake = Handshake::client("example.org:80", "/").unwrap();
            let request = String::from_utf8(handshake.outgoing().to_vec()).unwrap();
            handshake.sent(request.len());
            let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
            let mut bytes = answer.replace("KEY", &accept_key(key)).into_bytes();
            bytes.extend_from_slice(&frame(Role::Client, TEXT, b"early"));
            let mut outcome = Ok(false);
            let mut fed = 0;
            for piece in bytes.chunks(step) {
                handshake.space().extend_from_slice(piece);
                fed += piece.len();
                outcome = handshake.advance();
                if !matches!(outcome, Ok(false)) {
                    break;
                }
            }
            match outcome {
                Ok(done) => {
                    assert!(done && right, "{answer}");
                    let rest = handshake.into_rest();
                    assert_eq!(rest, bytes[bytes.len() - 7..][..7 - (bytes.len() - fed)]);
                }
                Err(error) => {
                    assert!(!right && error.kind() == ErrorKind::InvalidData, "{error} for {answer}");
                    assert!(handshake.outgoing().is_empty());
                }
            }
        }
    }
    for (host, path) in [("", "/"), ("a b", "/"), ("a\r\nX: y", "/"), ("a", "/ HTTP/1.1\r\n"), ("a", "rpc")] {
        assert_eq!(
            Handshake::client(host, path).unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{host} {path}"
        );
    }
}

#[test]
fn a_stream_that_ends_within_the_handshake_is_an_error() {
    let (ours, theirs) = Wire::WIDE.cut();
    let mut connecting = Hold::new(WebSocket::connect(ours, "host", "/", &OPTIONS));
    assert!(connecting.poll().is_pending());
    drop(theirs);
    let Poll::Ready(Err(error)) = connecting.poll() else { panic!("it goes on") };
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

/// A socket that is polled until it is ready: slow, and enough for a test
struct Polled(TcpStream);

impl Polled {
    fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        Self(stream)
    }
}

fn later<T>(cx: &Context<'_>, result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            std::thread::sleep(Duration::from_micros(50));
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        done => Poll::Ready(done),
    }
}

impl Transport for Polled {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut chunk = vec![0; buf.capacity() - buf.len()];
        later(cx, self.0.read(&mut chunk)).map_ok(|n| {
            buf.extend_from_slice(&chunk[..n]);
            n
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        later(cx, self.0.write_vectored(parts))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(std::net::Shutdown::Write))
    }

    fn writer(&self) -> Option<Arc<dyn TryWrite>> {
        None
    }
}

/// Sends everything back until the other end closes, and closes
async fn echo(mut socket: WebSocket<Polled>) {
    let mut buf = BytesMut::with_capacity(64 << 10);
    loop {
        buf.clear();
        buf.reserve(1000);
        if poll_fn(|cx| socket.poll_read(cx, &mut buf)).await.unwrap() == 0 {
            break;
        }
        let mut sent = 0;
        while sent < buf.len() {
            sent += poll_fn(|cx| socket.poll_write(cx, &[IoSlice::new(&buf[sent..])])).await.unwrap();
        }
    }
    poll_fn(|cx| socket.poll_shutdown(cx)).await.unwrap();
}

/// What tungstenite is to get back
fn messages() -> Vec<Message> {
    ["a", "", "größer", &"日本語".repeat(30_000), &"x".repeat(65_535), &"y".repeat(1 << 20)]
        .map(Message::from)
        .to_vec()
}

fn within(stream: &TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
}

#[test]
fn a_client_of_tungstenites_talks_to_a_server_of_ours() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || {
        let stream = TcpStream::connect(address).unwrap();
        within(&stream);
        let (mut client, _) = tungstenite::client(format!("ws://{address}/rpc"), stream).unwrap();
        for message in messages() {
            client.send(Message::Ping(b"there?".to_vec().into())).unwrap();
            client.send(message.clone()).unwrap();
            let came: Vec<Message> = (0..2).map(|_| client.read().unwrap()).collect();
            assert!(came.contains(&message) && came.contains(&Message::Pong(b"there?".to_vec().into())));
        }
        client.close(None).unwrap();
        loop {
            match client.read() {
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => break,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let (stream, _) = listener.accept().unwrap();
    block_on(async {
        echo(WebSocket::accept(Polled::new(stream), &OPTIONS).await.unwrap()).await;
    });
    client.join().unwrap();
}

#[test]
fn a_server_of_tungstenites_talks_to_a_client_of_ours() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        within(&stream);
        let mut server = tungstenite::accept(stream).unwrap();
        for message in messages() {
            server.write(Message::Ping(b"there?".to_vec().into())).unwrap();
            server.send(message.clone()).unwrap();
            let came: Vec<Message> = (0..2).map(|_| server.read().unwrap()).collect();
            assert!(came.contains(&message) && came.contains(&Message::Pong(b"there?".to_vec().into())));
        }
        server.close(None).unwrap();
        loop {
            match server.read() {
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => break,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let stream = TcpStream::connect(address).unwrap();
    block_on(async {
        let host = address.to_string();
        echo(WebSocket::connect(Polled::new(stream), &host, "/rpc", &OPTIONS).await.unwrap()).await;
    });
    server.join().unwrap();
}
