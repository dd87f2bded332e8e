//! Bodies larger than memory: 8 GiB pass through 64 KiB, both ways

use flyrpc_core::fly::{Flag, Fly, encode_head};
use flyrpc_core::{
    Body, Call, CloseReason, Connection, Event, Incoming, Instant, Limits, Oversize, RecvBuf, Refusal, Reply,
    SliceSink, State, Table, What,
};
use flyrpc_tests::Peer;
use flyrpc_tests::vectors::packet;

type Conn = Connection<Fly, Table<u32>>;

const GIB: u64 = 1 << 30;
const HUGE: u64 = 8 * GIB;
const BUFFER: usize = 64 << 10;
const NOW: Instant = Instant::ZERO;

fn streaming() -> Limits {
    Limits::new().max_payload(BUFFER as u32 / 2).max_body(u64::MAX).oversize(Oversize::Stream)
}

fn head(flag: Flag, sequence: u16, code: &str, len: u64) -> Vec<u8> {
    let mut head = Vec::new();
    let written =
        encode_head(flag.with(Default::default(), len), sequence, code.as_bytes(), len, &[], &mut head);
    assert!(written.is_ok());
    head
}

/// Every byte of the stream says where it stands, to within a prime
fn pattern() -> Vec<u8> {
    (0..BUFFER + 251).map(|at| (at % 251) as u8).collect()
}

/// What became of a received body
struct Received {
    /// Bytes in pieces
    len: u64,
    /// Other messages, in order
    others: Vec<String>,
}

/// Feeds a head, `len` bytes of body and `behind` through a buffer of 64 KiB that never grows
fn receive(conn: &mut Conn, head: &[u8], len: u64, behind: &[u8]) -> Received {
    let mut buf = RecvBuf::new(vec![0; BUFFER].into_boxed_slice());
    let pattern = pattern();
    let mut received = Received { len: 0, others: Vec::new() };
    let (mut head, mut given, mut behind) = (head, 0, behind);
    loop {
        // What a socket would read: as much as there is room for, from wherever the stream stands.
        let space = buf.space();
        let read = if !head.is_empty() {
            let n = head.len().min(space.len());
            space[..n].copy_from_slice(&head[..n]);
            head = &head[n..];
            n
        } else if given < len {
            let n = space.len().min(usize::try_from(len - given).unwrap_or(usize::MAX));
            let from = (given % 251) as usize;
            space[..n].copy_from_slice(&pattern[from..from + n]);
            given += n as u64;
            n
        } else {
            let n = behind.len().min(space.len());
            space[..n].copy_from_slice(&behind[..n]);
            behind = &behind[n..];
            n
        };
        if read == 0 {
            assert_eq!(buf.capacity(), BUFFER);
            return received;
        }
        buf.filled(read);
        loop {
            let step = conn.handle_input(NOW, buf.data()).expect("a good stream");
            let used = step.consumed;
            match step.what {
                What::NeedMore { at_least } => {
                    assert!(at_least <= BUFFER, "asks for no more than the buffer holds");
                    break;
                }
                What::Handled => {}
                What::Incoming(Incoming::Piece { bytes, left }) => {
                    let from = (received.len % 251) as usize;
                    assert!(
                        bytes == &pattern[from..from + bytes.len()],
                        "the right bytes at {}",
                        received.len
                    );
                    received.len += bytes.len() as u64;
                    assert_eq!(left, len - received.len);
                }
                What::Incoming(Incoming::Request { method, body, token, .. }) => {
                    let line = format!("request {} {body:?}", method.escape_ascii());
                    received.others.push(line);
                    conn.abandon(token);
                }
                What::Incoming(Incoming::Reply { tag, body, .. }) => {
                    received.others.push(format!("reply #{tag} {body:?}"));
                }
                What::Incoming(Incoming::Notification { method, body, .. }) => {
                    received.others.push(format!("message {} {body:?}", method.escape_ascii()));
                }
                What::Blocked | What::Incoming(_) => panic!("{:?}", step.what),
            }
            buf.consume(used);
        }
    }
}

#[test]
fn eight_gib_of_a_request_arrive_through_64_kib() {
    let mut conn = Conn::new(Fly::default(), streaming());
    let head = head(Flag::REQUEST, 7, "upload", HUGE);
    let received = receive(&mut conn, &head, HUGE, &packet(0, 0, "next", "!"));
    assert_eq!(received.len, HUGE);
    assert_eq!(received.others, ["request upload Streamed(8589934592 bytes)", "message next Whole(1 bytes)"]);
    assert_eq!(conn.position(), head.len() as u64 + HUGE + 10);
}

