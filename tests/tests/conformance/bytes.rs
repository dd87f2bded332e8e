//! The same bytes, however they come and however many: P18

use std::io::Read;
use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_driver::{Direction, ZipMode};

use crate::raw::{MESSAGE, REQUEST, RESPONSE, Raw};
use crate::rig::{End, Rig, SOON, echo, noise, plain};
use crate::wire::Text;

/// A script of packets gives the same answers when it comes whole, in two pieces with the cut at each byte, and byte by byte
pub(crate) async fn p18_splitting_changes_nothing<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let setup = echo().handle("note", move |Text(text): Text| {
        let _ = told.send(text);
    });
    let (server, other) = rig.pair(setup, plain()).await;
    let wire = rig.wire();
    let packet = |flag, seq, code: &str, payload: &[u8]| wire.packet(flag, seq, code, payload);
    let script = [
        packet(REQUEST, 1, "echo", b"hello"),
        packet(MESSAGE, 0, "note", b"a note"),
        packet(REQUEST, 2, "nothing", b""),
        packet(RESPONSE, 3, "", b"to no request"),
        packet(REQUEST, 4, "echo", b""),
        packet(REQUEST, 5, wire.ping(), b"ping"),
    ]
    .concat();
    let expected = [
        packet(RESPONSE, 1, "", b"hello"),
        packet(RESPONSE, 2, "NOT_FOUND", b""),
        packet(RESPONSE, 4, "", b""),
        packet(RESPONSE, 5, "", if wire.is_fly() { b"ping" } else { b"" }),
    ]
    .concat();
    let mut pieces: Vec<Vec<&[u8]>> = vec![vec![&script], script.chunks(1).collect()];
    // A long script over many wires: each has some of the cuts, and lines have all.
    let step = if wire.is_fly() { 1 } else { rig.many(1, 11) };
    pieces.extend((1..script.len()).step_by(step).map(|cut| vec![&script[..cut], &script[cut..]]));
    for pieces in pieces {
        let mut raw = Raw::connect(&rig, &server);
        let n = pieces.len();
        for piece in pieces {
            raw.write(piece);
            // A round trip: by now the server has most likely seen the piece.
            assert_eq!(other.ping(4, SOON).await.map(|pong| pong.len), Ok(wire.pong(4)));
        }
        raw.finish_writing();
        let mut answers = Vec::new();
        raw.stream.read_to_end(&mut answers).expect("the answers, and the end");
        // The connection's own answers may overtake those of handlers.
        answers.sort_unstable();
        let mut expected = expected.clone();
        expected.sort_unstable();
        assert_eq!(answers, expected, "in {n} pieces");
        assert_eq!(tells.recv_timeout(SOON), Ok("a note".to_owned()));
    }
}

/// Each width of the length, and each edge between two, both ways, by handlers of both kinds
pub(crate) async fn p18_payloads_of_every_size_come_whole<P: End>(rig: Rig<P>) {
    let setup = || echo().handle("later", async |payload: Bytes| payload);
    let (server, client) = rig.pair(setup(), setup()).await;
    let mut peers = vec![client.peer.clone()];
    if rig.wire().has_way_back() {
        peers.push(rig.other_end(&server).await);
    }
    // The brackets and quotes around a text count.
    let longest = if rig.wire().is_fly() { 16 << 20 } else { (16 << 20) - 4 };
    let sizes = [0, 1, 255, 256, 65_535, 65_536, 1 << 20, longest];
    let largest = match (rig.is_bytewise(), rig.wire().is_fly()) {
        (false, true) => usize::MAX,
        (true, true) => 65_536,
        (false, false) => rig.many(usize::MAX, 1 << 20),
        (true, false) => 256,
    };
    for len in sizes.into_iter().filter(|len| *len <= largest) {
        let payload = Bytes::from(rig.wire().noise(len));
        for peer in &peers {
            for code in ["echo", "later"] {
                // Byte by byte on a busy machine it takes its time.
                let answer = peer.call_within(code, payload.clone(), 4 * SOON).await;
                assert_eq!(answer.map(|answer| answer == payload), Ok(true), "{len} bytes to {code}");
            }
        }
    }
}

/// Many sizes at once, so that large bodies go between small packets
pub(crate) async fn p18_large_and_small_payloads_mix<P: End>(rig: Rig<P>) {
    let (_server, client) = rig.pair(echo(), plain()).await;
    let calls: Vec<_> = (0..200)
        .map(|i| {
            let peer = client.peer.clone();
            let payload = if i % 10 == 0 { rig.many(300_000, 3_000) } else { i };
            let payload = Bytes::from(rig.wire().noise(payload));
            rig.spawn(async move {
                let answer = peer.call_within("echo", payload.clone(), 4 * SOON).await;
                assert_eq!(answer.map(|answer| answer == payload), Ok(true));
            })
        })
        .collect();
    for call in calls {
        call.await;
    }
}

/// Codes and payloads that are compressed arrive as they were meant, and say so on the wire
pub(crate) async fn p18_compressed_packets_arrive_as_they_were_meant<P: End>(rig: Rig<P>) {
    let long_code = "lamps/kitchen/".repeat(30);
    for (mode, said) in
        [(ZipMode::Off, false), (ZipMode::On, false), (ZipMode::Mirror, false), (ZipMode::Mirror, true)]
    {
        let (saw, seen) = channel();
        let hook =
            move |_: &flyrpc_driver::Info, direction: Direction, packet: &flyrpc_driver::RawPacket<'_>| {
                let _ = saw.send((direction, packet.flag.0 & 0x0c, packet.payload.len()));
            };
        let server = echo().handle(&long_code, |payload: Bytes| payload).zip(mode);
        let (_server, client) = rig.pair(server, plain().zip(mode)).await;
        if said {
            assert!(client.hello().await.expect("an answer").zip);
        }
        drop(client);
        // With the hook only now: what was said before is of no interest.
        let client = rig.client(plain().zip(mode).on_packet(hook), &_server).await;
        if said {
            assert!(client.hello().await.expect("an answer").zip);
            for _ in 0..2 {
                assert_eq!(seen.recv_timeout(SOON).map(|(_, zip, _)| zip), Ok(0), "reserved codes never are");
            }
        }
        let zips = mode == ZipMode::On || said;
        let payload = b"compressible ".repeat(200);
        assert_eq!(client.call(&long_code, payload.clone()).await, Ok(Bytes::from(payload.clone())));
        let (out, answer) = (seen.recv_timeout(SOON), seen.recv_timeout(SOON));
        let (out, answer) = (out.expect("a packet out"), answer.expect("a packet in"));
        assert_eq!((out.0, out.1), (Direction::Out, if zips { 0x0c } else { 0 }), "{mode:?}, {said}");
        assert_eq!((answer.0, answer.1), (Direction::In, if zips { 0x04 } else { 0 }), "{mode:?}, {said}");
        assert_eq!(out.2 < payload.len(), zips);
        // What does not get smaller, or is small already, goes as it is.
        for payload in [noise(2_000), b"small".to_vec()] {
            assert_eq!(client.call("echo", payload.clone()).await, Ok(Bytes::from(payload)));
            assert_eq!(seen.recv_timeout(SOON).map(|(_, zip, _)| zip), Ok(0));
            assert_eq!(seen.recv_timeout(SOON).map(|(_, zip, _)| zip), Ok(0));
        }
    }
}

on_all_stacks! {
    everywhere:
    p18_payloads_of_every_size_come_whole
    p18_large_and_small_payloads_mix;
    raw:
    p18_splitting_changes_nothing;
    fly:
    p18_compressed_packets_arrive_as_they_were_meant;
}
