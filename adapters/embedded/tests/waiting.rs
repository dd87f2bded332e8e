//! What has come waits for its turn, and what makes no sense costs itself only

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests, which the setting for tests does not see"
)]

use core::num::NonZeroU16;
use core::time::Duration;

use flyrpc_core::serial::Line;
use flyrpc_embedded::{Event, Framed, Instant, Link, NoCalls, Node, Peer, Plain, Reply, Server};

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u32) -> Instant {
    Instant::ZERO + SECOND * seconds
}

fn put<L: Link>(node: &mut Node<'_, L, NoCalls>, now: Instant, bytes: &[u8]) {
    node.space()[..bytes.len()].copy_from_slice(bytes);
    node.received(now, bytes.len());
}

fn put_server(server: &mut Server<'_, Plain>, now: Instant, bytes: &[u8]) {
    server.space()[..bytes.len()].copy_from_slice(bytes);
    server.received(now, bytes.len());
}

/// Answers with the payload
fn echo<L: Link>(
    told: &mut Vec<String>,
) -> impl FnMut(&mut Peer<'_, L, NoCalls>, Event<'_, core::convert::Infallible>) {
    |peer, event| match event {
        Event::Request { payload, token, .. } => peer.reply(token, Reply::ok(payload)).unwrap(),
        Event::Message { code, payload } => {
            told.push(format!("{} {}", String::from_utf8_lossy(code), String::from_utf8_lossy(payload)));
        }
        Event::Ended { why } => told.push(format!("{why:?}")),
        Event::Cancelled { .. } => panic!("{event:?}"),
        _ => panic!("it calls nobody"),
    }
}

const TWO: &[u8] = b"\x40\0\x01echo\0\x01a\x40\0\x02echo\0\x01b";
const FIRST: &[u8] = b"\x80\0\x01\0\x01a";
const SECOND_ANSWER: &[u8] = b"\x80\0\x02\0\x01b";

#[test]
fn a_whole_packet_waits_for_a_slow_application_and_a_slow_line() {
    let (mut rx, mut tx) = ([0; 64], [0; 64]);
    let mut node: Node<'_, Plain, NoCalls> = Node::new(Plain::new(), &mut rx, &mut tx);
    let mut told = Vec::new();
    put(&mut node, at(0), TWO);
    // The application had other things to do.
    node.poll(at(1), echo(&mut told));
    assert_eq!(node.unsent(), FIRST);
    // The line takes nothing for a while; nor is there anything to do until it does.
    node.poll(at(2), echo(&mut told));
    assert_eq!(node.poll_timeout(), None);
    node.sent(FIRST.len());
    // Half a packet behind it, late: what waits is still whole.
    put(&mut node, at(3), b"\x40\0\x03ec");
    node.poll(at(4), echo(&mut told));
    assert_eq!(node.unsent(), SECOND_ANSWER);
    node.sent(SECOND_ANSWER.len());
    node.poll(at(4), echo(&mut told));
    // The half was looked at, and is dropped.
    put(&mut node, at(5), &TWO[..10]);
    node.poll(at(5), echo(&mut told));
    assert_eq!(node.unsent(), FIRST);
    assert!(told.is_empty());
}

#[test]
fn half_a_packet_is_dropped_though_something_is_still_to_be_sent() {
    let (mut rx, mut tx) = ([0; 64], [0; 64]);
    let mut node: Node<'_, Plain, NoCalls> = Node::new(Plain::new(), &mut rx, &mut tx);
    let mut told = Vec::new();
    put(&mut node, at(0), b"\x40\0\x01ec");
    node.poll(at(0), echo(&mut told));
    node.peer(at(0)).notify(b"button", b"").unwrap();
    let unsent = node.unsent().len();
    put(&mut node, at(1), &TWO[10..]);
    node.sent(unsent);
    node.poll(at(1), echo(&mut told));
    assert_eq!(node.unsent(), SECOND_ANSWER);
}

#[test]
fn a_server_keeps_whole_packets_too() {
    let (mut rx, mut tx) = ([0; 64], [0; 64]);
    let mut server = Server::new(Plain::new(), &mut rx, &mut tx);
    put_server(&mut server, at(0), TWO);
    for (now, answer) in [(at(1), FIRST), (at(2), SECOND_ANSWER)] {
        server.poll(now, |_, payload, answer| answer.send(Reply::ok(payload)));
        server.poll(now, |_, _, _| panic!("before the answer was sent"));
        assert_eq!((server.unsent(), server.poll_timeout()), (answer, None));
        server.sent(answer.len());
    }
    put_server(&mut server, at(3), b"\x40\0\x03ec");
    server.poll(at(3), |_, _, _| panic!("half a packet"));
    assert_eq!(server.poll_timeout(), Some(at(3) + Duration::from_millis(100)));
    put_server(&mut server, at(4), &TWO[..10]);
    server.poll(at(4), |_, payload, answer| answer.send(Reply::ok(payload)));
    assert_eq!(server.unsent(), FIRST);
}