#[test]
fn a_message_arrives_piece_by_piece() {
    let mut conn = Conn::new(Fly::default(), streaming());
    let received =
        receive(&mut conn, &head(Flag::MESSAGE, 0, "log", GIB / 4), GIB / 4, &packet(0, 0, "next", ""));
    assert_eq!(received.len, GIB / 4);
    assert_eq!(received.others, ["message log Streamed(268435456 bytes)", "message next Whole(0 bytes)"]);
}

#[test]
fn a_reply_arrives_piece_by_piece() {
    let mut conn = Conn::new(Fly::default(), streaming());
    conn.call(NOW, Call::new("download", ""), 5, &mut Vec::new()).unwrap();
    conn.call(NOW, Call::new("other", ""), 6, &mut Vec::new()).unwrap();
    let head = head(Flag::RESPONSE, 1, "", GIB / 4);
    let received = receive(&mut conn, &head, GIB / 4, &packet(0x80, 2, "", "x"));
    assert_eq!(received.len, GIB / 4);
    assert_eq!(received.others, ["reply #5 Streamed(268435456 bytes)", "reply #6 Whole(1 bytes)"]);
    assert_eq!(conn.in_flight(), 0);
}

#[test]
fn a_body_that_is_refused_is_passed_over_in_constant_memory_and_the_connection_goes_on() {
    let limits = Limits::new().max_payload(BUFFER as u32 / 2).max_body(u64::MAX);
    let mut conn = Conn::new(Fly::default(), limits);
    let head = head(Flag::REQUEST, 7, "upload", GIB);
    let received = receive(&mut conn, &head, GIB, &packet(0x40, 8, "next", "!"));
    assert_eq!((received.len, received.others), (0, vec!["request next Whole(1 bytes)".to_owned()]));
    let mut out = Vec::new();
    assert!(conn.poll_transmit(&mut out).is_ok());
    assert_eq!(out, packet(0x80, 7, "TOO_LARGE", ""));
}

/// Sends the rest of a body through one sink of 64 KiB; its wire length
fn send(conn: &mut Conn, memory: &mut [u8], len: u64) -> u64 {
    let pattern = pattern();
    let mut sink = SliceSink::new(memory);
    let mut sent = 0;
    while sent < len {
        sink.clear();
        let n = usize::try_from(len - sent).unwrap_or(usize::MAX).min(BUFFER);
        let from = (sent % 251) as usize;
        let piece = &pattern[from..from + n];
        assert_eq!(conn.send_body(piece, &mut sink), Ok(len - sent - n as u64));
        assert!(sink.written() == piece, "the bytes of the body and nothing else");
        sent += n as u64;
    }
    sent
}

#[test]
fn eight_gib_of_a_request_leave_through_64_kib() {
    let mut conn = Conn::new(Fly::default(), Limits::new());
    let mut memory = vec![0; BUFFER];
    let mut sink = SliceSink::new(&mut memory);
    conn.call(NOW, Call::streamed("upload", HUGE), 1, &mut sink).unwrap();
    assert_eq!(sink.written(), head(Flag::REQUEST, 1, "upload", HUGE));
    assert_eq!(conn.body_left(), HUGE);
    assert_eq!(send(&mut conn, &mut memory, HUGE), HUGE);
    let mut out = Vec::new();
    conn.notify(NOW, Call::new("next", ""), &mut out).unwrap();
    assert_eq!(out, packet(0, 0, "next", ""));
}

#[test]
fn a_message_and_a_reply_leave_piece_by_piece() {
    let mut conn = Conn::new(Fly::default(), Limits::new());
    let mut memory = vec![0; BUFFER];
    conn.notify(NOW, Call::streamed("log", GIB / 4), &mut SliceSink::new(&mut memory)).unwrap();
    send(&mut conn, &mut memory, GIB / 4);
    let request = packet(0x40, 3, "download", "");
    let step = conn.handle_input(NOW, &request).unwrap();
    let What::Incoming(Incoming::Request { token, .. }) = step.what else { panic!("no request") };
    let mut sink = SliceSink::new(&mut memory);
    conn.reply(token, Reply::streamed(GIB / 4), &mut sink).unwrap();
    assert_eq!(sink.written(), head(Flag::RESPONSE, 3, "", GIB / 4));
    send(&mut conn, &mut memory, GIB / 4);
    assert_eq!(conn.body_left(), 0);
}

#[test]
fn other_packets_are_refused_while_a_body_is_on_its_way() {
    let mut peer: Peer<Table<u32>> = Peer::new(Limits::new());
    peer.feed(NOW, &packet(0x40, 9, "theirs", ""));
    peer.call_with(NOW, Call::streamed("upload", 10), 1).unwrap();
    let busy = Refusal::BodyInProgress { left: 10 };
    assert_eq!(peer.call(NOW, "x", b"", 2), Err(busy));
    assert_eq!(peer.conn.notify(NOW, Call::new("x", ""), &mut peer.outbox).unwrap_err().why, busy);
    assert_eq!(peer.conn.ping(NOW, 0, NOW, 3, &mut peer.outbox).unwrap_err().why, busy);
    let token = peer.owed.remove(0).token;
    let refused = peer.conn.reply(token, Reply::ack(), &mut peer.outbox).unwrap_err();
    assert_eq!((refused.why, refused.back.key()), (busy, 9));
    // A packet of the core's own waits as well, and nothing is due for it.
    peer.feed(NOW, &packet(0x40, 10, "$ping", ""));
    assert_eq!(peer.conn.poll_transmit(&mut peer.outbox), Ok(None));
    assert_ne!(peer.conn.poll_timeout(), Some(NOW));
    assert_eq!(peer.sent(), head(Flag::REQUEST, 1, "upload", 10));

    assert_eq!(peer.conn.send_body(&[0; 11], &mut peer.outbox), Err(Refusal::BodyTooLong { left: 10 }));
    assert_eq!(peer.conn.send_body(&[0; 10], &mut peer.outbox), Ok(0));
    assert_eq!(peer.conn.poll_timeout(), Some(NOW));
    peer.conn.reply(refused.back, Reply::ack(), &mut peer.outbox).unwrap();
    peer.poll(NOW);
    let expected = [&[0; 10], &*packet(0x80, 9, "", ""), &*packet(0x80, 10, "", "")].concat();
    assert_eq!(peer.sent(), expected);
}

#[test]
fn a_streamed_body_of_no_bytes_is_complete_at_once() {
    let mut peer: Peer<Table<u32>> = Peer::new(Limits::new());
    peer.call_with(NOW, Call::streamed("x", 0), 1).unwrap();
    peer.call(NOW, "y", b"", 2).unwrap();
    assert_eq!(peer.sent(), [packet(0x40, 1, "x", ""), packet(0x40, 2, "y", "")].concat());
}

#[test]
fn a_cut_in_the_middle_of_a_body_is_an_end_inside_a_packet() {
    let mut peer: Peer<Table<u32>> = Peer::new(streaming());
    peer.call(NOW, "x", b"", 1).unwrap();
    let mut wire = head(Flag::MESSAGE, 0, "log", 100_000);
    wire.extend([7; 1000]);
    let lines = peer.feed(NOW, &wire);
    assert_eq!(lines, ["notification log (100000 bytes, streamed)", "piece of 1000 bytes, 99000 left"]);
    peer.conn.handle_eof(NOW);
    assert_eq!(peer.conn.close_reason(), Some(CloseReason::CutShort));
    let cut = "the stream ended inside a packet";
    assert_eq!(peer.poll(NOW), [format!("#1 lost: {cut}"), format!("closed: {cut}")]);
}

#[test]
fn a_connection_that_ends_while_sending_a_body_takes_no_more_of_it() {
    let mut conn = Conn::new(Fly::default(), Limits::new());
    conn.call(NOW, Call::streamed("x", 100), 1, &mut Vec::new()).unwrap();
    conn.close();
    assert_eq!(conn.send_body(&[0; 10], &mut Vec::new()), Err(Refusal::Closed));
    assert!(matches!(conn.poll_event(), Some(Event::Lost { tag: 1, .. })));
    assert_eq!(conn.state(), State::Closed);
}

#[test]
fn a_body_announced_longer_than_the_peer_takes_is_refused_before_a_byte_leaves() {
    let mut conn = Conn::new(Fly::default(), Limits::new());
    conn.dialect_mut().learn(b"max-payload=1000");
    let mut out = Vec::new();
    let refused = conn.call(NOW, Call::streamed("x", 1001), 1, &mut out).unwrap_err();
    assert_eq!((refused.why, refused.back), (Refusal::TooLarge { len: 1001, limit: 1000 }, 1));
    assert!(out.is_empty());
    assert!(conn.call(NOW, Call::streamed("x", 1000), 1, &mut out).is_ok());
    assert_eq!(Body::Streamed(1000).len(), conn.body_left());
}