#[test]
fn a_server_never_takes_the_payload_of_what_it_refuses_for_packets() {
    // Too long to be taken, and: compressed, a compressed message, a response, a request. In each payload stands a packet.
    let inner = b"\0\0\0trap\0\0";
    for (flag, refusal) in
        [(0x44, &b"\x80\0\x01BAD_ZIP\0\0"[..]), (0x04, b""), (0x80, b""), (0x40, b"\x80\0\x01TOO_LARGE\0\0")]
    {
        let (mut rx, mut tx) = ([0; 64], [0; 64]);
        let mut server = Server::new(Plain::new(), &mut rx, &mut tx);
        put_server(&mut server, at(0), &[flag, 0, 1, b'x', 0, 36]);
        let send = |server: &mut Server<'_, Plain>| {
            server.poll(at(0), |_, _, _| panic!("the payload of {flag:#x} was taken for a packet"));
            let sent = server.unsent().to_vec();
            server.sent(sent.len());
            sent
        };
        let mut sent = send(&mut server);
        for _ in 0..4 {
            put_server(&mut server, at(0), inner);
            sent.extend(send(&mut server));
        }
        assert_eq!(sent, refusal, "{flag:#x}");
        put_server(&mut server, at(0), &TWO[..10]);
        server.poll(at(0), |_, payload, answer| answer.send(Reply::ok(payload)));
        assert_eq!(server.unsent(), FIRST);
    }
}

#[test]
fn a_server_is_told_messages_with_an_empty_code() {
    let (mut rx, mut tx) = ([0; 64], [0; 64]);
    let mut server = Server::new(Plain::new(), &mut rx, &mut tx);
    put_server(&mut server, at(0), b"\0\0\0\0\x02hi");
    let mut told = Vec::new();
    server.poll(at(0), |code, payload, answer| told.push((code.len(), payload.to_vec(), answer.is_wanted())));
    assert_eq!(told, [(0, b"hi".to_vec(), false)]);
}

#[test]
fn a_frame_that_holds_more_or_less_than_a_packet_or_a_long_code_costs_nothing_but_itself() {
    let (mut rx, mut tx) = ([0; 128], [0; 128]);
    let session = |number| NonZeroU16::new(number).unwrap();
    let mut node: Node<'_, Framed, NoCalls> = Node::new(Framed::new(session(1)), &mut rx, &mut tx);
    let mut line = Line::new(session(2));
    let mut seal = |packet: &[u8]| {
        let mut memory = vec![0; Line::frame_max(packet.len())];
        memory[Line::lead(packet.len())..][..packet.len()].copy_from_slice(packet);
        let len = line.seal(&mut memory, packet.len()).unwrap();
        memory.truncate(len);
        memory
    };
    let mut told = Vec::new();
    // Of 4,096 bytes of payload three are there; two packets; a packet and a byte; half a head; a code of 33 bytes.
    let long = [&b"\x40\0\x01"[..], &[b'c'; 33], b"\0\0"].concat();
    for wrong in
        [&b"\x41\0\x01x\0\x10\0abc"[..], b"\0\0\0m\0\0\0\0\0m\0\0", b"\0\0\0m\0\0?", b"\x40\0", &long]
    {
        for frame in [seal(wrong), seal(b"\0\0\0button\0\x013")] {
            put(&mut node, at(0), &frame);
            for _ in 0..3 {
                let unsent = node.unsent().len();
                node.sent(unsent);
                node.poll(at(0), echo(&mut told));
            }
        }
        assert_eq!(core::mem::take(&mut told), ["button 3"], "{wrong:?}");
    }
}

#[test]
fn logs_of_the_ends_themselves_say_nothing_of_payloads_p22() {
    let (mut rx, mut tx) = ([0; 64], [0; 64]);
    let mut node: Node<'_, Plain, NoCalls> = Node::new(Plain::new(), &mut rx, &mut tx);
    put(&mut node, at(0), b"\0\0\0x\0\x20half");
    node.peer(at(0)).notify(b"code", b"half").unwrap();
    let (mut rx, mut tx) = ([0; 64], [0; 64]);
    let mut server = Server::new(Plain::new(), &mut rx, &mut tx);
    put_server(&mut server, at(0), b"\0\0\0x\0\x20half");
    // As slices of bytes are shown.
    for shown in [format!("{node:?}"), format!("{server:?}")] {
        assert!(!shown.contains("104, 97, 108, 102") && shown.contains("end: 10"), "{shown}");
    }
}
